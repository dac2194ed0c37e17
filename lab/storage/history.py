"""The records of cells while they train: losses, divergence, abilities."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

READINGS = ("exact", "logprob", "token_accuracy")  # of an ability, in the order of the last axis of `History.ability`


@dataclass(frozen=True)
class History:
    """Records of one stage so far; the leading axis of every field is the cell.

    Attributes:
      loss: float32[G, C], mean training loss of each of C calls, in nats.
      call_end: int32[G, C], absolute step after each call.
      diverged_at: int32[G, 1], the absolute step whose loss was first not finite; -1 if none was.
      step: int32[G, E], absolute step of each of E evaluations.
      ability: float32[G, E, S, 3], the `READINGS` of each of S splits.
    """

    loss: np.ndarray
    call_end: np.ndarray
    diverged_at: np.ndarray
    step: np.ndarray
    ability: np.ndarray

    @staticmethod
    def start(cells: int, splits: int) -> History:
        """Nothing recorded yet."""
        return History(
            loss=np.zeros((cells, 0), np.float32),
            call_end=np.zeros((cells, 0), np.int32),
            diverged_at=np.full((cells, 1), -1, np.int32),
            step=np.zeros((cells, 0), np.int32),
            ability=np.zeros((cells, 0, splits, len(READINGS)), np.float32),
        )

    def trained(self, first_step: int, loss_GxT: np.ndarray) -> History:
        """One more call: the losses of steps first_step … first_step + T - 1."""
        bad_GxT = ~np.isfinite(loss_GxT)
        at = np.where(bad_GxT.any(1), first_step + bad_GxT.argmax(1), -1).astype(np.int32)[:, None]
        end = np.full((len(at), 1), first_step + loss_GxT.shape[1], np.int32)
        return History(
            loss=np.concatenate([self.loss, loss_GxT.mean(axis=1, keepdims=True, dtype=np.float32)], axis=1),
            call_end=np.concatenate([self.call_end, end], axis=1),
            diverged_at=np.where(self.diverged_at >= 0, self.diverged_at, at),
            step=self.step,
            ability=self.ability,
        )

    def evaluated(self, step: int, ability_GxSx3: np.ndarray) -> History:
        """One more evaluation, after `step`."""
        steps = np.full((len(self.step), 1), step, np.int32)
        return History(
            loss=self.loss,
            call_end=self.call_end,
            diverged_at=self.diverged_at,
            step=np.concatenate([self.step, steps], axis=1),
            ability=np.concatenate([self.ability, ability_GxSx3[:, None]], axis=1),
        )

    def tree(self) -> dict[str, Any]:
        """The fields in which something is recorded, for a checkpoint."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name).size}

    def from_tree(self, tree: dict[str, Any]) -> History:
        """Undoes `tree`, given a history in which nothing is recorded yet."""
        return replace(self, **tree)
