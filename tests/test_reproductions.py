"""Published pictures: what they are made of is what it says, and a figure that does not hold is told."""

import importlib
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from typer.testing import CliRunner

import gdx
from gdx.cli import app, reproductions
from gdx.reports import reproduction_json, reproduction_line, reproduction_table, to_json
from gdx.studies.reproductions import CatapultNetwork, Control, CriticalStep, DigitsPanel, EdgePanel, LinearPanel, held
from gdx.studies.reproductions import base as shared
from gdx.studies.reproductions.catapult import Catapult, network
from gdx.studies.reproductions.critical_claims import claims_of, notes_of
from gdx.studies.reproductions.critical_networks import linear_problem, scale_invariant, separable_logistic
from gdx.studies.reproductions.edge_of_stability import EdgeOfStability, chebyshev_regression, followed

factorization_basin = importlib.import_module("gdx.studies.reproductions.factorization_basin")
trainability = importlib.import_module("gdx.studies.reproductions.trainability")

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(autouse=True)
def _precision_stays_as_it_is():
    yield
    jax.config.update("jax_enable_x64", True)


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments))


def row(name, passed=True):
    return held(name, "a number", "nobody", 1.0, 1.0 if passed else 2.0, 0.1)


ONE = (row("one"),)


def small_catapult(claims=ONE):
    multiples = np.array([1.0, 2.5, 3.0, 4.5])
    rose = np.array([[False, False], [True, True], [True, True], [True, True]])
    is_bounded = np.array([[True, True], [True, True], [True, False], [False, False]])
    curvature = np.where(is_bounded, 0.5, np.nan)
    curves = np.geomspace(1.0, 1e-3, 12).reshape(4, 3)
    return Catapult(
        (CatapultNetwork("a net", multiples, rose, is_bounded, curvature, curves),), claims, ("a note",), 8, 1.0
    )


def test_a_figure_that_is_no_number_or_too_far_off_does_not_hold():
    assert held("a", "b", "c", 2.0, 2.09, 0.05).passed
    assert not held("a", "b", "c", 2.0, 2.11, 0.05).passed
    assert not held("a", "b", "c", 2.0, math.nan, 0.05).passed
    assert not held("a", "b", "c", 2.0, math.inf, 0.05).passed
    assert held("a", "b", "c", 0.0, 0, 0.0, is_absolute=True).passed
    assert not held("a", "b", "c", 0.0, 1, 0.0, is_absolute=True).passed


def test_boundaries_are_where_starts_change_and_nan_where_they_do_not():
    one = small_catapult().networks[0]
    np.testing.assert_allclose(one.lazy_up_to, [1.75, 1.75])
    np.testing.assert_allclose(one.bounded_up_to, [3.75, 2.75])
    never = one._replace(rose=np.zeros_like(one.rose), is_bounded=np.ones_like(one.is_bounded))
    assert np.isnan(never.lazy_up_to).all()
    assert np.isnan(one._replace(rose=np.ones_like(one.rose)).lazy_up_to).all()


def test_rises_are_those_from_step_to_step():
    rises = gdx.observers.ever_rose

    def rose(losses):
        state = rises.init(jnp.zeros(()))
        for loss in losses:
            state = rises.update(state, type("View", (), {"loss": jnp.asarray(loss)}))
        return bool(rises.summarise(state))

    assert not rose([3.0, 2.0, 1.0])
    assert rose([3.0, 1.0, 1.5])
    assert not rose([3.0, 1e-14, 2e-14])
    assert not rose([3.0])


def test_the_tangent_kernel_of_the_catapult_is_the_hessian_where_the_loss_is_zero():
    inputs = np.random.default_rng(1).normal(size=(4, 3))
    made, top = network(inputs, np.zeros(4), 6)

    @jax.jit
    def look(key):
        start, _ = made.init(key)
        # Without a second layer outputs are 0, whatever the first.
        flat, unravel = ravel_pytree(start | {"v": jnp.zeros(6)})
        hessian = jax.hessian(lambda place: made.loss(unravel(place), (), None)[0])(flat)
        return top(start), top(unravel(flat)), hessian

    at_start, kernel, hessian = look(jax.random.key(3))
    np.testing.assert_allclose(at_start, 1.0, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian)[-1], kernel, rtol=1e-10)


