"""Power for a feared truth: curves, noise read off a study, power that grows with seeds, and what the command says."""

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from analysis.report.verdicts_json import text
from analysis.results import to_csv
from analysis.simulation import pilot_noise, plan_power
from analysis.simulation.power import MISMATCH, Power, PowerPlan, ability_curve, enough, interval, measure, sentence
from analysis.simulation.power_cli import main
from analysis.simulation.simulator import Truth
from lab.errors import UserError
from tests.analysis import synthetic_study
from tests.damage import WHOLE, flips, replaced, sentence_of

FALL = dict(base=0.4, at=0.5, rise=0.2, fall=0.1, width=0.25)
FEARED = PowerPlan(
    Truth(lambda u: u, ability_curve("fall", **FALL), 0.5), expected="reversal", reach=0.5, n_settings=9, trivial=0.1
)


def power(n_seeds: int, verdict: float) -> Power:
    return Power(n_seeds, 100, verdict, 0.0, "", 0.0, np.nan, np.nan, np.nan)


@pytest.mark.parametrize(
    ("kind", "at_0_25_50_75_100"),
    [
        ("fall", [0.4, 0.5, 0.6, 0.55, 0.5]),
        ("loss", [0.4, 0.4, 0.4, 0.35, 0.3]),
        ("harm", [0.4, 0.375, 0.35, 0.325, 0.3]),
        ("cliff", [0.4, 0.4, 0.4, 0.3, 0.3]),
        ("plateau", [0.4, 0.5, 0.6, 0.6, 0.6]),
        ("flat", [0.4, 0.4, 0.4, 0.4, 0.4]),
    ],
)
def test_feared_truths_are_the_curves_they_say(kind, at_0_25_50_75_100):
    curve = ability_curve(kind, **FALL)
    np.testing.assert_allclose(curve(np.array([0, 0.25, 0.5, 0.75, 1.0])), at_0_25_50_75_100)


@pytest.mark.slow
def test_power_grows_with_seeds_and_nothing_is_shown_with_four():
    found = [measure(FEARED, n, 40) for n in (4, 5, 10)]
    assert found[0].verdict == 0  # 2^-4 is above alpha
    shares = [f.verdict for f in found]
    assert shares == sorted(shares)
    assert shares[-1] > 0.9
    assert [f.bound for f in found] == sorted(f.bound for f in found)
    assert found[-1].error_50 < 0.1
    assert 0.8 <= found[-1].covered <= 1


def test_the_map_finds_a_loss_with_few_seeds_and_says_where():
    curve = ability_curve("loss", **FALL | dict(base=0.8, fall=0.2))
    plan = PowerPlan(Truth(lambda u: u, curve, 0.5), MISMATCH, reach=0.5, n_settings=9, trivial=0.1)
    few, found = measure(plan, 4, 4), measure(plan, 6, 20)
    assert (few.verdict, few.bound) == (0, 0)  # 2^-4 is above alpha
    assert found.verdict >= 0.9
    assert found.covered >= 0.8
    assert found.error_50 < 0.3


@pytest.mark.slow
def test_with_less_noise_a_flat_ability_is_shown_to_gain_for_nothing():
    curve = ability_curve("flat", **FALL)
    quiet = Truth(lambda u: u, curve, seed_sd=0.01, slope_sd=0.005, cell_sd=0.002, trials=None)
    loud = Truth(lambda u: u, curve)
    plans = [PowerPlan(t, "gain for nothing", reach=1.0, n_settings=9, trivial=0.1) for t in (quiet, loud)]
    shares = [measure(plan, 8, 30).verdict for plan in plans]
    assert shares[0] > 0.8
    assert shares[1] < 0.3


def test_the_interval_is_wilsons():
    p, n, z = 0.3, 50, stats.norm.ppf(0.975)
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    np.testing.assert_allclose(interval(p, n), np.array([centre - half, centre + half]) / (1 + z * z / n))


def test_enough_seeds_are_enough_from_there_on():
    assert enough([power(5, 0.9), power(8, 0.7), power(12, 0.85), power(16, 1.0)], "verdict") == 12
    assert enough([power(5, 0.9), power(8, 0.7)], "verdict") is None
    said = sentence(FEARED, [power(5, 0.2), power(8, 0.8)])
    assert "'reversal' 8 seeds do" in said
    assert "not even 8 seeds do" in said


def test_noise_is_estimated_as_it_was_drawn():
    rng, u_K = np.random.default_rng(0), np.linspace(0, 1, 9)
    n = 4000
    values = np.sin(9 * u_K) + rng.normal(0, 0.05, (n, 1)) + rng.normal(0, 0.1, (n, 1)) * (u_K - 0.5)
    found = pilot_noise.estimate(u_K, values + rng.normal(0, 0.03, (n, 9)))
    np.testing.assert_allclose([found.seed_sd, found.slope_sd, found.cell_sd], [0.05, 0.1, 0.03], rtol=0.04)


