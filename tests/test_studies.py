import functools
import io
import math

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from cases import keys
from rich.console import Console
from scipy import optimize

import gdx
from gdx import plots, reports, storage, studies
from gdx.edges.endless.estimating import no_estimate

FACTORIZATION = gdx.problems.scalar_factorization(1.0)


@pytest.fixture(scope="module")
def found():
    return studies.transition(FACTORIZATION, optax.sgd, keys=keys(6), num_steps=2000, num_points=24)


def test_a_transition_stands_beside_its_prediction(found):
    entries = {entry.name: entry for entry in found.predictions.entries}
    assert entries["closed_form"].value == pytest.approx(1.0)
    assert entries["closed_form"].predicts == "last_success"
    np.testing.assert_allclose(found.edge.last_success.lower, 1.0, rtol=5e-3)
    assert found.step_sizes[0] < 0.5 < 1.5 < found.step_sizes[-1]
    assert found.grid.shape == (24,)
    assert found.predictions.law is not None
    assert found.compile_seconds > 0


def test_a_transition_keeps_every_run_those_around_the_edge_too(found):
    assert found.runs.stopped.shape == (found.step_sizes.size, 6)
    assert set(found.grid) < set(found.step_sizes)
    edge = found.edge.last_success.lower
    around, of_grid = (np.abs(sizes / edge - 1) < 1e-2 for sizes in (found.step_sizes, found.grid))
    assert around.sum() > of_grid.sum() + 3
    np.testing.assert_array_equal(found.step_sizes, found.edge.step_sizes)


def test_a_transition_gives_the_edge_without_the_horizons_shift(found):
    shift = 1 - found.edge.last_success.lower
    assert shift > 1e-3
    assert abs(found.edge.estimate.value - 1) <= found.edge.estimate.error < 1e-3 * shift


def test_verdict_counts_add_up_to_the_repeats(found):
    counts = studies.verdict_counts(found.runs)
    assert set(counts) == {verdict.name.lower() for verdict in gdx.Verdict}
    np.testing.assert_array_equal(np.sum(list(counts.values()), axis=0), 6)


def test_predictions_follow_the_optimizers_threshold():
    heavy = studies.predict(FACTORIZATION, functools.partial(optax.sgd, momentum=0.5), keys(2))
    assert {entry.name: entry.value for entry in heavy.entries}["closed_form"] == pytest.approx(1.5)
    assert heavy.law is None
    start = FACTORIZATION.init(keys(1)[0])[0]
    curvature = np.linalg.eigvalsh(jax.hessian(lambda w: FACTORIZATION.loss(w, (), None)[0])(start))[-1]
    single = studies.predict(FACTORIZATION, optax.sgd, keys(1))
    assert {entry.name: entry.curvature for entry in single.entries}["start"] == pytest.approx(curvature)


def test_an_optimizer_without_a_threshold_has_no_prediction_but_a_reason():
    predictions = studies.predict(FACTORIZATION, optax.adam, keys(2))
    assert predictions.entries == ()
    assert "preconditioner" in predictions.note


@pytest.mark.parametrize("gain", [4.0, 0.0])
def test_step_sizes_of_single_leaves_bend_the_curvature_that_predicts(gain):
    hessian = np.asarray([[3.0, 1.0], [1.0, 2.0]])

    def loss(w):
        joined = jnp.stack([w["a"], w["b"]])
        return 0.5 * joined @ hessian @ joined

    problem = gdx.problem({"a": jnp.asarray(1.0), "b": jnp.asarray(-2.0)}, loss)

    def family(step_size):
        parts = {"one": optax.sgd(step_size), "other": optax.sgd(gain * step_size) if gain else optax.set_to_zero()}
        return optax.partition(parts, {"a": "one", "b": "other"})

    roots = np.sqrt([1.0, gain])
    expected = 2 / np.linalg.eigvalsh(roots[:, None] * hessian * roots)[-1]
    found = studies.predict(problem, family, keys(1))
    assert {entry.name for entry in found.entries} == {"minimum", "start"}
    np.testing.assert_allclose([entry.value for entry in found.entries], expected, rtol=1e-4)


def test_a_minimum_without_curvature_predicts_nothing():
    flat = gdx.problem(jnp.asarray([0.3, -0.7]), lambda w: jnp.sum(w**4))
    assert studies.minimum_sharpness(flat, keys(1)[0]) is None


