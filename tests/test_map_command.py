"""`gdx map`: axes by name, windows, and files that hold what is said."""

import json
import re
from typing import Any

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import gdx
from gdx.cli import app
from gdx.cli.axes import mapped, parsed_axis, parsed_fixed, parsed_resolution, parsed_window
from gdx.cli.request import Precision, requested


@pytest.fixture(autouse=True)
def _precision_stays_as_it_is():
    yield
    jax.config.update("jax_enable_x64", True)


def invoke(*arguments):
    return CliRunner().invoke(app, ["map", *arguments])


def asked(problem, optimizer="sgd", **more) -> Any:
    options = {"momentum": None, "nesterov": False, "assignments": None, "num_steps": None, "criterion": None}
    options |= {"tolerance": None, "scale": None, "batch_size": None, "replacement": False, "seed": 0}
    return requested(problem, optimizer, **(options | more), precision=Precision.float64)


def test_axes_are_read_as_they_are_written():
    assert parsed_axis("x", "step_size:1e-2:10") == gdx.Axis("step_size", 0.01, 10, "log")
    assert parsed_axis("x", "momentum:0:0.99") == gdx.Axis("momentum", 0, 0.99, "linear")
    assert parsed_axis("x", "b1:0.01:0.9:linear") == gdx.Axis("b1", 0.01, 0.9, "linear")
    assert parsed_axis("x", "batch_size=8,16") == gdx.Axis("batch_size", values=(8, 16), static=True)
    assert parsed_axis("x", "target=0.5,1") == gdx.Axis("target", values=(0.5, 1))
    assert parsed_window("0.1:1:2:3") == ((0.1, 1.0), (2.0, 3.0))
    assert (parsed_resolution("64"), parsed_resolution("64x32")) == ((64, 64), (64, 32))
    assert parsed_fixed(["step_size=0.1", "n=3"]) == {"step_size": 0.1, "n": 3}


