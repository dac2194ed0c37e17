"""A claim over a categorical axis: what is shown of each value against the control, and the claim in one verdict.

The map is `setting_map` without order: every statement is tested at every value other than the control by paired sign
flips, by the step-down maximum statistic over the values. There is no fixed sequence, no break and no bound. Metric and
ability share α as there: a value wrongly shown to gain where its ability is harmed comes up in at most α of all claims.

| verdict | of a value | of the claim |
|---|---|---|
| not learned | the control doesn't beat the trivial baseline | likewise |
| moves against the claim | the metric moves against the claim | at some value, and gains at none |
| no gain shown | the metric is shown to move neither way | at no value |
| gain with loss | gain, and the ability is harmed | at one value at least |
| transfers | gain, and a better ability | at one value at least, and gain with loss at none |
| gain for nothing | gain, and the ability is free | wherever the gain is shown, and nowhere better |
| undecided | gain, and the ability is shown neither free nor harmed nor better | none of these |

Words: S seeds, K values, the control first.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Real

from analysis.stats.map_verdict import MapVerdict
from analysis.stats.setting_map import SettingMap, setting_map

CATEGORICAL_VERDICTS = (
    "not learned",
    "moves against the claim",
    "no gain shown",
    "gain with loss",
    "transfers",
    "gain for nothing",
    "undecided",
)
WITH_LOSS = "gain with loss"


def categorical_map(
    metric_SxK: Real[np.ndarray, "S K"] | Sequence[Sequence[float]],
    ability_SxK: Real[np.ndarray, "S K"] | Sequence[Sequence[float]],
    **options: Any,
) -> SettingMap:
    """What is shown at each value, the control being the first column.

    Args:
      metric_SxK, ability_SxK: as of `setting_map`.
      **options: of `setting_map`: `trivial`, `diverged_SxK`, `alpha`, `delta_share`, `looks`, ...
    """
    codes_K = np.arange(np.shape(ability_SxK)[1], dtype=float)
    return setting_map(codes_K, metric_SxK, ability_SxK, ordered=False, **options)


def value_verdicts(found: SettingMap) -> tuple[MapVerdict, ...]:
    """A verdict for each value, the control's among them, which is always undecided: it is compared with nothing."""
    silent = _silent(found)
    return tuple(silent or _of_value(found, k) for k in range(len(found.knob_K)))


def categorical_verdict(found: SettingMap) -> MapVerdict:
    """The claim in one verdict, the first of `CATEGORICAL_VERDICTS` that holds."""
    if silent := _silent(found):
        return silent
    if len(found.knob_K) < 2:
        return MapVerdict("undecided", 1.0, reason="one setting")
    gain_K = found.shown("gain")
    if not gain_K.any():
        against = float(found.p_K["against"].min())
        moves = against <= found.alpha
        return MapVerdict("moves against the claim", against) if moves else MapVerdict("no gain shown", 1.0)
    for kind, statement in ((WITH_LOSS, "harmed"), ("transfers", "better")):
        if (p := float(_joint(found, statement).min())) <= found.alpha:
            return MapVerdict(kind, p)
    if found.shown("free")[gain_K].all():
        return MapVerdict("gain for nothing", float(_joint(found, "free")[gain_K].max()))
    return MapVerdict("undecided", 1.0, reason="ability open")


def _silent(found: SettingMap) -> MapVerdict | None:
    """The verdict where nothing can be concluded of any value; None where something can."""
    if found.n_seeds == 0:
        return MapVerdict("undecided", 1.0, reason="no neutral cell")
    if found.neutral_ability <= found.trivial:
        return MapVerdict("not learned", 1.0)
    if found.n_seeds < found.least_seeds:
        return MapVerdict("undecided", 1.0, reason="too few seeds")
    return None if found.learned else MapVerdict("not learned", 1.0)


def _of_value(found: SettingMap, k: int) -> MapVerdict:
    """The verdict of one value: what is shown there, and p of all of it at once (intersection–union)."""
    if k == 0:
        return MapVerdict("undecided", 1.0, reason="one setting")
    if not found.shown("gain")[k]:
        against = float(found.p_K["against"][k])
        moves = against <= found.alpha
        return MapVerdict("moves against the claim", against) if moves else MapVerdict("no gain shown", 1.0)
    for kind, statement in ((WITH_LOSS, "harmed"), ("transfers", "better"), ("gain for nothing", "free")):
        if found.shown(statement)[k]:
            return MapVerdict(kind, float(_joint(found, statement)[k]))
    return MapVerdict("undecided", 1.0, reason="ability open")


def _joint(found: SettingMap, statement: str) -> Float[np.ndarray, "K"]:
    """p-values that a value gains and the statement holds of it."""
    return np.maximum(found.p_K["gain"], found.p_K[statement])
