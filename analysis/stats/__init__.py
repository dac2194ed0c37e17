"""The map of what is shown at each setting, the break test, and what is under them. Imports nothing of the lab."""

from analysis.stats.break_test import MIN_SETTINGS, Verdict, least_seeds, verdict
from analysis.stats.claim_data import InterimLook
from analysis.stats.map_verdict import FINDS_NOTHING, MISMATCHES, VERDICTS, MapVerdict, family, map_verdict
from analysis.stats.setting_map import SettingMap, setting_map
from analysis.stats.sign_flip import sign_flip_p, sign_flips, step_down_p, without_rounding
from analysis.stats.summaries import interval, iqm, quantiles

__all__ = [
    "FINDS_NOTHING",
    "MIN_SETTINGS",
    "MISMATCHES",
    "VERDICTS",
    "InterimLook",
    "MapVerdict",
    "SettingMap",
    "Verdict",
    "family",
    "interval",
    "iqm",
    "least_seeds",
    "map_verdict",
    "quantiles",
    "setting_map",
    "sign_flip_p",
    "sign_flips",
    "step_down_p",
    "verdict",
    "without_rounding",
]
