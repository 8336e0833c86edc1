"""Theorems on how fast methods converge, and the inequalities that line searches promise."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from cases import keys

import gdx
from gdx.optimizers import backtracking, goldstein, steepest_descent, strong_wolfe, wolfe
from gdx.problems import finite_sum, landscape_catalogue, quadratic
from gdx.schedules import inverse_time

pytestmark = pytest.mark.usefixtures("quick_compilation")

EPS = np.finfo(float).eps
RNG = np.random.default_rng(11)


class Path(NamedTuple):
    """Runs of T steps, what the step sees before each of them; leaves [N, T, ...]."""

    params: Any
    loss: Any
    gradient: Any
    failed: Any
    """Whether the line search from here failed."""
    num_evaluations: Any
    """Of the loss in that search."""


def follow(problem, family, points, num_steps, over=jax.vmap, key_of=None):
    """Run the family from every point, all in one program."""
    step = gdx.train_step(problem, family)

    def forward(state, _):
        new, view = step.update(state)
        tried = optax.tree.get(new.opt_state, "num_evaluations", 0)
        return new, Path(view.params, view.loss, view.gradient, view.search_failed, tried)

    def run(point):
        key = jax.random.key(0) if key_of is None else key_of(point)
        return jax.lax.scan(forward, step.init(point, key), length=num_steps)[1]

    return jax.tree.map(np.asarray, jax.jit(over(run))(jax.tree.map(jnp.asarray, points)))


def grid(**axes):
    """Every combination of the values, as a dict of arrays [N]."""
    return dict(zip(axes, map(np.asarray, zip(*itertools.product(*axes.values()), strict=True)), strict=True))


def dot(one, other):
    return np.sum(one * other, axis=-1)


def norm(vectors):
    return np.linalg.norm(vectors, axis=-1)


# Gradient descent


def test_gradient_descent_attains_its_tight_bound_on_the_huber_function_and_nowhere_before():
    # The function is made for one number of steps k: before and after it, the run is better than its bound.
    at = grid(curvature=(0.5, 1.0, 3.0), share=(0.3, 1.0), radius=(1.0, 2.5), k=(1, 4, 15))
    curvature, radius, k = at["curvature"], at["radius"], at["k"]
    at["step_size"] = at["share"] / curvature
    at["slope"] = curvature * radius / (2 * k * curvature * at["step_size"] + 1)

    def problem(h):
        def huber(x):
            outside = h["slope"] * jnp.abs(x) - h["slope"] ** 2 / (2 * h["curvature"])
            return jnp.where(jnp.abs(x) < h["slope"] / h["curvature"], 0.5 * h["curvature"] * x**2, outside)

        return gdx.problem(lambda key: h["radius"], huber)

    path = follow(problem, lambda h: optax.sgd(h["step_size"]), at, 21)
    steps = np.arange(21)
    bounds = (curvature * radius**2)[:, None] / (4 * steps * (curvature * at["step_size"])[:, None] + 2)
    np.testing.assert_allclose(*(values[np.arange(k.size), k] for values in (path.loss, bounds)), rtol=1e-13)
    assert np.all((path.loss < (1 - 1e-4) * bounds) | (steps == k[:, None]))


@pytest.fixture(scope="module")
def regressions():
    """Gradient descent on random least squares, half of them without a unique minimum: losses above the minimum and
    distances from the nearest one, [N, T], and the rows of `points`."""
    points = {"share": np.tile([0.1, 0.5, 1.0, 1.0], 6)}
    features = RNG.normal(size=(24, 10, 4)) * RNG.uniform(0.1, 2.0, size=(24, 1, 4))
    features[::2, :, 0] = features[::2, :, 1]
    targets, starts = RNG.normal(size=(24, 10)), RNG.normal(size=(24, 4))
    curvature = np.linalg.norm(features, ord=2, axis=(1, 2)) ** 2 / 10
    points |= {"features": features, "targets": targets, "start": starts, "step_size": points["share"] / curvature}

    def problem(h):
        return gdx.problem(h["start"], lambda w: 0.5 * jnp.mean((h["features"] @ w - h["targets"]) ** 2))

    path = follow(problem, lambda h: optax.sgd(h["step_size"]), points, 200)
    residuals = targets - np.einsum("nij,nj->ni", features, starts)
    nearest = starts + np.einsum("nij,nj->ni", np.linalg.pinv(features), residuals)
    minimum = 0.5 * np.mean((targets - np.einsum("nij,nj->ni", features, nearest)) ** 2, axis=1)
    return points, curvature, path.loss - minimum[:, None], norm(path.params - nearest[:, None])


def test_gradient_descent_keeps_the_bound_of_one_over_2ak_on_random_least_squares(regressions):
    points, _, excess, distance = regressions
    assert np.linalg.matrix_rank(points["features"]).min() == 3
    steps = np.arange(1, 200)
    bound = distance[:, :1] ** 2 / (2 * points["step_size"][:, None] * steps)
    assert np.all(excess[:, 1:] <= bound)
    # On a quadratic a share 1/(2e) of the bound is all that can be reached, and some of these come near it.
    assert 0.1 < np.max(excess[:, 1:] / bound) < 1 / (2 * np.e)


def test_the_potential_of_gradient_descent_never_rises(regressions):
    points, curvature, excess, distance = regressions
    potential = np.arange(200) * excess + 0.5 * curvature[:, None] * distance**2
    full = points["share"] == 1.0
    rounding = 1e-13 * potential[:, :1]
    assert np.all(np.diff(potential[full]) <= rounding[full])
    # For a fixed number of shorter steps the same combination does rise: k counts steps of 1/L.
    assert np.any(np.diff(potential[points["share"] == 0.1]) > 1e-3 * potential[points["share"] == 0.1, :1])


def test_heavy_ball_with_polyaks_numbers_contracts_at_his_rate():
    conditions = np.repeat([4.0, 25.0, 100.0], 4)
    low, high = 1 / conditions, np.ones(12)
    rates = (np.sqrt(conditions) - 1) / (np.sqrt(conditions) + 1)
    curvatures = np.stack([low, np.sqrt(low), high], axis=1)
    points = {
        "curvatures": curvatures,
        "start": RNG.normal(size=(12, 3)),
        "step_size": 4 / (np.sqrt(low) + np.sqrt(high)) ** 2,
        "momentum": rates**2,
    }
    path = follow(
        lambda h: quadratic(h["curvatures"], h["start"]),
        lambda h: optax.sgd(h["step_size"], momentum=h["momentum"]),
        points,
        101,
    )
    steps = np.arange(101)[:, None]
    # At both ends of the spectrum the two roots coincide, at +-rate, so that x_k = (x_0 + c k) root^k.
    roots = np.stack([rates, -rates], axis=1)
    start = points["start"][:, [0, 2]]
    first = (1 - points["step_size"][:, None] * curvatures[:, [0, 2]]) * start
    closed = (start[:, None] + steps * (first / roots - start)[:, None]) * roots[:, None] ** steps
    np.testing.assert_allclose(path.params[..., [0, 2]], closed, rtol=1e-7, atol=1e-300)
    # Between the ends the roots are a complex pair of the same size: no faster, no slower.
    inner = np.abs(path.params[..., 1]) / rates[:, None] ** steps.T
    late = inner[:, 50:].max(axis=1) / inner[:, :51].max(axis=1)
    assert np.all((late > 0.5) & (late < 2))


# The exact line search

ENDS = np.asarray([0.01, 0.1, 0.3, 0.5, 0.9])
"""Smallest curvatures m; the largest is L = 1."""
WORST, RANDOM = slice(0, 5), slice(5, None)


@pytest.fixture(scope="module")
def zigzags():
    """Steepest descent on quadratics of three curvatures: from the worst start (1/m, 0, 1/L) for each m, then from 4
    random ones each."""
    low = np.tile(ENDS, 5)
    curvatures = np.stack([low, (1 + 2 * low) / 3, np.ones_like(low)], axis=1)
    starts = RNG.normal(size=(25, 3))
    starts[WORST] = np.stack([1 / ENDS, 0 * ENDS, 1 + 0 * ENDS], axis=1)
    points = {"curvatures": curvatures, "start": starts}
    rates = ((1 - low) / (1 + low)) ** 2
    return rates, follow(lambda h: quadratic(h["curvatures"], h["start"]), lambda h: steepest_descent(1.0), points, 41)


def test_steepest_descent_attains_its_rate_from_the_worst_start(zigzags):
    rates, path = zigzags
    expected = path.loss[WORST, :1] * rates[WORST, None] ** np.arange(41)
    np.testing.assert_allclose(path.loss[WORST], expected, rtol=1e-11)
    np.testing.assert_allclose(path.loss[1, 1] / path.loss[1, 0], 0.669421488, rtol=1e-9)


def test_steepest_descent_keeps_its_rate_from_random_starts(zigzags):
    rates, path = zigzags
    shares = path.loss[RANDOM, 1:] / path.loss[RANDOM, :-1]
    assert np.all(shares <= (1 + 1e-10) * rates[RANDOM, None])
    assert np.all(shares[:, 0] < 0.99 * rates[RANDOM])


def test_steepest_descent_zigzags(zigzags):
    gradient = zigzags[1].gradient[RANDOM]
    direction = gradient / norm(gradient)[..., None]
    np.testing.assert_allclose(dot(direction[:, 1:], direction[:, :-1]), 0, atol=1e-9)
    # Every other direction becomes the same, in the plane of the flattest and the steepest axis.
    turned = 1 - dot(direction[:, 2:], direction[:, :-2])
    assert np.median(turned[:, 0]) > 1e-2
    np.testing.assert_allclose(turned[:, -1], 0, atol=1e-9)
    np.testing.assert_allclose(direction[:, -1, 1], 0, atol=1e-5)


# Line searches

SEARCHES = {
    "goldstein": goldstein,
    "wolfe": wolfe,
    "backtracking": backtracking,
    "strong_wolfe": strong_wolfe,
    "steepest_descent": lambda step_size: steepest_descent(1.0),
}
OWN = ("goldstein", "wolfe", "steepest_descent")
"""Of optax's searches one follows a ramp to infinity and one climbs a direction of ascent without a word."""
LANDSCAPES = landscape_catalogue()
FEATURES, LABELS = RNG.normal(size=(20, 2)), RNG.integers(0, 2, size=20)


