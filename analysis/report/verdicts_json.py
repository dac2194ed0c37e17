"""verdicts.json: what the study concluded, for programs to read. Its fields are documented in docs/verdicts.md.

A pure function of the findings: no clock, no versions, readings to seven significant digits, settings exactly, missing
numbers null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from analysis.design import interim, is_categorical, neutral_value, selection, setting_of, value_at
from analysis.diagnosis import Diagnosis, Findings, Trajectory
from analysis.report import map_wording
from analysis.results import evaluation_at
from analysis.results.recovery_record import Repairs, routes
from analysis.stats import MapVerdict, SettingMap, Verdict, break_test, value_verdicts
from analysis.stats.setting_map import STATEMENTS
from analysis.verdicts import Bounds, Judged
from lab.study.spec import Study

SCHEMA = 3  # raised when a field changes its meaning or goes away; new fields don't raise it


def document(findings: Findings) -> dict[str, Any]:
    """The file's content as plain JSON values."""
    results, study, claim = findings.results, findings.study, findings.study.claim
    records = findings.records
    settings = {neutral_value(study)}.union(*(axis.values for axis in study.axes))
    codes = sorted({setting_of(study, cell) for cell in study.cells})
    return plain(
        {
            "schema": SCHEMA,
            "study": study.name,
            "question": study.question,
            "claim_hash": study.claim_hash(),
            "alpha": claim.alpha,
            "delta": claim.delta,
            "layer": claim.layer,
            "knob": {
                "name": claim.knob,
                "neutral": value_at(study, neutral_value(study)),
                "values": [value_at(study, code) for code in codes],
                "kind": claim.kind,
            },
            "seeds": sorted({int(cell["seed"]) for cell in study.cells}),
            "step": int(results.step[-1]),
            "least_seeds": break_test.least_seeds(claim.alpha),
            "cells": len(study.cells),
            "diverged": [
                {"cell": key, "step": int(step)}
                for key, step in zip(study.cell_keys, results.diverged_at, strict=True)
                if step >= 0
            ],
            "refinement": interim.document(records.looks, claim.alpha) if records.looks else None,
            "tuned": selection.document(records.tuning) if records.tuning else [],
            "claims": [_claim(findings, one) for one in findings.claims],
            "bounds": [_bounds(study, one) for one in findings.bounds],
            "repairs": list(_repairs(records.repairs, claim.alpha)) if records.repairs else [],
            "labels": [_diagnosis(one) for one in findings.diagnoses],
            "trajectories": [_trajectory(study, one) for one in findings.lead_lag],
        },
        settings,
    )


