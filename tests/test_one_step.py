import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdx import OneStepStatus, one_step_edge

pytestmark = pytest.mark.usefixtures("quick_compilation")


@jax.jit
def along_matrix(matrix, params, direction):
    # At less than full precision, as some devices multiply float32, the loss itself is known to three digits only.
    with jax.default_matmul_precision("highest"):
        return one_step_edge(lambda w: 0.5 * w @ matrix @ w, params, direction)


def random_quadratic(seed):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(10, 10))
    matrix, params = half @ half.T, rng.normal(size=10)
    return matrix, params, matrix @ params


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("seed", range(5))
def test_on_a_quadratic_it_is_the_step_size_of_the_curvature_along_the_gradient(seed, dtype):
    matrix, params, gradient = random_quadratic(seed)
    exact = 2 * gradient @ gradient / (gradient @ matrix @ gradient)
    for scale in (1.0, 1e-15, 1e15):
        direction = jnp.asarray(-scale * gradient, dtype)
        found = along_matrix(jnp.asarray(matrix, dtype), jnp.asarray(params, dtype), direction)
        rounding = 100 * float(jnp.finfo(dtype).eps)
        assert found.lower * scale * (1 - rounding) <= exact <= found.upper * scale * (1 + rounding)
        assert found.lower == found.value < found.upper <= found.lower * 1.0002
        assert found.status == OneStepStatus.BRACKETED
        assert found.num_sequential < 10
        assert found.num_evaluations == 1 + 8 * found.num_sequential


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_uphill_no_multiple_is_allowed(dtype):
    matrix, params, gradient = random_quadratic(0)
    found = along_matrix(*(jnp.asarray(array, dtype) for array in (matrix, params, gradient)))
    assert (found.value, found.status) == (0, OneStepStatus.RISES_AT_ONCE)
    assert found.num_sequential < 10


@functools.cache
def on_a_line(loss, **options):
    return jax.jit(lambda w, d: one_step_edge(loss, w, d, **options))


def test_on_a_quartic_it_is_the_closed_form():
    def quartic(w):
        return 0.25 * (w**2 - 1) ** 2

    for w in (0.3, 0.7, 1.3):
        gradient = w**3 - w
        # The loss has its first value again where w^2 - 1 changes its sign.
        crossing = np.sqrt(2 - w**2)
        found = on_a_line(quartic)(w, -gradient)
        np.testing.assert_allclose(found.value, (w - crossing) / gradient, rtol=1e-4)


@jax.jit
def to_minimum(distance):
    return one_step_edge(lambda w: (w[1] - distance) ** 2 + 0 * w[0], jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 1.0]))


@pytest.mark.parametrize("decades", [-12, -6, 6, 12])
def test_an_edge_many_decades_away_is_reached(decades):
    found = to_minimum(10.0**decades)
    np.testing.assert_allclose(found.value, 2 * 10.0**decades, rtol=1e-3)
    assert found.num_sequential < 10


def test_the_first_rise_wins_over_later_falls():
    found = on_a_line(lambda w: -jnp.cos(w) - 0.2 * w)(-0.5, 1.0)
    points = np.linspace(0.01, 20, 20_000)
    losses = -np.cos(points - 0.5) - 0.2 * (points - 0.5)
    rises = losses > -np.cos(-0.5) + 0.1
    assert not rises[-1]
    np.testing.assert_allclose(found.value, points[np.argmax(rises)], rtol=1e-3)


def test_a_loss_that_never_rises_has_an_infinite_edge():
    found = on_a_line(lambda w: jnp.logaddexp(0.0, -w))(0.5, 1.0)
    assert (found.value, found.upper, found.status) == (np.inf, np.inf, OneStepStatus.NEVER_RISES)
    assert found.lower > 1e20


def test_a_loss_that_is_no_number_at_the_end_has_risen():
    found = on_a_line(lambda w: jnp.sqrt(3.0 - w))(1.0, 1.0)
    np.testing.assert_allclose(found.value, 2.0, rtol=1e-4)


