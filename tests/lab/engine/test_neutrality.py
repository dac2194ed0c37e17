"""Neutral knobs are bitwise the program without their mechanism, and one program serves many values of its knobs."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import Layout, device_grid, local_layout, make_plan
from lab.engine.plan import traced_arguments
from lab.mechanisms import knobs as registry
from lab.mechanisms.base import Mechanism
from lab.mechanisms.pruning_masks import prunable
from lab.nn import model
from lab.prng import derive_key
from lab.study import axis, product
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import study_of, tiny_config, tiny_sweep
from tests.lab.engine.test_device_grid import arguments, assert_trees_equal, lifted

EVERY = tuple(name for name, mechanism in registry.MECHANISMS.items() if not mechanism.sized)
SIZED = tuple(name for name, mechanism in registry.MECHANISMS.items() if mechanism.sized)
ROOM = 15  # for what needs room in the model, where several share it
VALUES = 16  # of every knob, over its range
# Where a mechanism's numbers meet the step's. What `init` and `on_stage_start` do is not compiled together with a step.
HOOKS = (
    "transform_data",
    "penalty",
    "answer_penalty",
    "perturbed_params",
    "extra_gradient",
    "transform_update",
    "after_update",
    "project",
)


def places_of(name):
    """The places of a step at which a mechanism acts."""
    mechanism = registry.MECHANISMS[name]
    return {hook for hook in HOOKS if getattr(type(mechanism), hook) is not getattr(Mechanism, hook)} | {
        f"hook {hook_point}" for hook_point in mechanism.hook_points
    }


def companies():
    """All mechanisms in as few companies as there are mechanisms at the busiest place, about as many in each.

    A program is compiled for each company and not for each mechanism: compiling is all that these tests cost. In its
    company a mechanism is the only one at each of its places, so XLA sees there what it sees where it is alone.
    """
    busiest = max(Counter(place for name in EVERY for place in places_of(name)).values())
    found = [[] for _ in range(busiest)]
    for name in sorted(EVERY, key=lambda name: -len(places_of(name))):
        fitting = [c for c in found if not any(places_of(name) & places_of(other) for other in c)]
        if not fitting:
            fitting = [[]]
            found += fitting
        min(fitting, key=len).append(name)
    return tuple(tuple(name for name in EVERY if name in company) for company in found)


COMPANIES = companies()
# Each of those that need room, with room for its knob's largest value, beside a company of the others.
SPACIOUS = {name: (name, *COMPANIES[turn % len(COMPANIES)]) for turn, name in enumerate(SIZED)}
# And all of them together, but thoughts: a thought's pass is a loop around the loop of turns, which compiles slowly.
CROWD = tuple(name for name in SIZED if name != "thoughts")
PAIRS = 16


def cells_in(mechanisms):
    """Cells of a program: few that make pairs, or one number for all companies, a multiple of the widths below."""
    if mechanisms in (EVERY, CROWD):
        return 2 * PAIRS
    if mechanisms in SPACIOUS.values():
        return 1 + VALUES + PAIRS
    return -(-(1 + VALUES * max(map(len, COMPANIES))) // 4) * 4


def resting(knob):
    """The value of a knob that does nothing, or has nothing to shape."""
    return knob.number(knob.base if knob.needs else knob.neutral)


def traced(mechanisms):
    return [knob for name in mechanisms for knob in registry.MECHANISMS[name].knobs if knob.traced]


def cells_of(name, mechanisms):
    """Those cells of a company in which only this mechanism's knobs move."""
    start = 1 + VALUES * mechanisms.index(name)
    return slice(start, start + VALUES)


def most(knob, mechanisms):
    """The largest value that is tried."""
    return min(knob.high, ROOM) if knob.sizes and mechanisms == CROWD else knob.high


def spread(name, mechanisms, found):
    """In a mechanism's cells its knobs go over their whole range, out of step."""
    for turn, knob in enumerate(traced((name,))):
        values = np.roll(np.linspace(knob.low, knob.high, VALUES), turn)
        found[knob.name][cells_of(name, mechanisms)] = np.round(values) if knob.integer or knob.choices else values


def pairs(mechanisms, found, first, ones, others):
    """From the first cell on, one knob of each of two kinds a cell has some value; only strengths."""
    random = np.random.default_rng(0)
    for cell in range(first, cells_in(mechanisms)):
        one = random.choice(np.array([knob for knob in traced(ones) if not knob.needs], object))
        rest = [knob for knob in traced(others) if not knob.needs and knob is not one]
        for knob in (one, random.choice(np.array(rest, object))):
            value = knob.low + random.uniform(0.05, 0.5) * (most(knob, mechanisms) - knob.low)
            found[knob.name][cell] = np.round(value) if knob.integer or knob.choices else value


