"""Arrays from elsewhere get a study's own verdicts, metrics those of references, and every bad field one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

import analysis
from analysis import stats
from analysis.external import judge, schema
from lab.errors import UserError
from tests.analysis import synthetic_study


@pytest.fixture(scope="module")
def study():
    """(judged, bounds) of the planted study, with diverged cells and a missing metric."""
    _, findings = synthetic_study.everything()
    return findings.claims, findings.bounds


def fields(study, label):
    """The arrays of one ability of a study, as a person would write them down."""
    mine = [one for one in study[0] if one.label == label]
    arrays = {"knob_K": mine[0].ability.knob_K, "seed_S": mine[0].ability.seed_S, "neutral": 0.0}
    arrays |= {"ability_SxK": mine[0].ability.values_SxK, "trivial": mine[0].trivial}
    for one in mine:
        arrays |= {f"{one.metric}_SxK": one.gain.values_SxK, f"{one.metric}_sign": one.sign}
    return mine, arrays


@pytest.mark.parametrize("label", ["facts", "z6", "addition", "path_star"])
def test_a_studys_arrays_give_its_own_verdicts_to_the_digit(study, label):
    mine, arrays = fields(study, label)
    judged = analysis.judge_arrays(arrays)
    assert [(one.metric, one.sign) for one in judged.gains] == [(one.metric, one.sign) for one in mine]
    for one, expected in zip(judged.gains, mine, strict=True):
        assert (one.verdict, one.shape.kind) == (expected.verdict, expected.shape.kind)
        for name, p_K in expected.map.p_K.items():
            np.testing.assert_array_equal(one.map.p_K[name], p_K)
    np.testing.assert_array_equal([one.adjusted_p for one in judged.gains], stats.family([one.verdict for one in mine]))
    bound = next(one for one in study[1] if one.label == label and one.primary)
    assert (judged.learned, judged.free_until, judged.harmful_from) == (
        bound.learned,
        bound.free_until,
        bound.harmful_from,
    )
    assert judged.delta == bound.delta
    assert {one.verdict.kind for one in judged.gains} >= ({"gain, then loss"} if label == "facts" else set())


def test_the_order_of_settings_and_seeds_does_not_matter(study):
    _, arrays = fields(study, "facts")
    seeds = np.random.default_rng(0).permutation(len(arrays["seed_S"]))
    turned = {name: value[seeds][:, ::-1] if name.endswith("_SxK") else value for name, value in arrays.items()}
    turned |= {"knob_K": arrays["knob_K"][::-1], "seed_S": arrays["seed_S"][seeds]}
    assert analysis.judge_arrays(turned).document() == analysis.judge_arrays(arrays).document()


@pytest.fixture
def clouds():
    """Two seeds at three settings of 64 labelled points in six dimensions, one cell lost."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, (2, 3, 64))
    hidden = rng.normal(size=(2, 3, 64, 6)) * np.linspace(0.5, 2, 6) + 1.5 * labels[..., None] + 30
    hidden[1, 2, 5, 0] = 1e300  # more than float32 holds
    return {
        "knob_K": [0, 1, 2],
        "neutral": 2,
        "trivial": 0.1,
        "ability_SxK": rng.uniform(0.4, 0.9, (2, 3)),
        "hidden_SxKxNxD": hidden,
        "labels_SxKxN": labels,
        "participation_ratio_sign": -1,
        "silhouette_sign": 1,
        "two_nn_sign": -1,
    }


def test_metrics_of_hidden_states_are_those_of_references(clouds):
    gains = {one.metric: one.values.values_SxK for one in analysis.judge_arrays(clouds).gains}
    for s, k in np.ndindex(2, 3):
        z, y = clouds["hidden_SxKxNxD"][s, k], clouds["labels_SxKxN"][s, k]
        if (s, k) == (1, 2):
            assert all(np.isnan(values[s, k]) for values in gains.values())
            continue
        variances = np.linalg.eigvalsh(np.cov(z.T))
        distances = np.sort(np.linalg.norm(z[:, None] - z[None], axis=-1), axis=1)
        expected = {
            "participation_ratio": variances.sum() ** 2 / (variances**2).sum(),
            "silhouette": silhouette_score(z, y),
            "two_nn": (len(z) - 1) / np.log(distances[:, 2] / distances[:, 1]).sum(),
        }
        for name, value in expected.items():
            assert gains[name][s, k] == pytest.approx(value, rel=2e-3), name


def test_control_labels_are_used_and_default_to_shuffled_ones(clouds):
    only = {k: v for k, v in clouds.items() if not k.endswith("sign")} | {"probe_selectivity_sign": 1}
    same = only | {"control_labels_SxKxN": clouds["labels_SxKxN"]}
    first = analysis.judge_arrays(same).gains[0].values.values_SxK
    np.testing.assert_array_equal(first[np.isfinite(first)], 0.0)
    assert np.nanmean(analysis.judge_arrays(only).gains[0].values.values_SxK) > 0.1


