"""What one setting reads: each fold's accuracy, and the latent readings of its questions' vectors. Kept once taken.

Shape letters: F folds, K settings, N questions of a fold, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analysis.activations.claimable import READINGS
from analysis.metrics import METRICS, ON_CALL, measure
from lab.engine.device_grid import lapack_on_one_thread
from lab.frozen.embed import Embedder, Questions, right
from lab.frozen.study import FrozenStudy
from lab.storage import DamagedFile, read_document, write_document
from lab.study.spec import digest

FORMAT = 1  # raised whenever the same study would read other numbers
FOLDER = "settings"


def _of_states() -> dict[str, tuple[str, str]]:
    """Reading -> (metric on call, its part); of readings that need nothing but states."""
    found = {}
    for name, one in READINGS.items():
        if one.of in ON_CALL and {*ON_CALL[one.of].arguments} <= {"states", *ON_CALL[one.of].settings}:
            found[name] = one.of, one.key
    return found


ALWAYS = tuple(name for name, one in METRICS.items() if not one.needs_labels)
ON_STATES = _of_states()
READINGS_OF_STATES = (*ALWAYS, *ON_STATES)  # what a claim may name
ISOTROPY = tuple(name for name, (of, _) in ON_STATES.items() if of == "isotropy")


@dataclass(frozen=True)
class Readings:
    """Readings of all settings.

    Attributes:
      knob_K: the settings, from neutral outwards.
      accuracy_FxK: share of a fold's questions that are answered.
      latent: reading -> float64[F, K].
      questions_F: how many questions a fold has.
    """

    knob_K: np.ndarray
    accuracy_FxK: np.ndarray
    latent: Mapping[str, np.ndarray]
    questions_F: np.ndarray


def names_of(study: FrozenStudy) -> tuple[str, ...]:
    """What is read in a study: what every study reads of states, isotropy, and what is claimed."""
    return tuple(dict.fromkeys((*ALWAYS, *ISOTROPY, *study.gains)))


def key_of(study: FrozenStudy, value: float, files: str) -> str:
    """The name of one setting's kept readings.

    Args:
      study, value: which setting.
      files: digest of the model's and the benchmark's content.
    """
    return digest({**study.content(value), "files": files, "readings": list(names_of(study)), "format": FORMAT})


def kept(root: Path, study: FrozenStudy, files: str) -> dict[float, dict[str, Any]]:
    """The settings that were read before, as `take` wrote them; a damaged file counts as none."""
    found = {}
    for value in study.values:
        try:
            record = read_document(root / FOLDER / f"{key_of(study, value, files)}.json")
        except DamagedFile:
            continue
        if _is_record(record, study):
            found[value] = record
    return found


def _is_record(record: Any, study: FrozenStudy) -> bool:
    """Whether a kept file holds a number, or none, for each fold of each reading."""
    if not isinstance(record, dict) or record.keys() != {"accuracy", "latent"}:
        return False
    latent = record["latent"]
    if not isinstance(latent, dict) or latent.keys() != {*names_of(study)}:
        return False
    columns = [record["accuracy"], *latent.values()]
    whole = all(isinstance(column, list) and len(column) == study.folds for column in columns)
    return whole and all(one is None or isinstance(one, float) for column in columns for one in column)


def take(
    root: Path,
    study: FrozenStudy,
    embedder: Embedder,
    files: str,
    on_setting: Callable[[float, Mapping[str, Any]], None],
) -> Readings:
    """Read every setting that is not kept, keep it, and return all."""
    found = kept(root, study, files)
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for value in study.values:
        if value not in found:
            found[value] = _setting(study, embedder, value)
            write_document(root / FOLDER / f"{key_of(study, value, files)}.json", found[value])
            on_setting(value, found[value])
    columns = [found[value] for value in study.values]
    return Readings(
        knob_K=np.asarray(study.values),
        accuracy_FxK=_stacked([one["accuracy"] for one in columns]),
        latent={name: _stacked([one["latent"][name] for one in columns]) for name in names_of(study)},
        questions_F=np.bincount(embedder.questions.fold_Q, minlength=study.folds),
    )


def _stacked(columns: list[list[float | None]]) -> np.ndarray:
    return np.asarray([[np.nan if one is None else one for one in column] for column in columns], float).T


def _setting(study: FrozenStudy, embedder: Embedder, value: float) -> dict[str, Any]:
    vectors_NxD, questions = embedder.vectors(value), embedder.questions
    right_Q = right(vectors_NxD, questions)
    accuracy = [float(right_Q[questions.fold_Q == fold].mean()) for fold in range(study.folds)]
    latent: dict[str, list[float | None]] = {name: [] for name in names_of(study)}
    for states_NxD in _states(study, vectors_NxD, questions):
        for name, reading in read_states(names_of(study), states_NxD).items():
            latent[name].append(reading if np.isfinite(reading) else None)
    return {"accuracy": accuracy, "latent": latent}


def _states(study: FrozenStudy, vectors_NxD: np.ndarray, questions: Questions) -> Iterator[np.ndarray]:
    """The vectors of each fold's questions, in one random order."""
    order_Q = np.random.default_rng([study.seed, 1]).permutation(len(questions.question_Q))
    for fold in range(study.folds):
        mine = order_Q[questions.fold_Q[order_Q] == fold]
        yield vectors_NxD[questions.question_Q[mine]].astype(np.float32)


def read_states(names: tuple[str, ...], states_NxD: np.ndarray) -> dict[str, float]:
    """Readings of states without labels."""
    with lapack_on_one_thread():
        found = _read(names, jnp.asarray(states_NxD))
    return {name: float(value) for name, value in found.items()}


@partial(jax.jit, static_argnames=("names",))
def _read(names: tuple[str, ...], states_NxD: Any) -> dict[str, Any]:
    nothing_N = jnp.zeros(states_NxD.shape[0], jnp.int32)
    always = measure(states_NxD, nothing_N, nothing_N, n_classes=1)
    found = {name: always[name] for name in names if name in always}
    for of in dict.fromkeys(ON_STATES[name][0] for name in names if name in ON_STATES):
        settings = {
            name: jnp.float32(value) if isinstance(value, float) else value
            for name, value in ON_CALL[of].settings.items()
        }
        values = ON_CALL[of]({"states": states_NxD, **settings})
        found |= {name: values[ON_STATES[name][1]] for name in names if ON_STATES.get(name, ("", ""))[0] == of}
    return found
