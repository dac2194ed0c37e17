"""Verdicts that were read off a map, as plain sentences; the report, the terminal and the library use the same ones.

A sentence names what is shown and where. A metric that is claimed to fall is said to fall where it gains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.report import names, wording
from analysis.report.shapes import values
from analysis.stats import MISMATCHES, MapVerdict, SettingMap
from analysis.verdicts import Judged
from lab.study.spec import Study


@dataclass(frozen=True)
class Words:
    """How a sentence speaks of a claim.

    Attributes:
      metric, ability: their names in prose.
      short: a setting's value ('40%').
      sign: +1 where the metric is claimed to rise, −1 where it is claimed to fall.
      units: what is compared with itself: seeds, or folds of questions.
    """

    metric: str
    ability: str
    short: Callable[[float], str]
    sign: int
    units: str = "seeds"

    @property
    def gains(self) -> str:
        """What the metric does where it gains."""
        return "rises" if self.sign > 0 else "falls"

    @property
    def is_gain(self) -> str:
        """What the metric is where it gains on another value."""
        return "is higher" if self.sign > 0 else "is lower"

    @property
    def is_loss(self) -> str:
        """What the metric is where it lies on the other side than claimed."""
        return "is lower" if self.sign > 0 else "is higher"

    @property
    def loses(self) -> str:
        """What the metric does where it moves against the claim."""
        return "falls" if self.sign > 0 else "rises"


def words_of(study: Study, one: Judged) -> Words:
    """The words for a study's claim."""
    ability = names.skill(study, one.label, one.split)
    return Words(names.gain(study, one.claimed), ability, wording.phrase(study).short, one.sign)


def claim_sentence(study: Study, one: Judged) -> str:
    """The verdict of a study's claim in one sentence."""
    return sentence(one.map, one.verdict, words_of(study, one))


