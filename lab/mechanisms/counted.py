"""What a knob's value comes to where its effect is rounded to a count, such as of weights or dimensions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Counted(NamedTuple):
    """The counts that a value comes to: two values of the same counts are one setting.

    Attributes:
      what: is counted, for a person.
      counts: how many, one by one.
    """

    what: str
    counts: tuple[int, ...]

    @classmethod
    def of_share(cls, what: str, share: float, *of: int, least: int = 0) -> Counted:
        """A share of some numbers, rounded as in float32 on a device, halves to the even number."""
        return cls(what, tuple(max(least, int(np.round(np.float32(share) * np.float32(count)))) for count in of))
