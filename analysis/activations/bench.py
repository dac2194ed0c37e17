"""How long latents take to read on this machine: `python -m analysis.activations.bench`.

The first line is the time of every registered metric over a whole grid, 72 cells × 3 layers × 2 read positions at
N=1024 and D=64, on all cores as a study reads them, without the forward passes. Then what each part costs a place, on
one device: wall and CPU time, in turns, the best of each; and the metrics on call, which are measured where a study
names them, those of the loss's curvature once a cell, at a model of width 64 and 2 layers.

Parts are compiled one by one, so that their sum is more than what the whole takes. CPU seconds count all threads; on a
machine with other work they say more than wall time does.

Shape letters: N examples, D width, C classes, M places, G cells.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analysis.activations.training_loss import EXAMPLES
from analysis.metrics import METRICS, ON_CALL, OnCallMetric, centre, classes, curvature, linear_image, measure, spectrum
from analysis.metrics.cluster_indices import calinski_harabasz_of, centroids, class_separation_of, davies_bouldin_of
from analysis.metrics.geometry import squared_distances, two_nn_of
from analysis.metrics.probes import probe_of, split_halves
from analysis.metrics.separation import fisher_trace_of, silhouette_of
from analysis.metrics.v_information import v_information_of
from lab.engine import Programs, device_grid
from lab.errors import Parser, command
from lab.nn import model

CELLS, PLACES = 72, 6  # 3 layers at 2 read positions
N, D, C = 1024, 64, 16
ROUNDS = 5


def states(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32[*shape, N, D] states of 16 classes in a decaying spectrum, int32[*shape, N] labels and control labels."""
    rng = np.random.default_rng(0)
    labels, control = (rng.integers(0, C, (*shape, N)).astype(np.int32) for _ in range(2))
    z = rng.normal(size=(*shape, N, D)) + rng.normal(size=(C, D))[labels]
    return (z * np.geomspace(1, 0.02, D)).astype(np.float32), labels, control


def measure_places(z_MxNxD: jax.Array, labels_MxN: jax.Array, control_MxN: jax.Array) -> dict[str, jax.Array]:
    """Every reading of one cell at its places, as `analysis.activations.measure.measure_cell` takes them."""
    return lax.map(lambda place: measure(*place, n_classes=C), (z_MxNxD, labels_MxN, control_MxN))


