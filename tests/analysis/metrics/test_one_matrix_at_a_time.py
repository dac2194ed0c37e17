"""No metric gives LAPACK several matrices at once.

jaxlib's kernels split a batch over the threads of the CPU client, which has one for each device: with two devices at
work each waits for the other's thread, for ever (jaxlib 0.10.2; `cross_condition_accuracy` hung a study).
"""

import jax
import pytest

from analysis.activations import bench

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


@pytest.mark.parametrize("name", [*bench.parts(), *bench.on_call()])
def test_each_factorization_is_of_one_matrix(name):
    part, arguments = {**bench.parts(), **bench.on_call()}[name]
    for primitive, shape in batches(part, arguments):
        assert len(shape) == 2, f"{primitive} of {shape}"


def test_a_batch_is_seen():
    part, arguments = bench.parts()["spectrum"]
    several = jax.make_jaxpr(jax.vmap(part))(*(jax.numpy.stack([each, each]) for each in arguments))
    assert any(len(e.invars[0].aval.shape) == 3 for e in equations(several.jaxpr) if e.primitive.name in FACTORIZATIONS)
