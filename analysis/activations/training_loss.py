"""The loss that a cell was trained on, as a function of its parameters: on a batch that training has not drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from analysis.activations.inference_model import InferenceModel, study_of
from lab.nn import model
from lab.nn.loss import task_loss
from lab.prng import derive_key
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms

EXAMPLES = 256  # at the least, of all tasks, in the proportions of the stage that was learned last
BATCH = 0xBA7C  # the index of this batch among the keys of a seed's probe set


def training_loss(
    study: Study, inference: InferenceModel, active: ActiveMechanisms, seed: jax.Array
) -> Callable[[Any], jax.Array]:
    """The tasks' loss on the `train` splits, without what mechanisms add to it: parameters -> float32[].

    Args:
      study, inference, seed: the cell's.
      active: the mechanisms that are part of the model where it is used: nothing is dropped and no noise is added.
    """
    study = study_of(study, inference)
    trains = [index for index, count in enumerate(study.examples) if count]
    stage = trains[-1] if inference.learned < 0 else inference.learned
    times = -(-EXAMPLES // study.examples[stage])
    counts = {use.label: use.examples[stage] * times for use in study.tasks}
    worlds = study.mixture.worlds(derive_key(seed, "world"))
    batch = study.mixture.batch(derive_key(seed, "probe", BATCH), worlds, counts, study.train_length)

    def loss(params: Any) -> jax.Array:
        forward = model.run(params, batch.tokens, inference.spec, batch.answers, active.hook, batch.question)
        return task_loss(forward.logits, batch)

    return loss
