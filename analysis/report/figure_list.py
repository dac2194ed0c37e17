"""All pictures of a study in the order of its report, with their titles, captions and file names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.design import is_categorical, name_of, two_sided, without_side
from analysis.diagnosis import Findings
from analysis.plots.recorded_figure import Picture
from analysis.report import (
    figures,
    heatmaps,
    map_figure,
    matched_compute,
    names,
    repair_section,
    training_figures,
    wording,
)
from analysis.report.large_grid import strata_with_all_figures, strata_with_figures
from analysis.report.projections import Embedding
from lab.values import exact, file_name

# name -> (title, caption); {knob} and {layer} are filled in. Every stratum has these.
FIGURES = {
    "map": ("What is shown at each setting", map_figure.ABOUT),
    "ranges": (
        "Where abilities are kept, and where they are lost",
        "Bold: primary abilities. Grey: exploratory splits, not corrected for their number. Dotted: nothing is known.",
    ),
    "abilities": (
        "What it costs: abilities along {knob}",
        "Shaded where the ability is shown kept and shown lost; the grey band is neutral ± δ, the loss that counts."
        " The line is the interquartile mean (IQM), which leaves out the lowest and the highest quarter of the seeds;"
        " tests, band and the numbers of the map are of all seeds.",
    ),
    "latents": (
        "What it does to latents",
        "The claimed metrics along {knob}, at layer {layer}, on the same inputs for all cells of a seed.",
    ),
    "paths": (
        "Gain against ability",
        "One marker a setting, joined in the order of {knob}; to the right is the claimed gain. A path that goes right"
        " and down gains latents and loses ability.",
    ),
    "trajectories": ("Training", "Abilities and latents at every kept checkpoint (IQM over seeds)."),
    "log_probabilities": (
        "Exact accuracy, accuracy by token and log-probability",
        "A fall that shows in exact accuracy and not by token is the doing of an all-or-nothing score.",
    ),
}
# Of a claim over a categorical axis, in place of those with the same name.
VALUE_FIGURES = {
    "map": ("What is shown at each value", map_figure.ABOUT_VALUES),
    "abilities": (
        "What it costs: abilities by {knob}",
        "The grey band is the control ± δ, the loss that counts. Dots are interquartile means (IQM) over seeds with 95%"
        " intervals; thin lines join the cells of a seed.",
    ),
    "latents": (
        "What it does to latents",
        "The claimed metrics by {knob}, at layer {layer}, on the same inputs for all cells of a seed.",
    ),
}
FIRST = ("map", "ranges", "abilities")  # of the figures: those of a stratum that hasn't all of them
# Only where the states were read.
EMBEDDINGS = (
    "What hidden states look like",
    "A panel is a task at a setting of {knob}, always the cell of seed {seed}, at layer {layer}: the first {points}"
    " probe inputs on the plane of the cell's own two first principal components, turned and mirrored to lie as near as"
    " it can on the neutral one's, in units of the cell's own spread (root mean square distance from the mean). An"
    " illustration and no evidence: it is one seed, and distances leave out what the two shares of the variance lack.",
)
# Only where the knob changes what training costs.
COMPUTE = (
    "Ability against training compute",
    "A line a setting, a marker a kept checkpoint (IQM over seeds). Dotted: the budget that every cell spent.",
)
# Only where the grid has a further axis; once for the whole study.
PHASES = (
    "Over the whole grid",
    "Every cell is the exact accuracy of a setting of {knob} (across) and of the grid's other axes (up). The lines are"
    " the bounds within each row, and stand at the edge of the setting that they include; between them, or where one"
    " is missing, nothing is shown.",
)


# Only where the knob's neutral value lies inside its axis; once for each setting of the other axes.
BOTH_SIDES = (
    "Both sides of neutral",
    "The two maps of the sections in one: settings of {knob} in its order, neutral among them; a claim on either side.",
)


@dataclass(frozen=True)
class Shown:
    """A picture as the report has it.

    Attributes:
      name: which figure.
      stratum: the index of its stratum; None for the whole study.
      file: the name of its files without a suffix, unique in the study.
      title, caption: its texts.
      picture: the figure and its numbers.
    """

    name: str
    stratum: int | None
    file: str
    title: str
    caption: str
    picture: Picture

    @property
    def key(self) -> str:
        """Unique in a page."""
        return self.name if self.stratum is None else f"{self.name}-{self.stratum}"


def shown(findings: Findings, embeddings: Sequence[Embedding] = (), whole: bool = False) -> Iterator[Shown]:
    """Draw every picture: those of the whole study, then each stratum's; of many strata some, unless `whole`."""
    study = findings.study
    facts = {"knob": names.knob(study.claim.knob, study), "layer": study.claim.layer, "control": name_of(study, 0)}
    if two_sided(study):
        for other in {str(one): one for one in map(without_side, findings.strata)}.values():
            title, caption = (text.format(**facts) for text in BOTH_SIDES)
            claims = tuple(one for one in findings.claims if without_side(one.stratum) == other)
            where = "".join(f"-{knob}={exact(value)}" for knob, value in other.items())
            title += f", {wording.stratum_text(study, other)}" if other else ""
            picture = map_figure.both_sides(replace(findings, claims=claims))
            yield Shown(f"both_sides{where}", None, file_name(f"both_sides{where}"), title, caption, picture)
    if len(findings.strata) > 1 and heatmaps.shares(findings):
        title, caption = (text.format(**facts) for text in PHASES)
        yield Shown("phases", None, "phases", title, caption, heatmaps.phases(findings))
    strata, entire = findings.strata, strata_with_all_figures(findings, whole)
    for index in strata_with_figures(findings, whole):
        stratum = strata[index]
        where = "".join(f"-{knob}={exact(value)}" for knob, value in stratum.items())
        states = [one for one in embeddings if one.stratum == stratum]
        more = facts | {"seed": states[0].seed, "points": heatmaps.POINTS} if states else facts
        for name, texts, picture in _of_stratum(findings.in_stratum(stratum), states, index in entire):
            title, caption = (text.format(**more) for text in texts)
            if name == "latents" and study.claim.placed_gains:
                caption += " A gain whose name says where it is read is read there."
            yield Shown(name, index, file_name(f"{name}{where}"), title, caption, picture)


