import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx
from gdx.problems.data import bundled, scale_features

RNG = np.random.default_rng(3)
FEATURES, TARGETS, LABELS = RNG.normal(size=(40, 3)), RNG.normal(size=40), RNG.integers(0, 2, 40)


def value_and_gradient_norm(problem, params):
    value, gradient = jax.value_and_grad(lambda w: problem.loss(w, (), None)[0])(params)
    return value, optax.tree.norm(gradient)


@pytest.mark.usefixtures("quick_compilation_here")
@pytest.mark.parametrize("name", gdx.problems.catalogue())
def test_every_named_problem_starts_from_its_key_and_descends(name):
    problem = gdx.problems.catalogue()[name].make()
    init = jax.jit(lambda key: problem.init(key)[0])
    params, again, other = init(jax.random.key(0)), init(jax.random.key(0)), init(jax.random.key(1))
    assert optax.tree.norm(optax.tree.sub(params, again)) == 0
    assert optax.tree.norm(optax.tree.sub(params, other)) > 0

    @jax.jit
    def short_step(params):
        batch = None if problem.batches is None else problem.batches(jax.random.key(0), jnp.int32(0))
        value, gradient = jax.value_and_grad(lambda w: problem.loss(w, (), batch)[0])(params)
        norm = optax.tree.norm(gradient)
        moved = jax.tree.map(lambda w, g: w - 1e-4 / norm * g, params, gradient)
        return problem.loss(moved, (), batch)[0], value

    lower, value = short_step(params)
    assert lower < value


@pytest.mark.parametrize(
    ("problem", "minimiser"),
    [
        (gdx.problems.quadratic((1.0, 4.0)), jnp.zeros(2)),
        (gdx.problems.quartic(), jnp.asarray(-1.0)),
        (gdx.problems.hard_partner(), jnp.asarray(0.0)),
        (gdx.problems.scalar_factorization(2.5), jnp.sqrt(2.5) * jnp.ones(2)),
        (gdx.problems.chain(2, 2.5), jnp.sqrt(2.5) * jnp.ones(2)),
        (gdx.problems.chain(3, 2.0), 2.0 ** (1 / 3) * jnp.ones(3)),
        (gdx.problems.chain(5, 0.5), 0.5**0.2 * jnp.ones(5)),
    ],
)
def test_what_is_known_holds_at_the_flattest_minimum(problem, minimiser):
    value, norm = value_and_gradient_norm(problem, minimiser)
    np.testing.assert_allclose(value, problem.known.minimum, atol=1e-14)
    np.testing.assert_allclose(norm, 0, atol=1e-12)
    found = gdx.sharpness(lambda w: problem.loss(w, (), None)[0], minimiser)
    np.testing.assert_allclose(found.value, problem.known.min_sharpness, rtol=1e-10)


def test_logistic_regression_is_the_textbooks():
    problem = gdx.problems.logistic_regression(FEATURES, LABELS, l2=0.2, scale=None)
    weights, bias = jnp.asarray([0.3, -0.5, 1.0]), jnp.asarray(0.2)
    margins = (FEATURES @ weights + bias) * np.where(LABELS == 1, 1, -1)
    expected = np.mean(np.log1p(np.exp(-margins))) + 0.1 * np.sum(weights**2)
    np.testing.assert_allclose(problem.loss({"weights": weights, "bias": bias}, (), None)[0], expected, rtol=1e-12)


def test_softmax_of_two_classes_is_logistic_regression_of_the_difference():
    labels = RNG.choice(["a", "b", "c"], 40)
    problem = gdx.problems.logistic_regression(FEATURES, labels, l2=0.0)
    params, _ = problem.init(jax.random.key(0))
    assert params["weights"].shape == (3, 3)
    np.testing.assert_allclose(problem.loss(jax.tree.map(jnp.zeros_like, params), (), None)[0], np.log(3), rtol=1e-12)


