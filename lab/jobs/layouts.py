"""The device layouts that a study has been on, as its study.json has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeGuard

from lab.engine import Layout
from lab.storage import DamagedFile, read_document


def read_layouts(file: Path) -> list[Layout]:
    """The layouts of a study's record that round differently, earliest first; none where it can't be read."""
    try:
        record = read_document(file)
    except (DamagedFile, OSError):
        return []
    found = [record.get("layout"), record.get("layouts")] if isinstance(record, dict) else []
    every = [Layout(**one) for each in found for one in (each if isinstance(each, list) else [each]) if is_layout(one)]
    return list({layout.rounding(): layout for layout in every[::-1]}.values())[::-1]


def is_layout(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a JSON value is a layout: its platform's name, and whole numbers above 0."""
    names = {each.name for each in fields(Layout)}
    if not isinstance(value, dict) or value.keys() != names or not isinstance(value["platform"], str):
        return False
    numbers = [value[name] for name in names - {"platform"}]
    return all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in numbers)


def described(layouts: Iterable[Layout]) -> str:
    """Layouts for a sentence."""
    return "; ".join(
        f"{of.devices} {of.platform} device{'s' * (of.devices > 1)}, chunk {of.chunk}, width {of.width}"
        for of in layouts
    )
