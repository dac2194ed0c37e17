"""Latent metrics: pure functions of arrays. Imports nothing of the lab."""

from analysis.metrics.geometry import Cloud, Spectrum, centre, matmul, or_nan, over_points, spectrum, whitening
from analysis.metrics.latent_metric import LatentMetric, Shared, metric
from analysis.metrics.on_call import ON_CALL, OnCallMetric
from analysis.metrics.probes import accuracy_of, control_labels, whitened_halves
from analysis.metrics.registry import BALANCE, CHECKS, METRICS, measure
from analysis.metrics.separation import Classes, classes
from analysis.metrics.similarity import linear_image

__all__ = [
    "BALANCE",
    "CHECKS",
    "METRICS",
    "ON_CALL",
    "Classes",
    "Cloud",
    "LatentMetric",
    "OnCallMetric",
    "Shared",
    "Spectrum",
    "accuracy_of",
    "centre",
    "classes",
    "control_labels",
    "linear_image",
    "matmul",
    "measure",
    "metric",
    "or_nan",
    "over_points",
    "spectrum",
    "whitened_halves",
    "whitening",
]
