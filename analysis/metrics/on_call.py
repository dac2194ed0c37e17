"""Metrics on call: not measured in every study, asked for by name from `analysis.study.OpenStudy.measure`, or claimed.

They need more than one state and a label for each example (views, a second factor, the readout, a second cell), or cost
more than the metrics of `analysis.metrics.registry` together. A study that names one of their readings in its claim or
in `config.probe.extra` measures it at every kept checkpoint (`analysis.activations.claimable`).
`run.py --list=metrics` lists both kinds.

How to add one: docs/adding_a_metric.md. A function under the decorator `analysis.metrics.latent_metric.on_call` is one,
in any file of this folder; those of the table below came first. An argument that no other metric has yet also needs an
entry in `analysis.metrics.latent_metric.ARGUMENTS`, and a few lines in `analysis.activations.on_call`, which reads the
arguments off a checkpoint.

Shape letters: N examples, D and E hidden widths, C classes, X contexts, V views.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from analysis.metrics import dimension, fracture, mdl, neural_collapse, similarity, spectra
from analysis.metrics.latent_metric import ARGUMENTS, OnCallMetric, on_call_metrics_of
from analysis.metrics.lidar import lidar
from analysis.metrics.noisy_mutual_information import noise_information
from analysis.metrics.registry import METRICS, measure

__all__ = ["ARGUMENTS", "ON_CALL", "OnCallMetric", "find"]


def declared() -> Iterator[OnCallMetric]:
    """The metrics on call that the other files of this package declare, file by file in the order of their names."""
    package = __name__.rpartition(".")[0]
    for file in sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if file not in ("registry", "on_call"):
            yield from on_call_metrics_of(importlib.import_module(f"{package}.{file}"))


_LABELLED = ("states", "labels", "n_classes")
_IN_CONTEXTS = ("states", "labels", "contexts", "n_classes", "n_contexts")
_PAIR = ("states", "other")

ON_CALL: dict[str, OnCallMetric] = {
    metric.name: metric
    for metric in (
        OnCallMetric(
            name="mle",
            function=dimension.mle,
            arguments=("states",),
            words="intrinsic dimension (maximum likelihood)",
            gain=-1,
            meaning=f"intrinsic dimension by maximum likelihood over {dimension.MLE_NEIGHBOURS} neighbours",
            range="above 0, NaN with too few distinct points",
            source="Levina & Bickel 2004; averaged as MacKay & Ghahramani 2005",
            trap="strongly biased low in high dimension (a true 20 reads about 14): compare at equal N",
        ),
        OnCallMetric(
            name="gride",
            function=dimension.gride,
            arguments=("states", "k"),
            settings={"k": 4},
            words="intrinsic dimension (Gride)",
            gain=-1,
            meaning="intrinsic dimension at the scale of the k-th neighbour, from distance ratios r_2k/r_k",
            range=f"above 0, NaN with too few distinct points; k from 1 (TwoNN) to {dimension.NEIGHBOURS // 2}",
            source="Denti et al. 2022, 10.1038/s41598-022-20991-1",
            trap="one k says little: read it as a curve over k, where a fall is noise at the smallest scale",
        ),
        OnCallMetric(
            name="local_pca",
            function=dimension.local_pca,
            arguments=("states",),
            words="local number of directions (local PCA)",
            gain=0,
            meaning=f"mean participation ratio of a point and its {dimension.NEIGHBOURS} nearest distinct neighbours",
            range=f"1 to {dimension.NEIGHBOURS}",
            source="Fukunaga & Olsen 1971, without a threshold",
            trap=f"biased low unless the dimension is far below {dimension.NEIGHBOURS}",
        ),
        OnCallMetric(
            name="renyi_entropy",
            function=spectra.renyi_entropy,
            arguments=("states",),
            words="spectral entropy (Rényi)",
            gain=1,
            meaning="Rényi entropy of order 2 of the covariance eigenvalues at unit trace, in nats",
            range="0 to log min(N−1, D)",
            source="Giraldo et al. 2015, 1211.2459",
            trap="exactly the logarithm of the participation ratio: no second witness of it",
        ),
        OnCallMetric(
            name="within_class_collapse",
            function=neural_collapse.within_class_collapse,
            arguments=_LABELLED,
            words="spread within classes (NC1)",
            gain=-1,
            meaning="NC1: spread within classes over that of their means, tr(Σ_W Σ_B⁺)/C",
            range="0 or more; 0 when each class is one point",
            source="Papyan et al. 2020, 2008.08186",
            trap="without class signal it grows with the examples a class: compare at equal counts only",
        ),
        OnCallMetric(
            name="class_mean_simplex",
            function=neural_collapse.class_mean_simplex,
            arguments=_LABELLED,
            words="distance of class means from a simplex (NC2)",
            gain={"norm_spread": -1, "angle_spread": -1, "angle_gap": -1},
            meaning="NC2: how far the class means are from a simplex (norm_spread, angle_spread, angle_gap)",
            range="0 or more; 0 throughout for a simplex",
            source="Papyan et al. 2020, 2008.08186",
            trap="in high dimension the means' sampling noise alone is nearly a simplex",
        ),
        OnCallMetric(
            name="readout_alignment",
            function=neural_collapse.readout_alignment,
            arguments=("states", "labels", "readout"),
            words="distance of readout and class means (NC3)",
            gain=-1,
            meaning="NC3: squared distance between class means and readout rows, each at unit norm; last layer only",
            range="0 aligned, 2 orthogonal, 4 opposed; NaN unless the label decides the answer",
            source="Papyan et al. 2020, 2008.08186",
            trap="collapse is a claim under test, not a virtue: it can hurt transfer (2202.08384)",
        ),
        OnCallMetric(
            name="nearest_mean_disagreement",
            function=neural_collapse.nearest_mean_disagreement,
            arguments=("states", "labels", "decisions", "n_classes"),
            words="disagreement with the nearest mean (NC4)",
            gain=-1,
            meaning="NC4: share of examples whose decision is not the class with the nearest mean",
            range="0 to 1; NaN unless the label decides the answer",
            source="Papyan et al. 2020, 2008.08186",
            trap="0 says that both agree, not that either is right",
        ),
        OnCallMetric(
            name="mdl_probe",
            function=mdl.mdl_probe,
            arguments=_LABELLED,
            words="description length of the labels (MDL probe)",
            gain={"codelength": -1, "compression": 1},
            meaning="online codelength of the labels given the states in nats, and compression against a uniform code",
            range="codelength above 0; compression about 1 without information",
            source="Voita & Titov 2020, 2003.12298",
            trap="inputs that come again are cheap the second time, whatever the factor; compare at equal N",
        ),
        OnCallMetric(
            name="lidar",
            function=lidar,
            arguments=("views",),
            words="directions that tell inputs apart (LiDAR)",
            gain=1,
            meaning="effective number of directions that distinguish inputs, in units of what renaming them moves",
            range="1 to min(N−1, D)",
            source="Thilak et al. 2023, 2312.04000",
            trap="with few views noise in the means counts as difference between inputs",
        ),
        OnCallMetric(
            name="parallelism_score",
            function=fracture.parallelism_score,
            arguments=_IN_CONTEXTS,
            words="parallelism of coding directions",
            gain=1,
            meaning="mean cosine between a factor's coding directions in different contexts",
            range="−1 to 1, around 0 when contexts code independently",
            source="Bernardi et al. 2020, 10.1016/j.cell.2020.09.031",
            trap="few examples a class and context pull it to 0: compare at equal counts",
        ),
        OnCallMetric(
            name="cross_condition_accuracy",
            function=fracture.cross_condition_accuracy,
            arguments=_IN_CONTEXTS,
            words="cross-condition generalization (CCGP)",
            gain=1,
            meaning="accuracy of the ridge probe in a context that it was not trained in, mean over contexts",
            range="0 to 1; neutral to invertible linear maps",
            source="Bernardi et al. 2020, 10.1016/j.cell.2020.09.031",
            trap="a class that occurs in one context only can't be got right there: read probe_accuracy as well",
        ),
        OnCallMetric(
            name="noisy_probe_accuracy",
            function=fracture.noisy_probe_accuracy,
            arguments=("states", "labels", "n_classes", "relative_noise", "key"),
            settings={"relative_noise": 0.1},
            words="probe accuracy under noise",
            gain=1,
            meaning="held-out accuracy of the ridge probe, tested on states under Gaussian noise",
            range="0 to 1",
            source=f"definition; mean of {fracture.NOISE_DRAWS} draws, noise relative to the states' RMS norm",
            trap="unlike the clean probe it moves under linear maps that change no ability",
        ),
        OnCallMetric(
            name="neighbour_stretch",
            function=fracture.neighbour_stretch,
            arguments=("before", "states"),
            words="stretch between neighbours",
            gain={"median": -1, "largest": -1},
            meaning="how much the layers in between stretch the step to each example's nearest neighbour",
            range="0 or more (median, largest)",
            source="definition; a lower bound of the Lipschitz constant",
            trap="the largest grows with N: compare at equal N",
        ),
        OnCallMetric(
            name="noise_information",
            function=noise_information,
            arguments=("states", "relative_noise"),
            settings={"relative_noise": 0.1},
            words="information under noise",
            gain={"lower": 1, "upper": 1},
            meaning="bounds (lower, upper) on the nats that states under Gaussian noise carry about the example",
            range="0 to log N",
            source="Kolchinsky & Tracey 2017, 1706.02419",
            trap="near log N the noise is too small for N to say anything: read a curve over its size",
        ),
        OnCallMetric(
            name="linear_cka",
            function=similarity.linear_cka,
            arguments=_PAIR,
            words="similarity (linear CKA)",
            gain=0,
            meaning="similarity of two cells' states: linear CKA, biased",
            range="0 to 1; ignores rotations",
            source="Kornblith et al. 2019, 1905.00414",
            trap="independent data read about D/(N+D); a few directions of large variance decide it",
        ),
        OnCallMetric(
            name="debiased_linear_cka",
            function=similarity.debiased_linear_cka,
            arguments=_PAIR,
            words="similarity (debiased CKA)",
            gain=0,
            meaning="similarity of two cells' states: linear CKA from unbiased HSIC",
            range="about 0 for independent data, at most 1; ignores rotations",
            source="Nguyen et al. 2021, 2010.15327",
            trap="a high value does not mean that the same can be read from both (2210.16156)",
        ),
        OnCallMetric(
            name="svcca",
            function=similarity.svcca,
            arguments=("states", "other", "share"),
            settings={"share": 0.99},
            words="similarity (SVCCA)",
            gain=0,
            meaning="similarity of two cells' states: mean canonical correlation of leading principal components",
            range="0 to 1; at share=1 neutral to invertible linear maps",
            source="Raghu et al. 2017, 1706.05806",
            trap="one component more or less at the threshold changes it; independent data read high at large D",
        ),
        OnCallMetric(
            name="procrustes_distance",
            function=similarity.procrustes_distance,
            arguments=_PAIR,
            words="distance (Procrustes)",
            gain=0,
            meaning="squared orthogonal Procrustes distance of two cells' states at unit norm",
            range="0 to 2; ignores rotations",
            source="Ding et al. 2021, 2108.01661",
            trap="moves under linear maps that change no ability; below 1e-6 it is rounding",
        ),
        OnCallMetric(
            name="linear_image",
            function=similarity.linear_image,
            arguments=_PAIR,
            words="linear image (R²)",
            gain={"y_from_x": 0, "x_from_y": 0},
            meaning="held-out R² of one cell's states regressed on the other's (y_from_x: the other from this one)",
            range="up to 1; neutral to invertible linear maps",
            source="ordinary least squares, see `analysis.metrics.similarity`",
            trap="columns of large variance decide it: up to 5% of the variance may be lost at .95",
        ),
        *declared(),
    )
}


def find(name: str) -> OnCallMetric | None:
    """A metric on call, or one of the registry as one; None where there is no metric of that name."""
    if name in ON_CALL or name not in METRICS:
        return ON_CALL.get(name)
    known = METRICS[name]
    return OnCallMetric(
        name=name,
        function=lambda *cell: measure(*cell)[name],
        arguments=("states", "labels", "control_labels", "n_classes"),
        meaning=known.meaning,
        range=known.range,
        source=known.source,
        trap=known.trap,
    )