@pytest.mark.slow
def test_newton_finds_the_curvature_at_the_optimum():
    problem = gdx.problems.logistic_regression("breast-cancer")
    sharpness = studies.minimum_sharpness(problem, jax.random.key(0))
    path = gdx.trajectory(problem, optax.sgd(10.0), jax.random.key(0), num_steps=4000)
    end = jax.tree.map(lambda leaf: leaf[-1], path.params)
    measured = gdx.sharpness(lambda w: problem.loss(w, (), None)[0], end).value
    np.testing.assert_allclose(sharpness, measured, rtol=1e-3)
    saddle = gdx.problem(jnp.asarray([0.0, 0.0]), lambda w: w[0] ** 2 - w[1] ** 2)
    assert studies.minimum_sharpness(saddle, jax.random.key(0)) is None
    assert studies.minimum_sharpness(gdx.problems.digits_mlp(), jax.random.key(0)) is None


@pytest.mark.slow
def test_without_any_prediction_a_wide_scan_finds_the_place():
    found = studies.transition(
        gdx.problems.quadratic((1.0,)),
        optax.sign_sgd,
        keys=keys(2),
        num_steps=300,
        num_points=10,
        criterion="improved",
    )
    assert found.predictions.entries == ()
    assert found.step_sizes[0] < found.edge.first_failure.lower < found.step_sizes[-1]


@pytest.mark.slow
def test_where_nothing_meets_the_criterion_others_are_measured_too():
    # Curvatures 1e-7 apart converge at no step size within the horizon, yet settle and stay bounded.
    problem = gdx.problems.quadratic((1e-7, 1.0), start=(1e7, 1.0))
    found = studies.transition(problem, optax.sgd, keys=keys(1), num_steps=1000, num_points=12, rtol=1e-3)
    assert found.edge.status is gdx.EdgeStatus.NONE_MEETS
    assert set(found.others) == {"stable", "bounded"}
    np.testing.assert_allclose(found.others["stable"].last_success.lower, 2.0, rtol=2e-2)


@pytest.mark.slow
def test_scaling_buys_what_the_curvatures_say():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(60, 3)) * [1.0, 30.0, 3.0], rng.normal(size=60)
    scaled, raw = (gdx.problems.least_squares(features, targets, scale=scale) for scale in ("standard", None))
    gain = studies.scaling_gain(scaled, raw, optax.sgd, keys=keys(2), num_steps=2000, rtol=1e-3)
    assert gain.predicted_factor == pytest.approx(raw.known.min_sharpness / scaled.known.min_sharpness)
    assert gain.predicted_factor > 100
    np.testing.assert_allclose(gain.measured_factor, gain.predicted_factor, rtol=1e-2)


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ((math.nan,) * 2, (1.0, 1.1), "no run failed"),
        ((0.5, 0.6), (1.0, 1.1), "the start"),
        ((1.2, 1.3), (1.0, 1.1), "horizon"),
    ],
)
def test_what_limits_the_first_failure_is_said(found, first, last, words):
    edge = found.edge._replace(first_failure=gdx.Bracket(*first), last_success=gdx.Bracket(*last))
    assert words in studies.limit_of(edge)


def test_a_trajectory_is_the_textbook_recursion():
    path = gdx.trajectory(gdx.problems.quartic(), optax.sgd(0.1), jax.random.key(4), num_steps=30)
    w = [float(path.params[0])]
    for _ in range(30):
        w.append(w[-1] - 0.1 * w[-1] * (w[-1] ** 2 - 1))
    np.testing.assert_allclose(path.params, w, rtol=1e-12)
    np.testing.assert_allclose(path.loss, 0.25 * (np.square(w) - 1) ** 2, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(path.gradient_norm, np.abs(np.asarray(w) ** 3 - w), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((optax.sgd, jax.random.key(0), 10), "transformation: "),
        ((optax.sgd(0.1), keys(2), 10), "key: "),
        ((optax.sgd(0.1), jax.random.PRNGKey(0), 10), "key: "),
        ((optax.sgd(0.1), jax.random.key(0), 0), "num_steps: 0"),
    ],
)
def test_trajectories_that_make_no_sense_are_refused(arguments, message):
    transformation, key, num_steps = arguments
    with pytest.raises(ValueError, match=message):
        gdx.trajectory(FACTORIZATION, transformation, key, num_steps=num_steps)


