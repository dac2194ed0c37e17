"""How often the interval of a cliff holds its place when the place is anything: table 5 of `analysis.simulation`.

With the place fixed, noise far below the cliff's height finds the same interval every time, which holds it always or
never: a coverage of 1 or 0 says nothing of the interval. Over places (and widths) drawn evenly it can be any number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.simulation.simulator import TRIVIAL, cliff, simulate
from analysis.stats import verdict

NOISES = (1.0, 3.0)  # as many times the cliffs' own
STARTS, WIDTHS = (0.15, 0.6), (0.1, 0.35)


def measure(
    noise: float, repetitions: int, n_seeds: int = 8, n_settings: int = 9, rng_seed: int = 0
) -> list[tuple[float, bool, float]]:
    """(error, whether the interval holds the place, its width) of each of so many cliffs that is given a break.

    Args:
      noise: times the cliffs' own.
      repetitions, n_seeds, n_settings, rng_seed: as `analysis.simulation.__main__.measure`.
    """
    rng = np.random.default_rng([rng_seed, 5])
    found = []
    for _ in range(repetitions):
        start, width = rng.uniform(*STARTS), rng.uniform(*WIDTHS)
        plain = cliff(start, width)
        truth = replace(plain, seed_sd=noise * plain.seed_sd, cell_sd=noise * plain.cell_sd)
        u_K, metric, ability = simulate(truth, rng, repetitions=1, n_seeds=n_seeds, n_settings=n_settings)
        judged = verdict(u_K, metric[0], ability[0], trivial=TRIVIAL)
        if judged.break_at is not None and judged.break_interval is not None:
            low, high = judged.break_interval
            found.append((judged.break_at - start, low <= start <= high, high - low))
    return found


def lines(repetitions: int, n_seeds: int, n_settings: int, rng_seed: int) -> list[str]:
    """The table, a line for each noise."""
    table = ["cliffs anywhere: noise  error 5/50/95%       coverage of 95%   width  located"]
    for noise in NOISES:
        found = measure(noise, repetitions, n_seeds, n_settings, rng_seed)
        error, held, width = (np.array(column, float) for column in zip(*found, strict=True))
        low, middle, high = np.percentile(error, [5, 50, 95])
        deviation = np.sqrt(held.mean() * (1 - held.mean()) / len(held))
        table.append(
            f"{noise:22g}  {low:+.3f}/{middle:+.3f}/{high:+.3f}  {held.mean():.3f} ± {deviation:.3f}     "
            f"{np.median(width):.2f}   {len(held)}"
        )
    return table
