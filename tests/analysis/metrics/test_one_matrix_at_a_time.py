"""No metric and no training step gives LAPACK several matrices at once.

jaxlib's kernels split a batch over the threads of the CPU client, which has one for each device: with two devices at
work each waits for the other's thread, for ever (jaxlib 0.10.2; `cross_condition_accuracy` hung a study).
"""

import jax
import jax.numpy as jnp
import pytest

from analysis.activations import bench
from analysis.metrics import ON_CALL
from lab.bench import mechanisms as cost
from lab.bench.programs import reference
from lab.mechanisms import MECHANISMS
from lab.mechanisms.knobs import KNOBS
from lab.training import step

FACTORIZATIONS = ("qr", "geqrf", "householder_product", "svd", "eigh", "cholesky", "lu", "triangular_solve")


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for each in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(each, "jaxpr", each)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def batches(part, arguments):
    """Factorizations in a program, with the shapes of what they factorize."""
    found = equations(jax.make_jaxpr(part)(*arguments).jaxpr)
    return [(e.primitive.name, e.invars[0].aval.shape) for e in found if e.primitive.name in FACTORIZATIONS]


PARTS = {**bench.parts(), **bench.on_call(), **bench.curvatures()}


@pytest.mark.parametrize("name", PARTS)
def test_each_factorization_is_of_one_matrix(name):
    part, arguments = PARTS[name]
    for primitive, shape in batches(part, arguments):
        assert len(shape) == 2, f"{primitive} of {shape}"


def test_every_metric_on_call_is_tried():
    tried = {*bench.on_call(), *bench.curvatures(), "linear_image"}
    assert {*ON_CALL} - tried == set()


def test_a_batch_is_seen():
    part, arguments = bench.parts()["spectrum"]
    several = jax.make_jaxpr(jax.vmap(part))(*(jnp.stack([each, each]) for each in arguments))
    assert any(len(e.invars[0].aval.shape) == 3 for e in equations(several.jaxpr) if e.primitive.name in FACTORIZATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
def test_each_factorization_of_a_training_step_is_of_one_matrix(mechanism):
    plain = reference(16, 8, 4)
    values = cost.settings(mechanism)
    program = cost.with_mechanism(plain, mechanism, values)
    knobs = {n: jnp.float32(k.number(values[n])) for n, k in KNOBS.items() if k.traced and n != "seed"}
    seed, start = jnp.int32(0), jnp.int32(0)

    def one_call(seed, knobs, start):
        state = step.begin(program, step.init(program, seed), knobs, seed, start)
        return step.train_call(program, start, seed, knobs, state)

    assert all(len(shape) == 2 for _, shape in batches(one_call, (seed, knobs, start)))