def test_a_dataset_holds_every_fact_and_comes_back_from_disk(found, tmp_path):
    settings = {"optimizer": "sgd", "momentum": None, "nesterov": False, "hyperparameters": {"a": 1.0}}
    dataset = storage.to_dataset(found.runs, settings)
    storage.save(dataset, tmp_path / "runs.nc")
    loaded = storage.load(tmp_path / "runs.nc")
    assert loaded.sizes == {"step_size": found.step_sizes.size, "repeat": 6}
    for name, values in found.runs._asdict().items():
        if name not in ("observed", "hyperparams"):
            np.testing.assert_array_equal(loaded[name], values)
    np.testing.assert_array_equal(loaded["verdict"], gdx.verdicts(found.runs))
    np.testing.assert_array_equal(loaded["training_verdict"], gdx.training_verdicts(found.runs))
    assert loaded["training_verdict"].attrs["flag_meanings"].split()[gdx.TrainingVerdict.BLOWN_UP] == "blown_up"
    assert loaded["verdict"].attrs["flag_meanings"].split()[gdx.Verdict.CYCLING] == "cycling"
    assert loaded.attrs["optimizer"] == "sgd"
    assert not (tmp_path / "runs.nc.partial").exists()


def test_observed_summaries_are_stored_with_their_own_dims(tmp_path):
    watcher = gdx.Observer(lambda params: params, lambda state, view: view.params, lambda state: {"last": state})
    runs = gdx.sweep(FACTORIZATION, optax.sgd, num_steps=20, observers={"w": watcher})([0.1, 0.2], keys(3))
    storage.save(storage.to_dataset(runs), tmp_path / "runs.nc")
    np.testing.assert_array_equal(storage.load(tmp_path / "runs.nc")["observed_w.last"], runs.observed["w"]["last"])


def test_all_hyperparameters_are_stored_whatever_they_are_called():
    run = gdx.sweep(FACTORIZATION, lambda h: optax.sgd(h["eta"], h["mu"]), num_steps=5)
    points = {"eta": np.array([0.1, 0.2]), "mu": np.array([0.5, 0.9])}
    stored = storage.to_dataset(run(points, keys(3)))
    assert stored.sizes == {"point": 2, "repeat": 3}
    np.testing.assert_array_equal(stored["hyperparams.mu"], np.repeat([[0.5], [0.9]], 3, axis=1))
    named = gdx.sweep(FACTORIZATION, lambda h: optax.sgd(h["lr"], h["mu"]), num_steps=5)
    stored = storage.to_dataset(named({"lr": points["eta"], "mu": points["mu"]}, keys(3)))
    np.testing.assert_array_equal(stored["step_size"], points["eta"])


def with_summaries(observed):
    """Facts of no runs in particular, with these summaries."""
    facts = {name: np.zeros((2, 3)) for name in gdx.Runs._fields}
    return gdx.Runs(**facts | {"stopped": np.ones((2, 3), np.int8), "observed": observed})


def test_no_two_summaries_become_one_variable_and_none_has_a_name_that_files_refuse(tmp_path):
    names = {"low": {"loss": 1.0, "a/b": 2.0, "a%2Fb": 3.0, "a.b": 4.0}, "low_loss": 5.0, "low.loss": 6.0}
    names |= {"pair": (7.0, {"0": 8.0}), "größe": 9.0, "low/loss": 10.0}
    observed = jax.tree.map(lambda value: np.full((2, 3), value), names)
    storage.save(storage.to_dataset(with_summaries(observed)), tmp_path / "runs.nc")
    stored = storage.load(tmp_path / "runs.nc")
    values = {name: float(stored[name][0, 0]) for name in stored if name.startswith("observed")}
    assert sorted(values.values()) == [float(value) for value in range(1, 11)]
    assert values["observed_low.loss"] == 1
    assert values["observed_low.a%2Fb"] == 2
    assert values["observed_low_loss"] == 5


def test_narrow_floats_are_stored_as_float32(tmp_path):
    narrow = {"half": jnp.ones((2, 3), jnp.float16), "brain": jnp.ones((2, 3), jnp.bfloat16)}
    runs = with_summaries(narrow)._replace(last_loss=jnp.full((2, 3), 0.5, jnp.bfloat16))
    storage.save(storage.to_dataset(runs), tmp_path / "runs.nc")
    stored = storage.load(tmp_path / "runs.nc")
    assert {stored[name].dtype.name for name in ("last_loss", "observed_half", "observed_brain")} == {"float32"}


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "runs.nc").mkdir()
    with pytest.raises(OSError):
        storage.save(storage.to_dataset(with_summaries({})), tmp_path / "runs.nc")
    assert [path.name for path in tmp_path.iterdir()] == ["runs.nc"]


