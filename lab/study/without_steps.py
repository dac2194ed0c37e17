"""Stages without steps: mechanisms start there, and nothing is learned. And budgets that end learning too early.

`config.steps.cut = 0` cuts what the stages before it have trained: the cell is evaluated and kept right after the cut,
its loss is that on the batches of the last call. Schedules and batches of later stages, and of repair arms, are those
of a study without the cut, so whatever starts from it learns. Not so after `budget.steps`, which holds the learning
rate at 0 from a step on, whatever comes then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.budget import STEPS as BUDGET
from lab.study.parts import Stage
from lab.study.spec import Study
from lab.values import exact


def check(study: Study) -> None:
    """Refuse a setting that acts from where no step is trained any more, and does nothing without one.

    Raises:
      UserError: in one sentence.
    """
    late = [name for name in study.base if study.acts_from.get(name) and not study.steps_from(study.acts_from[name])]
    waiting = [name for name in late if not _acts_at_once(study, name)]
    for cell in study.cells if waiting else ():
        active = study.active(cell)
        for name in (name for name in waiting if name in active):
            stage, neutral = study.stages[study.acts_from[name]].name, study.knobs[name].neutral
            raise UserError(
                f"{name}={exact(cell[name])} acts from stage '{stage}', from which on no step is trained"
                f" (config.steps.{stage}=0), and does nothing without one; give the stage steps"
                + (f", or leave it at {exact(neutral)}." if neutral is not None else ".")
            )


def _acts_at_once(study: Study, name: str) -> bool:
    """Whether a knob changes a model that takes no further step."""
    mechanism = MECHANISMS.get(name.split(".")[0])
    return mechanism is not None and mechanism.acts_without_training and not study.knobs[name].over_steps


def spent(stages: Sequence[Stage], cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence where budgets are spent before a stage starts: that stage, and repair arms, learn nothing."""
    least = min(cell[BUDGET.name] for cell in cells)
    late = [stage for stage in stages if stage.steps and least <= stage.start]
    if least >= stages[-1].end:
        return
    of = "" if all(cell[BUDGET.name] == least for cell in cells) else "In some cells "
    words = f"{BUDGET.name}={least} is spent before the study ends at step {stages[-1].end:,}"
    names = " and ".join(f"'{stage.name}'" for stage in late)
    what = f"stage{'s' if len(late) > 1 else ''} {names} and repair arms" if late else "repair arms"
    yield (
        f"{of}{words}: {what} that keep it learn nothing; where nothing is to be learned after a stage starts, set its"
        " config.steps to 0, and arms that start from it learn."
    )
