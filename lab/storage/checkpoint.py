"""Checkpoints with Orbax: one per chunk and step, with an index of its cells. The only file that imports Orbax.

    <workdir>/checkpoints/<stage>-<hash of the chunk's cells>/<step>/
        params/    the model's parameters, leading axis: the chunk's cells
        state/     the rest of what training needs to continue (optimizer, masks); of the latest two steps of a stage
        history/   losses, abilities and divergence so far
    with the index of cells and the position in the plan as custom metadata of the same save.

Everything is saved as NumPy arrays, so a checkpoint reads the same on any machine with any devices. Orbax commits a
save by renaming its directory, so a reader never meets a save that was cut off. Contents carry a checksum of their own,
the index a digest (`lab.storage.index`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from lab.errors import NOT_DAMAGE, PASSING, UserError, cause, refusal, refused_as
from lab.storage import index
from lab.storage.history import READINGS
from lab.storage.paths import plain
from lab.storage.unfinished import forget, silent_leftovers

ITEMS = index.ITEMS
WASTE = ".waste"  # ends the name of a directory that is being deleted
UNFINISHED = ".orbax-checkpoint-tmp"  # in the name of a directory that Orbax is writing
SMALL = 2**16  # bytes of an item that is kept once it was loaded
# Orbax numbers its operations in one counter of the process: a read that starts while another thread saves takes over
# the save's number, and the save waits for signals of that number. So there is one operation at a time, and no signals.
ORBAX = threading.Lock()


class DamagedCheckpoint(UserError):
    """A checkpoint that can't be read back as written: a sentence for the user wherever nothing else is made of it."""


@dataclass(frozen=True)
class Saved:
    """One checkpoint on disk.

    Attributes:
      path: its directory.
      step: the absolute step after which it was taken.
      meta: the index: 'cells' (node keys, in row order), 'stage', 'capacity' (rows that the chunk was padded to),
        'layout', 'abilities' (names of the history's third axis), 'spare' and checksums.
      resumable: whether the full state is there, not only the parameters.
      kept: small items that were loaded, see `load_once`.
    """

    path: Path
    step: int
    meta: dict[str, Any]
    resumable: bool = True
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def written_at(self) -> float:
        """When it was written, in seconds since 1970, by the clock of the file system."""
        return self.path.stat().st_mtime

    @property
    def spare(self) -> bool:
        """Whether it was saved between the steps that the study keeps, only for training to continue from it."""
        return bool(self.meta.get("spare"))


def checksum(tree: Any) -> int:
    """CRC-32 over all leaves in tree order, with their paths, shapes and types."""
    value = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.ascontiguousarray(leaf)
        value = zlib.crc32(f"{jax.tree_util.keystr(path)}{leaf.shape}{leaf.dtype}".encode(), value)
        value = zlib.crc32(leaf.tobytes(), value)
    return value


def save(path: Path, items: dict[str, Any], meta: dict[str, Any]) -> Saved:
    """Write one checkpoint, in place of any other at `path`.

    Raises:
      UserError: if the disk refuses; earlier saves are untouched.
    """
    meta = meta | {"checksums": {name: checksum(tree) for name, tree in items.items()}}
    problem, failed = "", []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _context(), _operation(path) as place:
            ocp.save_checkpointables(place, items, overwrite=True, custom_metadata=index.sealed(meta, path))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        problem = f"{refusal(error)}. Nothing saved earlier is lost"
        problem += "; the same command then continues." if refused_as(error) in PASSING else "."
        failed.append(error)
    if problem:
        forget(failed)
        raise UserError(f"could not save {path}: {problem}")
    return Saved(path, int(path.name), meta)


@contextlib.contextmanager
def _operation(path: Path) -> Iterator[str]:
    """One operation of Orbax on a path at a time: the path as Orbax takes it."""
    with ORBAX, plain(path) as place, silent_leftovers():
        yield place