def test_a_whitened_network_has_the_loss_and_so_the_flattest_minimum_of_linear_network():
    made = linear_problem(3, 3, True)
    same = gdx.problems.linear_network((3,) * 4, singular_values=[1.0, 0.75, 0.5])
    both = jax.jit(lambda params: (made.loss(params, (), None)[0], same.loss(params, (), None)[0]))
    own, other = both(tuple(np.random.default_rng(2).normal(size=(3, 3, 3))))
    np.testing.assert_allclose(own, other, rtol=1e-12)


def test_inputs_that_are_not_whitened_have_their_condition():
    made = linear_problem(2, 4, False)
    second = jax.jit(jax.hessian(lambda first: made.loss((first, jnp.eye(4)), (), None)[0]))
    eigenvalues = np.linalg.eigvalsh(np.reshape(second(jnp.zeros((4, 4))), (16, 16)))
    np.testing.assert_allclose(eigenvalues[-1] / eigenvalues[0], 8.0, rtol=1e-9)


def test_the_controls_are_what_they_say():
    invariant, place = scale_invariant(), jnp.asarray([0.3, -1.0, 0.2, 2.0, 0.1])
    loss = lambda w: invariant.loss(w, (), None)[0]  # noqa: E731
    np.testing.assert_allclose(loss(place), loss(7 * place), rtol=1e-12)
    logistic = separable_logistic()
    # Along the direction that separates, the loss goes down to 0.
    far = [float(logistic.loss(length * jnp.ones(2), (), None)[0]) for length in (1.0, 10.0, 1000.0)]
    assert far[0] > far[1] > far[2]
    assert far[2] < 1e-60


def test_the_regression_is_half_the_mean_square_of_a_chebyshev_polynomial():
    made = chebyshev_regression()
    shapes = jax.eval_shape(made.init, jax.random.key(0))[0]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 701
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    nodes = np.linspace(-1, 1, 20)
    polynomial = np.cos(6 * np.arccos(nodes))
    np.testing.assert_allclose(made.loss(nothing, (), None)[0], 0.5 * np.mean(polynomial**2), rtol=1e-12)


@pytest.mark.slow
def test_rows_are_kept_of_every_few_steps_and_no_further():
    observer = shared.kept(lambda view: view.loss, num_rows=3, every=2)
    run = gdx.sweep(gdx.problems.quadratic([1.0], start=[1.0]), optax.sgd, num_steps=8, observers={"loss": observer})
    losses = run([0.5], jax.random.split(jax.random.key(0), 1)).observed["loss"]
    np.testing.assert_allclose(losses[0, 0], 0.5 * 0.5 ** (2 * np.array([0, 2, 4])), rtol=1e-12)


