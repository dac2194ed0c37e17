"""Hidden states, or ready metrics, and abilities from elsewhere, judged by the same test as a study's own.

python -m analysis.external.judge mine.npz                       prints the verdicts and the bounds
python -m analysis.external.judge mine.npz --out=verdicts.json   and writes them

The arrays and their names are in docs/npz.md; `judge_arrays` takes the same names in any mapping.

Shape letters: S seeds, K settings, N examples, D width.
"""

from __future__ import annotations

import errno
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from analysis.external import schema
from analysis.report import map_wording, verdicts_json, wording
from analysis.results import Curve
from analysis.stats import FINDS_NOTHING, MapVerdict, SettingMap, Verdict
from analysis.verdicts import claims
from lab.errors import NOT_DAMAGE, Parser, UserError, command, refusal, refused_as
from lab.storage import write_atomically
from lab.values import digits_apart, significant

NO_ARRAYS = "{} is no .npz file of plain arrays; write it with numpy.savez (docs/npz.md)."


@dataclass(frozen=True)
class Gain:
    """One claimed gain: the metric as it was read, the claimed sign, its map, verdict, shape over the whole range, and
    the p-value adjusted for all."""

    metric: str
    sign: int
    values: Curve
    map: SettingMap
    verdict: MapVerdict
    shape: Verdict
    adjusted_p: float

    def document(self) -> dict[str, Any]:
        """The verdict as plain JSON values."""
        return verdicts_json.judged(self.map, self.verdict, self.shape, self.adjusted_p)


@dataclass(frozen=True)
class Arrays:
    """What the arrays say.

    Attributes:
      ability: the ability over knob and seed, both ascending.
      neutral, trivial: the knob's neutral value; the trivial baseline, in the ability's unit.
      gains: the verdict of every claimed gain.
      learned: whether the neutral cells are shown to beat the trivial baseline; if not, ignore the bounds.
      free_until: the last knob value up to which the ability is shown free of harm, whatever the metrics.
      harmful_from: the first knob value from which it is shown harmful, or None.
      delta: the change that counts, in the ability's unit.
    """

    ability: Curve
    neutral: float
    trivial: float
    gains: tuple[Gain, ...]
    learned: bool
    free_until: float | None
    harmful_from: float | None
    delta: float

    def document(self) -> dict[str, Any]:
        """As plain JSON values, under the names of docs/verdicts.md."""
        gains = [
            {"metric": one.metric, "sign": one.sign, "sentence": _sentence(self, one), **one.document()}
            for one in self.gains
        ]
        bounds = {
            "learned": self.learned,
            "shown_free_until": self.free_until,
            "shown_harmful_from": self.harmful_from,
            "delta": self.delta,
            "trivial": self.trivial,
        }
        knob = {"neutral": self.neutral, "values": self.ability.knob_K}
        record = {"schema": verdicts_json.SCHEMA, "knob": knob, "seeds": self.ability.seed_S}
        return verdicts_json.plain({**record, "claims": gains, "bounds": bounds}, self.ability.knob_K.tolist())


def judge_arrays(arrays: Mapping[str, Any]) -> Arrays:
    """Judge arrays from elsewhere.

    Args:
      arrays: the fields of docs/npz.md by name, such as an opened .npz file.

    Raises:
      UserError: a field is missing, unknown, of the wrong shape or out of its range.
    """
    given = schema.check(arrays)
    ability = Curve(given.knob_K, given.seed_S, given.ability_SxK)
    options = {"neutral_index": given.neutral_index, "alpha": given.alpha, "delta_share": given.delta}
    metrics = schema.metrics(given)
    judged = [
        partial(Gain, name, sign, Curve(given.knob_K, given.seed_S, metrics[name]))
        for name, sign in given.signs.items()
    ]
    found = [claims.judge_curves(one.args[-1], one.args[1], ability, given.trivial, **options) for one in judged]
    unfinished = [partial(one, *parts) for one, parts in zip(judged, found, strict=True)]
    bounds = claims.ability_map(ability, given.trivial, **options)
    return Arrays(
        ability=ability,
        neutral=float(given.knob_K[given.neutral_index]),
        trivial=given.trivial,
        gains=tuple(claims.with_family(unfinished, [verdict for _, verdict, _ in found])),
        learned=bounds.learned,
        free_until=bounds.free_until,
        harmful_from=bounds.harmed_from,
        delta=bounds.delta,
    )


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; nothing in it is executed.

    Raises:
      UserError: there is no such file, or it is not one of plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"there is no file '{path}'; write one with numpy.savez, as docs/npz.md shows.") from None
    except OSError as error:
        if refused_as(error) in {*NOT_DAMAGE, errno.EISDIR}:
            raise UserError(f"{path} can't be read: {refusal(error)}.") from None
        raise UserError(NO_ARRAYS.format(path)) from None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile):
        raise UserError(NO_ARRAYS.format(path)) from None


def text(judged: Arrays) -> str:
    """Verdicts and bounds for a person."""
    lines = []
    for one in judged.gains:
        mark, verdict = wording.MARKS[one.verdict.kind][1], one.verdict
        lines.append(f"{one.metric} {'↑' if one.sign > 0 else '↓'}  {mark} {verdict.kind}: {_sentence(judged, one)}")
        if verdict.kind not in FINDS_NOTHING:
            lines.append(f"  p {wording.p_value(verdict.p)}, adjusted {wording.p_value(one.adjusted_p)}")
    if not judged.learned:
        return "\n".join([*lines, "The neutral cells are not shown to beat the trivial baseline: no bounds."])
    neutral_only = judged.free_until == judged.neutral
    until = judged.free_until
    digits = digits_apart(judged.ability.knob_K)
    free = "cannot be tested" if until is None else f"{significant(until, digits)}{' (neutral only)' * neutral_only}"
    harmful = "nowhere" if judged.harmful_from is None else significant(judged.harmful_from, digits)
    return "\n".join([*lines, f"shown free until: {free}; shown harmful from: {harmful}; δ {judged.delta:.3g}"])


def _sentence(judged: Arrays, one: Gain) -> str:
    """The verdict of one claimed gain in a sentence."""
    digits = digits_apart(judged.ability.knob_K)
    words = map_wording.Words(one.metric, "the ability", lambda value: significant(value, digits), one.sign)
    return map_wording.sentence(one.map, one.verdict, words)


def _parser() -> Parser:
    parser = Parser("analysis.external.judge", (__doc__ or "").partition("\n\nShape letters")[0])
    parser.add_argument("file", type=Path, metavar="FILE.npz", help="arrays as in docs/npz.md")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the verdicts as JSON")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Prints verdicts and bounds, and writes them where asked. Exit status: 0 done, 2 a user's mistake."""
    args = _parser().read(arguments)
    arrays = read(args.file)
    judged = judge_arrays(arrays)
    for caution in schema.cautions(arrays):
        print(f"caution: {caution}", file=sys.stderr)
    print(text(judged))
    if args.out:
        document = json.dumps(judged.document(), indent=1, ensure_ascii=False, allow_nan=False)
        try:
            write_atomically(args.out, document + "\n")
        except OSError as error:
            raise UserError(f"--out={args.out} can't be written: {refusal(error)}.") from None
        print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
