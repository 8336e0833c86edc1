"""What runs do beyond the edge of a minimum: exact coefficients, runs that hop and runs that leave, and refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx


def hard_partner(w):
    return w**2 / 2 + w**4 / 4


def factorization(w):
    return (w[0] * w[1] - 1) ** 2 / 2


def two_cycle(loss, params, family, step_size, num_steps):
    """Where a plain loop of optax ends, and where one step more leads."""
    optimizer = family(step_size)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            update, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, update), state), None

        carry, _ = jax.lax.scan(step, (params, optimizer.init(params)), length=num_steps)
        return carry[0], step(carry, None)[0][0]

    return run(params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "minimum", "sharpness", "coefficient"),
    [
        (lambda w: w**4 / 4 - w**2 / 2, 1.0, 2.0, 8.0),
        (factorization, [1.0, 1.0], 2.0, 4.0),
        (hard_partner, 0.0, 1.0, -1.0),
        (lambda w: (jnp.log1p(jnp.exp(w)) + jnp.log1p(jnp.exp(-w))) / 2, 0.0, 0.25, 1 / 48),
    ],
)
def test_coefficients_in_closed_form_are_met(loss, minimum, sharpness, coefficient):
    found = gdx.flip(loss, jnp.asarray(minimum))
    assert found.sharpness == pytest.approx(sharpness, rel=1e-9)
    assert found.coefficient == pytest.approx(coefficient, rel=1e-9)
    assert abs(found.coefficient - coefficient) <= found.error <= 1e-3 * abs(coefficient)
    assert found.kind.value == ("soft" if coefficient > 0 else "hard")


def test_a_valley_is_no_part_of_the_coefficient_but_of_the_drift():
    # At (2, 1/2) of (x y - 1)^2 / 2 the third derivative leads along the valley of minima, too.
    found = gdx.flip(factorization, jnp.asarray([2.0, 0.5]))
    assert found.drift > 0.5
    assert gdx.flip(factorization, jnp.asarray([1.0, 1.0])).drift < 1e-6
    dense = jax.hessian(factorization)(jnp.asarray([2.0, 0.5]))
    values, vectors = np.linalg.eigh(dense)
    top = vectors[:, -1]
    third = np.einsum("ijk,i,j", jax.jacfwd(jax.hessian(factorization))(jnp.asarray([2.0, 0.5])), top, top)
    fourth = np.einsum(
        "ijkl,i,j,k,l", jax.jacfwd(jax.jacfwd(jax.hessian(factorization)))(jnp.asarray([2.0, 0.5])), *[top] * 4
    )
    assert found.coefficient == pytest.approx(0.5 * (top @ third) ** 2 / values[-1] - fourth / 6, rel=1e-8)


@pytest.mark.parametrize(
    ("family", "threshold"),
    [(optax.sgd, 2.0), (functools.partial(optax.sgd, momentum=0.5), 3.0)],
)
def test_runs_hop_where_and_as_far_as_is_said(family, threshold):
    def loss(w):
        return w[0] ** 2 + 0.2 * w[1] ** 2 + 0.6 * w[0] ** 2 * w[1] + 0.3 * w[0] ** 3 + 0.1 * w[1] ** 4

    found, excess = gdx.flip(loss, jnp.zeros(2)), 0.002
    size = found.amplitude(excess)
    step_size = threshold / found.sharpness * (1 + excess)
    last, following = two_cycle(loss, found.vector * size / 2, family, step_size, 20_000)
    assert found.kind is gdx.FlipKind.SOFT
    assert np.linalg.norm(last - following) / 2 == pytest.approx(size, rel=0.05)


def test_runs_leave_where_that_is_said():
    found = gdx.flip(hard_partner, jnp.asarray(0.0))
    last, _ = two_cycle(hard_partner, jnp.asarray(0.01), optax.sgd, 2 * 1.002, 20_000)
    assert found.kind is gdx.FlipKind.HARD
    assert math.isnan(found.amplitude(0.002))
    assert not abs(last) < 0.5


def test_any_tree_and_batches_are_as_good():
    data = jnp.asarray([[1.0, 2.0], [0.5, 1.0]])

    def of_batch(w, row):
        return (w["a"] * w["b"][0] * row[0] - row[1]) ** 2 / 2

    start = {"a": jnp.asarray(2**0.5), "b": jnp.asarray([2**0.5])}
    found = gdx.flip(of_batch, start, batches=data)
    whole = gdx.flip(lambda w: jnp.mean(jax.vmap(lambda row: of_batch(w, row))(data)), start)
    assert found.coefficient == pytest.approx(whole.coefficient, rel=1e-9)
    assert jax.tree.structure(found.vector) == jax.tree.structure(start)


def test_in_float32_the_error_says_so():
    with jax.enable_x64(False):
        found = gdx.flip(lambda w: w**4 / 4 - w**2 / 2, jnp.asarray(1.0))
        assert found.kind is gdx.FlipKind.SOFT
        assert abs(found.coefficient - 8) <= found.error < 1


@pytest.mark.slow
def test_many_parameters_take_no_matrix():
    # Two numbers that matter, and 1e6 others of less curvature: c = 4 as of the two alone.
    rest = jnp.linspace(0.01, 1.0, 1_000_000)

    def loss(w):
        return factorization(w["two"]) + jnp.sum(rest * w["rest"] ** 2) / 2

    found = gdx.flip(loss, {"two": jnp.ones(2), "rest": jnp.zeros(1_000_000)})
    assert found.coefficient == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "params", "words"),
    [
        (lambda w: w**4 / 4 - w**2 / 2, 1.3, "gradient norm 0.897, so the minimum is about .* train on"),
        (lambda w: w[0] ** 2 - w[1] ** 2, [0.0, 0.0], "a saddle"),
        (lambda w: -jnp.sum(w**2), [0.0, 0.0], "no minimum here"),
        (lambda w: jnp.sum(w**2), [0.0, 0.0], "two largest curvatures are 2 and 2"),
    ],
)
def test_what_is_no_minimum_or_has_two_directions_is_refused(loss, params, words):
    with pytest.raises(ValueError, match=words):
        gdx.flip(loss, jnp.asarray(params))


def test_a_quadratic_is_neither():
    found = gdx.flip(lambda w: w[0] ** 2 + 3 * w[1] ** 2, jnp.zeros(2))
    assert found.kind is gdx.FlipKind.UNDECIDED
    assert "derivatives vanish" in found.note


def test_where_the_roads_disagree_there_is_no_number():
    # What stands still for derivatives moves all the same: gradients are w + 4 w^3, third derivatives know 6 w alone.
    found = gdx.flip(lambda w: w**2 / 2 + w**4 / 4 + jax.lax.stop_gradient(w) * w**3, jnp.asarray(0.0))
    assert found.kind is gdx.FlipKind.UNDECIDED
    assert math.isnan(found.coefficient)
    assert "two roads disagree: -1 by derivatives, -4 by gradients" in found.note


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (optax.sgd, True),
        (functools.partial(optax.sgd, momentum=0.9), True),
        (functools.partial(optax.sgd, momentum=0.9, nesterov=True), True),
        (lambda h: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(h)), False),
        (optax.adam, False),
    ],
)
def test_optimizers_that_lose_stability_by_alternating_signs_are_known(family, expected):
    assert gdx.responses.alternates(gdx.responses.measure_response(family)) is expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "start", "words"),
    [
        (lambda w: w**4 / 4 - w**2 / 2, 0.9, "beyond its edge runs hop: at 0.8 % beyond by about 0.045"),
        (hard_partner, 0.1, "beyond its edge runs leave it, however little it is exceeded"),
        (lambda w: w**2, 0.1, "what runs do beyond its edge is not known: third and fourth derivatives vanish"),
    ],
)
def test_what_comes_beyond_is_said_wherever_an_edge_is_measured(loss, start, words):
    problem = gdx.problem(jnp.asarray(start), loss)
    table = gdx.step_table(problem, optax.sgd, jax.random.key(0), num_steps=1000)
    (row,) = (row for row in table.rows if row.name == "curvature at the minimum")
    assert words in row.note
    found = gdx.studies.transition(problem, optax.sgd, keys=jax.random.split(jax.random.key(0), 2), num_steps=1000)
    assert words in found.places[-1].beyond
    adam = gdx.studies.beyond(loss, jnp.asarray(float(round(start))), optax.adam)
    assert adam == ""
