"""Vectors at every setting against the model read by hand; answers and folds against plain loops."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.errors import UserError
from lab.frozen.embed import Embedder, Questions, check_texts, model_facts, read_questions, right
from lab.frozen.knobs import KNOBS, kernels_of, with_kernels
from lab.nn.encoder import Encoder
from lab.storage import pretrained
from tests.tiny_pretrained import tiny_study, write_folder, write_questions

ASKED = 1205  # folds of 100 and of 101 questions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("embed")
    write_folder(path / "model")
    write_questions(path / "questions", ask=ASKED)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return pretrained.read(folder / "model")


@pytest.fixture(scope="module")
def study(folder):
    return tiny_study(folder, "layers.dropped", (0.0, 1.0, 2.0), name="tiny", fit_questions=16)


@pytest.fixture(scope="module")
def questions(study):
    return read_questions(dataclasses.replace(study, knob=KNOBS["whitening.power"]))  # which is fitted


@pytest.fixture(scope="module")
def records(folder):
    return {
        split: [json.loads(line) for line in (folder / "questions" / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "dev")
    }


@pytest.fixture(scope="module")
def few(questions):
    """The questions as they are, but texts for some only: what is read is read sooner."""
    return dataclasses.replace(questions, texts=questions.texts[:70])


def embedder(study, model, questions, knob, **chosen):
    return Embedder(dataclasses.replace(study, knob=KNOBS[knob], chosen=chosen), model, questions)


def made_up(choices, answers):
    """Questions whose texts are the rows of some vectors: each asks the last row."""
    asked = max(index for each in choices for index in each) + 1
    count = len(choices)
    return Questions((), (), np.full(count, asked), np.asarray(answers), tuple(choices), np.zeros(count, int), ())


def right_by_hand(vectors_NxD, questions):
    """Cosines in a loop; of equal ones the first, and none where one is no number."""
    found = []
    for asked, choices, answer in zip(questions.question_Q, questions.choices, questions.answer_Q, strict=True):
        best, chosen, whole = -math.inf, None, True
        for place, choice in enumerate(choices):
            one, other = vectors_NxD[asked].tolist(), vectors_NxD[choice].tolist()
            sizes = [math.sqrt(math.fsum(x * x for x in each)) or 1.0 for each in (one, other)]
            cosine = math.fsum(x / sizes[0] * (y / sizes[1]) for x, y in zip(one, other, strict=True))
            whole = whole and math.isfinite(cosine)
            if cosine > best:
                best, chosen = cosine, place
        found.append(whole and chosen == answer)
    return np.asarray(found)


def test_the_right_choice_is_the_one_with_the_largest_cosine():
    random = np.random.default_rng(0)
    vectors_NxD = random.normal(size=(41, 8)) * random.uniform(0.01, 100, size=(41, 1))
    choices = [tuple(random.choice(40, int(random.integers(2, 6)), replace=False).tolist()) for _ in range(300)]
    asked = made_up([*choices, (39, 38)], [int(random.integers(len(each))) for each in choices] + [0])
    found = right(vectors_NxD, asked)
    np.testing.assert_array_equal(found, right_by_hand(vectors_NxD, asked))
    assert 50 < found.sum() < 150


@pytest.mark.parametrize("width", [8, 384])
def test_of_choices_with_one_vector_the_first_is_chosen(width):
    """Each choice is a copy of one of three vectors, so most questions have several that are equally near."""
    random = np.random.default_rng(1)
    three = random.normal(size=(3, width))
    kinds = [tuple(random.integers(3, size=5).tolist()) for _ in range(200)]
    vectors_NxD = np.concatenate([np.repeat(three, 5, axis=0), random.normal(size=(1, width))])
    choices = [tuple(5 * kind + place for place, kind in enumerate(each)) for each in kinds]
    asked = made_up([*choices, (14, 13)], [0] * 201)
    unit = [row / np.sqrt((row**2).sum()) for row in (*three, vectors_NxD[-1])]
    order = np.argsort([-float(row @ unit[3]) for row in unit[:3]])  # the three kinds, the nearest first
    nearest = [next(each.index(kind) for kind in order if kind in each) for each in kinds]
    for place in range(5):
        every = dataclasses.replace(asked, answer_Q=np.full(201, place))
        np.testing.assert_array_equal(right(vectors_NxD, every)[:200], [place == first for first in nearest])


def test_on_one_line_all_choices_on_the_side_of_the_question_are_equally_near():
    """As `dimensions.removed` leaves vectors at its end."""
    random = np.random.default_rng(2)
    at_N, line_D = random.normal(size=61), random.normal(size=8)
    choices = [tuple(random.choice(60, 5, replace=False).tolist()) for _ in range(200)]
    asked = made_up([*choices, (59, 58)], [0] * 201)
    same_N = at_N * at_N[60] > 0
    nearest = [next((place for place, index in enumerate(each) if same_N[index]), 0) for each in choices]
    found = right(at_N[:, None] * line_D, asked)[:200]
    np.testing.assert_array_equal(found, [first == 0 for first in nearest])


def test_a_vector_that_is_zero_is_as_near_as_one_at_a_right_angle():
    vectors_NxD = np.asarray([[0, 0], [0, 1.0], [1, 1], [-1, 0], [1, 0]])
    asked = made_up([(0, 1), (1, 0), (0, 2), (3, 0), (3, 1)], [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(right(vectors_NxD, asked), np.ones(5, bool))
    np.testing.assert_array_equal(right(vectors_NxD, asked), right_by_hand(vectors_NxD, asked))
    zeros = right(np.zeros((5, 2)), asked)  # nothing is near anything: the first choice, whatever it is
    np.testing.assert_array_equal(zeros, asked.answer_Q == 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_question_with_a_vector_that_is_not_finite_is_not_answered(bad):
    vectors_NxD = np.random.default_rng(3).normal(size=(5, 8))
    asked = made_up([(0, 1), (1, 2), (2, 3)], [0, 0, 0])
    asked = dataclasses.replace(
        asked, answer_Q=np.asarray([int(right(vectors_NxD, asked)[row] == 0) for row in (0, 1, 2)])
    )
    assert right(vectors_NxD, asked).all()
    vectors_NxD[1, 3] = bad
    np.testing.assert_array_equal(right(vectors_NxD, asked), [False, False, True])
    vectors_NxD[4] = bad  # what is asked
    assert not right(vectors_NxD, asked).any()


def test_questions_are_those_of_the_file(questions, records):
    assert len(questions.items) == len(questions.question_Q) == ASKED
    assert len({*questions.texts}) == len(questions.texts)
    for row, record in enumerate(records["dev"]):
        assert questions.texts[questions.question_Q[row]] == record["question"]
        assert [questions.texts[index] for index in questions.choices[row]] == record["choices"]
        place = questions.answer_Q[row]
        assert record["choices"][place] == record["choices"]["ABCD".index(record["answer"])]
    assert questions.chance == 0.25
    fit = [text for record in records["train"][:16] for text in (record["question"], *record["choices"])]
    assert questions.fit_texts == tuple(dict.fromkeys(fit))


def test_what_is_asked_is_the_context_and_the_question(study, tmp_path):
    for split in ("train", "dev"):
        record = {"story": ["the dog", "the cat"], "question": "is it red", "choices": ["not", "red"], "answer": "B"}
        (tmp_path / f"{split}.jsonl").write_text(f"{json.dumps(record)}\n" * 1200)
    found = read_questions(
        dataclasses.replace(study, data_dir=tmp_path, options=dict(answer_is="letter", context="story"))
    )
    assert found.texts == ("the dog the cat is it red", "not", "red")
    assert found.chance == 0.5
    np.testing.assert_array_equal(found.answer_Q, np.ones(1200))


def test_folds_differ_by_one_question_at_the_most_and_are_the_same_for_the_same_seed(study, questions):
    sizes = np.bincount(questions.fold_Q)
    assert sorted(sizes.tolist()) == [100] * 7 + [101] * 5
    np.testing.assert_array_equal(read_questions(study).fold_Q, questions.fold_Q)
    other = read_questions(dataclasses.replace(study, seed=1)).fold_Q
    assert sorted(np.bincount(other).tolist()) == sorted(sizes.tolist())
    assert 0.02 < (other == questions.fold_Q).mean() < 0.2  # one in twelve by chance
    np.testing.assert_array_equal(np.bincount(read_questions(dataclasses.replace(study, folds=12)).fold_Q), sizes)


@pytest.mark.parametrize("knob", ["layers.dropped", "state_noise.scale", "weight_noise.scale", "whitening.power"])
def test_at_neutral_vectors_are_those_of_the_model_as_published(study, model, few, knob):
    found_NxD = embedder(study, model, few, knob).vectors(0)
    assert found_NxD.dtype == np.float64
    np.testing.assert_allclose(found_NxD, pretrained.vectors(model, few.texts), atol=1e-6)


@pytest.mark.parametrize("dropped", [1, 2])
def test_with_blocks_left_out_vectors_are_those_of_an_earlier_layer(study, model, few, dropped):
    found_NxD = embedder(study, model, few, "layers.dropped").vectors(dropped)
    np.testing.assert_allclose(found_NxD, pretrained.vectors(model, few.texts, layer=-1 - dropped), atol=1e-6)


def test_a_text_has_one_vector_whatever_else_is_read(study, model, few):
    whole = embedder(study, model, few, "layers.dropped").vectors(0)
    part = embedder(study, model, dataclasses.replace(few, texts=few.texts[40:45]), "layers.dropped").vectors(0)
    np.testing.assert_allclose(part, whole[40:45], atol=1e-6)


def test_noise_on_states_is_one_draw_a_text(study, model, few):
    noisy = embedder(study, model, few, "state_noise.scale")
    neutral, found = noisy.vectors(0), noisy.vectors(0.3)
    assert (np.abs(found - neutral).max(axis=1) > 1e-3).all()
    np.testing.assert_array_equal(noisy.vectors(0.3), found)
    np.testing.assert_array_equal(embedder(study, model, few, "state_noise.scale").vectors(0.3), found)
    other = dataclasses.replace(study, seed=1)
    assert np.abs(embedder(other, model, few, "state_noise.scale").vectors(0.3) - found).max() > 1e-2
    assert np.linalg.norm(noisy.vectors(1.5) - neutral) > np.linalg.norm(found - neutral)


def test_little_noise_on_states_moves_vectors_little_and_in_proportion(study, model, few):
    noisy = embedder(study, model, few, "state_noise.scale")
    neutral = noisy.vectors(0)
    one, two = noisy.vectors(1e-3) - neutral, noisy.vectors(2e-3) - neutral
    assert 1e-5 < np.abs(one).max() < 0.1
    assert np.linalg.norm(two - 2 * one) < 0.05 * np.linalg.norm(two)


def test_noise_on_the_last_states_has_the_size_that_is_asked_for(study, model, few):
    """Of a model whose blocks read nothing (kernels of zero) the noise of the last block is all there is at the end."""
    silent = {at: np.zeros_like(kernel) for at, kernel in kernels_of(model.params).items()}
    deaf = dataclasses.replace(model, params=with_kernels(model.params, silent))
    for block in ("block_0", "block_1"):  # each norm gives a constant, whatever it is given
        deaf.params[block]["norm_mlp"]["scale"] = jnp.zeros(8)
        deaf.params[block]["norm_mlp"]["bias"] = jnp.arange(1.0, 9.0, dtype=jnp.float32)
    noisy = embedder(study, deaf, few, "state_noise.scale")
    tokens_N = np.asarray([len(ids) for ids in model.tokenize(few.texts)])
    noise_NxD = (noisy.vectors(0.5) - np.arange(1.0, 9.0)) * np.sqrt(tokens_N)[:, None]  # of a mean over tokens
    size = 0.5 * np.sqrt((np.arange(1.0, 9.0) ** 2).mean())
    assert abs(noise_NxD.std() / size - 1) < 0.15
    assert abs(noise_NxD.mean() / size) < 0.15


@pytest.mark.parametrize(
    ("knob", "value", "chosen"),
    [
        ("prune.amount", 0.5, dict(score="magnitude")),
        ("prune.amount", 0.5, dict(score="wanda")),
        ("low_rank.removed", 0.5, {}),
        ("quantize.bits", 3, {}),
        ("weight_noise.scale", 0.2, {}),
    ],
)
def test_a_knob_on_weights_reads_the_model_with_other_kernels(study, model, few, knob, value, chosen):
    mine = embedder(study, model, few, knob, **chosen)
    kernels = KNOBS[knob].apply(kernels_of(model.params), value, mine._fitted, study.seed, chosen)
    other = dataclasses.replace(model, params=with_kernels(model.params, kernels))
    np.testing.assert_allclose(mine.vectors(value), pretrained.vectors(other, few.texts), atol=1e-5)
    np.testing.assert_allclose(mine.vectors(KNOBS[knob].neutral), pretrained.vectors(model, few.texts), atol=1e-6)


@pytest.mark.parametrize(
    ("knob", "value"), [("whitening.power", 0.5), ("top_directions.removed", 2), ("dimensions.removed", 0.5)]
)
def test_a_knob_on_vectors_is_fitted_on_the_other_split_and_applied_to_these(study, model, few, knob, value):
    mine = embedder(study, model, few, knob)
    fit_NxD = pretrained.vectors(model, few.fit_texts).astype(float)
    covariance = np.cov(fit_NxD.T)
    fitted = mine._fitted
    np.testing.assert_allclose(fitted.mean_D, fit_NxD.mean(axis=0), atol=1e-6)
    assert (np.diff(fitted.value_D) <= 0).all()
    np.testing.assert_allclose(fitted.basis_DxD @ np.diag(fitted.value_D) @ fitted.basis_DxD.T, covariance, atol=1e-5)
    np.testing.assert_allclose(fitted.basis_DxD.T @ fitted.basis_DxD, np.eye(8), atol=1e-10)
    expected = KNOBS[knob].apply(pretrained.vectors(model, few.texts).astype(float), value, fitted)
    np.testing.assert_allclose(mine.vectors(value), expected, rtol=1e-4, atol=1e-4)


def test_the_norms_of_inputs_are_root_mean_squares_over_the_tokens_of_texts(study, model, few):
    """Against what a hook sees of texts of one length each, without padding."""
    texts = few.fit_texts[:20]
    entering = {
        "attention_in": ("query", "key", "value"),
        "mixed": ("output",),
        "mlp_in": ("up",),
        "neurons": ("down",),
    }
    total, count = {}, 0

    @jax.jit
    def read(ids_BxL):
        seen = {}

        def watching(point, layer, x):
            if point in entering:
                seen[layer, point] = x
            return x

        Encoder(model.spec).apply({"params": model.params}, ids_BxL, jnp.ones(ids_BxL.shape, bool), watching)
        return seen

    tokens = model.tokenize(texts)
    for length in {len(ids) for ids in tokens}:
        ids_BxL = np.asarray([ids for ids in tokens if len(ids) == length])
        seen = read(jnp.asarray(ids_BxL))
        count += ids_BxL.size
        for (layer, point), x_BxLxI in seen.items():
            for name in entering[point]:
                at = f"block_{layer - 1}", name
                total[at] = total.get(at, 0) + (np.asarray(x_BxLxI, float) ** 2).sum(axis=(0, 1))
    found = embedder(study, model, few, "prune.amount", score="wanda")._input_norms(texts)
    assert found.keys() == kernels_of(model.params).keys()
    for at, sum_I in total.items():
        np.testing.assert_allclose(found[at], np.sqrt(sum_I / count), rtol=1e-4)


def test_only_wanda_asks_for_norms(study, model, few):
    assert not embedder(study, model, few, "prune.amount", score="magnitude")._fitted.input_norms
    assert not embedder(study, model, few, "quantize.bits")._fitted.input_norms


def test_kernels_are_decomposed_once_for_all_ranks_to_what_each_alone_gives(study, model, few):
    mine, kernels = embedder(study, model, few, "low_rank.removed"), kernels_of(model.params)
    kept = mine._fitted
    assert mine._fitted is kept
    assert kept.decomposed.keys() == kernels.keys()
    alone = dataclasses.replace(kept, decomposed={})
    for removed in (0.25, 0.5, 0.9):
        one, other = (KNOBS["low_rank.removed"].apply(kernels, removed, each, 0, {}) for each in (kept, alone))
        for at in kernels:
            np.testing.assert_array_equal(one[at], other[at])


def test_facts_of_the_model(model):
    assert model_facts(model) == {"blocks": 2, "width": 8, "parameters": 1608}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(ask="test"), r"config\.data\.ask=test: no such split; there are train, dev\."),
        (
            dict(fit="test", knob=KNOBS["whitening.power"]),
            r"config\.data\.fit=test: no such split; there are train, dev\.",
        ),
        (dict(folds=13), r"config\.data\.ask=dev has 1,205 questions; 13 folds of 100 take 1,300\."),
        (dict(ask="train", fit="dev"), r"config\.data\.ask=train has 40 questions; 12 folds of 100 take 1,200\."),
        (
            dict(format="question_answer", options={}),
            r"dev\.jsonl, line 1: a frozen study chooses among choices, and this question has none; take a mult",
        ),
        (dict(options={}), r"config\.data_dir: .*train\.jsonl:1: answer '.' must be one of"),
        (dict(data_dir=Path("nowhere")), r"config\.data_dir: there is no folder nowhere"),
    ],
)
def test_questions_that_cannot_be_asked_are_named_in_a_sentence(study, changes, message):
    with pytest.raises(UserError, match=message) as raised:
        read_questions(dataclasses.replace(study, **changes))
    assert "\n" not in str(raised.value)


def test_a_question_with_one_choice_is_named_by_its_line(study, folder, tmp_path):
    bad = Path(shutil.copytree(folder / "questions", tmp_path / "bad"))
    rows = (bad / "dev.jsonl").read_text().splitlines()
    rows[3] = json.dumps({"question": "is it red", "choices": ["red"], "answer": "A"})
    (bad / "dev.jsonl").write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match=r"dev\.jsonl, line 4: .* this question has none"):
        read_questions(dataclasses.replace(study, data_dir=bad))


def test_a_knob_that_fits_nothing_needs_no_other_split(study):
    found = read_questions(dataclasses.replace(study, fit="nowhere", knob=KNOBS["prune.amount"], chosen={}))
    assert found.fit_texts == ()


def test_a_question_that_is_asked_is_not_fitted_on(study, folder, tmp_path):
    asked = (folder / "questions" / "dev.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "dev.jsonl").write_text("".join(asked))
    (tmp_path / "train.jsonl").write_text("".join(asked[:30]))
    one = dataclasses.replace(study, data_dir=tmp_path, knob=KNOBS["whitening.power"])
    assert read_questions(one).fit_texts == ()


def test_too_few_texts_to_fit_directions_on_are_refused(study, model, questions):
    one, few = (
        dataclasses.replace(study, knob=KNOBS["whitening.power"]),
        dataclasses.replace(questions, fit_texts=("a",)),
    )
    with pytest.raises(
        UserError, match=r"config\.data\.fit_questions=16: they have 1 distinct texts.* take 32 at least"
    ):
        check_texts(one, model, few)
    check_texts(study, model, few)  # fits nothing


def test_a_text_that_is_too_long_is_named_by_file_and_line(study, model, questions):
    long = "dog " * 60
    third = dataclasses.replace(questions.items[2], question=long.strip())
    more = dataclasses.replace(
        questions, items=(*questions.items[:2], third), texts=(*questions.texts, long.strip()), fit_texts=()
    )
    with pytest.raises(UserError, match=r"dev\.jsonl, line 3: a text of this question has more tokens than the 40"):
        check_texts(study, model, more)