def whole(programs: Programs) -> tuple[float, float]:
    """Wall and CPU seconds for all cells, compiling left out."""
    size = programs.layout.devices * programs.layout.chunk
    arguments = device_grid.to_devices(states((size, PLACES)), programs.layout)
    call = programs.get("latent metrics", (), measure_places, arguments)
    wall_start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(-(-CELLS // size)):
        device_grid.fetch(call(*arguments))
    return time.perf_counter() - wall_start, time.process_time() - cpu_start


def parts() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """name -> (what computes it, from what); what it rests on is not timed with it."""
    z, labels, control = (jnp.asarray(one) for one in states(()))
    cloud, h = centre(z), N // 2
    points, resolution = cloud.points_NxD, cloud.resolution
    squared, spec, halves = squared_distances(points), spectrum(points), split_halves(cloud)
    groups, others = classes(labels, C), classes(control, C)
    white, middle = points / spec.singular_K[0], centroids(points, groups)
    return {
        "distances": (squared_distances, (points,)),
        "two_nn": (two_nn_of, (squared, resolution)),
        "two_nn at N/2": (two_nn_of, (squared[:h, :h], resolution)),
        "silhouette": (silhouette_of, (squared, groups)),
        "spectrum": (spectrum, (points,)),
        "spectrum at N/2": (spectrum, (points[:h],)),
        "fisher_trace": (fisher_trace_of, (white, groups)),
        "halves, whitened": (split_halves, (cloud,)),
        "probe and its control": (probe_of, (halves, groups, others)),
        "v_information": (v_information_of, (halves, groups)),
        "class means": (centroids, (points, groups)),
        "davies_bouldin": (davies_bouldin_of, (cloud, groups, middle)),
        "calinski_harabasz": (calinski_harabasz_of, (cloud, groups, middle)),
        "class_separation": (class_separation_of, (points, groups)),
        "all of them": (lambda *place: measure(*place, n_classes=C), (z, labels, control)),
        "(linear_image, a pair)": (linear_image, (z, z[:, ::-1])),
    }


def on_call() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """name -> (what computes a metric on call, from what), in the form of `parts`."""
    z, labels, control = (jnp.asarray(one) for one in states(()))
    given: dict[str, Any] = {"states": z, "labels": labels, "control_labels": control, "before": z[:, ::-1]}
    given |= {"contexts": control % 4, "views": jnp.stack([z, z[:, ::-1], -z, z + 1], axis=1), "other": z[:, ::-1]}
    given |= {"readout": z[:C], "decisions": labels, "unembedding": z[:64], "key": jax.random.key(0)}
    given |= {"relative_noise": jnp.float32(0.1), "factors": jnp.stack([labels, control], axis=1)}
    fixed = {"n_classes": C, "n_contexts": 4, "factor_sizes": (C, C), "k": 4, "share": 0.99}

    def one(metric: OnCallMetric) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        arrays = {name: given[name] for name in metric.arguments if name in given}
        return (lambda arrays: metric({**arrays, **fixed})), (arrays,)

    found = {name: one(metric) for name, metric in ON_CALL.items() if {*metric.arguments} <= {*given, *fixed}}
    return found | curvatures()


def curvatures() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The readings of the loss's curvature, with all their passes."""
    spec = model.ModelSpec(vocab_size=64, max_length=32, width=D, layers=2, heads=4, mlp_width=4 * D)
    key = jax.random.key(0)
    params = jax.jit(model.init, static_argnums=1)(key, spec)
    tokens_BxL = jax.random.randint(key, (EXAMPLES, 32), 0, 64)

    def loss(params: Any) -> jax.Array:
        logits_BxLxV = model.run(params, tokens_BxL, spec).logits
        return -jnp.mean(jax.nn.log_softmax(logits_BxLxV)[:, :, 0])

    return {
        "hessian_trace": (lambda p: curvature.quadratic_forms(loss, p, key), (params,)),
        "hessian_top_eigenvalue": (lambda p: curvature.ritz_values(loss, p, key), (params,)),
        "ball_sharpness": (lambda p: curvature.ball_rises(loss, p), (params,)),
    }


def timed(parts: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]) -> dict[str, tuple[float, float]]:
    """name -> best wall and CPU milliseconds a place."""
    programs = {name: (jax.jit(part), arguments) for name, (part, arguments) in parts.items()}
    for part, arguments in programs.values():
        jax.block_until_ready(part(*arguments))
    best = dict.fromkeys(programs, (float("inf"), float("inf")))
    for _ in range(ROUNDS):
        for name, (part, arguments) in programs.items():
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            jax.block_until_ready(part(*arguments))
            wall, cpu = time.perf_counter() - wall_start, time.process_time() - cpu_start
            best[name] = min(best[name][0], 1e3 * wall), min(best[name][1], 1e3 * cpu)
    return best


@command
def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    Parser("analysis.activations.bench", __doc__).read(arguments)
    device_grid.use_every_core()
    programs = Programs(device_grid.local_layout())
    wall, cpu = whole(programs)
    print(
        f"{CELLS} cells × {PLACES} places, {len(METRICS)} metrics, N={N}, D={D}: {wall:.1f} s, {cpu:.1f} CPU seconds"
        f" on {programs.layout.devices} {programs.layout.platform} devices; compiled in {programs.seconds:.1f} s",
        flush=True,
    )
    for title, table in (("a place", parts()), ("where it is named", on_call())):
        print(f"\n{title:25s} {'ms':>8s} {'CPU ms':>8s}")
        for name, (wall_ms, cpu_ms) in timed(table).items():
            print(f"{name:25s} {wall_ms:8.2f} {cpu_ms:8.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