def _context() -> ocp.Context:
    context = ocp.Context()
    context.asynchronous.create_directories_asynchronously = False
    return context


def load(saved: Saved, item: str) -> Any:
    """One item of a checkpoint as a tree of NumPy arrays.

    Raises:
      DamagedCheckpoint: if it can't be read or holds other contents than were written.
      UserError: if the system refuses to read it for a cause that is no damage.
    """
    tree, problem, kind, failed = None, "", DamagedCheckpoint, []
    try:
        with _operation(saved.path) as place:
            tree = ocp.load(place, checkpointable_name=item)
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged file
        kind = _kind(error)
        problem = refusal(error) if kind is UserError else cause(error)
        failed.append(error)
    if problem:
        forget(failed)
        raise kind(f"{saved.path}/{item} can't be read: {problem}")
    if checksum(tree) != saved.meta["checksums"][item] or not _is_of(saved, tree):
        raise DamagedCheckpoint(f"{saved.path}/{item} holds other bytes than were written")
    return tree


def load_once(saved: Saved, item: str) -> Any:
    """`load` for items that several readers of one store take; small ones are loaded from disk the first time only.

    Orbax takes fifteen milliseconds for any item, and a grid of small cells has thousands. Raises as `load`.
    """
    if item in saved.kept:
        return saved.kept[item]
    tree = load(saved, item)
    if sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) <= SMALL:
        saved.kept[item] = tree
    return tree


def _kind(error: Exception) -> type[Exception]:
    """What a failed read becomes: a whole checkpoint that can't be read now is not passed over and trained again."""
    return UserError if isinstance(error, UserError) or refused_as(error) in NOT_DAMAGE else DamagedCheckpoint


def _is_of(saved: Saved, tree: Any) -> bool:
    """Whether a tree has a row for each cell of the index, and each row the readings of each ability."""
    cells, abilities = len(saved.meta["cells"]), len(saved.meta["abilities"])
    measured = tree.get("ability") if isinstance(tree, dict) else None
    rows = all(np.shape(leaf)[:1] == (cells,) for leaf in jax.tree.leaves(tree))
    return rows and (measured is None or np.shape(measured)[2:] == (abilities, len(READINGS)))


def read_back(saved: Saved) -> None:
    """Check that a checkpoint that was just saved is there and whole, as a later process would find it.

    Raises:
      UserError: if it isn't, so that nothing can be kept in its directory.
    """
    problem, failed = "", []
    try:
        if _index(saved.path)["checksums"] != saved.meta["checksums"]:
            raise DamagedCheckpoint(f"{saved.path} holds another index than was written")
        for item in saved.meta["checksums"]:
            load(saved, item)
    except (DamagedCheckpoint, UserError) as error:
        problem = str(error)
    except Exception as error:  # as in load
        problem = f"{saved.path} can't be read: {cause(error)}"
        failed.append(error)
    if problem:
        forget(failed)
        raise UserError(
            f"{problem}, right after it was saved: nothing can be kept there; name a --workdir on another file system."
        )


def _index(path: Path, brief: bool = False) -> dict[str, Any]:
    """The index of cells that was saved with a checkpoint; `brief`: read off its file, without a look at the items.

    Raises:
      Exception: of many types, if there is none.
    """
    if brief:
        meta = json.loads((path / "_CHECKPOINT_METADATA").read_text(encoding="utf-8"))["custom_metadata"]
    else:
        with _operation(path) as place:
            meta = ocp.metadata(place).custom_metadata
    return index.verified(meta, path)


def drop_state(saved: Saved) -> Saved:
    """Thin a checkpoint to what analysis reads: only training that continues from it needs the full state.

    The state is renamed away before it is deleted, so a kill in between never leaves half a state.
    """
    _discard(saved, saved.path / "state")
    return replace(saved, resumable=False)


