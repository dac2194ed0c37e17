"""How many seeds a study needs, before anything is trained.

    python -m analysis.simulation.power_cli --truth=loss --fall=.1

Say the truth you fear. Claims with that truth are simulated (`analysis.simulation.simulator`) and judged, by the map of
the settings or by the slope test. For every number of seeds three things are shown: how often the truth is found, how
often `shown free until` reaches the break, and how far off the break is located. u is the knob scaled to [0, 1] with
neutral at 0. `run.py --plan` prints the power of a study's own design.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.plots import Picture, panels, style, styled
from analysis.simulation import pilot_noise
from analysis.simulation.map_truths import loss_at
from analysis.simulation.power import (
    ABOUT,
    ENOUGH,
    EXPECTED,
    Power,
    PowerPlan,
    ability_curve,
    interval,
    measure,
    sentence,
)
from analysis.simulation.simulator import TRIVIAL, Truth, settings
from analysis.stats import MIN_SETTINGS
from lab.errors import Parser, UserError, command
from lab.storage import write_atomically

BASE = {"loss": 0.8, "cliff": 0.97, "harm": 0.8, "flat": 0.4, "fall": 0.4, "plateau": 0.4}
FALL = {"loss": 0.2, "cliff": 0.9, "harm": 0.2, "fall": 0.1}
SEEDS = (5, 6, 8, 10, 12, 16)
MOST_SETTINGS = 1000


def to_csv(plan: PowerPlan, powers: Sequence[Power]) -> str:
    """A row for each number of seeds, shares with their 95% Monte Carlo intervals."""
    rows = []
    names = [field.name for field in dataclasses.fields(Power)]
    ends = ["verdict_low", "verdict_high", "bound_low", "bound_high"]
    columns = ["expected", "n_settings", *names, *ends]
    for one in powers:
        values = [f"{x:.6g}" if isinstance(x, float) else x for x in dataclasses.astuple(one)]
        limits = [*interval(one.verdict, one.repetitions), *interval(one.bound, one.repetitions)]
        rows.append([plan.expected, plan.n_settings, *values, *(f"{x:.4g}" for x in limits)])
    return pd.DataFrame(rows, columns=columns, dtype=object).to_csv(index=False, lineterminator="\n")


@styled
def figure(plan: PowerPlan, powers: Sequence[Power]) -> Picture:
    """Power against seeds with Monte Carlo intervals, and next to it how far off the break is located."""
    drawn, axes = panels(1, 2, 3.0)
    left, right = axes[0]
    seeds = [p.n_seeds for p in powers]
    lines = (
        ("verdict", plan.expected, style.BLUE, "o"),
        ("bound", f"shown free until reaches {plan.reach:.3g}", style.VERMILLION, "s"),
    )
    for field, label, colour, marker in lines:
        shares = [getattr(p, field) for p in powers]
        low, high = np.transpose([interval(share, powers[0].repetitions) for share in shares])
        left.fill_between(seeds, low, high, color=colour, alpha=0.2, linewidth=0)
        left.plot(seeds, shares, color=colour, marker=marker, markersize=4, label=label)
    left.axhline(ENOUGH, color=style.GREY, linestyle=":", linewidth=1)
    left.set(ylim=(-0.02, 1.02), ylabel="share of simulated studies", title="Power")
    left.legend(loc="best")
    right.set(ylabel="|break − truth| in u", title="Location, where it was found")
    if np.isfinite([p.error_50 for p in powers]).any():
        right.plot(seeds, [p.error_50 for p in powers], color=style.BLUE, marker="o", markersize=4, label="median")
        right.plot(seeds, [p.error_90 for p in powers], color=style.GREY, marker="s", markersize=4, label="90%")
        right.set_ylim(bottom=0)
        right.legend(loc="best")
    else:
        right.text(0.5, 0.5, "no break was located", ha="center", transform=right.transAxes)
        right.set_yticks([])
    for ax in (left, right):
        ax.set_xticks(seeds)
        ax.set_xlabel("seeds")
    return drawn


def _table(powers: Sequence[Power]) -> str:
    lines = ["seeds  found    95% interval  bound  95% interval  |break − truth| 50/90%  covered  most frequent other"]
    for p in powers:
        (a, b), (c, d) = (interval(share, p.repetitions) for share in (p.verdict, p.bound))
        other = f"{p.instead} {p.instead_share:.2f}" if p.instead else "-"
        located = "      -                  -   " if np.isnan(p.error_50) else f"{p.error_50:6.3f}/{p.error_90:.3f}"
        covered = "" if np.isnan(p.error_50) else f"{p.covered:12.2f}     "
        lines.append(
            f"{p.n_seeds:5d}  {p.verdict:7.2f}  {a:.2f} to {b:.2f}  {p.bound:5.2f}  {c:.2f} to {d:.2f}  "
            f"{located:>13s}  {covered}     {other}"
        )
    return "\n".join(lines)


def _parser() -> Parser:
    about = "\n".join(f"  {name:8s} {text} ({EXPECTED[name]})" for name, text in ABOUT.items())
    parser = Parser("analysis.simulation.power_cli", __doc__, f"truths, and what each should be found as:\n{about}")
    parser.add_argument(
        "--truth", choices=tuple(EXPECTED), default="loss", help="what the ability does (%(default)s); see below"
    )
    parser.add_argument("--at", type=float, default=0.5, help="the break, on the knob scaled to 0 to 1 (.5)")
    parser.add_argument("--rise", type=float, default=0.2, help="rise of the ability up to the break (.2)")
    parser.add_argument("--fall", type=float, help="how far it falls (loss, harm .2; cliff .9; fall .1)")
    parser.add_argument("--width", type=float, default=0.25, help="over how much of the knob a cliff falls (.25)")
    parser.add_argument(
        "--base",
        type=float,
        help="neutral ability (the study's with --workdir; else .8; cliff .97; fall, plateau, flat .4)",
    )
    parser.add_argument("--seed_sd", type=float, help="noise of a seed's level (.05; cliff .02)")
    parser.add_argument("--slope_sd", type=float, help="noise of a seed's slope (.04; cliff 0)")
    parser.add_argument("--cell_sd", type=float, help="noise of a cell (.03; cliff .01)")
    parser.add_argument("--workdir", type=Path, help="read noise and baselines off a finished study, runs/<study>")
    parser.add_argument("--ability", help="with --workdir: which, such as facts/iid (the first)")
    parser.add_argument("--metric", help="with --workdir: which, such as fisher_trace (the first)")
    parser.add_argument("--settings", type=int, default=MIN_SETTINGS, help=f"settings of the knob ({MIN_SETTINGS})")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="numbers of seeds, with commas")
    parser.add_argument("--repetitions", type=int, default=200, help="simulated studies for each (200)")
    parser.add_argument("--out", type=Path, help="the figure, .svg or .png; a table with the same name and .csv")
    parser.add_argument("--rng_seed", type=int, default=0, help="of the simulations (%(default)s)")
    return parser


def plan_of(args: argparse.Namespace) -> tuple[PowerPlan, str]:
    """The plan of the command line, and what it assumes: truth, baselines and noise, with the noise's source.

    Raises:
      UserError: a value is out of its range, or the study cannot be read.
    """
    if args.settings < MIN_SETTINGS:
        raise UserError(f"--settings={args.settings} must be {MIN_SETTINGS} or more, as the slope test needs them.")
    kind = args.truth
    reading = pilot_noise.read(args.workdir, args.ability, args.metric) if args.workdir else None
    usual = pilot_noise.Noise(0.02, 0.0, 0.01) if kind == "cliff" else pilot_noise.Noise(0.05, 0.04, 0.03)
    sds = reading.noise if reading else usual
    for name in ("seed_sd", "slope_sd", "cell_sd"):
        value = getattr(args, name)
        if value is not None:
            if not 0 <= value < np.inf:
                raise UserError(f"--{name}={value:g} must be 0 or more.")
            sds = dataclasses.replace(sds, **{name: value})
    base = args.base if args.base is not None else reading.neutral if reading else BASE[kind]
    fall = FALL.get(kind, 0.1) if args.fall is None else args.fall
    curve = ability_curve(kind, base, args.at, args.rise, fall, args.width)
    truth = Truth(lambda u: u, curve, None if kind in ("flat", "harm") else args.at, **dataclasses.asdict(sds))
    if reading:  # the cells' noise of a study holds the answers' sampling noise already
        seen = reading.metric_noise
        truth = dataclasses.replace(truth, metric_seed_sd=seen.seed_sd, metric_cell_sd=seen.cell_sd, trials=None)
    u_K = settings(args.settings)
    lossless = loss_at(truth, *((reading.trivial, reading.delta_share) if reading else ()))
    kept_K = u_K < lossless - 1e-9 if kind in ("loss", "cliff", "harm") else u_K <= args.at + 1e-9
    reach = 1.0 if kind == "flat" else float(u_K[kept_K].max())
    source = (
        "the simulator's"
        if reading is None
        else (
            f"{reading.ability} and {reading.metric} in {args.workdir},"
            f" {reading.n_seeds} seeds at {reading.n_settings} settings"
        )
    )
    trivial, alpha, share = (reading.trivial, reading.alpha, reading.delta_share) if reading else (TRIVIAL, 0.05, 0.05)
    if base <= trivial:
        raise UserError(f"--base={base:g} must be above the trivial baseline, {trivial:g}.")
    assumptions = (
        f"truth: {_with_values(ABOUT[kind], args, fall)}\n"
        f"neutral ability {base:.3g}, trivial {trivial:.3g}, delta {share * (base - trivial):.3g}\n"
        f"noise: seed {sds.seed_sd:.3g}, slope {sds.slope_sd:.3g}, cell {sds.cell_sd:.3g} ({source})"
    )
    return PowerPlan(truth, EXPECTED[kind], reach, args.settings, trivial, alpha, share), assumptions


def _with_values(about: str, args: argparse.Namespace, fall: float) -> str:
    """A truth's description with the numbers in place of the flags."""
    for flag, value in (("at", args.at), ("rise", args.rise), ("fall", fall), ("width", args.width)):
        about = about.replace(f"--{flag}", f"{value:g}")
    return about