PLAIN = ("--x", "step_size:1:2", "--y", "momentum:0:0.9")
REFUSED = {
    "form": (("--x", "step_size:1", *PLAIN[2:]), "x: 'step_size:1' is not NAME:LOW:HIGH"),
    "number": (("--x", "step_size:1:ten", *PLAIN[2:]), "x: 'step_size:1:ten' is not NAME:LOW:HIGH"),
    "name": ((*PLAIN[:3], "momentun:0:0.9"), "axis: 'momentun' is unknown; did you mean momentum? all are step_size"),
    "list": ((*PLAIN[:3], "nothing:0:1"), "choose from step_size, momentum, target, init_scale, start_x, start_y"),
    "no step": (("--x", "target:1:2", *PLAIN[2:]), "step_size: it is neither an axis nor fixed"),
    "range": ((*PLAIN[:3], "momentum:0:1.5"), "outside [0, 1)"),
    "reversed": (("--x", "step_size:2:1", *PLAIN[2:]), "x: step_size from 2 to 1 is reversed"),
    "scale": (("--x", "step_size:1:2:loq", *PLAIN[2:]), "x: scale 'loq' is unknown; pass log"),
    "window": ((*PLAIN, "--window", "1:2"), "window: '1:2' is not X0:X1:Y0:Y1"),
    "no window": ((*PLAIN, "--window", "2:1:0:0.5"), "window: x: step_size from 2 to 1 is reversed"),
    "resolution": ((*PLAIN, "--resolution", "1"), "resolution: 1 is no whole number of at least 2"),
    "cells": ((*PLAIN, "--resolution", "many"), "resolution: 'many' is no number of cells"),
    "colour": ((*PLAIN, "--colour", "blue"), "colour: 'blue' is unknown; choose from verdict"),
    "at": (("--x", "target:1:2", *PLAIN[2:], "--at", "step_size"), "at: 'step_size' is not NAME=NUMBER"),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_map_is_one_sentence_and_exit_code_2(options, words, tmp_path):
    result = invoke("scalar-factorization", *options, "--out", str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"gdx: [^\n]+\n", result.stderr)
    assert words in result.stderr


def test_an_axis_belongs_to_the_optimizer_the_problem_or_the_start():
    wanted = asked("scalar-factorization")
    names = ("momentum", "target", "init_scale", "start_y")
    parts = mapped(wanted, [gdx.Axis("step_size", 0.1, 1), gdx.Axis("target", 1, 2)], dict.fromkeys(names[2:], 3.0))
    point = {"step_size": 0.1, "target": 2.0, "init_scale": 3.0, "start_y": 5.0}
    problem, key = parts.problem(point), jax.random.key(1)
    start = problem.init(key)[0]
    np.testing.assert_allclose(start, [3 * wanted.problem.init(key)[0][0], 5])
    assert float(problem.loss(start, (), None)[0]) == pytest.approx(0.5 * (start[0] * 5 - 2) ** 2)
    parts = mapped(wanted, [gdx.Axis("step_size", 0.1, 1), gdx.Axis("momentum", 0, 0.9)], {})
    assert parts.problem is wanted.problem
    made: Any = parts.family({"step_size": 0.1, "momentum": 0.5})
    second = made.update(np.ones(1), made.update(np.ones(1), made.init(np.ones(1)))[1])[0]
    np.testing.assert_allclose(second, -0.15)


@pytest.mark.slow
def test_whole_numbers_are_written_as_a_list():
    wanted = asked("digits-mlp")
    with pytest.raises(ValueError, match="batch_size is a whole number; write it as batch_size=8,16,32"):
        mapped(wanted, [gdx.Axis("step_size", 0.1, 1), gdx.Axis("batch_size", 8, 32)], {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "optimizer", "x", "y"),
    [
        ("quadratic", "adam", "step_size:1e-3:1", "b1:0:0.99"),
        ("quadratic", "adam", "step_size:1e-3:1", "eps:1e-10:1"),
        ("linear-network", "sgd", "step_size:0.1:3", "init_scale:1e-2:3"),
        ("hard-partner", "momentum", "momentum:0:0.9", "init_scale:0.1:3"),
        ("himmelblau", "sgd", "start_x:-5:5", "start_y:-5:5"),
        ("diabetes", "sgd", "step_size:0.1:3", "batch_size=16,32,64"),
    ],
)
@pytest.mark.usefixtures("quick_compilation_here")
def test_catalogue_problems_and_optimizers_are_mapped_by_name(problem, optimizer, x, y, tmp_path):
    fixed = [] if "step_size" in x else ["--at", "step_size=0.01"]
    small = ["--resolution", "12", "--num-steps", "40", "--criterion", "bounded", "--out", str(tmp_path), "--json"]
    result = invoke(problem, "--optimizer", optimizer, "--x", x, "--y", y, *fixed, *small)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["computed"] == told["cells"]
    assert told["y"]["num_cells"] == (3 if "=" in y else 12)
    assert sum(told["answers"].values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation_here")
def test_files_and_words_tell_the_same_map_and_every_window_has_its_own(tmp_path):
    axes = ["quadratic", "--x", "momentum:0:0.5", "--y", "step_size:0.1:0.4", "--num-steps", "200"]
    options = ["--criterion", "bounded", "--max-wrong", "0.05", "--out", str(tmp_path)]
    result = invoke(*axes, *options, "--resolution", "96x64")
    assert result.exit_code == 0, result.output
    stored = gdx.storage.load(tmp_path / "map.nc")
    assert stored.answer.dims == ("step_size", "momentum")
    assert stored.answer.shape == (64, 96)
    assert f"{float(stored.computed.mean()):.2%} of the cells" in result.stdout
    edge = np.array([stored.step_size[np.flatnonzero(column == 1).max()] for column in stored.answer.values.T])
    np.testing.assert_allclose(edge, 0.2 * (1 + stored.momentum), rtol=0.05)
    assert stored.attrs["audit_bound"] < 0.05
    assert stored.verdict.attrs["flag_meanings"].startswith("converged settling")
    assert (tmp_path / "map.png").stat().st_size > 10_000
    windows = ["--window", "0:0.25:0.1:0.2", "--window", "0:0.125:0.1:0.15"]
    result = invoke(*axes, *options, *windows, "--resolution", "16", "--json")
    first, second = json.loads(result.stdout)["maps"]
    assert (first["reused"], second["reused"]) == (0, 64)
    assert {path.name for path in tmp_path.glob("map-*")} == {"map-1.png", "map-1.nc", "map-2.png", "map-2.nc"}
