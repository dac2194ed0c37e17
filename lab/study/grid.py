"""Named axes and how they combine into a grid of points.

    product(axis("prune.sparsity", (0.0, 0.5, 0.9)), axis("seed", range(8)))

A grid keeps its axes because the analysis needs the dimensions, not just a flat list of settings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lab.errors import UserError, nearest, shown
from lab.values import plain

Point = tuple[tuple[str, Any], ...]  # (knob name, value) pairs, in axis order
CELLS_MOST = 20_000  # of a grid: twice as many as were ever tried (docs/benchmarks.md)
TEST = "test"  # the stage in which axes that differ at test act, see `lab.study.testing`
AT_TEST = "@test"  # the mark of such an axis, which no stage of a study can have for a name
OWN = "own"  # the field of a config that names those which only its study's sweep() reads


@dataclass(frozen=True)
class Axis:
    """A knob and the values it takes.

    Attributes:
      knob: registered knob name.
      values: the settings.
      stage: the stage from which the knob acts; None takes the knob's own default.
      tuned: whether the knob is tuned away, see `tuned`.
    """

    knob: str
    values: tuple[Any, ...]
    stage: str | None = None
    tuned: bool = False


@dataclass(frozen=True)
class Grid:
    """Points of knob settings, and the axes they came from."""

    axes: tuple[Axis, ...]
    points: tuple[Point, ...]


def axis(knob: str, values: Iterable[Any], stage: str | None = None, at: str = "train") -> Grid:
    """One knob over its values; NumPy's and JAX's become Python's.

    Args:
      knob: registered knob name.
      values: the settings.
      stage: the stage from which the knob acts; None takes the knob's own default.
      at: 'test' where the model is trained once, with the knob as `config.knobs` has it, and run with each of the
        values when it is evaluated and read at the end.

    Raises:
      UserError: if there is no value, one is no number or name, or one occurs twice; for another `at`, or one next to a
        stage.
    """
    if not isinstance(knob, str):
        raise UserError(f"sweep(): axis {shown(knob)} must be named by one knob, such as 'prune.sparsity'.")
    if not isinstance(at, str) or at not in ("train", TEST):
        raise UserError(f"sweep(): axis '{knob}': at={shown(at)} must be 'train' or 'test'.")
    if at == TEST and stage is not None:
        raise UserError(f"sweep(): axis '{knob}': at='test' has no stage=; drop one of them.")
    stage = AT_TEST if at == TEST else stage
    try:
        values = tuple(map(plain, itertools.islice(values, CELLS_MOST + 1)))
    except TypeError:
        raise UserError(
            f"sweep(): axis '{knob}' has {shown(values)}; give it several values, such as (0.0, 0.5)."
        ) from None
    if not values:
        raise UserError(f"sweep(): axis '{knob}' has no values; give it at least one.")
    if len(values) > CELLS_MOST:
        raise UserError(f"sweep(): axis '{knob}' has more than {CELLS_MOST:,} values, the most cells of a study.")
    odd = [value for value in values if not isinstance(value, (int, float, str))]
    if odd:
        kind = type(odd[0]).__name__
        raise UserError(f"sweep(): axis '{knob}' has a value of type {kind}; every value must be one number or name.")
    repeated = [value for index, value in enumerate(values) if value in values[:index]]
    if repeated:
        raise UserError(f"sweep(): axis '{knob}' has {repeated[0]!r} twice; every value once.")
    return Grid((Axis(knob, values, stage),), tuple(((knob, value),) for value in values))


def uniform(knob: str, low: float, high: float, count: int, seed: int, stage: str | None = None) -> Grid:
    """An axis of random values, uniform between two ends, ascending; the same for the same seed.

    Raises:
      UserError: if the ends aren't in order, or there are fewer values between them than asked for.
    """
    return _drawn(knob, (low, high), count, stage, lambda u: low + (high - low) * u, seed)


def loguniform(knob: str, low: float, high: float, count: int, seed: int, stage: str | None = None) -> Grid:
    """An axis of random values, uniform in the logarithm between two ends above 0, ascending.

    Raises:
      UserError: as `uniform`, and if the lower end isn't above 0.
    """
    if not low > 0:
        raise UserError(f"sweep(): axis '{knob}': loguniform() needs a lower end above 0, not {low!r}.")
    return _drawn(knob, (low, high), count, stage, lambda u: low * (high / low) ** u, seed)


def _drawn(
    knob: str,
    ends: tuple[float, float],
    count: int,
    stage: str | None,
    scaled: Callable[[np.ndarray], np.ndarray],
    seed: int,
) -> Grid:
    """An axis of `scaled` applied to uniform numbers in [0, 1), rounded to six digits."""
    if not ends[0] < ends[1]:
        raise UserError(f"sweep(): axis '{knob}': the ends {ends[0]!r} and {ends[1]!r} must be in ascending order.")
    if count > CELLS_MOST:
        raise UserError(f"sweep(): axis '{knob}': {count:,} values were asked for; the most are {CELLS_MOST:,}.")
    drawn = scaled(np.random.default_rng(seed).random(max(count, 0)))
    found = sorted({float(f"{value:.6g}") for value in drawn})
    if len(found) < max(count, 1):
        raise UserError(f"sweep(): axis '{knob}': {count} values were asked for; ask for one or more, farther apart.")
    return axis(knob, found, stage)


def subsample(grid: Grid, count: int, seed: int) -> Grid:
    """So many of a grid's points, chosen at random, in the grid's order; the same for the same seed.

    Raises:
      UserError: if there are fewer points.
    """
    if not 0 < count <= len(grid.points):
        raise UserError(f"sweep(): subsample() of {count} points from a grid of {len(grid.points)}.")
    kept = np.sort(np.random.default_rng(seed).choice(len(grid.points), count, replace=False))
    return _with_points(grid.axes, [grid.points[i] for i in kept])


def conditional(grid: Grid, further: Callable[[dict[str, Any]], Grid | None]) -> Grid:
    """A grid in which some points branch out along axes that mean nothing to the others.

        def smoothed(point):
            return axis("label_smoothing.relax_from", (100, 200)) if point["label_smoothing.rate"] else None

        conditional(axis("label_smoothing.rate", (0.0, 0.1)), smoothed)

    Args:
      grid: the outer grid.
      further: from a point's {knob: value} to the grid that it branches into, or None.
    """
    parts = []
    for point in grid.points:
        inner, alone = further(dict(point)), _with_points(grid.axes, [point])
        parts.append(alone if inner is None else product(alone, inner))
    return chain(*parts)


def _with_points(axes: Iterable[Axis], points: Sequence[Point]) -> Grid:
    """A grid of these points; axes keep the values that occur."""
    found = {a.knob: [dict(point)[a.knob] for point in points if a.knob in dict(point)] for a in axes}
    return Grid(
        tuple(replace(a, values=tuple(v for v in a.values if v in found[a.knob])) for a in axes if found[a.knob]),
        tuple(points),
    )


def tuned(grid: Grid) -> Grid:
    """An axis whose best value is chosen for every setting of the other axes; its other values are discarded.

        product(axis("width.active", widths), tuned(axis("optimizer.learning_rate", rates)), axis("seed", range(8)))

    judges every width at its own best rate. All seeds of a setting share the value: the one with the largest mean
    log-probability of the answers, on examples of their own that no ability is read on.
    """
    return replace(grid, axes=tuple(replace(a, tuned=True) for a in grid.axes))


def _merge_axes(grids: Sequence[Grid]) -> tuple[Axis, ...]:
    axes = tuple(a for grid in grids for a in grid.axes)
    names = [a.knob for a in axes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"sweep(): '{name}' is an axis twice in one product or zip; keep one of them.")
    return axes


def product(*grids: Grid) -> Grid:
    """Every combination; the last grid varies fastest.

    Raises:
      UserError: if those are more cells than a study can have.
    """
    axes = _merge_axes(grids)
    if (cells := math.prod(len(grid.points) for grid in grids)) > CELLS_MOST:
        raise UserError(f"sweep(): a product of {cells:,} cells; a study has at most {CELLS_MOST:,}.")
    return Grid(axes, tuple(sum(points, ()) for points in itertools.product(*(grid.points for grid in grids))))


def zipped(*grids: Grid) -> Grid:
    """First with first, second with second.

    Raises:
      UserError: if the grids differ in length.
    """
    axes = _merge_axes(grids)
    lengths = {"×".join(a.knob for a in grid.axes): len(grid.points) for grid in grids}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise UserError(f"sweep(): zipped axes must have the same length, but {counts}.")
    return Grid(axes, tuple(sum(points, ()) for points in zip(*(grid.points for grid in grids), strict=True)))


def chain(*grids: Grid) -> Grid:
    """One grid after the other; a knob that a part does not name keeps the study's base value there."""
    merged: dict[str, Axis] = {}
    for a in (a for grid in grids for a in grid.axes):
        known = merged.get(a.knob)
        if known is None:
            merged[a.knob] = a
            continue
        if known.stage != a.stage:
            raise UserError(f"sweep(): '{a.knob}' acts from stage {known.stage} in one part and {a.stage} in another.")
        if known.tuned != a.tuned:
            raise UserError(f"sweep(): '{a.knob}' is tuned away in one part and not in another.")
        merged[a.knob] = replace(a, values=tuple(dict.fromkeys((*known.values, *a.values))))
    return Grid(tuple(merged.values()), tuple(point for grid in grids for point in grid.points))


