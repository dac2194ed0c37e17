"""Sizes of the model as knobs of a study: `axis("model.layers", (1, 2, 4))`, a program each.

Every value is compiled in. Neutral is what `config.model` says, whose cells have the keys of a study without the axis;
those of another value have the keys of a study whose config says so: sizes enter a key as the model's, not as a knob's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.errors import UserError
from lab.mechanisms.base import Knob
from lab.nn.model import ModelSpec
from lab.study import schema
from lab.study.grid import Axis

PREFIX = "model."
_WHOLE = Knob(name="", low=1, integer=True, pinned=True, static=True)
_KNOBS = (
    replace(
        _WHOLE,
        name="model.layers",
        high=schema.LAYERS_MOST,
        about="blocks of the model, each with weights of its own",
        source="depth against looping: Saunshi et al. 2025, arXiv 2502.17416",
    ),
    replace(
        _WHOLE,
        name="model.width",
        high=schema.WIDTH_MOST,
        about="dimensions of the residual stream",
        source="Kaplan et al. 2020, arXiv 2001.08361",
    ),
    replace(
        _WHOLE,
        name="model.heads",
        high=schema.WIDTH_MOST,
        about="attention heads of a block, which share the width",
        source="Michel et al. 2019, arXiv 1905.10650",
    ),
    replace(
        _WHOLE,
        name="model.mlp_width",
        high=8 * schema.WIDTH_MOST,
        about="neurons of a block's feed-forward layer",
        source="Kaplan et al. 2020, arXiv 2001.08361",
    ),
)
KNOBS = {knob.name: knob for knob in _KNOBS}


def knobs(config: Any, axes: Iterable[Axis]) -> dict[str, Knob]:
    """The sizes that are axes, neutral at what `config.model` says.

    Raises:
      UserError: for a field of the model that can't be an axis, and for a size that is set as a knob.
    """
    found = {}
    for name in (a.knob for a in axes if a.knob.startswith(PREFIX)):
        if name not in KNOBS:
            raise UserError(f"sweep(): '{name}' can't be an axis; of the model, {', '.join(KNOBS)} can.")
        found[name] = replace(KNOBS[name], neutral=config.model[name.removeprefix(PREFIX)])
    for name in config.knobs.get("model", {}) if found else ():
        raise UserError(f"config.knobs.model.{name}: a size of the model is set as config.model.{name}.")
    return found


def with_sizes(spec: ModelSpec, values: Mapping[str, Any]) -> ModelSpec:
    """A model's sizes with those that a cell has of its own."""
    own = {name.removeprefix(PREFIX): values[name] for name in KNOBS if name in values}
    return replace(spec, **own) if own else spec


def apart(values: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a cell that are no sizes."""
    return {name: value for name, value in values.items() if name not in KNOBS}


def model_spec(config: Any, vocab_size: int, longest: int) -> ModelSpec:
    """The model that `config.model` describes.

    Raises:
      UserError: where its fields don't go together.
    """
    m = config.model
    if m.compute == "bfloat16" and m.products != "highest":
        raise UserError("config.model.products says how float32 products are taken; leave it out with bfloat16.")
    sizes = (m.width, m.layers, m.heads, m.mlp_width)
    spec = ModelSpec(vocab_size, longest, *sizes, m.positions, m.activation, m.compute, m.products)
    if sentence := objection(spec, "config."):
        raise UserError(sentence)
    return spec


def objection(spec: ModelSpec, where: str = "") -> str:
    """Why no model has those sizes, in a sentence; empty if one has. `where` stands before the fields' names."""
    if spec.width % spec.heads:
        return f"{where}model.heads={spec.heads} must divide {where}model.width={spec.width}."
    if spec.positions == "rotary" and (spec.width // spec.heads) % 2:
        return f"{where}model.positions='rotary' needs an even width per head; change width or heads."
    block = spec.width * (4 * spec.width + 2 * spec.mlp_width)
    parameters = spec.layers * block + spec.width * (2 * spec.vocab_size + spec.max_length)
    if parameters <= schema.PARAMETERS_MOST:
        return ""
    return (
        f"{where}model: layers={spec.layers}, width={spec.width}, mlp_width={spec.mlp_width} and {spec.vocab_size:,}"
        f" tokens make {parameters:,} parameters, and a cell may have {schema.PARAMETERS_MOST:,}; make one of them"
        " smaller."
    )


def check(specs: Sequence[ModelSpec], probe_examples: int) -> None:
    """Refuse the sizes of a study's cells where one can't be built, or latents can't be read.

    Raises:
      UserError: in one sentence.
    """
    for spec in specs:
        if sentence := objection(spec):
            raise UserError(f"sweep(): {sentence} Zip the axes, or change their values.")
    widest = max(spec.width for spec in specs)
    if probe_examples < (needed := max(1024, 8 * widest)):
        raise UserError(
            f"config.probe.examples={probe_examples} is too few for width {widest}: the latent metrics are"
            f" biased below max(1024, 8·width) = {needed}; raise it."
        )


def layers(wanted: Iterable[int], depths: Sequence[int], field: str) -> tuple[int, ...]:
    """Layers of the residual stream, ascending: counted from the embedding where all cells are equally deep.

    Where they are not, those from the end stay negative: in each cell they are counted from its own end.

    Args:
      wanted: 0 is the embedding, -1 the stream after the last block.
      depths: the numbers of blocks that cells have.
      field: for the message.

    Raises:
      UserError: for one that a cell doesn't have.
    """
    depths, found = sorted({*depths}), set()
    least = depths[0]
    for layer in wanted:
        if not -least - 1 <= layer <= least:
            few = "" if len(depths) == 1 else f", for there is a cell of model.layers={least}"
            raise UserError(f"{field}: layer {layer} must lie in [{-least - 1}, {least}] (0 is the embedding){few}.")
        found.add(layer % (least + 1) if len(depths) == 1 else layer)
    return tuple(sorted(found))
