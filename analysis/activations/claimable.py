"""Every latent reading that a claim may name: what it is called, what it is, and what a study needs for it.

The metrics of `analysis.metrics.registry` are measured in every study. All others are measured where the claim or
`config.probe.extra` names them, at every kept checkpoint, next to the readings of every study, whose cache stays as it
is: metrics on call (`analysis.metrics.on_call`) at their default settings, and the mechanisms' own readings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from analysis.activations.claimed_sites import claimed_site
from analysis.activations.measure import ProbeSite
from analysis.activations.on_call import DEFAULTS, request
from analysis.activations.training_loss import EXAMPLES
from analysis.metrics import METRICS, ON_CALL, curvature, dictionary, mdl, v_information
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.study.kinds import ASSOCIATION
from lab.study.spec import Study

ALWAYS, OF_CELL, OF_MECHANISM, TO_NEUTRAL, BETWEEN_SEEDS = "always", "cell", "mechanism", "to neutral", "between seeds"
DIRECTED = ("linear_image",)  # metrics of two cells that give another value when the cells change places
# Metrics on call that no invertible linear map of the states moves; those of the parameters come on top.
UNMOVED = ("mdl_probe", "cross_condition_accuracy", "linear_image")
# What is dear, at every kept step; all else costs about what a metric of every study does (docs/benchmarks.md).
COST = {
    "hessian_trace": f"{curvature.DRAWS} products with the Hessian a cell, each two gradients of {EXAMPLES} examples",
    "hessian_top_eigenvalue": f"{curvature.STEPS} products with the Hessian a cell",
    "ball_sharpness": f"{curvature.ASCENT + 1} gradients of {EXAMPLES} examples a cell",
    "dictionary": f"{dictionary.TRAINING_STEPS} training steps of an autoencoder a place",
    "lidar": f"{DEFAULTS['views']} further forward passes of the probe set a place",
    "mdl_probe": f"{len(v_information.L2_STRENGTHS)} fits of {mdl.CODE_STEPS} steps a block of examples, a place",
    "cross_condition_accuracy": "a probe for each context, a place",
}
OF_PAIRS = "a further forward pass of every cell, and a comparison"
LEAST_SEEDS = 3  # two have one pair between them, and no spread


@dataclass(frozen=True)
class Claimable:
    """A latent reading by the name that a claim gives it.

    Attributes:
      name: a claim's, and the column's behind its place.
      kind: `ALWAYS`; or, where it is named, `OF_CELL`, `OF_MECHANISM`, `TO_NEUTRAL` or `BETWEEN_SEEDS`.
      title: what a report calls it.
      meaning, range, source, trap: as of `analysis.metrics.latent_metric.LatentMetric`.
      gain: which way the literature counts as a gain: +1, -1, or 0 where it has no way.
      needs: what a study must have for it, in words; '' if nothing.
      of: the metric on call, or the mechanism, that it is a reading of.
      key: what that calls it.
    """

    name: str
    kind: str
    title: str
    meaning: str
    range: str
    source: str
    trap: str
    gain: int = 0
    needs: str = ""
    of: str = ""
    key: str = ""

    @property
    def how(self) -> str:
        """Where a person gets it, in words."""
        if self.kind == ALWAYS:
            return "in every study"
        return "claim, probe.extra" + (", study.measure" if self.kind == OF_CELL and self.key == self.name else "")

    @property
    def cost(self) -> str:
        """What it costs at every kept step, in words; '' where that is little."""
        if self.kind == TO_NEUTRAL:
            return OF_PAIRS
        return f"{OF_PAIRS} a pair of seeds" if self.kind == BETWEEN_SEEDS else COST.get(self.of, "")

    @property
    def linear_maps_move_it(self) -> bool:
        """Whether another basis of the states may be all that it shows; False for some that are named."""
        return self.kind == ALWAYS or not (self.of in UNMOVED or (self.of in ON_CALL and ON_CALL[self.of].of_the_model))


def _always() -> Iterator[Claimable]:
    for one in METRICS.values():
        yield Claimable(one.name, ALWAYS, one.title, one.meaning, one.range, one.source, one.trap)


def _on_call() -> Iterator[Claimable]:
    for one in ON_CALL.values():
        if "other" in one.arguments:
            continue  # of two cells
        for name, key in one.readings.items():
            part = "" if name == one.name else f": {key.replace('_', ' ')}"
            gain = one.gain[key] if isinstance(one.gain, Mapping) else one.gain
            about = one.meaning, one.range, one.source, one.trap, gain, one.needs
            yield Claimable(name, OF_CELL, f"{one.words or one.name.replace('_', ' ')}{part}", *about, one.name, key)


def _of_mechanisms() -> Iterator[Claimable]:
    for mechanism in MECHANISMS.values():
        for one in mechanism.claimable:
            about = (
                one.words,
                one.meaning,
                one.range,
                one.source,
                one.trap,
                one.gain,
                f"{one.layer} at the claim's layer",
            )
            yield Claimable(f"{mechanism.name}_{one.name}", OF_MECHANISM, *about, mechanism.name, one.name)


def _of_two_cells() -> Iterator[Claimable]:
    for one in ON_CALL.values():
        if "other" not in one.arguments:
            continue
        for name, key in one.readings.items():
            part = "" if name == one.name else f", {key.replace('_', ' ')}"
            yield Claimable(
                f"{name}_to_neutral",
                TO_NEUTRAL,
                f"{one.words} to the neutral cell{part}",
                f"{one.meaning}: of the cell and the neutral cell of its seed, on the same inputs",
                one.range,
                one.source,
                f"the neutral cell equals itself, so any change counts: seeds set the scale; {one.trap}",
                0,
                "the knob's neutral value on its axis",
                one.name,
                key,
            )
            if one.name not in DIRECTED:
                yield Claimable(
                    f"{name}_between_seeds",
                    BETWEEN_SEEDS,
                    f"{one.words} between seeds{part}",
                    f"{one.meaning}: mean over pairs of seeds at one setting, on inputs and a world new to all of them",
                    one.range,
                    one.source,
                    f"a seed's value is the jackknife's pseudo-value of that mean, and may leave the range; {one.trap}",
                    0,
                    f"{LEAST_SEEDS} seeds",
                    one.name,
                    key,
                )


READINGS: dict[str, Claimable] = {
    one.name: one for one in (*_always(), *_on_call(), *_of_mechanisms(), *_of_two_cells())
}


def extra(study: Study) -> tuple[Claimable, ...]:
    """What is measured in a study next to the readings of every study, in the order of `READINGS`."""
    named = {*study.extra_readings, *(one.metric for one in study.claim.every_gain)} - {*METRICS}
    return tuple(one for name, one in READINGS.items() if name in named)


def check(study: Study) -> None:
    """Refuse a claim about a reading that the study can't have where the claim reads it.

    Raises:
      UserError: in one sentence, with what the reading needs.
    """
    readings = {one.name: one for one in extra(study)}
    for claimed in (one for one in study.claim.every_gain if one.metric in readings):
        for label in dict.fromkeys(label for label, _ in study.claim.abilities):
            if problem := obstacle(study, claimed_site(study, claimed, label), readings[claimed.metric]):
                raise UserError(f"config.claim.gains: {problem}")


def obstacle(study: Study, site: ProbeSite, one: Claimable) -> str:
    """Why a reading can't be taken at a site, in a sentence; '' if it can."""
    if one.kind == OF_MECHANISM:
        return _no_layer(study, site, one)
    if one.kind == TO_NEUTRAL:
        none = f"{one.name} is a similarity to the neutral cell, and an association has none; name another reading."
        return none if study.claim.kind == ASSOCIATION else ""
    if one.kind == BETWEEN_SEEDS:
        seeds = len({cell["seed"] for cell in study.cells})
        few = f"{one.name} needs {LEAST_SEEDS} seeds at the least, and there are {seeds}; add some to the axis 'seed'."
        return few if seeds < LEAST_SEEDS else ""
    try:
        request(study, site, one.of, options_at(study, site, one))
    except UserError as error:
        return str(error)
    return ""


def options_at(study: Study, site: ProbeSite, one: Claimable) -> dict[str, str]:
    """What a metric on call is asked with at a site: its defaults, and the task's first other factor as context."""
    if "contexts" not in ON_CALL[one.of].arguments:
        return {}
    use = study.use(site.label)
    read = site.factor or use.factor
    return {"context": next((factor for factor in use.task.factor_sizes if factor != read), "")}


def _no_layer(study: Study, site: ProbeSite, one: Claimable) -> str:
    reading = next(each for each in MECHANISMS[one.of].claimable if each.name == one.key)
    layers = sorted({int(cell[reading.layer]) for cell in study.cells})
    if layers == [site.layer]:
        return ""
    found = ", ".join(map(str, layers))
    return (
        f"{one.name} is read at the layer {reading.layer}={found}, and the claim at layer {site.layer}; set"
        f" config.claim.layer={layers[0]}, and name the layer in config.probe.layers."
    )
