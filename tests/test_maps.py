"""Maps over two hyperparameters: who gets which, what is kept and reused, and maps whose boundary is known exactly."""

import functools
import os
import signal
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx
from gdx.maps.axes import cells_of, check_axis, coinciding
from gdx.maps.handing import handed

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.split(jax.random.key(0), 1)
BOWL = gdx.problems.quadratic(np.ones(1), start=np.ones(1))
E1, E2 = gdx.Axis("e1", 1e-2, 10, "log"), gdx.Axis("e2", 1e-2, 10, "log")
PRODUCT = gdx.problem(
    lambda key: {"x": jax.random.normal(key), "y": jax.random.normal(jax.random.fold_in(key, 1))},
    lambda w: 0.5 * (w["x"] * w["y"] - 1) ** 2,
)


def heavy_ball(h):
    return optax.sgd(h["step_size"], momentum=h["momentum"])


def by_leaf(h):
    return optax.multi_transform({"x": optax.sgd(h["e1"]), "y": optax.sgd(h["e2"])}, {"x": "x", "y": "y"})


@pytest.fixture(scope="module")
def ball():
    """A sweep of heavy ball on curvature 1, stable for step sizes below 2 (1 + momentum)."""
    return gdx.sweep(BOWL, heavy_ball, num_steps=200)


AXES: Any = {"x": gdx.Axis("momentum", 0.0, 0.5), "y": gdx.Axis("step_size", 1.0, 4.0, "log")}
BALL: Any = {**AXES, "keys": KEY, "criterion": "bounded"}


def is_beyond(found):
    return found.y[:, None] > 2 * (1 + found.x)


def test_a_refined_map_is_the_dense_one_and_both_are_theorys(ball):
    dense = gdx.phase_map(run=ball, resolution=(64, 96), dense=True, **BALL)
    found = gdx.phase_map(run=ball, resolution=(64, 96), max_wrong=0.05, **BALL)
    assert found.answers.shape == (96, 64)
    assert np.array_equal(found.answers, dense.answers)
    assert np.mean(found.computed) < 0.7
    assert np.mean(dense.computed) == 1
    assert found.num_runs == np.sum(found.computed)
    far = np.abs(found.y[:, None] / (2 * (1 + found.x)) - 1) > 0.1  # bounded runs need some steps to show
    assert np.array_equal((dense.answers == gdx.Answer.FAILED)[far], is_beyond(dense)[far])
    assert np.array_equal(dense.share == 1, dense.answers == gdx.Answer.MET)


def test_a_map_says_what_became_of_its_runs(ball):
    found = gdx.phase_map(run=ball, resolution=24, **BALL)
    runs = ball({"momentum": found.x[[3, 3]], "step_size": found.y[[2, 23]]}, KEY)
    assert found.of("verdict")[[2, 23], 3].tolist() == gdx.verdicts(runs)[:, 0].tolist()
    assert found.of("steps")[[2, 23], 3].tolist() == [200, int(runs.first_bad_step[1, 0])]
    assert found.of("last_loss")[2, 3] == runs.last_loss[0, 0]
    assert np.isnan(found.of("tail_loss")[~found.computed]).all()
    with pytest.raises(ValueError, match=r"colour: 'stepz' is unknown; choose from verdict, .*tail_loss"):
        found.of("stepz")
    assert "PhaseMap of momentum and step_size: bounded within 200 steps, 24 x 24, 1 start" in str(found)