def test_the_picture_shows_all_runs_the_law_and_the_edges(found):
    upper, lower = plots.transition(found.step_sizes, found.runs, found.edge, law=found.predictions.law)
    shown = sum(len(collection.get_offsets()) for collection in upper.collections)
    assert shown == found.step_sizes.size * 6
    labels = [text.get_text() for text in upper.get_legend().get_texts()]
    assert "theory's law" in labels
    assert any(label.startswith("last success") for label in labels)
    drawn = {line.get_label(): line for line in upper.get_lines()}["theory's law"]
    x, y = drawn.get_data()
    inside = np.isfinite(y)
    np.testing.assert_allclose(y[inside], found.predictions.law(x[inside]))
    assert lower.get_ylim() == (0, 1)
    plt.close(upper.figure)


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_scans_end_is_no_measurement_in_picture_table_and_ratio(found):
    scanned = found.edge._replace(last_success=gdx.Bracket(1.2, math.inf), first_failure=gdx.Bracket(0.0, 0.6))
    upper, lower = plots.transition(found.step_sizes, found.runs, scanned._replace(estimate=None))
    assert {"last success at least 1.2", "first failure at most 0.6"} <= set(labels_of(upper))
    drawn = [line.get_xdata()[0] for axes in (upper, lower) for line in axes.get_lines() if len(line.get_xdata())]
    assert not {1.2, 0.6} & set(drawn)
    plt.close(upper.figure)
    text = as_text(reports.transition_tables(found._replace(edge=scanned), SETTINGS))
    assert "at or above 1.2" in text
    assert "at least 1.2" in text
    assert math.isnan(gdx.studies.BatchSizeEdges((1,), (scanned,)).last_success[0])
    measured = gdx.Bracket(1.0, 1.1)
    assert math.isnan(studies.ScalingGain(1.0, 0.1, scanned.last_success, measured, "stable").measured_factor)
    assert studies.ScalingGain(1.0, 0.1, measured, measured, "stable").measured_factor == 1.0


SETTINGS = {"problem": "mine", "optimizer": "sgd", "hyperparameters": {}, "criterion": "converged", "repeats": 6}
SETTINGS |= {"num_steps": 2000, "tolerance": 1e-6, "scale": None, "batch_size": None, "precision": "float64"}


def as_text(parts):
    console = Console(width=120, record=True, file=io.StringIO())
    for part in parts:
        console.print(part, highlight=False)
    return console.export_text()


def test_the_estimate_stands_in_picture_table_json_and_file(found):
    value = found.edge.estimate.value
    upper, _ = plots.transition(found.step_sizes, found.runs, found.edge)
    assert any(label.startswith("endless run 1") for label in labels_of(upper))
    assert any(line.get_xdata()[0] == value for line in upper.get_lines() if len(line.get_xdata()))
    plt.close(upper.figure)
    text = as_text(reports.transition_tables(found, SETTINGS))
    assert "measured: endless run" in text
    assert "endless run: soft edge" in text
    said = reports.transition_json(found, SETTINGS, [])["estimate"]
    assert (said["value"], said["kind"]) == (value, "soft")
    assert reports.edge_attributes(found.edge)["estimate"] == value
    without = found._replace(edge=found.edge._replace(estimate=no_estimate("it rains")))
    assert "no edge of an endless run: it rains" in as_text(reports.transition_tables(without, SETTINGS))


def test_training_is_shown_in_its_own_words(found):
    trained = found._replace(edge=found.edge._replace(criterion="trains", estimate=None))
    upper, lower = plots.transition(found.step_sizes, found.runs, trained.edge)
    assert upper.get_ylabel() == "loss over the tail"
    names = {verdict.name.lower().replace("_", " ") for verdict in gdx.TrainingVerdict}
    assert "trained" in labels_of(lower)
    assert set(labels_of(lower)) <= names
    plt.close(upper.figure)
    assert "trained" in as_text(reports.transition_tables(trained, SETTINGS))
    counts = studies.verdict_counts(found.runs, "trains")
    assert set(counts) == {verdict.name.lower() for verdict in gdx.TrainingVerdict}
    np.testing.assert_array_equal(np.sum(list(counts.values()), axis=0), 6)