def text(findings: Findings) -> str:
    """The file's text: strict JSON."""
    return json.dumps(document(findings), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def reading_of(one: Judged | Bounds) -> str:
    """What an ability is judged by: a measure of answers, or a latent metric that a probe reads."""
    return "exact" if one.reading is None else str(one.reading.probe or one.reading.measure)


def _claim(findings: Findings, one: Judged) -> dict[str, Any]:
    results = findings.results
    return {
        "ability": f"{one.label}/{one.split}",
        "metric": one.metric,
        "sign": one.sign,
        "place": str(one.site),
        "place_step": int(results.step[evaluation_at(results, one.claimed)]),
        "reading": reading_of(one),
        "reading_step": int(results.step[evaluation_at(results, one.reading)]),
        "stratum": one.stratum,
        "sentence": map_wording.claim_sentence(findings.study, one),
        **judged(one.map, one.verdict, one.shape, one.adjusted_p, partial(value_at, findings.study)),
    }


def judged(
    found: SettingMap,
    verdict: MapVerdict,
    shape: Verdict,
    adjusted_p: float,
    value: Callable[[float], Any] = float,
) -> dict[str, Any]:
    """The verdict of a claim, its map setting by setting, and its shape over the whole range.

    `value` is what stands in a cell for a setting's number.
    """
    of_value = {} if found.ordered else {k: one for k, one in enumerate(value_verdicts(found)) if k > 0}
    shown = {name: found.shown(name) for name in STATEMENTS}
    # The bounds are the map's: the slope test's own are of another level.
    of_shape = {name: value for name, value in asdict(shape).items() if not name.startswith("shown_")}
    not_excluded_K = found.not_excluded_K()
    settings = [
        {
            "value": value(found.knob_K[k]),
            **({"kind": of_value[k].kind, "kind_p": of_value[k].p} if k in of_value else {}),
            "shown": [name for name in STATEMENTS if shown[name][k]],
            "p": {name: found.p_K[name][k] for name in STATEMENTS},
            "metric_change": found.metric_change_K[k],
            "ability_change": found.ability_change_K[k],
            "seeds": found.counted_K[k],
            "lost_more_than_delta": found.lost_K[k],
            "share_not_excluded": not_excluded_K[k],
            "diverged": found.diverged_K[k],
            "designed": found.designed_K[k],
        }
        for k in range(len(found.knob_K))
    ]
    return {
        "kind": verdict.kind,
        "p": verdict.p,
        "adjusted_p": adjusted_p,
        "reason": verdict.reason,
        "break_at": verdict.break_at,
        "break_interval": verdict.break_interval,
        "neutral_ability": found.neutral_ability,
        "trivial": found.trivial,
        "delta": found.delta,
        "p_learned": found.p_learned,
        "n_seeds": found.n_seeds,
        "settings": settings,
        "shape": of_shape if found.ordered else None,
    }


def _bounds(study: Study, one: Bounds) -> dict[str, Any]:
    places = {}
    if is_categorical(study):
        shown = {"shown_free_at": "free", "shown_better_at": "better", "shown_harmful_at": "harmed"}
        places = {
            field: [value_at(study, code) for code in one.map.knob_K[one.map.shown(name)]]
            for field, name in shown.items()
        }
    return {
        "ability": f"{one.label}/{one.split}",
        "stratum": one.stratum,
        "primary": one.primary,
        "reading": reading_of(one),
        "learned": one.learned,
        "shown_free_until": one.free_until,
        "shown_harmful_from": one.harmful_from,
        "delta": one.delta,
        "trivial": one.trivial,
        **places,
    }


def _diagnosis(one: Diagnosis) -> dict[str, Any]:
    return {
        "ability": f"{one.task}/{one.split}",
        "stratum": one.stratum,
        "name": one.cause,
        "status": one.status,
        "at": one.at,
        "evidence": one.evidence,
        "needs": one.needs,
        "by": one.by,
    }


def _repairs(repairs: Repairs, alpha: float) -> Iterator[dict[str, Any]]:
    for one in repairs.outcomes:
        yield {
            "ability": f"{one.label}/{one.split}",
            "stratum": one.stratum,
            "at": one.setting,
            "arm": one.arm,
            "about": repairs.arms[one.arm],
            "steps": repairs.steps,
            "seeds": one.seeds,
            "lost": float(np.mean(one.lost_S)),
            "recovered": float(np.mean(one.recovered_S)),
            "interval": one.interval,
            "share": one.share,
            "outcome": one.kind(alpha),
            "p_recovered": one.p("some"),
            "p_half": one.p("half"),
            "after": float(np.mean(one.after)),
            "neutral_after": float(np.mean(one.neutral_after)),
            "latents": [
                {"metric": metric, "neutral": neutral, "unchanged": unchanged, "arm": arm}
                for metric, (neutral, unchanged, arm) in one.latents.items()
            ],
            "second_routes": [
                {"metric": r.metric, "gain": r.gain, "change": r.change, "response": r.response, "p": r.p}
                for r in routes(one, alpha)
            ],
        }


def _trajectory(study: Study, one: Trajectory) -> dict[str, Any]:
    return {
        "ability": f"{one.label}/{one.split}",
        "stratum": one.stratum,
        "setting": None if one.setting is None else value_at(study, one.setting),
        "start": one.start,
        "end": one.end,
        "checkpoints": one.checkpoints,
        "plateau": one.plateau,
        "orders": [asdict(each) for each in one.orders],
    }


def plain(value: Any, settings: Collection[Any] = ()) -> Any:
    """JSON values only: NumPy scalars unwrapped, tuples as lists, what is not finite as None, floats to seven digits.

    Floats that are one of the `settings` are written in full: rounded, two of them might be one.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(one, settings) for name, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(one, settings) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return None
        return float(value) if value in settings else float(f"{value:.7g}")
    return value