def grown(grid: Grid, knob: str, settings: Iterable[tuple[dict[str, Any], Any]], seeds: Iterable[int]) -> Grid:
    """A grid with more seeds everywhere, and more settings of one knob where they are named.

    Args:
      grid: a grid whose every point names every axis, the seed among them.
      knob: the knob that gets settings.
      settings: (values of other axes, the setting); it comes with every value of the axes not named, and every seed.
      seeds: that every point of the result has, in addition to those of the grid.
    """
    seeds, settings = tuple(seeds), tuple(settings)
    names = [a.knob for a in grid.axes]
    points = list(dict.fromkeys(grid.points))
    known = dict.fromkeys(_without(point, ("seed",)) for point in points)
    for other, value in settings:
        found = [p for p in known if other.items() <= dict(_without(p, (knob,))).items()]
        known |= dict.fromkeys(tuple(sorted((*_without(p, (knob,)), (knob, value)))) for p in found)
    every = sorted({*seeds, *(dict(point)["seed"] for point in points)})
    for each in known:
        for seed in every:
            values = {**dict(each), "seed": seed}
            points.append(tuple((name, values[name]) for name in names))
    more = {knob: [value for _, value in settings], "seed": every}
    axes = tuple(replace(a, values=tuple(dict.fromkeys((*a.values, *more.get(a.knob, ()))))) for a in grid.axes)
    return Grid(axes, tuple(dict.fromkeys(points)))


