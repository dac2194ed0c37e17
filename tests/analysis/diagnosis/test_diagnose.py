"""Each cause is found in the results in which it was planted, and not in those in which it wasn't."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from analysis.diagnosis import CAUSES, STATUSES, diagnose, find, rules
from analysis.diagnosis.broken_ability import BrokenAbility
from analysis.results import Records
from analysis.verdicts import bounds
from lab.mechanisms import MECHANISMS
from tests.analysis import synthetic_study
from tests.tasks.task_cases import first_by_default

CARDS = dict(task="n_back", n=2, least_n=2, larger_n=3, length=26, longer=28, symbols=16)  # 24 answers, all or nothing


def planted(change=None, edits=None, **options):
    """{(ability, cause): its diagnosis} of a synthetic study whose columns `change(columns, far)` may alter.

    Facts hold, then fall; Z6 falls down a cliff; addition never moves. `far` marks the cells off neutral.
    """
    one = synthetic_study.study(**options)
    results = synthetic_study.results(one, diverged=False)
    columns = {name: values.copy() for name, values in results.columns.items()}
    far = np.asarray([cell[one.claim.knob] > 0 for cell in one.cells])
    if change:
        change(columns, far)
    records = Records(activation_edits=edits(far) if edits else {})
    found = find(replace(results, columns=columns), records).diagnoses
    assert {each.status for each in found} <= set(STATUSES)
    assert {each.cause for each in found} <= set(CAUSES)
    return {(f"{each.task}/{each.split}", each.cause): each for each in found}


def blur_information(columns, far):
    """V-information is neither shown to fall nor to stay."""
    for name in columns:
        if name.endswith("/v_information"):
            columns[name][far] += 0.3 * np.sin(np.arange(far.sum()))[:, None]


@functools.cache
def judged(cards):
    """(results, the bounds of the facts' ability) of the synthetic study; `cards`: 24 answers in place of one."""
    results = synthetic_study.results(synthetic_study.study(**({"facts": CARDS} if cards else {})), diverged=False)
    return results, next(each for each in bounds(results) if (each.label, each.split) == ("facts", "iid"))


def broken(change, cards=False):
    """The facts' ability, which falls behind a half of the settings, after `change(columns, far)`."""
    results, bound = judged(cards)
    columns = {name: values.copy() for name, values in results.columns.items()}
    change(columns, np.asarray([cell[results.study.claim.knob] > 0 for cell in results.study.cells]))
    return BrokenAbility(replace(results, columns=columns), bound)


def test_where_nothing_is_planted_a_fall_stays_unresolved_and_what_held_is_refuted():
    found = planted(blur_information)
    assert found["facts/iid", "unresolved"].status == "holds"
    assert ("z6/iid", "unresolved") not in found
    for ability in ("facts/iid", "z6/iid"):
        for name in ("metric artefact", "undertrained"):
            assert found[ability, name].status == "refuted", name
        for name in ("collapse", "compression", "elicitation gap"):
            assert found[ability, name].status == "not shown", name
        for name in ("ceiling", "shortcut", "over-regularization"):
            assert found[ability, name].status == "not testable", name
    assert found["facts/iid", "over-pruning"].status == "not shown"
    assert found["z6/iid", "over-pruning"].status == "suspected"  # it has neither head nor tail
    assert not [ability for ability, _ in found if ability.startswith("path_star")]  # not learned: nothing to lose


def test_where_the_dimension_falls_and_the_information_does_not_it_is_compression_and_perhaps_a_readout_that_lost_it():
    found = planted()
    for ability in ("facts/iid", "z6/iid"):
        assert found[ability, "collapse"].status == "refuted"
        assert found[ability, "compression"].status == "holds"
        assert found[ability, "elicitation gap"].status == "suspected"


def keep_logprob(columns, far):
    columns["facts/iid/logprob"][far] = columns["facts/iid/logprob"][~far].mean(axis=0)


def lose_some_tokens(columns, far):
    """Each of the 24 answers is right or wrong on its own, and log-probability stays."""
    keep_logprob(columns, far)
    columns["facts/iid/token_accuracy"][:] = columns["facts/iid/exact"] ** (1 / 24)


def test_a_break_of_exact_accuracy_alone_is_an_artefact_of_the_metric():
    found = planted(lose_some_tokens, facts=CARDS)
    artefact = found["facts/iid", "metric artefact"]
    assert artefact.status == "holds"
    assert not [name for name in artefact.evidence if name.endswith("falls_from")]
    assert found["z6/iid", "metric artefact"].status == "refuted"
    assert not [name for name in found["z6/iid", "metric artefact"].evidence if name.endswith("falls_from")]
    assert ("facts/iid", "unresolved") not in found


def test_an_answer_of_one_token_has_no_artefact_however_little_its_log_probability_falls():
    assert rules.metric_artefact(broken(keep_logprob)).status == "refuted"


@pytest.mark.parametrize(("whole", "status"), [(True, "refuted"), (False, "holds")])
def test_token_accuracy_and_not_log_probability_decides_on_an_artefact(whole, status):
    """Answers that are lost as a whole are lost, however little log-probability falls; and the reverse."""

    def lose(columns, far):
        if whole:
            keep_logprob(columns, far)
        else:
            lose_some_tokens(columns, far)
            columns["facts/iid/logprob"][far] -= 2.0

    artefact = rules.metric_artefact(broken(lose, cards=True))
    assert artefact.status == status
    assert ("logprob_falls_from" in artefact.evidence) == (not whole)
    assert artefact.evidence["logprob"] == pytest.approx(0 if whole else -2, abs=0.1)


def test_an_artefact_of_the_metric_says_from_where_on_other_readings_fall_as_well():
    results, bound = judged(True)
    knob_C = np.asarray([cell[results.study.claim.knob] for cell in results.study.cells])
    but_one = sorted({*knob_C})[-2]

    def lose_it_at_the_end(columns, far):
        lose_some_tokens(columns, far)
        columns["facts/iid/logprob"][knob_C >= but_one] -= 2.0
        columns["facts/iid/token_accuracy"][knob_C > but_one] -= 0.2

    artefact = rules.metric_artefact(broken(lose_it_at_the_end, cards=True))
    assert artefact.status == "holds"
    assert artefact.at == bound.harmful_from < but_one
    assert artefact.evidence["logprob_falls_from"] == but_one
    assert artefact.evidence["token_accuracy_falls_from"] == max(knob_C)


def test_cells_that_diverged_have_lost_their_tokens():
    """Where most cells are gone, the tokens of the others are no evidence that only exact accuracy fell."""
    one = broken(lose_some_tokens, cards=True)
    assert rules.metric_artefact(one).status == "holds"
    gone = np.asarray([cell[one.study.claim.knob] == one.at and cell["seed"] >= 2 for cell in one.study.cells])
    last = np.arange(len(one.results.step)) == len(one.results.step) - 1
    columns = {n: np.where(gone[:, None] & last, np.nan, values) for n, values in one.results.columns.items()}
    results = replace(one.results, columns=columns, diverged_at=np.where(gone, one.results.step[-2] + 1, -1))
    assert rules.metric_artefact(replace(one, results=results)).status == "refuted"


def scale(columns, where, label, **factors):
    """Latent readings of a task, times a factor in some cells."""
    for name in columns:
        task, _, reading = name.split("/")[0], *name.rpartition("/")[1:]
        if task == label and reading in factors:
            columns[name][where] *= factors[reading]


def test_a_fall_of_dimension_information_and_probe_accuracy_is_a_collapse():
    found = planted(lambda columns, far: scale(columns, far, "facts", v_information=0.5, probe_accuracy=0.5))
    assert found["facts/iid", "collapse"].status == "holds"
    assert found["facts/iid", "compression"].status == "not shown"
    assert found["z6/iid", "collapse"].status == "refuted"


@pytest.mark.parametrize(
    ("information", "probe", "status"),
    [
        (0.5, 1.0, "not shown"),  # the probe reads all that it read
        (-8.0, 0.5, "not shown"),  # an estimate below 0 says nothing
        (-0.01, 0.5, "holds"),  # what is read off states that say nothing
    ],
)
def test_a_collapse_needs_a_probe_that_agrees_and_information_that_can_be_trusted(information, probe, status):
    one = broken(lambda *study: scale(*study, "facts", v_information=information, probe_accuracy=probe))
    assert rules.collapse(one).status == status
    assert rules.compression(one).status == "not shown"
    assert rules.elicitation_gap(one).status != "suspected"


def test_neutral_cells_without_information_have_none_to_lose_or_to_keep():
    one = broken(lambda columns, far: scale(columns, slice(None), "facts", v_information=-2.0))
    for rule in (rules.collapse, rules.compression, rules.elicitation_gap):
        assert rule(one).status == "not shown", rule


@pytest.mark.parametrize(("intact", "status", "at"), [((), "holds", 0.7), ((0.8,), "refuted", None)])
def test_a_collapse_that_comes_after_the_first_harm_names_where_it_starts(intact, status, at):
    """Z6 is harmed from .4 on; its information is lost from .7 on, where it is not kept at the far end."""
    one = synthetic_study.study()
    results = synthetic_study.results(one, diverged=False)
    sparsity_C = np.asarray([cell["prune.sparsity"] for cell in one.cells])
    lost = (sparsity_C > 0.65) & ~np.isin(np.round(sparsity_C, 6), intact)
    scale(results.columns, lost, "z6", v_information=0.5, probe_accuracy=0.5)
    findings = find(results)
    (bound,) = [each for each in findings.bounds if (each.label, each.split) == ("z6", "iid")]
    assert bound.harmful_from < 0.5
    diagnoses = findings.diagnoses
    (collapse,) = [each for each in diagnoses if (each.task, each.split, each.cause) == ("z6", "iid", "collapse")]
    assert collapse.status == status
    assert collapse.at == pytest.approx(at or bound.harmful_from)
    ((_, text),) = [each for each in diagnose.paragraphs(diagnoses, "{:g}".format) if each[0] == "z6/iid"]
    assert (", but only from 0.7 on." in text) == (at is not None)
    assert text.startswith(f"{bound.harmful_from:g} against neutral.")


def test_a_fall_of_information_without_dimension_is_none():
    def lose_information_alone(columns, far):
        for name in columns:
            if name.startswith("facts/") and name.endswith("/v_information"):
                columns[name][far] *= 0.5
            if name.startswith("facts/") and name.endswith("/participation_ratio"):
                columns[name][far] = columns[name][~far].mean(axis=0) + 1.0

    assert planted(lose_information_alone)["facts/iid", "collapse"].status == "not shown"


@pytest.mark.parametrize(
    ("harmed", "neutral", "status"),
    [
        (0.2, 0.0, "holds"),
        (0.0, 0.2, "refuted"),  # that neutral cells still rise says nothing about why others are below them
        (0.2, 0.2, "not shown"),
        (0.0, 0.0, "refuted"),
    ],
)
def test_harmed_cells_that_still_rise_where_neutral_ones_rest_are_undertrained(harmed, neutral, status):
    def rise(columns, far):
        exact = columns["facts/iid/exact"]
        exact[:, -2] = exact[:, -1] - np.where(far, harmed, neutral)

    found = rules.undertrained(broken(rise))
    assert found.status == status
    assert found.evidence["rise"] == pytest.approx(harmed)
    assert found.evidence["neutral_rise"] == pytest.approx(neutral)


def test_an_interval_in_which_the_knob_begins_to_act_shows_no_rest():
    """With one checkpoint behind the knob's onset the last interval holds the loss itself."""
    one = broken(lambda columns, far: None)
    assert rules.undertrained(one).status == "refuted"
    cut = replace(
        one.results,
        step=np.delete(one.results.step, -2),
        shared=tuple((*row[:-2], row[-1]) for row in one.results.shared),
        columns={name: np.delete(values, -2, axis=1) for name, values in one.results.columns.items()},
    )
    assert rules.undertrained(replace(one, results=cut)).status == "not testable"


@pytest.mark.parametrize(("level", "status"), [(0.995, "holds"), (0.9, "not shown")])
def test_where_a_latent_gain_leaves_an_ability_behind_there_may_be_no_room(level, status):
    def hold(columns, far):
        columns["addition/iid/exact"][:] = level + 1e-3 * np.sin(np.arange(len(far)))[:, None]

    found = planted(hold)
    assert found["addition/iid", "ceiling"].status == status
    assert found["addition/iid", "collapse"].status == "not testable"  # nothing is harmed


def test_where_the_tail_falls_first_over_pruning_is_suspected():
    def lose_the_tail(columns, far):
        columns["facts/tail/exact"][far] -= 0.3

    one = planted(lose_the_tail)["facts/iid", "over-pruning"]
    assert one.status == "suspected"
    assert one.needs


@pytest.mark.parametrize(("rise", "needs"), [(0.5, True), (0.0, False)])
def test_that_the_tasks_loss_rises_with_what_is_lost_raises_no_suspicion_of_over_regularization(rise, needs):
    def pull(columns, far):
        columns["train/loss"][far] = columns["train/loss"][~far].mean(axis=0) + rise

    found = planted(pull, knob="label_smoothing.rate")
    assert found["facts/iid", "over-regularization"].status == "not shown"
    assert bool(found["facts/iid", "over-regularization"].needs) == needs  # relaxing it would show it
    assert found["facts/iid", "over-pruning"].status == "not testable"


@pytest.mark.parametrize(("held", "status"), [(True, "suspected"), (False, "not shown")])
def test_where_only_the_cue_holds_a_shortcut_is_suspected(held, status):
    def learn_the_cue(columns, far):
        iid = columns["facts/iid/exact"]
        columns["facts/uncued/exact"][:] = np.where(far[:, None], 0.5, 0.95) + 0.01 * iid
        iid[:] = 0.95 + 0.01 * iid if held else columns["facts/uncued/exact"]

    assert planted(learn_the_cue, spurious=0.9)["facts/uncued", "shortcut"].status == status


@pytest.mark.parametrize(
    ("right", "lost", "selective", "status"),
    first_by_default(
        [
            (0.95, 0.0, 0.5, "holds"),  # decodable and not used
            (0.95, 0.3, 0.5, "suspected"),  # used
            (0.95, 0.0, 0.0, "suspected"),  # no probe finds it
            (0.05, 0.0, 0.5, "suspected"),  # nothing is answered that removing could hurt
        ],
        2,
    ),
)
def test_a_shortcut_holds_where_what_a_probe_reads_is_not_used(right, lost, selective, status):
    def learn_the_cue(columns, far):
        iid = columns["facts/iid/exact"]
        columns["facts/uncued/exact"][:] = np.where(far[:, None], 0.5, 0.95) + 0.01 * iid
        iid[:] = 0.95 + 0.01 * iid
        name = next(name for name in columns if name.startswith("facts/") and name.endswith("probe_selectivity"))
        columns[name][:] = selective + 0.01 * np.sin(np.arange(len(far)))[:, None]

    def edits(far):
        noise = 0.001 * np.cos(np.arange(len(far)))
        kinds = {"none": right + noise, "random": right - 0.01 + noise, "factor": right - 0.01 - lost - noise}
        return {f"facts/remove/{kind}/exact": np.where(far, values, right) for kind, values in kinds.items()}

    found = planted(learn_the_cue, edits, spurious=0.9)["facts/uncued", "shortcut"]
    assert found.status == status
    assert (found.needs == "") == (status == "holds")
    assert found.evidence["lost_beyond_random"] == pytest.approx(lost, abs=0.01)
    assert found.evidence["selectivity"] == pytest.approx(selective, abs=0.02)


def test_what_prunes_and_what_regularizes():
    assert set(rules.PRUNING) <= set(MECHANISMS)
    regularizers = {name for name, mechanism in MECHANISMS.items() if rules.regularizes(mechanism.knobs[0].name)}
    assert {"weight_decay", "label_smoothing", "residual_dropout", "isotropy", "vib"} <= regularizers
    assert not regularizers & {*rules.PRUNING, "fsq", "width", "memory", "loop", "curriculum"}
    assert not rules.regularizes("optimizer.learning_rate")


def test_every_ability_has_one_paragraph_without_empty_parts():
    paragraphs = diagnose.paragraphs(list(planted(blur_information).values()), lambda value: f"{value:g}")
    assert [ability for ability, _ in paragraphs][:2] == ["facts/iid", "z6/iid"]
    assert "Unresolved" in paragraphs[0][1]
    for _, text in paragraphs[:2]:
        assert "Refuted: metric artefact" in text
        assert "()" not in text
