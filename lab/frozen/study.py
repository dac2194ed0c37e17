"""A checked frozen study: its knob, settings, questions and claim. Mistakes are reported before anything is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UserError, nearest, shown
from lab.frozen.knobs import KNOBS, LAYERS, VECTORS, FrozenKnob
from lab.study import Grid, fields, schema
from lab.values import exact, plain_fields
from tasks import TaskError
from tasks.text import reader

LEAST_FOLDS, LEAST_QUESTIONS = 12, 100  # folds of a study, and questions of a fold
SETTINGS_MOST = 1000


@dataclass(frozen=True)
class FrozenStudy:
    """A study of a model that is not trained.

    Attributes:
      name, question: for a person.
      model_dir, data_dir: where the model and the benchmark lie.
      format, options: of the benchmark, see `tasks.text`.
      ask, fit: the split whose questions are asked, and the one that knobs fit on, with `fit_questions` of it.
      folds: how many parts of the questions are compared with themselves.
      seed: of the folds, and of noise.
      knob: whose settings are compared.
      values: its settings, from neutral outwards.
      chosen: the mechanism's further settings by name, such as {'score': 'magnitude'}.
      gains: latent reading -> +1 if the claim is that it rises as the knob leaves neutral, else -1.
      alpha, delta: level of every test; share of (neutral − trivial) that counts as no change.
    """

    name: str
    question: str
    model_dir: Path
    data_dir: Path
    format: str
    options: Mapping[str, Any]
    ask: str
    fit: str
    fit_questions: int
    folds: int
    seed: int
    knob: FrozenKnob
    values: tuple[float, ...]
    chosen: Mapping[str, str]
    gains: Mapping[str, int]
    alpha: float
    delta: float

    @property
    def fits(self) -> bool:
        """Whether the knob is fitted on texts of the split `fit`."""
        return self.knob.acts_on == VECTORS or self.chosen.get("score") == "wanda"

    def content(self, value: float) -> dict[str, Any]:
        """What decides the numbers of one setting, next to the model's and the benchmark's own files: JSON values."""
        neutral = value == self.knob.neutral
        fitted = [self.fit, self.fit_questions] if self.fits and not neutral else []
        return {
            "data": [self.format, dict(self.options), self.ask, *fitted],
            "folds": [self.folds, self.seed],
            "knob": None if neutral else [self.knob.name, value, dict(self.chosen)],
        }


NAMED = schema.Rule("be the name of a split", lambda value: schema.NAME.holds(value) and len(value) > 0)
RULES: Mapping[str, schema.Rule] = {
    "name": schema.NAME,
    "question": schema.text(1000, lines=True),
    "model_dir": schema.text(4000),
    "data_dir": schema.text(4000),
    "data.format": schema.NAME,
    "data.ask": NAMED,
    "data.fit": NAMED,
    "data.fit_questions": schema.whole(16, 2**20),
    "folds": schema.whole(LEAST_FOLDS, 10_000),
    "seed": schema.whole(0, 2**31 - 1),
    "claim.alpha": schema.inside(0, 1),
    "claim.delta": schema.inside(0, 1),
}


def parse(config: Any, grid: Grid, readings: Collection[str]) -> FrozenStudy:
    """Check a frozen study's config and grid.

    Args:
      config: the ConfigDict of get_config(), overrides applied.
      grid: what sweep(config) returned.
      readings: names of the latent readings that a claim may name: those of states alone.

    Raises:
      UserError: one sentence with the field and the fix.
    """
    if not isinstance(grid, Grid):
        raise UserError("sweep() must return one axis: axis('whitening.power', (0, 0.5, 1)).")
    config = plain_fields(config)
    fields.check_names(config)
    for name, rule in RULES.items():
        value = config
        for part in name.split("."):
            value = value[part]
        if not rule.holds(value):
            raise UserError(f"config.{name}={shown(value)} must {rule.must}.")
    knob, values = _axis(grid)
    study = FrozenStudy(
        name=config.name or "study",
        question=config.question,
        model_dir=_folder(config, "model_dir", "the pretrained model (docs/pretrained.md)"),
        data_dir=_folder(config, "data_dir", "the benchmark's files (docs/text.md)"),
        format=config.data.format,
        options=_options(config),
        ask=config.data.ask,
        fit=config.data.fit,
        fit_questions=config.data.fit_questions,
        folds=config.folds,
        seed=config.seed,
        knob=knob,
        values=values,
        chosen=_chosen(config, knob),
        gains=_gains(config, readings),
        alpha=config.claim.alpha,
        delta=config.claim.delta,
    )
    if study.fits and study.fit == study.ask:
        raise UserError(
            f"config.data.fit={study.fit} is the split whose questions are asked; name another, such as 'train'."
        )
    return study


def _folder(config: Any, field: str, what: str) -> Path:
    if not config[field]:
        raise UserError(f"config.{field} is empty; name the folder with {what}: --config.{field}=DIR.")
    if not Path(config[field]).is_dir():
        raise UserError(f"config.{field}={config[field]}: there is no such folder; name the one with {what}.")
    return Path(config[field])


def _options(config: Any) -> dict[str, Any]:
    """The format's options; the format itself is checked, too."""
    try:
        chosen = reader(config.data.format)
    except TaskError as error:
        raise UserError(f"config.data.format: {error}") from None
    given = config.data.options.to_dict()
    for name in given:
        if name not in chosen.options:
            raise UserError(f"config.data.options.{name}: no such option. {nearest(name, chosen.options)}")
    return given