def test_noise_of_few_seeds_is_unbiased_and_its_cell_is_the_two_way_residual():
    rng, u_K = np.random.default_rng(1), np.array([0, 0.1, 0.3, 0.6, 1.0])
    variances = []
    for _ in range(600):
        level, slope = rng.normal(0, 1.0, (3, 1)), rng.normal(0, 2.0, (3, 1))
        values = level + slope * (u_K - 0.5) + rng.normal(0, 0.5, (3, 5))
        variances.append(pilot_noise.estimate(u_K, values).cell_sd ** 2)
    np.testing.assert_allclose(np.mean(variances), 0.25, atol=4 * 0.25 * np.sqrt(2 / 6 / 600))
    # By hand for one table: least squares on dummies of settings and seeds and a slope a seed.
    dummies = [np.repeat(np.eye(5)[None], 3, 0).reshape(15, 5), np.repeat(np.eye(3), 5, 0)]
    design = np.hstack([*dummies, np.repeat(np.eye(3), 5, 0) * np.tile(u_K, 3)[:, None]])
    _, singular, _ = np.linalg.svd(design)
    rank = int((singular > 1e-9).sum())
    fitted = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
    left = ((values.ravel() - fitted) ** 2).sum() / (15 - rank)
    assert pilot_noise.estimate(u_K, values).cell_sd ** 2 == pytest.approx(left)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    _, findings = synthetic_study.everything()
    folder = tmp_path_factory.mktemp("study")
    (folder / "verdicts.json").write_text(text(findings))
    (folder / "results.csv").write_text(to_csv(findings.results))
    return folder


def test_a_studys_noise_is_read_as_planted_without_its_diverged_seeds(workdir):
    reading = pilot_noise.read(workdir, "addition/iid", "participation_ratio")
    assert (reading.n_seeds, reading.n_settings) == (6, 9)  # two of eight seeds have a diverged cell
    assert reading.noise.cell_sd == pytest.approx(0.01, rel=0.3)
    assert reading.metric_noise.cell_sd == pytest.approx(0.15 / 12, rel=0.3)  # a fall of 12 is the claimed gain
    assert reading.neutral == pytest.approx(0.95, abs=0.01)
    assert (reading.alpha, reading.delta_share) == (0.05, 0.05)


def test_a_plan_takes_a_pilots_noise_and_leaves_a_damaged_one(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_power, "REPETITIONS", 10)
    for name in ("verdicts.json", "results.csv"):
        (tmp_path / name).write_bytes((workdir / name).read_bytes())
    study = synthetic_study.study()
    (said,) = plan_power.lines(study, tmp_path)
    assert "the noise of" in said
    assert "at once in 100%" in said
    for content in ("{", "[]", '{"claims": [1]}', '{"claims": []}'):
        (tmp_path / "verdicts.json").write_text(content)
        assert plan_power._pilot(tmp_path) is None


def test_the_command_writes_figure_and_table(workdir, tmp_path, capsys):
    out = tmp_path / "new" / "power.svg"
    given = [f"--workdir={workdir}", "--ability=addition/iid", "--truth=cliff", "--at=.4", "--fall=.5"]
    assert main([*given, "--seeds=8,6", "--repetitions=10", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "To reach power 0.8: for 'gain and harm at one setting'" in printed
    assert "addition/iid" in printed
    assert "level up to 0.4, then falls by 0.5 within 0.25" in printed
    assert "<svg" in out.read_text()
    rows = list(csv.DictReader(io.StringIO(out.with_suffix(".csv").read_text())))
    assert [row["n_seeds"] for row in rows] == ["6", "8"]
    assert float(rows[1]["verdict_low"]) <= float(rows[1]["verdict"]) <= float(rows[1]["verdict_high"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--at=1.2"], "--at=1.2"),
        (["--truth=cliff", "--at=.9"], "--width=0.25"),
        (["--truth=fall", "--rise=.9"], "--rise"),
        (["--fall=-1"], "--fall=-1"),
        (["--settings=7"], "--settings=7"),
        (["--seeds=a"], "--seeds=a"),
        (["--seeds=1,5"], "--seeds=1,5"),
        (["--repetitions=0"], "--repetitions=0"),
        (["--cell_sd=-.1"], "--cell_sd=-0.1"),
        (["--cell_sd=nan"], "--cell_sd=nan"),
        (["--base=.05", "--truth=flat"], "--base=0.05"),
        (["--out=power.pdf"], "--out=power.pdf"),
        (["--workdir=nowhere"], "--workdir=nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_flag(arguments, named, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert named in said
    assert said.count("\n") == 1


def test_a_study_that_cannot_be_read_is_named(workdir, tmp_path, capsys):
    assert main([f"--workdir={workdir}", "--ability=adition/iid"]) == 2
    assert "addition/iid" in capsys.readouterr().err
    document = json.loads((workdir / "verdicts.json").read_text())
    (tmp_path / "verdicts.json").write_text(json.dumps(document))
    (tmp_path / "results.csv").write_text((workdir / "results.csv").read_text().splitlines()[0])
    assert main([f"--workdir={tmp_path}"]) == 2
    assert "finished study" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of sums over values such as 1e308
@pytest.mark.parametrize("name", ["verdicts.json", "results.csv"])
def test_malformed_files_of_a_study_get_one_sentence_or_are_read(workdir, tmp_path, name):
    for each in ("verdicts.json", "results.csv"):
        (tmp_path / each).write_bytes((workdir / each).read_bytes())
    file = tmp_path / name
    whole = file.read_bytes()
    others = replaced(json.loads(whole), 30) if name == "verdicts.json" else ()
    for content in [*WHOLE, whole[:-9], whole[: len(whole) // 2], *flips(whole, 15), *others]:
        file.write_bytes(content)
        assert "\n" not in sentence_of(lambda: pilot_noise.read(tmp_path), UserError)