def test_rounding_does_not_decide_near_convergence():
    found = on_a_line(lambda w: 1e6 + w**2)(1e-9, -1e-9)
    assert found.status == OneStepStatus.BRACKETED
    # A rise shows where (a d)^2 is 8 eps of the loss.
    np.testing.assert_allclose(found.value * 1e-9, np.sqrt(8 * np.finfo(float).eps * 1e6), rtol=0.1)


@jax.custom_vjp
def rounded(x):
    return jnp.round(x * 64) / 64


rounded.defvjp(lambda x: (rounded(x), None), lambda _, g: (jax.pure_callback(lambda g: g, g, g),))


def test_losses_without_a_hessian_have_an_edge():
    run = jax.jit(lambda w, d: one_step_edge(lambda w: jnp.sum(jnp.abs(rounded(w))), w, d))
    found = run(jnp.asarray([3.0, 1.0]), jnp.asarray([-1.0, -1.0]))
    np.testing.assert_allclose(found.value, 4.0, atol=0.02)


def test_batches_mean_the_average_of_their_losses():
    x = jax.random.normal(jax.random.key(0), (6, 5, 4))

    def loss(w, x):
        return jnp.mean((x @ w) ** 2)

    w = jnp.linspace(0.5, 1, 4)
    matrix = np.mean([2 * b.T @ b / 5 for b in np.asarray(x)], axis=0)
    gradient = matrix @ w
    found = jax.jit(lambda x: one_step_edge(loss, w, -gradient, batches=x))(x)
    np.testing.assert_allclose(found.value, 2 * gradient @ gradient / (gradient @ matrix @ gradient), rtol=1e-4)


def test_it_vmaps_over_parameters_and_directions():
    params, directions = jnp.asarray([1.0, 2.0, jnp.nan, 1.0, 1.0]), jnp.asarray([-1.0, -1.0, -1.0, 1.0, 0.0])
    found = jax.jit(jax.vmap(lambda w, d: one_step_edge(lambda w: w**2, w, d)))(params, directions)
    np.testing.assert_allclose(found.value, [2.0, 4.0, np.nan, 0.0, np.inf], rtol=1e-4)
    S = OneStepStatus
    assert found.status.tolist() == [S.BRACKETED, S.BRACKETED, S.NONFINITE, S.RISES_AT_ONCE, S.NEVER_RISES]
    assert found.status.dtype == jnp.int8


def test_fewer_multiples_at_once_still_bracket_and_narrow_parameters_are_widened():
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.asarray(1.0, jnp.float32)}
    direction = jax.tree.map(lambda leaf: -0.5 * leaf, params)
    run = jax.jit(lambda w, d: one_step_edge(lambda w: jnp.sum(w["a"] ** 2) + w["b"] ** 2, w, d, width=2))
    found = run(params, direction)
    assert found.lower < 4.0 < found.upper
    np.testing.assert_allclose(found.value, 4.0, rtol=0.02)


W = np.ones(3)


def square(w):
    return jnp.sum(w**2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_step_edge(square, W, 0 * W), "direction: it is zero everywhere"),
        (lambda: one_step_edge(square, W, [W]), "direction: its structure"),
        (lambda: one_step_edge(square, W, jnp.ones(2)), "direction: its leaf has shape"),
        (lambda: one_step_edge(square, W, W * jnp.nan), "direction: its leaf is not finite"),
        (lambda: one_step_edge(square, W * jnp.inf, W), "params: its leaf is not finite"),
        (lambda: one_step_edge(square, {}, {}), "params: they hold no number"),
        (lambda: one_step_edge(lambda w: w, W, W), "loss: it returns float64 of shape"),
        (lambda: one_step_edge(lambda w: jnp.sum(jnp.log(w)), -W, W), "loss: it is nan at params"),
        (lambda: one_step_edge(square, W, W, width=0), "width: 0 is no whole number of at least 1"),
        (lambda: one_step_edge(square, W, W, rtol=-1.0), "rtol: -1.0 is outside"),
        (lambda: one_step_edge(lambda w, b: square(w), W, W, batches=1.0), "batches: its leaf has no leading axis"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
