"""The README and docs name what exists: links, files, modules, names in them, options of run.py."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from lab.jobs.options import options_help

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HISTORY = ROOT / "CHANGELOG.md"  # names what went, too
ROOMS = "ablations|analysis|docs|lab|scripts|tasks|tests"
every_page = pytest.mark.parametrize("page", [*PAGES, HISTORY], ids=lambda page: page.stem)
every_current_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def heading_anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"https?:", target):
            path, _, anchor = target.partition("#")
            linked = (page.parent / unquote(path)).resolve() if path else page
            assert linked.exists(), target
            assert not anchor or anchor in heading_anchors(linked), target


@every_page
def test_no_link_is_broken_by_a_space(page):
    found = re.findall(r"\]\(([^)\n]*\.(?:svg|png|csv|html|md))\)", page.read_text())
    assert not [target for target in found if " " in target]


@every_page
def test_files_exist(page):
    for path in re.findall(rf"(?<![\w/.])(?:{ROOMS})/[\w/]+\.(?:py|md|ipynb|sh|yaml|j2)\b", page.read_text()):
        assert (ROOT / path).exists(), path


def test_pages_that_code_names_exist():
    for room in ("ablations", "analysis", "lab", "scripts", "tasks"):
        for source in sorted((ROOT / room).rglob("*.*")):
            if source.suffix in (".py", ".sh", ".yaml", ".j2"):
                for path in re.findall(r"\bdocs/\w+\.(?:md|ipynb)\b", source.read_text()):
                    assert (ROOT / path).exists(), f"{source.relative_to(ROOT)}: {path}"


@every_current_page
def test_rooms_exist(page):
    for path in re.findall(rf"`((?:{ROOMS})/(?:[\w]+/)*)`", page.read_text()):
        assert (ROOT / path).is_dir(), path


@every_current_page
def test_commands_exist(page):
    for module in re.findall(r"python -m ((?:lab|analysis|tasks)[\w.]*)", page.read_text()):
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        command = f"{module}.__main__" if spec.submodule_search_locations else module
        found = importlib.util.find_spec(command)
        assert found is not None, f"python -m {module}"
        assert found.origin is not None
        assert '__name__ == "__main__"' in Path(found.origin).read_text(), f"python -m {module}"


@every_current_page
def test_names_in_code_exist(page):
    """`lab.study.axis`, and `from lab.study import axis, product`."""
    text = page.read_text()
    names = set(re.findall(r"`((?:lab|analysis|tasks)(?:\.\w+)+)[`(]", text))
    for module, imported in re.findall(r"^from ((?:lab|analysis|tasks)[\w.]*) import (.+)$", text, re.MULTILINE):
        names |= {f"{module}.{name.strip()}" for name in imported.split(",")}
    for name in sorted(names):
        assert resolves(name), name


def resolves(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


@every_current_page
def test_options_of_run_exist(page):
    options = {"help", *re.findall(r"^--(\w+)", options_help(), re.MULTILINE)}
    text = page.read_text()
    calls = re.findall(r"run\.py[^`\n]*", text) + re.findall(r"`(--[^`]*)`", text if page.stem == "batch_jobs" else "")
    for call in calls:
        named = re.findall(r"--(\w+)(?![\w.-])", call.partition("#")[0])
        assert set(named) <= options, call