@command
def main(arguments: Sequence[str]) -> int:
    """Prints the table and the sentence, and writes figure and CSV. Exit status: 0 done, 2 a user's mistake."""
    args = _parser().read(arguments)
    if args.repetitions < 1:
        raise UserError(f"--repetitions={args.repetitions} must be 1 or more.")
    if args.rng_seed < 0:
        raise UserError(f"--rng_seed={args.rng_seed} must be 0 or more.")
    if args.settings > MOST_SETTINGS:
        raise UserError(f"--settings={args.settings} must be at most {MOST_SETTINGS:,}.")
    if args.out and args.out.suffix not in (".svg", ".png"):
        raise UserError(f"--out={args.out} must end in .svg or .png.")
    plan, assumptions = plan_of(args)
    seeds = _numbers(args.seeds)
    print(assumptions, f"K={plan.n_settings} settings, alpha {plan.alpha:g}\n", sep="\n", flush=True)
    powers = [measure(plan, n, args.repetitions, args.rng_seed) for n in seeds]
    print(_table(powers), "", sentence(plan, powers), sep="\n")
    if args.out:
        _write(args.out, plan, powers)
    return 0


def _numbers(text: str) -> list[int]:
    """'5,8' as numbers of seeds, ascending."""
    try:
        seeds = sorted({int(one) for one in text.split(",")})
    except ValueError:
        seeds = [0]
    if seeds[0] < 2 or seeds[-1] > 200:
        raise UserError(f"--seeds={text} must be whole numbers from 2 to 200 with commas, such as --seeds=5,8,12.")
    return seeds


def _write(path: Path, plan: PowerPlan, powers: Sequence[Power]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = figure(plan, powers)
    write_atomically(path, style.png(drawn.figure) if path.suffix == ".png" else style.plain_svg(drawn.figure))
    write_atomically(path.with_suffix(".csv"), to_csv(plan, powers))
    print(f"wrote {path} and {path.with_suffix('.csv').name}")


if __name__ == "__main__":
    sys.exit(main())