def tried(mechanisms):
    """{knob: a value for each cell}: at rest in the first cell; then one mechanism's knobs move at a time, or pairs."""
    found = {knob.name: np.full(cells_in(mechanisms), resting(knob)) for knob in traced(mechanisms)}
    if mechanisms in (EVERY, CROWD):
        pairs(mechanisms, found, 1, mechanisms, mechanisms)
    elif mechanisms in SPACIOUS.values():
        spread(mechanisms[0], mechanisms, found)
        ones = mechanisms[:1] if traced(mechanisms[:1]) else mechanisms[1:]  # what is static acts in every cell
        pairs(mechanisms, found, 1 + VALUES, ones, mechanisms[1:])
    else:
        for name in mechanisms:
            spread(name, mechanisms, found)
    return found


@functools.cache
def program_with(mechanisms):
    """(a program with some mechanisms compiled in, the plan it is taken from)."""
    config = tiny_config()
    del config.tasks.facts  # one task compiles faster
    del config.tasks.word
    config.tasks.copy = dict(
        task="copy", shortest=2, length=3, longer=4, symbols=6, ngram=1, examples=4
    )  # several answers, each fed to the next
    config.claim.abilities = ("copy/iid",)
    plan = make_plan(study_of(config), local_layout())
    knobs = [knob for name in mechanisms for knob in registry.MECHANISMS[name].knobs]
    sized = set(mechanisms) & set(SIZED)
    kinds = {"mixer.kind": "linear"} if "mixer" in sized else {}
    static = {k.name: kinds.get(k.name, k.neutral) for k in knobs if not k.traced}
    spec = replace(plan.study.spec, layers=1) if sized else plan.study.spec  # compiles faster
    for name in mechanisms:
        largest = {k.name: most(k, mechanisms) for k in traced((name,))}
        spec = registry.MECHANISMS[name].shape(spec, largest | static)
    pinned = tuple(static.items())
    return replace(
        plan.program_groups[0].program, spec=spec, mechanisms=mechanisms, starting=mechanisms, static=pinned
    ), plan


def trained(mechanisms, width):
    """(state, losses) of many cells, with some mechanisms compiled in, and the knobs' values: see `tried`."""
    return _trained(mechanisms, width, tuple(device_grid.OPTIONS["cpu"].items()))


@functools.lru_cache(maxsize=4)
def _trained(mechanisms, width, options):
    """Bits are compared only with those that were compiled with the same options."""
    program, plan = program_with(mechanisms)
    layout = Layout("cpu", 1, width, cells_in(mechanisms))
    values = tried(mechanisms)
    given = arguments(replace(plan, layout=layout), program, cells_in(mechanisms), **values)
    return *jax.tree.map(np.asarray, lifted(program, layout)(*given)), values


def assert_neutral(mechanisms, width=1):
    """The neutral cell is bitwise that of the program without mechanisms."""
    (without, loss_without, _), (with_it, loss_with, _) = trained((), width), trained(mechanisms, width)
    # Where a curriculum makes the number of answers a variable, XLA rounds the vmapped mean of the losses otherwise:
    # the record of the loss may differ in its last bit, nothing that is trained does.
    slack = 3e-7 if "curriculum" in mechanisms and width > 1 else 0
    np.testing.assert_allclose(loss_without[0], loss_with[0], rtol=slack, atol=0)
    first = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)  # noqa: E731
    assert_trees_equal(first(without.params), first(with_it.params))
    assert_trees_equal(first(without.moments), first(with_it.moments))


def assert_sound(mechanisms, width, cells):
    """In those cells of a program all numbers are finite, and as much is gone as width and pruning say."""
    with_it, _, values = trained(mechanisms, width)
    assert all(np.isfinite(leaf[cells]).all() for leaf in jax.tree.leaves(with_it.params))
    everywhere = range(cells_in(mechanisms))[cells]
    for cell in everywhere if "width" in mechanisms else ():
        embedding_VxD = with_it.params["embedding"][cell]
        active = max(1, np.round(np.float32(values["width.active"][cell]) * embedding_VxD.shape[1]))
        there_D = np.arange(embedding_VxD.shape[1]) < active
        assert (embedding_VxD[:, ~there_D] == 0).all()
        assert embedding_VxD[:, there_D].any(axis=0).all()
    pruned = everywhere if "prune" in mechanisms else ()
    for cell in pruned:  # whatever else pulls at the weights
        cut = [name for name in values if name.startswith(("structured.", "width.", "head_dim."))]
        if any(values[name][cell] != values[name][0] for name in cut):
            continue  # these set weights to zero as well
        grown = values["prune.over"][cell] == 1  # else it grows after these few steps
        sparsity = values["prune.sparsity"][cell] if grown else 0.0
        kernels = [kernel[cell] for kernel in prunable(with_it.params).values()]
        size = sum(kernel.size for kernel in kernels)
        assert sum((kernel == 0).sum() for kernel in kernels) == np.round(np.float32(sparsity) * np.float32(size))


