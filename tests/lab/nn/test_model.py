"""The transformer against naive references."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.nn import model
from lab.nn.layers import rotate
from lab.nn.model import POSITIONS, ModelSpec
from tests.lab.conftest import initial_params
from tests.tasks.task_cases import first_by_default

SPEC = ModelSpec(vocab_size=11, max_length=9, width=16, layers=2, heads=2, mlp_width=24)
TOKENS_BxL = jax.random.randint(jax.random.key(1), (3, 7), 0, 11)


@pytest.mark.parametrize("outputs", [4, 5, 6])
def test_linear_has_the_gradients_of_a_matrix_product(outputs):
    x = jax.random.normal(jax.random.key(0), (2, 3, 5))
    kernel = jax.random.normal(jax.random.key(1), (5, outputs))
    weight = jax.random.normal(jax.random.key(2), (2, 3, outputs))
    ours = jax.grad(lambda x, k: jnp.sum(weight * jnp.sin(model.linear(x, k))), (0, 1))(x, kernel)
    plain = jax.grad(lambda x, k: jnp.sum(weight * jnp.sin(jnp.einsum("bli,io->blo", x, k))), (0, 1))(x, kernel)
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("positions", first_by_default(POSITIONS))
@pytest.mark.parametrize("activation", first_by_default(sorted(model.ACTIVATIONS)))
def test_shapes_and_causality(positions, activation):
    spec = ModelSpec(11, 9, 16, 2, 2, 24, positions, activation)
    params = initial_params(jax.random.key(0), spec)
    logits, hidden = model.apply(params, TOKENS_BxL, spec)
    assert logits.shape == (3, 7, 11)
    assert hidden.shape == (3, 3, 7, 16)  # embedding and two blocks
    changed = TOKENS_BxL.at[:, 4].set((TOKENS_BxL[:, 4] + 1) % 11)
    again, _ = model.apply(params, changed, spec)
    np.testing.assert_array_equal(logits[:, :4], again[:, :4])
    assert not np.allclose(logits[:, 4:], again[:, 4:])


def test_logits_at_positions_are_those_of_the_whole_sequence():
    params = initial_params(jax.random.key(0), SPEC)
    everywhere, _ = model.apply(params, TOKENS_BxL, SPEC)
    at_BxA = jnp.asarray([[0, 6], [3, 3], [5, 1]])
    some, _ = model.apply(params, TOKENS_BxL, SPEC, at_BxA)
    np.testing.assert_allclose(some, jnp.take_along_axis(everywhere, at_BxA[..., None], axis=1), rtol=1e-5, atol=1e-6)


def numpy_forward(params, tokens_L, spec):
    """The same model written naively in float64, learned positions."""

    def norm(x, p):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * p["scale"] + p["bias"]

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = p["embedding"][tokens_L] + p["positions"][: len(tokens_L)]
    for layer in range(spec.layers):
        block = p[f"block_{layer}"]
        qkv = (norm(x, block["norm_attention"]) @ block["attention"]["qkv"]["kernel"]).reshape(
            len(x), 3, spec.heads, -1
        )
        heads = []
        for head in range(spec.heads):
            q, k, v = qkv[:, 0, head], qkv[:, 1, head], qkv[:, 2, head]
            rows = []
            for t in range(len(x)):
                score = np.exp([q[t] @ k[s] / np.sqrt(q.shape[-1]) for s in range(t + 1)])
                rows.append(score / score.sum() @ v[: t + 1])
            heads.append(rows)
        x = x + np.concatenate(heads, axis=-1) @ block["attention"]["out"]["kernel"]
        hidden = np.maximum(norm(x, block["norm_mlp"]) @ block["mlp_in"]["kernel"], 0)
        x = x + hidden @ block["mlp_out"]["kernel"]
    return norm(x, p["norm_final"]) @ p["unembedding"]["kernel"], x


def test_against_a_naive_float64_transformer():
    params = initial_params(jax.random.key(3), SPEC)
    logits, hidden = model.apply(params, TOKENS_BxL, SPEC)
    for example in range(3):
        expected, last = numpy_forward(params, np.asarray(TOKENS_BxL[example]), SPEC)
        np.testing.assert_allclose(logits[example], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(hidden[-1, example], last, rtol=1e-4, atol=1e-5)


def test_rotary_scores_depend_on_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 8))
    same = lambda x: rotate(jnp.broadcast_to(x, (1, 6, 1, 8)), jnp.arange(6)[None])[0, :, 0]  # noqa: E731
    scores = np.asarray(same(q) @ same(k).T)
    for offset in range(5):
        np.testing.assert_allclose(np.diagonal(scores, offset), scores[0, offset], rtol=1e-4, atol=1e-5)
    assert abs(scores[0, 0] - scores[0, 3]) > 1e-3


def test_which_weights_are_prunable():
    params = initial_params(jax.random.key(0), SPEC)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params) if model.is_linear_kernel(path)]
    names = {"/".join(str(entry.key) for entry in path[1:]) for path in paths}
    assert names == {"attention/qkv/kernel", "attention/out/kernel", "mlp_in/kernel", "mlp_out/kernel"}
    assert len(paths) == 4 * SPEC.layers
