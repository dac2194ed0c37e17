"""What a frozen study may hold: every variant of the shipped one, and a sentence for each mistake."""

from dataclasses import replace

import pytest

from ablations import pretrained
from analysis.frozen.measure import READINGS_OF_STATES
from lab.errors import UserError
from lab.frozen.knobs import KNOBS
from lab.frozen.study import check_sizes, parse
from lab.study import axis, frozen_config, product
from lab.study.frozen import is_frozen
from lab.study.grid import study_config


def config_of(folder, variant="whitening", **changes):
    """The shipped study with some fields changed: a name's `__` stands for a dot."""
    config = pretrained.get_config(variant)
    config.model_dir = config.data_dir = str(folder)
    for path, value in changes.items():
        *sections, last = path.split("__")
        holder = config
        for part in sections:
            holder = holder[part]
        holder[last] = value
    return config


def parsed(config, grid=None):
    return parse(config, grid or pretrained.sweep(config), READINGS_OF_STATES)


@pytest.mark.parametrize("variant", pretrained.VARIANTS)
def test_every_variant_of_the_shipped_study_is_valid(variant, tmp_path):
    knob, values, gains, _ = pretrained.VARIANTS[variant]
    found = parsed(config_of(tmp_path, variant))
    assert found.knob is KNOBS[knob]
    assert found.values[0] == found.knob.neutral
    assert sorted(found.values) == sorted(map(float, values))
    away = [abs(value - found.knob.neutral) for value in found.values]
    assert away == sorted(away)
    assert found.gains == gains
    assert found.chosen == (dict(score="magnitude") if variant == "pruning" else {})
    assert found.name == f"pretrained-{variant}"
    check_sizes(found, layers=6, width=384)  # of all-MiniLM-L6-v2


def test_every_shipped_variant_is_another_knob():
    assert sorted(knob for knob, *_ in pretrained.VARIANTS.values()) == sorted(KNOBS)


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match=r"--config: unknown variant ':whitenin'\. Nearest: whitening\b"):
        pretrained.get_config("whitenin")


def test_a_chosen_setting_of_the_axis_is_taken(tmp_path):
    assert parsed(config_of(tmp_path, "pruning", knobs__prune=dict(score="wanda"))).chosen == dict(score="wanda")


def test_a_study_is_frozen_where_its_config_is():
    assert is_frozen(frozen_config())
    assert not is_frozen(study_config())


def test_only_what_decides_its_numbers_is_in_the_content_of_a_setting(tmp_path):
    """One reading at neutral serves every knob; all others are a knob's own."""
    one, other = (parsed(config_of(tmp_path, variant)) for variant in ("whitening", "pruning"))
    assert one.content(0.0) == other.content(0.0)
    assert one.content(0.5) != other.content(0.5)
    wanda = replace(other, chosen=dict(score="wanda"))
    assert wanda.content(0.5) != other.content(0.5)
    assert wanda.content(0.0) == other.content(0.0)
    for changed in (
        replace(one, seed=1),
        replace(one, folds=13),
        replace(one, fit_questions=16),
        replace(one, ask="train"),
    ):
        assert changed.content(0.5) != one.content(0.5)
    for same in (replace(one, gains=dict(two_nn=-1)), replace(one, alpha=0.01), replace(one, name="another")):
        assert same.content(0.5) == one.content(0.5)


