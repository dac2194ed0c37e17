"""A task's difficulties as knobs: what training draws, what stays as it was, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.report import names
from lab.engine import make_plan
from lab.engine.plan import traced_arguments
from lab.errors import UserError
from lab.mechanisms import curriculum
from lab.mechanisms.base import Context, DataSource
from lab.mechanisms.task_fields import TaskFields
from lab.nn import model
from lab.prng import derive_key
from lab.study import axis, chain, product
from lab.study.fields import override
from tasks import make
from tasks.base import PAD
from tasks.fields import knob_fields
from tasks.mixture import Mixture
from tests.lab.conftest import LAYOUT, carry_out, study_of, tiny_config
from tests.lab.engine.stored import assert_same, everything

SEED = jnp.int32(2)
MIXTURE = Mixture((("facts", make("facts", facts=64, values=5)), ("word", make("group_word", length=6, longer=7))))
COUNTS = {"facts": 64, "word": 16}
CONTEXT = Context(MIXTURE, tuple(COUNTS.items()), 100, model.ModelSpec(MIXTURE.vocab_size, 8, 16, 1, 2, 16))
WORLDS = MIXTURE.worlds(derive_key(SEED, "world"))
NEUTRAL = {"task.facts.exponent": 1.0, "task.word.length": 6.0}


@jax.jit
def batch_of_all(knobs, level):
    source = DataSource(CONTEXT, SEED, jnp.int32(3), drawn_at=jnp.int32(3), levels={"word": jnp.full(16, level)})
    return TaskFields().transform_data(source, (), knobs, SEED).batch(WORLDS, 8)


def batch_of(level=1.0, **changed):
    knobs = {**NEUTRAL, **{name.replace("__", "."): value for name, value in changed.items()}}
    drawn = batch_of_all({name: jnp.float32(value) for name, value in knobs.items()}, jnp.float32(level))
    return by_label(drawn)


def by_label(batch):
    return {label: np.asarray(rows) for label, rows in MIXTURE.by_label(batch.tokens, COUNTS).items()}


def words_of(batch):
    """The length of each word: without its task token."""
    return np.sum(batch["word"] != PAD, axis=1) - 1


@pytest.fixture(scope="module")
def plain():
    source = DataSource(CONTEXT, SEED, jnp.int32(3), drawn_at=jnp.int32(3))
    return by_label(jax.jit(lambda: source.batch(WORLDS, 8))())


def test_at_neutral_every_example_is_the_one_without(plain):
    jax.tree.map(np.testing.assert_array_equal, batch_of(), plain)


def test_a_field_moves_the_examples_of_its_label_alone(plain):
    short = batch_of(task__word__length=2)
    assert set(words_of(short)) == {2}
    np.testing.assert_array_equal(short["facts"], plain["facts"])
    ranked = [np.unique(batch_of(task__facts__exponent=value)["facts"], axis=0) for value in (0.0, 1.0, 4.0)]
    assert len(ranked[0]) > len(ranked[1]) > len(ranked[2])  # the steeper the law, the fewer facts are met


def test_a_zipf_law_is_the_one_asked_for():
    """By NumPy: which facts uniform numbers pick is decided by their cumulated frequencies."""
    weight = np.arange(1, 65) ** -2.0
    expected = weight[0] / weight.sum()
    met = batch_of(task__facts__exponent=2.0)["facts"][:, 1]
    share = np.bincount(met).max() / len(met)
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / len(met))


def test_a_curriculum_says_how_hard_it_is_where_the_field_is_neutral():
    assert set(words_of(batch_of(level=0.0))) == {1}
    assert set(words_of(batch_of(level=0.0, task__word__length=3))) == {3}


def config_of(**fields):
    config = tiny_config()
    config.tasks.word.update(fields)
    return config


def field_study(*axes, config=None):
    seeds = axis("seed", range(3))
    return study_of(config or config_of(), product(axis("prune.sparsity", (0.0, 0.5), stage="prune"), *axes, seeds))


def test_a_cell_at_neutral_has_the_key_of_the_study_without_the_axis():
    without = study_of()
    study = field_study(axis("task.facts.exponent", (1.0, 2.0)))
    at_neutral = [
        key for cell, key in zip(study.cells, study.cell_keys, strict=True) if cell["task.facts.exponent"] == 1
    ]
    assert tuple(at_neutral) == without.cell_keys
    assert len(set(study.cell_keys)) == 2 * len(without.cell_keys)
    assert not without.own_knobs
    assert set(without.base) == set(without.knobs)


def test_one_program_serves_all_values_and_the_report_has_words():
    study = field_study(axis("task.facts.exponent", (1.0, 2.0, 3.0)), axis("task.word.length", (1, 3)))
    plan = make_plan(study, LAYOUT)
    assert len(plan.program_groups) == 2  # a stage each
    assert all("task" in group.program.mechanisms for group in plan.program_groups)
    _, knobs = traced_arguments(list(plan.program_groups[0].nodes), study.own_knobs)
    assert set(knobs["task.word.length"].tolist()) == {1.0, 3.0}
    words = names.knob("task.facts.exponent", study)
    assert words == "Zipf exponent of how often each is asked in training on 8 facts"
    assert names.knob("task.word.length") == "length in training on word"


def test_of_two_uses_of_one_task_the_knob_says_which():
    config = config_of()
    config.tasks.other = dict(config.tasks.facts)
    words = names.knob("task.other.exponent", field_study(axis("task.other.exponent", (1.0, 2.0)), config=config))
    assert words.endswith("in training on 8 facts (other)")


def test_a_base_value_and_a_command_line_set_a_field():
    config = config_of()
    override(config, "knobs.task.word.length", "2")
    study = study_of(config)
    assert {cell["task.word.length"] for cell in study.cells} == {2}
    assert study.active(study.cells[0])["task.word.length"] == 2
    assert study.cell_keys != study_of().cell_keys


def test_a_field_acts_from_the_stage_of_its_axis():
    study = field_study(axis("task.word.length", (1, 3), stage="prune"))
    values = [[study.knobs_at(cell, stage)["task.word.length"] for cell in study.cells] for stage in (0, 1)]
    assert set(values[0]) == {3}
    assert set(values[1]) == {1, 3}


@pytest.mark.parametrize(
    ("knob", "values", "fields", "sentence"),
    [
        ("task.word.lenth", (1, 2), {}, r"no such difficulty or size to turn\. Nearest: task\.word\.length"),
        ("task.wrod.length", (1, 2), {}, r"no task 'wrod' in config\.tasks\. Nearest: task\.word\.length"),
        ("task.word.length", (0, 3), {}, r"length=0 is out of range; it must lie in \[1, 3\]"),
        ("task.word.length", (1, 2.5), {}, "must be a whole number"),
        ("task.word.held_out", (0, 1), {}, "can't be turned: what is held out"),
        ("task.word.spurious", (0.0, 0.5), {}, r"set config\.tasks\.word\.cue=True"),
        ("task.word.label_noise", (0.0, 0.5), {}, r"set config\.tasks\.word\.noise=True"),
        ("task.word.length", (1, 3), {"examples": dict(train=4, prune=0)}, "acts from stage 'prune', in which 'word'"),
    ],
)
def test_a_field_that_cannot_be_turned_is_refused_in_a_sentence(knob, values, fields, sentence):
    stage = "prune" if "examples" in fields else None
    with pytest.raises(UserError, match=sentence):
        field_study(axis(knob, values, stage=stage), config=config_of(**fields))


def test_a_curriculum_and_a_field_that_it_moves_cannot_go_together():
    config = config_of()
    config.knobs.curriculum = dict(order="ramp")
    with pytest.raises(UserError, match="a curriculum moves the length of 'word', too"):
        field_study(axis("task.word.length", (1, 3)), config=config)
    field_study(axis("task.facts.exponent", (1.0, 3.0)), config=config)  # a curriculum doesn't move it
    either = chain(axis("task.word.length", (1, 3)), axis("curriculum.order", ("ramp",)))
    assert curriculum.ORDER.name in field_study(either).base


def test_a_planted_cue_can_be_neutral_at_nothing():
    task = make("group_word", group="Z6", length=3, longer=4, ask="last", cue=True, noise=True)
    assert {"uncued", "cued"} <= set(task.splits)
    assert task.splits["train"].difficulty["spurious"] == task.splits["train"].difficulty["label_noise"] == 0
    assert task.splits["cued"].difficulty["spurious"] == 1
    assert {"spurious", "label_noise", "length"} == set(knob_fields(task))
    assert task.baselines("cued")["cue"].exact > 0.99


@pytest.mark.slow
@pytest.mark.as_shipped
def test_a_neutral_cell_next_to_others_trains_to_the_bits_of_the_study_without(tmp_path):
    plain_plan, plain_store, _ = carry_out(study_of(), tmp_path / "plain")
    _, store, _ = carry_out(field_study(axis("task.facts.exponent", (1.0, 2.0))), tmp_path / "with")
    keys = [node.key for group in plain_plan.program_groups for node in group.nodes]
    assert_same(everything(store, keys), everything(plain_store, keys))
