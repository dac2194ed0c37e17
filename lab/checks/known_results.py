"""Known results, reproduced: trains the tasks' calibration cards and prints measured next to expected values.

Without names, `python -m lab.checks.known_results` runs the cards of the default subset; `--all` runs every card; a
name is a task (`mqar`) or one of its cards (`path_star/forward`). Every card runs through the same engine as a study,
two seeds side by side. Exit status 1 if a measured value lies outside what its card expects. A card whose range could
not fail is refused; one that nobody has measured is trained and shown, and not counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.engine import Programs, local_layout, make_plan, use_every_core
from lab.engine.progress import Quiet
from lab.engine.trainer import Trainer
from lab.errors import Parser, UserError, command, nearest
from lab.storage import checkpoint, open_store
from lab.study import axis, product, study_config
from lab.study.parse import parse
from lab.study.spec import Study
from tasks import TASKS
from tasks.base import Card, trivial

SEEDS = 2
EVALUATIONS, CURVE = 3, 14  # checkpoints of a card; of one that is about when something is learned
LEARNED = 0.95  # exact accuracy that counts as 'right' where a card is about when a split is learned
Curves = dict[str, np.ndarray]  # split -> exact accuracy [seeds, evaluations]; 'step' -> [evaluations]


def study_of(task: str, card: Card) -> Study:
    """The card as a study of one task, one stage, two seeds."""
    config = study_config()
    config.tasks.it = dict(card.sizes, task=task, examples=card.examples, probe="train")
    config.model.layers, config.model.width = card.layers, card.width
    config.model.mlp_width, config.model.positions = 4 * card.width, card.positions
    config.steps, config.saves = dict(train=card.steps), dict(train=CURVE if card.groks else EVALUATIONS)
    config.claim.knob, config.claim.gains = "weight_decay.rate", dict(participation_ratio=1)
    config.claim.abilities = ("it/iid",)
    config.knobs = dict(optimizer=dict(learning_rate=card.rate))
    grid = product(axis("weight_decay.rate", (card.decay,)), axis("seed", range(SEEDS)))
    return parse(config, grid, ("participation_ratio",))


def train(study: Study) -> Curves:
    """Train a card's study in a temporary directory and read its curves back."""
    plan = make_plan(study, local_layout())
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder), study, print)
        Trainer(plan, store, Quiet(), Programs(plan.layout)).run()
        found = [store.final(node.key) for node in plan.program_groups[-1].nodes]
        histories = [checkpoint.rows(checkpoint.load(saved, "history"), [row]) for saved, row in found]
        names = found[0][0].meta["abilities"]
    curves = {
        name.split("/")[1]: np.concatenate([h["ability"][:, :, index, 0] for h in histories])
        for index, name in enumerate(names)
    }
    return curves | {"step": histories[0]["step"][0]}


def judge(card: Card, curves: Curves) -> Iterator[tuple[str, str, bool]]:
    """(expected, measured, whether they agree) for each of a card's expectations."""
    for split, (low, high) in card.expected.items():
        last = curves[split][:, -1]
        measured = f"{split} {' '.join(f'{x:.3f}' for x in last)}"
        yield f"{split} {low:.2f}–{high:.2f}", measured, bool(np.all((low <= last) & (last <= high)))
    if card.groks:
        later, earlier = (_first_learned(curves, split) for split in card.groks)
        expected = f"{card.groks[0]} ≥ {LEARNED} at least twice as late as {card.groks[1]}"
        agree = later is not None and earlier is not None and later >= 2 * earlier
        yield expected, f"steps {later} and {earlier}", agree


def _first_learned(curves: Curves, split: str) -> Any:
    learned = np.flatnonzero((curves[split] >= LEARNED).all(axis=0))
    return int(curves["step"][learned[0]]) if learned.size else None


def chosen(names: list[str], everything: bool) -> list[tuple[str, Card]]:
    """The (task, card) pairs that the command line asks for.

    Raises:
      UserError: for a name that is neither a task nor one of its cards.
    """
    cards = {f"{task}/{card.name}": (task, card) for task, made in TASKS.items() for card in made.cards}
    if not names:
        return [pair for pair in cards.values() if everything or pair[1].default]
    wanted = []
    for name in names:
        found = [pair for key, pair in cards.items() if name in (key, pair[0])]
        if not found:
            raise UserError(f"unknown task or card '{name}'. {nearest(name, [*TASKS, *cards])}")
        wanted += found
    return wanted


def run(task: str, card: Card) -> bool | None:
    """Train one card and print it; whether everything is as expected, None for a card that expects nothing.

    Raises:
      UserError: before training, for a card that could not fail.
    """
    study, started = study_of(task, card), time.perf_counter()
    made = study.tasks[0].task
    for split, (low, high) in card.expected.items():
        if card.vacuous(split, made.baselines(split)):
            raise UserError(
                f"{task}/{card.name}: {split} {low:g} to {high:g} cannot fail: a trivial predictor and the ceiling lie "
                "in it; raise the one end or lower the other, or leave out what nobody has measured."
            )
    floors = {split: trivial(made, split).exact for split in card.expected}
    curves = train(study)
    rows = list(judge(card, curves))
    seconds = time.perf_counter() - started
    as_expected = all(agree for *_, agree in rows) if card.measured else None
    said = {True: "as expected", False: "NOT AS EXPECTED", None: "not measured before, so nothing is expected"}
    print(f"{task}/{card.name}: {said[as_expected]}", end="")
    print(f" ({card.steps:,} steps, {seconds:.0f} s; card: {card.seconds:.0f} s)")
    print(f"  {'predicted failure: ' if card.predicted_failure else ''}{card.about} [{card.source}]")
    for expected, measured, agree in rows:
        print(f"  {'✓' if agree else '✗'} expected {expected}; measured {measured}")
    if not card.measured:
        print(f"  measured iid {' '.join(f'{x:.3f}' for x in curves['iid'][:, -1])}")
    print(
        f"  floor {', '.join(f'{k} {v:.3f}' for k, v in floors.items()) or '-'}; ceiling {card.ceiling:g}", flush=True
    )
    return as_expected


def _parser() -> Parser:
    parser = Parser("lab.checks.known_results", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a task or one of its cards (the default subset)")
    parser.add_argument("--all", action="store_true", help="every card")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Run the chosen cards; 1 if any of them isn't as expected."""
    args = _parser().read(arguments)
    pairs = chosen(args.names, args.all)
    use_every_core()
    started = time.perf_counter()
    found = [run(task, card) for task, card in pairs]
    judged = [as_expected for as_expected in found if as_expected is not None]
    unknown = f", {len(found) - len(judged)} not measured" if len(judged) < len(found) else ""
    seconds = time.perf_counter() - started
    print(f"{sum(judged)} of {len(judged)} cards as expected{unknown}, {seconds:.0f} s in all")
    return int(not all(judged))


if __name__ == "__main__":
    sys.exit(main())
