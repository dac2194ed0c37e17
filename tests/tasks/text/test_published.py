"""The published files themselves, where they are: as many items as their pages say, and the floors that are known."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tasks.text import read, summaries

DATA = Path(os.environ.get("MISMATCH_DATA", Path(__file__).parents[4] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no published files here; MISMATCH_DATA says where they are")

COUNTS = [  # format, options, items of each split
    ("babi", {"part": 19}, {"train": 1000, "test": 1000}),
    ("babi", {"part": 2, "version": "en-valid"}, {"valid": 100}),
    ("babi", {"part": 1, "version": "en-10k"}, {"train": 10000, "test": 1000}),
    ("scan", {"split": "simple"}, {"train": 16728, "test": 4182}),
    ("scan", {"split": "length"}, {"train": 16990, "test": 3920}),
    ("scan", {"split": "addprim_jump"}, {"train": 14670, "test": 7706}),
    ("scan", {"split": "simple_p1"}, {"train": 209}),
    ("commonsenseqa", {}, {"train": 9741, "dev": 1221}),
    ("proofwriter", {}, {"train": 3000, "dev": 600, "test": 600}),
    ("prontoqa", {}, {"dev": 500}),
    ("listops", {}, {"test": 10000}),
    ("logical_entailment", {}, {"validate": 5000, "test_easy": 5000, "test_big": 1696, "test_massive": 2230,
                               "test_exam": 100}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "counts"), COUNTS)
def test_as_many_items_as_published(name, options, counts):
    dataset = read(name, DATA / name, **options)
    assert {split: len(items) for split, items in dataset.splits.items()} == counts
    if name == "scan" and options["split"] == "length":
        actions = {split: [item.factors["actions"] for item in items] for split, items in dataset.splits.items()}
        assert (max(actions["train"]), min(actions["test"]), max(actions["test"])) == (22, 24, 48)
    if name == "scan" and options["split"] == "addprim_jump":
        assert len({item.asked for item in dataset.splits["train"]}) == 13204
    if name == "logical_entailment":
        entailed = {split: sum(item.answer == "1" for item in items) for split, items in dataset.splits.items()}
        assert entailed == {"validate": 2416, "test_easy": 2462, "test_big": 848, "test_massive": 1115, "test_exam": 53}
    if name == "prontoqa":
        assert Counter(item.factors["letter"] for item in dataset.splits["dev"]) == {"A": 258, "B": 242}
    if name == "proofwriter":
        assert {item.factors["max_depth"] for item in dataset.splits["test"]} == {5}


@pytest.mark.parametrize(
    ("part", "floor", "repeats"), [(1, 18.7, 2), (2, 18.7, 0), (3, 18.5, 0), (15, 21.3, 0), (16, 23.6, 0), (19, 8.1, 0)]
)
def test_floors_and_repeats_of_babi(part, floor, repeats):
    found = summaries(read("babi", DATA / "babi", part=part), 128)["test"]
    assert round(100 * found.floor, 1) == floor
    assert found.repeats == repeats
    assert found.unknown == 0