def sentence(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    """A verdict in one plain sentence that agrees with the map."""
    # A verdict is read off the designed settings; what those that were added show must not contradict it in words.
    say = _SENTENCES[verdict.kind] if found.ordered else values.sentence
    text = say(found.of_designed(), verdict, words)
    return text if "_" in text.split()[0] else text[0].upper() + text[1:]  # a raw name stays as it is


def where(found: SettingMap, shown_K: np.ndarray, short: Callable[[float], str]) -> str:
    """Settings in words: 'at 12% and from 48% on', neighbours joined; 'nowhere' where there is none."""
    if not found.ordered:
        return values.at_values(found, shown_K, short)
    runs, last = [], len(shown_K) - 1
    for k in np.flatnonzero(shown_K):
        if runs and runs[-1][1] == k - 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    texts = []
    for first, end in runs:
        one, other = short(float(found.knob_K[first])), short(float(found.knob_K[end]))
        if first == end:
            texts.append(f"at {one}")
        else:
            texts.append(f"from {one} on" if end == last else f"from {one} to {other}")
    return wording.listed(texts) if texts else "nowhere"


def _not_learned(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    return (
        f"without the knob {words.ability} reaches {wording.number(found.neutral_ability)}, which is not shown to beat"
        f" the trivial baseline ({wording.number(found.trivial)}): there is nothing to lose."
    )


def _against(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    place = where(found, found.shown("against"), words.short)
    return f"{words.metric} {words.loses} {place}, against the claim, and is nowhere shown to {words.gains[:-1]}."


def _no_gain(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    return f"{words.metric} is at no setting shown to {words.gains[:-1]}, nor to {words.loses[:-1]}."


def _then_loss(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    gain_K, harmed_K = found.shown("gain"), found.shown("harmed")
    assert verdict.break_between is not None, "this verdict has a break"
    kept, lost = (words.short(value) for value in verdict.break_between)
    zone = where(found, gain_K & harmed_K, words.short)
    if verdict.break_between[0] == found.knob_K[0]:
        return (
            f"{words.metric} {words.gains} {where(found, gain_K, words.short)}, and {zone} {words.ability} is lost;"
            f" between, {words.ability} is shown neither kept nor lost."
        )
    return (
        f"{words.metric} {words.gains} while {words.ability} is kept up to {kept}; {zone} it still {words.gains} and"
        f" {words.ability} is lost. Better latents stop meaning ability between {kept} and {lost}."
    )


def _too_late(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    gain, lost = where(found, found.shown("gain"), words.short), where(found, found.shown("harmed"), words.short)
    first = int(np.argmax(found.shown("gain")))
    if not found.shown("harmed")[:first].any():
        return f"{words.metric} {words.gains} only {gain}, where {words.ability} is lost."
    return f"{words.metric} {words.gains} only {gain}, where {words.ability} is already lost ({lost})."


def _from_the_start(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    gain = where(found, found.shown("gain"), words.short)
    zone = where(found, found.shown("gain") & found.shown("harmed"), words.short)
    everywhere = gain == zone
    return f"{words.metric} {words.gains} {gain}, and {'there' if everywhere else zone} {words.ability} is lost."


def _transfers(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    both = where(found, found.shown("gain") & found.shown("better"), words.short)
    harmed_K = found.shown("harmed")
    lost = f"; {where(found, harmed_K, words.short)} {words.ability} is lost, with no gain shown"
    lost = lost if harmed_K.any() else ""
    return f"{words.metric} {words.gains} and {words.ability} gets better {both}{lost}."


def _loses_the_gain(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    kept = where(found, found.shown("gain") & found.shown("free"), words.short)
    lost = where(found, found.shown("harmed"), words.short)
    gone = where(found, found.shown("gain lost") & found.shown("harmed"), words.short)
    return (
        f"{words.metric} {words.gains} while {words.ability} is kept ({kept}); {words.ability} is lost {lost}, and"
        f" {'there' if gone == lost else gone} the metric has lost its gain again."
    )


def _for_nothing(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    gain = where(found, found.shown("gain"), words.short)
    return f"{words.metric} {words.gains} {gain}, and {words.ability} stays as it was: kept, and nowhere shown better."


def _undecided(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    if verdict.reason == "no neutral cell":
        return "no cell without the knob has a result, so nothing can be compared."
    if verdict.reason == "too few seeds":
        return f"{found.n_seeds} {words.units} are too few for this test ({found.least_seeds} are needed)."
    if verdict.reason == "one setting":
        return "there is no setting to compare with."
    gain_K, free_K, harmed_K = (found.shown(name) for name in ("gain", "free", "harmed"))
    gains = f"{words.metric} {words.gains} {where(found, gain_K, words.short)}"
    if verdict.reason == "gain open":
        lost = where(found, harmed_K, words.short)
        return (
            f"{gains} while {words.ability} is kept; {lost} {words.ability} is lost, and there the gain is shown"
            f" neither to stay nor to go: more {words.units} would decide."
        )
    open_ = where(found, gain_K & ~free_K & ~harmed_K, words.short)
    return f"{gains}; {open_} {words.ability} is shown neither kept nor lost: more {words.units} would decide."


_SENTENCES: dict[str, Callable[[SettingMap, MapVerdict, Words], str]] = {
    "not learned": _not_learned,
    "moves against the claim": _against,
    "no gain shown": _no_gain,
    "gain, then loss": _then_loss,
    "gain only after the ability is lost": _too_late,
    "harmed from the start": _from_the_start,
    "transfers": _transfers,
    "gains, then loses the gain": _loses_the_gain,
    "gain for nothing": _for_nothing,
    "undecided": _undecided,
}


def shape_sentence(study: Study, one: Judged) -> str:
    """What slopes over the whole range show that no single setting can: a fall after a rise, a stall; else ''."""
    shape, words = one.shape, words_of(study, one)
    if shape.kind not in ("reversal", "stall", "scale-dependent") or one.verdict.kind in MISMATCHES:
        return ""
    at = "" if shape.break_at is None else f" from about {words.short(shape.break_at)} on"
    return {
        "reversal": f"Over the whole range, {words.ability} falls again{at} while {words.metric} still {words.gains}.",
        "stall": f"Over the whole range, {words.ability} hardly follows{at} while {words.metric} still {words.gains}.",
        "scale-dependent": f"Whether {words.ability} stops following depends on the scale of {words.metric}.",
    }[shape.kind]
