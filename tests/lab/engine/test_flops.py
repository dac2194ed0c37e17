"""What a model costs: counted by hand at tiny sizes, by XLA at real ones, and against truly smaller models."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import flops as cost
from lab.engine import plan
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import Context
from lab.mechanisms.knobs import KNOBS
from lab.mechanisms.pruning_masks import masked
from lab.nn import model
from lab.nn.model import ModelSpec
from lab.study import axis, product
from tests.lab.conftest import study_of, tiny_config
from tests.tasks.task_cases import first_by_default

# A block has 4·12 weights in queries, keys and values, 4·4 behind attention, 4·6 and 6·4 in the feed-forward layer.
TINY = ModelSpec(vocab_size=5, max_length=3, width=4, layers=1, heads=2, mlp_width=6)
TOKENS, ANSWERS = 3, 1
ATTENTION_KERNELS, FEED_FORWARD, UNEMBEDDING = 48 + 16, 24 + 24, 20
BLOCK = 2 * (ATTENTION_KERNELS + FEED_FORWARD)  # FLOPs a place


def setting(**changes):
    """The value of every knob, those in `changes` ('loop_turns' for 'loop.turns') off their base."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return {name: knob.base for name, knob in KNOBS.items()} | {"seed": 0} | named


def shaped(spec, knobs):
    """The sizes of the cell's own model."""
    for name in cost.mechanisms_in_use([knobs]):
        spec = MECHANISMS[name].shape(spec, knobs)
    return spec


def flops_with(tokens=TOKENS, spec=TINY, **changes):
    knobs = setting(**changes)
    spec = shaped(spec, knobs)
    return cost.flops(spec, cost.dense(spec), cost.sizes_of(spec, knobs, 1), tokens, ANSWERS)


def attention(places, dimensions=2 + 2):
    """FLOPs of two heads over the causal half: queries with keys, and shares with values."""
    pairs = sum(range(1, places + 1))
    return 2 * 2 * pairs * dimensions


HEAD = 2 * UNEMBEDDING * ANSWERS
BY_HAND = {
    "plain": ({}, 3 * BLOCK + attention(3) + HEAD),
    "pauses": (dict(pause__tokens=2), 5 * BLOCK + attention(5) + HEAD),
    "memories": (dict(memory__tokens=2), 5 * BLOCK + attention(5) + HEAD),
    "memories and the pause behind them": (
        dict(memory__tokens=2, memory__compress=1),
        6 * BLOCK + attention(6) + HEAD,
    ),
    "registers": (dict(registers__tokens=1), 4 * BLOCK + attention(4) + HEAD),
    "a thought costs a place": (dict(thoughts__steps=2), 5 * BLOCK + attention(5) + HEAD),
    "turns": (dict(loop__turns=3), 3 * (3 * BLOCK + attention(3)) + HEAD),
    "turns of thoughts": (dict(loop__turns=3, thoughts__steps=1), 3 * (4 * BLOCK + attention(4)) + HEAD),
    # At every place, for both heads: a state of 2 x 2 numbers and 2 for the divisor, added to and read.
    "a linear mixer": (dict(mixer__kind="linear"), 3 * BLOCK + 3 * 2 * 2 * 2 * (2 * 2 + 2) + HEAD),
    # There the state is 2 x 2 numbers a head; a gate of 4·4 weights and steps of 4·2 come to each place.
    "a selective mixer": (
        dict(mixer__kind="selective"),
        3 * (BLOCK + 2 * (16 + 8)) + 3 * 2 * 2 * 2 * (2 * 2) + HEAD,
    ),
    "experts": (
        dict(experts__count=4, experts__top_k=2),
        3 * 2 * (ATTENTION_KERNELS + 2 * FEED_FORWARD + 4 * 4) + attention(3) + HEAD,
    ),
    "a codebook": (dict(vq__codes=7), 3 * BLOCK + attention(3) + 3 * 2 * 7 * 4 + HEAD),
    "a codebook for one token": (
        dict(vq__codes=7, vq__position=2),
        3 * BLOCK + attention(3) + 2 * 7 * 4 + HEAD,
    ),
    "a codebook in turns": (dict(vq__codes=7, loop__turns=2), 2 * (3 * BLOCK + attention(3) + 3 * 2 * 7 * 4) + HEAD),
    "heads that look ahead": (
        dict(multi_token__rate=1.0, multi_token__ahead=2),
        3 * BLOCK + attention(3) + HEAD + 2 * (2 * 4 * 4 + HEAD),
    ),
    "fewer query dimensions": (dict(head_dim__active=0.5), 3 * BLOCK + attention(3, 1 + 2) + HEAD),
}


