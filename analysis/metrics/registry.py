"""The registry of latent metrics, and `measure`: every reading of one cell, with the expensive parts computed once.

Protocol, for the caller: Z is one hidden vector an example, at a fixed layer and read position, the same examples in
the same random order for every cell, N ≥ max(1024, 8·D) (not checked here: small N is legitimate in tests). Columns
that a width mask switched off may be left in or taken out. Resample by subsets without replacement.

Readings are raw: whether larger counts as the claimed gain is the claim's business.

How to add a metric: docs/adding_a_metric.md. A function of `Shared` under the decorator
`analysis.metrics.latent_metric.metric` is one, in any file of this folder. The metrics of the table below came first,
and their order stays: readings are cached under it. A new expensive part becomes a field of `Shared`.
What needs more than states and labels, or costs more, is a metric on call: `analysis.metrics.on_call`.

Shape letters: N examples, D hidden width, K = min(N, D), C classes.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jaxtyping import Array, Float, Int

from analysis.metrics.cluster_indices import calinski_harabasz_of, centroids, class_separation_of, davies_bouldin_of
from analysis.metrics.geometry import (
    centre,
    matmul,
    or_nan,
    participation_ratio_of,
    rank_me_of,
    spectrum,
    squared_distances,
    subtract_mean,
    two_nn_of,
    whitening,
)
from analysis.metrics.latent_metric import LatentMetric, Shared, metrics_of
from analysis.metrics.probes import probe_of, split_halves
from analysis.metrics.separation import class_balance, classes, fisher_trace_of, silhouette_of
from analysis.metrics.spectra import alpha_req_of, von_neumann_entropy_of
from analysis.metrics.v_information import v_information_of


def table(*metrics: LatentMetric) -> dict[str, LatentMetric]:
    """Metrics by name.

    Raises:
        ValueError: two of them have the same name.
    """
    found: dict[str, LatentMetric] = {}
    for one in metrics:
        if found.setdefault(one.name, one) is not one:
            raise ValueError(f"two latent metrics are named {one.name!r}: rename one of them")
    return found


def declared(folders: Sequence[str] = (str(Path(__file__).parent),)) -> Iterator[LatentMetric]:
    """The metrics that the other files of this package declare, file by file in the order of their names."""
    package = __name__.rpartition(".")[0]
    for file in sorted(module.name for module in pkgutil.iter_modules(folders)):
        if file not in ("registry", "on_call"):  # which read the finished table
            yield from metrics_of(importlib.import_module(f"{package}.{file}"))


METRICS: dict[str, LatentMetric] = table(
    LatentMetric(
        name="two_nn",
        group="distances",
        read=lambda shared: shared.two_nn.dimension,
        needs_labels=False,
        meaning="intrinsic dimension at the scale of nearest neighbours, among distinct points",
        range="above 0, NaN with too few distinct points",
        source="Facco et al. 2017, 10.1038/s41598-017-11873-y",
        trap="biased low in high dimension at small N; noise of full dimension hides a low-dimensional shape",
        words="intrinsic dimension (TwoNN)",
    ),
    LatentMetric(
        name="participation_ratio",
        group="spectrum",
        read=lambda shared: participation_ratio_of(shared.spectrum.singular_K),
        needs_labels=False,
        meaning="effective number of principal components, (Σλ)²/Σλ²",
        range="1 to min(N−1, D)",
        source="definition; scikit-dimension lPCA(ver='participation_ratio')",
        trap="biased low at small N (31 of 64 at N=64); moves under linear maps that change no ability",
        words="number of directions (participation ratio)",
    ),
    LatentMetric(
        name="rank_me",
        group="spectrum",
        read=lambda shared: rank_me_of(shared.spectrum.singular_K),
        needs_labels=False,
        meaning="effective rank, exp of the entropy of the normalized singular values, centred",
        range="1 to min(N, D)",
        source="Garrido et al. 2023, 2210.02885",
        trap="uncentred it measures the mean; moves under linear maps that change no ability",
        words="effective rank (RankMe)",
    ),
    LatentMetric(
        name="von_neumann_entropy",
        group="spectrum",
        read=lambda shared: von_neumann_entropy_of(shared.spectrum.singular_K),
        needs_labels=False,
        meaning="entropy in nats of the covariance eigenvalues at unit trace",
        range="0 to log min(N−1, D)",
        source="Giraldo et al. 2015, 1211.2459, α → 1",
        trap="biased low at small N; not the log of RankMe; moves under linear maps that change no ability",
        words="spectral entropy (von Neumann)",
    ),
    LatentMetric(
        name="alpha_req",
        group="spectrum",
        read=lambda shared: alpha_req_of(shared.spectrum.singular_K, shared.cloud),
        needs_labels=False,
        meaning="decay exponent α of the covariance eigenvalues, λᵢ ∝ i^−α, over ranks 10 to 50 % of those resolved",
        range="0 or more, NaN with fewer than about 8 dimensions",
        source="Agrawal et al. 2022, NeurIPS, α-ReQ",
        trap="depends on the fit range; no power law need hold; not monotone in quality",
        words="decay of the spectrum (α-ReQ)",
    ),
    LatentMetric(
        name="silhouette",
        group="distances",
        read=lambda shared: silhouette_of(shared.squared_NxN, shared.classes),
        needs_labels=True,
        meaning="mean over points of (distance to the nearest other class − own class) / the larger of both",
        range="−1 to 1",
        source="Rousseeuw 1987, 10.1016/0377-0427(87)90125-7",
        trap="needs equal class counts; concentrates near 0 in high dimension; moves under linear maps",
        words="class separation (silhouette)",
    ),
    LatentMetric(
        name="davies_bouldin",
        group="means",
        read=lambda shared: davies_bouldin_of(shared.cloud, shared.classes, shared.centroids),
        needs_labels=True,
        meaning="mean over classes of the worst (radius + radius) / distance between the class means",
        range="0 or more",
        source="Davies & Bouldin 1979, 10.1109/TPAMI.1979.4766909",
        trap="classes on the same mean make no pair and read as separated; one worst pair decides each class",
        words="class overlap (Davies–Bouldin)",
    ),
    LatentMetric(
        name="calinski_harabasz",
        group="means",
        read=lambda shared: calinski_harabasz_of(shared.cloud, shared.classes, shared.centroids),
        needs_labels=True,
        meaning="between-class over within-class variance, each per degree of freedom",
        range="0 or more, about 1 without class signal",
        source="Caliński & Harabasz 1974, 10.1080/03610927408827101",
        trap="grows with N at a fixed separation: compare at equal N and class counts; moves under linear maps",
        words="class separation (Caliński–Harabasz)",
    ),
    LatentMetric(
        name="class_separation",
        group="means",
        read=lambda shared: class_separation_of(shared.cloud.points_NxD, shared.classes),
        needs_labels=True,
        meaning="1 − mean cosine distance within classes / over all pairs of classes, centred, classes weighted alike",
        range="0 to 1",
        source="Kornblith et al. 2021, 2010.16402",
        trap="higher can hurt transfer; self-pairs count, so without class signal it reads 1/(examples a class)",
        words="class separation (cosine)",
    ),
    LatentMetric(
        name="fisher_trace",
        group="spectrum",
        read=lambda shared: fisher_trace_of(shared.white_NxK, shared.classes),
        needs_labels=True,
        meaning="between-class over within-class scatter, tr((S_W + 1e-5·S_T)⁻¹ S_B), classes weighted by count",
        range="0 to (C−1)·1e5; neutral to invertible linear maps",
        source="Fisher 1936; Fukunaga 1990, ch. 10",
        trap="without class signal it still reads about (C−1)·D/(N−C−D); dominated by the best-separated direction",
        words="class separation (Fisher trace)",
    ),
    LatentMetric(
        name="probe_accuracy",
        group="halves",
        read=lambda shared: shared.probe.accuracy,
        needs_labels=True,
        meaning="held-out accuracy of a ridge probe on whitened features",
        range="0 to 1; neutral to invertible linear maps",
        source="Alain & Bengio 2016, 1610.01644; closed-form ridge",
        trap="inputs that occur in both halves can be memorized: read selectivity as well",
        words="probe accuracy",
    ),
    LatentMetric(
        name="probe_selectivity",
        group="halves",
        read=lambda shared: shared.probe.selectivity,
        needs_labels=True,
        meaning="probe accuracy minus its accuracy on random labels that are a function of the input",
        range="−1 to 1; neutral to invertible linear maps",
        source="Hewitt & Liang 2019, 1909.03368",
        trap="when every input is new the control is at chance, and it repeats the accuracy",
        words="probe selectivity",
    ),
    LatentMetric(
        name="v_information",
        group="halves",
        read=lambda shared: v_information_of(shared.halves, shared.classes),
        needs_labels=True,
        meaning="nats about the label that a linear-softmax reader extracts on the held-out half",
        range="slightly below 0 to log C; neutral to invertible linear maps",
        source="Xu et al. 2020, 2002.10689",
        trap="inputs that occur in both halves count as known; estimated from few examples it reads low",
        words="information for a linear reader (V-information)",
    ),
    *declared(),
)

# Printed with the metrics and never claimed: the value at half the examples (bias check), what the readings rest on.
CHECKS: dict[str, Callable[[Shared], Array]] = {
    "two_nn_half": lambda shared: shared.half_two_nn.dimension,
    "two_nn_kept": lambda shared: shared.two_nn.kept,
    "two_nn_half_kept": lambda shared: shared.half_two_nn.kept,
    "participation_ratio_half": lambda shared: participation_ratio_of(shared.half_spectrum.singular_K),
    "rank_me_half": lambda shared: rank_me_of(shared.half_spectrum.singular_K),
    "von_neumann_entropy_half": lambda shared: von_neumann_entropy_of(shared.half_spectrum.singular_K),
    "probe_control_accuracy": lambda shared: shared.probe.control_accuracy,
}
BALANCE = ("class_count_min", "class_count_max", "classes_present")


def share(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], control_labels_N: Int[Array, "N"], n_classes: int
) -> Shared:
    """The parts that several metrics need, each computed once."""
    cloud = centre(z_NxD)
    n = z_NxD.shape[0]
    h = n // 2
    groups, control = classes(labels_N, n_classes), classes(control_labels_N, n_classes)
    squared_NxN = squared_distances(cloud.points_NxD)
    full = spectrum(cloud.points_NxD)
    halves = split_halves(cloud)
    return Shared(
        cloud=cloud,
        squared_NxN=squared_NxN,
        spectrum=full,
        half_spectrum=spectrum(subtract_mean(cloud.points_NxD[:h])),
        white_NxK=matmul(cloud.points_NxD, whitening(full, n, cloud.resolution)),
        halves=halves,
        classes=groups,
        centroids=centroids(cloud.points_NxD, groups),
        two_nn=two_nn_of(squared_NxN, cloud.resolution),
        half_two_nn=two_nn_of(squared_NxN[:h, :h], cloud.resolution),
        probe=probe_of(halves, groups, control),
    )


def measure(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], control_labels_N: Int[Array, "N"], n_classes: int
) -> dict[str, Float[Array, ""]]:
    """Every reading of one cell. Pure; jit it, and `lax.map` or vmap it over cells.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8 (see the protocol above), examples in random order.
        labels_N: int32 labels in 0..n_classes−1 (a task factor).
        control_labels_N: int32 labels of the control task in the same range (see
          `analysis.metrics.probes.control_labels`).
        n_classes: static number of classes.

    Returns:
        float32 scalars under the names of `METRICS`, `CHECKS` and `BALANCE`. A cell with a non-finite entry, or whose
        points float32 cannot distinguish, reads NaN throughout, except for the class balance, which is of the labels.
        With fewer than two classes, or a label out of range, the readings about labels are NaN.
    """
    shared = share(z_NxD, labels_N, control_labels_N, n_classes)
    readings = {name: metric.read(shared) for name, metric in METRICS.items()}
    readings |= {name: read(shared) for name, read in CHECKS.items()}
    for name, metric in METRICS.items():
        if metric.needs_labels:
            readings[name] = or_nan(shared.classes.valid, readings[name])
    readings = {name: or_nan(shared.cloud.valid, reading) for name, reading in readings.items()}
    return readings | class_balance(shared.classes)
