"""A frozen study's readings judged as any arrays are, with folds of questions in the place of seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.activations.claimable import READINGS
from analysis.external.judge import Arrays, Gain, judge_arrays
from analysis.frozen.measure import Readings
from analysis.report import map_wording, verdicts_json, wording
from analysis.stats import FINDS_NOTHING
from lab.frozen.study import FrozenStudy
from lab.study.spec import digest
from lab.values import exact

UNIT = "folds"


@dataclass(frozen=True)
class FrozenFindings:
    """What a frozen study found.

    Attributes:
      study, readings: of the study.
      chance: what guessing among the choices gets right.
      judged: verdicts and bounds.
    """

    study: FrozenStudy
    readings: Readings
    chance: float
    judged: Arrays


def arrays_of(study: FrozenStudy, readings: Readings, chance: float) -> dict[str, Any]:
    """The readings under the names of docs/npz.md: `analysis.judge_arrays` takes them, too."""
    found: dict[str, Any] = {
        "knob_K": readings.knob_K,
        "neutral": study.knob.neutral,
        "ability_SxK": readings.accuracy_FxK,
        "trivial": chance,
        "alpha": study.alpha,
        "delta": study.delta,
    }
    for name, sign in study.gains.items():
        found |= {f"{name}_SxK": readings.latent[name], f"{name}_sign": sign}
    return found


def judge(study: FrozenStudy, readings: Readings, chance: float) -> FrozenFindings:
    """The verdict of every claimed gain, and how far the accuracy is shown kept or lost."""
    return FrozenFindings(study, readings, chance, judge_arrays(arrays_of(study, readings, chance)))


def short(study: FrozenStudy, value: float) -> str:
    """A setting for a person."""
    return str(int(value)) if study.knob.whole else exact(value)


def sentence(found: FrozenFindings, one: Gain) -> str:
    """The verdict of one claimed gain in a sentence."""
    words = map_wording.Words(
        READINGS[one.metric].title, "accuracy", lambda value: short(found.study, value), one.sign, UNIT
    )
    return map_wording.sentence(one.map, one.verdict, words)


def stands(found: FrozenFindings, one: Gain) -> bool:
    """Whether what a verdict says is shown stays so after correction for the number of gains."""
    return one.adjusted_p <= found.study.alpha


def answers(found: FrozenFindings) -> list[str]:
    """What was found, most important first, in sentences."""
    judged = found.judged
    counts_F = found.readings.questions_F
    neutral = float(counts_F @ found.readings.accuracy_FxK[:, 0] / counts_F.sum())
    if not judged.learned:
        return [
            f"At neutral the model answers {neutral:.1%}, which is not shown to beat guessing ({found.chance:.1%}):"
            " there is nothing to lose."
        ]
    lines = []
    for one in judged.gains:
        rests = one.verdict.kind in FINDS_NOTHING
        open_ = "" if rests or stands(found, one) else " (does not stand after correction for the number of claims)"
        lines.append(f"{one.verdict.kind.capitalize()}{open_}. {sentence(found, one)}")
    lines.append(_bounds(found, neutral))
    return lines


def _bounds(found: FrozenFindings, neutral: float) -> str:
    study, judged = found.study, found.judged
    until, since = judged.free_until, judged.harmful_from
    kept = "not shown kept at the first setting"
    if until is not None and until != judged.neutral:
        kept = f"shown kept up to {short(study, until)}"
    lost = "nowhere shown lost" if since is None else f"shown lost from {short(study, since)} on"
    return (
        f"Accuracy is {neutral:.1%} at neutral (guessing: {found.chance:.1%}); it is {kept} and {lost}. A change"
        f" counts from δ = {100 * judged.delta:.1f} points on."
    )


def claim_hash(study: FrozenStudy) -> str:
    """Of the claim, fixed before anything is read."""
    return digest(
        {
            "knob": [study.knob.name, study.knob.neutral, dict(study.chosen)],
            "gains": dict(study.gains),
            "alpha": study.alpha,
            "delta": study.delta,
            "ask": [study.format, dict(study.options), study.ask, study.folds, study.seed],
        }
    )


def document(found: FrozenFindings) -> dict[str, Any]:
    """The content of verdicts.json, as plain JSON values."""
    study = found.study
    content = {
        **found.judged.document(),
        "study": study.name,
        "question": study.question,
        "frozen": True,
        "unit": "fold of questions",
        "claim_hash": claim_hash(study),
        "alpha": study.alpha,
        "chance": found.chance,
    }
    content["knob"] = {**content["knob"], "name": study.knob.name, "chosen": dict(study.chosen)}
    for record, one in zip(content["claims"], found.judged.gains, strict=True):
        record["sentence"] = sentence(found, one)
        record["stands"] = stands(found, one)
    content["answers"] = answers(found)
    return verdicts_json.plain(content, found.readings.knob_K.tolist())


def mark(one: Gain) -> tuple[str, str]:
    """(class of a badge, symbol) of a verdict."""
    symbol, name = wording.MARKS[one.verdict.kind][1], wording.MARKS[one.verdict.kind][0]
    return name, symbol
