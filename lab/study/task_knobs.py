"""The knobs that a study's own tasks bring: which there are, and which of them the study uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lab.errors import UserError, nearest
from lab.mechanisms import mixture_share
from lab.mechanisms.base import Knob
from lab.mechanisms.task_fields import NAME, field_knobs, knob_name
from lab.study import task_sizes
from lab.study.grid import Axis
from lab.study.parts import TaskUse
from tasks.base import Task
from tasks.fields import knob_fields

PREFIXES = (NAME, mixture_share.NAME)


def used(
    tasks: Sequence[TaskUse], named: Mapping[str, str], axes: Sequence[Axis], stages: Sequence[str]
) -> dict[str, Knob]:
    """The own knobs that a study names, in the order of its tasks.

    Args:
      tasks: of the study.
      named: a knob's name, of whatever kind -> where it stands, for the message.
      axes: of the grid.
      stages: their names, in order.

    Raises:
      UserError: for a name that begins as an own knob's does, and that no task brings, or for a share that has no
        neutral value.
    """
    there = {knob.name: knob for use in tasks for knob in field_knobs(use.label, use.task)}
    labels = {mixture_share.knob_name(use.label): use for use in tasks}
    for name, where in named.items():
        if name.split(".")[0] in PREFIXES and name not in {**there, **labels}:
            raise UserError(f"{where}: {_missing(name, tasks, there)}")
    begins = {a.knob: stages.index(a.stage) for a in axes if a.stage in stages}
    shared = {name: begins.get(name, 0) for name in labels if name in named}
    if len(set(shared.values())) > 1:
        one, other = sorted(shared, key=lambda name: shared[name])[:: len(shared) - 1]
        raise UserError(f"sweep(): {one} and {other} act from different stages; give both the same one.")
    shares = {name: _share(labels[name], tasks, begin, stages, named[name]) for name, begin in shared.items()}
    return {name: knob for name, knob in {**there, **shares}.items() if name in named}


def _share(use: TaskUse, tasks: Sequence[TaskUse], begin: int, stages: Sequence[str], where: str) -> Knob:
    """The knob of a label's share, which acts from stage `begin`."""
    name, found = mixture_share.knob_name(use.label), {}
    for index in range(begin, len(stages)):
        mine, total = use.examples[index], sum(each.examples[index] for each in tasks)
        if 0 < mine < total:
            found.setdefault(mine / total, stages[index])
    if not found:
        raise UserError(f"{where}: {name}: no stage in which it acts trains on '{use.label}' next to another task.")
    if len(found) > 1:
        (one, here), (other, there) = list(found.items())[:2]
        raise UserError(
            f"{where}: {name}: the share of '{use.label}' is {one:.3g} in stage '{here}' and {other:.3g} in '{there}',"
            " so that no value is neutral in both; name the stage from which it acts, or give it one share in"
            " config.tasks."
        )
    return mixture_share.share_knob(use.label, use.task, next(iter(found)))


def _missing(name: str, tasks: Sequence[TaskUse], there: Iterable[str]) -> str:
    """Why there is no such knob."""
    kind, label, field = (*name.split("."), "", "")[:3]
    uses = {use.label: use.task for use in tasks}
    sized = {use.label: task_sizes.fields_of(use) for use in tasks}
    if kind == mixture_share.NAME:
        return f"{name}: no such label. {nearest(name, map(mixture_share.knob_name, uses))}"
    if label not in uses:
        return f"'{name}': no task '{label}' in config.tasks. {nearest(name, there or uses)}"
    if reason := _reason(label, field, uses[label]):
        return f"'{name}': {reason}"
    own = [knob_name(label, each) for each in (*knob_fields(uses[label]), *sized[label])]
    valid = nearest(name, own) if own else f"{uses[label].name} has none that a study may turn."
    return f"'{name}': training on '{label}' has no such difficulty or size to turn. {valid}"


def _reason(label: str, field: str, task: Task) -> str:
    """What a known field of a task lacks to be a knob."""
    train = task.splits["train"].difficulty
    if field == "spurious":
        return f"there is no cue; set config.tasks.{label}.cue=True, or config.tasks.{label}.spurious above 0."
    if field == "label_noise":
        return (
            f"set config.tasks.{label}.noise=True, or config.tasks.{label}.label_noise above 0, to draw wrong labels."
        )
    if field in train:
        return f"the {field} of training can't be turned: what is held out, or the padded length, rests on it."
    if isinstance(getattr(task, field, None), (tuple, list)):
        return f"config.tasks.{label}.{field} holds several values; give each setting of it a study of its own."
    return ""


def check_stages(
    own: Iterable[Knob], axes: Sequence[Axis], acts_from: Mapping[str, int], tasks: Sequence[TaskUse]
) -> None:
    """Refuse a knob of a task that none of the stages in which it acts trains on.

    Raises:
      UserError: in one sentence.
    """
    uses = {use.label: use for use in tasks}
    stage_of = {a.knob: a.stage for a in axes}
    for knob in own:
        label = knob.name.split(".")[1]
        examples = uses[label].examples[acts_from[knob.name] :]
        named = stage_of.get(knob.name)
        if named is not None and not examples[0]:
            raise UserError(
                f"sweep(): axis '{knob.name}' acts from stage '{named}', in which '{label}' has no examples; name a"
                f" stage that trains on it, or give config.tasks.{label}.examples some there."
            )
        if not any(examples):
            raise UserError(f"'{knob.name}' does nothing: no stage in which it acts has examples of '{label}'.")