A, NEAR = "whitening.power", (0, 0.5, 1)
MISTAKES = [
    (
        dict(model_dir=""),
        None,
        r"config\.model_dir is empty; name the folder with the pretrained model .*model_dir=DIR\.",
    ),
    (
        dict(data_dir=""),
        None,
        r"config\.data_dir is empty; name the folder with the benchmark's .*--config\.data_dir=DIR\.",
    ),
    (dict(model_dir="nowhere"), None, r"config\.model_dir=nowhere: there is no such folder; name the one with the pre"),
    (dict(data_dir="nowhere"), None, r"config\.data_dir=nowhere: there is no such folder; name the one with the bench"),
    (dict(model_dir=3), None, r"config\.model_dir=3 must "),
    (
        dict(),
        axis("whitening.powr", NEAR),
        r"sweep\(\): axis 'whitening\.powr': no such knob .* Nearest: whitening\.power",
    ),
    (
        dict(),
        axis("prune.sparsity", NEAR),
        r"sweep\(\): axis 'prune\.sparsity': no such knob of a frozen study\. Nearest: prune\.amount",
    ),
    (
        dict(),
        product(axis(A, NEAR), axis("seed", range(3))),
        r"sweep\(\): a frozen study has one axis, not whitening\.power, seed; folds of questions take the place",
    ),
    (dict(), [0, 0.5], r"sweep\(\) must return one axis: axis\('whitening\.power', \(0, 0\.5, 1\)\)\."),
    (dict(), axis(A, (0.5, 1)), r"sweep\(\): axis 'whitening\.power' must hold 0, where it does nothing\."),
    (dict(), axis("quantize.bits", (8, 2)), r"sweep\(\): axis 'quantize\.bits' must hold 32, where it does nothing\."),
    (dict(), axis(A, (0, 1.5)), r"sweep\(\): whitening\.power=1\.5 must be a number from 0 to 1\."),
    (dict(), axis(A, (0, -0.1)), r"sweep\(\): whitening\.power=-0\.1 must be a number from 0 to 1\."),
    (dict(), axis(A, (0, float("nan"))), r"sweep\(\): whitening\.power=nan must be a number from 0 to 1\."),
    (dict(), axis(A, (0, "half")), r"sweep\(\): whitening\.power='half' must be a number from 0 to 1\."),
    (dict(), axis(A, (0, True)), r"sweep\(\): whitening\.power=True must be a number from 0 to 1\."),
    (
        dict(),
        axis("layers.dropped", (0, 1.5)),
        r"sweep\(\): layers\.dropped=1\.5 must be a whole number from 0 to 64\.",
    ),
    (dict(), axis("quantize.bits", (32, 1)), r"sweep\(\): quantize\.bits=1 must be a whole number from 2 to 32\."),
    (
        dict(),
        axis("quantize.bits", (32.0, 8)),
        r"sweep\(\): quantize\.bits=32\.0 must be a whole number from 2 to 32\.",
    ),
    (dict(), axis(A, (0,)), r"sweep\(\): axis 'whitening\.power' has 1 settings; give it 2 to 1,000\."),
    (
        dict(),
        axis(A, [0, *(k / 1000 for k in range(1, 1001))]),
        r"sweep\(\): axis 'whitening\.power' has 1001 settings; give it 2 to 1,000\.",
    ),
    (dict(claim__gains={}), None, r"config\.claim\.gains is empty; name a latent reading and its sign, such as dict\("),
    (
        dict(claim__gains=dict(rank_mee=1)),
        None,
        r"config\.claim\.gains\.rank_mee: no latent reading of states without labels\. Nearest: rank_me\.",
    ),
    (
        dict(claim__gains=dict(probe_accuracy=1)),
        None,
        r"config\.claim\.gains\.probe_accuracy: no latent reading of states without labels\.",
    ),
    (
        dict(claim__gains=dict(rank_me=2)),
        None,
        r"config\.claim\.gains\.rank_me=2 must be 1 \(the claim .* or -1 \(falls\)\.",
    ),
    (dict(claim__gains=dict(rank_me=True)), None, r"config\.claim\.gains\.rank_me=True must be 1 "),
    (dict(claim__gains=("rank_me",)), None, r"config\.claim\.gains"),
    (dict(claim__gains=(dict(rank_me=1),)), None, r"config\.claim\.gains"),
    (dict(claim__gain=dict(rank_me=1)), None, r"config\.claim\.gain=.*: no such field\. Nearest: config\.claim\."),
    (dict(claim__alpha=1.0), None, r"config\.claim\.alpha=1\.0 must lie between 0 and 1\."),
    (dict(claim__delta=0.0), None, r"config\.claim\.delta=0\.0 must lie between 0 and 1\."),
    (
        dict(data__options=dict(splitt="rand")),
        None,
        r"config\.data\.options\.splitt: no such option\. Nearest: split\.",
    ),
    (dict(data__options=3), None, r"config\.data\.options=3 must be a section"),
    (
        dict(data__format="commonsense"),
        None,
        r"config\.data\.format: there is no text format 'commonsense'\. Nearest: comm",
    ),
    (dict(data__format=3), None, r"config\.data\.format=3 must be "),
    (dict(data__ask=""), None, r"config\.data\.ask='' must be the name of a split"),
    (dict(data__fit=None), None, r"config\.data\.fit=None must "),
    (
        dict(data__fit_questions=15),
        None,
        r"config\.data\.fit_questions=15 must be a whole number from 16 to 1,048,576\.",
    ),
    (dict(data__folds=12), None, r"config\.data\.folds=12: no such field\. Nearest: config\.folds\."),
    (dict(folds=11), None, r"config\.folds=11 must be a whole number from 12 to 10,000\."),
    (dict(folds=12.5), None, r"config\.folds=12\.5 must be a whole number from 12"),
    (dict(seed=-1), None, r"config\.seed=-1 must be a whole number from 0 to 2,147,483,647\."),
    (dict(fold=12), None, r"config\.fold=12: no such field\. Nearest: config\.folds,"),
    (dict(stages=("train",)), None, r"config\.stages=\('train',\): no such field"),
    (dict(question=3), None, r"config\.question=3 must "),
    (dict(name="a\nb"), None, r"config\.name='a\\nb' must "),
    (
        dict(knobs__prune=dict(scor="wanda")),
        axis("prune.amount", NEAR),
        r"config\.knobs\.prune\.scor: no such setting of this study's axis\. Nearest: prune\.score\.",
    ),
    (
        dict(knobs__prune=dict(score="wandaa")),
        axis("prune.amount", NEAR),
        r"config\.knobs\.prune\.score='wandaa' must be one of magnitude, wanda, neurons\.",
    ),
    (
        dict(knobs__prune=dict(score=["wanda"])),
        axis("prune.amount", NEAR),
        r"config\.knobs\.prune\.score=\['wanda'\] must be one of magnitude, wanda, neurons\.",
    ),
    (
        dict(knobs__prune=dict(score="wanda")),
        axis(A, NEAR),
        r"config\.knobs\.prune\.score: no such setting of this study's axis\. whitening\.power has none",
    ),
    (
        dict(knobs__prune=dict(amount=0.5)),
        axis("prune.amount", NEAR),
        r"config\.knobs\.prune\.amount: no such setting of this study's axis\. Nearest: prune\.score\.",
    ),
    (
        dict(knobs__prune="wanda"),
        axis("prune.amount", NEAR),
        r"config\.knobs\.prune='wanda' must be a section, such as",
    ),
    (dict(knobs=3), None, r"config\.knobs=3 must be a section"),
]


