"""Do early readings predict the end? Predictors of few parameters, scored on mechanisms that they never saw.

Two things are predicted for each case (`features.ForecastCase`): the share of the ability lost at every setting, and
the break, the first setting shown harmful. For the first: ridge regression (Hoerl & Kennard 1970) on standardized
early readings. For the second: the first setting from which on the predicted loss stays above a threshold. Where no
harm is shown the break is taken to lie at the far end, u = 1, and whether harm is shown at all is scored as well.

Mechanisms weigh alike, however many studies, abilities and settings each has. A mechanism is predicted from the others
alone: penalty and threshold are chosen among those by leaving each of them out in turn (nested cross-validation).

Shape letters: R rows (case × setting), F readings, G mechanisms, K settings of a case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.forecast.features import ABILITIES, LATENTS, LOST_SO_FAR, POSITION, ForecastCase

MEAN, NONE, NOW = "mean", "no harm", "as it stands"
# predictor -> the readings it looks at. `MEAN` predicts the mean of the mechanisms it is fitted on, `NONE` what a
# claim of "at no cost" says, `NOW` that what is lost so far is what will be lost; the others are ridge fits.
PREDICTORS: dict[str, tuple[str, ...]] = {
    MEAN: (),
    NONE: (),
    "position": (POSITION,),
    NOW: (LOST_SO_FAR,),
    "abilities": ABILITIES,
    "latents": LATENTS,
    "both": (*ABILITIES, *LATENTS),
}
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # for standardized readings: the last one is the mean
THRESHOLDS = tuple(step / 20 for step in range(1, 20))
LEAST_MECHANISMS = 3  # one to predict, and two to choose a penalty between
DRAWS = 4000


@dataclass(frozen=True)
class Prediction:
    """What one predictor expects of one case.

    Attributes:
      lost_K: share of the ability lost at the end, within [0, 1], at each setting.
      broke: u of the break; 1 where none is predicted.
      harmful: whether any setting is predicted to be shown harmful.
    """

    lost_K: np.ndarray
    broke: float
    harmful: bool


@dataclass(frozen=True)
class Linear:
    """A ridge fit; `fill_F` stands in for readings that are missing."""

    fill_F: np.ndarray
    scale_F: np.ndarray
    slope_F: np.ndarray
    level: float

    def __call__(self, x_RxF: np.ndarray) -> np.ndarray:
        """float64[R], within [0, 1]."""
        filled_RxF = np.where(np.isfinite(x_RxF), x_RxF, self.fill_F)
        return np.clip(self.level + (filled_RxF - self.fill_F) / self.scale_F @ self.slope_F, 0, 1)


@dataclass(frozen=True)
class Score:
    """How far off a predictor is, compared with another, on mechanisms left out.

    Attributes:
      error_G, other_G: mean absolute errors of the two, a number for each mechanism.
      low, high: 95% interval of `skill`, by resampling mechanisms.
    """

    error_G: np.ndarray
    other_G: np.ndarray
    low: float
    high: float

    @property
    def error(self) -> float:
        """Mean absolute error over mechanisms."""
        return float(self.error_G.mean())

    @property
    def skill(self) -> float:
        """1 − error / the other's error: 1 is perfect, 0 no better, below 0 worse; NaN where the other has no error."""
        return float(1 - self.error_G.sum() / self.other_G.sum()) if self.other_G.sum() > 0 else float("nan")

    @property
    def better(self) -> int:
        """Mechanisms on which it is nearer than the other."""
        return int((self.error_G < self.other_G).sum())


def ridge(x_RxF: np.ndarray, y_R: np.ndarray, weight_R: np.ndarray, penalty: float) -> Linear:
    """Weighted ridge regression in closed form, readings standardized first, the level not penalized.

    Minimizes Σ w (y − level − z·slope)² + penalty·|slope|², z the standardized readings.

    Args:
      x_RxF: readings; one that is missing counts as the mean of the others.
      y_R: what is to be predicted, finite.
      weight_R: weights; they are scaled to sum 1.
      penalty: above 0.
    """
    weight_R = weight_R / weight_R.sum()
    there_RxF = np.isfinite(x_RxF)
    known_RxF = np.where(there_RxF, x_RxF, 0.0)
    total_F = weight_R @ there_RxF
    fill_F = (weight_R @ known_RxF) / np.where(total_F > 0, total_F, 1.0)
    away_RxF = np.where(there_RxF, known_RxF - fill_F, 0.0)
    scale_F = np.sqrt(weight_R @ away_RxF**2)
    scale_F = np.where(scale_F > 1e-9, scale_F, 1.0)
    z_RxF, level = away_RxF / scale_F, float(weight_R @ y_R)
    gram_FxF = z_RxF.T @ (weight_R[:, None] * z_RxF) + penalty * np.eye(z_RxF.shape[1])
    slope_F = np.linalg.solve(gram_FxF, z_RxF.T @ (weight_R * (y_R - level)))
    return Linear(fill_F, scale_F, slope_F, level)


