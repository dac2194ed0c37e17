"""How matrix products are taken: bfloat16 factors under float32 masters, and what is asked of an accelerator."""

import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from lab.engine import make_plan
from lab.engine.plan import traced_arguments
from lab.engine.program_cache import PRECISION
from lab.jobs.workdir import Workdir
from lab.nn import model
from lab.nn.layers import Precision
from lab.storage import checkpoint
from lab.training import step
from tests.lab.conftest import LAYOUT, carry_out, study_of, tiny_config


def with_model(**fields):
    config = tiny_config()
    config.model.update(fields)
    return study_of(config)


def program_of(study):
    return make_plan(study, LAYOUT).program_groups[0].program


def lowered(program, platform="cpu"):
    """The training program of one cell as it is handed to a platform's compiler."""
    knobs = {name: jnp.float32(1e-3) for name in traced_arguments([])[1]}
    seed = jnp.int32(0)
    state = jax.eval_shape(lambda: step.init(program, seed))
    with jax.default_matmul_precision(PRECISION):
        traced = jax.jit(lambda t, s, k, x: step.train_call(program, t, s, k, x)).trace(seed, seed, knobs, state)
        return traced.lower(lowering_platforms=(platform,)).as_text()


def products(text):
    return [line for line in text.splitlines() if "stablehlo.dot_general" in line]


def rounded(x):
    return np.asarray(x).astype(ml_dtypes.bfloat16).astype(np.float64)


def test_bfloat16_rounds_the_factors_and_nothing_else():
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel, weight = (jax.random.normal(k, s) for k, s in zip(keys, ((6, 5), (5, 4), (6, 4)), strict=True))
    bfloat16 = Precision("bfloat16")
    found, slopes = jax.vjp(lambda x, k: model.linear(x, k, bfloat16), x, kernel)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, rounded(x) @ rounded(kernel), rtol=1e-6, atol=1e-6)
    assert not np.allclose(found, x @ kernel, rtol=1e-6, atol=1e-6)
    dx, dkernel = slopes(weight)
    np.testing.assert_allclose(dx, rounded(weight) @ rounded(kernel).T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dkernel, rounded(x).T @ rounded(weight), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("compute", model.COMPUTE)
def test_sums_over_letters_are_rounded_the_same_both_ways(compute):
    factor = rounded if compute == "bfloat16" else lambda x: np.asarray(x, np.float64)
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, weight = (jax.random.normal(key, s) for key, s in zip(keys, ((2, 3, 5), (2, 4, 5), (2, 3, 4)), strict=True))
    scores, slopes = jax.vjp(lambda q, k: Precision(compute).einsum("bld,bmd->blm", q, k), q, k)
    np.testing.assert_allclose(scores, np.einsum("bld,bmd->blm", factor(q), factor(k)), rtol=1e-6, atol=1e-6)
    dq, dk = slopes(weight)
    assert dq.dtype == scores.dtype == jnp.float32
    np.testing.assert_allclose(dq, np.einsum("blm,bmd->bld", factor(weight), factor(k)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dk, np.einsum("blm,bld->bmd", factor(weight), factor(q)), rtol=1e-6, atol=1e-6)


def test_a_program_of_bfloat16_takes_every_product_of_the_model_in_it():
    plain, half = (products(lowered(program_of(with_model(compute=c)), "tpu")) for c in model.COMPUTE)
    assert len(plain) == len(half) > 10
    assert not any("bf16" in line for line in plain)
    assert all("bf16" in line for line in half)


@pytest.mark.parametrize("asked", ["high", "default"])
def test_the_precision_of_float32_products_is_what_was_asked(asked):
    lines = products(lowered(program_of(with_model(products=asked))))
    assert lines
    assert all(f"precision = [{asked.upper()}, {asked.upper()}]" in line for line in lines)
    assert all("[HIGHEST, HIGHEST]" in line for line in products(lowered(program_of(study_of()))))


@pytest.mark.slow
def test_masters_stay_float32_and_training_goes_on(trained, tmp_path):
    plan, store, _ = trained
    half = with_model(compute="bfloat16")
    found, there, _ = carry_out(half, tmp_path)
    for index in (0, 4):
        losses = []
        for one, kept in ((found, there), (plan, store)):
            place = [kept.final(one.nodes_of_cells()[index][-1].key)]
            params, state = checkpoint.gather(place, "params"), checkpoint.gather(place, "state")
            assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
            assert {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.dtype.kind not in "ib"} == {
                np.dtype("float32")
            }
            losses.append(checkpoint.gather(place, "history")["loss"])
        np.testing.assert_allclose(*losses, rtol=0.02)
        assert not np.array_equal(*losses)


def test_precision_is_part_of_what_a_cell_is():
    studies = [study_of(), with_model(compute="bfloat16"), with_model(products="default")]
    assert len({study.key(study.cells[0], 0) for study in studies}) == 3
    assert "compute" not in studies[0].content(studies[0].cells[0], 0)["model"]  # keys of before it are the same


def test_a_work_directory_of_before_a_field_was_there_goes_on(tmp_path):
    study, config = study_of(), tiny_config()
    workdir = Workdir(tmp_path, study, config, LAYOUT)
    workdir.claim()
    record = tmp_path / "study.json"
    text = record.read_text()
    for line in ('"compute": "float32",', '"products": "highest",'):
        assert line in text
        text = text.replace(line, "")
    record.write_text(re.sub(r'"digest": "\w+",', "", text))
    assert workdir.check() == []
    config.model.compute = "bfloat16"
    with pytest.raises(ValueError, match=r"config\.model\.compute is 'float32' there and 'bfloat16' here"):
        Workdir(tmp_path, study_of(config), config, LAYOUT).check()
