"""The cache of compiled programs, in processes of their own: JAX opens it once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.engine.xla_cache import tidy

ROOT = Path(__file__).parents[3]
PROGRAM = """
import jax, jax.numpy as jnp
from jax import monitoring
from lab.engine import xla_cache
seen = []
monitoring.register_event_listener(lambda name, **_: seen.append(name.rsplit("/", 1)[-1]))
print(xla_cache.keep())
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
print(seen.count("cache_hits"), seen.count("cache_misses"))
"""


def run(cache_home, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    variables = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache_home)} | environment
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=True)
    assert not done.stderr
    directory, counts = done.stdout.strip().splitlines()
    return directory, *map(int, counts.split())


@pytest.mark.e2e
def test_a_second_start_compiles_nothing(tmp_path):
    always = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    directory, hits, misses = run(tmp_path, **always)
    assert Path(directory).parent == tmp_path / "mismatch_lab"
    assert hits == 0
    assert misses > 0
    assert run(tmp_path, **always) == (directory, misses, 0)


@pytest.mark.slow
def test_the_command_turns_the_cache_on(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    variables = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "run.py", "--config=tests/tiny_study.py", "--plan", f"--workdir={tmp_path / 'study'}"]
    subprocess.run(command, cwd=ROOT, env=kept | variables, capture_output=True, check=True)
    assert [path.name[:4] for path in (tmp_path / "mismatch_lab").iterdir()] == ["jax-"]


@pytest.mark.slow
def test_a_users_own_settings_stay(tmp_path):
    own = str(tmp_path / "own")
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=own)[0] == own
    assert run(tmp_path, JAX_ENABLE_COMPILATION_CACHE="false") == ("None", 0, 0)
    assert not (tmp_path / "mismatch_lab").exists()


def test_what_a_kill_left_empty_and_the_oldest_beyond_the_limit_go(tmp_path):
    for age, (name, size) in enumerate((("new", 40), ("empty", 0), ("older", 40), ("oldest", 40))):
        (tmp_path / name).write_bytes(b"x" * size)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    tidy(tmp_path, largest_bytes=90)
    assert {file.name for file in tmp_path.iterdir()} == {"new", "older"}


def test_a_home_that_can_not_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == ("None", 0, 0)
