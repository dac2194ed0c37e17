"""Where along the knob an ability breaks: continuous piecewise-linear fits with one to three knots.

One shape does not fit all curves (a cliff needs a plateau, a fall and a floor; a rise-then-fall needs one hinge), so
the number of knots is chosen by leave-one-seed-out error and the break is read off the fitted slopes. The shape of
argument follows segmented regression (Muggeo 2003) and Bai & Perron (2003, least squares over all knot positions); the
interval resamples seeds, never cells, because a seed's cells share its noise (Efron & Tibshirani 1993).

Words: u is the knob scaled to [0, 1] with neutral at 0, K settings, S seeds, J knots, D candidate knot placements.
"""

import dataclasses
import functools
import itertools

import numpy as np
from jaxtyping import Float, Int

MAX_KNOTS = 3
# About this many knot positions over the whole knob: 39 interior ones give 9,139 placements of three knots, which a
# core searches for 200 resampled curves in a tenth of a second.
GRID_INTERVALS = 40
MOST_SETTINGS = 60  # fitted one by one: placements of three knots grow with their cube, 1.2 million at 200 settings
_BLOCK = 2048  # placements searched at once, so that the working set stays in tens of megabytes
ROUNDING = 1e-10  # of a curve's squared length: what explains that much less explains as much


@dataclasses.dataclass(frozen=True)
class Break:
    """Where a curve breaks, on the scaled knob u in [0, 1].

    Attributes:
      at: the break's position.
      low, high: the interval's ends, at the given `level`.
      n_knots: the number of knots of the fit, chosen by leave-one-seed-out error.
      knots: the fitted knots, ascending.
      slopes: the fitted slopes of mean ability in u, one more than the knots.
    """

    at: float
    low: float
    high: float
    n_knots: int
    knots: tuple[float, ...]
    slopes: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class _Designs:
    """Every placement of J knots: `knots_DxJ`, and an orthonormal basis `basis_DxPxK` of its curves (P = J + 2)."""

    knots_DxJ: Float[np.ndarray, "D J"]
    basis_DxPxK: Float[np.ndarray, "D P K"]


def _curves(u_K: Float[np.ndarray, "K"], knots_DxJ: Float[np.ndarray, "D J"]) -> Float[np.ndarray, "D K J+2"]:
    """Columns 1, u, (u − knot)+ for every placement: D×K×P."""
    hinges_DxKxJ = np.maximum(0.0, u_K[None, :, None] - knots_DxJ[:, None, :])
    flat_DxKx1 = np.ones((len(knots_DxJ), len(u_K), 1))
    return np.concatenate([flat_DxKx1, flat_DxKx1 * u_K[None, :, None], hinges_DxKxJ], axis=2)


@functools.lru_cache(maxsize=8)
def _designs(u: tuple[float, ...], n_knots: int, between: int) -> _Designs:
    """All placements with two settings or more in the outer segments, `between` or more (ends included) in the others.

    With one setting between two knots a cliff can be tilted about that setting without changing the fit, with none its
    knots can slide freely: `between=2` is identified, `between=1` shows what the settings leave open.
    """
    u_K = np.array(u)
    parts = max(1, round(GRID_INTERVALS / (len(u_K) - 1)))
    inner_K = u_K[1:-1]
    fine = [np.linspace(a, b, parts, endpoint=False) for a, b in itertools.pairwise(inner_K)]
    positions = np.concatenate([*fine, inner_K[-1:]])
    index_DxJ = np.array(list(itertools.combinations(range(len(positions)), n_knots)), int).reshape(-1, n_knots)
    knots_DxJ = positions[index_DxJ]
    left, right = knots_DxJ[:, :-1], knots_DxJ[:, 1:]
    settings_between = np.searchsorted(u_K, right, side="right") - np.searchsorted(u_K, left, side="left")
    knots_DxJ = knots_DxJ[(settings_between >= between).all(axis=1)]
    basis_DxKxP, _ = np.linalg.qr(_curves(u_K, knots_DxJ))
    return _Designs(knots_DxJ, np.ascontiguousarray(basis_DxKxP.transpose(0, 2, 1)))


def _best_placement(designs: _Designs, curves_KxN: Float[np.ndarray, "K N"]) -> Int[np.ndarray, "N"]:
    """For each of N curves the index of the placement with the least squared error: int[N].

    The error is |y|² − |Qᵀy|², so the placement with the largest explained part wins and no residual is formed. Of
    placements that explain equally much, as those do whose knots slide freely, the first wins: rounding, which is
    another one on another machine, decides nothing.
    """
    n_designs, n_terms, n_settings = designs.basis_DxPxK.shape
    n_curves = curves_KxN.shape[1]
    best_N, most_N = np.zeros(n_curves, int), np.full(n_curves, -np.inf)
    rounding_N = ROUNDING * np.square(curves_KxN).sum(axis=0)
    for start in range(0, n_designs, _BLOCK):
        block = designs.basis_DxPxK[start : start + _BLOCK]
        projected = (block.reshape(-1, n_settings) @ curves_KxN).reshape(len(block), n_terms, n_curves)
        explained_DxN = np.einsum("dpn,dpn->dn", projected, projected)
        value_N = explained_DxN.max(axis=0)
        top_N = (explained_DxN >= value_N - rounding_N).argmax(axis=0)
        better_N = value_N > most_N + rounding_N
        best_N[better_N], most_N[better_N] = start + top_N[better_N], value_N[better_N]
    return best_N