def _axis(grid: Grid) -> tuple[FrozenKnob, tuple[float, ...]]:
    """The knob and its settings, from neutral outwards."""
    if len(grid.axes) != 1 or len(grid.points) != len(grid.axes[0].values):
        names = ", ".join(axis.knob for axis in grid.axes)
        raise UserError(
            f"sweep(): a frozen study has one axis, not {names or 'none'}; folds of questions take the place of seeds."
        )
    name, values = grid.axes[0].knob, grid.axes[0].values
    if name not in KNOBS:
        raise UserError(f"sweep(): axis '{name}': no such knob of a frozen study. {nearest(name, KNOBS)}")
    knob = KNOBS[name]
    kind = "whole number" if knob.whole else "number"
    for value in values:
        good = isinstance(value, int if knob.whole else int | float) and not isinstance(value, bool)
        if not good or not knob.low <= value <= knob.high:  # NaN lies in no range
            raise UserError(f"sweep(): {name}={shown(value)} must be a {kind} from {knob.low:g} to {knob.high:g}.")
    if knob.neutral not in values:
        raise UserError(f"sweep(): axis '{name}' must hold {exact(knob.neutral)}, where it does nothing.")
    if not 2 <= len(values) <= SETTINGS_MOST:
        raise UserError(f"sweep(): axis '{name}' has {len(values)} settings; give it 2 to {SETTINGS_MOST:,}.")
    return knob, tuple(sorted(map(float, values), key=lambda value: abs(value - knob.neutral)))


def _chosen(config: Any, knob: FrozenKnob) -> dict[str, str]:
    """The further settings of the axis's mechanism; another mechanism's would do nothing."""
    mechanism = knob.name.split(".")[0]
    known = {f"{mechanism}.{name}": valid for name, valid in (knob.choices or {}).items()}
    given: dict[str, Any] = {}
    for name, section in config.knobs.items():
        if not fields.is_section(section):
            raise UserError(f"config.knobs.{name}={shown(section)} must be a section, such as dict(score='wanda').")
        given |= {f"{name}.{setting}": value for setting, value in section.items()}
    for name, value in given.items():
        if name not in known:
            fix = nearest(name, known) if known else f"{knob.name} has none; leave it out."
            raise UserError(f"config.knobs.{name}: no such setting of this study's axis. {fix}")
        if value not in known[name]:
            raise UserError(f"config.knobs.{name}={shown(value)} must be one of {', '.join(known[name])}.")
    return {name.split(".")[1]: given.get(name, valid[0]) for name, valid in known.items()}


def _gains(config: Any, readings: Collection[str]) -> dict[str, int]:
    if not fields.is_section(config.claim.gains):
        raise UserError(
            "config.claim.gains must be a section, dict(rank_me=1): a frozen study reads its vectors at one place."
        )
    gains = config.claim.gains.to_dict()
    if not gains:
        raise UserError("config.claim.gains is empty; name a latent reading and its sign, such as dict(rank_me=1).")
    for name, sign in gains.items():
        if name not in readings:
            raise UserError(
                f"config.claim.gains.{name}: no latent reading of states without labels. {nearest(name, readings)}"
            )
        if not schema.SIGN.holds(sign):
            raise UserError(f"config.claim.gains.{name}={shown(sign)} must {schema.SIGN.must}.")
    return gains


def check_sizes(study: FrozenStudy, layers: int, width: int) -> None:
    """Refuse to drop more blocks, or more directions, than the model has.

    Raises:
      UserError: in one sentence.
    """
    knob, most = study.knob, int(max(study.values))
    there, what = (layers, "blocks") if knob.acts_on == LAYERS else (width - 1, "directions but one")
    if knob.whole and knob.neutral == 0 and most > there:
        raise UserError(f"sweep(): {knob.name}={most} is more than the model's {there} {what}; leave it out.")
