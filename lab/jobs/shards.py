"""A study in independent parts: trained anywhere, in any order, and judged as one.

A part holds whole prefix trees: a node of the first stage with all that continue it. So no part waits for another's
checkpoints, and every cell ends with the numbers that it has in the whole study.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.engine import Plan
from lab.errors import UserError, printable
from lab.storage import Chunk, checkpoint, open_store, read_store
from lab.study.spec import digest

if TYPE_CHECKING:
    from lab.jobs.session import Session
    from lab.jobs.workdir import Workdir


LOCK = re.compile("[1-9][0-9]{0,5}-of-[1-9][0-9]{0,5}-[0-9a-f]{8}")  # the name of a shard's lock


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def file(self, division: str) -> str:
        """Its lock in a work directory, which also records for later runs how the study is divided."""
        return f"shards/{self.index}-of-{self.count}-{division}"


@dataclass(frozen=True)
class Lack:
    """The cells that a shard has still to train: `cells` of its `of`."""

    shard: Shard
    cells: int
    of: int


def parse(text: str) -> Shard:
    """The shard of a command line, such as '2/8'."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if not match or int(match[1]) > int(match[2]):
        raise UserError(f"--shard={text}: write i/n, i from 1 to n, such as --shard=1/4.")
    return Shard(int(match[1]), int(match[2]))


def split(plan: Plan, count: int) -> list[frozenset[str]]:
    """The keys of each shard's nodes, decided by the plan alone, not by what is trained already.

    Each tree goes to the shard with the fewest cell-steps so far, the longest trees first (LPT, Graham 1969: at most
    4/3 of the best division's longest part). With more shards than trees some get nothing.
    """
    root_of: dict[str, str] = {}
    cost: dict[str, int] = {}
    for group in plan.program_groups:  # earlier stages first, so parents before children
        for node in group.nodes:
            root = node.key if node.parent is None else root_of[node.parent]
            root_of[node.key] = root
            cost[root] = cost.get(root, 0) + plan.steps(group)
    loads, shard_of = [0] * min(count, len(cost)), {}  # no tree goes to a shard behind as many as there are trees
    for root in sorted(cost, key=lambda key: -cost[key]):
        shard_of[root] = min(range(len(loads)), key=loads.__getitem__)
        loads[shard_of[root]] += cost[root]
    filled = [frozenset(k for k, root in root_of.items() if shard_of[root] == part) for part in range(len(loads))]
    return filled + [frozenset()] * (count - len(filled))


def part(plan: Plan, shard: Shard) -> Plan:
    """The plan of one shard: its nodes in the whole plan's programs."""
    keys = split(plan, shard.count)[shard.index - 1]
    program_groups = (replace(b, nodes=tuple(n for n in b.nodes if n.key in keys)) for b in plan.program_groups)
    return replace(plan, program_groups=tuple(group for group in program_groups if group.nodes))


def division(plan: Plan, count: int) -> str:
    """A hash of which shard trains what; runs that agree on it never train the same cell."""
    return digest([sorted(keys) for keys in split(plan, count)])[:8]


def lacking(plan: Plan, count: int, done: Collection[str]) -> list[Lack]:
    """The shards that are not all trained.

    Args:
      plan: of the whole study.
      count: number of shards.
      done: keys of the nodes that are trained.
    """
    rows, found = plan.nodes_of_cells(), []
    for index, keys in enumerate(split(plan, count), start=1):
        mine = [row for row in rows if row[0].key in keys]
        left = sum(any(node.key not in done for node in row) for row in mine)
        if left:
            found.append(Lack(Shard(index, count), left, len(mine)))
    return found


def recorded(workdir: Path) -> int:
    """Into how many shards the study was divided last; 1 where it never was."""
    files = sorted(locks(workdir), key=lambda file: (file.stat().st_mtime_ns, file.name))
    return int(files[-1].name.split("-")[2]) if files else 1


def locks(workdir: Path) -> list[Path]:
    """The locks of shards, one for each that has ever been held; other files in their directory are none."""
    found = sorted(workdir.glob("shards/*-of-*-*"))
    return [file for file in found if LOCK.fullmatch(file.name) and file.is_file()]


