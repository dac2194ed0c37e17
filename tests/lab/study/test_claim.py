"""Claims at places: what a config may say, what it comes to, and the sentence for every mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.jobs.workdir import Workdir, read_study
from lab.storage import write_document
from lab.storage.history import READINGS
from lab.study import ability, gain, study_config
from lab.study.fields import override
from lab.study.loader import load
from lab.study.parse import parse
from lab.study.places import MEASURES
from tests.lab.conftest import LAYOUT, study_of, tiny_config

ROOT = Path(__file__).parents[3]
PLAIN = "b5a05c9a03d6f116"  # the tiny study's claim as it was hashed before there were places


def config_of(gains=None, abilities=None):
    config = tiny_config()
    config.claim.gains = config.claim.gains if gains is None else gains
    config.claim.abilities = config.claim.abilities if abilities is None else abilities
    return config


def claim_of(gains=None, abilities=None):
    return study_of(config_of(gains, abilities)).claim


def test_plain_names_are_what_they_were():
    study = study_of()
    assert study.claim_hash() == PLAIN
    for gains, abilities in (
        ((gain("participation_ratio", -1),), (ability("facts"),)),
        ((dict(participation_ratio=-1),), (ability("facts", "iid", "exact"),)),
        ((gain("participation_ratio", sign=-1, layer=-1, stage="prune"),), (ability("facts", step=18),)),
    ):
        same = study_of(config_of(gains, abilities))
        assert same.claim == study.claim
        assert same.claim_hash() == PLAIN
        assert same.cell_keys == study.cell_keys


def test_a_claim_changes_no_checkpoint_and_its_places_change_its_hash():
    placed = [
        (gain("participation_ratio", -1, task="word"),),
        (gain("participation_ratio", -1, task="word", stage="train"),),
        (gain("participation_ratio", -1, task="word", step=3),),
    ]
    studies = [study_of(), *(study_of(config_of(one)) for one in placed)]
    assert len({study.claim_hash() for study in studies}) == len(studies)
    assert len({study.cell_keys for study in studies}) == 1


def test_checked_places_count_layers_from_0_name_steps_and_leave_out_defaults():
    claim = claim_of(
        (gain("fisher_trace", task="word", position="last", split="iid", factor="state", stage="train"),),
        ("word/iid", ability("word", probe="linear", stage="train"), ability("facts", measure="logprob", step=3)),
    )
    (one,) = claim.placed_gains
    assert one == gain("fisher_trace", task="word", step=12)
    assert one.key == "fisher_trace[task=word, step=12]"
    assert claim.abilities == (("word", "iid"), ("word", "layer1/last/probe_accuracy@12"), ("facts", "iid/logprob@3"))
    assert [each.column() for each in claim.placed_abilities] == [
        "word/layer1/last/probe_accuracy",
        "facts/iid/logprob",
    ]
    assert claim.place("word", "iid") is None


def test_old_and_new_forms_mix():
    claim = claim_of((dict(participation_ratio=-1, two_nn=1), gain("fisher_trace", step=3)))
    assert claim.gains == (("participation_ratio", -1), ("two_nn", 1))
    assert [one.key for one in claim.every_gain] == ["participation_ratio", "two_nn", "fisher_trace[step=3]"]


def test_a_command_line_adds_a_sign_or_turns_one_round():
    config = config_of((dict(participation_ratio=-1), gain("two_nn"), gain("fisher_trace", step=3)))
    override(config, "claim.gains.participation_ratio", "1")
    override(config, "claim.gains.two_nn", "-1")
    override(config, "claim.gains.silhouette", "1")
    claim = study_of(config).claim
    assert dict(claim.gains) == {"participation_ratio": 1, "two_nn": -1, "silhouette": 1}
    assert [one.key for one in claim.placed_gains] == ["fisher_trace[step=3]"]


def test_a_claim_is_read_back_from_its_work_directory(tmp_path):
    gains = (dict(two_nn=1), gain("fisher_trace", -1, task="word", stage="train"))
    config = config_of(gains, ("facts/iid", ability("word", probe="v_information", step=3)))
    config.tasks.word.factor = ("state", "last")
    study = study_of(config)
    workdir = Workdir(tmp_path, study, config, LAYOUT)
    write_document(tmp_path / "study.json", json.loads(json.dumps(workdir.record)))
    again = read_study(tmp_path, ("two_nn", "fisher_trace"))
    assert again.claim == study.claim
    assert again.tasks == study.tasks
    assert workdir.check() == []


def test_the_measures_are_the_recorded_readings():
    assert set(MEASURES) == set(READINGS)


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        ((gain("fisher_trac"),), r"unknown metric 'fisher_trac'\. Nearest: fisher_trace\."),
        ((gain("two_nn", task="wrd"),), r"'two_nn': no task 'wrd'\. Nearest: word\."),
        ((gain("two_nn", task="word", split="idd"),), r"no split 'idd' of word\. Nearest: iid\."),
        ((gain("two_nn", task="word", factor="stat"),), r"no factor 'stat' of word\. Nearest: state"),
        (
            (gain("two_nn", task="word", factor="last"),),
            r"not read; set config\.tasks\.word\.factor=\('state', 'last'\)",
        ),
        ((gain("two_nn", position="last"),), r"no read position 'last' of facts\. Valid: answer\."),
        ((gain("two_nn", layer=0),), r"layer=0 is not measured; add it to config\.probe\.layers=\(1,\)\."),
        ((gain("two_nn", layer=7),), r"layer 7 must lie in \[-2, 1\]"),
        ((gain("two_nn", stage="trian"),), r"no stage 'trian'\. Nearest: train\."),
        ((gain("two_nn", step=4),), r"step=4 is not saved; saved are 3, 12, 18\."),
        ((gain("two_nn", step=3, stage="train"),), r"name the stage or the step of 'two_nn', not both"),
        ((gain("two_nn", 2),), r"sign=2 must be 1 \(the claim is that it rises\)"),
        ((gain("two_nn", layer="1"),), r"layer='1' must be a whole number"),
        ((gain("two_nn"), gain("two_nn", -1)), r"'two_nn' is claimed twice"),
        ((gain("two_nn"), gain("two_nn", task="facts")), r"'two_nn' is claimed twice"),
        (("two_nn",), r"'two_nn' must be a gain\(…\)"),
        (({"metric": "two_nn", "at": 3},), r"'at' is no field of gain\(…\)"),
        (3, r"\.gains=3 must be a section"),
        ((), r" needs at least one entry in gains"),
    ],
)
def test_a_gain_that_has_no_place_is_one_sentence(gains, message):
    with pytest.raises(UserError, match=rf"^config\.claim.*{message}") as caught:
        claim_of(gains)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("abilities", "message"),
    [
        ((ability("fact"),), r"no task 'fact'\. Nearest: facts\."),
        ((ability("facts", "tial"),), r"no split 'tial'\. Nearest: tail"),
        ((ability("facts", measure="exct"),), r"measure='exct' must be one of exact, token_accuracy, logprob"),
        ((ability("facts", probe="linea"),), r"probe='linea' must be one of linear, probe_accuracy"),
        ((ability("facts", probe="linear", measure="exact"),), r"name one of them"),
        ((ability("facts", layer=1),), r"layer=1 is for what a probe reads: name the probe"),
        ((ability("word", probe="linear", layer=0),), r"layer=0 is not measured"),
        ((ability("facts", step=5),), r"step=5 is not saved; saved are 3, 12, 18"),
        (("facts/iid", ability("facts")), r"'facts/iid' is claimed twice; claim each once"),
        (({},), r"ability\(…\) needs a task"),
        ((["facts/iid"],), r"must be a tuple of abilities"),
    ],
)
def test_an_ability_that_has_no_place_is_one_sentence(abilities, message):
    with pytest.raises(UserError, match=rf"^config\.claim\.abilities.*{message}") as caught:
        claim_of(None, abilities)
    assert "\n" not in str(caught.value)


def test_of_many_saved_steps_the_nearest_are_named():
    config = config_of((gain("two_nn", step=1000),))
    config.steps, config.saves = dict(train=6000, prune=3), dict(train=60, prune=1)
    with pytest.raises(UserError, match=r"step=1000 is not saved; of 5\d that are saved the nearest are .*\b990\b"):
        study_of(config)


def test_a_task_reads_several_factors_the_first_of_which_goes_without_saying():
    config = tiny_config()
    keys = study_of(config).cell_keys
    config.tasks.word.factor = ("last", "state")
    study = study_of(config)
    assert study.tasks[1].factors == ("last", "state")
    assert study.cell_keys == keys
    assert [one[1:] for one in study.probe_sets] == [("iid", "value"), ("iid", "last"), ("iid", "state")]
    config.tasks.word.factor = ("last", "stat")
    with pytest.raises(UserError, match=r"config\.tasks\.word\.factor: unknown factor 'stat'\. Nearest: state"):
        study_of(config)
    assert study_config().claim.gains.to_dict() == {}


def test_the_example_of_the_page_is_a_study(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "claims.md").read_text(), re.DOTALL)
    (tmp_path / "study.py").write_text(code)
    module = load(tmp_path / "study.py")
    config = module.get_config()
    study = parse(config, module.sweep(config), ("participation_ratio", "fisher_trace"))
    assert [one.key for one in study.claim.every_gain] == [
        "participation_ratio[task=add, step=1600]",
        "fisher_trace[task=add, step=1600]",
    ]
    assert study.claim.abilities == (("subtract", "layer2/answer/probe_accuracy@1600"), ("subtract", "iid"))