def drop(saved: Saved) -> None:
    """Delete a checkpoint that nothing needs any more; a kill in between leaves no half of it."""
    _discard(saved, saved.path)


def _discard(saved: Saved, path: Path) -> None:
    """Rename what is deleted to a name that nothing has, in case that an earlier one could not be deleted."""
    names = (saved.path.parent / f"{saved.path.name}.{number}{WASTE}" for number in itertools.count())
    waste = next(name for name in names if not os.path.lexists(name))
    path.rename(waste)
    shutil.rmtree(waste, ignore_errors=True)  # the next run sweeps up


def sweep_up(workdir: Path, chunk: str = "") -> None:
    """Delete directories that killed runs left half written or deleted. Only for the process that holds those chunks.

    Args:
      workdir: the work directory.
      chunk: names the directory of one chunk; '' for all.
    """
    checkpoints = workdir / "checkpoints"
    for directory in [checkpoints / chunk] if chunk else _directories(checkpoints):
        for leftover in _directories(directory):
            if leftover.name.endswith(WASTE) or UNFINISHED in leftover.name:
                shutil.rmtree(leftover, ignore_errors=True)  # no name is used twice, and no reader takes it


def scan(workdir: Path, brief: bool = False) -> tuple[dict[str, list[Saved]], list[str]]:
    """All checkpoints of a work directory. Those that another process deletes meanwhile are passed over.

    Args:
      workdir: the work directory.
      brief: read nothing but each index: for a plan, which loads nothing. Orbax looks at every item, too, which takes
        tens of milliseconds a checkpoint.

    Returns:
      {chunk directory name: its checkpoints, earliest first}, and the paths of damaged checkpoints, which are left out.
    """
    found: dict[str, list[Saved]] = {}
    damaged = []
    for directory in _directories(workdir / "checkpoints"):
        for path in (p for p in _directories(directory) if p.name.isascii() and p.name.isdigit()):
            meta, kind, why, failed = {}, DamagedCheckpoint, "", []
            try:
                meta = _index(path, brief)
            except Exception as error:  # as in load
                kind, why = _kind(error), refusal(error)
                failed.append(error)
            if failed:
                if not brief:  # Orbax read it
                    forget(failed)
                if kind is UserError and path.exists():
                    raise UserError(f"{path} can't be read: {why}.")
                damaged += [str(path)] if path.exists() else []
                continue
            saved = Saved(path, int(path.name), meta, (path / "state").is_dir())
            found.setdefault(directory.name, []).append(saved)
    return found, damaged


def _directories(path: Path) -> list[Path]:
    """The directories in a directory, by name; none where it doesn't exist (any more)."""
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def rows(tree: Any, indices: list[int]) -> Any:
    """The given rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[np.asarray(indices)], tree)


def gather(places: list[tuple[Saved, int]], item: str, complete: Callable[[Any, Any], Any] | None = None) -> Any:
    """One item of several cells, from whichever checkpoints hold them: row r of checkpoint s for each (s, r), stacked.

    Args:
      places: (checkpoint, row) pairs.
      item: its name.
      complete: called with a checkpoint's parameters and the item; returns the tree to take the rows from.

    Raises:
      DamagedCheckpoint: as `load`.
    """
    trees: dict[Path, Any] = {}
    for saved, _ in places:
        if saved.path not in trees:
            tree = load(saved, item)
            trees[saved.path] = complete(load(saved, "params"), tree) if complete else tree
    cells = [rows(trees[saved.path], [row]) for saved, row in places]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *cells)


def flat(tree: Any) -> dict[str, np.ndarray]:
    """A tree as {path: leaf}: tuples and named tuples don't survive Orbax's metadata, paths do."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def unflat(leaves: dict[str, np.ndarray], like: Any) -> Any:
    """Undo `flat`, with the structure of `like`."""
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    return jax.tree.unflatten(structure, [leaves[jax.tree_util.keystr(path)] for path, _ in paths])