def _slopes(
    designs: _Designs, u_K: Float[np.ndarray, "K"], best_N: Int[np.ndarray, "N"], curves_KxN: Float[np.ndarray, "K N"]
) -> Float[np.ndarray, "N P"]:
    """Slopes of each curve's best fit, N×(J+1), left to right."""
    columns_NxKxP = _curves(u_K, designs.knots_DxJ[best_N])
    weights_NxP = np.einsum("npk,kn->np", np.linalg.pinv(columns_NxKxP), curves_KxN)
    return np.cumsum(weights_NxP[:, 1:], axis=1)


def _leave_one_out_error(designs: _Designs, ability_SxK: Float[np.ndarray, "S K"]) -> float:
    """Mean squared error on a seed of the curve fitted to the mean of the others."""
    n_seeds = len(ability_SxK)
    others_SxK = (ability_SxK.sum(axis=0) - ability_SxK) / (n_seeds - 1)
    best_S = _best_placement(designs, others_SxK.T)
    basis_SxPxK = designs.basis_DxPxK[best_S]
    fitted_SxK = np.einsum("spk,spj,sj->sk", basis_SxPxK, basis_SxPxK, others_SxK)
    return float(((ability_SxK - fitted_SxK) ** 2).mean())


def _read_break(
    kind: str, u_K: Float[np.ndarray, "K"], knots_NxJ: Float[np.ndarray, "N J"], slopes_NxP: Float[np.ndarray, "N P"]
) -> Float[np.ndarray, "2 N"]:
    """The knot that is the break and how far it could slide, for each curve: [2, N], NaN where no knot qualifies.

    Reversal: the knot that adds most *negative* slope, so that a plateau's knot before the fall does not win.
    Stall: the knot at which the slope drops most.
    Where no setting lies between the break and the next knot, the fall happens somewhere in one gap between settings
    and the break may slide to the far knot without changing the fit; elsewhere both rows agree.
    """
    steep_NxP = np.minimum(slopes_NxP, 0.0) if kind == "reversal" else slopes_NxP
    drop_NxJ = steep_NxP[:, :-1] - steep_NxP[:, 1:]
    chosen_Nx1 = drop_NxJ.argmax(axis=1)[:, None]
    ends_NxJ = np.concatenate([knots_NxJ[:, 1:], np.full((len(knots_NxJ), 1), u_K[-1])], axis=1)
    at_N, end_N = (np.take_along_axis(x, chosen_Nx1, axis=1)[:, 0] for x in (knots_NxJ, ends_NxJ))
    between_N = np.searchsorted(u_K, end_N, side="left") - np.searchsorted(u_K, at_N, side="right")
    found_N = np.take_along_axis(drop_NxJ, chosen_Nx1, axis=1)[:, 0] > 0
    return np.where(found_N, np.stack([at_N, np.where(between_N <= 0, end_N, at_N)]), np.nan)


def fill_missing(ability_SxK: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "S K"]:
    """Fills non-finite cells by the additive fit seed + setting, so that a lost cell does not shift the mean curve.

    Args:
      ability_SxK: abilities; every seed and every setting has at least one finite cell.

    Returns:
      S×K, finite.
    """
    present_SxK = np.isfinite(ability_SxK)
    filled_SxK = np.where(present_SxK, ability_SxK, 0.0)
    if present_SxK.all():
        return filled_SxK
    seed_Sx1, setting_1xK = np.zeros((len(ability_SxK), 1)), np.zeros((1, ability_SxK.shape[1]))
    for _ in range(100):  # alternating means: the least-squares additive fit on the cells that are there
        setting_1xK = np.where(present_SxK, filled_SxK - seed_Sx1, 0.0).sum(0, keepdims=True) / present_SxK.sum(0)
        seed_Sx1 = np.where(present_SxK, filled_SxK - setting_1xK, 0.0).sum(1, keepdims=True)
        seed_Sx1 = seed_Sx1 / present_SxK.sum(1, keepdims=True)
    return np.where(present_SxK, filled_SxK, seed_Sx1 + setting_1xK)


def _joined(
    u_K: Float[np.ndarray, "K"], ability_SxK: Float[np.ndarray, "S K"]
) -> tuple[Float[np.ndarray, "G"], Float[np.ndarray, "S G"]]:
    """The means of neighbouring settings, in as many groups as the knot grid has positions."""
    groups = np.array_split(np.arange(len(u_K)), GRID_INTERVALS + 1)
    joined_SxG = np.stack([ability_SxK[:, group].mean(axis=1) for group in groups], axis=1)
    return np.asarray([u_K[group].mean() for group in groups]), joined_SxG


