"""What a work directory holds of a study: which nodes are finished, and which waves were cut off where.

A wave is the chunks that all devices train side by side; each chunk has checkpoints of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab import checkpoint
from lab.checkpoint import Saved
from lab.config import Study

Chunk = list[Saved]  # a chunk's checkpoints of one stage, earliest first


@dataclass
class Store:
    """Where each node's numbers are.

    Attributes:
      workdir: the study's directory.
      nodes: key of a finished node -> its chunk's checkpoints and its row in them.
      unfinished: the waves that were cut off, each the list of its chunks.
    """

    workdir: Path
    nodes: dict[str, tuple[Chunk, int]] = field(default_factory=dict)
    unfinished: list[list[Chunk]] = field(default_factory=list)

    def final(self, key: str) -> tuple[Saved, int]:
        """The checkpoint at the end of a node's stage, and the node's row."""
        chunk, row = self.nodes[key]
        return chunk[-1], row

    def add(self, chunk: Chunk) -> None:
        """Take up a finished chunk."""
        for row, key in enumerate(chunk[-1].meta["cells"]):
            self.nodes[key] = (chunk, row)


def open_store(workdir: Path, study: Study, note: Callable[[str], None]) -> Store:
    """Read a work directory.

    Args:
      workdir: may be empty or not exist.
      study: tells where each stage ends.
      note: told of damaged checkpoints.
    """
    found, damaged = checkpoint.scan(workdir)
    for path in damaged:
        note(f"Damaged checkpoint {path} is ignored; the last whole one before it is used.")
    store, waves = Store(workdir), {}
    ends = {stage.name: stage.end for stage in study.stages}
    whole = [chunk for chunk in (_whole(chunk, note) for chunk in found.values()) if chunk]
    for chunk in whole:
        waves.setdefault(chunk[-1].meta["wave_id"], []).append(chunk)
    for chunks in waves.values():
        finished = [c for c in chunks if c[-1].step == ends.get(c[-1].meta["stage"])]
        held = {key for c in chunks for key in c[-1].meta["cells"]}
        steps = set.intersection(*({s.step for s in c if s.resumable} for c in chunks))
        if len(finished) == len(chunks):
            for chunk in chunks:
                store.add(chunk)
        elif held == set(chunks[0][-1].meta["wave"]) and steps:
            # The chunks of a wave go on together, a finished one beside an unfinished one too.
            store.unfinished.append(chunks)
        else:
            for chunk in finished:
                store.add(chunk)
    return store


def _whole(chunk: Chunk, note: Callable[[str], None]) -> Chunk:
    """A chunk's checkpoints before the first damaged one, as far back as the last from which training can go on."""
    kept = []
    for saved in chunk:
        try:
            for item in checkpoint.ITEMS:
                if item != "state" or saved.resumable:
                    checkpoint.load(saved, item)
        except checkpoint.DamagedCheckpoint as error:
            note(f"Damaged checkpoint: {error}; the last whole one before it is used.")
            break
        kept.append(saved)
    while kept and not kept[-1].resumable:
        kept.pop()
    return kept