def test_the_command_reads_prints_and_writes(study, clouds, tmp_path, capsys):
    file, out = tmp_path / "mine.npz", tmp_path / "verdicts.json"
    _, arrays = fields(study, "facts")
    np.savez(file, **arrays)
    assert judge.main([str(file), f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "two_nn ↓  ↘ gain, then loss: two_nn falls while the ability is kept up to 0.4" in printed
    assert "shown free until: 0.4; shown harmful from: 0.5" in printed
    assert json.loads(out.read_text()) == analysis.judge_arrays(arrays).document()
    np.savez(file, **clouds)
    assert judge.main([str(file)]) == 0
    assert "64 examples of width 6" in capsys.readouterr().err


def test_bad_fields_get_one_sentence(clouds):
    def refused(message, without=(), **changed):
        given = {name: value for name, value in clouds.items() if name not in without} | changed
        with pytest.raises(UserError, match=message) as caught:
            analysis.judge_arrays(given)
        assert "\n" not in str(caught.value)

    nine = np.arange(9.0)
    refused("knob_K is missing", without=["knob_K"])
    refused("trivial is missing", without=["trivial"])
    refused("abilty: no such field. Nearest: ability_SxK", abilty=nine)
    refused(r"knob_K must be finite and strictly ascending or descending, not \[0, 2, 1\]", knob_K=[0, 2, 1])
    refused("knob_K must be finite", knob_K=[0, 1, np.nan])
    refused(r"knob_K must have shape \[K\], not \[3, 1\]", knob_K=[[0], [1], [2]])
    refused(r"ability_SxK must have shape \[S, K=3\], not \[9\]", ability_SxK=nine)
    refused(r"ability_SxK must have shape \[S, K=3\], not \[0, 3\]", ability_SxK=np.zeros((0, 3)))
    refused("ability_SxK must hold numbers", ability_SxK=[["a", "b", "c"]])
    refused("ability_SxK must be an array", ability_SxK=[[1, 2, 3], [1]])
    refused("neutral=1 must be the first or the last", neutral=1)
    refused("neutral must be one finite number", neutral=[0, 2])
    refused("trivial must be one finite number", trivial=np.nan)
    refused("alpha=1 must lie between", alpha=1)
    refused("delta=0 must lie between", delta=0)
    refused("seed_S must name each seed once", seed_S=[4, 4])
    refused("seed_S must hold whole numbers", seed_S=[0.5, 1])
    refused("two_nn_sign=2 must be 1", two_nn_sign=2)
    refused("rank_m_sign: no such latent metric. Nearest: rank_me", rank_m_sign=1)
    refused("mine_sign is missing", mine_SxK=np.zeros((2, 3)))
    refused(r"mine_SxK must have shape \[S=2, K=3\]", mine_SxK=nine, mine_sign=1)
    refused("no gain is claimed", without=[n for n in clouds if n.endswith("sign")])
    refused("claims a gain without values", without=["hidden_SxKxNxD", "labels_SxKxN"])
    refused("labels_SxKxN is given without hidden", without=["hidden_SxKxNxD"])
    refused("labels_SxKxN is missing; silhouette is about labels", without=["labels_SxKxN"])
    refused("hidden_SxKxNxD has 4 examples", hidden_SxKxNxD=np.zeros((2, 3, 4, 6)), labels_SxKxN=np.zeros((2, 3, 4)))
    refused(r"labels_SxKxN must have shape \[S=2, K=3, N=64\]", labels_SxKxN=np.zeros((2, 3, 63)))
    refused("labels_SxKxN must hold whole numbers", labels_SxKxN=np.full((2, 3, 64), 0.5))
    refused("labels_SxKxN must count classes from 0; the smallest label is -1", labels_SxKxN=np.full((2, 3, 64), -1))
    refused("without gaps", labels_SxKxN=np.full((2, 3, 64), 64))
    controls = np.zeros((2, 3, 64))
    refused("control_labels_SxKxN is given without labels", ["labels_SxKxN", "silhouette_sign"],
            control_labels_SxKxN=controls)  # fmt: skip


def test_bad_files_get_one_sentence(tmp_path, capsys):
    (tmp_path / "text.npz").write_text("not an archive")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", knob_K=np.asarray([{}], object))
    for name, message in (("none", "there is no file"), ("text", "is no .npz"), ("objects", "is no .npz")):
        assert judge.main([str(tmp_path / f"{name}.npz")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    with pytest.raises(UserError, match=r"is no \.npz"):
        judge.read(tmp_path / "one.npy")


def test_every_field_is_documented():
    document = (Path(__file__).parents[3] / "docs" / "npz.md").read_text()
    for name in (*schema.REQUIRED, *schema.OPTIONAL, f"NAME{schema.SIGN}", f"NAME{schema.METRIC}"):
        assert f"`{name}`" in document
