"""CLUTRR: how are two members of a family related, by a story about others?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tasks.base import TaskError
from tasks.text.files import Place, Record, filled, some, table_records, text_field
from tasks.text.items import Item, Loaded, Reader, Value, apart

ORDER = ("train", "valid", "validation", "test")


def read_families(file: Path) -> tuple[Item, ...]:
    """CLUTRR's stories: the question is the two names of its query, in order, the answer how the second is related.

    Raises:
      TaskError: for a row without its columns, or a query that isn't a pair of names.
    """
    return tuple(_family(record, place) for place, record in table_records(file))


def _family(record: Record, place: Place) -> Item:
    query = text_field(record, "query", place)
    pair = re.fullmatch(r"\(\s*(['\"])(.+?)\1\s*,\s*(['\"])(.+?)\3\s*\)", query)
    if not pair:
        raise place.error(f"query {query[:40]} must be a pair of names like ('Ann', 'Bob'); correct it.")
    task = re.fullmatch(r"(?:task_)?(\d{1,3})\.(\d{1,3})", text_field(record, "task_name", place))
    if not task:
        raise place.error(f"task_name '{record['task_name'][:40]}' must be like task_1.2; correct it.")
    factors = {"noise": int(task[1]), "hops": int(task[2]), "rule": text_field(record, "f_comb", place)}
    answer = text_field(record, "target_text" if "target_text" in record else "target", place)
    return Item(
        (filled(text_field(record, "story", place), "story", place),),
        f"{pair[2]} {pair[4]}",
        filled(answer, "target", place),
        factors=factors,
        file=place.file,
        line=place.line,
    )


def _clutrr(folder: Path, options: Mapping[str, Value]) -> Loaded:
    """One train file; each test file of its own clauses is a split. One with clauses that train lacks is shifted."""
    if not folder.is_dir():
        raise TaskError(f"there is no folder {folder}; give the one that the files lie in.")
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*.csv")) + sorted(folder.glob("*.csv.gz")):
        split = _split(file.name.removesuffix(".gz"))
        if split and files.setdefault(split, file).name != file.name.removesuffix(".gz") and files[split] != file:
            raise TaskError(
                f"{folder} holds two files of {split}, {files[split].name} and {file.name}; keep one of them."
            )
    if not files:
        raise TaskError(
            f"{folder} holds no CSV file such as 1.2,1.3_train.csv or train.csv; give the folder of one data set."
        )
    splits = {split: some(files[split], read_families(files[split])) for split in sorted(files, key=_in_order)}
    clauses = {split: {(i.factors["noise"], i.factors["hops"]) for i in items} for split, items in splits.items()}
    trained = clauses.get("train", set())
    return Loaded(splits, tuple(split for split in splits if trained and clauses[split] - trained))


def _split(name: str) -> str:
    """`train` of 1.2,1.3_train.csv, `test_1.4` of 1.4_test.csv, `validation` of validation.csv; empty for any other."""
    parts = re.fullmatch(r"(?:(.+)_)?(train|valid|validation|test)\.csv", name)
    if not parts:
        return ""
    return f"test_{parts[1]}" if parts[1] and parts[2] == "test" else parts[2]


def _in_order(split: str) -> tuple[int, list[int]]:
    """Tests by their numbers: 1.10 comes after 1.9."""
    return ORDER.index(split.partition("_")[0]), [int(number) for number in re.findall(r"\d{1,9}", split)]


CLUTRR = Reader(
    about="CLUTRR: how two members of a family are related, by a story",
    load=_clutrr,
    words=apart,
    source="Sinha et al. 2019, CLUTRR, arXiv 1908.06177",
    licence="CC BY-NC 4.0, Facebook, Inc.; github.com/facebookresearch/clutrr",
    layout=(
        "data_089907f8/1.2,1.3_train.csv, 1.2_test.csv … 1.10_test.csv: give the folder of one data set",
        "or train.csv, validation.csv, test.csv of a configuration such as gen_train23_test2to10",
    ),
)
