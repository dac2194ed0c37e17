"""The share of a task in a batch as a knob: how many examples of each label, which ones, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.design import undecidable
from analysis.report import names
from lab.engine import make_plan
from lab.errors import UserError
from lab.mechanisms.base import Context, DataSource
from lab.mechanisms.mixture_share import MixtureShare, numbers, room_for, rows
from lab.nn import model
from lab.prng import derive_key
from lab.study import axis, chain, product
from lab.study.fields import override
from tasks import make
from tasks.mixture import Mixture
from tests.lab.conftest import LAYOUT, study_of, tiny_config

SEED, STEP = jnp.int32(2), jnp.int32(3)
COUNTS = {"facts": 6, "word": 3, "more": 9}
MIXTURE = Mixture(
    (("facts", make("facts", facts=64)), ("word", make("group_word", length=6)), ("more", make("facts", facts=32)))
)
CONTEXT = Context(MIXTURE, tuple(COUNTS.items()), 100, model.ModelSpec(MIXTURE.vocab_size, 8, 16, 1, 2, 16))
WORLDS = MIXTURE.worlds(derive_key(SEED, "world"))
TOKENS = {label: MIXTURE.task_token(label) for label in COUNTS}


@jax.jit
def numbers_at(shares):
    return numbers(COUNTS, shares)


@pytest.mark.parametrize("turned", COUNTS)
def test_numbers_are_the_share_asked_for_and_the_rest_in_proportion(turned):
    total, room = sum(COUNTS.values()), room_for(COUNTS, tuple(COUNTS))
    neutral = {label: jnp.float32(count / total) for label, count in COUNTS.items()}
    at = list(COUNTS).index(turned)
    assert numbers_at(neutral).tolist() == list(COUNTS.values())
    for wanted in range(total + 1):
        found = np.asarray(numbers_at({**neutral, turned: jnp.float32(wanted / total)}))
        assert found.sum() == total
        assert found[at] == wanted
        for label, number in zip(COUNTS, found.tolist(), strict=True):
            assert number <= COUNTS[label] + room[label]
            exact = wanted if label == turned else (total - wanted) * COUNTS[label] / (total - COUNTS[turned])
            assert abs(number - exact) < 1


def test_rows_are_each_labels_own_first_then_further_ones():
    """By lists: the first of what each label has, then of its further examples."""
    room = {"facts": 4, "word": 15, "more": 1}
    rows_of = jax.jit(lambda numbers_K: rows(COUNTS, room, numbers_K))
    for given in ([6, 3, 9], [2, 16, 0], [10, 0, 8], [0, 18, 0]):
        own, spare, before, after = [], [], 0, 18
        for label in COUNTS:
            own.append(list(range(before, before + COUNTS[label])))
            spare.append(list(range(after, after + room[label])))
            before, after = before + COUNTS[label], after + room[label]
        expected = [row for a, b, n in zip(own, spare, given, strict=True) for row in (a + b)[:n]]
        assert rows_of(jnp.asarray(given, jnp.int32)).tolist() == expected


@jax.jit
def batch_of(share):
    source = DataSource(CONTEXT, SEED, STEP, drawn_at=STEP)
    return MixtureShare().transform_data(source, (), {"mixture.word": share}, SEED).batch(WORLDS, 8)


def test_at_neutral_the_batch_is_the_one_without_and_cells_are_paired():
    plain = jax.jit(lambda: DataSource(CONTEXT, SEED, STEP, drawn_at=STEP).batch(WORLDS, 8))()
    jax.tree.map(np.testing.assert_array_equal, batch_of(jnp.float32(3 / 18)), plain)
    usual, most, none = (np.asarray(batch_of(jnp.float32(share)).tokens) for share in (3 / 18, 12 / 18, 0.0))
    words = [tokens[tokens[:, 0] == TOKENS["word"]] for tokens in (usual, most, none)]
    assert [len(each) for each in words] == [3, 12, 0]
    np.testing.assert_array_equal(words[1][:3], words[0])
    assert len(np.unique(words[1], axis=0)) > 9  # further ones are new, not copies
    for tokens in (most, none):
        left = [int(np.sum(tokens[:, 0] == TOKENS[label])) for label in ("facts", "more")]
        assert abs(left[0] / sum(left) - 6 / 15) < 1 / sum(left)


def share_study(*axes, config=None):
    return study_of(config or config_with(), product(*axes, axis("seed", range(3))))


def config_with(**sections):
    config = tiny_config()
    config.claim.knob = "mixture.word"
    config.knobs.update(sections)
    return config


def test_a_study_with_a_share_has_one_program_a_stage_and_the_keys_of_the_study_without(tmp_path):
    study = share_study(axis("mixture.word", (0.5, 0.75, 1.0)))
    assert study.own_knobs["mixture.word"].neutral == 0.5
    assert len(make_plan(study, LAYOUT).program_groups) == 2
    without = share_study(axis("prune.sparsity", (0.0,)), config=tiny_config())
    assert study.cell_keys[:3] == without.cell_keys
    assert len(set(study.cell_keys)) == 9
    assert names.knob("mixture.word", study) == "share of products in Z6 in a training batch"
    near = share_study(axis("mixture.word", (0.5, 0.51, 1.0)))  # of eight examples
    sentence = "0.5 and 0.51 of mixture.word come to the same number of examples"
    assert any(sentence in note for note in undecidable(near, tmp_path))


def test_a_command_line_sets_a_share():
    config = tiny_config()
    override(config, "knobs.mixture.word", "0.25")
    assert {cell["mixture.word"] for cell in study_of(config).cells} == {0.25}


def of_stages(**examples):
    config = config_with()
    config.tasks.word.examples = examples
    return config


@pytest.mark.parametrize(
    ("grid", "config", "sentence"),
    [
        (axis("mixture.wrod", (0.5, 1.0)), config_with(), r"no such label\. Nearest: mixture\.word"),
        (axis("mixture.word", (0.5, 1.5)), config_with(), r"out of range; it must lie in \[0, 1\]"),
        (axis("mixture.word", (0.5, 1.0)), config_with(batch=dict(share=0.5)), r"batch\.share decides about single"),
        (axis("mixture.word", (0.5, 1.0)), of_stages(train=4, prune=12), "is 0.5 in stage 'train' and 0.75 in 'prune'"),
        (axis("mixture.word", (0.5, 1.0), stage="prune"), of_stages(train=4, prune=0), "no stage in which it acts"),
        (
            product(axis("mixture.word", (0.5, 1.0)), axis("mixture.facts", (0.5, 0.75))),
            config_with(),
            "set one share, the other tasks keep their proportions",
        ),
        (
            product(axis("mixture.word", (0.5, 1.0)), axis("mixture.facts", (0.5, 0.75), stage="prune")),
            config_with(),
            "act from different stages",
        ),
    ],
)
def test_a_share_that_cannot_be_is_refused_in_a_sentence(grid, config, sentence):
    with pytest.raises(UserError, match=sentence):
        share_study(grid, config=config)


def test_a_share_of_one_stage_is_neutral_at_what_that_stage_has():
    study = share_study(axis("mixture.word", (0.75, 1.0), stage="prune"), config=of_stages(train=4, prune=12))
    assert study.own_knobs["mixture.word"].neutral == 0.75
    assert [study.knobs_at(study.cells[-1], stage)["mixture.word"] for stage in (0, 1)] == [0.75, 1.0]
    either = chain(axis("mixture.word", (0.5, 1.0)), axis("mixture.facts", (0.5, 0.25)))
    assert len(share_study(either).cells) == 9