def logistic(x, numpy=jnp):
    margins = numpy.asarray(FEATURES) @ x
    return numpy.mean(numpy.logaddexp(0.0, margins) - numpy.asarray(LABELS) * margins)


LEAST_LOGISTIC = scipy.optimize.minimize(functools.partial(logistic, numpy=np), np.zeros(2), tol=1e-10).fun


def barrier(x):
    """NaN where a coordinate is negative, least at (1, 1)."""
    return jnp.sum(x - jnp.log(x))


LOSSES = {name: (lambda problem: lambda x: problem.loss(x, (), None)[0])(at.make()) for name, at in LANDSCAPES.items()}
LOSSES |= {"logistic": logistic, "barrier": barrier}


class Run(NamedTuple):
    """One run of a search, on a loss of the table or on a ramp."""

    loss: str
    start: tuple[float, float]
    first_step: float = 1.0
    sign: float = 1.0
    """-1 for a search along the gradient, uphill."""
    slope: tuple[float, float] = (0.0, 0.0)
    """Of the ramp."""
    wall: float = 0.0
    """What the ramp's loss is raised by everywhere but at (1, 1)."""


ROUGH = {
    f"{name}, {factor:g}": Run(name, start, factor * good_step)
    for name, start, good_step in (
        ("ravine", (1.0, 2.0), 1 / 50),
        ("rosenbrock", (-1.2, 1.0), 1 / 1500),
        ("logistic", (3.0, -2.0), 1.0),
    )
    for factor in (1e-6, 1e6)
}
FAILING = {
    "unbounded below": Run("ramp", (1.0, 1.0), slope=(1.0, -2.0)),
    "NaN everywhere": Run("ramp", (1.0, 1.0), slope=(np.nan, 1.0)),
    "infinite everywhere": Run("ramp", (2.0, 2.0), slope=(1.0, -1.0), wall=np.inf),
    "NaN but at the start": Run("ramp", (1.0, 1.0), slope=(1.0, -1.0), wall=np.nan),
    "infinite but at the start": Run("ramp", (1.0, 1.0), slope=(1.0, -1.0), wall=np.inf),
    "ascent": Run("booth", (1.0, 1.0), sign=-1.0),
}