def test_starts_that_disagree_are_said_and_drawn_to_disagree(found):
    pairs = (gdx.Bracket(0.5, 0.51), gdx.Bracket(0.9, 0.91), gdx.Bracket(math.nan, math.nan))
    apart = found.edge._replace(by_start=pairs, repeats=3)
    assert apart.spread == pytest.approx(0.9 / 0.51)
    text = as_text(reports.transition_tables(found._replace(edge=apart), SETTINGS))
    assert "their own last successes lie from 0.5 to 0.9" in text
    assert "1 of 3 starts succeed at no step size" in text
    upper, _ = plots.transition(found.step_sizes, found.runs, apart)
    assert "starts' own last successes" in labels_of(upper)
    plt.close(upper.figure)


def test_ctrl_c_in_the_first_scan_of_a_transition_loses_nothing_that_was_finished():
    rounds = []

    def progress(stage, finished, total):
        if finished == total:
            rounds.append(stage)
        if rounds:
            raise KeyboardInterrupt

    arguments = {"keys": keys(2), "num_steps": 300, "num_points": 10, "criterion": "bounded"}
    without_prediction = gdx.problem(jnp.ones(1), lambda w: 0.5 * jnp.sum(w**2) + jnp.sum(jnp.cosh(w)))
    found = studies.transition(without_prediction, optax.sign_sgd, progress=progress, **arguments)
    assert rounds == ["edges"]
    assert found.interrupted
    assert found.runs.stopped.shape == (found.step_sizes.size, 2)
    assert np.all(found.runs.stopped != gdx.Stop.UNFINISHED)
    assert found.edge.last_success.lower > 0
    assert reports.transition_json(found, SETTINGS, [])["status"] == "interrupted"
    assert "interrupted" in as_text(reports.transition_tables(found, SETTINGS))
    upper, _ = plots.transition(found.step_sizes, found.runs, found.edge, window=found.window)
    plt.close(upper.figure)


def test_the_lower_panel_fills_the_whole_width_and_height(found):
    upper, lower = plots.transition(found.step_sizes, found.runs, norm_scale="log")
    tops = np.max([patch.get_data().values for patch in lower.patches], axis=0)
    np.testing.assert_allclose(tops, 1.0)
    edges = lower.patches[0].get_data().edges
    np.testing.assert_allclose([edges[0], edges[-1]], [found.step_sizes[0], found.step_sizes[-1]])
    plt.close(upper.figure)


def test_json_has_null_for_numbers_that_are_not_finite():
    text = reports.to_json({"a": math.nan, "b": [math.inf, 1.5], "c": np.asarray([1, 2]), "d": np.float32(-math.inf)})
    assert text == '{"a": null, "b": [null, 1.5], "c": [1, 2], "d": null}'


@pytest.mark.usefixtures("quick_compilation_here")
@pytest.mark.slow
def test_the_edge_by_batch_size_is_that_of_the_mean_growth():
    curvatures = jnp.asarray([0.5, 1.5])

    def make(size):
        return gdx.problems.finite_sum(
            jnp.asarray(1.0),
            lambda w, rows: 0.5 * rows * w**2,
            curvatures,
            batch_size=size,
            replacement=size is not None,
        )

    def mean_growth(step_size):
        return np.sum(np.log(np.abs(1 - step_size * np.asarray(curvatures))))

    one = optimize.brentq(mean_growth, 2.1, 5.0)
    assert one == pytest.approx(8 / 3)
    options = {"keys": keys(2), "num_steps": 3000, "bracket": (1.5, 4.0)}
    found = gdx.studies.edges_by_batch_size(make, optax.sgd, (1, None), **options)
    np.testing.assert_allclose(found.last_success, [one, 2.0], rtol=0.03)
    np.testing.assert_allclose(found.first_failure, [one, 2.0], rtol=0.03)
    with pytest.raises(ValueError, match=r"batch_size: 3 .*\[1, 2\]"):
        gdx.studies.edges_by_batch_size(make, optax.sgd, (1, 3), **options)


def test_the_curvature_where_a_run_came_to_rest_tells_a_saddle_from_a_minimum():
    # Along y alone a saddle at 0 with curvature -1; minima at x = +-1 with curvatures 2 and 1.
    def loss(w):
        return 0.25 * (w[0] ** 2 - 1) ** 2 + 0.5 * w[1] ** 2

    def started(h):
        return gdx.problem(jnp.stack([h["x"], jnp.ones(())]), loss)

    run = gdx.sweep(started, lambda h: optax.sgd(h["h"]), num_steps=200, observers={"end": gdx.observers.last_params})
    runs = run({"x": np.asarray([0.0, 0.5]), "h": np.asarray([0.3, 0.3])}, keys(1))
    assert gdx.converged(runs).all()
    found = gdx.studies.curvature_at_rest(gdx.problem(jnp.ones(2), loss), runs.observed["end"])
    np.testing.assert_allclose(found[:, 0], [-1.0, 1.0], atol=1e-6)


