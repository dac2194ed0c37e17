"""Curricula: levels, what they make of a task, learning progress, and the engine's promises with them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis import listing
from lab.engine import Programs, device_grid, make_plan
from lab.engine.plan import traced_arguments
from lab.errors import UserError
from lab.mechanisms.base import Context
from lab.mechanisms.curriculum import BINS, ORDERS, Curriculum, bin_odds, learned, levels_at, pick, updated
from lab.mechanisms.knobs import KNOBS
from lab.nn import model
from lab.nn.loss import task_loss
from lab.prng import derive_key
from lab.storage import checkpoint
from lab.study import axis, chain, product
from tasks import make
from tasks.base import at_level, movable
from tasks.mixture import Mixture
from tests.lab.conftest import LAYOUT, carry_out, study_of, tiny_config, tiny_sweep
from tests.lab.engine.stored import assert_same, cut_off, everything, keys_of

WORD = make("group_word", group="Z6", length=9)
MIXTURE = Mixture((("facts", make("facts", facts=8, values=4)), ("word", WORD)))
SPEC = model.ModelSpec(MIXTURE.vocab_size, 32)
CONTEXT = Context(MIXTURE, (("facts", 4), ("word", 64)), 40, SPEC)
OVER = 20  # the step at which half of CONTEXT's first stage is over


def settings(order, **changed):
    values = {k.name: k.number(k.base) for k in Curriculum.knobs} | {"curriculum.order": ORDERS.index(order)}
    values |= {f"curriculum.{name}": value for name, value in changed.items()}
    return {name: jnp.float32(value) for name, value in values.items()}


CALL = jax.jit(levels_at, static_argnums=2)
NOTHING_KNOWN = Curriculum().init({}, CONTEXT)


def levels(order, step, extra=NOTHING_KNOWN, seed=0, **changed):
    found = CALL(extra, settings(order, **changed), CONTEXT, jnp.int32(seed), jnp.int32(step))
    assert set(found) == {"word"}  # facts have but one difficulty
    return np.asarray(found["word"])


def test_a_ramp_and_its_reverse_are_the_formula():
    for floor in (0.0, 0.25):
        for step in (0, 7, 19):
            expected = floor + (1 - floor) * (step + 0.5) / OVER
            np.testing.assert_allclose(levels("ramp", step, mix=0, floor=floor), expected, rtol=1e-6)
            np.testing.assert_allclose(levels("anti", OVER - 1 - step, mix=0, floor=floor), expected, rtol=1e-6)
    assert np.all(np.diff([levels("ramp", step, mix=0)[0] for step in range(OVER)]) > 0)


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_ends_on_the_train_split(order):
    for step in (OVER, OVER + 1, 39, 40, 4000):
        assert np.all(levels(order, step) == 1)
    assert np.all(levels(order, 0, share=0) == 1)
    assert np.all(levels(order, 3, floor=1) == 1)
    assert np.all(levels(order, 39, share=1) == 1) == (order == "fixed")


@pytest.mark.parametrize("order", ["ramp", "anti"])
def test_an_order_that_begins_later_is_the_same_order_later(order):
    for step in (0, 7, OVER - 1, OVER):
        np.testing.assert_array_equal(levels(order, 300 + step, mix=0, begins=300), levels(order, step, mix=0))
    assert np.all(levels(order, 299, begins=300) == 1)
    assert np.all(levels("random", 299, begins=300) == 1)
    assert np.any(levels("random", 300, begins=300) < 1)


def test_random_levels_are_uniform_and_mix_makes_every_order_random():
    drawn = np.concatenate([levels("random", step) for step in range(OVER)])
    assert abs(drawn.mean() - 0.5) < 0.03
    assert np.histogram(drawn, 4, (0, 1))[0].min() > 0.2 * drawn.size
    low = levels("random", 5, floor=0.5)
    assert low.min() >= 0.5
    np.testing.assert_allclose(low, 0.5 + 0.5 * levels("random", 5), rtol=1e-6)
    for order in ("ramp", "anti", "progress"):
        np.testing.assert_array_equal(levels(order, 5, mix=1), levels("random", 5))
    ramp = levels("ramp", 5, mix=0.25)
    uniform = ramp != levels("ramp", 5, mix=0)
    assert 0.05 < uniform.mean() < 0.5
    np.testing.assert_array_equal(ramp[uniform], levels("random", 5)[uniform])


def test_levels_are_addressed_by_seed_and_step():
    assert np.any(levels("random", 5) != levels("random", 6))
    assert np.any(levels("random", 5) != levels("random", 5, seed=1))
    alone = Context(Mixture((("word", WORD),)), (("word", 64),), 40, SPEC)
    found = CALL(NOTHING_KNOWN, settings("random"), alone, jnp.int32(0), jnp.int32(5))
    np.testing.assert_array_equal(found["word"], levels("random", 5))


@pytest.mark.parametrize(
    ("task", "half"),
    [
        (WORD, {"length": 5}),
        (make("path_star", degree=4, length=6, nodes=40), {"degree": 3, "length": 4}),  # 4.5 is rounded to even
        (make("mqar", pairs=8, more_pairs=9), {"pairs": 5}),
    ],
)
def test_a_level_is_a_difficulty_between_the_easiest_and_trains(task, half):
    train_difficulty = task.splits["train"].difficulty
    for level, expected in ((0.0, task.easiest), (0.5, half), (1.0, train_difficulty)):
        found = at_level(task, jnp.float32(level))
        assert {name: float(value) for name, value in found.items()} == {**train_difficulty, **expected}
        assert all(found[name].dtype == jnp.int32 for name in movable(task))
        assert all(found[name] is train_difficulty[name] for name in set(train_difficulty) - set(movable(task)))


def test_what_has_one_difficulty_is_left_alone():
    for task in (make("modular", p=7), make("group_word", length=1), make("path_star", degree=2, length=3)):
        assert not movable(task)
        assert at_level(task, jnp.zeros(3)) == task.splits["train"].difficulty


def words_in(batch):
    """Elements of each word: it is answered at every one of them."""
    return (np.asarray(batch.weights)[4:] > 0).sum(1)


def test_levels_reach_the_batch_and_nothing_else_changes():
    @jax.jit
    def make_batch(at):
        return MIXTURE.batch(jax.random.key(2), MIXTURE.worlds(jax.random.key(1)), dict(CONTEXT.counts), 10, at)

    plain, hardest = make_batch({}), make_batch({"word": jnp.ones(64)})
    jax.tree.map(np.testing.assert_array_equal, plain, hardest)
    easier = make_batch({"word": jnp.asarray(levels("random", 3))})
    np.testing.assert_array_equal(words_in(easier), np.round(1 + 8 * levels("random", 3)))
    assert set(words_in(easier)) == set(range(1, 10))
    assert set(words_in(make_batch({"word": jnp.zeros(64)}))) == {1}
    assert set(words_in(plain)) == {9}
    np.testing.assert_array_equal(easier.tokens[:4], plain.tokens[:4])  # the facts
    np.testing.assert_array_equal(easier.answer_mask.sum(1)[4:], words_in(easier))
    parts = MIXTURE.by_label(jnp.arange(68), dict(CONTEXT.counts))
    assert {label: (part[0], part[-1]) for label, part in parts.items()} == {"facts": (0, 3), "word": (4, 67)}


def reference(stream, rate):
    """The running losses in NumPy, and how the bins are then drawn."""
    fast, slow = np.full(BINS, np.nan), np.full(BINS, np.nan)
    for bins, losses in stream:
        for k in range(BINS):
            inside = losses[(bins == k) & np.isfinite(losses)].astype(np.float64)
            if not inside.size:
                continue
            weight, mean = 1 - (1 - rate) ** inside.size, inside.mean()
            fast[k] = mean if np.isnan(fast[k]) else (1 - weight) * fast[k] + weight * mean
            slow[k] = fast[k] if np.isnan(slow[k]) else (1 - weight) * slow[k] + weight * fast[k]
    slope = np.abs(fast - slow)
    slope = np.where(np.isnan(slope), np.nanmax(slope), slope) + 1e-6
    return fast, slow, slope / slope.sum()


def test_learning_progress_is_the_reference():
    rng = np.random.default_rng(0)
    speed = np.array([0, 0.01, 0.02, 0, 0.05, 0, 0, 0])
    stream = []
    for step in range(60):
        bins = rng.integers(0, 7, 16)  # the last bin is never seen
        losses = (3 - speed[bins] * step + rng.normal(0, 0.01, 16)).astype(np.float32)
        losses[rng.random(16) < 0.05] = rng.choice([np.nan, np.inf])
        stream.append((bins, losses))
    update = jax.jit(updated)
    running = NOTHING_KNOWN["word"]
    np.testing.assert_allclose(bin_odds(running), 1 / BINS)
    for bins, losses in stream:
        running = update(running, jnp.asarray(bins), jnp.asarray(losses), jnp.float32(0.05))
    fast, slow, odds = reference(stream, 0.05)
    seen = np.asarray(running["seen"])
    np.testing.assert_array_equal(seen, np.arange(BINS) < 7)
    np.testing.assert_allclose(np.asarray(running["fast"])[seen], fast[seen], rtol=1e-5)
    np.testing.assert_allclose(np.asarray(running["slow"])[seen], slow[seen], rtol=1e-5)
    np.testing.assert_allclose(bin_odds(running), odds, rtol=1e-3)
    assert np.argsort(odds)[-2:].tolist() in ([4, 7], [7, 4])  # the fastest, and the one of which nothing is known
    drawn = np.asarray(pick(bin_odds(running), jnp.linspace(0, 1, 10_000, endpoint=False)))
    np.testing.assert_allclose(np.bincount(drawn, minlength=BINS) / 10_000, odds, atol=2e-4)


def test_progress_draws_the_level_that_moves_and_learns_where_it_drew():
    moving = {"fast": jnp.zeros(BINS).at[2].set(0.5), "slow": jnp.zeros(BINS), "seen": jnp.ones(BINS, bool)}
    drawn = levels("progress", 4, {"word": moving}, mix=0, floor=0.2)
    assert np.all((drawn >= 0.2 + 0.8 * 2 / BINS - 1e-6) & (drawn <= 0.2 + 0.8 * 3 / BINS + 1e-6))
    assert np.unique(drawn).size > 32
    learn = lambda knobs: learned(NOTHING_KNOWN, knobs, {"word": drawn}, {"word": jnp.ones(64)})  # noqa: E731
    np.testing.assert_array_equal(learn(settings("progress", floor=0.2))["word"]["seen"], np.arange(BINS) == 2)
    jax.tree.map(np.testing.assert_array_equal, learn(settings("ramp")), NOTHING_KNOWN)  # others keep nothing


# The engine's promises


def one_stage(grid, **steps):
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), {"train": 12} | steps, dict(train=2)
    config.knobs = dict(curriculum=dict(share=1.0))
    config.claim.knob = "weight_decay.rate"
    config.evaluation.examples = 8
    return study_of(config, product(axis("weight_decay.rate", (0.0,)), grid, axis("seed", (0,))))


NEUTRAL = (("ramp", "share", 0.0), ("progress", "floor", 1.0))


@pytest.fixture(scope="module")
def all_orders(tmp_path_factory):
    """Every order, and two orders that a second knob makes neutral, trained in one run."""
    programs = Programs(LAYOUT)
    neutral = [product(axis("curriculum.order", (o,)), axis(f"curriculum.{k}", (v,))) for o, k, v in NEUTRAL]
    study = one_stage(chain(axis("curriculum.order", ORDERS), *neutral))
    return *carry_out(study, tmp_path_factory.mktemp("orders"), programs), programs


@pytest.mark.slow
def test_one_program_trains_every_order_and_the_order_matters(all_orders):
    plan, store, _, programs = all_orders
    assert sum(name.startswith("training") for name in programs.compiled) == len(plan.program_groups) == 1
    keys = keys_of(plan, 0)[: len(ORDERS)]
    final = [jax.tree.leaves(checkpoint.gather([store.final(key)], "params")) for key in keys]
    assert all(np.isfinite(leaf).all() for leaves in final for leaf in leaves)
    assert len({b"".join(leaf.tobytes() for leaf in leaves) for leaves in final}) == len(ORDERS)


@pytest.mark.slow
def test_a_neutral_curriculum_is_bitwise_none(all_orders, tmp_path):
    plan, store, _, programs = all_orders
    rates = (2e-3, *np.linspace(0.1, 0.2, 6))  # as many cells as the other study has: of one shape
    plain, plain_store, _ = carry_out(one_stage(axis("optimizer.learning_rate", rates)), tmp_path, programs)
    assert not plain.program_groups[0].program.mechanisms
    (expected,) = [n.key for n in plain.program_groups[0].nodes if n.knobs["optimizer.learning_rate"] == 2e-3]
    nodes = plan.program_groups[0].nodes
    assert [node.knobs["curriculum.order"] for node in nodes] == [*ORDERS, "ramp", "progress"]
    for node in (nodes[0], *nodes[-2:]):
        for item in checkpoint.ITEMS:
            mine, theirs = (
                checkpoint.gather([s.final(k)], item) for s, k in ((store, node.key), (plain_store, expected))
            )
            mine = {path: leaf for path, leaf in mine.items() if "curriculum" not in path}
            jax.tree.map(np.testing.assert_array_equal, mine, theirs)


@pytest.mark.slow
def test_what_progress_learned_is_saved(all_orders):
    plan, store, _, _ = all_orders
    state = checkpoint.gather([store.final(key) for key in keys_of(plan, 0)], "state")
    seen = np.asarray(state["['extra']['curriculum']['word']['seen']"])[: len(ORDERS)]
    assert np.flatnonzero(seen.any(1)).tolist() == [ORDERS.index("progress")]
    assert not any("facts" in path for path in state if "curriculum" in path)


@pytest.mark.slow
def test_a_run_cut_off_ends_with_the_same_numbers_and_the_same_progress(all_orders, tmp_path):
    plan, store, _, programs = all_orders
    cut_off(store.workdir, tmp_path / "copy", plan.study.stages[0].saves[0])
    _, again, progress = carry_out(plan.study, tmp_path / "copy", programs)
    assert progress.skipped > 0
    assert progress.cell_steps > 0
    assert_same(everything(again, keys_of(plan, 0)), everything(store, keys_of(plan, 0)))


def first_calls(all_orders, rate):
    """The losses of six steps, the parameters before them and the state after; `rate` is that of the progress cell."""
    plan, _, _, programs = all_orders
    (group,) = plan.program_groups
    seeds, knobs = device_grid.to_devices(traced_arguments([*group.nodes, group.nodes[-1]]), LAYOUT)
    knobs["optimizer.learning_rate"] = knobs["optimizer.learning_rate"].at[ORDERS.index("progress")].set(rate)
    program = group.program
    compiled = len(programs.compiled)
    fresh = programs.get("initialisation", (program.spec, program.optimizer), None, (seeds,))(seeds)
    entry, losses = (jnp.int32(0), seeds, knobs, fresh), []
    state = programs.get("entry of stage train", program, None, entry, shared=1)(*entry)
    for start in (0, 3):
        arguments = (jnp.int32(start), seeds, knobs, state)
        state, loss = programs.get("training, stage train", program, None, arguments, shared=1)(*arguments)
        losses.append(np.asarray(loss))
    assert len(programs.compiled) == compiled  # what the fixture compiled serves here
    return np.concatenate(losses, axis=1), jax.tree.map(np.asarray, fresh.params), jax.tree.map(np.asarray, state)


@pytest.mark.slow
def test_a_diverged_cell_leaves_its_neighbours_alone_and_goes_on_drawing(all_orders):
    (well_loss, _, well), (ill_loss, _, ill) = first_calls(all_orders, 2e-3), first_calls(all_orders, np.nan)
    cell = ORDERS.index("progress")
    assert np.isnan(ill_loss[cell, 1:]).all()
    others = np.arange(len(ill_loss)) != cell
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[others], b[others]), (well_loss, well), (ill_loss, ill))
    running = jax.tree.map(lambda leaf: leaf[cell], ill.extra["curriculum"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(running))
    drawn = levels("progress", 7, running)
    assert np.all((drawn >= 0) & (drawn <= 1))


def test_a_step_trains_on_its_levels(all_orders):
    """The losses of the first step, recomputed from outside: levels, batch, loss."""
    program, nodes = all_orders[0].program_groups[0].program, all_orders[0].program_groups[0].nodes
    losses, params, _ = first_calls(all_orders, 2e-3)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), params)  # of one seed, the same in all cells
    (seed, *_), knobs = traced_arguments(list(nodes))

    @jax.jit
    def first(knobs):
        unseen = Curriculum().init(params, program.context)
        at = levels_at(unseen, knobs, program.context, seed, jnp.int32(0))
        worlds, key = program.mixture.worlds(derive_key(seed, "world")), derive_key(seed, "batch", jnp.int32(0))
        batch = program.mixture.batch(key, worlds, dict(program.counts), program.length, at)
        return (batch.weights[4:] > 0).sum(1), task_loss(
            model.apply(params, batch.tokens, program.spec, batch.answers)[0], batch
        )

    words, expected = zip(*(first({k: v[i] for k, v in knobs.items()}) for i in range(len(nodes))), strict=True)
    np.testing.assert_allclose(losses[: len(nodes), 0], expected, rtol=1e-5)
    assert np.all(words[ORDERS.index("fixed")] == 3)
    assert np.mean(words[ORDERS.index("ramp")]) < 2 < np.mean(words[ORDERS.index("anti")])


def test_keys_know_what_decides_a_curriculums_numbers():
    knob_axes = product(axis("curriculum.order", ("fixed", "ramp")), axis("curriculum.share", (0.0, 0.5, 1.0)))
    study = one_stage(knob_axes)
    fixed = {study.key(cell, 0) for cell in study.cells if cell["curriculum.order"] == "fixed"}
    ramp = {study.key(cell, 0) for cell in study.cells if cell["curriculum.order"] == "ramp"}
    assert (len(fixed), len(ramp)) == (1, 3)
    assert len(make_plan(study, LAYOUT).program_groups[0].nodes) == 4  # what is the same is trained once
    plain = one_stage(axis("prune.sparsity", (0.0,)))
    assert {plain.key(cell, 0) for cell in plain.cells} == fixed
    # The share is one of the first stage: another length is another key, a further stage is not.
    longer = one_stage(knob_axes, train=24)
    assert not {longer.key(cell, 0) for cell in longer.cells} & (fixed | ramp)
    config = tiny_config()
    config.knobs = dict(curriculum=dict(order="ramp"))
    two = study_of(config)
    config.steps.prune = 9
    longer_end = study_of(config)
    for a, b in zip(two.cells, longer_end.cells, strict=True):
        assert two.key(a, 0) == longer_end.key(b, 0)
        assert two.key(a, 1) != longer_end.key(b, 1)
    programs = [group.program for group in make_plan(longer_end, LAYOUT).program_groups]
    assert [p.opening for p in programs] == [12, 12]
    assert ["curriculum" in p.mechanisms for p in programs] == [True, True]
    assert ["curriculum" in p.starting for p in programs] == [True, False]


@pytest.mark.parametrize(
    ("grid", "knobs", "message"),
    [
        (axis("curriculum.order", ("fixed", "rmap")), {}, "must be one of fixed, ramp, anti, random, progress"),
        (axis("curriculum.order", ("fixed", "ramp"), stage="prune"), {}, "curriculum.order acts from the first stage"),
        (axis("curriculum.share", (0.0, 0.5)), {}, "does nothing while curriculum.order is 'fixed'"),
        (axis("curriculum.share", (0.0, 1.5)), dict(order="ramp"), r"must lie in \[0, 1\]"),
        (axis("curriculum.mix", (0.0, 0.5)), dict(order=1), "must be one of fixed, ramp"),
    ],
)
def test_a_users_mistakes_are_said(grid, knobs, message):
    config = tiny_config()
    config.knobs = dict(curriculum=knobs)
    with pytest.raises(UserError, match=message):
        study_of(config, product(tiny_sweep(), grid))


def test_a_study_with_nothing_to_order_is_refused_before_anything_compiles():
    config = tiny_config()
    del config.tasks.word
    grid = product(tiny_sweep(), axis("curriculum.order", ("fixed", "ramp")))
    with pytest.raises(UserError, match=r"but one difficulty in every task \(facts\)"):
        study_of(config, grid)
    study_of(config)  # without the knob there is nothing to say


def test_an_order_has_names_and_so_no_break_along_it():
    config = tiny_config()
    config.claim.knob, config.claim.kind = "curriculum.order", "map"
    with pytest.raises(UserError, match="no order to break along"):
        study_of(config, product(axis("curriculum.order", ("fixed", "ramp")), axis("seed", (0,))))


def test_the_listing_names_the_orders(tmp_path):
    (line,) = [line for line in listing.listing("knobs", tmp_path).splitlines() if "curriculum.order" in line]
    assert "fixed | ramp | anti | random | progress" in line
    assert "neutral fixed" in line
    assert "traced" in line
    assert KNOBS["curriculum.order"].traced
