"""Lyapunov exponents against closed forms, and what their bars are worth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx.observers import lyapunov


def exponents_of(problem, family, hyperparams, num_steps, number=1, starts=1, **options):
    run = gdx.sweep(problem, family, num_steps=num_steps, observers={"lyapunov": lyapunov(number)}, **options)
    return run(hyperparams, keys(starts)).observed["lyapunov"]


def tent(h):
    """Gradient descent at step size 1 is the tent map with its corner at `corner`."""
    corner = h["corner"]

    def loss(x):
        before = x**2 / 2 * (1 - 1 / corner)
        after = x**2 / 2 - (x - x**2 / 2) / (1 - corner)
        return jnp.sum(jnp.where(x < corner, before, after))

    return gdx.problem(lambda key: jax.random.uniform(key, (1,), minval=0.1, maxval=0.9), loss)


def unit_step(h):
    return optax.sgd(1.0)


@pytest.mark.parametrize("curvatures", [(1.0, 3.0, 10.0), pytest.param((2.0,), marks=pytest.mark.slow)])
def test_on_a_quadratic_each_exponent_is_the_log_of_one_factor(curvatures):
    step_sizes = np.array([0.03, 0.11, 0.19])
    found = exponents_of(gdx.problems.quadratic(curvatures), optax.sgd, step_sizes, 4_000, number=len(curvatures))
    expected = -np.sort(-np.log(np.abs(1 - step_sizes[:, None] * np.array(curvatures))), axis=1)
    np.testing.assert_allclose(found.exponents[:, 0], expected, atol=1e-9)
    assert np.all(found.errors < 1e-9)
    assert np.all(found.converged)


@pytest.mark.slow
def test_beyond_the_edge_of_a_quadratic_runs_that_may_go_on_have_a_positive_exponent():
    bowl = gdx.problems.quadratic([1.0, 3.0])
    options = {"blow_up_factor": 1e300}
    found = exponents_of(bowl, optax.sgd, [0.7], 500, **options)
    np.testing.assert_allclose(found.exponents, np.log(1.1), atol=1e-9)
    # Within the usual bound the run ends, and nothing is said.
    assert np.all(np.isnan(exponents_of(bowl, optax.sgd, [0.7], 500).exponents))


@pytest.mark.slow
def test_the_memory_of_heavy_ball_counts():
    momentum, num_steps = 0.9, 4_000
    family = functools.partial(optax.sgd, momentum=momentum)
    step_sizes = np.array([0.001, 0.1, 0.379])
    found = exponents_of(gdx.problems.quadratic([1.0, 10.0]), family, step_sizes, num_steps)

    def radius(step_size, curvature):
        step = [[1 + momentum - step_size * curvature, -momentum], [1, 0]]
        return np.abs(np.linalg.eigvals(step)).max()

    expected = np.log([max(radius(step_size, lam) for lam in (1.0, 10.0)) for step_size in step_sizes])
    off = np.abs(found.exponents[:, 0, 0] - expected)
    # A real root, a complex one, and the real one that has all but left the unit circle.
    assert off[0] < 1e-9
    assert off[1] < 10 / num_steps
    assert off[1] <= found.errors[1, 0, 0]


def test_a_cycle_has_the_exponent_of_its_own_product():
    step_size = 1.1
    found = exponents_of(gdx.problems.quartic(), optax.sgd, [step_size], 2_000, starts=4)
    total = 1 + step_size
    squares = (total + np.array([1, -1]) * np.sqrt(total**2 - 4)) / (2 * step_size)
    expected = np.log(np.abs(np.prod(1 - step_size * (3 * squares - 1)))) / 2
    known = ~np.isnan(found.exponents)
    assert known.any()
    np.testing.assert_allclose(found.exponents[known], expected, atol=1e-9)
    assert np.all(found.errors[known] < 1e-9)


@pytest.mark.slow
def test_a_step_that_takes_all_length_away_has_minus_infinity():
    found = exponents_of(gdx.problems.quadratic([2.0]), optax.sgd, [0.5], 200)
    assert np.all(found.exponents == -np.inf)
    assert np.all(found.errors == 0)
    assert np.all(found.converged)


@pytest.mark.slow
def test_full_chaos_of_the_quartic_has_the_logarithm_of_three():
    found = exponents_of(gdx.problems.quartic(), optax.sgd, [2.0], 1_000_000, starts=4)
    known = ~np.isnan(found.exponents)
    assert known.any()
    off = np.abs(found.exponents[known] - np.log(3))
    assert np.all(off < 2e-4)
    assert np.all(off <= found.errors[known])
    assert np.all(found.errors[known] < 2e-4)


def test_bars_cover_closed_forms_in_at_least_ninety_of_a_hundred_cases():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0.05, 0.95, 60)
    chaotic = exponents_of(tent, unit_step, {"corner": corners}, 20_000)
    truths = [-corners * np.log(corners) - (1 - corners) * np.log(1 - corners)]
    momenta, step_sizes = rng.uniform(0.1, 0.99, 40), rng.uniform(0.01, 1.0, 40)
    # Of these 40 roots nearly all are complex: the exponent is half of the momentum's logarithm.
    regular = exponents_of(
        gdx.problems.quadratic([1.0]),
        lambda h: optax.sgd(h["step_size"], h["momentum"]),
        {"step_size": step_sizes, "momentum": momenta},
        3_000,
    )
    steps = [[[1 + b - a, -b], [1, 0]] for a, b in zip(step_sizes, momenta, strict=True)]
    truths.append(np.log(np.abs(np.linalg.eigvals(np.array(steps))).max(axis=1)))
    for found, truth in zip((chaotic, regular), truths, strict=True):
        assert np.all(found.errors < 0.1)
        covered = np.abs(found.exponents[:, 0, 0] - truth) <= found.errors[:, 0, 0]
        assert np.mean(covered) >= 0.9


@pytest.mark.slow
def test_several_exponents_of_coupled_maps_add_up_to_the_log_of_the_determinant():
    def loss(w):
        return jnp.sum((w**2 - 1) ** 2) / 4 + 0.05 * jnp.sum((w - jnp.roll(w, 1)) ** 2)

    start = jnp.array([0.3, 0.9, -0.4])
    found = exponents_of(gdx.problem(start, loss), optax.sgd, [1.5], 20_000, number=3)

    def advance(w, _):
        step = jnp.eye(3) - 1.5 * jax.hessian(loss)(w)
        return w - 1.5 * jax.grad(loss)(w), jnp.linalg.slogdet(step)[1]

    _, logs = jax.lax.scan(advance, start, length=20_000)
    total = found.exponents[0, 0].sum()
    assert abs(total - logs[10_000:].mean()) < found.errors[0, 0].sum()
    assert np.all(np.diff(found.exponents[0, 0]) < 0)


@pytest.mark.slow
def test_adam_on_digits_has_finite_exponents_though_pixels_are_constant():
    problem = gdx.problems.digits_mlp((8,), examples=100)
    found = exponents_of(problem, optax.adam, [1e-3, 1e-2], 300, number=2)
    assert np.all(np.isfinite(found.exponents))
    assert np.all(found.errors > 0)


@pytest.mark.slow
def test_watched_runs_go_to_their_horizon_and_are_otherwise_the_same():
    problem, step_sizes = gdx.problems.quartic(), np.array([0.3, 1.1, 1.29])
    options = {"num_steps": 3_000, "stopping": gdx.Stopping.none()}
    plain = gdx.sweep(problem, optax.sgd, **options)(step_sizes, keys(2))
    watched = gdx.sweep(problem, optax.sgd, num_steps=3_000, observers={"lyapunov": lyapunov()})(step_sizes, keys(2))
    bounded = gdx.bounded(plain)
    assert np.all(watched.steps[bounded] == 3_000)
    np.testing.assert_array_equal(plain.last_loss[bounded], watched.last_loss[bounded])


@pytest.mark.slow
def test_observers_share_their_tangents_and_each_sees_its_own():
    watching = {"one": lyapunov(), "two": lyapunov(2)}
    run = gdx.sweep(gdx.problems.quadratic([1.0, 4.0]), optax.sgd, num_steps=500, observers=watching)
    seen = run([0.3], keys(1)).observed
    assert seen["one"].exponents.shape == (1, 1, 1)
    assert seen["two"].exponents.shape == (1, 1, 2)
    np.testing.assert_allclose(seen["one"].exponents, seen["two"].exponents[..., :1], atol=1e-12)


@pytest.mark.slow
def test_half_a_horizon_too_short_for_blocks_has_no_exponent():
    found = exponents_of(gdx.problems.quadratic([1.0]), optax.sgd, [0.5], 30)
    assert np.all(np.isnan(found.exponents))
    assert not np.any(found.converged)


@pytest.mark.slow
def test_in_float32_exponents_stay_within_their_bars():
    with jax.enable_x64(False):
        found = exponents_of(gdx.problems.quadratic([1.0, 3.0]), optax.sgd, np.float32([0.1]), 2_000)
        assert found.exponents.dtype == np.float32
        assert abs(found.exponents[0, 0, 0] - np.log(0.9)) <= found.errors[0, 0, 0] < 2e-4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: lyapunov(0), "num_exponents: 0"),
        (lambda: exponents_of(gdx.problems.quadratic([1.0]), optax.sgd, [0.1], 100, number=2), "1 numbers"),
        (
            lambda: exponents_of(
                gdx.problems.quadratic([1.0]), optax.sgd, [0.1], 100, stopping=gdx.Stopping(gradient_norm=1e-3)
            ),
            "stopping: it ends runs early",
        ),
        (
            lambda: gdx.sweep(
                gdx.problems.quadratic([1.0]), optax.sgd, num_steps=9, observers={"x": lyapunov()._replace(tangents=-1)}
            ),
            r"observers\['x'\]: tangents is -1",
        ),
    ],
)
def test_what_cannot_be_watched_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
