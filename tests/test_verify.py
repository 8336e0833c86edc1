"""`gdx verify`: closed forms against measurements, and that a wrong one is told."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import gdx
from gdx import reports
from gdx.cli import app
from gdx.studies import verification
from gdx.studies.verification import base, controls, factorizations, rates, run_checks, stochastic, tails, thresholds

CHECKS = {check.name: check for check in verification.verification_checks()}
CHEAP = "loop-nesterov"
"""A check of a tenth of a second."""
pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(autouse=True)
def _precision_stays_as_it_is():
    yield
    jax.config.update("jax_enable_x64", True)


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["verify", *arguments])


def failures(found):
    return [f"{row.name}: {row.predicted} {row.measured} {row.error} > {row.bound} {row.note}" for row in found.failed]


@pytest.fixture(scope="module", params=[0, 20])
def fast(request):
    counts = []
    found = gdx.studies.verify(request.param, fast=True, progress=lambda *count: counts.append(count))
    return found, counts


def test_every_kind_of_claim_holds(fast):
    found, counts = fast
    assert not failures(found)
    assert {row.kind for row in found.rows} == {check.kind for check in CHECKS.values()}
    assert counts[-1] == (len(found.rows), len(found.rows))
    assert sum(row.seconds for row in found.rows) <= found.seconds


def test_rows_say_what_they_claim_and_where_it_comes_from(fast):
    for row in fast[0].rows:
        assert "{" not in row.claim
        assert row.source
        assert np.isfinite([row.predicted, row.measured, row.error, row.bound, row.seconds]).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_all_claims_hold(seed):
    found = gdx.studies.verify(seed)
    assert len(found.rows) >= 60
    assert not failures(found)


def test_there_are_more_than_sixty_rows_of_different_names():
    names = [f"{check.name}-{i}" for check in CHECKS.values() for i in range(1, check.number + 1)]
    assert len(set(names)) == len(names) >= 60


def perturbed(check, factor):
    """A check that measures what it predicts, times a factor."""

    def measure(points):
        number = len(next(iter(points.values())))
        rows = [{name: values[i] for name, values in points.items()} for i in range(number)]
        return np.stack([factor * np.asarray(check.predict(row)) + (factor - 1) * check.absolute for row in rows])

    return check._replace(measure=measure)


@pytest.mark.parametrize("name", CHECKS)
def test_a_prediction_that_is_off_by_a_thousandth_fails(name):
    check = CHECKS[name]
    # A shift of the edge by a finite horizon is known to a hundredth of itself, a millionth of the edge.
    factor = 1.02 if name == "edge-horizon" else 1.001
    assert not run_checks([perturbed(check, 1.0)]).failed
    wrong = run_checks([perturbed(check, factor)])
    assert len(wrong.failed) == len(wrong.rows) == check.number


def test_a_wrong_closed_form_is_told_by_its_row_and_the_exit_code(monkeypatch):
    def off(name):
        check = CHECKS[name]
        return check._replace(predict=lambda point: 1.001 * check.predict(point))

    monkeypatch.setattr(verification, "verification_checks", lambda: [off(CHEAP), CHECKS["loop-descent"]])
    result = invoke()
    assert result.exit_code == 1
    assert "3 rows, 2 failed" in result.stdout.splitlines()[-1]
    assert result.stdout.count("FAIL") == 2
    # "[error above 1e-08]" wraps within its column.
    assert result.stdout.count("[error") == result.stdout.count("above") == 2
    shown = json.loads(invoke("--json").stdout)
    assert [row["passed"] for row in shown["rows"]] == [False, False, True]
    assert [row["error"] > row["bound"] for row in shown["rows"]] == [True, True, False]


def test_all_pass_is_exit_code_zero():
    result = invoke("--only", CHEAP)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("2 rows, 0 failed, ")
    assert lines[-1].endswith(" s on cpu") or jax.default_backend() != "cpu"
    assert max(map(len, lines)) <= 100
    for heading in ("claim", "source", "predicted", "measured", "error", "verdict"):
        assert heading in result.stdout
    assert "loop-nesterov-2" in result.stdout
    assert invoke("--only", CHEAP, "--quiet").stdout == ""


def test_json_is_one_object_with_everything_in_it():
    result = invoke("--only", CHEAP, "--fast", "--seed", "7", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["seed"], found["fast"], found["num_rows"], found["num_failed"]) == (7, True, 1, 0)
    assert found["device"].startswith(jax.default_backend())
    (row,) = found["rows"]
    assert set(row) == set(base.Claim._fields)
    assert (row["name"], row["kind"], row["passed"]) == ("loop-nesterov-1", "threshold", True)


def test_a_number_that_is_not_finite_is_null_in_json_and_fails():
    lost = CHECKS[CHEAP]._replace(measure=lambda points: np.full(len(points["b"]), np.nan))
    found = run_checks([lost])
    assert len(found.failed) == 2
    shown = json.loads(reports.to_json(reports.verification_json(found)))
    assert shown["rows"][0]["measured"] is None
    assert len(run_checks([CHECKS[CHEAP]._replace(measure=lambda points: np.full(2, np.inf))]).failed) == 2


def test_what_raises_is_a_row_that_fails_with_its_sentence_and_the_others_go_on():
    def broken(points):
        raise ValueError("family: it is none; pass one")

    found = run_checks([CHECKS["loop-descent"]._replace(measure=broken), CHECKS[CHEAP]])
    assert [row.passed for row in found.rows] == [False, True, True]
    assert found.rows[0].note == "ValueError: family: it is none; pass one"


def test_ctrl_c_is_no_failed_row_but_exit_code_130(monkeypatch):
    def interrupted(points):
        raise KeyboardInterrupt

    checks = [CHECKS[CHEAP]._replace(measure=interrupted)]
    with pytest.raises(KeyboardInterrupt):
        run_checks(checks)
    monkeypatch.setattr(verification, "verification_checks", lambda: checks)
    result = invoke()
    assert result.exit_code == 130
    assert result.stderr.startswith("gdx: interrupted")
    assert result.stdout == ""


def test_of_several_measurements_the_worst_is_the_rows():
    check = CHECKS[CHEAP]._replace(predict=lambda point: 1.0, measure=lambda points: [[1.0, 1.5, 1.0], [1.0, 1.0, 1.0]])
    found = run_checks([check])
    assert [row.measured for row in found.rows] == [1.5, 1.0]
    assert [row.passed for row in found.rows] == [False, True]


def test_values_depend_on_the_seed_and_the_rows_name_alone():
    check = CHECKS[CHEAP]
    everything = {row.name: row for row in run_checks([check, CHECKS["loop-descent"]], seed=5).rows}
    (alone,) = run_checks([check], seed=5, only="loop-nesterov-2").rows
    assert alone.claim == everything["loop-nesterov-2"].claim
    assert alone.claim != everything["loop-nesterov-1"].claim
    assert alone.claim != run_checks([check], seed=6, only="loop-nesterov-2").rows[0].claim


@pytest.mark.parametrize(("only", "number"), [("loop-nes", 2), ("loop-nesterov", 2), ("loop-nesterov-2", 1)])
def test_only_takes_a_name_or_its_beginning(only, number):
    rows = run_checks(list(CHECKS.values()), only=only).rows
    assert [row.name for row in rows] == ["loop-nesterov-1", "loop-nesterov-2"][-number:]


def test_only_takes_a_kind():
    quick = [check._replace(measure=lambda points: 0 * points["lam"]) for check in CHECKS.values()]
    names = {row.name for row in run_checks(quick, only="threshold").rows}
    assert {"threshold-adamw-1", "loop-delay-2"} <= names
    assert not any(name.startswith("edge") for name in names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "treshold"], ["treshold", "did you mean threshold"]),
        (["--only", "xyz"], ["xyz", "tail", "control"]),
        (["--only", ""], ["only"]),
        (["--only", "merging", "--seed", "-1"], ["seed", "-1"]),
        (["--only", "loop-delay", "--fast"], ["loop-delay", "leave fast out"]),
        (["--seed", "one"], ["--seed", "integer"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_arguments_are_one_sentence_and_exit_code_two(arguments, words):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_it_runs_in_float64_whatever_the_callers_precision():
    with jax.enable_x64(False):
        found = gdx.studies.verify(only=CHEAP)
        assert jnp.zeros(()).dtype == jnp.float32
    assert not failures(found)


@pytest.mark.parametrize(
    ("form", "point", "value"),
    [
        (thresholds.gain_of_momentum, {"b": 0.9}, 3.8),
        (thresholds.gain_of_mean, {"b": 0.9}, 38),
        (thresholds.gain_of_nesterov, {"b": 0.9}, 1.357142857),
        (thresholds.gain_of_nadam, {"b": 0.9}, 13.571428571),
        (thresholds.gain_of_two_memories, {"b": 0.9, "c": 0.9}, 0.0234567901),
        (thresholds.gain_of_two_memories, {"b": 0.5, "c": 0.5}, 1.5),
        (thresholds.gain_of_two_gradients, {"w": 0.5}, 2),
        (thresholds.gain_of_two_gradients, {"w": 1.0}, 1),
        (thresholds.gain_of_delay, {"d": 1}, 1),
        (tails.law_of_hyperbola, {"step_size": 1.1, "s": 1.0}, 0.387637666101),
        (tails.law_of_double_well, {"step_size": 1.05, "a": 1.0}, 0.207826562),
        (tails.law_of_both_labels, {"step_size": 10.0, "x": 1.0}, 0.3552058917),
        (tails.law_inside, {"step_size": 1.02 * 2e-4 / 3, "lam": 3.0}, 2.00997512e-05),
        (factorizations.flattest_of_chain, {"k": 3, "y": 2.0}, 7.559526299),
        (factorizations.flattest_of_chain, {"k": 5, "y": 0.5}, 1.649384888),
        (stochastic.limit_in_mean_square, {"curvatures": np.asarray([0.5, 1.5])}, 1.6),
        (stochastic.limit_in_full, {"curvatures": np.asarray([0.5, 1.5])}, 2),
        (rates.bound_of_descent, {"L": 3.0, "R": 1.0, "k": 4, "step_size": 1 / 3}, 1 / 6),
        (rates.share_of_cauchy, {"L": 1.0, "m": 0.1, "k": 1}, 0.669421488),
    ],
)
def test_closed_forms_have_the_values_of_the_literature(form, point, value):
    assert form(point) == pytest.approx(value, rel=1e-8)


def test_the_almost_sure_limit_is_where_the_mean_of_logarithms_changes_its_sign():
    curvatures = np.asarray([1.0, 1.2, 0.8, 1.1])
    limit = stochastic.limit_almost_surely({"curvatures": curvatures})
    below, above = (np.mean(np.log(np.abs(1 - share * limit * curvatures))) for share in (1 - 1e-9, 1 + 1e-9))
    assert below < 0 < above


@pytest.mark.slow
def test_the_search_of_the_negative_control_finds_an_edge_where_there_is_one():
    drawn = controls._draw_separable(np.random.default_rng(0))
    features, labels = drawn["features"], np.random.default_rng(1).permutation(drawn["labels"])
    assert controls.measure_separable({"features": features[None], "labels": labels[None]})[0] > 0