def _without(point: Point, names: Sequence[str]) -> Point:
    return tuple(sorted((name, value) for name, value in point if name not in names))


def declare_own(config: ConfigDict, own: Mapping[str, Any]) -> None:
    """Add fields of a study's own, which its sweep() reads.

    Raises:
      UserError: for one with the name of another field.
    """
    for name, value in own.items():
        if name == OWN or name in config or hasattr(ConfigDict, name) or not name.isidentifier():
            raise UserError(f"own=…: a study's own field can't be named '{name}'; name it differently.")
        config[name] = value
    if own:
        before: Any = config.get(OWN, ())
        config[OWN] = (*before, *own)


class UnknownVariant(UserError):
    """A variant that a study doesn't name; published benchmarks are variants of every study nevertheless."""


def study_config(variant: str = "", variants: tuple[str, ...] = (), own: Mapping[str, Any] | None = None) -> Any:
    """A ConfigDict with every field of a study at its default, to be filled in by a study's get_config().

    Args:
      variant: the part behind ':' on the command line.
      variants: the variants that the study knows.
      own: fields of the study's own, which its sweep() reads, and their values: `own=dict(seeds=8)` is `config.seeds`.

    Raises:
      UserError: for a variant that it doesn't know, and for an own field with the name of another one.

    A study must set question, tasks, stages, steps, saves and claim. A field that is neither listed here nor the
    study's own is refused: it is a misspelt one. `--config.<field>=<value>` overrides any.
    """
    if variant and variant not in variants:
        raise UnknownVariant(f"--config: unknown variant ':{variant}'. {nearest(variant, variants or ('(none)',))}")
    # Not type-safe: a wrong type gets its sentence from lab.study.schema, as all other mistakes do.
    config = ConfigDict(type_safe=False)
    config.name = ""
    config.question = ""
    # label -> {task, examples a step (a number, or a section with one for each stage, which may be 0), factor that
    # probes look for (or several), split whose inputs they read (probe), and any static size of the task}
    config.tasks = ConfigDict(type_safe=False)
    config.model = ConfigDict(
        dict(
            width=64,
            layers=2,
            heads=4,
            mlp_width=256,
            positions="learned",
            activation="relu",
            compute="float32",  # of matrix products; 'bfloat16' rounds their factors, all else stays float32
            products="highest",  # how an accelerator takes float32 products: 'highest', 'high' or 'default'
        ),
        type_safe=False,
    )
    config.stages = ("train",)
    # stage -> optimizer steps; 0 for a stage that doesn't learn (not the first): mechanisms start there, that is all
    config.steps = ConfigDict(type_safe=False)
    # stage -> number of checkpoints, log-spaced in steps; the last one ends the stage
    config.saves = ConfigDict(type_safe=False)
    config.schedule = ConfigDict(dict(name="constant", warmup=100), type_safe=False)
    config.knobs = ConfigDict(type_safe=False)  # mechanism -> {setting: base value}, for knobs that are not an axis
    config.call_steps = 50  # steps of one call of the compiled program; divides every stage
    config.evaluation = ConfigDict(dict(examples=512), type_safe=False)  # examples a task and split
    # inputs and layers whose hidden states are measured, and readings that aren't measured in every study nor claimed
    config.probe = ConfigDict(dict(examples=1024, layers=(-1,), extra=()), type_safe=False)
    config.claim = ConfigDict(
        dict(
            knob="",
            # latent metric -> +1 if the claim is that it rises as the knob leaves its neutral value, -1 if it falls;
            # or a tuple of gain(…), each at a place of its own (docs/claims.md)
            gains=ConfigDict(type_safe=False),
            # 'label/split' whose exact accuracy the gain should become or at least not cost; or ability(…)
            abilities=(),
            layer=-1,  # -1 is the residual stream after the last block
            alpha=0.05,
            delta=0.05,  # share of (neutral ability - trivial baseline) that counts as no change
            # with settings on both sides of neutral, what the gains' signs are multiplied by below it: 1 where they are
            # claimed as the knob leaves neutral to either side, -1 where they are claimed along the axis
            below=1,
            # 'map': settings from neutral outwards; 'categorical': values without order, each against a control;
            # 'association': metric and ability over all cells; None:
            # 'categorical' where the knob's values are names, else 'map'
            kind=None,
            knobs=(),  # of kind 'association': the axes over whose cells metric and ability go together; () for all
            control=None,  # of a categorical claim, the value that others are compared with; None: the neutral one
        ),
        type_safe=False,
    )
    declare_own(config, own or {})
    return config
