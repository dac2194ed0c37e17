"""The map of what is shown at each setting, the break test, and what is under them. Imports nothing of the lab."""

from analysis.stats.association import ASSOCIATIONS, Association, Correlation, association_of
from analysis.stats.break_test import MIN_SETTINGS, Verdict, least_seeds, verdict
from analysis.stats.categorical import (
    CATEGORICAL_VERDICTS,
    WITH_LOSS,
    categorical_map,
    categorical_verdict,
    value_verdicts,
)
from analysis.stats.claim_data import InterimLook
from analysis.stats.map_verdict import FINDS_NOTHING, MISMATCHES, VERDICTS, MapVerdict, family, map_verdict
from analysis.stats.setting_map import SettingMap, setting_map
from analysis.stats.sign_flip import sign_flip_p, sign_flips, step_down_p, without_rounding
from analysis.stats.summaries import interval, iqm, quantiles

__all__ = [
    "ASSOCIATIONS",
    "CATEGORICAL_VERDICTS",
    "FINDS_NOTHING",
    "MIN_SETTINGS",
    "MISMATCHES",
    "VERDICTS",
    "WITH_LOSS",
    "Association",
    "Correlation",
    "InterimLook",
    "MapVerdict",
    "SettingMap",
    "Verdict",
    "association_of",
    "categorical_map",
    "categorical_verdict",
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
    "value_verdicts",
    "verdict",
    "without_rounding",
]