def starts_of(name):
    """The catalogue's start, and two at random."""
    low_x, high_x, low_y, high_y = LANDSCAPES[name].window
    return [LANDSCAPES[name].start, *RNG.uniform((low_x, low_y), (high_x, high_y), size=(2, 2))]


RUNS = {f"{name} from {i}": Run(name, start) for name in LANDSCAPES for i, start in enumerate(starts_of(name))}
RUNS |= ROUGH | FAILING | {"barrier": Run("barrier", (0.1, 3.0), 1e3)}
LINES = list(RUNS)


@functools.cache
def searched(name):
    """60 steps of a search on every run of the table."""

    def problem(h):
        def ramp(x):
            return h["slope"] @ x + jnp.where(jnp.all(x == 1.0), 0.0, h["wall"])

        return gdx.problem(h["start"], lambda x: jax.lax.switch(h["loss"], [*LOSSES.values(), ramp], x))

    def family(h):
        return optax.chain(optax.scale(h["sign"]), SEARCHES[name](h["first_step"]))

    names = [*LOSSES, "ramp"]
    rows = [run._replace(loss=np.int32(names.index(run.loss))) for run in RUNS.values()]
    points = {field: np.stack([getattr(row, field) for row in rows]) for field in Run._fields}
    # One after the other: side by side all would evaluate all losses, and wait for the slowest search.
    return follow(problem, family, points, 60, over=lambda run: functools.partial(jax.lax.map, run))


