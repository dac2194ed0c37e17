"""The arms of a repair: interventions, each a setting of knobs for one further stage of training.

To add one, add an entry to `ARMS`; `analysis.repair.branch_study` runs it next to the same cells trained further as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.design import name_of, neutral_value
from analysis.diagnosis.rules import prunes
from analysis.results.recovery_record import UNCHANGED
from lab.engine.branch import can_change
from lab.errors import UserError
from lab.mechanisms import knobs as registry
from lab.mechanisms.process import share_of
from lab.study.spec import WEIGHTS, Study
from tasks.base import Task, movable

Settings = Mapping[str, Any]
EARLY = 0.05  # of the first stage: the first few percent are what rewinding must not undo (arXiv 1912.05671)


@dataclass(frozen=True)
class Arm:
    """A repair arm: what is trained on from a study's checkpoints.

    Attributes:
      about: what it does, for a person; {knob}, {neutral}, {steps} and {weights} are filled in.
      knobs: (study, first step of the arm, its steps) -> {knob: value from there on}, or WEIGHTS as in
        `lab.engine.branch`; raises UserError where the study has no room for it.
      fits: whether it means something for a study.
      asked_by: causes that ask for it where they hold or are suspected; empty: it is always run.
    """

    about: str
    knobs: Callable[[Study, int, int], Settings]
    fits: Callable[[Study], bool] = lambda study: True
    asked_by: tuple[str, ...] = ()

    def words(self, study: Study, steps: int) -> str:
        """What it does to a study, in words."""
        weights = self.knobs(study, study.stages[-1].end, steps).get(WEIGHTS)
        neutral = name_of(study, neutral_value(study))
        return self.about.format(knob=study.claim.knob, neutral=neutral, steps=steps, weights=weights)


def _annealed(study: Study, start: int, steps: int) -> Settings:
    mechanism = study.claim.knob.split(".")[0]
    return {f"{mechanism}.relax_from": start, f"{mechanism}.relax_over": max(1, steps // 2)}


def _read_out(study: Study, start: int, steps: int) -> Settings:
    """Nothing but the readout learns; a knob that only presses on training is released, or it would spoil it again."""
    knob = study.knobs[study.claim.knob]
    released = {knob.name: neutral_value(study)} if knob.relaxes or knob is registry.LEARNING_RATE else {}
    return {"tune.only": "readout"} | released


def _rewound(study: Study, start: int, steps: int) -> Settings:
    """The weights of the earliest kept step that is no earlier than `EARLY` of the first stage."""
    first = study.stages[0]
    if any(cell["prune.regrow"] != "none" for cell in study.cells):
        raise UserError("prune.regrow moves the masks as it trains, and early weights fit none of them.")
    kept = [step for step in first.saves if EARLY * first.end <= step < first.end]
    if not kept:
        raise UserError(
            f"no checkpoint is kept between {EARLY:.0%} of the stage '{first.name}' and its end; raise"
            f" config.saves.{first.name} to rewind to one."
        )
    return {WEIGHTS: kept[0]}


def _whitened(study: Study, start: int, steps: int) -> Settings:
    layer = study.claim.layer
    return {"variance.rate": 1.0, "variance.layer": layer, "covariance.rate": 0.1, "covariance.layer": layer}


def _ordered(order: str) -> Callable[[Study, int, int], Settings]:
    """Examples in this order over the first half of the steps, then as hard as in `train`."""

    def knobs(study: Study, start: int, steps: int) -> Settings:
        share = min(1.0, 0.5 * steps / study.stages[0].end)  # the knob counts in the first stage's steps
        return {"curriculum.order": order, "curriculum.begins": start, "curriculum.share": share}

    return knobs


def _tasks(study: Study) -> list[Task]:
    """Those of all cells."""
    return [task for one in study.variants for _, task in one.mixture.tasks]


def _graded(study: Study) -> bool:
    """Whether something is easier than training, and no curriculum has the field already."""
    used = any(cell["curriculum.order"] != "fixed" for cell in study.cells)
    return not used and any(map(movable, _tasks(study)))


ARMS: dict[str, Arm] = {
    UNCHANGED: Arm(
        "{steps} steps more at the same setting, the rate's schedule started again; of a pruned cell: fine-tuning under"
        " its masks",
        lambda study, start, steps: {},
    ),
    "relax": Arm(
        "{knob} set to {neutral} at once; of a pruned cell: its masks lifted, so that weights can grow back",
        lambda study, start, steps: {study.claim.knob: neutral_value(study)},
        lambda study: can_change(study, study.claim.knob),
    ),
    "anneal": Arm(
        "{knob} brought to {neutral} in a straight line over the first half of the steps",
        _annealed,
        lambda study: study.knobs[study.claim.knob].relaxes,
    ),
    "rewind": Arm(
        "the weights that pruning left go back to those of step {weights}, the masks stay, the optimizer's moments are"
        " fresh (arXiv 1912.05671, 2003.02389; the learning rate alone is rewound in `continue`)",
        _rewound,
        lambda study: prunes(study.claim.knob),
    ),
    "readout": Arm(
        "only the unembedding and the final norm are trained; a knob that presses on training is set to {neutral}, one"
        " that shapes the model stays",
        _read_out,
    ),
    "variance_covariance": Arm(
        "VICReg's variance (rate 1) and covariance (rate 0.1) terms added at the claim's layer; the setting stays"
        " (arXiv 2105.04906, 2306.13292)",
        _whitened,
        lambda study: study.claim.knob.split(".")[0] not in ("variance", "covariance"),
        asked_by=("collapse",),
    ),
    "curriculum": Arm(
        "examples from easy to hard over the first half of the steps; the setting stays (Bengio et al. 2009)",
        _ordered("ramp"),
        _graded,
        asked_by=("undertrained",),
    ),
    "mixed_difficulty": Arm(
        "the levels of `curriculum` in random order, its control (arXiv 2012.03107)",
        _ordered("random"),
        _graded,
        asked_by=("undertrained",),
    ),
    "process_supervision": Arm(
        "every training example shows its steps, in tasks of which some do; the setting stays (arXiv 2305.20050)",
        lambda study, start, steps: {"process.extra": 1.0},
        lambda study: any(map(share_of, _tasks(study))),
    ),
    "teacherless": Arm(
        "in half of the examples the answer that is fed back is hidden; the setting stays (arXiv 2403.06963)",
        lambda study, start, steps: {"teacherless.share": 0.5},
        lambda study: not study.claim.knob.startswith("teacherless"),
        asked_by=("named on the command line",),
    ),
}
