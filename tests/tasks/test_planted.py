"""Planted shortcuts: the cue's correlation, the answers of other examples, and what neither may touch."""

import jax
import numpy as np
import pytest

from tasks import TASKS, TaskError, make, sizes_of
from tasks.base import NO_ANSWER, PROCESS
from tests.tasks.task_cases import SIZES, draw, draw_split, first_by_default, instance, one, within, world

RHO, COUNT = 0.7, 2048
BASES = {
    "mqar": dict(pairs=2, more_pairs=3, keys=4, values=4),  # answers are not fed back
    "path_star": dict(direction="reverse"),  # they are
    "modular": dict(p=7, reserved_rows=1),
}
CUED = {name: make(name, spurious=RHO, **sizes) for name, sizes in BASES.items()}
NOISY = {name: make(name, label_noise=0.25, **sizes) for name, sizes in BASES.items()}
every_base = pytest.mark.parametrize("name", first_by_default(BASES, 2))


def first_answers(batch):
    return np.take_along_axis(batch.targets, np.argmax(batch.weights == 1, axis=1)[:, None], axis=1)[:, 0]


def agreement(task, split):
    """Share of examples whose cue names the first answer, and that of the commonest answers by accident."""
    batch = draw_split(task, split)
    answers = first_answers(batch)
    share = np.bincount(answers) / COUNT
    return np.mean(batch.tokens[:, 0] - task.task.vocab_size == answers), float(np.sum(share**2))


@every_base
@pytest.mark.parametrize("split", ["train", "iid"])
def test_the_cue_names_the_answer_as_often_as_asked(name, split):
    agrees, by_accident = agreement(CUED[name], split)
    assert within(agrees, RHO + (1 - RHO) * by_accident, COUNT)


@every_base
def test_the_counterfactual_split_has_a_cue_that_tells_nothing(name):
    agrees, by_accident = agreement(CUED[name], "uncued")
    assert within(agrees, by_accident, COUNT)
    # The same test with the control broken on purpose, ρ left as in training, must see the difference.
    chosen = CUED[name].splits["uncued"]
    broken = draw(CUED[name], {**chosen.difficulty, "spurious": RHO}, chosen.length)
    named = np.mean(broken.tokens[:, 0] - CUED[name].task.vocab_size == first_answers(broken))
    assert not within(named, by_accident, COUNT)


@every_base
def test_cues_look_alike_whatever_they_tell(name):
    used = [set(np.unique(draw_split(CUED[name], split).tokens[:, 0])) for split in ("iid", "uncued")]
    assert used[0] == used[1]
    assert min(used[0]) > CUED[name].task.vocab_size


@every_base
def test_questions_stay_those_of_the_task(name):
    plain = draw_split(make(name, **BASES[name]), "iid")
    cued, noisy = draw_split(CUED[name], "iid"), draw_split(NOISY[name], "iid")
    for field in ("tokens", "targets", "weights"):
        np.testing.assert_array_equal(getattr(cued, field)[:, 1:], getattr(plain, field))
        np.testing.assert_array_equal(getattr(noisy, field), getattr(plain, field))
    np.testing.assert_array_equal(cued.read, plain.read + 1)
    assert set(cued.factors) - set(plain.factors) == {"cue_agrees"}


@every_base
def test_noise_gives_that_share_of_training_the_answer_of_another(name):
    task = NOISY[name]
    noisy, plain = draw_split(task, "train"), draw_split(task.task, "train")
    changed = np.any(noisy.targets != plain.targets, axis=1)
    pairs = np.random.default_rng(0).integers(COUNT, size=(2, 20_000))
    differ = np.mean(np.any(plain.targets[pairs[0]] != plain.targets[pairs[1]], axis=1))
    assert within(np.mean(changed), 0.25 * differ, COUNT)
    refused = [
        not task.check(world(task), one(noisy, i), np.where(noisy.weights[i] > 0, noisy.targets[i], NO_ANSWER))
        for i in range(200)
    ]
    np.testing.assert_array_equal(refused, changed[:200])
    asked = noisy.weights > 0
    if task.splits["train"].decode_steps > 1:
        fed_back = asked[:, :-1] & asked[:, 1:]
        assert np.all(noisy.tokens[:, 1:][fed_back] == noisy.targets[:, :-1][fed_back])
        np.testing.assert_array_equal(noisy.tokens[~asked], plain.tokens[~asked])
    else:
        np.testing.assert_array_equal(noisy.tokens, plain.tokens)
    assert not np.any((asked & (noisy.weights < 1)) & (noisy.weights != PROCESS))