@pytest.mark.slow
def test_a_transition_tells_where_its_runs_came_to_rest():
    # Two minima of different losses; without the tilt a start at x = 0 exactly ends at a saddle.
    def tilted(w):
        return 0.25 * (w[0] ** 2 - 1) ** 2 + 0.5 * w[1] ** 2 + 0.2 * w[0]

    starts = gdx.problem(lambda key: jnp.stack([2.0 * jax.random.bernoulli(key) - 1, 0.5]), tilted)
    found = studies.transition(starts, optax.sgd, keys=keys(6), num_steps=500, step_sizes=[0.1, 0.2], estimate=False)
    low, high = found.places
    x = np.sort(np.roots([1, 0, -1, 0.2]))[[0, 2]]
    np.testing.assert_allclose([low.loss, high.loss], 0.25 * (x**2 - 1) ** 2 + 0.2 * x, rtol=1e-9)
    assert low.number + high.number == found.runs.stopped.size
    assert low.look.kind == high.look.kind == "a minimum"
    np.testing.assert_allclose([low.look.largest, high.look.largest], 3 * x**2 - 1, rtol=1e-5)
    np.testing.assert_allclose([low.look.smallest, high.look.smallest], 1.0, rtol=1e-5)
    even = gdx.problem(jnp.array([0.0, 1.0]), lambda w: 0.25 * (w[0] ** 2 - 1) ** 2 + 0.5 * w[1] ** 2)
    found = studies.transition(even, optax.sgd, keys=keys(1), num_steps=500, step_sizes=[0.1, 0.2], estimate=False)
    (saddle,) = found.places
    assert saddle.look.kind == "a saddle"
    assert saddle.loss == pytest.approx(0.25)
    settings = {"problem": "p", "optimizer": "o", "hyperparameters": {}, "batch_size": None, "scale": None}
    settings |= {"repeats": 1, "num_steps": 1, "criterion": "converged", "tolerance": 1e-6, "precision": "float64"}
    lines = [part for part in reports.transition_tables(found, settings) if isinstance(part, str)]
    assert any("to rest at loss 0.25, a saddle: curvature from -1 to 1" in line for line in lines)
    assert reports.transition_json(found, settings, [])["places_of_rest"][0]["look"]["kind"] == "a saddle"


def test_a_loss_that_cannot_be_differentiated_twice_has_a_transition_without_a_prediction():
    @jax.custom_vjp
    def bowl(w):
        return 0.5 * jnp.sum(w**2)

    def backward(w, g):
        shape = jax.ShapeDtypeStruct(w.shape, w.dtype)
        return (g * jax.pure_callback(np.asarray, shape, w, vmap_method="sequential"),)

    bowl.defvjp(lambda w: (bowl(w), w), backward)
    problem = gdx.problem(jnp.ones(2), bowl)
    found = studies.transition(problem, optax.sgd, keys=keys(1), num_steps=200, step_sizes=[0.5, 3.0], estimate=False)
    assert found.predictions.entries == ()
    assert "cannot be differentiated twice" in found.predictions.note
    assert found.edge.last_success.lower <= 2 <= found.edge.first_failure.upper
    assert [place.look.kind for place in found.places] == ["without second derivatives there"]


def test_what_so_few_products_do_not_tell_is_not_called_a_minimum_nor_flat():
    look = studies.Look(0.3, 1.0, gdx.EigenStatus.NOT_CONVERGED)
    assert "do not tell" in look.kind
    assert look._replace(status=gdx.EigenStatus.CONVERGED).kind == "a minimum"
    # A Ritz value is no smaller than the smallest eigenvalue, so a negative one proves a saddle.
    assert look._replace(smallest=-0.3).kind == "a saddle"


def test_runs_on_batches_come_to_rest_nowhere():
    data = jnp.arange(8.0)
    problem = gdx.problem(
        jnp.ones(()),
        lambda w, batch: jnp.sum(batch[1] * (w - batch[0]) ** 2),
        batches=gdx.problems.minibatches(data, 2),
        full_loss=lambda w: jnp.mean((w - data) ** 2),
    )
    run = gdx.sweep(problem, optax.sgd, num_steps=100)
    runs = run([0.1, 0.2], keys(1))
    assert studies.places_of_rest(problem, optax.sgd, keys(1), [0.1, 0.2], runs, 100) == ()
