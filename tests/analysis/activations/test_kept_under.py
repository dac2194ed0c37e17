"""Readings are kept under a text; older work directories have it with the class's first name."""

from __future__ import annotations

from analysis.activations.measure import InferenceModel, kept_under
from lab.nn.model import ModelSpec


def test_the_text_is_the_one_that_older_work_directories_have():
    spec = ModelSpec(vocab_size=11, max_length=9, width=16, layers=2, heads=2, mlp_width=24)
    model = InferenceModel(spec, ("fsq",), (("fsq.position", "all"),), ((0, "fsq.levels", 3),))
    expected = (
        f"Staying(spec={spec!r}, names=('fsq',), static=(('fsq.position', 'all'),), values=((0, 'fsq.levels', 3),))"
    )
    assert kept_under(model) == expected
    assert kept_under([(model, model)]) == f"[({expected}, {expected})]"