@pytest.mark.parametrize(("changes", "grid", "message"), MISTAKES)
def test_a_mistake_is_one_sentence_with_the_field_and_the_fix(changes, grid, message, tmp_path):
    with pytest.raises(UserError, match=message) as raised:
        parsed(config_of(tmp_path, **changes), grid)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")


def test_a_config_without_a_field_that_all_have_is_refused(tmp_path):
    config = config_of(tmp_path)
    del config.folds
    with pytest.raises(UserError, match=r"config\.folds is missing: set single fields"):
        parsed(config)


@pytest.mark.parametrize(
    ("knob", "values", "message"),
    [
        ("layers.dropped", (0, 6), None),
        ("layers.dropped", (0, 7), r"sweep\(\): layers\.dropped=7 is more than the model's 6 blocks; leave it out\."),
        ("top_directions.removed", (0, 383), None),
        (
            "top_directions.removed",
            (0, 1, 384),
            r"sweep\(\): top_directions\.removed=384 is more than the model's 383 directions but one; leave it out\.",
        ),
        ("quantize.bits", (32, 8, 2), None),
        ("dimensions.removed", (0, 1), None),
        ("weight_noise.scale", (0, 10), None),
    ],
)
def test_more_blocks_or_directions_than_there_are_cannot_be_left_out(knob, values, message, tmp_path):
    study = parsed(config_of(tmp_path), axis(knob, values))
    if message is None:
        check_sizes(study, layers=6, width=384)
    else:
        with pytest.raises(UserError, match=message):
            check_sizes(study, layers=6, width=384)
