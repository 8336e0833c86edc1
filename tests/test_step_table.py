"""The step sizes that go by one name, side by side."""

import importlib
import io
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console
from typer.testing import CliRunner

import gdx
from gdx import reports
from gdx.cli import app
from gdx.studies import StepRow, StepTable
from gdx.studies.step_reading import reading

pytestmark = pytest.mark.usefixtures("quick_compilation")

BASIN = gdx.problem(jnp.asarray([2.5, 0.2]), lambda w: 0.5 * 3.0 * w[0] ** 2 + jnp.log(jnp.cosh(w[1])))


@pytest.fixture(scope="module")
def table():
    return gdx.step_table(BASIN, optax.sgd, jax.random.key(0), num_steps=600)


def rows_of(table):
    return {row.name: row for row in table.rows}


def test_every_row_says_what_it_means_what_it_cost_and_where_it_comes_from(table):
    assert [row.name for row in table.rows] == [
        "curvature at the start",
        "one-step edge",
        "curvature at the minimum",
        "measured: first failure",
        "measured: last success",
        "measured: endless run",
    ]
    for row in table.rows:
        assert row.meaning
        assert row.note
        assert row.cost > 0
        assert row.error >= 0


def test_the_rows_are_what_they_say(table):
    rows = rows_of(table)
    loss = lambda w: BASIN.loss(w, (), None)[0]  # noqa: E731
    start = BASIN.init(None)[0]
    np.testing.assert_allclose(rows["curvature at the start"].value, 2 / 3, rtol=1e-4)
    np.testing.assert_allclose(rows["curvature at the minimum"].value, 2 / 3, rtol=1e-4)
    gradient = jax.grad(loss)(start)
    one_step = rows["one-step edge"]
    for multiple, rises in ((one_step.value, False), (one_step.value + 2 * one_step.error, True)):
        assert bool(loss(start - multiple * gradient) > loss(start)) is rises
    assert rows["measured: last success"].value < 2 / 3 < rows["measured: first failure"].value
    endless = rows["measured: endless run"]
    assert abs(endless.value - 2 / 3) <= endless.error + 1e-14
    assert endless.error < rows["measured: first failure"].value - rows["measured: last success"].value


@pytest.mark.slow
def test_a_bound_at_the_start_that_is_too_cautious_is_said_to_be_so():
    problem = gdx.problem(jnp.asarray(0.5), lambda w: 0.5 * w**2 + 0.25 * w**4)
    table = gdx.step_table(problem, optax.sgd, jax.random.key(0), num_steps=400)
    rows = rows_of(table)
    np.testing.assert_allclose(rows["curvature at the start"].value, 2 / 1.75, rtol=1e-6)
    # The basin of this start ends at 2 / (1 + x0^2).
    np.testing.assert_allclose(rows["measured: endless run"].value, 1.6, rtol=1e-9)
    assert (
        "the curvature at the start is 1.4 times too cautious: the place that a run reaches is flatter" in table.reading
    )
    assert "the curvature at the minimum promises 1.25 times too much: where runs end, that minimum" in table.reading


def test_where_there_is_no_number_the_note_says_why():
    def loss(params, batch):
        return batch * jnp.sum(params**2)

    problem = gdx.problem(jnp.ones(2), loss, batches=lambda key, step: jax.random.uniform(key) + 1)
    table = gdx.step_table(problem, optax.adam, jax.random.key(0), num_steps=100, criterion="improved")
    rows = rows_of(table)
    for name in ("curvature at the start", "one-step edge", "curvature at the minimum"):
        assert math.isnan(rows[name].value)
        assert "full_loss" in rows[name].note
    assert math.isnan(rows["measured: endless run"].value)


X = np.random.default_rng(0).normal(size=(12, 3)) * np.asarray([1.0, 2.0, 0.5])


@pytest.fixture(scope="module")
def of_batches():
    """Least squares with Adam, three batches an epoch."""
    problem = gdx.problems.finite_sum(
        jnp.asarray([1.0, -2.0, 3.0]), lambda w, x: 0.5 * (x @ w - 1.0) ** 2, jnp.asarray(X), batch_size=4
    )
    return problem, gdx.step_table(problem, optax.adam, jax.random.key(0), num_steps=60, criterion="improved")


def test_curvature_at_the_start_and_what_adam_divides_it_by_are_of_the_same_batch(of_batches):
    problem, table = of_batches
    state = gdx.train_step(problem, optax.adam).init(1.0, jax.random.key(0))
    rows, weights = (np.asarray(part) for part in problem.batches(state.key, 0))
    residual = rows @ np.asarray(state.params) - 1.0
    divisor = np.abs(rows.T @ (weights * residual)) + 1e-8
    hessian = (rows.T * weights) @ rows / np.sqrt(np.outer(divisor, divisor))
    row = rows_of(table)["curvature at the start"]
    np.testing.assert_allclose(row.value, 38 / np.linalg.eigvalsh(hessian)[-1], rtol=1e-5)
    assert "both of the first batch" in row.note


def test_a_step_on_a_batch_costs_its_share_of_the_data(of_batches):
    _, table = of_batches
    steps = float(np.sum(table.edge.runs.steps))
    cost = rows_of(table)["measured: last success"].cost
    assert table.unit == "gradients over all data"
    # A third for every step, and what judging takes: at most one gradient of the full loss for every eighth of a tail.
    assert steps / 3 < cost <= steps / 3 + 8 * len(table.edge.step_sizes)


