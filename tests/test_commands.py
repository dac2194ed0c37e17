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
    "lab.checks.fuzz": (
        ("--kind", "--trials", "--first", "--seed", "--jobs", "--seconds", "--workdir", "--show"),
        ["--trials=0"],
        "--trials=0 must be 1 or more",
    ),
    "lab.checks.known_results": (("NAME", "--all"), ["--al"], "unknown argument '--al'. Nearest: --all"),
    "lab.mechanisms.knob_table": ((), ["all"], "unknown argument 'all'"),
    "lab.storage.pretrained": (("DIR", "TEXT"), ["nowhere"], "nowhere: there is no config.json; a pretrained model is"),
    "tasks": (("list", "show", "gallery", "shortcuts", "text"), ["shw"], "argument COMMAND: invalid choice: 'shw'"),
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
    "analysis.gallery": (
        ("--check", "--keep DIR", "--study FILE", "--commit", "--seconds", "--options", "--conditions"),
        ["--keep=runs/none"],
        "--keep needs --study and --commit",
    ),
    "analysis.simulation.shape_rates": (
        ("--table", "--repetitions"),
        ["--table=side"],
        "argument --table: invalid choice: 'side'",
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


REQUIRED = {"lab.checks.kill_test": ["--config=x.py", "--workdir=nowhere"]} | {
    f"analysis.{name}": ["runs/none"] for name in ("causal", "comparison", "forecast")
}


@pytest.mark.parametrize("value", ["nan", "1e400", str(10**12)])
@pytest.mark.parametrize("main", COMMANDS, indirect=["main"])
def test_a_number_that_is_none_is_refused_by_every_option(main, value, capsys, request):
    parser = getattr(sys.modules[main.__module__], "_parser", None)  # two commands take no arguments
    for action in parser()._actions if parser else ():
        if action.type not in (int, float) or not action.option_strings:
            continue
        option = action.option_strings[-1]
        assert main([*REQUIRED.get(request.node.callspec.params["main"], []), f"{option}={value}"]) == 2, option
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith("error: ")
        assert option in said


@pytest.mark.parametrize(
    ("main", "mistake", "said"),
    [
        ("analysis.simulation", ["--looks=10"], "--looks=10 must be at most 9"),
        ("analysis.simulation", ["--precision=0"], "--precision=0.0 must be 0.001 or more"),
        ("analysis.simulation", ["--rng_seed=-1"], "--rng_seed=-1 must be 0 or more"),
        ("analysis.simulation", ["--seeds=100000"], "--seeds=100000 must be at most 1,000"),
        ("analysis.simulation.power_cli", ["--rng_seed=-1"], "--rng_seed=-1 must be 0 or more"),
        ("analysis.simulation.power_cli", ["--settings=100000"], "--settings=100000 must be at most 1,000"),
        ("tasks", ["show", "copy", f"--count={'9' * 5000}"], "must be a whole number in [1, 1000]"),
    ],
    indirect=["main"],
)
def test_a_number_out_of_range_is_refused_before_anything_runs(main, mistake, said, capsys):
    assert main(mistake) == 2
    assert said in capsys.readouterr().err


def test_there_is_no_other_command():
    def module(path):
        return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__main__")

    files = [path for room in ("tasks", "lab", "analysis") for path in (ROOT / room).rglob("*.py")]
    found = {module(path) for path in files if "\nif __name__ ==" in path.read_text()}
    assert found == {*COMMANDS} | STARTED_BY_ANOTHER
