"""The training step and loop of one cell, with what mechanisms do in it."""

from lab.training.active_mechanisms import ActiveMechanisms, at_inference
from lab.training.step import (
    SCHEDULES,
    Program,
    Schedule,
    State,
    begin,
    call_losses,
    init,
    rewound,
    train_call,
    train_step,
    with_room,
)

__all__ = [
    "SCHEDULES",
    "ActiveMechanisms",
    "Program",
    "Schedule",
    "State",
    "at_inference",
    "begin",
    "call_losses",
    "init",
    "rewound",
    "train_call",
    "train_step",
    "with_room",
]
