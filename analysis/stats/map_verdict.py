"""One verdict of a claim, read off its map (`analysis.stats.setting_map`): exhaustive, the first that holds.

| verdict | what the map shows |
|---|---|
| not learned | the neutral cells don't beat the trivial baseline |
| moves against the claim | the metric moves against the claim somewhere, and gains nowhere |
| no gain shown | the metric is shown to move neither way |
| gain, then loss | gain while the ability is free, farther out gain while it is harmed: the break is between |
| gain only after the ability is lost | gain where the ability is harmed, none before; before, it is free or harmed |
| harmed from the start | gain where the ability is harmed, none before, and no setting before shows it free |
| transfers | gain and a better ability at one setting, and no gain where the ability is harmed |
| gains, then loses the gain | gain while the ability is free; where it is harmed the gain is shown to be lost |
| gain for nothing | wherever the gain is shown the ability is free, and nowhere shown better |
| undecided | none of these: more seeds or settings would decide |
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from analysis.stats.setting_map import SettingMap

VERDICTS = (
    "not learned",
    "moves against the claim",
    "no gain shown",
    "gain, then loss",
    "gain only after the ability is lost",
    "harmed from the start",
    "transfers",
    "gains, then loses the gain",
    "gain for nothing",
    "undecided",
)
MISMATCHES = ("gain, then loss", "gain only after the ability is lost", "harmed from the start")
"""The verdicts in which latents are shown better while the ability is shown worse, at one setting at least."""
FINDS_NOTHING = ("not learned", "no gain shown", "undecided")
"""The verdicts that say that something is not shown."""


@dataclasses.dataclass(frozen=True)
class MapVerdict:
    """What a map says of a claim.

    Attributes:
      kind: one of `VERDICTS`.
      p: of what the verdict says is shown, comparable with α; 1 for `FINDS_NOTHING`.
      break_between: (last setting of gain with the ability free, first of gain with the ability harmed) of 'gain, then
        loss', in knob units; neutral stands for the first where the ability is nowhere free under a gain.
      reason: of 'undecided', why: one of `REASONS`.
    """

    kind: str
    p: float
    break_between: tuple[float, float] | None = None
    reason: str = ""

    @property
    def break_interval(self) -> tuple[float, float] | None:
        """`break_between` in ascending order."""
        return None if self.break_between is None else (min(self.break_between), max(self.break_between))

    @property
    def break_at(self) -> float | None:
        """The middle of `break_between`, where a figure marks it."""
        return None if self.break_between is None else sum(self.break_between) / 2


REASONS = ("no neutral cell", "too few seeds", "one setting", "ability open", "gain open")


def map_verdict(found: SettingMap) -> MapVerdict:
    """The first of `VERDICTS` that holds; only the settings that were designed decide which."""
    if found.n_seeds == 0:
        return MapVerdict("undecided", 1.0, reason="no neutral cell")
    if found.neutral_ability <= found.trivial:
        return MapVerdict("not learned", 1.0)
    if found.n_seeds < found.least_seeds:
        return MapVerdict("undecided", 1.0, reason="too few seeds")
    if not found.learned:
        return MapVerdict("not learned", 1.0)
    if len(found.knob_K) < 2:
        return MapVerdict("undecided", 1.0, reason="one setting")
    gain_K = found.shown("gain") & found.designed_K
    if not gain_K.any():
        against = _p(found, "against")
        moves = against <= found.alpha
        return MapVerdict("moves against the claim", against) if moves else MapVerdict("no gain shown", 1.0)
    zone = _p(found, "gain", "harmed")
    return _with_zone(found, zone) if zone <= found.alpha else _without_zone(found)


def _with_zone(found: SettingMap, zone_p: float) -> MapVerdict:
    """The verdict where gain and harm are shown at one setting."""
    gain_K, harmed_K = (found.shown(name) & found.designed_K for name in ("gain", "harmed"))
    first = int(np.argmax(gain_K & harmed_K))
    open_or_free = np.flatnonzero(gain_K[:first])
    if len(open_or_free):
        kept = _p(found, "gain", "free")
        p = max(zone_p, kept) if kept <= found.alpha else zone_p
        return MapVerdict("gain, then loss", p, _break_between(found))
    free_K = found.shown("free") & found.designed_K
    before = (free_K | harmed_K)[:first].any()
    return MapVerdict("gain only after the ability is lost" if before else "harmed from the start", zone_p)


def _break_between(found: SettingMap) -> tuple[float, float]:
    """The last setting of gain ∩ free before the first of gain ∩ harmed, and that one; of all settings."""
    zone_K = found.shown("gain") & found.shown("harmed")
    first = int(np.argmax(zone_K))
    kept = np.flatnonzero((found.shown("gain") & found.shown("free"))[:first])
    return float(found.knob_K[kept[-1] if len(kept) else 0]), float(found.knob_K[first])


def _without_zone(found: SettingMap) -> MapVerdict:
    """The verdict where there is a gain, and none where the ability is harmed."""
    gain_K, harmed_K, free_K = (found.shown(name) & found.designed_K for name in ("gain", "harmed", "free"))
    transfer = _p(found, "gain", "better")
    if transfer <= found.alpha:
        return MapVerdict("transfers", transfer)
    lost = _p(found, "gain lost", "harmed")
    kept = _p(found, "gain", "free")
    if lost <= found.alpha and kept <= found.alpha:
        return MapVerdict("gains, then loses the gain", max(lost, kept))
    if harmed_K.any():
        return MapVerdict("undecided", 1.0, reason="gain open" if free_K[gain_K].all() else "ability open")
    if free_K[gain_K].all():
        return MapVerdict("gain for nothing", max(_p(found, "gain"), float(found.p_K["free"][gain_K].max())))
    return MapVerdict("undecided", 1.0, reason="ability open")


def _p(found: SettingMap, *statements: str) -> float:
    """p-value that all statements hold at one and the same setting that was designed (intersection–union)."""
    joint_K = np.max([found.p_K[name] for name in statements], axis=0)
    return float(joint_K[found.designed_K].min(initial=1.0))


def family(verdicts: Sequence[MapVerdict], method: str = "bh") -> Float[np.ndarray, "V"]:
    """Adjusts the primary claims' p-values for their number (false discovery rate).

    Args:
      verdicts: of all primary claims of a study, those that find nothing among them.
      method: 'bh' (Benjamini–Hochberg 1995) or 'by' (Benjamini–Yekutieli 2001, any dependence).

    Returns:
      Adjusted p-values, in the same order; a verdict stands at rate q where its value is at most q.
    """
    if not verdicts:
        return np.zeros(0)
    return stats.false_discovery_control([one.p for one in verdicts], method=method)
