"""What each knob does, against plain loops in NumPy of its own."""

import jax
import numpy as np
import pytest

from lab.frozen.knobs import KNOBS, VECTORS, WEIGHTS, Fitted, kernels_of, with_kernels
from lab.storage import pretrained
from tests.tiny_pretrained import write_folder

NAMES = {"query": (8, 8), "key": (8, 8), "value": (8, 8), "output": (8, 8), "up": (8, 12), "down": (12, 8)}
SHARES = (0.1, 0.25, 0.5, 0.9, 1.0)


def drawn(seed=0):
    """Kernels of two blocks, and a norm for each of their inputs."""
    random = np.random.default_rng(seed)
    kernels, norms = {}, {}
    for block in ("block_0", "block_1"):
        for name, shape in NAMES.items():
            kernels[block, name] = random.normal(size=shape).astype(np.float32)
            norms[block, name] = random.uniform(0.1, 3, size=shape[0])
    return kernels, norms


KERNELS, NORMS = drawn()


def fitted_on(vectors_NxD):
    value_D, basis_DxD = np.linalg.eigh(np.cov(vectors_NxD.T))
    return Fitted(vectors_NxD.mean(axis=0), value_D[::-1], basis_DxD[:, ::-1], {})


def nothing_fitted(norms=NORMS):
    return Fitted(np.zeros(8), np.ones(8), np.eye(8), norms)


