"""Loads a study's file; its author's mistakes are reported by file and line."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from lab.errors import UserError, clipped, nearest, shown
from lab.study import fields
from lab.study.grid import UnknownVariant

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def get_config(given: str) -> Any:
    """The config of 'file.py' or 'file.py:variant', before any override.

    Raises:
      UserError: as `load`, and if get_config() fails, returns something else, or sets a field that no study has.
    """
    file, variant = split(given)
    module = load(file)
    with blamed(file):
        config = _config(module, file, variant)
    if not isinstance(config, ConfigDict):
        raise UserError(f"{file}: get_config() must return the config; it returns {shown(config)}.")
    try:
        fields.check_names(config)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    return config


def _config(module: ModuleType, file: Path, variant: str) -> Any:
    """What get_config() makes of a variant; a benchmark that is no variant of the study takes its tasks' place."""
    try:
        if variant and not inspect.signature(module.get_config).parameters:
            raise UnknownVariant(f"--config: {file} has no variants, so that there is no ':{variant}'; leave it out.")
        return module.get_config(*([variant] if variant else []))
    except UnknownVariant:
        from lab.study.published import is_benchmark, on_benchmark  # loads JAX

        if not is_benchmark(variant):
            raise
    return on_benchmark(module, variant, f"{file}:{variant}")


def split(given: str) -> tuple[Path, str]:
    """The file and the variant of 'file.py:variant', '' where none is named; a path may hold colons, too."""
    ends = [match.end() for match in re.finditer(r"\.py(?=:|\Z)", given)] or [len(given.partition(":")[0])]
    end = next((end for end in reversed(ends) if Path(given[:end]).is_file()), ends[0])
    return Path(given[:end]), given[end + 1 :]


def studies(folder: Path) -> list[Path]:
    """The files of studies in a folder by name; then those of the folders inside, such as the gallery's."""
    return [*sorted(folder.glob("[!_]*.py")), *sorted(folder.glob("[!_]*/[!_]*.py"))]


def load(path: Path) -> ModuleType:
    """A study's module, with the two functions that make it one.

    Raises:
      UserError: if there is no such file, it can't be run, or it lacks one of them.
    """
    if not path.is_file():
        known = [f"ablations/{file.relative_to(ABLATIONS).as_posix()}" for file in studies(ABLATIONS)]
        raise UserError(f"--config: there is no file '{path}' below {Path.cwd()}. {nearest(str(path), known)}")
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path.resolve())
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise UserError(f"--config: '{path}' is not a Python file; name a study, such as ablations/pruning.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    with blamed(path):
        spec.loader.exec_module(module)
    for name in ("get_config", "sweep"):
        if not hasattr(module, name):
            raise UserError(f"--config: '{path}' has no {name}(); see ablations/pruning.py for the form of a study.")
    return module


@contextlib.contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Report an error inside a study's own code, its author's mistake, by file and line, without a traceback."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == path.resolve()
        ]
        line, what, code = lines[-1] if lines else None, str(error), ""
        if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
            line, what, code = error.lineno, error.msg, f": {(error.text or '').strip()}"
        where = f"{path}, line {line}" if line else str(path)
        raise UserError(f"{where}: {type(error).__name__}: {clipped(f'{what}{code}', 400)}") from None
