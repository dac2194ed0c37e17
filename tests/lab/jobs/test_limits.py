"""Limits that no run fits into are refused before anything is loaded."""

import os
import resource

import pytest

from lab import machine
from lab.engine import Layout, make_plan
from lab.errors import UserError
from lab.jobs import limits
from tests.lab.conftest import study_of

UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def system(monkeypatch):
    """The limits of a system, which a test sets."""
    found = {resource.RLIMIT_NOFILE: (1024, 4096), resource.RLIMIT_AS: (UNLIMITED, UNLIMITED)}
    monkeypatch.setattr(resource, "getrlimit", found.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", found.__setitem__)
    return found


def test_as_many_files_as_the_system_grants(system):
    assert limits.check() == []
    assert system[resource.RLIMIT_NOFILE] == (4096, 4096)


def test_too_few_files_are_refused(system):
    system[resource.RLIMIT_NOFILE] = (34, 34)
    with pytest.raises(UserError, match=r"may open 34 files here .*`ulimit -n 1024`"):
        limits.check()


def test_a_limit_that_may_be_raised_is(system):
    system[resource.RLIMIT_NOFILE] = (34, UNLIMITED)
    limits.check()
    assert system[resource.RLIMIT_NOFILE] == (limits.PLENTY, UNLIMITED)


def test_a_limit_that_may_not_be_raised_after_all(system, monkeypatch):
    def refused(*_args):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refused)
    limits.check()
    assert system[resource.RLIMIT_NOFILE] == (1024, 4096)


def test_too_little_address_space_is_refused(system, monkeypatch):
    """On two cores a run was aborted with 2 GiB, and ended with 2.3."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    system[resource.RLIMIT_AS] = (2 * 2**30, UNLIMITED)
    with pytest.raises(UserError, match=r"limited to 2 GiB here .* reserves 2\.5 GiB .*`ulimit -v unlimited`"):
        limits.check()
    system[resource.RLIMIT_AS] = (machine.least_addresses(), UNLIMITED)
    (note,) = limits.check()
    assert "limited to 2.5 GiB here (`ulimit -v`)" in note


def test_more_cores_reserve_more(system, monkeypatch):
    """XLA has threads for each, and the allocator arenas for each thread: with 4 GiB such a run was aborted."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    system[resource.RLIMIT_AS] = (6 * 2**30, UNLIMITED)
    with pytest.raises(UserError, match=r"limited to 6 GiB here .* reserves 9\.5 GiB"):
        limits.check()


def test_cells_get_what_the_address_space_leaves(system):
    before = machine.memory_bytes()
    assert before > 2**28
    system[resource.RLIMIT_AS] = (machine.least_addresses() + 2**28, UNLIMITED)
    assert machine.memory_bytes() == 2**28
    system[resource.RLIMIT_AS] = (1, UNLIMITED)
    assert machine.memory_bytes() == 1
    plan = make_plan(study_of(), Layout("cpu", 2, 1, 4))
    with pytest.raises(UserError, match=r"one cell takes about .* MiB and a device has 1 .*`ulimit -v`"):
        plan.within(2**20)