def steps_of(name):
    """Loss and slope before and after every accepted step of a search, along the step and in units of it, and what the
    loss does not resolve."""
    path = searched(name)
    with np.errstate(all="ignore"):
        moves = np.diff(path.params, axis=1)
        before, after = path.loss[:, :-1], path.loss[:, 1:]
        slope, slope_after = (dot(gradient, moves) for gradient in (path.gradient[:, :-1], path.gradient[:, 1:]))
        kept = ~path.failed[:, :-1] & np.isfinite(after) & np.isfinite(slope)
        # What is left of a gradient far below the first is rounding, and so is its sign.
        kept &= norm(path.gradient[:, :-1]) > 1e-13 * norm(path.gradient[:, :1])
        # Four rounding errors that a search forgives, one of the difference taken here, and those of the two points.
        steepness = norm(path.gradient[:, :-1]) + norm(path.gradient[:, 1:])
        rounding = EPS * (5 * np.abs(before) + norm(path.params[:, 1:]) * steepness)
    return tuple(values[kept] for values in (before, after, slope, slope_after, rounding))


def decreases(steps, c1):
    before, after, slope, _, rounding = steps
    return after <= before + c1 * slope + rounding


def is_long_enough(steps, c):
    """Goldstein's lower bound."""
    before, after, slope, _, rounding = steps
    return after >= before + (1 - c) * slope - rounding


def flattens(steps, c2):
    """Wolfe's condition of curvature."""
    _, _, slope, slope_after, _ = steps
    return slope_after >= c2 * slope


def flattens_strongly(steps, c2):
    _, _, slope, slope_after, _ = steps
    return np.abs(slope_after) <= c2 * np.abs(slope)