@pytest.mark.parametrize(("changes", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_flops_are_those_counted_by_hand(changes, expected):
    assert flops_with(**changes) == expected


@pytest.mark.parametrize(("width", "tokens"), [(64, 32), (128, 16)])
def test_xla_counts_the_same_for_the_plain_model(width, tokens):
    """XLA counts norms, activations and the softmax as well, and the whole square of attention."""
    spec = ModelSpec(50, tokens, width, layers=2, heads=4, mlp_width=4 * width)
    ours = cost.flops(spec, cost.dense(spec), cost.sizes_of(spec, setting(), 1), tokens, tokens)
    square = spec.layers * 4 * width * (tokens**2 - tokens * (tokens + 1) / 2)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), spec))
    batch = jax.ShapeDtypeStruct((1, tokens), jnp.int32)
    compiled = jax.jit(lambda p, t: model.run(p, t, spec).logits).lower(params, batch).compile()
    theirs = compiled.cost_analysis()["flops"]
    assert ours + square <= theirs <= 1.03 * (ours + square)


parameters = functools.cache(plan.parameters)


@functools.cache
def ones(spec):
    """Parameters none of which is zero."""
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), jax.eval_shape(lambda: fresh(spec)))


def fresh(spec):
    return model.init(jax.random.key(0), spec)


@pytest.mark.parametrize(
    "changes",
    first_by_default(
        [dict(experts__count=3), {}, dict(vq__codes=5), dict(mixer__kind="linear"), dict(mixer__kind="selective")]
    ),
)
def test_a_cut_model_costs_what_a_narrow_one_costs(changes):
    spec = replace(TINY, width=8, layers=2)
    knobs = setting(width__active=0.5, **changes)
    spec, narrow = shaped(spec, knobs), shaped(replace(spec, width=4), setting(**changes))
    width = MECHANISMS["width"]
    extra = width.init(ones(spec), Context(None, (), 0, spec))
    cut = jax.tree.map(np.asarray, width.project(ones(spec), extra, {"width.active": 0.5}))
    weights, sizes = cost.weights_of(cut, spec), cost.sizes_of(spec, knobs, 1)
    assert weights.total == parameters(narrow)
    assert (sizes.queries, sizes.values) == (2, 2)
    plain = cost.sizes_of(narrow, setting(**changes), 1)
    expected = cost.flops(narrow, cost.dense(narrow), plain, TOKENS, ANSWERS)
    assert cost.flops(spec, weights, sizes, TOKENS, ANSWERS) == expected


def test_removed_units_cost_nothing():
    """A head without values, one that nothing reads, and single weights."""
    sizes = cost.sizes_of(TINY, setting(), 1)
    values = np.ones((4, 12), bool)
    values[:, 8:10] = False  # the first head's values
    read = np.ones((4, 4), bool)
    read[2:] = False  # what the second head gathers
    one = np.ones((4, 6), bool)
    one[0, 0] = False
    paths = {
        "['block_0']['attention']['qkv']['kernel']": (values, 8, 1),
        "['block_0']['attention']['out']['kernel']": (read, 8, 1),
        "['block_0']['mlp_in']['kernel']": (one, 1, 2),
    }
    for path, (mask, removed, heads) in paths.items():
        everything = {name: np.ones(shape, bool) for name, shape in KERNELS.items()}
        params = jax.tree.map(np.asarray, masked(ones(TINY), everything | {path: mask}))
        weights = cost.weights_of(params, TINY)
        assert weights.total == parameters(TINY) - removed
        expected = flops_with() - 3 * 2 * removed - (2 - heads) * attention(3) / 2
        assert cost.flops(TINY, weights, sizes, TOKENS, ANSWERS) == expected


KERNELS = {
    "['block_0']['attention']['qkv']['kernel']": (4, 12),
    "['block_0']['attention']['out']['kernel']": (4, 4),
    "['block_0']['mlp_in']['kernel']": (4, 6),
    "['block_0']['mlp_out']['kernel']": (6, 4),
}


