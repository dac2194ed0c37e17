"""The cases of the gallery, from docs/gallery/cases.toml, and what the files of their studies say of themselves."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UserError

CASES = Path("docs") / "gallery" / "cases.toml"
STATUS = ("held", "held in part", "failed")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Case:
    """One published or founding claim.

    Attributes:
      number: '7', or 'F3' of a founding document.
      claim: what was claimed, in a line.
      source: papers by arXiv number, and how far they were checked.
      studies: its studies as `run.py --config` takes them below ablations/, 'gallery/emergence.py:plain'.
      predicted: what was predicted, in a line.
      same_as: the number of the case whose studies are this case's, too; '' for a case of its own.
      refused: why there is no study; '' where there is one.
    """

    number: str
    claim: str
    source: str
    studies: tuple[str, ...] = ()
    predicted: str = ""
    same_as: str = ""
    refused: str = ""

    @property
    def founding(self) -> bool:
        """Whether the claim is one of the founding documents'."""
        return self.number.startswith("F")


@dataclass(frozen=True)
class About:
    """What the docstring of a study says.

    Attributes:
      title: its first line.
      source, kept, left_out, predicted, outcome: the paragraphs that begin so; '' where there is none.
      status: how the prediction fared, one of `STATUS`, or `NOT_RUN`.
    """

    title: str
    source: str
    kept: str
    left_out: str
    predicted: str
    outcome: str
    status: str


def read_cases(file: Path = CASES) -> tuple[Case, ...]:
    """The cases, published ones first.

    Raises:
      UserError: if the file is not there or holds something else.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))["case"]
        cases = tuple(Case(**one | {"studies": tuple(one.get("studies", ()))}) for one in found)
    except FileNotFoundError:
        raise UserError(
            f"there is no file {file} below {Path.cwd()}; run the command from the project's folder."
        ) from None
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no list of cases: {error}.") from None
    return cases


def folder_of(study: str) -> str:
    """The name of a study's folder in docs/gallery: 'emergence-plain' for 'gallery/emergence.py:plain'."""
    file, _, variant = study.partition(":")
    return "-".join([Path(file).stem, *([variant] if variant else [])])


_HEADS = {
    "source": r"Sources?\b(?: \([^)]*\))?",
    "kept": r"Kept",
    "left_out": r"Left\s+out",
    "predicted": r"Predicted(?: \([^)]*\))?",
    "expected": r"Expected\b[^:]*|Neutral\b[^:.]*expected[^:.]*",
    "outcome": r"What came out(?: \([^)]*\))?",
}
_HEAD = re.compile("|".join(rf"(?:(?<=\n)|(?<=\. ))(?P<{name}>{text}):" for name, text in _HEADS.items()))


def about(file: Path, variant: str = "") -> About:
    """What a study's file says of itself; of a variant, the part of the outcome that names it.

    Raises:
      UserError: if the file is not there or is no Python.
    """
    try:
        text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError) as error:
        raise UserError(f"{file} can't be read: {error}.") from None
    parts = dict.fromkeys(_HEADS, "")
    heads = list(_HEAD.finditer(text))
    for head, end in zip(heads, [*(one.start() for one in heads[1:]), len(text)], strict=True):
        name = head.lastgroup or ""
        body = text[head.end() : end]
        if name != "outcome":
            body = body.partition("\n\n")[0]
        parts[name] = parts[name] or " ".join(body.split())
    outcome, status = _outcome(parts["outcome"], variant)
    title, source = text.partition("\n")[0].strip(), parts["source"]
    return About(title, source, parts["kept"], parts["left_out"], parts["predicted"], outcome, status)


def _outcome(text: str, variant: str) -> tuple[str, str]:
    """The outcome of a study or of its variant, and its status.

    An outcome reads 'Prediction held in part. …'; that of a variant follows under its name: '`:plain`: Prediction …'.
    """
    parts = re.split(r"`:(\w+)`: (?=[Pp]rediction |[Nn]ot run)", text)
    of_variant = {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}
    found = of_variant.get(variant, "").strip()
    stated = re.match(r"Prediction (held in part|held|failed)\b[.:;,]?\s*", found)
    if not stated:
        return "", NOT_RUN
    return found[stated.end() :], stated.group(1)
