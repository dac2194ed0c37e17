"""Every `python -m` command, in this process: what `--help` prints, and that a mistake is one sentence, status 2."""

import importlib
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# module -> (every argument that `--help` names, a mistake, what is said of it)
COMMANDS = {
    "lab.bench": (
        ("--mechanisms", "--cells", "--save", "--compare", "--tolerance"),
        ["--chunk=3"],
        "unknown argument '--chunk=3'. Nearest: --mechanisms",
    ),
    "lab.bench.chunk_size": (("--config FILE", "--config.FIELD=VALUE"), [], "the following arguments are required: --"),
    "lab.bench.generators": (("TASK",), ["maez"], "unknown task 'maez'. Nearest: maze"),
    "lab.bench.grid_size": (("CELLS",), ["many"], "argument CELLS: invalid int value: 'many'"),
    "lab.bench.torch_reference": (
        ("VOCAB", "TOKENS", "BATCH", "WIDTH", "LAYERS", "HEADS", "THREADS"),
        ["8"],
        "the following arguments are required: TOKENS, BATCH, WIDTH, LAYERS, HEADS, THREADS",
    ),
    "lab.checks.kill_test": (
        ("--config", "--workdir", "--kills", "--seed"),
        ["--config=x.py", "--workdir=nowhere", "--kills=0"],
        "--kills=0 must be 1 or more",
    ),
    "lab.checks.known_results": (("NAME", "--all"), ["--al"], "unknown argument '--al'. Nearest: --all"),
    "lab.mechanisms.knob_table": ((), ["all"], "unknown argument 'all'"),
    "tasks": (("list", "show", "gallery"), ["shw"], "argument COMMAND: invalid choice: 'shw'"),
    "analysis.activations.bench": ((), ["all"], "unknown argument 'all'"),
    "analysis.causal": (
        ("DIR", "--label", "--layer", "--read", "--factor", "--out"),
        ["runs/none", "--layer=last"],
        "argument --layer: invalid int value: 'last'",
    ),
    "analysis.comparison": (("DIR", "--out"), [], "the following arguments are required: DIR"),
    "analysis.forecast": (
        ("DIR", "--share", "--of", "--out"),
        ["runs/none", "--share=2"],
        "--share=2 must lie",
    ),
    "analysis.simulation": (
        (
            "--repetitions",
            "--table",
            "--looks",
            "--precision",
            "--seeds",
            "--settings",
            "--condition",
            "--rng_seed",
        ),
        ["--repetitions=0"],
        "--repetitions=0 must be 1 or more",
    ),
    "analysis.simulation.power_cli": (
        (
            *("--truth", "--at", "--rise", "--fall", "--width", "--base", "--seed_sd", "--slope_sd", "--cell_sd"),
            *("--workdir", "--ability", "--metric", "--settings", "--seeds", "--repetitions", "--out", "--rng_seed"),
        ),
        ["--seeds=two"],
        "--seeds=two must be whole numbers from 2 to 200",
    ),
    "analysis.simulation.planted_causes": (
        ("--workdir", "--only", "--replicates"),
        ["--only=colapse"],
        "there is no planted truth 'colapse'. Nearest: collapse",
    ),
    "analysis.external.judge": (("FILE.npz", "--out"), ["none.npz", "more.npz"], "unknown argument 'more.npz'"),
}
STARTED_BY_ANOTHER = {"lab.jobs.rendezvous"}  # by `lab.jobs.hosts`; nobody types it


@pytest.fixture
def main(request, monkeypatch):
    """The function that a command ends by."""
    if request.param == "lab.bench.torch_reference":  # PyTorch is of the bench extra
        stand_in = types.ModuleType("torch")
        stand_in.nn = types.SimpleNamespace(Module=object, functional=None)
        monkeypatch.setitem(sys.modules, "torch", stand_in)
        monkeypatch.setitem(sys.modules, "torch.nn", stand_in.nn)
        monkeypatch.delitem(sys.modules, request.param, raising=False)
    whole = request.param if (ROOT / f"{request.param.replace('.', '/')}.py").is_file() else f"{request.param}.__main__"
    yield importlib.import_module(whole).main
    if request.param == "lab.bench.torch_reference":
        sys.modules.pop(request.param)


@pytest.mark.parametrize(("main", "names"), [(m, names) for m, (names, *_) in COMMANDS.items()], indirect=["main"])
def test_help_names_every_argument(main, names, capsys, request):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: python -m {request.node.callspec.params['main']} [-h]")
    for name in names:
        assert re.search(rf"^ +{re.escape(name)}\b", out, re.MULTILINE) or f": {name} " in out, f"{name} has no line"
    described = re.findall(r"^  (?:-h, )?(--[a-z_]+)", out.partition("options:")[2], re.MULTILINE)
    assert {*described} == {"--help", *(name.split()[0] for name in names if re.match(r"--\w+( |$)", name))}


@pytest.mark.parametrize(
    ("main", "mistake", "said"), [(m, mistake, said) for m, (_, mistake, said) in COMMANDS.items()], indirect=["main"]
)
def test_a_mistake_is_one_sentence(main, mistake, said, capsys):
    assert main(mistake) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert written.err.startswith("error: ")
    assert said in written.err


def test_there_is_no_other_command():
    def module(path):
        return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__main__")

    files = [path for room in ("tasks", "lab", "analysis") for path in (ROOT / room).rglob("*.py")]
    found = {module(path) for path in files if "\nif __name__ ==" in path.read_text()}
    assert found == {*COMMANDS} | STARTED_BY_ANOTHER
