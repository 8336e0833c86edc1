"""What all commands keep, and optimizers of the user's own on each that takes one."""

import json
import pathlib
import re

import jax
import pytest
import typer
from typer.testing import CliRunner

from gdx.cli import app
from gdx.cli.arguments import named_optimizer

OWN = """
import functools, optax

def adamw(step_size, b1=0.9, warm=3, nesterov=False):
    return optax.adamw(optax.linear_schedule(0.0, step_size, warm) if warm > 3 else step_size, b1, nesterov=nesterov)

halved = functools.partial(optax.sgd, momentum=0.5)
ready = optax.sgd(0.1)

def number(step_size):
    return 3

def broken(step_size):
    return step_size.nothing
"""

CHEAP = "loop-nesterov"
# Command -> (toy sizes, a bad problem or option and what the sentence says of it).
COMMANDS = {
    "list": ([], ["nonsense"], "nonsense"),
    "transition": (
        ["quartic", "--step-sizes", "0.5:1.5:3", "--repeats", "1", "--num-steps", "20", "--criterion", "bounded"],
        ["nonsense"],
        "nonsense",
    ),
    "trajectory": (["--optimizers", "sgd=0.001", "--num-steps", "5"], ["nonsense"], "nonsense"),
    "edge": (["quartic", "--num-steps", "20", "--criterion", "bounded"], ["nonsense"], "nonsense"),
    "bifurcation": (
        ["quartic", "--step-sizes", "0.9:1.2:4", "--repeats", "1", "--num-steps", "200", "--num-doublings", "1"],
        ["quartic", "--of", "nonsense"],
        "nonsense",
    ),
    "map": (
        ["quartic", "--x", "step_size:0.1:3", "--y", "start_x:-2:2", "--resolution", "8", "--num-steps", "20"],
        ["nonsense", "--x", "step_size:0.1:3", "--y", "momentum:0:0.9"],
        "nonsense",
    ),
    "stability": (
        ["quartic", "--optimizer", "sgd", "--repeats", "1", "--num-steps", "20", "--budget", "30"],
        ["nonsense"],
        "nonsense",
    ),
    "transfer": (
        ["--widths", "4,8", "--depths", "1", "--parameterisations", "mup", "--num-steps", "20", "--repeats", "1"],
        ["nonsense"],
        "nonsense",
    ),
    "atlas": (
        ["--problems", "quadratic", "--optimizers", "sgd", "--steps", "200", "--repeats", "1"],
        ["--problems", "nonsense"],
        "nonsense",
    ),
    "reproduce": (["catapult", "--quick", "--repeats", "2"], ["nonsense"], "nonsense"),
    "verify": (["--only", CHEAP], ["--only", "nonsense"], "nonsense"),
}
SLOW = ("atlas", "bifurcation", "edge", "map", "reproduce", "stability", "transfer", "transition")
FILES = ("atlas", "bifurcation", "map", "reproduce", "stability", "transfer", "transition", "trajectory")


@pytest.fixture(autouse=True)
def _precision_stays_as_it_is():
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def own(tmp_path, monkeypatch):
    name = f"own_optimizers_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def run_small(name, folder, *more):
    out = ["--out", str(folder)] if name in FILES else []
    return invoke(name, *COMMANDS[name][0], *out, *more)


registered = pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))
# Those that compile a sweep are slow tests; tests/test_cli.py and tests/test_stability_report.py have one of each on
# every day.
slow_ones = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
        for name in sorted(typer.main.get_command(app).commands)
    ],
)


@registered
def test_every_command_has_toy_sizes_here_and_stands_in_the_readme(name):
    assert name in COMMANDS, f"{name}: give it a row above"
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
    assert re.search(rf"gdx {name}\b", readme)


@registered
def test_every_command_refuses_what_is_not_there_in_one_sentence(name):
    _, bad, words = COMMANDS[name]
    result = invoke(name, *bad)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"gdx: [^\n]+\n", result.stderr)
    assert words in result.stderr


@slow_ones
@pytest.mark.usefixtures("quick_compilation")
def test_json_of_every_command_parses_and_nothing_else_is_printed(name, tmp_path):
    result = run_small(name, tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert isinstance(json.loads(result.stdout), dict)
    assert result.stderr == ""


@slow_ones
@pytest.mark.usefixtures("quick_compilation")
def test_quiet_commands_are_silent(name, tmp_path):
    result = run_small(name, tmp_path, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("adamv", "adamw"),
        ("ready", "cannot be called"),
        ("number", "returns int, no optax transformation"),
        ("broken", "AttributeError: 'float' object has no attribute 'nothing'"),
    ],
)
@pytest.mark.parametrize("command", ["transition", "edge", "stability", "trajectory"])
def test_an_optimizer_that_is_none_is_one_sentence(command, attribute, words, own):
    option = "--optimizers" if command == "trajectory" else "--optimizer"
    result = invoke(command, option, f"{own}:{attribute}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"gdx: optimizer: [^\n]+\n", result.stderr)
    assert words in result.stderr


def test_a_module_that_is_not_there_or_ends_the_program_is_one_sentence(own, tmp_path):
    (tmp_path / f"{own}_script.py").write_text("import sys\nsys.exit('run me')\n")
    for module, words in {"nowhere": "run gdx in its folder", f"{own}_script": "SystemExit: run me"}.items():
        result = invoke("transition", "--optimizer", f"{module}:adamw")
        assert result.exit_code == 2
        assert words in result.stderr


def test_set_passes_keywords_to_an_optimizer_of_ones_own(own):
    family, told = named_optimizer(f"{own}:adamw", {"b1": 0.8, "warm": 4.0})
    assert (family.keywords, told) == ({"b1": 0.8, "warm": 4}, {"b1": 0.8, "warm": 4, "nesterov": False})
    assert isinstance(family.keywords["warm"], int)
    assert named_optimizer(f"{own}:halved", {})[1] == {"momentum": 0.5, "nesterov": False}
    with pytest.raises(ValueError, match=r"b3: the optimizer .* takes b1, warm, nesterov"):
        named_optimizer(f"{own}:adamw", {"b3": 0.8})


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation_here")
def test_commands_ask_about_an_optimizer_of_ones_own(own, tmp_path):
    small = ["quartic", "--num-steps", "20", "--criterion", "bounded", "--json"]
    mine = json.loads(invoke("edge", *small, "--optimizer", f"{own}:halved", "--set", "momentum=0.8").stdout)
    named = json.loads(invoke("edge", *small, "--optimizer", "sgd", "--momentum", "0.8").stdout)
    assert mine["optimizer"] == f"{own}:halved"
    assert mine["first_failure"] == named["first_failure"]


@pytest.mark.slow
def test_pictures_ask_about_an_optimizer_of_ones_own(own, tmp_path):
    drawn = invoke("trajectory", "--optimizers", f"{own}:halved=0.001", "--num-steps", "5")
    assert drawn.exit_code == 0, drawn.output
    assert f"{own}:halved" in drawn.stdout
    result = invoke("transition", *COMMANDS["transition"][0], "--optimizer", f"{own}:halved", "--json")
    assert json.loads(result.stdout)["hyperparameters"]["momentum"] == 0.5
