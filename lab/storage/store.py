"""The checkpoints that a work directory holds of a study: finished nodes, and chunks that were cut off."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.errors import UserError
from lab.storage import checkpoint
from lab.storage.checkpoint import Saved
from lab.study.parts import Stage
from lab.study.spec import Study

Chunk = list[Saved]  # a chunk's checkpoints of one stage, earliest first


@dataclass
class Store:
    """Finds each node's numbers.

    Attributes:
      workdir: the study's directory.
      nodes: key of a finished node -> its chunk's checkpoints and its row in them.
      unfinished: the chunks that were cut off; training can continue from the last checkpoint of each.
    """

    workdir: Path
    nodes: dict[str, tuple[Chunk, int]] = field(default_factory=dict)
    unfinished: list[Chunk] = field(default_factory=list)

    def final(self, key: str) -> tuple[Saved, int]:
        """The checkpoint at the end of a node's stage, and the node's row."""
        chunk, row = self.nodes[key]
        return chunk[-1], row

    def at(self, key: str, step: int) -> tuple[Saved, int] | None:
        """The checkpoint after a step of a node's stage, and the node's row; of a chunk under way, too."""
        found = [self.nodes[key]] if key in self.nodes else []
        under_way = (chunk for chunk in self.unfinished if key in chunk[-1].meta["cells"])
        found += [(chunk, chunk[-1].meta["cells"].index(key)) for chunk in under_way]
        return next(((one, row) for chunk, row in found for one in chunk if one.step == step), None)

    def add(self, chunk: Chunk) -> None:
        """Add the nodes of a finished chunk."""
        for row, key in enumerate(chunk[-1].meta["cells"]):
            self.nodes[key] = (chunk, row)


def open_store(
    workdir: Path,
    study: Study,
    note: Callable[[str], None],
    only: Collection[str] | None = None,
    brief: bool = False,
) -> Store:
    """Read a work directory.

    Args:
      workdir: may be empty or not exist.
      study: gives the steps at which each stage saves and ends.
      note: called with a sentence for each damaged checkpoint.
      only: keys of nodes; chunks that hold none of them are passed over, as other processes may be training them.
      brief: take every index at its word and load nothing, for a plan: damage is found when items are used.
    """
    found, damaged = checkpoint.scan(workdir, brief=True)
    for path in damaged:
        note(f"Damaged checkpoint {path} is ignored; the last whole one before it is used.")
    stages = {stage.name: stage for stage in study.stages}
    store, unfinished = Store(workdir), []
    for saves in found.values():
        if only is not None and not any(key in only for key in saves[0].meta["cells"]):
            continue
        stage = stages.get(saves[0].meta["stage"])
        chunk = _whole(saves, stage, note, brief) if stage else []
        if not stage or not chunk:
            continue
        if chunk[-1].step == stage.end:
            store.add([saved for saved in chunk if not saved.spare])
        else:
            unfinished.append(chunk)
    # A chunk is stale if another run divided the nodes differently and finished them.
    store.unfinished = [c for c in unfinished if not store.nodes.keys() & set(c[-1].meta["cells"])]
    return store


def read_store(workdir: Path, study: Study) -> tuple[Store, list[str]]:
    """The finished nodes, for a reader while another process may be training: no lock, nothing loaded, nothing written.

    Returns:
      the store, with the checkpoints so far of chunks under way, and the paths of checkpoints that can't be read.

    Raises:
      UserError: if the directory holds checkpoints of none of the study's cells.
    """
    found, damaged = checkpoint.scan(workdir)
    store, saves_of = Store(workdir), {stage.name: stage.saves for stage in study.stages}
    for saves in ([saved for saved in chunk if not saved.spare] for chunk in found.values()):
        steps, planned = tuple(saved.step for saved in saves), saves_of.get(saves[0].meta["stage"], ()) if saves else ()
        if steps and steps == planned:
            store.add(saves)
        elif steps and steps == planned[: len(steps)]:
            store.unfinished.append(saves)
    keys = {key for recipe in study.recipes() for key in recipe.keys}
    if found and not any(keys & set(saves[0].meta["cells"]) for saves in found.values()):
        raise UserError(f"{workdir} holds checkpoints of another version of the lab only; read it with that version.")
    return store, damaged


def _whole(saves: Chunk, stage: Stage, note: Callable[[str], None], brief: bool) -> Chunk:
    """The checkpoints up to the last one from which training can continue, before the first gap or damaged one."""
    kept = []
    for saved in saves:
        planned = [step for step in stage.saves if step < saved.step or (step == saved.step and not saved.spare)]
        if [s.step for s in (*kept, saved) if not s.spare] != planned:
            break
        try:
            for item in () if brief else ("params", "history"):
                checkpoint.load_once(saved, item)
        except checkpoint.DamagedCheckpoint as error:
            note(f"Damaged checkpoint: {error}; the last whole one before it is used.")
            if saved.spare:  # the checkpoints after it don't depend on it
                continue
            break
        try:
            if saved.resumable and not brief:
                checkpoint.load(saved, "state")
        except checkpoint.DamagedCheckpoint as error:
            note(f"Damaged checkpoint: {error}; training can't continue from it.")
            saved = replace(saved, resumable=False)
        kept.append(saved)
    while kept and not kept[-1].resumable:
        kept.pop()
    return kept
