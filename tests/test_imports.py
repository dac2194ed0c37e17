"""What the import contracts in pyproject.toml can't say of files outside the packages: studies are read by path."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("tasks", "lab", "analysis", "run", "ablations", "tests")
STUDIES = [*sorted((ROOT / "ablations").rglob("*.py")), ROOT / "tests" / "tiny_study.py"]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_a_study_imports_the_public_face_of_lab_study_only(path):
    assert {name for name in imported(path) if name.split(".")[0] in OURS} == {"lab.study"}


@pytest.mark.parametrize("module", ["run", "lab.jobs.exit_status", "lab.jobs.options", "lab.study.loader"])
def test_a_command_line_is_read_before_jax_is_loaded(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
