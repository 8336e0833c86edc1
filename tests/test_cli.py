import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import optax
import pytest
import xarray
from cases import keys
from typer.testing import CliRunner

import gdx
from gdx import reports
from gdx.cli import app
from gdx.cli.console import show, speak_plainly, written

SMALL = ["--step-sizes", "0.5:1.4:9", "--repeats", "3", "--num-steps", "1000"]


@pytest.fixture(autouse=True)
def _precision_stays_as_it_is():
    yield
    jax.config.update("jax_enable_x64", True)


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    result = invoke("transition", *SMALL, "--json", "--out", str(folder))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), folder


def test_json_is_one_object_with_everything_in_it(small):
    found, _ = small
    expected = {
        "problem": "linear-network",
        "optimizer": "sgd",
        "criterion": "converged",
        "num_steps": 1000,
        "repeats": 3,
        "seed": 0,
        "precision": "float64",
    }
    assert {name: found[name] for name in expected} == expected
    assert set(found["first_failure"]) == set(found["last_success"]) == {"lower", "upper"}
    assert found["last_success"]["upper"] == pytest.approx(1.0, rel=2e-2)
    assert found["crossings"]
    assert found["status"] == "bracketed"
    (closed,) = (entry for entry in found["predicted"] if entry["name"] == "closed_form")
    assert closed["value"] == closed["threshold"] / closed["curvature"] == 1.0
    assert closed["predicts"] == "last_success"
    assert closed["source"]
    counts = found["verdicts"]
    # The grid, and what was refined around the edges.
    assert len(found["step_sizes"]) > 9
    assert [sum(column) for column in zip(*counts.values(), strict=True)] == [3] * len(found["step_sizes"])
    assert found["estimate"]["value"] == pytest.approx(1.0, abs=found["estimate"]["error"])
    assert set(found["seconds"]) == {"compile", "run"}
    assert found["slots"] > 0
    assert "momentum" in found["hyperparameters"]


def test_the_files_are_a_picture_and_a_labelled_dataset(small):
    found, folder = small
    assert found["files"] == [str(folder / "transition.png"), str(folder / "transition.nc")]
    assert (folder / "transition.png").read_bytes().startswith(b"\x89PNG")
    dataset = xarray.load_dataset(folder / "transition.nc", engine="h5netcdf")
    assert dataset.sizes == {"step_size": len(found["step_sizes"]), "repeat": 3}
    assert dataset.attrs["estimate"] == found["estimate"]["value"]
    assert dataset.attrs["num_steps"] == 1000
    assert dataset.attrs["jax_version"] == jax.__version__
    assert dataset.attrs["gdx_version"] == gdx.__version__
    assert dataset.attrs["last_success_lower"] == found["last_success"]["lower"]


@pytest.mark.slow
def test_the_table_names_edges_predictions_and_verdicts(tmp_path):
    result = invoke(
        "transition",
        "quadratic",
        *SMALL,
        "--step-sizes",
        "0.05:0.5:9",
        "--momentum",
        "0.9",
        "--out",
        str(tmp_path),
    )
    assert result.exit_code == 0, result.output
    for words in (
        "measured: last success",
        "predicted: closed form",
        "0.38",
        "runs by verdict",
        "momentum 0.9",
    ):
        assert words in result.stdout


@pytest.mark.slow
def test_quiet_prints_nothing(tmp_path):
    result = invoke("transition", "quartic", *SMALL, "--quiet", "--precision", "float32", "--out", str(tmp_path))
    assert (result.exit_code, result.output) == (0, "")
    assert xarray.load_dataset(tmp_path / "transition.nc", engine="h5netcdf")["last_loss"].dtype == "float32"


