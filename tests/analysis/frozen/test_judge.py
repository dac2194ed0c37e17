"""Planted accuracies get the verdict, the bounds and the words that they should."""

import numpy as np
import pytest

from analysis.frozen import measure
from analysis.frozen.judge import answers, judge, sentence


def readings(study, accuracy_FxK, rank_FxK):
    latent = {name: np.asarray(rank_FxK, float) * sign for name, sign in study.gains.items()}
    return measure.Readings(np.asarray(study.values), np.asarray(accuracy_FxK, float), latent, np.full(12, 100))


def columns(*means, spread=0.01, seed=0):
    """A column a setting: its mean, and what a fold adds to it."""
    random = np.random.default_rng(seed)
    return np.stack([mean + random.normal(size=12) * spread for mean in means], axis=1)


def test_what_is_open_would_be_decided_by_more_folds(study):
    """Accuracy falls by about δ: neither kept nor lost."""
    one = readings(study, columns(0.6, 0.565, 0.565, spread=0.02), columns(3, 4, 5))
    found = judge(study, one, 0.25)
    kinds = {gain.verdict.kind for gain in found.judged.gains}
    assert kinds == {"undecided"}
    for gain in found.judged.gains:
        assert sentence(found, gain).endswith("is shown neither kept nor lost: more folds would decide.")
    assert not any("seed" in line for line in answers(found))


@pytest.mark.parametrize(
    ("accuracy", "kind", "said"),
    [
        ((0.6, 0.6, 0.3), "gain, then loss", "shown kept up to 0.5 and shown lost from 1 on"),
        (
            (0.6, 0.4, 0.3),
            "harmed from the start",
            "not shown kept at the first setting and shown lost from 0.5",
        ),
        ((0.6, 0.7, 0.8), "transfers", "shown kept up to 1 and nowhere shown lost"),
        ((0.25, 0.6, 0.6), "not learned", "which is not shown to beat guessing (25.0%): there is nothing to lose."),
    ],
)
def test_planted_accuracies_get_the_verdict_and_the_bounds(study, accuracy, kind, said):
    found = judge(study, readings(study, columns(*accuracy), columns(3, 4, 5)), 0.25)
    assert {gain.verdict.kind for gain in found.judged.gains} == {kind}
    assert said in answers(found)[-1]