def test_a_zoom_takes_over_the_cells_that_coincide_and_says_how_many(ball):
    whole = gdx.phase_map(run=ball, resolution=32, dense=True, **BALL)
    quarter = (0.125, 0.25), (4**0.25, 2.0)
    zoom = gdx.phase_map(run=ball, resolution=32, dense=True, window=quarter, former=whole, **BALL)
    assert (zoom.reused, zoom.num_runs) == (64, 32**2 - 64)
    again = gdx.phase_map(run=ball, resolution=32, dense=True, window=quarter, former=[zoom, whole], **BALL)
    assert (again.reused, again.num_runs) == (32**2, 0)
    for name in ("answers", "run_answers", "verdicts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(zoom, name))
    np.testing.assert_array_equal(zoom.of("last_loss"), again.of("last_loss"))
    elsewhere = (0.1, 0.27), (1.1, 2.0)
    two: Any = gdx.phase_map(run=ball, resolution=32, dense=True, window=[quarter, elsewhere], former=whole, **BALL)
    assert [one.reused for one in two] == [64, 0]
    assert elsewhere[0][0] < two[1].x[0] < two[1].x[-1] < elsewhere[0][1]


def test_what_is_taken_over_must_be_of_the_same_runs(ball):
    whole = gdx.phase_map(run=ball, resolution=4, dense=True, **BALL)
    for change, message in (
        ({"criterion": "stable"}, "former: its criterion is 'bounded', not 'stable'"),
        ({"keys": jax.random.split(jax.random.key(7), 1)}, "former: it is of other starts"),
        ({"x": BALL["y"], "y": BALL["x"]}, "former: it is of momentum and step_size"),
        ({"tolerance": 1e-3}, "former: its tolerance"),
        ({"former": ball}, "former: Sweep is no gdx.PhaseMap"),
    ):
        with pytest.raises(ValueError, match=message):
            gdx.phase_map(run=ball, resolution=4, **{**BALL, "former": whole, **change})


def test_cells_stand_at_an_irrational_share_of_their_width_and_zooms_on_them():
    axis = check_axis("x", gdx.Axis("e1", 1e-2, 10, "log"))
    line = cells_of(axis, 12, 0.618)
    np.testing.assert_allclose(np.diff(np.log10(line.positions)), 0.25)
    np.testing.assert_allclose(line.borders()[[0, 4, -1]], [1e-2, 1e-1, 10])
    for low, high in ((1e-1, 1), (10**-1.125, 10**0.375)):  # four and six of its cells
        zoom = cells_of(axis._replace(low=low, high=high), 24, 0.618, [line])
        own, theirs = coinciding(zoom, line)
        np.testing.assert_allclose(zoom.positions[own], line.positions[theirs], rtol=1e-12)
        assert len(own) == np.sum((line.positions > low) & (line.positions < high))
    assert len(coinciding(cells_of(axis._replace(high=3.0), 12, 0.618, [line]), line)[0]) == 0


@pytest.mark.parametrize(
    ("family", "problem", "names", "fixed", "step_size"),
    [
        (optax.sgd, lambda h: gdx.problems.quadratic(jnp.stack([h["curvature"]])), ("step_size", "curvature"), {}, 0.1),
        (optax.adam, lambda h: gdx.problems.quadratic(jnp.stack([h["curvature"]])), ("curvature", "lr"), {}, 0.1),
        (optax.sgd, lambda h: gdx.problems.quadratic(jnp.stack([h["u"]])), ("u",), {"step_size": 0.1}, 0.1),
        (heavy_ball, BOWL, ("momentum", "step_size"), {}, None),
        (lambda h: optax.sgd(**h), BOWL, ("learning_rate", "momentum"), {}, None),
    ],
)  # fmt: skip
def test_the_step_size_goes_to_a_family_as_it_takes_it(family, problem, names, fixed, step_size):
    both = handed(problem, family, names, fixed)
    made = both.family(dict.fromkeys(names, 0.1))
    plain = family(step_size) if step_size else family(dict.fromkeys(names, 0.1))
    grad = np.ones(3)
    first, second = (one.update(grad, one.init(grad), grad)[0] for one in (made, plain))
    np.testing.assert_array_equal(first, second)


REFUSED = {
    "unknown axis": ({"x": gdx.Axis("momentun", 0, 1)}, r"axis: 'momentun' is asked for by nobody: .*momentum, step"),
    "no axis": ({"x": "momentum"}, "x: 'momentum' is no gdx.Axis; pass one"),
    "reversed": ({"y": gdx.Axis("step_size", 2, 1)}, "y: step_size from 2 to 1 is reversed"),
    "empty": ({"y": gdx.Axis("step_size", 2, 2)}, "y: step_size from 2 to 2 is empty"),
    "no end": ({"x": gdx.Axis("momentum", 0)}, "x: momentum from 0 to nan is without an end"),
    "no logarithm": ({"x": gdx.Axis("momentum", 0, 1, "log")}, "x: momentum from 0 has no logarithm"),
    "scale": ({"x": gdx.Axis("momentum", 0, 1, "lg")}, "x: scale 'lg' is unknown; pass log"),
    "values": ({"x": gdx.Axis("momentum", values=(0.5, 0.1))}, "x: values .* are not at least 2 finite"),
    "static": ({"x": gdx.Axis("momentum", 0, 1, static=True)}, "x: a static axis needs values"),
    "twice": ({"x": gdx.Axis("step_size", 1, 2)}, "y: it is called 'step_size' as x is"),
    "reversed window": ({"window": ((0.3, 0.1), (1, 2))}, "window: x: momentum from 0.3 to 0.1 is reversed"),
    "empty window": ({"window": ((0.1, 0.3), (2, 2))}, "window: y: step_size from 2 to 2 is empty"),
    "no window": ({"window": (0.1, 0.3)}, r"window: \(0.1, 0.3\) is not \(\(x0, x1\), \(y0, y1\)\)"),
    "no windows": ({"window": []}, r"window: \[\] is not"),
    "resolution": ({"resolution": 1}, "resolution: 1 is no whole number of at least 2"),
    "resolutions": ({"resolution": (8, 8, 8)}, r"resolution: \(8, 8, 8\) is no number of cells"),
    "max_wrong": ({"max_wrong": 0.0}, r"max_wrong: 0.0 is no number in \(0, 1\)"),
    "criterion": ({"criterion": "convergd"}, "criterion: 'convergd' is unknown"),
    "too deep": ({"window": ((0.3, 0.3 + 1.2e-16), (1, 2))}, "x: cells of .* are closer than float64 tells apart"),
    "seed": ({"seed": -1}, "seed: -1 is no whole number of at least 0"),
    "follow": ({"follow": "verdict"}, "follow: 'verdict' is unknown; pass answers or verdicts"),
    "negative": ({"y": gdx.Axis("step_size", -1, 1)}, r"hyperparams\['step_size'\]: -0.* is outside \(0, inf\)"),
    "at axis": ({"at": {"momentum": 0.5}}, "at: 'momentum' is an axis; leave it out"),
    "at text": ({"at": {"nesterov": "yes"}}, "at: nesterov is 'yes', no finite number"),
    "at unknown": ({"at": {"dampening": 0.5}}, "axis: 'dampening' is asked for by nobody"),
    "option": ({"observer": {}}, "observer: neither phase_map nor gdx.sweep takes it; did you mean observers"),
    "horizon": ({"num_steps": None}, "num_steps: it is None"),
    "bare": ({"family": optax.sgd}, "nobody: the family takes a bare step size, the problem takes none"),
    "missing": (
        {"family": lambda h: optax.sgd(h["step_size"] * h["gain"], h["momentum"])},
        "family: it asks for gain beside momentum, step_size; pass that in at",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_map_is_refused_in_a_sentence(change, message):
    whole: Any = {**BALL, "problem": BOWL, "family": heavy_ball, "num_steps": 10, "resolution": 4}
    with pytest.raises(ValueError, match=message) as refused:
        gdx.phase_map(**{**whole, **change})
    assert "\n" not in str(refused.value)


def test_a_map_inside_of_a_trace_is_refused(ball):
    def shares(key):
        return gdx.phase_map(run=ball, resolution=4, **{**BALL, "keys": key[None]}).share

    with pytest.raises(ValueError, match="the map stands inside of a trace"):
        jax.jit(shares)(KEY[0])


def test_a_sweep_that_is_handed_over_has_said_the_rest(ball):
    for change, message in (
        ({"tail": 10}, "tail: 10 is not the"),
        ({"observers": {}}, "observers: it is the business of the sweep"),
        ({"x": gdx.Axis("momentum", values=(0, 1), static=True)}, "run: the axis momentum is static"),
        ({"problem": PRODUCT}, "problem: .* is not the one of the sweep"),
    ):
        with pytest.raises(ValueError, match=message):
            gdx.phase_map(run=ball, resolution=4, **{**BALL, **change})


@pytest.mark.slow
@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_keeps_what_was_run(ball):
    def progress(finished, total):
        if total > 1_000 and finished > 0:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.05)

    long = gdx.sweep(BOWL, heavy_ball, num_steps=20_000)
    found = gdx.phase_map(run=long, resolution=128, progress=progress, max_wrong=1e-2, **BALL)
    assert found.interrupted
    assert np.isnan(found.audit.bound)
    assert 0 < found.num_runs == np.sum(found.computed) < 128**2
    assert "interrupted" in str(found)


@pytest.mark.slow
def test_an_axis_that_changes_shapes_is_a_program_a_value():
    def wide(h):
        assert isinstance(h["width"], int)
        return gdx.problems.quadratic(np.ones(h["width"]), start=np.ones(h["width"]))

    def family(h):
        return optax.sgd(h["step_size"] * h["width"])

    axes = {"x": gdx.Axis("width", values=(1, 2, 4), static=True), "y": gdx.Axis("step_size", 0.1, 4)}
    options: Any = {**axes, "keys": KEY, "num_steps": 300, "resolution": 30, "criterion": "bounded"}
    found = gdx.phase_map(wide, family, max_wrong=0.05, **options)
    assert found.x.tolist() == [1, 2, 4]
    edges = [found.y[found.answers[:, at] == gdx.Answer.MET].max() for at in range(3)]
    np.testing.assert_allclose(edges, [2, 1, 0.5], atol=0.2)
    ends = {"end": gdx.observers.last_params}
    with pytest.raises(ValueError, match="observers: their summaries change shape"):
        gdx.phase_map(wide, family, observers=ends, **options)


@pytest.mark.slow
def test_a_criterion_that_compares_runs_is_asked_of_all_so_far():
    """The halfway mark of "trains" sinks while better runs come in, and one of the user's own may compare too."""
    asked = []

    def near_the_best(runs):
        asked.append(runs.last_loss.size)
        return runs.last_loss < np.median(runs.last_loss)

    axes: Any = {"x": gdx.Axis("momentum", 0.0, 0.9), "y": gdx.Axis("step_size", 1e-3, 10.0, "log")}
    run = gdx.sweep(BOWL, heavy_ball, num_steps=30)
    for criterion in ("trains", near_the_best):
        found = gdx.phase_map(run=run, keys=KEY, resolution=64, criterion=criterion, max_wrong=2e-2, **axes)
        cells = np.unravel_index(found.cells, found.answers.shape)
        whole = run({"momentum": found.x[cells[1]], "step_size": found.y[cells[0]]}, KEY)
        assert found.runs is not None
        np.testing.assert_array_equal(found.runs.last_loss, whole.last_loss)
        if callable(criterion):
            np.testing.assert_array_equal(found.run_answers, gdx.answers(whole, criterion))
        assert {0, 1} <= set(found.answers.ravel().tolist())
    assert max(asked) == found.num_runs
    dense = gdx.phase_map(run=run, keys=KEY, resolution=64, criterion="trains", dense=True, **axes)
    found = gdx.phase_map(run=run, keys=KEY, resolution=64, criterion="trains", max_wrong=2e-2, **axes)
    assert np.mean(found.answers != dense.answers) < 2e-2


@pytest.mark.slow
def test_the_criterion_is_chosen_by_the_first_runs_where_nobody_asks_for_one():
    found = gdx.phase_map(BOWL, heavy_ball, **AXES, keys=KEY, num_steps=500, resolution=32, max_wrong=0.05)
    assert (found.criterion, found.chosen_because) == ("converged", "the curvature of its minimum is known")
    assert found.num_runs == np.sum(found.computed)


@pytest.mark.slow
def test_keys_that_disagree_leave_a_cell_undecided_and_share_says_by_how_many():
    keys = jax.random.split(jax.random.key(3), 8)
    options: Any = {"x": E1, "y": E2, "num_steps": 500, "resolution": 24, "criterion": "bounded"}
    found = gdx.phase_map(PRODUCT, by_leaf, keys=keys, dense=True, **options)
    at = np.meshgrid(found.x, found.y)
    runs = gdx.sweep(PRODUCT, by_leaf, num_steps=500)({"e1": at[0].ravel(), "e2": at[1].ravel()}, keys)
    share = gdx.bounded(runs).mean(axis=1).reshape(24, 24)
    np.testing.assert_array_equal(found.share, share)
    expected = np.select([share == 1, share == 0], [gdx.Answer.MET, gdx.Answer.FAILED], gdx.Answer.UNDECIDED)
    np.testing.assert_array_equal(found.answers, expected)
    assert len(np.unique(share)) > 4


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_steps_of_factors_fail_beyond_a_straight_line(depth):
    """THEORY 10: no minimum of (x1 ... xk - 1)^2 / 2 is stable iff the product of all steps exceeds (2 / k)^k."""
    names = [f"e{at}" for at in range(1, depth + 1)]

    def family(h):
        return optax.multi_transform({name: optax.sgd(h[name]) for name in names}, {name: name for name in names})

    def init(key):
        return {name: jax.random.normal(jax.random.fold_in(key, at)) for at, name in enumerate(names)}

    def loss(w):
        return 0.5 * (functools.reduce(lambda one, other: one * other, w.values()) - 1) ** 2

    options: Any = {"x": E1, "y": E2, "keys": KEY, "num_steps": 2_000, "criterion": "converged", "resolution": 128}
    if depth == 3:
        options["at"] = {"e3": 0.1}
    problem = gdx.problem(init, loss)
    found = gdx.phase_map(problem, family, **options)
    dense = gdx.phase_map(problem, family, **options, dense=True)
    assert np.mean(found.answers != dense.answers) == 0
    line = np.log10((2 / depth) ** depth / (0.1 if depth == 3 else 1))
    beyond = (np.log10(dense.y)[:, None] + np.log10(dense.x) - line) / (3 / 128)  # cells, along an axis
    assert not np.any((dense.answers == gdx.Answer.MET) & (beyond > 2))
    bounded = dense.of("verdict") != gdx.Verdict.DIVERGED
    below = dense.answers[bounded & (beyond < -2)]
    assert not np.any(below == gdx.Answer.FAILED)
    assert np.mean(below == gdx.Answer.MET) > 0.999
    assert np.size(below) > 0.4 * 128**2


@pytest.mark.slow
@pytest.mark.parametrize(("target", "step_size"), [(1.0, 0.5), (1.0, 0.95), (2.0, 0.3), (0.5, 1.2), (0.1, 4.0)])
def test_the_basin_of_a_product_is_an_ellipse(target, step_size):
    """THEORY 4: 20,164 starts, none on the wrong side but within 1e-4 of it."""
    reach = 1.2 * np.sqrt((4 / step_size - step_size * target**2) / (1 - step_size * target / 2))
    found = gdx.phase_map(
        lambda h: gdx.problems.scalar_factorization(target, start=jnp.stack([h["u"], h["v"]])),
        optax.sgd,
        at={"step_size": step_size},
        x=gdx.Axis("u", -reach, reach),
        y=gdx.Axis("v", -reach, reach),
        keys=KEY,
        num_steps=20_000,
        resolution=142,
        dense=True,
        criterion="converged",
    )
    u, v = np.meshgrid(found.x, found.y)
    height = u**2 + v**2 - step_size * target * u * v - (4 / step_size - step_size * target**2)
    slope = np.hypot(2 * u - step_size * target * v, 2 * v - step_size * target * u)
    far = np.abs(height) > 1e-4 * slope
    assert np.sum(far) > 20_000
    assert np.all(found.answers[far & (height < 0)] == gdx.Answer.MET)
    assert np.all(found.answers[far & (height > 0)] == gdx.Answer.FAILED)


def test_a_family_with_a_step_size_of_its_own_leaves_both_axes_to_the_problem():
    product = gdx.problem(jnp.ones(2), lambda w: (w[0] * w[1] - 1) ** 2 / 2)
    found = gdx.phase_map(
        lambda h: gdx.maps.starting(product, h),
        lambda h: optax.sgd(0.5),
        x=gdx.Axis("start_x", -2, 2),
        y=gdx.Axis("start_y", -2, 2),
        keys=jax.random.split(jax.random.key(0), 1),
        num_steps=500,
        resolution=8,
        criterion="bounded",
    )
    assert found.answers.shape == (8, 8)
    assert (found.answers == gdx.Answer.MET).any()
