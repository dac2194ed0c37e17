"""What the baselines of the planning tasks answer."""

import itertools

from tasks.planning.sudoku4 import FIRST_CELL
from tests.tasks import (
    test_blocksworld,
    test_graph_search,
    test_hanoi,
    test_maze,
    test_path_star,
    test_sudoku4,
    test_topological_sort,
)
from tests.tasks.guesses import of


@of("path_star")
def _(q):
    edges, query, _ = test_path_star.parse(q.example)
    forward = q.task.direction == "forward"
    paths = test_path_star.walks(edges, query[1] if forward else query[0])
    arms = [path[1:] if forward else path[-2::-1] for path in paths]
    first = next(head for tail, head in edges if tail == (query[1] if forward else query[0]))
    before = next(tail for tail, head in edges if head == query[0 if forward else 1])  # the one edge into the goal
    guess = q.choice([arm for arm in arms if forward and arm[0] == before] or arms)
    return {
        "random_arm": q.choice(arms),
        "one_edge": guess if forward else [before, *guess[1:]],
        "first_arm": next(arm for arm in arms if arm[0 if forward else -2] == first),
    }


@of("graph_search")
def _(q):
    ahead, lucky = test_graph_search.predictions(q.example)
    return {"one_step": float(ahead), "random_child": float(lucky)}


@of("topological_sort")
def _(q):
    edges, query = test_topological_sort.parsed(q.example)
    wanted = sorted(test_topological_sort.needed(edges, query) - {query})
    everything = sorted({vertex for edge in edges for vertex in edge})
    return {
        "in_graph": [q.choice(everything) for _ in q.asked],
        "random_order": [*q.shuffled(wanted), query],
        "in_degree": [*test_topological_sort.by_in_degree(edges, wanted), query],
    }


@of("maze")
def _(q):
    task, said = q.task, {}
    openings, origin, target = test_maze.parsed(task, q.example)
    steps = test_maze.flooded(openings, target)
    for name in ("random_walk", "compass"):
        way = [origin]
        for _ in q.asked:  # one step, or all of them
            options = [c for o in openings if way[-1] in o for c in o if c != way[-1]]
            options = [c for c in options if len(way) < 2 or c != way[-2]] or options
            apart = {c: abs(c[0] - target[0]) + abs(c[1] - target[1]) for c in [*options, way[-1]]}
            nearer = [c for c in options if apart[c] < apart[way[-1]]]
            way.append(q.choice(nearer if name == "compass" and nearer else options))
        said[name] = float(steps[way[-1]] == steps[origin] - len(q.asked))
    return said


@of("blocksworld", "hanoi")
def _(q):
    policies = {
        "blocksworld": {
            "legal": lambda goal, block, target, ground: True,
            "unstack": lambda goal, block, target, ground: target == ground,
            "greedy": lambda goal, block, target, ground: goal[block] == target,
        },
        "hanoi": {
            "legal": lambda disk, peg, goal: True,
            "smallest": lambda disk, peg, goal: disk == 0,
            "greedy": lambda disk, peg, goal: goal[disk] == peg,
        },
    }[q.task.name]
    walk = {"blocksworld": test_blocksworld, "hanoi": test_hanoi}[q.task.name].random_walk
    return {name: walk(q.task, q.example, q.generator, prefers)[q.asked].tolist() for name, prefers in policies.items()}


@of("sudoku4")
def _(q):
    puzzle = [t if t <= 4 else 0 for t in q.example.tokens[:16].tolist()]
    blanks = [cell for cell in range(16) if puzzle[cell] == 0]
    rows = [q.shuffled(sorted({1, 2, 3, 4} - set(puzzle[4 * row : 4 * row + 4]))) for row in range(4)]
    options = [sorted(test_sudoku4._options(puzzle, cell)) for cell in blanks]
    said = {"row": [*itertools.chain(*rows)], "candidates": [*map(q.choice, options)]}
    said["in_turn"] = test_sudoku4.in_turn(puzzle, blanks, q.generator)
    if q.task.order == "solver":  # in any order of the cells
        said = {name: [*itertools.chain(*zip(cells_of(blanks), digits, strict=True))] for name, digits in said.items()}
    return said


def cells_of(blanks):
    """The tokens that name cells."""
    return [FIRST_CELL + cell for cell in blanks]


def combined(task, a, b):
    """Every legal result of two numbers, the larger one first."""
    results = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b and a % b == 0 else 0}
    return [results[sign] for sign in task.operations if 1 <= results[sign] <= task.largest]


@of("countdown")
def _(q):
    to = q.tokens.index(1 + q.task.largest + len(q.task.operations))
    numbers, target, said = q.tokens[:to], q.tokens[to + 1], {}
    for name in ("random", "closing"):
        left = [*numbers]
        while len(left) > 1:
            one, two = sorted(q.generator.choice(len(left), 2, replace=False).tolist())
            results = combined(q.task, max(left[one], left[two]), min(left[one], left[two])) or [0]
            closes = name == "closing" and len(left) == 2 and target in results
            left = [n for i, n in enumerate(left) if i not in (one, two)] + [target if closes else q.choice(results)]
        said[name] = float(left == [target])
    return said