def test_standard_scaling_gives_mean_zero_and_deviation_one_and_copes_with_constants():
    features = np.column_stack([FEATURES * [1.0, 100.0, 1e-4] + 5, np.full(40, 7.0)])
    scaled = scale_features(features, "standard")
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 1, 0], rtol=1e-9)
    np.testing.assert_array_equal(scale_features(features, None), features)


def test_bundled_data_are_the_real_ones():
    assert {name: bundled(name).features.shape for name in ("breast-cancer", "diabetes", "digits")} == {
        "breast-cancer": (569, 30),
        "diabetes": (442, 10),
        "digits": (1797, 64),
    }


def test_fixed_parameters_are_a_start_for_every_key():
    problem = gdx.problem({"w": np.ones(3)}, lambda params: jnp.sum(params["w"] ** 2))
    for seed in (0, 1):
        np.testing.assert_array_equal(problem.init(jax.random.key(seed))[0]["w"], 1.0)


def test_minimal_sharpness_of_chains_is_the_published_one():
    # Depth 3 with product 2, and depth 5 with product 1/2.
    np.testing.assert_allclose(gdx.problems.chain(3, 2.0).known.min_sharpness, 7.559526299, rtol=1e-9)
    np.testing.assert_allclose(gdx.problems.chain(5, 0.5).known.min_sharpness, 1.649384888, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gdx.problems.quadratic(()), r"eigenvalues: shape \(0,\)"),
        (lambda: gdx.problems.quadratic((1.0, np.nan)), "eigenvalues: .*finite"),
        (lambda: gdx.problems.scalar_factorization(0.0), "target: 0.0"),
        (lambda: gdx.problems.chain(1), "depth: 1"),
        (lambda: gdx.problems.chain(2.0), "depth: 2.0"),
        (lambda: gdx.problems.chain(3, -1.0), "target: -1.0"),
        (lambda: gdx.problems.chain(3, start=(1.0, 1.0)), r"start: shape \(2,\) is not \(3,\)"),
        (lambda: gdx.problems.linear_network((3, 3)), r"widths: \(3, 3\)"),
        (lambda: gdx.problems.linear_network((3, 0, 3)), r"widths: \(3, 0, 3\)"),
        (
            lambda: gdx.problems.linear_network((3, 2, 3), singular_values=(1, 1, 1)),
            "singular_values: .*1 and 2",
        ),
        (lambda: gdx.problems.linear_network((3, 2, 3), singular_values=(-1,)), "singular_values"),
        (lambda: gdx.problems.least_squares(FEATURES, TARGETS[:-1]), r"targets: shape \(39,\)"),
        (lambda: gdx.problems.least_squares(FEATURES), "targets: missing"),
        (lambda: gdx.problems.least_squares(FEATURES, TARGETS * np.nan), "targets: .*not finite"),
        (lambda: gdx.problems.least_squares(FEATURES, TARGETS, l2=-1.0), "l2: -1.0"),
        (lambda: gdx.problems.least_squares("iris"), "'iris'.*diabetes"),
        (lambda: gdx.problems.logistic_regression(FEATURES, LABELS * 0), "labels: 1 class"),
        (lambda: gdx.problems.logistic_regression(FEATURES, LABELS, scale="log"), "scale: 'log'"),
        (
            lambda: gdx.problems.logistic_regression(np.where(FEATURES > 2, np.nan, FEATURES), LABELS),
            "not finite",
        ),
        (lambda: gdx.problems.digits_mlp((0,)), r"hidden: \(0,\)"),
        (lambda: gdx.problems.digits_mlp(examples=2000), "examples: 2000"),
        (lambda: gdx.problem(jnp.ones(2), 3), "loss: 3"),
        (lambda: gdx.problem({"w": np.ones(2), "f": jnp.tanh}, lambda w: w["w"].sum()), r"params\['f'\].*partition"),
        (lambda: gdx.stateful_problem(jnp.ones(2), lambda w, s: (w, s)), "init: "),
    ],
)
def test_arguments_that_make_no_problem_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