def assert_causal(mechanisms):
    """In no cell does the first answer depend on tokens that come after the one that it is read at."""
    program, plan = program_with(mechanisms)
    cells = cells_in(mechanisms)
    state, _, values = trained(mechanisms, 1)

    def first_answers(seed, knobs, state):
        active = ActiveMechanisms.of(program.mechanisms, knobs | dict(program.static), seed, jnp.int32(5))
        source = active.data_source(program.context, state.extra, seed, jnp.int32(5))
        batch = source.batch(program.mixture.worlds(derive_key(seed, "world")), program.length)
        later_BxL = jnp.arange(batch.tokens.shape[1])[None] > batch.answers[:, :1]
        other_BxL = jnp.where(later_BxL, (batch.tokens + 1) % program.spec.vocab_size, batch.tokens)
        tokens = jnp.stack([batch.tokens, other_BxL])
        read = lambda t: model.run(state.params, t, program.spec, batch.answers, active.hook, batch.question)  # noqa: E731
        return jax.vmap(read)(tokens).logits[:, :, 0], later_BxL.any()

    nodes = device_grid.padded(list(plan.program_groups[-1].nodes), cells)[:cells]
    seeds, knobs = traced_arguments(nodes)
    knobs |= {name: jnp.asarray(each, jnp.float32) for name, each in values.items()}
    layout = Layout("cpu", 1, 1, cells)
    logits, changed = device_grid.over_cells(first_answers, layout, own=3)(seeds, knobs, state)
    assert np.asarray(changed).all()
    np.testing.assert_allclose(logits[:, 0], logits[:, 1], rtol=1e-5, atol=1e-5)


def test_a_mechanism_is_the_only_one_of_its_company_at_each_of_its_places():
    assert sorted(name for company in COMPANIES for name in company) == sorted(EVERY)
    for company in COMPANIES:
        assert max(Counter(place for name in company for place in places_of(name)).values()) == 1


@pytest.mark.slow
@pytest.mark.as_shipped
@pytest.mark.parametrize(
    ("name", "company"), [pytest.param(name, company, id=name) for company in COMPANIES for name in company]
)
def test_a_neutral_knob_is_bitwise_the_program_without_its_mechanism(name, company):
    """And one compiled program serves sixteen values over the whole range of its every traced knob."""
    try:
        assert_neutral(company)
    except AssertionError:
        assert_neutral((name,))  # whose fault it is
        pytest.fail(f"{name} is neutral when alone; together with some of {company} it isn't, or another isn't")
    assert_sound(company, 1, slice(0, 1))
    assert_sound(company, 1, cells_of(name, company))


@pytest.mark.slow
@pytest.mark.as_shipped
@pytest.mark.parametrize("width", [1, 4])
def test_neutral_knobs_are_bitwise_the_program_without_all_mechanisms(width):
    """And one compiled program serves many pairs of their strengths."""
    assert_neutral(EVERY, width)
    assert_sound(EVERY, width, slice(None))
    if width == 1:
        assert_causal(EVERY)


@pytest.mark.parametrize("name", SIZED)
def test_where_a_mechanism_that_needs_room_is_neutral_it_is_not_compiled_in(name):
    knob = registry.MECHANISMS[name].deciding[0]
    further = (1, 3) if knob.integer else (knob.high / 2, knob.high)  # a strength lies in [0, 1]
    values = knob.choices[:2] if knob.choices else (knob.neutral, *(knob.neutral + more for more in further))
    config = tiny_config()
    plain = study_of(config)
    study = study_of(config, product(tiny_sweep(), axis(knob.name, values)))
    for group in make_plan(study, local_layout()).program_groups:
        settings = {node.knobs[knob.name] for node in group.nodes}
        assert (settings == {knob.neutral}) or (knob.neutral not in settings and name in group.program.mechanisms)
        if settings == {knob.neutral}:
            assert group.program == make_plan(plain, local_layout()).program_groups[group.stage].program
            cells = [study.cells[node.cells[0]] for node in group.nodes]
            keys = {plain.key(cell, group.stage) for cell in plain.cells}
            assert {study.key(cell, group.stage) for cell in cells} == keys


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZED)
def test_one_program_serves_sixteen_values_of_what_needs_room(name):
    """Over its whole range; and pairs of it and of the strengths of what needs none."""
    assert_sound(SPACIOUS[name], 1, slice(None))
    assert_causal(SPACIOUS[name])


@pytest.mark.slow
def test_one_program_serves_pairs_of_what_needs_room():
    assert_sound(CROWD, 1, slice(None))
    assert_causal(CROWD)