def _of_stratum(
    findings: Findings, states: Sequence[Embedding], entire: bool
) -> Iterator[tuple[str, tuple[str, str], Picture]]:
    """(name, (title, caption), picture) in the order in which they are read; only the first ones unless `entire`."""
    drawings = {
        "map": map_figure.draw,
        "ranges": figures.ranges,
        "abilities": figures.abilities,
        "latents": figures.latents,
        "paths": figures.paths,
        "trajectories": training_figures.trajectories,
        "log_probabilities": figures.log_probabilities,
    }
    if not figures.answered(findings):
        del drawings["log_probabilities"]
    texts = FIGURES
    if is_categorical(findings.study):  # a path or a range needs an order
        drawings = {name: draw for name, draw in drawings.items() if name not in ("ranges", "paths")}
        texts = FIGURES | VALUE_FIGURES
    yield from ((name, texts[name], draw(findings)) for name, draw in drawings.items() if entire or name in FIRST)
    if not entire:
        return
    if states:
        yield "embeddings", EMBEDDINGS, heatmaps.embeddings(findings.study, states)
    if findings.repairs:
        yield "repairs", ("Where each arm ends", repair_section.CAPTION), repair_section.figure(findings)
    if matched := matched_compute.matched(findings):
        yield "compute", COMPUTE, training_figures.compute(findings, matched)


def tag(one: Shown, stratum: dict[str, Any]) -> str:
    """The picture's name in TensorBoard."""
    return f"{one.name} {wording.settings_text(stratum)}".strip()
