"""The break test and the statistics under it. Imports nothing of the lab."""

from analysis.stats.break_test import MIN_SETTINGS, VERDICTS, InterimLook, Verdict, family, least_seeds, verdict
from analysis.stats.sign_flip import sign_flip_p, sign_flips, without_rounding
from analysis.stats.summaries import interval, iqm, quantiles

__all__ = [
    "MIN_SETTINGS",
    "VERDICTS",
    "InterimLook",
    "Verdict",
    "family",
    "interval",
    "iqm",
    "least_seeds",
    "quantiles",
    "sign_flip_p",
    "sign_flips",
    "verdict",
    "without_rounding",
]