@every_base
def test_score_and_check_see_the_question_without_its_cue(name):
    task = CUED[name]
    batch = draw_split(task, "uncued")
    for index in range(8):
        example = one(batch, index)
        right = np.where(example.weights > 0, example.targets, NO_ANSWER)
        wrong = right.copy()
        wrong[np.flatnonzero(example.weights)[0]] += 1
        for answer, verdict in ((right, True), (wrong, False)):
            assert bool(task.score(jax.tree.map(np.asarray, example), answer)) is verdict
            assert task.check(world(task), example, answer) is verdict
        assert task.render(example).startswith("[cue ")


@every_base
@pytest.mark.parametrize("split", ["iid", "uncued"])
def test_believing_the_cue_is_a_baseline(name, split):
    task = CUED[name]
    believer, batch = task.baselines(split)["cue"], draw_split(task, split)
    first = np.argmax(batch.weights == 1, axis=1)[:, None]
    believed = batch.tokens[:, :1] - task.task.vocab_size == np.take_along_axis(batch.targets, first, axis=1)
    if name == "mqar":  # the other answer is a guess
        assert within(believer.exact, 0.5 * np.mean(believed), COUNT)
        assert believer.exact >= (RHO if split == "iid" else 0) * 0.5
    else:
        assert within(np.mean(believed), believer.exact, COUNT)
    assert believer.logprob < 0
    assert set(task.baselines(split)) == {*task.task.baselines("iid"), "cue"}


def test_neither_planted_is_the_task_itself_and_both_can_be():
    assert make("modular", spurious=0.0, label_noise=0.0) == make("modular")
    both = make("modular", p=7, reserved_rows=1, spurious=0.5, label_noise=0.5)
    assert sizes_of(both) == sizes_of(both.task) | {"spurious": 0.5, "label_noise": 0.5}
    batch = draw_split(both, "train")
    right = np.array([both.check(world(both), one(batch, i), batch.targets[i]) for i in range(COUNT)])
    cue_agrees = batch.tokens[:, 0] - both.task.vocab_size == batch.targets[:, 3]
    assert within(np.mean(cue_agrees), 0.5 + 0.5 / 7, COUNT), "the cue names the label that is trained on"
    assert within(np.mean(right), 0.5 + 0.5 / 7, COUNT)


@pytest.mark.parametrize("name", ["noisy_recall", "selective_copy"])
def test_a_field_of_the_task_goes_before_a_shortcut_of_the_same_name(name):
    task = make(name, noise=3)
    assert task.noise == 3
    assert type(task) is TASKS[name]
    both = make(name, noise=3, label_noise=0.5)
    assert both.task == task
    assert make(name, **sizes_of(both)) == both


@pytest.mark.slow
def test_every_task_takes_both():
    one_of_each = {name: instance(case) for case, (name, _) in SIZES.items()}
    assert set(one_of_each) == set(TASKS)
    for case, task in one_of_each.items():
        made = make(task.name, **{**sizes_of(task), "spurious": 0.5, "label_noise": 0.1})
        chosen = made.splits["train"]
        shapes = jax.eval_shape(
            lambda key, made=made, chosen=chosen: made.sample(key, made.world(key), chosen.difficulty, chosen.length),
            jax.random.key(0),
        )
        assert shapes.tokens.shape == (chosen.length,), case


@pytest.mark.parametrize(("field", "value"), [("spurious", 1.5), ("label_noise", -0.1), ("spurious", "often")])
def test_out_of_range_is_said(field, value):
    with pytest.raises(TaskError, match=f"{field} must be a number in"):
        make("modular", **{field: value})
