"""What `print` and a bare expression say of results."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx.wording import aligned, brief, span, with_bar

pytestmark = pytest.mark.usefixtures("quick_compilation")
QUADRATIC = gdx.problems.quadratic((1.0, 10.0))


@pytest.fixture(scope="module")
def edge():
    found = gdx.critical_step_size(
        QUADRATIC, optax.sgd, keys=keys(3), num_steps=300, bracket=(0.05, 1.0), rtol=1e-3, estimate=False
    )
    return found._replace(estimate=gdx.Estimate(0.200000012, 1e-8, gdx.EstimateKind.SOFT, "eigenvalue", "", 0, 9, 9))


@pytest.fixture(scope="module")
def table(edge):
    row = gdx.studies.StepRow("measured: last success", 0.2, 1e-8, 30.0, "largest step size that succeeds", "", "")
    bound = row._replace(name="measured: first failure", value=0.25, error=math.inf, bound="at most")
    return gdx.StepTable((row, bound, row._replace(value=math.nan)), edge, "Runs succeed " * 30, 300, "gradients")


def lines(value):
    return str(value).splitlines()


def test_an_edge_says_what_was_measured_and_how(edge):
    said = str(edge)
    assert len(lines(edge)) <= 8
    assert len(said) < 800
    for words in (
        "converged (tolerance 1e-06) within 300 steps, 3 starts",
        "bracketed",
        "0.200000012 +- 1e-08 (soft",
        span(edge.last_success),
    ):
        assert words in said
    assert f"{len(edge.step_sizes)} step sizes" in said
    without = edge._replace(estimate=edge.estimate._replace(value=math.nan, reason="nobody looked"))
    assert "none: nobody looked" in str(without)
    assert "not estimated" in str(edge._replace(estimate=None))
    assert "none: trains is about a horizon" in str(edge._replace(estimate=None, criterion="trains"))
    assert "criterion      converged, since the curvature of its minimum is known" in said
    assert "too slow below" not in str(edge._replace(too_slow_below=math.nan))
    assert "0.0123" in str(edge._replace(too_slow_below=0.0123))


def test_runs_say_their_shape_what_became_of_them_and_the_best_loss(edge):
    said = str(edge.runs)
    assert len(lines(edge.runs)) <= 5
    counts = np.sum(gdx.verdicts(edge.runs) == gdx.Verdict.CONVERGED)
    assert f"{counts} converged" in said
    assert f"{edge.runs.stopped.size} runs" in said
    assert f"{edge.runs.best_loss.min():.6g}" in said
    assert repr(edge.runs) == f"Runs [{len(edge.step_sizes)}, 3]"


def test_interrupted_runs_are_counted_apart(edge):
    def half(fact):
        blank = np.full_like(fact, np.nan if fact.dtype.kind == "f" else 0)
        return np.where(np.arange(len(fact))[:, None] < 2, fact, blank)

    some = jax.tree.map(half, edge.runs)
    assert f"{some.stopped.size - 6} of them were interrupted" in str(some)
    assert f"{some.run_step_size[1, 0]:.5g}" in str(some)
    none = jax.tree.map(lambda fact: np.full_like(fact, np.nan if fact.dtype.kind == "f" else 0), edge.runs)
    assert len(lines(none)) == 2


def test_one_run_facts_on_a_device_and_leaves_that_are_no_arrays_print_as_well(edge):
    assert "1 run at step size" in str(jax.tree.map(lambda fact: fact[0, 0], edge.runs))
    assert str(jax.tree.map(jnp.asarray, edge.runs)) == str(edge.runs)
    assert str(jax.tree.map(lambda fact: None, edge.runs)) == "Runs ?"


def test_inside_a_trace_results_say_their_shapes():
    said = []

    @jax.jit
    def look(step_sizes):
        runs = gdx.sweep(QUADRATIC, optax.sgd, num_steps=4, tail=2, slots=2)(step_sizes, keys(2))
        said.extend([str(runs), repr(runs), repr(gdx.Trajectory(step_sizes, step_sizes, step_sizes[0]))])
        return runs.steps

    look(jnp.ones(3))
    assert said[:2] == ["Runs [3, 2], traced"] * 2
    assert said[2] == "Trajectory(params=float64[3], loss=float64[3], gradient_norm=float64[])"


def test_results_are_pytrees_and_tuples_as_before(edge):
    assert jax.tree.structure(edge.runs) == jax.tree.structure(jax.tree.map(lambda fact: fact, edge.runs))
    assert edge == edge._replace()
    assert edge._asdict()["horizon"] == 300


def test_a_table_is_aligned_and_a_bar_decides_on_digits(table):
    said = lines(table)
    assert "0.200000000" not in said[2]
    assert said[2].index("largest") == said[3].index("largest")
    assert "at most 0.25" in said[3]
    assert "none" in said[4]
    assert max(map(len, said[5:])) <= 100


def test_a_transition_shows_edge_prediction_and_runs(edge):
    predictions = gdx.studies.predict(QUADRATIC, optax.sgd, keys(1))
    found = gdx.studies.Transition(edge.runs, edge.step_sizes[:3], edge, {}, predictions, 4, 0.0, 0.0)
    assert str(edge) in str(found)
    assert str(edge.runs) in str(found)
    assert "predicted for the last success: 0.2 (closed form)" in str(found)
    assert "interrupted" in str(found._replace(interrupted=True, edge=None))


def test_a_bare_expression_shows_no_array(edge, table):
    for value in (edge, table, gdx.trajectory(QUADRATIC, optax.sgd(0.1), jax.random.key(0), num_steps=3)):
        assert len(repr(value)) < 1_000
        assert "array" not in repr(value)
    assert f"float64[{len(edge.step_sizes)}]" in repr(edge)


def test_brackets_have_the_digits_that_tell_their_ends_apart():
    assert span(gdx.Bracket(0.123456789012, 0.123456789034)) == "0.123456789012 .. 0.123456789034"
    assert span(gdx.Bracket(0.123456789, 0.126)) == "0.1235 .. 0.126"
    assert span(gdx.Bracket(0.0, 2.0)) == "at or below 2"
    assert span(gdx.Bracket(2.0, math.inf)) == "at or above 2"
    assert span(gdx.Bracket(math.nan, math.nan)) == "none"
    assert span(gdx.Bracket(0.1, 0.1)) == "0.10000000000000001 .. 0.10000000000000001"
    for low, high in np.sort(np.random.default_rng(0).lognormal(0, 4, (200, 2)), axis=1):
        written = [float(end) for end in span((low, high)).split(" .. ")]
        assert abs(np.subtract(written, (low, high))).max() <= (high - low) / 20
    assert with_bar(1 / 3, 1e-9) == "0.3333333333 +- 1e-09"


def test_any_value_is_brief():
    assert brief(np.float64(0.5)) == "0.5"
    assert brief(jnp.arange(3)) == "int64[3]"
    assert brief(jax.random.key(0)) == "key<fry>[]"
    assert brief((1, 2, 3, 4)) == "(1, 2, 3, ... 4 in all)"
    assert brief({"a": jnp.ones((2, 2))}) == "{'a': float64[2, 2]}"
    assert brief(functools.partial(optax.sgd, 0.1)).startswith("functools.partial(<function sgd")
    assert len(brief("word " * 100)) < 100
    assert aligned([("a", "1"), ("bcd", "23")], right=(1,)) == "a     1\nbcd  23"
