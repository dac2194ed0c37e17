"""What a session prints is printed as it is, whatever brackets, colons and arrows are in it."""

import io

import pytest
from rich.console import Console

from lab.engine import local_layout, make_plan
from lab.engine.progress import Meter, RichProgress
from lab.jobs.options import Options
from lab.jobs.session import Session
from lab.stop import Stop
from lab.storage import open_store
from tests.lab.conftest import PROGRAMS, study_of, tiny_config, tiny_sweep

MARKED = "as in [arXiv 1506.02626] and [/nested] [bold]x[/bold] :key: runs/w [16,16]"


@pytest.fixture(params=[False, True])
def session(request):
    """A session that prints to memory, as to a pipe and as to a terminal."""
    console = Console(file=io.StringIO(), width=200, force_terminal=request.param)
    return Session(Options(), console, Stop(), PROGRAMS)


def printed(session):
    return session.console.file.getvalue()


def test_text_is_no_markup(session):
    session.say(MARKED)
    session.note(MARKED)
    session.keep_notes([MARKED])
    assert printed(session).count(MARKED) == 3


def test_a_counter_is_no_markup(session):
    with session.counter(MARKED) as count:
        count(1, 2)
        count(2, 2)
    assert MARKED in printed(session)


def test_a_bar_is_no_markup():
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with RichProgress(Meter(10, 2, 0), console) as progress:
        progress.compiled(MARKED, 1.0)
        progress.note(MARKED)
        progress.advanced(5, 1)
    assert console.file.getvalue().count(MARKED) == 2


def test_cells_of_a_stage_without_steps_are_trained_though_no_step_is_left(session, tmp_path):
    """A setting that is added later, where one-shot pruning is all of its stage: it was taken for trained."""
    config = tiny_config()
    config.steps = dict(train=6, prune=0)
    config.saves = dict(train=1, prune=1)

    def train(*sparsities):
        study = study_of(config, tiny_sweep(sparsities, seeds=1))
        store = open_store(tmp_path, study, print)
        plan = make_plan(study, local_layout(2))
        session.train(plan, store)
        return plan, open_store(tmp_path, study, print)

    train(0.0, 0.5)
    plan, store = train(0.0, 0.5, 0.9)
    assert plan.cells_trained(store.nodes) == 3
    assert plan.is_trained(store.nodes)
    assert "Everything is trained" not in printed(session)
    train(0.0, 0.5, 0.9)
    assert "Everything is trained" in printed(session)
