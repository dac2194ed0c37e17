"""The value that each setting gets of a knob that is tuned away, and the study of the cells that are left.

For every setting of the claim's knob, in every stratum, all seeds share one value: the one with the largest mean
log-probability of the right answers of the claim's tasks, on examples that no ability is read on (`TUNING` in
lab/engine/evaluate.py). A value with a diverged cell comes after every value without. Comparing settings at one fixed
learning rate, when each wants another, is the classic flaw of an ablation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.design import interim
from analysis.design.categories import setting_of, value_at
from analysis.design.controls import cells_of_other_axes
from lab.engine import Plan, make_plan
from lab.engine.evaluate import TUNING
from lab.storage import Store, checkpoint
from lab.study.spec import Study
from lab.values import exact

Values = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """The values chosen for one setting.

    Attributes:
      stratum, setting: where they were chosen.
      values: the tuned knobs' values that were chosen.
      edge: knobs that were chosen at an end of their values, so that a better one may lie beyond.
      scores: (values, mean log-probability in nats, cells that diverged) of every combination, in the grid's order.
    """

    stratum: Values
    setting: Any
    values: Values
    edge: tuple[str, ...]
    scores: tuple[tuple[Values, float, int], ...]


@dataclass(frozen=True)
class Tuning:
    """Every choice of a study.

    Attributes:
      knobs: the knobs that were tuned away.
      choices: one for each stratum and setting.
      trained: cells there were before the choice.
    """

    knobs: tuple[str, ...]
    choices: tuple[Choice, ...]
    trained: int


def settle(plan: Plan, store: Store) -> tuple[Plan, Tuning | None]:
    """The plan of the chosen cells, and the choices; the plan itself and None where nothing is tuned away.

    In a study that was refined the seeds of the first look choose, for settings that came later, too: a choice that
    changed with later seeds would change what earlier looks have seen. Cells that aren't trained yet have no say; where
    none is, the first value is kept.
    """
    study = plan.study
    if not study.tuned:
        return plan, None
    score_C, looks = _scores(plan, store), interim.read(store.workdir)
    if looks is not None:
        score_C[[cell["seed"] not in looks.seeds[0] for cell in study.cells]] = np.nan
    choices, kept = [], []
    setting_C = [setting_of(study, cell) for cell in study.cells]
    for stratum, inside in cells_of_other_axes(study):
        for setting in dict.fromkeys(setting_C):
            mine = [i for i in inside if setting_C[i] == setting]
            if mine:
                choice = _choose(study, mine, score_C, stratum, value_at(study, setting))
                choices.append(choice)
                kept += [i for i in mine if _values(study, i) == choice.values]
    chosen = replace(study, cells=tuple(study.cells[i] for i in sorted(kept)), room=study.largest)
    return replace(make_plan(chosen, plan.layout), chunk_mates=plan.knobs), Tuning(
        study.tuned, tuple(choices), len(study.cells)
    )


def _values(study: Study, index: int) -> Values:
    return {name: study.cells[index][name] for name in study.tuned}


def _scores(plan: Plan, store: Store) -> np.ndarray:
    """float64[cells]: the claim's tasks' mean log-probability at the end; -inf if diverged, NaN if not trained yet."""
    study, last = plan.study, len(plan.study.stages) - 1
    labels = dict.fromkeys(label for label, _ in study.claim.abilities)
    histories: dict[str, Any] = {}
    scores = np.full(len(study.cells), np.nan)
    for cell, row in enumerate(plan.nodes_of_cells()):
        if len(row) <= last or row[last].key not in store.nodes:
            continue
        final, index = store.final(row[last].key)
        if str(final.path) not in histories:
            histories[str(final.path)] = checkpoint.load_once(final, "history")
        names = final.meta["abilities"]
        ability = histories[str(final.path)]["ability"][index, -1, :, 1]
        found = np.asarray([ability[names.index(f"{label}/{TUNING}")] for label in labels], float)
        diverged = int(histories[str(final.path)]["diverged_at"][index, 0]) >= 0
        scores[cell] = found.mean() if np.isfinite(found).all() and not diverged else -np.inf
    return scores


def _choose(study: Study, mine: list[int], score_C: np.ndarray, stratum: Values, setting: Any) -> Choice:
    combinations: list[Values] = []
    for index in mine:
        if _values(study, index) not in combinations:
            combinations.append(_values(study, index))
    scores = []
    for values in combinations:
        found = np.asarray([score_C[i] for i in mine if _values(study, i) == values and not np.isnan(score_C[i])])
        finite = found[np.isfinite(found)]
        scores.append((values, float(finite.mean()) if len(finite) else float("nan"), len(found) - len(finite)))
    ranked = [(-lost, mean) if np.isfinite(mean) else (-np.inf, 0.0) for _, mean, lost in scores]
    best = combinations[max(range(len(ranked)), key=lambda i: ranked[i])]
    tried = {name: sorted({values[name] for values in combinations}, key=float) for name in study.tuned
             if all(isinstance(values[name], (int, float)) for values in combinations)}  # fmt: skip
    edge = tuple(name for name, each in tried.items() if len(each) > 1 and best[name] in (each[0], each[-1]))
    return Choice(stratum, setting, best, edge, tuple(scores))


def to_csv(tuning: Tuning, knob: str) -> str:
    """Every value tried at every setting, with its score to seven significant digits; empty where there is none."""
    others = list(tuning.choices[0].stratum)
    rows = [
        [
            *(one.stratum[name] for name in others),
            exact(one.setting),
            *(values[name] for name in tuning.knobs),
            score,
            lost,
            int(values == one.values),
        ]
        for one in tuning.choices
        for values, score, lost in one.scores
    ]
    names = [*others, knob, *tuning.knobs, "logprob", "diverged", "chosen"]
    # Objects, so that a value is printed as the study has it; the score alone is formatted.
    frame = pd.DataFrame(rows, columns=names, dtype=object).astype({"logprob": float})
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.7g")


def document(tuning: Tuning) -> list[dict[str, Any]]:
    """For verdicts.json."""
    return [
        {
            "stratum": one.stratum,
            "setting": one.setting,
            "chosen": one.values,
            "at_edge": list(one.edge),
            "tried": [{"values": values, "logprob": score, "diverged": lost} for values, score, lost in one.scores],
        }
        for one in tuning.choices
    ]


def sentences(tuning: Tuning | None, knob: str) -> Iterator[str]:
    """What a reader must know of the choices."""
    if tuning is None:
        return
    for name in tuning.knobs:
        chosen = {one.values[name] for one in tuning.choices}
        tried = list(dict.fromkeys(values[name] for one in tuning.choices for values, _, _ in one.scores))
        values = ", ".join(map(exact, tried))
        same = f"the same at every setting: {exact(next(iter(chosen)))}" if len(chosen) == 1 else "see tuning.csv"
        yield (
            f"{name} was retuned at every value of {knob}, from {values}, by the log-probability of answers to examples"
            f" of their own ({len(tuning.choices)} choices; {same}). All seeds of a setting share the choice, which was"
            " made on the same cells: noise in training that favours a value favours its setting a little."
        )
        edge = [one.setting for one in tuning.choices if name in one.edge]
        if edge:
            places = ", ".join(exact(value) for value in sorted({*edge}))
            yield (
                f"At {knob} = {places} the chosen {name} is the smallest or largest one tried: a better one may lie"
                " beyond it. Add values there before such a setting is called harmful."
            )
