"""What edits of activations showed, kept in the study's directory: interventions.json, which the diagnosis reads.

Cells are named by content, so that readings of other checkpoints are never taken for these. The file can be deleted;
`python -m analysis.causal` writes it again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.activations.measure import ProbeSite, claim_site
from lab.storage import DamagedFile, read_document, write_document
from lab.storage.files import MALFORMED, number
from lab.study.spec import Study

FILE = "interventions.json"
VERSION = 2  # raised whenever the same checkpoint would read differently


def save(
    directory: Path,
    study: Study,
    site: ProbeSite,
    factor: str,
    readings: Mapping[str, np.ndarray],
    note: Callable[[str], None] = warnings.warn,
) -> None:
    """Keep the readings of a study's last step, float64[cells] by name, together with those of other sites.

    A damaged file is noted, and what it held of other sites is dropped.

    Raises:
      OSError: if the directory can't be written to.
    """
    kept = _read(directory / FILE, note)
    of_cells = {name: dict(zip(study.cell_keys, values.tolist(), strict=True)) for name, values in readings.items()}
    kept[_name(site, factor)] = of_cells
    write_document(directory / FILE, {"version": VERSION, "places": kept})


def load(directory: Path, study: Study, note: Callable[[str], None] = warnings.warn) -> dict[str, np.ndarray]:
    """`<task>/<reading>` -> float64[cells], at the site of the claims and for the factor that the study probes.

    NaN for cells whose activations were not edited; empty where there is no such file, one of another
    version, or a damaged one, which is noted.
    """
    kept, found = _read(directory / FILE, note), {}
    for use in study.tasks:
        for name, by_cell in kept.get(_name(claim_site(study, use.label), use.factor), {}).items():
            values = np.asarray([by_cell.get(cell, np.nan) for cell in study.cell_keys], float)
            if np.isfinite(values).any():
                found[f"{use.label}/{name}"] = values
    return found


def _name(site: ProbeSite, factor: str) -> str:
    return f"{site}/{factor}"


def _read(path: Path, note: Callable[[str], None]) -> dict[str, dict[str, dict[str, float]]]:
    try:
        record = read_document(path)
        return {} if record is None else _places(record)
    except DamagedFile as error:
        problem = str(error)
    except MALFORMED:
        problem = f"{path} is no record of edited activations"
    note(f"{problem}: its evidence is left out; `python -m analysis.causal` measures it again.")
    return {}


def _places(record: Any) -> dict[str, dict[str, dict[str, float]]]:
    """place -> reading -> cell -> value, of a document that earlier versions wrote without a digest.

    Raises:
      MALFORMED: if it is none.
    """
    if not isinstance(record["version"], int):
        raise TypeError
    if record["version"] != VERSION:
        return {}
    return {
        place: {name: {cell: number(value) for cell, value in cells.items()} for name, cells in readings.items()}
        for place, readings in record["places"].items()
    }
