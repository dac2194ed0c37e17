"""Readings are kept under a text; older work directories have it with the class's first name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from analysis.activations.inference_model import InferenceModel, kept_under
from analysis.activations.measure import VERSION, Measurer
from lab.nn.model import ModelSpec
from tests.lab.conftest import study_of


def test_the_text_is_the_one_that_older_work_directories_have():
    spec = ModelSpec(vocab_size=11, max_length=9, width=16, layers=2, heads=2, mlp_width=24)
    model = InferenceModel(spec, ("fsq",), (("fsq.position", "all"),), ((0, "fsq.levels", 3),))
    written = (  # by the version of 2026-11-29
        "ModelSpec(vocab_size=11, max_length=9, width=16, layers=2, heads=2, mlp_width=24, positions='learned', "
        "activation='relu', compute='float32', products='highest', mixer='softmax', turns=1, registers=0, thoughts=0, "
        "memories=0, pauses=0, experts=0, codes=0, ahead=0)"
    )
    expected = (
        f"Staying(spec={written}, names=('fsq',), static=(('fsq.position', 'all'),), values=((0, 'fsq.levels', 3),))"
    )
    assert kept_under(model) == expected
    assert kept_under([(model, model)]) == f"[({expected}, {expected})]"


def test_so_is_that_of_what_a_study_measures():
    settings = kept_under(Measurer(study_of(), SimpleNamespace(), Path("nowhere")).settings())
    assert settings.startswith(f"({VERSION}, ModelSpec(")
    assert "ahead=0), ((" in settings
