"""Measures map and slope test on simulated truths: `python -m analysis.simulation [--table map|1|2|3|4|5] …`.

Table map: what is found at each setting, next to the slope test and to the rates expected (`analysis.simulation
.map_rates`), false zones and false verdicts of truths without one, "free" where seeds collapse, whole studies with
nothing planted; S is 5, 6, 8 and 12 there. Tables 1 to 5 are of the slope test and of `run.py --refine`.

Table 2 judges with the verdicts as they are defined, table 1 with their bare components (reversal without the
non-inferiority condition and the comparison of slopes, stall without the rescaling condition). Each rate stands next
to the one expected and their difference in Monte Carlo standard errors (of both: the expected rates are themselves
simulated, 1,500 repetitions in table 1 and 300 in table 2, with S=8 and K=9). Rates are of tests that reject, as
tabulated: reversal and stall can both reject, and the gates (learned, latent gain) that come first in a verdict are not
applied; the last column shows the verdicts themselves.

Table 3 (by --table=3 alone) has the false verdicts and the power under conditions that are not the plain ones:
heavy tails, lost cells, settings at unequal distances (`analysis.simulation.scenarios`). `--seeds`, `--settings` change
S and K. Table 4 has those of whole studies that `run.py --refine` lets grow (`analysis.simulation.refinement_rates`).
"""

import argparse
import collections
import dataclasses
import sys
from collections.abc import Sequence

import numpy as np

from analysis.simulation import cliff_coverage, map_rates, map_truths, refinement_rates, scenarios
from analysis.simulation.scenarios import errors_apart
from analysis.simulation.simulator import CONDITIONS, TRIVIAL, TRUTHS, simulate
from analysis.stats import verdict
from analysis.stats.sign_flip import Contrasts, intersection_union
from analysis.verdicts import refinement
from lab.errors import Parser, UserError, command

COLUMNS_1 = ("reversal", "stall")
EXPECTED_1: dict[str, tuple[float, float]] = {
    "both flat": (0.003, 0.000),
    "ability flat": (0.041, 0.007),
    "both linear": (0.000, 0.000),
    "both rise, then fall": (0.000, 0.000),
    "efficiency exactly rho": (0.000, 0.025),
    "fall of .03 after a rise": (0.27, 0.94),
    "fall of .06 after a rise": (0.78, 1.0),
    "fall of .20 after a rise": (1.0, 1.0),
}
COLUMNS_2 = ("reversal", "stall", "stall, metric as given", "harms from the start")
# Reversal as measured after its mends (a margin on the fall, a metric that rises without the last setting, recentred
# rivals; 750 repetitions, 2026-11-30), the rest as before the implementation; docs/calibration.md shows both.
EXPECTED_2: dict[str, tuple[float, float, float, float]] = {
    "both flat": (0.000, 0.000, 0.000, 0.003),
    "ability flat": (0.000, 0.003, 0.003, 0.000),
    "both linear": (0.000, 0.000, 0.000, 0.000),
    "efficiency exactly rho": (0.000, 0.000, 0.023, 0.000),
    "smooth saturation": (0.000, 0.003, 0.127, 0.000),
    "fall of .20, metric flat": (0.009, 0.000, 0.000, 0.000),
    "plateau": (0.007, 0.24, 0.57, 0.000),
    "fall of .03 after a rise": (0.075, 0.75, 0.94, 0.000),
    "fall of .06 after a rise": (0.51, 0.99, 1.0, 0.000),
    "fall of .20 after a rise": (1.0, 1.0, 1.0, 0.000),
    "falls from the first setting": (0.000, 0.000, 0.000, 0.97),
    "cliff at .30": (1.0, 0.013, 0.013, 0.000),
    "cliff at .50": (1.0, 0.037, 0.037, 0.000),
    "flat to .5, then -.2": (0.55, 0.037, 0.037, 0.000),
}
EXPECTED_FREE: dict[str, tuple[float, float, float]] = {
    "both flat": (0, 0, 0.25),
    "ability flat": (0, 0, 0.38),
    "both linear": (1, 1, 1),
    "efficiency exactly rho": (1, 1, 1),
    "smooth saturation": (1, 1, 1),
    "fall of .20, metric flat": (0.75, 0.88, 1),
    "plateau": (0.95, 1, 1),
    "falls from the first setting": (0, 0, 0),
    "cliff at .30": (0.25, 0.25, 0.25),
    "cliff at .50": (0.5, 0.5, 0.5),
    "flat to .5, then -.2": (0, 0.12, 0.5),
}