@pytest.mark.slow
def test_the_sharpness_that_is_followed_is_that_of_the_hessian():
    made, num_steps = chebyshev_regression(), 600
    observers = {"edge": followed(made, optax.sgd, num_steps // 20), "end": gdx.observers.last_params}
    run = gdx.sweep(made, optax.sgd, num_steps=num_steps - 19, facts=(), observers=observers, num_runs=2)
    runs = run([0.1, 0.2], jax.random.split(jax.random.key(5), 1))
    for at in range(2):
        flat, unravel = ravel_pytree(jax.tree.map(lambda leaf, at=at: jnp.asarray(leaf[at, 0]), runs.observed["end"]))
        hessian = jax.jit(jax.hessian(lambda place, of=unravel: made.loss(of(place), (), None)[0]))(flat)
        np.testing.assert_allclose(runs.observed["edge"][0][at, 0, -1], np.linalg.eigvalsh(hessian)[-1], rtol=0.01)


@pytest.mark.parametrize("study", [one.study for one in reproductions.REPRODUCTIONS])
def test_studies_refuse_numbers_of_starts_and_seeds_that_are_none(study):
    with pytest.raises(ValueError, match="repeats: 0 is no whole number of at least 1"):
        study(repeats=0)
    with pytest.raises(ValueError, match="seed: -1 is no whole number of at least 0"):
        study(seed=-1)


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="precision: float32"):
        gdx.studies.catapult(quick=True)


def test_the_table_is_whole_and_listed():
    names = [one.name for one in reproductions.REPRODUCTIONS]
    assert len(set(names)) == len(names)
    for one in reproductions.REPRODUCTIONS:
        assert one.line
        assert one.source
        function = one.name.replace("-", "_")
        assert (one.study.__name__, one.plot.__name__) == (function, function)
    assert list(json.loads(invoke("reproduce", "--json").stdout)) == names
    assert invoke("reproduce", "--quiet").output == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["catapul"], "name: 'catapul' is no picture; choose critical-step"),
        (["catapult", "--repeats", "0"], "repeats: 0 is below 1"),
        (["catapult", "--seed", "-1"], "seed: -1 is below 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    result = invoke("reproduce", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"gdx: [^\n]+\n", result.stderr)
    assert words in result.stderr


@pytest.mark.parametrize("holds", [True, False])
def test_the_exit_code_says_whether_all_figures_hold(holds, tmp_path, monkeypatch):
    first = reproductions.REPRODUCTIONS[1]

    def study(**options):
        return small_catapult((row("one"), row("two", holds)))

    monkeypatch.setattr(reproductions, "REPRODUCTIONS", (first._replace(study=study),))
    result = invoke("reproduce", "catapult", "--out", str(tmp_path))
    assert result.exit_code == (0 if holds else 1)
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("CHECK: all 2 hold" if holds else "CHECK: 1 of 2 do not hold (two)")
    told = json.loads((tmp_path / "catapult.json").read_text())
    assert (told["holds"], told["num_failed"]) == (holds, 0 if holds else 1)
    assert (tmp_path / "catapult.png").stat().st_size > 1000


def test_reports_write_every_field_and_no_number_that_json_lacks():
    found = small_catapult((row("one"), held("two", "nothing was measured", "nobody", 1.0, math.nan, 0.1)))
    told = json.loads(to_json(reproduction_json(found, {"seed": 3}, ["a.png"])))
    assert told["seed"] == 3
    assert not told["holds"]
    assert told["measured"]["networks"][0]["curvature"][-1] == [None, None]
    assert told["claims"][1]["measured"] is None
    assert reproduction_table(found, "title").row_count == 2
    assert "1 of 2 do not hold (two)" in reproduction_line(found)


def small_edge():
    steps = np.arange(10) * 20.0
    sharpness = np.stack([np.linspace(5, 10, 10), np.full(10, np.nan)])[:, None]
    panel = EdgePanel(
        "net",
        "chebyshev",
        np.array([0.2, 0.5]),
        2.0,
        steps,
        sharpness,
        1 / (1 + sharpness),
        np.array([[True], [False]]),
    )
    return EdgeOfStability((panel,), ONE, (), 2, 1.0)


def test_a_plateau_is_the_late_median_and_none_where_a_run_diverged():
    panel = small_edge().panels[0]
    np.testing.assert_allclose(panel.plateaus[0, 0], np.median(np.linspace(5, 10, 10)[-2:]))
    assert np.isnan(panel.plateaus[1, 0])
    np.testing.assert_allclose(panel.edges, [10.0, 4.0])


def small_critical_step():
    steps = np.array([0.5, 0.8, 1.1])
    at_rest = np.array([[True, True], [True, False], [False, False]])
    norms = np.where(at_rest, 1e-9, [[1.0, 1.0], [1.0, np.nan], [0.2, np.nan]])
    linear = (
        LinearPanel(2, 3, True, 1.0, steps, norms, at_rest, ""),
        LinearPanel(2, 16, False, math.nan, steps, norms, at_rest, "too many"),
    )
    edges = np.array([0.9, 1.0])
    digits = DigitsPanel("tanh", "square", 2, steps, norms, at_rest, edges)
    nowhere = digits._replace(activation="relu", edges=np.full(2, np.nan), gradient_norm=np.full((3, 2), np.nan))
    control = Control("flat", steps, np.full((3, 2), 1e-5), 1e-2)
    return CriticalStep(linear, (digits, nowhere), (control,), ONE, (), 6, 1.0)


def test_runs_above_and_below_are_counted_by_eta_crit_and_none_without_one():
    known, unknown = small_critical_step().linear
    assert (known.above, known.below) == ((0, 2), (3, 4))
    assert known.last_success == 0.8
    assert known._replace(converged=np.ones((3, 2), bool)).above == (2, 2)
    assert (unknown.above, unknown.below) == ((0, 0), (0, 0))
    assert math.isnan(unknown.above.value)
    assert math.isnan(known._replace(converged=np.zeros((3, 2), bool)).last_success)


def test_only_networks_with_an_expected_edge_are_checked():
    found = small_critical_step()
    free = found.digits[0]._replace(loss="cross-entropy", trains=np.ones((3, 2), bool), edges=np.array([0.6, 2.0]))
    claims = list(claims_of(found.linear, (*found.digits, free), found.controls))
    assert [one.name for one in claims if one.name.startswith("digits")] == ["digits-square"]
    assert not any("16" in one.claim for one in claims)
    notes = " ".join(notes_of(found.linear, (*found.digits, free)))
    assert "width 16, not whitened: without a check" in notes
    assert "1 of 1 runs train above" in notes


def test_a_run_that_converges_above_eta_crit_is_a_claim_that_fails():
    found = small_critical_step()
    wrong = found.linear[0]._replace(converged=np.ones((3, 2), bool))
    failed = [one.name for one in claims_of((wrong,), (), ()) if not one.passed]
    assert "whitened-2x3-above" in failed


def test_edges_of_half_of_the_starts_are_held_against_the_others():
    panel = small_critical_step().digits[0]._replace(edges=np.array([0.6, 2.0]))
    assert panel.held_out == (0, 1)
    late = panel.trains.copy()
    late[2, 1] = True
    assert panel._replace(trains=late).held_out == (1, 1)
    np.testing.assert_allclose(panel.spread, 2.0 / 0.6)


@pytest.mark.parametrize(
    ("draw", "found"),
    [
        (gdx.plots.catapult, small_catapult()),
        (gdx.plots.edge_of_stability, small_edge()),
        (gdx.plots.critical_step, small_critical_step()),
    ],
)
def test_pictures_are_drawn_where_runs_diverged_or_numbers_are_unknown(draw, found):
    from matplotlib import pyplot

    axes = draw(found, title="title")
    axes.flat[0].figure.canvas.draw()
    pyplot.close("all")
    assert axes.ndim == 2


# Nothing is random in the cosine, and the maps of trainability take long to compile.
QUICK = [(one.name, seed) for one in reproductions.REPRODUCTIONS for seed in (0, 1)]
ONCE = ("cosine-fractal", "trainability")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [pair for pair in QUICK if pair[1] == 0 or pair[0] not in ONCE])
def test_quick_pictures_hold(name, seed, tmp_path):
    result = invoke("reproduce", name, "--quick", "--seed", str(seed), "--out", str(tmp_path), "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["num_failed"]) == (0, 0), [one for one in told["claims"] if not one["passed"]]
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png", f"{name}.json"}


def test_the_margin_of_a_start_is_how_far_inside_the_ellipse_it_lies():
    u, v = np.array([[0.0], [4.0], [1.0]]), np.array([[0.0], [4.0], [1.0]])
    inside = factorization_basin.margin(1.0, 0.5, u, v)
    # 4 / .5 - .5 = 7.5; at (4, 4) 32 - 8 = 24 of it are used, at (1, 1) 2 - .5.
    np.testing.assert_allclose(inside, [1.0, (7.5 - 24) / 7.5, (7.5 - 1.5) / 7.5])


def test_a_network_of_trainability_is_the_published_one():
    condition = trainability.CONDITIONS[0]
    made = trainability.network(condition, 3)({"input": 1.0, "output": 1.0})
    weights, _ = made.init(jax.random.key(0))
    x_key, y_key = jax.random.split(jax.random.key(3))
    x, y = np.asarray(jax.random.normal(x_key, (272, 16))), np.asarray(jax.random.normal(y_key, (272,)))
    out = np.tanh(np.sqrt(2) * x @ np.asarray(weights["input"]) / 4) @ np.asarray(weights["output"]) / 16
    assert float(made.loss(weights, (), None)[0]) == pytest.approx(np.mean((out - y) ** 2), rel=1e-12)
    moved = trainability.network(trainability.CONDITIONS[-1], 3)({"offset": 2.0, "step_size": 1.0})
    np.testing.assert_allclose(moved.init(jax.random.key(0))[0]["input"], weights["input"] + 2.0)


def test_conditions_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="conditions: 'tan' is none of tanh, relu"):
        gdx.studies.trainability(conditions=("tan",))


def test_json_writes_what_enumerations_stand_for_and_of_maps_the_answers_alone():
    assert json.loads(to_json({"kind": gdx.maps.Roughness.FRACTAL, "answer": gdx.Answer.MET})) == {
        "kind": "fractal",
        "answer": 1,
    }
