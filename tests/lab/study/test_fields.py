"""Fields of a config by name: declared ones, and those that a command line sets."""

import pytest

from lab.errors import UserError
from lab.mechanisms.knobs import KNOBS
from lab.study import study_config
from lab.study.fields import check_names, override
from tests import tiny_study
from tests.lab.conftest import study_of, tiny_config


def test_a_studys_own_fields_are_declared():
    config = study_config(own=dict(seeds=8, rates=(0.1, 0.2)))
    assert config.seeds == 8
    check_names(config)
    config.rate = 0.3
    with pytest.raises(UserError, match=r"config\.rate=0\.3: no such field"):
        check_names(config)


@pytest.mark.parametrize("name", ["steps", "own", "update", "a.b"])
def test_an_own_field_has_a_name_of_its_own(name):
    with pytest.raises(UserError, match=f"can't be named '{name}'"):
        study_config(own={name: 1})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps.train", "24", 24),
        ("name", "24", "24"),
        ("question", "None", "None"),
        ("claim.alpha", "1e-2", 0.01),
        ("claim.abilities", "word/iid", ("word/iid",)),
        ("claim.abilities", "('facts/iid', 'word/iid')", ("facts/iid", "word/iid")),
        ("probe.layers", "-1", (-1,)),
        ("seeds", "4", 4),
        ("knobs.optimizer.learning_rate", "0.01", 0.01),
        ("knobs.optimizer.name", "lion", "lion"),
        ("knobs.seed", "3", 3),
        ("tasks.facts.exponent", "0.5", 0.5),
        ("tasks.word.probe", "iid", "iid"),
        ("claim.gains.two_nn", "-1", -1),
    ],
)
def test_every_field_can_be_set_whether_the_study_sets_it_or_not(name, text, value):
    config = tiny_config()
    override(config, name, text)
    assert config[name] == value
    assert type(config[name]) is type(value)
    study_of(config)


def test_every_registered_knob_can_be_set():
    config = tiny_config()
    for name, knob in KNOBS.items():
        override(config, f"knobs.{name}", str(0 if name == "seed" else knob.base))
    base = study_of(config).base
    assert base == {name: 0 if name == "seed" else knob.base for name, knob in KNOBS.items()}


def test_a_knob_that_is_set_acts():
    config = tiny_config()
    override(config, "knobs.optimizer.learning_rate", "0.01")
    assert {cell["optimizer.learning_rate"] for cell in study_of(config).cells} == {0.01}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("steps.trian", "5", r"--config\.steps\.trian: no such field\. Nearest: config\.steps\.train"),
        ("step.train", "5", r"Nearest: config\.steps\.train"),
        ("knobs.optimizer.lerning_rate", "1", r"Nearest: config\.knobs\.optimizer\.learning_rate"),
        ("knobs.learning_rate", "1", r"Nearest: config\.knobs\.optimizer\.learning_rate"),
        ("tasks.fact.facts", "3", r"no such field"),
        ("tasks.word.examples.train", "3", r"no such field"),
        ("name.first", "3", r"no such field"),
        ("own", "3", r"no such field"),
        ("", "3", r"no such field"),
        ("seeds", "two", r"--config\.seeds=two must be a whole number"),
        ("seeds", "nan", r"--config\.seeds=nan must be a whole number"),
        ("seeds", "9" * 5000, r"must be a whole number"),
        ("steps.train", "1e3", r"--config\.steps\.train=1e3 must be a whole number"),
        ("claim.alpha", "nan", r"--config\.claim\.alpha=nan must be a number"),
        ("model", "3", r"--config\.model=3 must be a section"),
    ],
)
def test_what_cannot_be_set_is_said(name, text, message):
    with pytest.raises(UserError, match=message) as caught:
        override(tiny_study.get_config(), name, text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
