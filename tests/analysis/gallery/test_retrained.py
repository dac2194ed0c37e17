"""The page on studies that were trained twice says what its file holds."""

import json
import re
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
RUNS = json.loads((DOCS / "retrained.json").read_text())
PAGE = (DOCS / "retrained.md").read_text()


def pairs():
    """(first, second) of what each claim shows at each setting but the neutral one."""
    for study in RUNS.values():
        for one, two in zip(study["first"]["claims"], study["second"]["claims"], strict=True):
            assert (one["ability"], one["metric"], one["stratum"]) == (two["ability"], two["metric"], two["stratum"])
            for (value, first), (again, second) in zip(one["shown"], two["shown"], strict=True):
                assert value == again
                if value != study["neutral"]:
                    yield set(first), set(second)


def ability(shown):
    return "kept" if {"free", "better"} & shown else "lost" if "harmed" in shown else "undecided"


def metric(shown):
    return "gain" if "gain" in shown else "against" if "against" in shown else ""


def test_what_is_shown_at_settings():
    abilities = Counter((ability(first), ability(second)) for first, second in pairs())
    metrics = Counter((metric(first), metric(second)) for first, second in pairs())
    assert not abilities["kept", "lost"] + abilities["lost", "kept"]
    assert not metrics["gain", "against"] + metrics["against", "gain"]
    assert abilities.total() == 736
    assert "At none of 736 settings" in PAGE
    rows = {
        "the same word in both runs": sum(n for (one, two), n in abilities.items() if one == two),
        "undecided, then shown lost": abilities["undecided", "lost"],
        "shown kept, then undecided": abilities["kept", "undecided"],
        "shown lost, then undecided": abilities["lost", "undecided"],
        "the same in both runs": sum(n for (one, two), n in metrics.items() if one == two),
        "not shown to move, then shown to": sum(n for (one, two), n in metrics.items() if not one and two),
        "shown to move, then not": sum(n for (one, two), n in metrics.items() if one and not two),
    }
    assert dict(re.findall(r"\| ([a-z ,]+) \| (\d+) \|\n", PAGE)) == {name: str(n) for name, n in rows.items()}


def test_verdicts_by_study():
    found = {}
    for study in RUNS.values():
        both = list(zip(study["first"]["claims"], study["second"]["claims"], strict=True))
        found[study["study"]] = (str(len(both)), str(sum(one["verdict"] == two["verdict"] for one, two in both)))
    assert {
        study: (claims, same) for study, claims, same in re.findall(r"\| `(.*)` \| (\d+) \| (\d+) \|", PAGE)
    } == found
    claims, same = (sum(int(row[n]) for row in found.values()) for n in (0, 1))
    assert f"{same} of {claims} claims have the same one" in PAGE
