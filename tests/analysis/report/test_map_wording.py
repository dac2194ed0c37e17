"""Every verdict's sentence, on the map that it is read off: it names what is shown, where, and nothing else."""

import dataclasses

import numpy as np
import pytest

from analysis.report.map_wording import Words, sentence, where
from analysis.stats import VERDICTS, map_verdict
from tests.analysis.report.test_map_figure import a_map

FALLS = Words("the dimension", "accuracy", lambda value: f"{value:.0%}", -1)
KEPT, LOST, GAIN, GONE, OPEN = ("gain", "free"), ("gain", "harmed"), ("gain",), ("harmed", "gain lost"), ()
# verdict -> (what is shown at 10%, 20% and 30%, its sentence)
SENTENCES = {
    "moves against the claim": (
        (("free",), ("free", "against"), ("against",)),
        "The dimension rises from 20% on, against the claim, and is nowhere shown to fall.",
    ),
    "no gain shown": ((("free",), OPEN, ("harmed",)), "The dimension is at no setting shown to fall, nor to rise."),
    "gain, then loss": (
        (KEPT, GAIN, LOST),
        "The dimension falls while accuracy is kept up to 10%; at 30% it still falls and accuracy is lost."
        " Better latents stop meaning ability between 10% and 30%.",
    ),
    "gain only after the ability is lost": (
        (("free",), ("harmed",), LOST),
        "The dimension falls only at 30%, where accuracy is already lost (from 20% on).",
    ),
    "harmed from the start": (
        (OPEN, LOST, LOST),
        "The dimension falls from 20% on, and there accuracy is lost.",
    ),
    "transfers": (
        (KEPT, ("gain", "better"), ("harmed",)),
        "The dimension falls and accuracy gets better at 20%; at 30% accuracy is lost, with no gain shown.",
    ),
    "gains, then loses the gain": (
        (KEPT, OPEN, GONE),
        "The dimension falls while accuracy is kept (at 10%); accuracy is lost at 30%, and there the metric has lost"
        " its gain again.",
    ),
    "gain for nothing": (
        (KEPT, ("free",), KEPT),
        "The dimension falls at 10% and at 30%, and accuracy stays as it was: kept, and nowhere shown better.",
    ),
    "undecided": (
        (KEPT, GAIN, OPEN),
        "The dimension falls from 10% to 20%; at 20% accuracy is shown neither kept nor lost: more seeds would decide.",
    ),
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_a_sentence_says_what_its_map_shows(kind):
    shown, expected = SENTENCES[kind]
    found = a_map(*shown)
    verdict = map_verdict(found)
    assert verdict.kind == kind
    assert sentence(found, verdict, FALLS) == expected


def test_a_gain_that_comes_with_the_loss_is_not_said_to_come_after_it():
    found = a_map(("free",), LOST, LOST)
    verdict = map_verdict(found)
    assert verdict.kind == "gain only after the ability is lost"
    assert sentence(found, verdict, FALLS) == "The dimension falls only from 20% on, where accuracy is lost."


def test_what_was_not_learned_and_what_was_not_tested_have_sentences():
    low = dataclasses.replace(a_map(OPEN), p_learned=0.3)
    assert sentence(low, map_verdict(low), FALLS).endswith("(0.1): there is nothing to lose.")
    few = dataclasses.replace(a_map(OPEN), n_seeds=3)
    assert sentence(few, map_verdict(few), FALLS) == "3 seeds are too few for this test (5 are needed)."
    assert {*SENTENCES, "not learned"} == set(VERDICTS)


def test_a_gain_from_neutral_on_whose_ability_is_open_claims_no_kept_ability():
    found = a_map(GAIN, LOST, LOST)
    assert sentence(found, map_verdict(found), FALLS) == (
        "The dimension falls from 10% on, and from 20% on accuracy is lost; between, accuracy is shown neither kept nor"
        " lost."
    )


def test_settings_that_were_added_do_not_contradict_the_verdict():
    """A gain at a setting that was added is in the map; the verdict, of the designed ones, says that none is shown."""
    found = a_map(("free",), GAIN, ("free",))
    found = dataclasses.replace(found, designed_K=np.asarray([True, True, False, True]))
    verdict = map_verdict(found)
    assert verdict.kind == "no gain shown"
    assert where(found, found.shown("gain"), FALLS.short) == "at 20%"
    assert sentence(found, verdict, FALLS) == "The dimension is at no setting shown to fall, nor to rise."


def test_a_raw_name_keeps_its_first_letter():
    found = a_map(KEPT)
    raw = dataclasses.replace(FALLS, metric="two_nn")
    assert sentence(found, map_verdict(found), raw).startswith("two_nn falls at 10%")