def predict(
    train_cases: Sequence[ForecastCase], test_cases: Sequence[ForecastCase], predictor: str
) -> list[Prediction]:
    """Predictions for some cases, from their early readings alone, of a predictor fitted on other cases.

    Args:
      train_cases: cases of at least two mechanisms.
      test_cases: the cases to predict; `lost_K` and `broke` are not looked at.
      predictor: one of `PREDICTORS`.
    """
    if predictor == NONE:
        return [Prediction(np.zeros(len(case.u_K)), 1.0, False) for case in test_cases]
    if predictor == MEAN:
        weight_C = _weights([case.mechanism for case in train_cases])
        level = _fitted(train_cases, (), 1.0)
        broke = float(weight_C @ [_break(case) for case in train_cases])
        often = float(weight_C @ [case.broke is not None for case in train_cases]) > 0.5
        return [Prediction(level(case), broke, often) for case in test_cases]
    penalty = None if predictor == NOW else _penalty(train_cases, predictor)
    threshold = _threshold(train_cases, _left_out(train_cases, predictor, penalty))
    curves = [_model(train_cases, predictor, penalty)(case) for case in test_cases]
    found = [crossing(case.u_K, lost_K, threshold) for case, lost_K in zip(test_cases, curves, strict=True)]
    return [Prediction(lost_K, 1.0 if u is None else u, u is not None) for lost_K, u in zip(curves, found, strict=True)]


def left_out(cases: Sequence[ForecastCase], predictor: str) -> list[Prediction]:
    """Every case predicted from the cases of all other mechanisms, in the order given."""
    found: dict[int, Prediction] = {}
    for mechanism in mechanisms(cases):
        own = [i for i, case in enumerate(cases) if case.mechanism == mechanism]
        others = [case for case in cases if case.mechanism != mechanism]
        found |= dict(zip(own, predict(others, [cases[i] for i in own], predictor), strict=True))
    return [found[i] for i in range(len(cases))]


def lost_errors(cases: Sequence[ForecastCase], predictions: Sequence[Prediction]) -> np.ndarray:
    """float64[G]: mean absolute error of the share lost, over each mechanism's settings."""
    return _by_mechanism(
        cases, [np.abs(one.lost_K - case.lost_K) for case, one in zip(cases, predictions, strict=True)]
    )


def break_errors(cases: Sequence[ForecastCase], predictions: Sequence[Prediction]) -> np.ndarray:
    """float64[G]: mean absolute error of the break in u, over each mechanism's cases."""
    return _by_mechanism(cases, [abs(one.broke - _break(case)) for case, one in zip(cases, predictions, strict=True)])


def harm_rights(cases: Sequence[ForecastCase], predictions: Sequence[Prediction]) -> np.ndarray:
    """float64[G]: share of each mechanism's cases for which harm, or none, is predicted rightly."""
    pairs = zip(cases, predictions, strict=True)
    return _by_mechanism(cases, [float(one.harmful == (case.broke is not None)) for case, one in pairs])


def score(error_G: np.ndarray, other_G: np.ndarray, rng_seed: int = 0) -> Score:
    """Two predictors' errors side by side, with the interval of the skill by resampling mechanisms.

    With few mechanisms a percentile interval is too short.
    """
    picks_DxG = np.random.default_rng(rng_seed).integers(len(error_G), size=(DRAWS, len(error_G)))
    error_D, drawn_D = error_G[picks_DxG].sum(axis=1), other_G[picks_DxG].sum(axis=1)
    there_D = drawn_D > 0
    skill_D = 1 - error_D[there_D] / drawn_D[there_D]
    low, high = np.quantile(skill_D, (0.025, 0.975)) if len(skill_D) else (np.nan, np.nan)
    return Score(error_G, other_G, float(low), float(high))