def test_a_problem_of_the_users_own_is_found_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(
        "import jax, gdx\n"
        "my_problem = gdx.problem(lambda key: jax.random.normal(key, (2,)), lambda w: (w**2).sum())\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    result = invoke("transition", "my_module:my_problem", "--num-steps", "500", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["last_success"]["lower"] == pytest.approx(1.0, rel=2e-2)
    for name, words in {"my_module:other": "my_problem", "my_module:number": "no gdx.Problem"}.items():
        refused = invoke("transition", name)
        assert refused.exit_code == 2
        assert words in refused.stderr


def test_every_name_is_listed():
    result = invoke("list")
    for name in [*gdx.problems.catalogue(), *gdx.optimizers.catalogue()]:
        assert name in result.stdout
    assert "adam" not in invoke("list", "problems").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["qudratic"], ["qudratic", "quadratic"]),
        (["--optimizer", "addam"], ["addam", "adam"]),
        (["--optimizer", "adam", "--momentum", "0.9"], ["momentum", "adam", "b1"]),
        (["--set", "b1=0.9"], ["b1", "sgd", "momentum"]),
        (["--set", "momentum"], ["NAME=VALUE"]),
        (["--set", "momentum=big"], ["momentum=big"]),
        (["--momentum", "1.5"], ["momentum", "1.5", "[0, 1)"]),
        (["--optimizer", "adam", "--set", "eps=-1"], ["eps", "-1"]),
        (["--step-sizes", "1:0.1:5"], ["1:0.1:5", "LO:HI:N"]),
        (["--step-sizes", "0:1:5"], ["0:1:5"]),
        (["--step-sizes", "nan:1:5"], ["nan:1:5"]),
        (["--step-sizes", "1:2"], ["1:2"]),
        (["--repeats", "0"], ["repeats", "0"]),
        (["--num-steps", "0"], ["num_steps", "0"]),
        (["--tolerance", "-1"], ["tolerance", "-1"]),
        (["--scale", "none"], ["scale", "linear-network"]),
        (["--batch-size", "8"], ["batch-size", "linear-network"]),
        (["breast-cancer", "--batch-size", "0"], ["batch_size", "0", "[1, 569]"]),
        (["breast-cancer", "--batch-size", "570"], ["batch_size", "570", "[1, 569]"]),
        (["breast-cancer", "--replacement"], ["replacement", "--batch-size"]),
        (["--optimizer", "goldstein", "--set", "c=0.7"], ["c", "0.7", "(0, 0.5)"]),
        (["nowhere:problem"], ["nowhere", "does not import"]),
        (["--criterion", "good"], ["good"]),
        (["--out", "/proc/nothing"], ["/proc/nothing", "cannot be written"]),
        (["beale"], ["beale is a landscape", "gdx trajectory beale"]),
        (["--num-steps", "99999999999999999999"], ["num_steps", "99999999999999999999"]),
        (["--num-steps", "2147483648"], ["num_steps", "2147483648"]),
        (["hard-partner", "--optimizer", "polyak-sgd", "--tolerance", "nan"], ["tolerance", "nan"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_arguments_are_one_sentence_and_exit_code_two(arguments, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = invoke("transition", *arguments)
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_folder_with_the_name_of_a_file_is_refused_before_anything_is_computed(tmp_path):
    (tmp_path / "transition.nc").mkdir()
    result = invoke("transition", "--out", str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "transition.nc is a folder" in result.stderr


def test_an_error_inside_a_users_loss_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "my_broken.py").write_text(
        "import jax.numpy as jnp, gdx\nproblem = gdx.problem(jnp.ones(2), lambda w: jnp.dot(w, jnp.ones(3)))\n"
    )
    monkeypatch.chdir(tmp_path)
    for command in ("transition", "edge"):
        result = invoke(command, "my_broken:problem")
        assert result.exit_code == 2
        assert re.fullmatch(r"gdx: loss: it raises TypeError: .*\n", result.stderr)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("file write failed")])
def test_a_disk_that_is_full_at_the_end_is_one_sentence(error, capsys):
    def write():
        raise error

    assert written(write) == []
    said = capsys.readouterr().err
    assert said.startswith("gdx: out: the files could not be written (")
    assert said.count("\n") == 1


@pytest.mark.parametrize("columns", ["0", "1", "40", "300"])
def test_numbers_are_never_cut(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    table = reports.values.new_table("sizes", "", "step size", "aligned", "what it means")
    table.columns[-1].justify = "left"
    table.add_row(
        "measured: last success", "0.973427 .. 0.97347", "0.123456789", "words that may go on in the next line"
    )
    show(table, "a line")
    printed = capsys.readouterr().out
    for whole in ("measured: last success", "0.973427 .. 0.97347", "0.123456789", "a line", "words", "means"):
        assert whole in printed
    assert "…" not in printed


def test_a_width_of_0_is_no_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    speak_plainly()
    assert "COLUMNS" not in os.environ


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_no_terminal_is_too_poor_for_results(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    speak_plainly()
    table = reports.values.new_table("größte", "name", "≥ λ")
    table.add_row("naïve → ∞", "0.5")
    show(table, "β = ½ …")
    sys.stdout.flush()
    printed = raw.getvalue().decode(encoding)
    assert "0.5" in printed
    assert "na" in printed


def test_a_list_is_printed_in_ascii():
    command = [sys.executable, "-m", "gdx", "list", "landscapes"]
    poor = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "COLUMNS": "30"}
    done = subprocess.run(command, capture_output=True, env=poor, check=True)
    assert b"rosenbrock" in done.stdout
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("value", "error"), [(0.0, 0.1), (-1.0, 0.1), (np.inf, 0.1), (1e4, np.inf), (1.0, 0.0), (np.nan, 1.0)]
)
def test_a_step_size_whose_digits_nobody_can_count_is_written_all_the_same(value, error):
    row = gdx.studies.StepRow("mine", value, error, 0.0, "", "")
    assert all(isinstance(text, str) for text in row.numbers)


def interrupted(process):
    """Press Ctrl-C, and again where Python was inside a callback of C++ that swallowed it, as while compiling."""
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.communicate()


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.slow
def test_ctrl_c_leaves_what_is_finished_says_so_and_exits_130(tmp_path):
    # Adam counts its steps, so no run repeats and none ends before the horizon; those at 1e100 are not finite at once.
    command = [
        sys.executable,
        "-m",
        "gdx",
        "transition",
        "quartic",
        "--optimizer",
        "nadam",
        "--num-steps",
        "100000000",
    ]
    # A busy machine takes its time to get as far as the sweep; Ctrl-C before that is told as such, and tried again.
    for patience in (20, 60, 120):
        folder = tmp_path / f"made early {patience}"
        process = subprocess.Popen(
            [*command, "--step-sizes", "1e-3:1e100:64", "--repeats", "2", "--out", str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not folder.exists():
            time.sleep(0.1)
        time.sleep(patience)
        output, errors = interrupted(process)
        if "nothing was finished yet" not in errors:
            break
    assert process.returncode == 130, errors
    assert "interrupted: what had been finished is in" in errors
    assert "Traceback" not in errors
    assert "interrupted" in output
    stopped = xarray.load_dataset(folder / "transition.nc", engine="h5netcdf")["stopped"].values
    assert set(stopped.ravel()) >= {gdx.Stop.UNFINISHED, gdx.Stop.NONFINITE}


def test_where_its_caller_ignores_ctrl_c_the_command_does_so_too():
    # As in a background job of a script, which Ctrl-C at the script's terminal is not meant for.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = "import signal, gdx.cli; print(signal.getsignal(signal.SIGINT).name)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.stdout.strip() == "SIG_IGN"


def test_ctrl_c_before_any_run_was_finished_is_one_sentence_and_130(monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for command, name in (("transition", "transition"), ("edge", "step_table")):
        monkeypatch.setattr(gdx.studies, name, interrupted)
        result = invoke(command, "quartic", *(["--out", str(tmp_path)] if command == "transition" else []))
        assert result.exit_code == 130
        assert result.stderr.strip() == "gdx: interrupted: nothing was finished yet"


def test_ctrl_c_in_gdx_edge_says_what_was_found_so_far(monkeypatch):
    edge = gdx.critical_step_size(
        gdx.problems.quartic(), optax.sgd, keys=keys(1), num_steps=50, bracket=(0.1, 3.0), rtol=0.5, estimate=False
    )

    def interrupted(*_, **__):
        raise gdx.Interrupted(edge.runs, edge.step_sizes, edge)

    monkeypatch.setattr(gdx.studies, "step_table", interrupted)
    result = invoke("edge", "quartic")
    assert result.exit_code == 130
    assert f"of {len(edge.step_sizes)} step sizes so far, last success" in result.stderr


def found_by(tmp_path, *arguments):
    result = invoke("transition", *arguments, "--json", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_compilation_here")
@pytest.mark.parametrize("name", gdx.optimizers.catalogue())
def test_every_optimizer_of_the_catalogue_has_its_transition(name, tmp_path):
    small = ["--step-sizes", "1e-3:10:6", "--repeats", "2", "--num-steps", "200", "--criterion", "bounded"]
    found = found_by(tmp_path, "scalar-factorization", "--optimizer", name, *small)
    assert found["optimizer"] == name
    assert sum(map(sum, found["verdicts"].values())) == 2 * len(found["step_sizes"]) >= 12
    assert (tmp_path / "transition.png").stat().st_size > 10_000


@pytest.mark.slow
def test_mini_batches_of_real_data_are_judged_by_the_full_loss(tmp_path):
    found = found_by(tmp_path, "breast-cancer", "--batch-size", "32", "--num-steps", "1000", "--repeats", "2")
    assert (found["batch_size"], found["criterion"]) == (32, "trains")
    # Logistic loss grows no faster than its weights: only far beyond the edge does it end above halfway to its start.
    assert found["last_success"]["lower"] > 1
    assert found["last_success"]["upper"] < found["step_sizes"][-1]


@pytest.mark.slow
def test_the_default_command_finds_the_closed_form(tmp_path):
    found = found_by(tmp_path)
    (closed,) = (entry for entry in found["predicted"] if entry["name"] == "closed_form")
    assert found["last_success"]["lower"] == pytest.approx(closed["value"], rel=5e-3)
    assert found["first_failure"]["upper"] == pytest.approx(closed["value"], rel=5e-3)
    assert found["limited_by"].startswith("the horizon")
    columns = [sum(column) for column in zip(*found["verdicts"].values(), strict=True)]
    assert columns == [32] * len(found["step_sizes"])
    assert found["estimate"]["value"] == pytest.approx(closed["value"], abs=found["estimate"]["error"])


@pytest.mark.slow
def test_standardised_data_have_the_edge_of_their_optimum(tmp_path):
    found = found_by(tmp_path, "breast-cancer")
    predicted = {entry["name"]: entry["value"] for entry in found["predicted"]}
    assert found["last_success"]["lower"] == pytest.approx(predicted["minimum"], rel=1e-2)
    assert found["too_slow_below"] < predicted["minimum"] / 10
    assert predicted["minimum"] > 15 * predicted["start"]


@pytest.mark.slow
def test_raw_data_converge_nowhere_and_the_report_says_what_scaling_buys(tmp_path):
    found = found_by(tmp_path, "breast-cancer", "--scale", "none")
    assert found["status"] == "none meets it"
    assert found["last_success"] is None
    assert set(found["other_criteria"]) == {"stable", "bounded"}
    assert found["other_criteria"]["bounded"]["status"] == "all meet it"
    scaling = found["scaling"]
    assert 2e4 < scaling["predicted_factor"] < 1e6
    assert 2e4 < scaling["measured_factor"] < 1e6
    assert scaling["measured_standard"]["lower"] == pytest.approx(scaling["predicted_standard"], rel=2e-2)


@pytest.mark.slow
def test_a_network_on_digits_is_scanned_until_both_ends_of_its_transition_are_seen(tmp_path):
    found = found_by(tmp_path, "digits-mlp", "--optimizer", "sgd", "--momentum", "0.9")
    assert found["criterion"] == "trains"
    columns = [sum(column) for column in zip(*found["verdicts"].values(), strict=True)]
    assert columns == [4] * len(found["step_sizes"])
    (start,) = found["predicted"]
    assert start["threshold"] == pytest.approx(3.8)
    # Ten times the prediction, where the grid ends, is not enough.
    assert 5 * start["value"] < found["first_failure"]["lower"] <= found["last_success"]["lower"]
    assert found["last_success"]["upper"] < found["step_sizes"][-1]
    assert found["step_sizes"][0] < found["too_slow_below"] < start["value"]
    verdicts = found["verdicts"]
    assert verdicts["too_slow"][0] == 4
    assert verdicts["dead"][-1] + verdicts["blown_up"][-1] == 4