def cloud(n=200, width=6, seed=1):
    """Vectors whose directions have different variances, far from the origin."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(width, width)))[0]
    return random.normal(size=(n, width)) * np.geomspace(3, 0.1, width) @ turn + random.normal(size=width) * 2


VECTORS_NxD = cloud()
FITTED = fitted_on(VECTORS_NxD)


def on_weights(name, value, kernels=KERNELS, seed=0, **chosen):
    before = {at: kernel.copy() for at, kernel in kernels.items()}
    found = KNOBS[name].apply(kernels, value, nothing_fitted(), seed, chosen)
    assert list(found) == list(kernels)
    for at, kernel in kernels.items():
        np.testing.assert_array_equal(kernel, before[at])  # what was given is left as it was
        assert found[at].shape == kernel.shape
        assert found[at].dtype == np.float32
    return found


def on_vectors(name, value, vectors_NxD=VECTORS_NxD):
    found_NxD = KNOBS[name].apply(vectors_NxD, value, FITTED)
    assert found_NxD.shape == vectors_NxD.shape
    return found_NxD


@pytest.mark.parametrize("amount", SHARES)
def test_magnitude_takes_the_smallest_weights_of_all_kernels_together(amount):
    entries = [
        (abs(float(kernel[i, o])), at, i, o)
        for at, kernel in KERNELS.items()
        for i in range(kernel.shape[0])
        for o in range(kernel.shape[1])
    ]
    expected = {at: kernel.copy() for at, kernel in KERNELS.items()}
    for _, at, i, o in sorted(entries, key=lambda entry: entry[0])[: round(amount * len(entries))]:
        expected[at][i, o] = 0
    found = on_weights("prune.amount", amount, score="magnitude")
    for at, kernel in expected.items():
        np.testing.assert_array_equal(found[at], kernel)


def test_of_weights_of_one_size_magnitude_takes_the_first():
    kernels = {("block_0", "query"): np.ones((4, 4), np.float32), ("block_0", "key"): -np.ones((4, 4), np.float32)}
    found = on_weights("prune.amount", 0.625, kernels, score="magnitude")
    np.testing.assert_array_equal(found["block_0", "query"], np.zeros((4, 4)))
    np.testing.assert_array_equal(found["block_0", "key"], np.repeat([0.0, -1, -1, -1], 4).reshape(4, 4))


@pytest.mark.parametrize("amount", SHARES)
def test_wanda_takes_of_each_output_the_inputs_with_the_smallest_product(amount):
    found = on_weights("prune.amount", amount, score="wanda")
    for at, kernel in KERNELS.items():
        expected = kernel.copy()
        for o in range(kernel.shape[1]):
            scores = [abs(float(kernel[i, o])) * NORMS[at][i] for i in range(kernel.shape[0])]
            for i in sorted(range(kernel.shape[0]), key=scores.__getitem__)[: round(amount * kernel.shape[0])]:
                expected[i, o] = 0
        np.testing.assert_array_equal(found[at], expected)


@pytest.mark.parametrize("amount", SHARES)
def test_neurons_take_those_of_each_block_with_the_smallest_product_of_norms(amount):
    found = on_weights("prune.amount", amount, score="neurons")
    for block in ("block_0", "block_1"):
        up, down = KERNELS[block, "up"], KERNELS[block, "down"]
        sizes = [np.sqrt((up[:, m] ** 2).sum()) * np.sqrt((down[m] ** 2).sum()) for m in range(12)]
        out = sorted(range(12), key=sizes.__getitem__)[: round(amount * 12)]
        expected = down.copy()
        for m in out:
            expected[m] = 0
        np.testing.assert_array_equal(found[block, "down"], expected)
        for name in (*NAMES,)[:-1]:
            np.testing.assert_array_equal(found[block, name], KERNELS[block, name])


@pytest.mark.parametrize(("removed", "rank"), [(0.1, 7), (0.25, 6), (0.5, 4), (0.9, 1), (1.0, 1)])
def test_low_rank_is_the_nearest_of_that_rank(removed, rank):
    """Eckart and Young: the error is the root of the sum of squares of the singular values that are left out."""
    found = on_weights("low_rank.removed", removed)
    for at, kernel in KERNELS.items():
        value_K = np.linalg.svd(kernel.astype(float), compute_uv=False)
        kept_K = np.linalg.svd(found[at].astype(float), compute_uv=False)
        assert (kept_K > 1e-5 * kept_K[0]).sum() == rank
        np.testing.assert_allclose(kept_K[:rank], value_K[:rank], rtol=1e-5)
        error = np.sqrt(((kernel.astype(float) - found[at]) ** 2).sum())
        np.testing.assert_allclose(error, np.sqrt((value_K[rank:] ** 2).sum()), rtol=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8, 16])
def test_a_quantized_output_has_few_levels_and_keeps_its_largest_weight(bits):
    found = on_weights("quantize.bits", bits)
    for at, kernel in KERNELS.items():
        for o in range(kernel.shape[1]):
            before, after = kernel[:, o].astype(float), found[at][:, o].astype(float)
            largest = int(np.argmax(np.abs(before)))
            step = abs(before[largest]) / (2 ** (bits - 1) - 1)
            assert len(set(after.tolist())) <= 2**bits - 1
            assert after[largest] == before[largest]
            assert np.abs(after - before).max() <= step / 2 + np.spacing(np.float32(abs(before[largest])))
            np.testing.assert_allclose(after / step, np.round(after / step), atol=1e-5 * 2**bits)


def test_of_many_weights_every_level_is_taken():
    even = np.linspace(-3, 3, 4001, dtype=np.float32)
    found = on_weights("quantize.bits", 4, {("block_0", "query"): np.stack([even, even / 7], axis=1)})
    levels = [sorted(set(column.tolist())) for column in found["block_0", "query"].T]
    np.testing.assert_allclose(levels[0], np.arange(-7, 8) * 3 / 7, rtol=1e-6)
    np.testing.assert_allclose(levels[1], np.arange(-7, 8) * 3 / 49, rtol=1e-6)


def test_an_output_of_zeros_stays_zero_at_any_number_of_bits():
    kernels = {("block_0", "query"): np.asarray([[0, 1], [0, -2]], np.float32)}
    np.testing.assert_array_equal(
        on_weights("quantize.bits", 2, kernels)["block_0", "query"], np.asarray([[0, 0], [0, -2]])
    )


def test_weight_noise_has_the_size_that_is_asked_for_and_one_draw_a_seed():
    kernels = {
        ("block_0", name): (np.random.default_rng(3).normal(size=(200, 200)) * size + 5).astype(np.float32)
        for name, size in (("query", 0.01), ("key", 4))
    }
    one, again, other = (on_weights("weight_noise.scale", 0.3, kernels, seed) for seed in (0, 0, 1))
    twice = on_weights("weight_noise.scale", 0.6, kernels, 0)
    draws = []
    for at, kernel in kernels.items():
        size = np.std(kernel.astype(float))
        noise, more = (one[at] - kernel) / size, (twice[at] - kernel) / size
        draws.append(noise.ravel())
        assert abs(noise.std() / 0.3 - 1) < 0.02
        assert abs(noise.mean()) < 0.01
        np.testing.assert_array_equal(one[at], again[at])
        np.testing.assert_allclose(more, 2 * noise, atol=1e-3)
        assert abs(np.corrcoef(noise.ravel(), (other[at] - kernel).ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(*draws)[0, 1]) < 0.03  # each kernel has a draw of its own


def test_whitening_at_one_leaves_unit_covariance_and_no_mean_on_what_it_was_fitted_on():
    white_NxD = on_vectors("whitening.power", 1.0)
    np.testing.assert_allclose(np.cov(white_NxD.T), np.eye(6), atol=1e-8)
    np.testing.assert_allclose(white_NxD.mean(axis=0), np.zeros(6), atol=1e-10)


@pytest.mark.parametrize("power", [0.0, 0.125, 0.5, 0.75])
def test_whitening_part_of_the_way_leaves_the_rest_of_each_variance(power):
    found_NxD = on_vectors("whitening.power", power)
    covariance = np.cov(found_NxD.T)
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(covariance))[::-1], FITTED.value_D ** (1 - power), rtol=1e-8)
    along = FITTED.basis_DxD.T @ covariance @ FITTED.basis_DxD  # the directions stay where they were
    np.testing.assert_allclose(along, np.diag(FITTED.value_D ** (1 - power)), atol=1e-8)
    expected = (1 - power) * FITTED.mean_D @ FITTED.basis_DxD * FITTED.value_D ** (-power / 2) @ FITTED.basis_DxD.T
    np.testing.assert_allclose(found_NxD.mean(axis=0), expected, atol=1e-10)


def test_a_direction_without_variance_is_taken_for_one_that_float32_just_resolves():
    flat_NxD = VECTORS_NxD @ FITTED.basis_DxD
    flat_NxD[:, 2] = 1.0
    value_D = np.array([*np.delete(FITTED.value_D, 2), 0.0])
    flat = Fitted(flat_NxD.mean(axis=0), value_D, np.eye(6)[:, [0, 1, 3, 4, 5, 2]], {})
    away_NxD = flat_NxD + np.eye(6)[2] * 1e-6  # where the fitted vectors never are
    found_NxD = KNOBS["whitening.power"].apply(away_NxD, 1.0, flat)
    np.testing.assert_allclose(found_NxD[:, 2], np.full(200, 1e-6 / np.sqrt(1e-7 * value_D[0])), rtol=1e-6)
    np.testing.assert_allclose(np.delete(found_NxD, 2, axis=1).std(axis=0, ddof=1), np.ones(5), rtol=1e-8)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_top_directions_that_are_removed_are_orthogonal_to_what_is_left(count):
    found_NxD = on_vectors("top_directions.removed", count)
    top_DxT, rest_DxR = FITTED.basis_DxD[:, :count], FITTED.basis_DxD[:, count:]
    np.testing.assert_allclose(found_NxD @ top_DxT, np.zeros((200, count)), atol=1e-10)
    np.testing.assert_allclose(found_NxD @ rest_DxR, (VECTORS_NxD - FITTED.mean_D) @ rest_DxR, atol=1e-10)
    assert np.linalg.matrix_rank(found_NxD) == 6 - count


@pytest.mark.parametrize(("removed", "rank"), [(0.1, 5), (0.5, 3), (0.8, 1), (0.95, 1), (1.0, 1)])
def test_dimensions_that_are_removed_leave_the_rank_of_the_others(removed, rank):
    found_NxD = on_vectors("dimensions.removed", removed)
    kept_DxR, gone_DxT = FITTED.basis_DxD[:, :rank], FITTED.basis_DxD[:, rank:]
    assert np.linalg.matrix_rank(found_NxD, tol=1e-8) == rank
    np.testing.assert_allclose(found_NxD @ gone_DxT, np.zeros((200, 6 - rank)), atol=1e-10)
    np.testing.assert_allclose(found_NxD @ kept_DxR, VECTORS_NxD @ kept_DxR, atol=1e-10)


@pytest.mark.parametrize("name", [name for name, knob in KNOBS.items() if knob.acts_on == WEIGHTS])
def test_at_its_neutral_value_a_knob_on_weights_changes_no_more_than_a_rounding(name):
    scores = (KNOBS[name].choices or {}).get("score", ("",))
    for score in scores:
        found = on_weights(name, KNOBS[name].neutral, **({"score": score} if score else {}))
        for at, kernel in KERNELS.items():
            np.testing.assert_allclose(found[at], kernel, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["whitening.power", "dimensions.removed"])
def test_at_its_neutral_value_a_knob_on_vectors_changes_no_more_than_a_rounding(name):
    np.testing.assert_allclose(on_vectors(name, KNOBS[name].neutral), VECTORS_NxD, atol=1e-12)


def test_the_neutral_value_of_every_knob_is_an_end_of_its_range():
    for name, knob in KNOBS.items():
        assert name == knob.name
        assert knob.neutral in (knob.low, knob.high)
        assert (knob.apply is None) == (knob.acts_on not in (WEIGHTS, VECTORS))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pretrained.read(write_folder(tmp_path_factory.mktemp("knobs") / "tiny"))


def test_kernels_go_out_and_in_again_and_nothing_else_changes(model):
    kernels = kernels_of(model.params)
    assert {at: kernel.shape for at, kernel in kernels.items()} == {
        (block, name): shape for block in ("block_0", "block_1") for name, shape in NAMES.items()
    }
    same = with_kernels(model.params, kernels)
    assert jax.tree.structure(same) == jax.tree.structure(model.params)
    jax.tree.map(np.testing.assert_array_equal, same, model.params)


def test_other_kernels_leave_the_parameters_that_were_given_as_they_were(model):
    before = jax.tree.map(lambda leaf: np.array(leaf), model.params)
    doubled = {at: 2 * kernel for at, kernel in kernels_of(model.params).items()}
    found = with_kernels(model.params, doubled)
    jax.tree.map(np.testing.assert_array_equal, model.params, before)
    for (block, name), kernel in doubled.items():
        np.testing.assert_array_equal(found[block][name]["kernel"], kernel)
        np.testing.assert_array_equal(found[block][name]["bias"], before[block][name]["bias"])
    for name in ("words", "positions", "segments"):
        np.testing.assert_array_equal(found[name], before[name])
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))
