"""Limits that no run fits into are refused before anything is loaded."""

import resource

import pytest

from lab.errors import UserError
from lab.jobs import limits

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


def test_too_little_address_space_is_refused(system):
    system[resource.RLIMIT_AS] = (2**30, UNLIMITED)
    with pytest.raises(UserError, match=r"limited to 1 GiB here .*`ulimit -v unlimited`"):
        limits.check()
    system[resource.RLIMIT_AS] = (limits.ADDRESSES, UNLIMITED)
    (note,) = limits.check()
    assert "limited to 4 GiB here (`ulimit -v`)" in note