def cut_across(unfinished: Collection[Chunk], keys: Collection[str]) -> list[str]:
    """A sentence where a part can't continue a stage: it was cut off in chunks that hold another part's cells, too.

    Args:
      unfinished: the chunks that were cut off.
      keys: of the part's nodes.
    """
    last = [(saved, set(saved.meta["cells"])) for saved in (chunk[-1] for chunk in unfinished)]
    own = {key for _, cells in last if cells <= set(keys) for key in cells}  # started again already, and under way
    lost = [(saved.step, key) for saved, cells in last for key in cells & set(keys) - own]
    if not lost:
        return []
    return [
        f"{len({key for _, key in lost})} of this shard's cells or prefixes were cut off, the furthest at step"
        f" {max(lost)[0]}, in chunks that hold another shard's, too: they start that stage again."
    ]


def check_trained(plan: Plan, done: Collection[str], workdir: Path) -> None:
    """Check that all cells are trained, so that the study can be judged.

    Raises:
      UserError: naming the shards that lack cells, or how many cells are missing where the study isn't divided.
    """
    lack = lacking(plan, recorded(workdir), done)
    if not lack:
        return
    if lack[0].shard.count == 1:
        raise UserError(
            f"--only=analyze: {lack[0].cells} of {lack[0].of} cells in {workdir} are not trained; run the same command"
            " without it."
        )
    raise UserError(
        f"--only=analyze: {workdir} is not all trained: {_listed(lack)}. Run --shard={lack[0].shard}"
        f"{' and so on' if len(lack) > 1 else ''} again; a shard that was cut off continues."
    )


def _listed(lack: list[Lack]) -> str:
    """'shard 2/3 lacks 8 of its 8 cells, …'"""
    return ", ".join(f"shard {one.shard} lacks {one.cells} of its {one.of} cells" for one in lack)


def outlook(plan: Plan, shard: Shard, done: Collection[str]) -> str:
    """A sentence at the end of a shard: which parts of the study are still to come."""
    lack = lacking(plan, shard.count, done)
    if lack:
        return f"Shard {shard} is trained. Still to come, or under way: {_listed(lack)}."
    cells = len(plan.study.cells)
    return f"Shard {shard} is trained, and with it all {cells} cells: --only=analyze in place of --shard judges them."


def summary(plan: Plan, mine: Plan, shard: Shard, done: Collection[str]) -> str:
    """A sentence at the start of a shard: its cells and steps."""
    trees = sum(len(group.nodes) for group in mine.program_groups if group.stage == 0)
    total, left = mine.steps_shared(), mine.steps_shared(done)
    trained = f", {total - left:,} of them already trained" if left < total else ""
    return (
        f"shard {shard} of {printable(plan.study.name)}: {mine.cells_trained()} of {len(plan.study.cells)} cells in"
        f" {trees} prefix trees, {total:,} of {plan.steps_shared():,} model-steps{trained}"
    )


def run(session: Session, plan: Plan, workdir: Workdir, shard: Shard) -> int:
    """Train one part of the plan while other processes train the others; nothing is measured or judged.

    Returns:
      the exit status, 0.

    Raises:
      UserError: if another process has this part, or a part of another division.
    """
    mine, keys = part(plan, shard), split(plan, shard.count)[shard.index - 1]
    with workdir.shared(shard, division(plan, shard.count)) as notes:
        store = open_store(workdir.path, plan.study, notes.append, keys)
        for chunk in store.unfinished:
            if keys.issuperset(chunk[-1].meta["cells"]):
                checkpoint.sweep_up(workdir.path, chunk[-1].path.parent.name)
        for note in [*plan.study.notes, *notes, *cut_across(store.unfinished, keys)]:
            session.note(note)
        session.say(summary(plan, mine, shard, store.nodes))
        session.train(mine, store)
        session.say(outlook(plan, shard, read_store(workdir.path, plan.study)[0].nodes))
    return 0
