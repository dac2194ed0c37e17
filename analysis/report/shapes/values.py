"""Words for a claim over a categorical axis: its verdict in a sentence, and at which values something is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from analysis.stats import WITH_LOSS, MapVerdict, SettingMap

if TYPE_CHECKING:
    from analysis.report.map_wording import Words


MEANING = {
    "not learned": "the control's cells are not shown to beat the trivial baseline, so there is no ability to lose",
    "moves against the claim": "the metric is shown to move the other way at some value, and as claimed at none",
    "no gain shown": "the metric is at no value shown to move, as claimed or against",
    "gain with loss": "at one value at least the metric gains and the ability is lost",
    "transfers": "at one value at least the metric gains and the ability gets better, and it gains at none where the"
    " ability is lost",
    "gain for nothing": "wherever the metric gains the ability is kept, and nowhere shown better",
    "undecided": "none of these is shown; it is not evidence of absence",
}


def at_values(found: SettingMap, shown_K: np.ndarray, short: Callable[[float], str]) -> str:
    """Values in words: 'at swapped', 'at swapped and noise'; 'at no value', and of three or more 'at every value'."""
    chosen = [k for k in np.flatnonzero(shown_K) if k > 0]  # 0 is the control
    if len(chosen) == len(found.knob_K) - 1 > 1:
        return "at every value"
    texts = [short(float(found.knob_K[k])) for k in chosen]
    if not texts:
        return "at no value"
    return f"at {texts[0]}" if len(texts) == 1 else f"at {', '.join(texts[:-1])} and {texts[-1]}"


def kept_K(found: SettingMap) -> np.ndarray:
    """bool[K]: where the ability is shown to be kept or better."""
    return found.shown("free") | found.shown("better")


def sentence(found: SettingMap, verdict: MapVerdict, words: Words) -> str:
    """The verdict of a claim over a categorical axis; every value at which something is shown is named."""

    def at(shown_K: np.ndarray) -> str:
        return at_values(found, shown_K, words.short)

    control = words.short(float(found.knob_K[0]))
    gain_K, lost_K, better_K = found.shown("gain"), found.shown("harmed"), found.shown("better")
    gains = f"{words.metric} {words.is_gain} than at {control} {at(gain_K)}"
    if verdict.kind == "not learned":
        level = f"{found.neutral_ability:.3g}" if np.isfinite(found.neutral_ability) else "—"
        return (
            f"at {control} {words.ability} reaches {level}, which is not shown to beat the trivial baseline"
            f" ({found.trivial:.3g}): there is nothing to lose."
        )
    if verdict.reason == "no neutral cell":
        return f"no cell at {control} has a result, so nothing can be compared."
    if verdict.reason == "too few seeds":
        return f"{found.n_seeds} seeds are too few for this test ({found.least_seeds} are needed)."
    if verdict.reason == "one setting":
        return f"there is no value to compare with {control}."
    rest = _ability(found, ~gain_K, words)
    if verdict.kind == "moves against the claim":
        place = at(found.shown("against"))
        return f"{words.metric} {words.is_loss} than at {control} {place}, against the claim{rest}."
    if verdict.kind == "no gain shown":
        return f"{words.metric} is at no value shown to differ from {control}{rest}."
    if verdict.kind == WITH_LOSS:
        return f"{gains}, and {at(gain_K & lost_K)} {words.ability} is lost{rest}."
    if verdict.kind == "transfers":
        return f"{gains}, and {at(gain_K & better_K)} {words.ability} is better{rest}."
    if verdict.kind == "gain for nothing":
        return f"{gains}, and {words.ability} is as at {control} there: kept, and not shown better{rest}."
    open_K = gain_K & ~lost_K & ~kept_K(found)
    return f"{gains}; {at(open_K)} {words.ability} is shown neither kept nor lost: more seeds would decide."


def _ability(found: SettingMap, inside_K: np.ndarray, words: Words) -> str:
    """What is shown of the ability at values without a gain: '; at noise it is lost, at swapped it is kept'."""
    parts = [
        f"{at_values(found, shown_K, words.short)} it is {what}"
        for shown_K, what in (
            (inside_K & found.shown("harmed"), "lost"),
            (inside_K & found.shown("better"), "better"),
            (inside_K & found.shown("free") & ~found.shown("better"), "kept"),
        )
        if shown_K[1:].any()
    ]
    return f"; of {words.ability}: {', '.join(parts)}" if parts else ""