def locate(
    u_K: Float[np.ndarray, "K"],
    ability_SxK: Float[np.ndarray, "S K"],
    kind: str,
    *,
    draws: int = 400,
    level: float = 0.95,
    rng_seed: int = 0,
) -> Break | None:
    """Locates a break that a test has already shown.

    Args:
      u_K: scaled knob, ascending within [0, 1], K ≥ 5; beyond `MOST_SETTINGS` neighbours are joined.
      ability_SxK: abilities, S ≥ 2 seeds; non-finite cells are filled by `fill_missing`.
      kind: 'reversal' (the slope turns negative) or 'stall' (the slope drops).
      draws: resamplings of the seeds for the interval.
      level: the interval's nominal coverage.
      rng_seed: fixes the resampling.

    Returns:
      The break, or None where no fitted slope does what `kind` says.

    Raises:
      ValueError: `kind` is unknown, or there are too few seeds or settings.
    """
    if kind not in ("reversal", "stall"):
        raise ValueError(f"kind must be 'reversal' or 'stall', not {kind!r}")
    u_K, ability_SxK = np.asarray(u_K, float), fill_missing(np.asarray(ability_SxK, float))
    n_seeds = len(ability_SxK)
    if n_seeds < 2 or len(u_K) < 5:
        raise ValueError(f"a break needs 2 seeds and 5 settings to be located, not {n_seeds} and {len(u_K)}")
    return _located(u_K.tobytes(), ability_SxK.tobytes(), kind, draws, level, rng_seed)


@functools.lru_cache(maxsize=256)
def _located(u: bytes, ability: bytes, kind: str, draws: int, level: float, rng_seed: int) -> Break | None:
    """`locate`: the claims about one ability, a metric each, ask for the same break."""
    u_K = np.frombuffer(u)
    ability_SxK = np.frombuffer(ability).reshape(-1, len(u_K))
    n_seeds = len(ability_SxK)
    # A seed's own level says nothing about where its curve bends.
    ability_SxK = ability_SxK - ability_SxK.mean(axis=1, keepdims=True)
    if len(u_K) > MOST_SETTINGS:
        u_K, ability_SxK = _joined(u_K, ability_SxK)
    # A curve of J knots has J + 2 free values: leave at least one setting over.
    candidates = [_designs(tuple(u_K.tolist()), n, 2) for n in range(1, min(MAX_KNOTS, len(u_K) - 3) + 1)]
    candidates = [d for d in candidates if len(d.knots_DxJ)]
    designs = min(candidates, key=lambda d: _leave_one_out_error(d, ability_SxK))
    rng = np.random.default_rng(rng_seed)
    share_NxS = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=draws) / n_seeds
    share_NxS = np.concatenate([np.full((1, n_seeds), 1 / n_seeds), share_NxS])  # row 0 is the data itself
    curves_KxN = (share_NxS @ ability_SxK).T
    best_N = _best_placement(designs, curves_KxN)
    slopes_NxP = _slopes(designs, u_K, best_N, curves_KxN)
    at_2xN = _read_break(kind, u_K, designs.knots_DxJ[best_N], slopes_NxP)
    if np.isnan(at_2xN[0, 0]):
        return None
    knots = tuple(designs.knots_DxJ[best_N[0]].tolist())
    resampled = [at_2xN[:, 1:]]
    if len(knots) > 1:  # a cliff's edge can be anywhere the settings leave open: the interval says so
        loose = _designs(tuple(u_K.tolist()), len(knots), 1)
        best_loose_N = _best_placement(loose, curves_KxN)
        loose_slopes_NxP = _slopes(loose, u_K, best_loose_N, curves_KxN)
        resampled.append(_read_break(kind, u_K, loose.knots_DxJ[best_loose_N], loose_slopes_NxP)[:, 1:])
    pooled = np.concatenate([x.ravel() for x in resampled])
    low, high = _interval(float(at_2xN[0, 0]), pooled[np.isfinite(pooled)], n_seeds, level, u_K)
    return Break(float(at_2xN[0, 0]), low, high, len(knots), knots, tuple(slopes_NxP[0].tolist()))


def _interval(
    at: float, at_N: Float[np.ndarray, "N"], n_seeds: int, level: float, u_K: Float[np.ndarray, "K"]
) -> tuple[float, float]:
    """Percentiles of the resampled breaks, widened for few seeds and for the knot grid's own step.

    Resampling S seeds understates a mean's spread by √((S−1)/S): the ends are pushed away from the estimate by that.
    Half a step of the knot grid is added so that a break between two grid positions can be inside.
    """
    if not at_N.size:
        return float(u_K[0]), float(u_K[-1])
    low, high = np.quantile(at_N, [(1 - level) / 2, (1 + level) / 2])
    widen = np.sqrt(n_seeds / (n_seeds - 1))
    step = np.diff(u_K).max() / max(1, round(GRID_INTERVALS / (len(u_K) - 1)))
    low, high = min(low, at), max(high, at)
    low, high = at - widen * (at - low) - step / 2, at + widen * (high - at) + step / 2
    return float(max(low, u_K[0])), float(min(high, u_K[-1]))
