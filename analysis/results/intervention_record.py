"""What edits of activations showed, kept in the study's directory: interventions.json, which the diagnosis reads.

Cells are named by content, so that readings of other checkpoints are never taken for these. The file can be deleted;
`python -m analysis.causal` writes it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from analysis.activations.measure import ProbeSite, claim_site
from lab.storage import write_atomically
from lab.study.spec import Study

FILE = "interventions.json"
VERSION = 1  # raised whenever the same checkpoint would read differently


def save(directory: Path, study: Study, site: ProbeSite, factor: str, readings: Mapping[str, np.ndarray]) -> None:
    """Keep the readings of a study's last step, float64[cells] by name, together with those of other sites.

    Raises:
      OSError: if the directory can't be written to.
    """
    kept = _read(directory / FILE)
    cells = [study.key(cell, len(study.stages) - 1) for cell in study.cells]
    of_cells = {name: dict(zip(cells, values.tolist(), strict=True)) for name, values in readings.items()}
    kept[_name(site, factor)] = of_cells
    write_atomically(directory / FILE, json.dumps({"version": VERSION, "places": kept}, indent=1))


def load(directory: Path, study: Study) -> dict[str, np.ndarray]:
    """`<task>/<reading>` -> float64[cells], at the site of the claims and for the factor that the study probes.

    NaN for cells whose activations were not edited; empty where there is no such file, or one of another version.
    """
    kept, found = _read(directory / FILE), {}
    cells = [study.key(cell, len(study.stages) - 1) for cell in study.cells]
    for use in study.tasks:
        for name, by_cell in kept.get(_name(claim_site(study, use.label), use.factor), {}).items():
            values = np.asarray([by_cell.get(cell, np.nan) for cell in cells], float)
            if np.isfinite(values).any():
                found[f"{use.label}/{name}"] = values
    return found


def _name(site: ProbeSite, factor: str) -> str:
    return f"{site}/{factor}"


def _read(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record["places"] if record["version"] == VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