def is_level(steps):
    """The slope at the end of an exact step is 0, or too small for the loss to show."""
    _, _, slope, slope_after, rounding = steps
    return np.abs(slope_after) <= np.maximum(1e-10 * np.abs(slope), rounding)


CONDITIONS = {
    "goldstein": lambda steps: decreases(steps, 0.25) & is_long_enough(steps, 0.25),
    "wolfe": lambda steps: decreases(steps, 1e-4) & flattens(steps, 0.9),
    "backtracking": lambda steps: decreases(steps, 1e-4),
    "strong_wolfe": lambda steps: decreases(steps, 1e-4) & flattens_strongly(steps, 0.9),
    "steepest_descent": lambda steps: decreases(steps, 0.0) & is_level(steps),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_every_accepted_step_keeps_the_inequalities_of_its_search(name):
    steps = steps_of(name)
    assert len(steps[0]) > 1000
    assert np.mean(-steps[2] > 1e4 * steps[-1]) > 0.5, "most steps lose far more than rounding"
    holds = CONDITIONS[name](steps)
    assert np.all(holds), [values[~holds] for values in steps]


@pytest.mark.parametrize(
    ("name", "other"), [("goldstein", "wolfe"), ("wolfe", "backtracking"), ("steepest_descent", "strong_wolfe")]
)
def test_steps_of_another_search_break_the_inequalities(name, other):
    assert not np.all(CONDITIONS[name](steps_of(other)))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_fails_on_no_landscape_with_a_minimum_before_rounding_does(name):
    path = searched(name)
    for i, line in enumerate(LINES):
        if line.split(" from ")[0] in LANDSCAPES and len(LANDSCAPES[RUNS[line].loss].minima):
            # Nearer to the minimum than this the parameters' own rounding shows in the slopes.
            assert not np.any(path.failed[i] & (path.loss[i] > path.loss[i].min() + 1e-9)), line
            assert path.loss[i, -1] < path.loss[i, 0]


@pytest.mark.parametrize("name", ["goldstein", "wolfe"])
@pytest.mark.parametrize("line", ROUGH)
def test_a_first_step_wrong_by_a_million_does_not_harm_a_search(name, line):
    path = jax.tree.map(lambda leaf: leaf[LINES.index(line)], searched(name))
    assert not path.failed.any()
    minimum = LEAST_LOGISTIC if RUNS[line].loss == "logistic" else 0.0
    assert path.loss[1] < path.loss[0]
    assert path.loss[-1] - minimum < 0.2 * (path.loss[0] - minimum)
    # A million is 20 doublings; that many trials are for the first step alone.
    assert path.num_evaluations[0] <= 25
    assert path.num_evaluations[1:].mean() < 6


@pytest.mark.parametrize("name", OWN)
def test_a_search_turns_back_before_a_region_of_nan(name):
    path = jax.tree.map(lambda leaf: leaf[LINES.index("barrier")], searched(name))
    assert not path.failed.any()
    np.testing.assert_allclose(path.params[-1], 1, rtol=1e-3)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("line", FAILING)
def test_a_search_that_cannot_succeed_says_so(name, line):
    assert searched(name).failed[LINES.index(line), 0]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("line", FAILING)
def test_a_search_that_cannot_succeed_ends_and_leaves_finite_parameters(name, line):
    path = jax.tree.map(lambda leaf: leaf[LINES.index(line)], searched(name))
    assert np.all(np.isfinite(path.params))
    assert np.all(path.num_evaluations <= 61)
    if line != "unbounded below":
        np.testing.assert_array_equal(path.params, np.broadcast_to(RUNS[line].start, path.params.shape))


def test_a_sweep_counts_the_failures_of_its_searches():
    # A bowl, a ramp, a NaN, and a bowl uphill.
    points = {
        "curvature": np.asarray([1.0, 0.0, 1.0, 1.0]),
        "under_root": np.asarray([0.0, 0.0, -1.0, 0.0]),
        "sign": np.asarray([1.0, 1.0, 1.0, -1.0]),
    }

    def problem(h):
        root = jnp.sqrt(h["under_root"])
        return gdx.problem(jnp.ones(()), lambda x: 0.5 * h["curvature"] * x**2 + (1 - h["curvature"]) * x + root)

    def family(h):
        return optax.chain(optax.scale(h["sign"]), wolfe())

    runs = gdx.sweep(problem, family, num_steps=50, stopping=gdx.Stopping.none())(points, keys(1))
    np.testing.assert_array_equal(runs.search_failures[:, 0], [0, 50, 50, 50])


# Mini-batches

STEP_SIZES, TAU = (0.01, 0.02, 0.04, 0.08), 100.0


@pytest.fixture(scope="module")
def noise_floors():
    """Full loss above its minimum, mean of 64 runs of mini-batch descent, [5, T]: four constant step sizes, then the
    last of them shrinking as tau/(k + tau)."""
    features = RNG.normal(size=(64, 3))
    targets = features @ RNG.normal(size=3) + RNG.normal(size=64)
    solution = np.linalg.lstsq(features, targets, rcond=None)[0]

    def losses(w, rows):
        x, y = rows
        return 0.5 * (x @ w - y) ** 2

    # Drawn with replacement, so that batches are independent: reshuffled ones cancel each other's noise.
    problem = finite_sum(jnp.zeros(3), losses, (features, targets), batch_size=8, replacement=True)
    points = {
        "step_size": np.asarray([*STEP_SIZES, STEP_SIZES[-1]]),
        "tau": np.asarray([1e30, 1e30, 1e30, 1e30, TAU]),
        "repeat": np.arange(64),
    }
    sizes, repeats = ({name: 0 if (name == "repeat") == inner else None for name in points} for inner in (False, True))
    path = follow(
        problem,
        lambda h: optax.sgd(inverse_time(h["step_size"], h["tau"])),
        points,
        3000,
        # Batches are drawn once for all step sizes.
        over=lambda run: jax.vmap(jax.vmap(run, in_axes=(sizes,)), in_axes=(repeats,)),
        key_of=lambda point: jax.random.key(point["repeat"]),
    )
    errors, hessian = path.params - solution, features.T @ features / 64
    return 0.5 * dot(errors @ hessian, errors).mean(axis=0)


def test_a_constant_step_stalls_at_a_noise_floor_that_is_proportional_to_it(noise_floors):
    middle, end = noise_floors[:4, 1000:2000].mean(axis=1), noise_floors[:4, 2000:].mean(axis=1)
    np.testing.assert_allclose(middle, end, rtol=0.15)
    np.testing.assert_allclose(np.polyfit(np.log(STEP_SIZES), np.log(middle + end), 1)[0], 1, atol=0.1)


def test_steps_that_shrink_as_one_over_k_sink_below_the_floor_at_their_own_rate(noise_floors):
    floor, shrinking = noise_floors[3, 1000:].mean(), noise_floors[4]
    k = np.arange(shrinking.size)
    late = k >= 300
    assert shrinking[2000:].mean() < floor / 20
    np.testing.assert_allclose(np.polyfit(np.log(k[late] + TAU), np.log(shrinking[late]), 1)[0], -1, atol=0.1)


@pytest.mark.parametrize("make", [gdx.optimizers.scale_by_goldstein, gdx.optimizers.scale_by_wolfe])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_search_begins_where_the_last_one_ended_unless_it_restarts(make, restarts):
    def loss(x):
        return 8 * jnp.sum(x**2)

    search = make(1e-3, restarts=restarts)
    start = jnp.ones(2)
    updates, state = search.update(-jax.grad(loss)(start), search.init(start), start, value_fn=loss)
    (step,) = set((updates / -jax.grad(loss)(start)).tolist())
    assert step > 1e-2
    assert state.step_size == pytest.approx(1e-3 if restarts else step)
