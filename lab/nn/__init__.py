"""The transformer: its layers, its loss and its optimizers, for one cell.

`model.init` and `model.run` are the model; the rest of what other rooms may use is handed on here.
"""

from lab.nn import model
from lab.nn.layers import HOOK_POINTS, Hook, ModelSpec
from lab.nn.loss import answer_logprob, heard, over_answers, task_loss
from lab.nn.model import Forward, is_linear_kernel
from lab.nn.optimizers import OPTIMIZERS

__all__ = [
    "HOOK_POINTS",
    "OPTIMIZERS",
    "Forward",
    "Hook",
    "ModelSpec",
    "answer_logprob",
    "heard",
    "is_linear_kernel",
    "model",
    "over_answers",
    "task_loss",
]
