"""Whatever a field holds, it is right or refused in one sentence that names it."""

import pytest

from lab.errors import UserError
from lab.mechanisms import NEVER
from lab.study import axis, product
from lab.study.fields import STEPS_MOST, is_section, names
from tests.lab.conftest import study_of, tiny_config

BAD = {
    "None": None,
    "empty": {},
    "list": [],
    "nested": [[1]],
    "nan": float("nan"),
    "inf": float("inf"),
    "true": True,
    "fraction": -1.5,
    "huge": 10**30,
    "thousands of digits": 10**5000,
    "no text": "",
    "unprintable": "a\0b",
    "several lines": "a\nb",
    "long": "x" * 10_000,
    "bytes": b"x",
    "object": object(),
}
RIGHT = {
    "empty": {"knobs", "knobs.loop", "knobs.prune", "knobs.weight_decay", "tasks.facts"},  # all at their defaults
    "None": {"claim.kind", "claim.control"},
    "list": {"probe.extra", "claim.knobs"},
    "no text": {"name", "question", "tasks.facts.factor"},
    "several lines": {"question"},
}


def full_config():
    """The tiny study with a value in every kind of field."""
    config = tiny_config()
    config.knobs = dict(weight_decay=dict(rate=0.1), prune=dict(scope="global"), loop=dict(turns=1))
    config.tasks.facts.factor, config.tasks.facts.probe = "value", "iid"
    config.tasks.word.examples = dict(train=4, prune=4)
    return config


def sections(config, prefix=""):
    found = []
    for name, value in config.items():
        if is_section(value):
            found += [f"{prefix}{name}", *sections(value, f"{prefix}{name}.")]
    return found


FIELDS = [name for name in names(full_config()) if name != "seeds"] + sections(full_config())


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_value_is_one_sentence_in_every_field(kind):
    refused = {}
    for field in FIELDS:
        config = full_config()
        *above, last = field.split(".")
        holder = config
        for name in above:
            holder = holder[name]
        del holder[last]  # a float in its place would convert whole numbers
        holder[last] = BAD[kind]
        try:
            study_of(config)
        except UserError as error:
            refused[field] = str(error)
    assert {*FIELDS} - {*refused} == RIGHT.get(kind, set())
    for field, sentence in refused.items():
        assert f"config.{field.split('.')[0]}" in sentence
        assert "\n" not in sentence
        assert len(sentence) < 700


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("knob", ["prune.sparsity", "seed", "prune.scope"])
def test_a_bad_value_on_an_axis_is_one_sentence(kind, knob):
    axes = {"prune.sparsity": (0.0,), "seed": (0,)} | {knob: (BAD[kind],)}
    with pytest.raises(UserError, match=knob) as caught:
        study_of(grid=product(*(axis(name, values) for name, values in axes.items())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.depth", 4, r"config\.model\.depth=4: no such field"),
        ("evaluation.exampels", 64, r"config\.evaluation\.exampels=64: no such field.*config\.evaluation\.examples"),
        ("claim.detla", 0.5, r"config\.claim\.detla=0\.5: no such field.*config\.claim\.delta"),
        ("learning_rate", 0.1, r"no such field.*config\.knobs\.optimizer\.learning_rate.*own=dict\(learning_rate=…\)"),
        ("seedz", 3, r"config\.seedz=3: no such field"),
        ("own", 3, r"study_config\(own=dict\(seeds=8\)\)"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest(field, value, message):
    config = tiny_config()
    *above, last = field.split(".")
    (config[above[0]] if above else config)[last] = value
    with pytest.raises(UserError, match=message):
        study_of(config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(model=dict(width=16)), r"config\.model\.\w+ is missing: set single fields"),
        (dict(claim=dict(knob="prune.sparsity")), r"config\.claim\.\w+ is missing"),
        (dict(schedule=dict(name="wsd")), r"config\.schedule\.warmup is missing"),
        (dict(tasks={1: dict(task="facts")}), r"config\.tasks: the name of every field must be text"),
        (dict(steps={1: 3, "train": 3}), r"config\.steps: the name of every field must be text"),
        (dict(stages="train"), r"config\.stages='train' must be a tuple of names"),
        (dict(stages=("train", "train")), r"each once"),
        (dict(steps=dict(train=STEPS_MOST // 2, prune=STEPS_MOST // 2 + 2), call_steps=1), "steps in all"),
        (dict(schedule=dict(name="constant", warmup=19)), r"config\.schedule\.warmup=19 must be at most the 18 steps"),
        (dict(saves=dict(train=10**7, prune=1)), r"config\.saves\.train=10000000 must be a whole number from 1 to"),
        (
            dict(model=dict(full_config().model, width=2**13, layers=64, mlp_width=2**16)),
            "parameters, and a cell may have",
        ),
    ],
)
def test_fields_that_are_right_alone_and_wrong_together(fields, message):
    config = tiny_config()
    for name, value in fields.items():
        config[name] = value
    with pytest.raises(UserError, match=message):
        study_of(config)


def test_an_ability_is_claimed_once():
    config = tiny_config()
    config.claim.abilities = ("facts/iid", "facts/iid")
    with pytest.raises(UserError, match="each once"):
        study_of(config)


def test_a_grid_has_an_end():
    with pytest.raises(UserError, match="has more than 20,000 values"):
        axis("seed", iter(range(10**12)))
    with pytest.raises(UserError, match="a product of 40,000 cells"):
        product(axis("seed", range(200)), axis("width.active", range(200)))


def test_limits_that_rest_on_others():
    assert STEPS_MOST == NEVER - 1
