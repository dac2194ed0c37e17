"""The mechanisms that a study can turn a knob of: one file for each kind, one line here for each mechanism.

To add one: write lab/mechanisms/<name>.py with its Knobs and a subclass of Mechanism that overrides the hooks where it
acts, and name it below. The registry of knobs (lab.mechanisms.knobs), `run.py --list=knobs`, range checks, plans and
the conformance test find it.
"""

from collections import ChainMap
from collections.abc import Mapping

from lab.mechanisms import dropout, geometry_penalties
from lab.mechanisms.activation_l1 import ActivationL1
from lab.mechanisms.base import NEVER, Context, Knob, Knobs, Mechanism, StageSetup, StepView, Update, relaxing
from lab.mechanisms.batch_size import BatchSize
from lab.mechanisms.budget import Budget
from lab.mechanisms.canon import Canon
from lab.mechanisms.counted import Counted
from lab.mechanisms.curriculum import Curriculum
from lab.mechanisms.disturb import Disturbance
from lab.mechanisms.experts import Experts
from lab.mechanisms.extra_tokens import Memory, Pause, Registers
from lab.mechanisms.finite_data import FiniteData
from lab.mechanisms.fsq import FiniteScalarQuantization
from lab.mechanisms.gradient_noise import GradientNoise
from lab.mechanisms.hidden_noise import HiddenNoise
from lab.mechanisms.insertion import Insertion
from lab.mechanisms.jacobian import Jacobian
from lab.mechanisms.looped import Looped
from lab.mechanisms.low_rank import LowRank
from lab.mechanisms.mixer import Mixer
from lab.mechanisms.mixture_share import MixtureShare
from lab.mechanisms.multi_token import MultiToken
from lab.mechanisms.narrow import HeadDimension, Width
from lab.mechanisms.nested import Nested
from lab.mechanisms.process import Process
from lab.mechanisms.pruning import Pruning
from lab.mechanisms.renaming import Renaming
from lab.mechanisms.rewind import Rewind
from lab.mechanisms.sam import SharpnessAware
from lab.mechanisms.self_label import SelfLabel
from lab.mechanisms.soft_targets import ConfidencePenalty, LabelSmoothing
from lab.mechanisms.spectral_cap import SpectralCap
from lab.mechanisms.structured_pruning import StructuredPruning
from lab.mechanisms.task_fields import TaskFields
from lab.mechanisms.teacherless import Teacherless
from lab.mechanisms.thoughts import Thoughts
from lab.mechanisms.tuning import Tuning
from lab.mechanisms.vib import InformationBottleneck
from lab.mechanisms.vq import VectorQuantization
from lab.mechanisms.weight_decay import WeightDecay
from lab.mechanisms.weight_penalties import L1Penalty, L2Penalty, Orthogonality

__all__ = [
    "EVERY",
    "MECHANISMS",
    "NEVER",
    "OF_STUDIES",
    "Context",
    "Counted",
    "Knob",
    "Knobs",
    "Mechanism",
    "StageSetup",
    "StepView",
    "Update",
    "relaxing",
]

# In the order in which they act at the same hook; masks come late, so that nothing fills in what they removed. Tuning
# comes after them, so that it starts from what they left, and keeps it. What labels for itself comes last: it keeps the
# model as all others left it.
MECHANISMS: dict[str, Mechanism] = {
    mechanism.name: mechanism
    for mechanism in (
        Mixer(),
        Canon(),
        Experts(),
        Looped(),
        Thoughts(),
        Memory(),
        Pause(),
        Registers(),
        Curriculum(),
        FiniteData(),
        Renaming(),
        Process(),
        Teacherless(),
        BatchSize(),
        Budget(),
        WeightDecay(),
        L2Penalty(),
        L1Penalty(),
        Orthogonality(),
        ActivationL1(),
        LabelSmoothing(),
        ConfidencePenalty(),
        geometry_penalties.VARIANCE,
        geometry_penalties.COVARIANCE,
        geometry_penalties.ISOTROPY,
        MultiToken(),
        Jacobian(),
        Nested(),
        GradientNoise(),
        SharpnessAware(),
        dropout.EMBEDDING,
        dropout.ATTENTION,
        dropout.RESIDUAL,
        HiddenNoise(),
        Disturbance(),
        Insertion(),
        InformationBottleneck(),
        FiniteScalarQuantization(),
        VectorQuantization(),
        LowRank(),
        Width(),
        HeadDimension(),
        SpectralCap(),
        Rewind(),
        StructuredPruning(),
        Pruning(),
        Tuning(),
        SelfLabel(),
    )
}

# Mechanisms whose knobs each study has of its own, by its tasks: see `Study.own_knobs`.
OF_STUDIES: dict[str, Mechanism] = {mechanism.name: mechanism for mechanism in (TaskFields(), MixtureShare())}
EVERY: Mapping[str, Mechanism] = ChainMap(MECHANISMS, OF_STUDIES)