def mechanisms(cases: Sequence[ForecastCase]) -> list[str]:
    """Their names, each once, in order of appearance."""
    return list(dict.fromkeys(case.mechanism for case in cases))


def crossing(u_K: np.ndarray, lost_K: np.ndarray, threshold: float) -> float | None:
    """u of the first setting from which on the loss stays above the threshold; None where the last one's doesn't."""
    above_K = np.append(lost_K[::-1] > threshold, False)
    count = int(np.argmin(above_K))
    return float(u_K[-count]) if count else None


def _break(case: ForecastCase) -> float:
    return 1.0 if case.broke is None else case.broke


def _weights(names: Sequence[str]) -> np.ndarray:
    """Weights that sum to 1, every name's together alike."""
    _, at, count = np.unique(np.asarray(names), return_inverse=True, return_counts=True)
    return 1.0 / (len(count) * count[at])


def _by_mechanism(cases: Sequence[ForecastCase], values: Sequence[np.ndarray | float]) -> np.ndarray:
    """Mean of the values that are known, over each mechanism's cases; what is left of rounding counts as 0."""
    found = []
    for mechanism in mechanisms(cases):
        own = [np.atleast_1d(value) for case, value in zip(cases, values, strict=True) if case.mechanism == mechanism]
        joined = np.concatenate(own)
        found.append(joined[np.isfinite(joined)].mean())
    return np.round(found, 12)


def _readings(case: ForecastCase, names: Sequence[str]) -> np.ndarray:
    """float64[K, F]; NaN for a reading that the study doesn't have."""
    missing_K = np.full(len(case.u_K), np.nan)
    columns = [case.readings.get(name, missing_K) for name in names]
    return np.asarray(columns, float).reshape(len(names), len(case.u_K)).T


def _fitted(
    train_cases: Sequence[ForecastCase], names: Sequence[str], penalty: float
) -> Callable[[ForecastCase], np.ndarray]:
    """The curve of shares lost that a ridge fit on some cases predicts for another."""
    x_RxF = np.concatenate([_readings(case, names) for case in train_cases])
    y_R = np.concatenate([case.lost_K for case in train_cases])
    mechanism_R = np.concatenate([np.repeat(case.mechanism, len(case.lost_K)) for case in train_cases])
    there_R = np.isfinite(y_R)
    line = ridge(x_RxF[there_R], y_R[there_R], _weights(mechanism_R[there_R].tolist()), penalty)
    return lambda case: line(_readings(case, names))


def _model(
    train_cases: Sequence[ForecastCase], predictor: str, penalty: float | None
) -> Callable[[ForecastCase], np.ndarray]:
    if penalty is None:
        return lambda case: np.clip(np.nan_to_num(case.readings[LOST_SO_FAR]), 0, 1)
    return _fitted(train_cases, PREDICTORS[predictor], penalty)


def _left_out(train_cases: Sequence[ForecastCase], predictor: str, penalty: float | None) -> list[np.ndarray]:
    """The predicted curve of each case, from a fit without its mechanism."""
    models = {
        name: _model([case for case in train_cases if case.mechanism != name], predictor, penalty)
        for name in mechanisms(train_cases)
    }
    return [models[case.mechanism](case) for case in train_cases]


def _penalty(train_cases: Sequence[ForecastCase], predictor: str) -> float:
    """The one with the least error on mechanisms left out; of equal ones the strongest."""

    def error(penalty: float) -> float:
        curves = _left_out(train_cases, predictor, penalty)
        predictions = [Prediction(lost_K, 1.0, False) for lost_K in curves]
        return float(lost_errors(train_cases, predictions).mean())

    return min(reversed(PENALTIES), key=error)


def _threshold(train_cases: Sequence[ForecastCase], curves: Sequence[np.ndarray]) -> float:
    """The one that puts breaks nearest; the middle one of equal ones."""

    def error(threshold: float) -> float:
        found = [crossing(case.u_K, lost_K, threshold) for case, lost_K in zip(train_cases, curves, strict=True)]
        predictions = [Prediction(np.zeros(0), 1.0 if u is None else u, u is not None) for u in found]
        return float(break_errors(train_cases, predictions).mean())

    errors = np.asarray([error(threshold) for threshold in THRESHOLDS])
    best = np.flatnonzero(errors <= errors.min() + 1e-12)
    return THRESHOLDS[best[(len(best) - 1) // 2]]