def test_a_dead_network_has_no_curvature_at_a_minimum():
    neuron = gdx.problem(jnp.asarray(0.5), lambda w: 0.5 * (jax.nn.relu(w) - 1.0) ** 2)
    table = gdx.step_table(neuron, optax.sgd, jax.random.key(0), num_steps=100, criterion="converged")
    row = rows_of(table)["curvature at the minimum"]
    # Any step size above 2 leaps to where the gradient is 0, which is convergence.
    assert math.isnan(row.value)
    assert "has not trained, loss 0.5 where learning nothing has 0.125" in row.note
    assert rows_of(table)["measured: last success"].value > 100


@pytest.mark.slow
def test_the_row_of_the_minimum_says_what_was_reached():
    saddle = gdx.problem(jnp.array([0.0, 1.0]), lambda w: 0.25 * (w[0] ** 2 - 1) ** 2 + 0.5 * w[1] ** 2)
    table = gdx.step_table(saddle, optax.sgd, jax.random.key(0), num_steps=500, criterion="converged", rtol=0.1)
    row = {row.name: row for row in table.rows}["curvature at the minimum"]
    assert "loss 0.25 there, a saddle: curvature from -1 to 1" in row.note
    moving = gdx.problem(jnp.array([0.1, 1.0]), lambda w: 0.25 * (w[0] ** 2 - 1) ** 2 + 0.5 * w[1] ** 2)
    hasty = gdx.step_table(moving, optax.sgd, jax.random.key(0), num_steps=4, criterion="stable", rtol=0.1)
    assert "not at rest" in {row.name: row for row in hasty.rows}["curvature at the minimum"].note


def test_a_search_that_ends_at_a_success_gives_a_bound_and_no_measurement():
    edge = gdx.Edge(
        first_failure=gdx.Bracket(math.nan, math.nan),
        last_success=gdx.Bracket(7.0, math.inf),
        crossings=(),
        too_slow_below=math.nan,
        status=gdx.EdgeStatus.ALL_MEET,
        criterion="converged",
        tolerance=1e-6,
        horizon=100,
        repeats=1,
        slots=1,
        step_sizes=np.asarray([7.0]),
        answers=np.zeros((1, 1), np.int8),
    )
    row = StepRow("measured: last success", 7.0, math.inf, 1.0, "largest", "the search ends there", "at least")
    found = StepTable((row,), edge, reading((row,), edge), 100, "gradients over all data")
    assert "Where that ends was not seen" in found.reading
    settings = {"problem": "mine", "optimizer": "sgd", "hyperparameters": {}, "repeats": 1, "num_steps": 100}
    settings |= {"scale": None, "batch_size": None}
    cells = [list(column.cells) for column in reports.step_table_tables(found, settings)[1].columns]
    assert cells[1:3] == [["at least 7"], [""]]


def test_an_interrupted_table_keeps_the_rows_that_it_has(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("gdx.studies.step_theory"), "_one_step_row", interrupted)
    with pytest.raises(gdx.Interrupted) as caught:
        gdx.step_table(BASIN, optax.sgd, jax.random.key(0), num_steps=100)
    rows = rows_of(caught.value.table)
    np.testing.assert_allclose(rows["curvature at the start"].value, 2 / 3, rtol=1e-4)
    assert rows["measured: last success"].value > 0
    assert "one-step edge" not in rows


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_steps": 0}, "num_steps: 0"),
        ({"key": jax.random.split(jax.random.key(0), 2)}, "key: "),
        ({"problem": lambda h: BASIN}, "problem: function is no gdx.Problem"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(changed, message):
    arguments = {"problem": BASIN, "family": optax.sgd, "key": jax.random.key(0), "num_steps": 10} | changed
    problem, family, key = (arguments.pop(name) for name in ("problem", "family", "key"))
    with pytest.raises(ValueError, match=message):
        gdx.step_table(problem, family, key, **arguments)


def test_the_table_is_readable_at_a_hundred_columns(table):
    settings = {"problem": "mine", "optimizer": "sgd", "hyperparameters": {}, "criterion": "converged"}
    settings |= {"repeats": 1, "num_steps": 600, "tolerance": 1e-6, "scale": None, "batch_size": None}
    console = Console(width=100, record=True, file=io.StringIO())
    for part in reports.step_table_tables(table, settings):
        console.print(part, highlight=False)
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= 100
    for words in (
        "mine under sgd: 1 start, 600 steps",
        "one-step edge",
        "0.66666666",
        "runs meet",
        "in gradients over all data",
        "a Hessian product",
    ):
        assert words in text


@pytest.mark.slow
def test_the_command_prints_one_json_object():
    arguments = ["edge", "quadratic", "--momentum", "0.5", "--num-steps", "500", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["closed form"]["value"] == pytest.approx(0.3)
    assert rows["measured: endless run"]["value"] == pytest.approx(0.3, rel=1e-9)
    assert found["hyperparameters"]["momentum"] == 0.5
    assert set(rows["one-step edge"]) == {"name", "value", "error", "cost", "meaning", "note", "bound"}


def test_a_wrong_name_is_one_sentence_and_exit_code_2():
    result = CliRunner().invoke(app, ["edge", "quadratik"])
    assert result.exit_code == 2
    assert "did you mean quadratic" in result.stderr