@dataclasses.dataclass(frozen=True)
class Rates:
    """What one truth gave.

    Attributes:
      rejected: share of repetitions in which each test rejects at its level.
      free: 5th, 50th and 95th percentile of "shown free until", in u.
      free_wrong, harmful_wrong: share of repetitions whose bound contradicts the truth (a setting truly worse than −δ
        inside the free stretch; one truly no worse inside the harmful stretch).
      located: (break found, whether the interval holds the truth, its width) of each located verdict.
      verdicts: how often each verdict was given.
    """

    rejected: dict[str, float]
    free: tuple[float, ...]
    free_wrong: float
    harmful_wrong: float
    located: list[tuple[float, bool, float]]
    verdicts: collections.Counter


def measure(name: str, repetitions: int, n_seeds: int = 8, n_settings: int = 9, rng_seed: int = 0) -> Rates:
    """Judges `repetitions` simulated claims of the truth `name` at α = .05 before the union factor."""
    truth = TRUTHS[name]
    rng = np.random.default_rng([rng_seed, list(TRUTHS).index(name)])
    u_K, metrics, abilities = simulate(truth, rng, repetitions=repetitions, n_seeds=n_seeds, n_settings=n_settings)
    verdicts = [verdict(u_K, m, a, trivial=TRIVIAL) for m, a in zip(metrics, abilities, strict=True)]
    rejected = {c: float(np.mean([v.p_values[c] <= v.alpha for v in verdicts])) for c in verdicts[0].p_values}
    worse_K = truth.ability(u_K) - truth.ability(u_K[:1])
    free = [0.0 if v.shown_free_until is None else v.shown_free_until for v in verdicts]
    harmful = [2.0 if v.shown_harmful_from is None else v.shown_harmful_from for v in verdicts]
    located = [
        (v.break_at, v.break_interval[0] <= truth.break_at <= v.break_interval[1], float(np.ptp(v.break_interval)))
        for v in verdicts
        if v.break_at is not None and v.break_interval is not None and truth.break_at is not None
    ]
    delta_R = np.array([v.delta for v in verdicts])[:, None]
    return Rates(
        rejected,
        tuple(np.percentile(free, [5, 50, 95]).tolist()),
        float(np.mean(((u_K <= np.array(free)[:, None]) & (worse_K < -delta_R)).any(axis=1))),
        float(np.mean(((u_K >= np.array(harmful)[:, None]) & (worse_K > -delta_R)).any(axis=1))),
        located,
        collections.Counter(v.kind for v in verdicts),
    )


def measure_bare(name: str, repetitions: int, n_seeds: int = 8, n_settings: int = 9, rng_seed: int = 0) -> Rates:
    """Rejection rates of the bare components, for table 1."""
    rng = np.random.default_rng([rng_seed, list(TRUTHS).index(name)])
    u_K, metrics, abilities = simulate(
        TRUTHS[name], rng, repetitions=repetitions, n_seeds=n_seeds, n_settings=n_settings
    )
    rejected: dict[str, float] = {"reversal": 0.0, "stall": 0.0}
    for metric_SxK, ability_SxK in zip(metrics, abilities, strict=True):
        contrasts = Contrasts.of(u_K, metric_SxK, ability_SxK)
        bare = ("ability falls by more than delta after", "metric rises after")
        parts = contrasts.reversal_parts(0.0)
        rejected["reversal"] += (intersection_union({x: parts[x] for x in bare})[0] <= 0.05) / repetitions
        rejected["stall"] += (intersection_union(contrasts.stall_parts(0.25))[0] <= 0.05) / repetitions
    return Rates(rejected, (), 0.0, 0.0, [], collections.Counter())


def _rate_cells(rates: Rates, columns: Sequence[str], expected: Sequence[float], n: int, n_expected: int) -> str:
    """measured (expected, difference in standard errors) of each column."""
    cells = []
    for column, value in zip(columns, expected, strict=True):
        measured = rates.rejected[column]
        cells.append(f"{measured:5.3f} ({value:5.3f}, {errors_apart(measured, n, value, n_expected):+4.1f})")
    return "  ".join(cells)


def _print_location(name: str, rates: Rates) -> None:
    """Median and spread of the located breaks, and the interval's coverage with its Monte Carlo error."""
    at, covered, width = (np.array(x) for x in zip(*rates.located, strict=True))
    coverage = covered.mean()
    error = np.sqrt(max(coverage * (1 - coverage), 1 / len(at) ** 2) / len(at))
    low, middle, high = np.percentile(at, [5, 50, 95])
    print(
        f"{name:30s} {TRUTHS[name].break_at:5.2f}  {low:.2f}/{middle:.2f}/{high:.2f}  {coverage:.3f} ± {error:.3f}"
        f"   {np.median(width):.2f}   {len(at)}"
    )