@pytest.mark.slow
def test_room_for_other_cells_is_not_counted():
    config = tiny_config()
    config.claim.knob = "pause.tokens"
    config.knobs = dict(multi_token=dict(rate=0.1))
    grid = product(
        axis("pause.tokens", (0, 3)),
        axis("experts.count", (1, 2, 4)),
        axis("vq.codes", (0, 2, 8)),
        axis("multi_token.ahead", (1, 2)),
    )
    study = study_of(config, grid)
    for cell in study.cells:
        room, own = study.spec_of(cell), cost.own_spec(study, cell)
        weights = cost.weights_of(ones(room), own)
        assert weights == cost.dense(own)
        assert weights.total == parameters(own) <= parameters(room)
        assert own.pauses == cell["pause.tokens"]
        assert own.experts == (cell["experts.count"] if cell["experts.count"] > 1 else 0)
        assert (own.codes, own.ahead) == (cell["vq.codes"], cell["multi_token.ahead"])


@pytest.mark.slow
def test_an_example_is_the_mean_over_the_mixture():
    config = tiny_config()
    config.tasks.facts = dict(task="facts", facts=8, values=4, examples=12)  # 3 to 1, then alone
    config.tasks.word = dict(task="group_word", group="Z6", length=3, examples=dict(train=4, prune=0))
    study = study_of(config)
    spec, sizes = study.spec, cost.sizes_of(study.spec, study.cells[0], 1)
    weights = cost.dense(spec)
    facts, word = (
        cost.flops(spec, weights, sizes, use.task.splits["train"].length + 1, use.task.splits["train"].answer_tokens)
        for use in study.tasks
    )
    assert facts != word
    assert cost.example_flops(study, 0, spec, weights, sizes) == pytest.approx(0.75 * facts + 0.25 * word)
    assert cost.example_flops(study, 1, spec, weights, sizes) == facts


def test_training_is_forward_and_backward_over_the_examples_of_the_steps_learned_in():
    config = tiny_config()
    config.tasks.facts = dict(task="facts", facts=8, values=4, examples=dict(train=12, prune=3))
    study = study_of(config)  # the word problem has 4 in both
    assert cost.training_flops(study, 0, setting(), 10.0, 3, 12) == 3 * 9 * 16 * 10
    assert cost.training_flops(study, 1, setting(), 10.0, 12, 18) == 3 * 6 * 7 * 10
    assert cost.training_flops(study, 0, setting(sam__rho=0.1), 10.0, 3, 12) == 2 * 3 * 9 * 16 * 10
    budget = setting(budget__steps=5)
    assert [cost.training_flops(study, 0, budget, 10.0, *ends) for ends in ((0, 3), (3, 12), (12, 18))] == [
        3 * 3 * 16 * 10,
        3 * 2 * 16 * 10,
        0,
    ]


def test_a_kernel_of_low_rank_is_gone_through_as_two():
    params = ones(TINY)  # of rank 1 each: 4 + 12, 4 + 4, 4 + 6 and 6 + 4 weights in two factors
    sizes = cost.sizes_of(TINY, setting(), 1)
    weights = cost.weights_of(params, TINY, low_rank=True)
    assert weights.total == parameters(TINY)
    assert cost.flops(TINY, weights, sizes, TOKENS, ANSWERS) == 3 * 2 * (16 + 8 + 10 + 10) + attention(3) + HEAD
    params["block_0"]["mlp_in"]["kernel"] = np.eye(4, 6, dtype=np.float32)  # 4 weights, cheaper than any product
    weights = cost.weights_of(params, TINY, low_rank=True)
    assert cost.flops(TINY, weights, sizes, TOKENS, ANSWERS) == 3 * 2 * (16 + 8 + 4 + 10) + attention(3) + HEAD


def test_the_plan_knows_each_cell_before_training():
    config = tiny_config()
    config.claim.knob = "loop.turns"
    study = study_of(config, product(axis("loop.turns", (1, 2, 4)), axis("seed", (0, 1))))
    planned = cost.planned(study)
    assert {count for count, _ in planned} == {parameters(study.spec)}
    one, two, four = (flops for _, flops in planned[::2])
    assert four - two == pytest.approx(2 * (two - one))
    assert planned[0] == planned[1]
