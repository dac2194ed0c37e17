"""The gallery's pages, made from what docs/gallery keeps of finished studies; nothing is trained.

python -m analysis.gallery                                              writes docs/gallery.md, docs/gallery.html and
                                                                        docs/gallery/across.csv, across.svg
python -m analysis.gallery --check                                      rebuilds every verdict and compares; compares
                                                                        the pages with those that it would write
python -m analysis.gallery --keep=DIR --study=gallery/whitening.py      keeps a finished study: its results, verdicts,
       --commit=HASH --seconds=204 --conditions="two idle cores"        map, and how it was made

The cases are listed in docs/gallery/cases.toml; what a study claims, predicts and found stands in its docstring.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.text import Text

from analysis.gallery import across, page
from analysis.gallery.cases import folder_of, read_cases
from analysis.gallery.kept import GALLERY, Kept, Run, differences, folders, keep, load
from analysis.plots import style
from lab.errors import Parser, UserError, command, nearest
from lab.storage import write_atomically
from lab.study.loader import ABLATIONS


def read(gallery: Path = GALLERY) -> dict[str, Kept]:
    """Every kept study by its name below ablations/."""
    return {one.run.study: one for one in map(load, folders(gallery))}


def views(kept: Mapping[str, Kept]) -> dict[Path, str]:
    """Path -> text of every file that the command writes."""
    cases = read_cases()
    rows = across.by_metric(list(kept.values()))
    found = {
        GALLERY.parent / "gallery.md": page.markdown(cases, kept, ABLATIONS),
        GALLERY.parent / "gallery.html": page.html(cases, kept, ABLATIONS),
        GALLERY / "across.csv": across.to_csv(rows),
    }
    if rows:
        element = style.svg(across.draw(rows).figure, "across", page.ACROSS_TITLE)
        found[GALLERY / "across.svg"] = style.svg_file(element)
    return found


def check(kept: Mapping[str, Kept], console: Console) -> int:
    """Says where rebuilt verdicts or pages differ. Exit status: 0 where nothing does, 1 where something does."""
    wrong = [f"{one.run.study}: {text}" for one in kept.values() for text in differences(one)]
    for path, text in views(kept).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            wrong.append(f"{path} is not what python -m analysis.gallery writes")
    for text in wrong:
        console.print(Text(text), soft_wrap=True)
    console.print(Text(f"{len(kept)} studies rebuilt; {len(wrong)} differences"))
    return int(bool(wrong))


def add(
    workdir: Path, study: str, commit: str, seconds: float | None = None, conditions: str = "", options: str = ""
) -> Path:
    """Keep a finished study. Returns its folder.

    Raises:
      UserError: for a study that has no file, and as `keep`.
    """
    file = study.partition(":")[0]
    if not (ABLATIONS / file).is_file():
        known = [name for case in read_cases() for name in case.studies]
        raise UserError(f"--study={study}: there is no ablations/{file}. {nearest(study, known)}")
    verdicts = workdir / "verdicts.json"
    finished = date.fromtimestamp(verdicts.stat().st_mtime) if verdicts.is_file() else date.today()  # keep() refuses
    folder = GALLERY / folder_of(study)
    keep(workdir, folder, Run(study, commit, finished.isoformat(), seconds, conditions, options))
    return folder


OF_KEEP = ("study", "commit", "seconds", "options", "conditions")


def _parser() -> Parser:
    parser = Parser("analysis.gallery", __doc__)
    parser.add_argument("--check", action="store_true", help="rebuild and compare, write nothing")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work directory of a finished study")
    parser.add_argument("--study", metavar="FILE[:VARIANT]", help="its file below ablations/")
    parser.add_argument("--commit", default="", metavar="HASH", help="of the checkout that trained it")
    parser.add_argument("--seconds", type=float, metavar="S", help="from its command to its report")
    parser.add_argument("--options", default="", metavar="TEXT", help="further ones of its command, such as --refine")
    parser.add_argument("--conditions", default="", metavar="TEXT", help="on what machine")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Writes, checks or keeps. Exit status: 0 done, 1 something differs, 2 a user's mistake."""
    args, console = _parser().read(arguments), Console()
    if args.keep is not None:
        if args.check:
            raise UserError("--check and --keep are two commands; keep the study first.")
        if not args.study or not args.commit:
            raise UserError("--keep needs --study and --commit: which study it is, and which checkout trained it.")
        console.print(
            Text(f"kept {add(args.keep, args.study, args.commit, args.seconds, args.conditions, args.options)}")
        )
        return 0
    given = [name for name in OF_KEEP if getattr(args, name)]
    if given:
        raise UserError(f"--{given[0]} says how a study was made: it needs --keep=DIR, its work directory.")
    kept = read()
    if args.check:
        return check(kept, console)
    for path, text in views(kept).items():
        write_atomically(path, text)
        console.print(Text(f"wrote {path}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