RANGES = {  # of options; studies of all seeds and settings are in memory together
    "repetitions": (1, 1_000_000),
    "seeds": (2, 1000),
    "settings": (2, 1000),
    "looks": (2, 9),
    "precision": (0.001, 1.0),
    "rng_seed": (0, 2**31 - 1),
}


def _parser() -> Parser:
    parser = Parser("analysis.simulation", __doc__)
    parser.add_argument(
        "--repetitions", type=int, default=300, metavar="N", help="simulated studies of each truth (%(default)s)"
    )
    parser.add_argument("--table", choices=("map", *"12345"), help="which table, see above (1 and 2)")
    parser.add_argument(
        "--looks", type=int, default=refinement.LOOKS, metavar="N", help="table 4: looks at most (%(default)s)"
    )
    parser.add_argument(
        "--precision",
        type=float,
        default=refinement.PRECISION,
        help="table 4: a narrow enough gap (%(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=8, metavar="N", help="seeds of a study (%(default)s)")
    parser.add_argument("--settings", type=int, default=9, metavar="N", help="settings of the knob (%(default)s)")
    parser.add_argument("--condition", choices=tuple(CONDITIONS), help="table 3: one departure from the model (all)")
    parser.add_argument("--rng_seed", type=int, default=0, metavar="N", help="of the simulations (%(default)s)")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Prints the tables asked for. Exit status: 0 done, 2 a user's mistake."""
    args = _parser().read(arguments)
    for name, (least, most) in RANGES.items():
        if getattr(args, name) < least:
            raise UserError(f"--{name}={getattr(args, name)} must be {least} or more.")
        if getattr(args, name) > most:
            raise UserError(f"--{name}={getattr(args, name)} must be at most {most:,}.")
    _print_tables(args)
    return 0


def _print_tables(args: argparse.Namespace) -> None:
    n, size = args.repetitions, (args.repetitions, args.seeds, args.settings, args.rng_seed)
    if args.table == "map":
        print(f"K={args.settings}, {n} repetitions, alpha .05", flush=True)
        for each in map_rates.lines(n, args.settings, args.rng_seed):
            print(each, flush=True)
        return
    print(f"S={args.seeds}, K={args.settings}, {n} repetitions, alpha .05 before the union factor")
    if args.table == "3":
        print(f"an exclamation mark: above .05 by more than Monte Carlo error\n\n{scenarios.HEADER}")
        for condition in [args.condition] if args.condition else CONDITIONS:
            for name in scenarios.RIGHT:
                print(scenarios.line(scenarios.measure(name, condition, *size)), flush=True)
        return
    if args.table == "5":
        print("\n".join(cliff_coverage.lines(*size)))
        return
    if args.table == "4":
        print(
            f"refined: at most {args.looks} looks; before: the first look at the whole alpha\n\n"
            + refinement_rates.HEADER
        )
        for name in map_truths.RIGHT:
            rates = refinement_rates.measure(name, *size, count=args.looks, precision=args.precision)
            print(refinement_rates.line(rates), flush=True)
        return
    print("cells: measured (expected at S=8, K=9; difference in Monte Carlo standard errors)\n")
    if args.table != "2":
        print(f"{'table 1: bare components':30s} " + "  ".join(f"{c:>19s}" for c in COLUMNS_1))
        for name, expected in EXPECTED_1.items():
            print(f"{name:30s} {_rate_cells(measure_bare(name, *size), COLUMNS_1, expected, n, 1500)}", flush=True)
        print()
    if args.table == "1":
        return
    print(f"{'table 2: full definitions':30s} " + "  ".join(f"{c[:19]:>19s}" for c in COLUMNS_2) + "  free 5/50/95%")
    measured = {}
    for name, expected in EXPECTED_2.items():
        rates = measured[name] = measure(name, *size)
        free = "/".join(f"{x:.2f}" for x in rates.free)
        wanted = "/".join(f"{x:.2f}" for x in EXPECTED_FREE[name]) if name in EXPECTED_FREE else "-"
        print(f"{name:30s} {_rate_cells(rates, COLUMNS_2, expected, n, 300)}  {free} ({wanted})", flush=True)
    print(f"\n{'verdicts given':30s} wrong free bound, wrong harmful bound, verdicts")
    for name, rates in measured.items():
        counts = ", ".join(f"{kind} {count / n:.3f}" for kind, count in rates.verdicts.most_common())
        print(f"{name:30s} {rates.free_wrong:.3f}  {rates.harmful_wrong:.3f}  {counts}")
    print(f"\n{'location':30s} truth  found 5/50/95%  coverage of 95%   width  located")
    for name, rates in measured.items():
        if rates.located:
            _print_location(name, rates)


if __name__ == "__main__":
    sys.exit(main())
