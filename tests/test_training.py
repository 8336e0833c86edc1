import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys
from sklearn.datasets import load_digits

import gdx
from gdx.sweeps.sizing import choose_blocks
from gdx.verdicts import choose_criterion, criterion_name, default_criterion, training_level

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEP_SIZES = np.geomspace(1e-5, 1e2, 29)
SPACING = STEP_SIZES[1] / STEP_SIZES[0]


def classifier(activation, batch_size, widths=(64, 16, 10), examples=200):
    features, labels = load_digits(return_X_y=True)
    inputs = jnp.asarray(features[:examples] / 16.0, jnp.float32)
    return network(activation, widths, (inputs, labels[:examples]), cross_entropy, batch_size)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def squared_error(outputs, targets):
    return jnp.mean((outputs - targets) ** 2, axis=-1)


def network(activation, widths, data, errors, batch_size):
    def init(key):
        layers = jax.random.split(key, len(widths) - 1)
        return [
            (jax.random.normal(k, (n, m), jnp.float32) * np.float32((2 / n) ** 0.5), jnp.zeros(m, jnp.float32))
            for k, n, m in zip(layers, widths[:-1], widths[1:], strict=True)
        ]

    def losses(layers, rows):
        hidden, wanted = rows
        for weights, bias in layers[:-1]:
            hidden = activation(hidden @ weights + bias[None])
        return errors(hidden @ layers[-1][0] + layers[-1][1][None], wanted)

    return gdx.problems.finite_sum(init, losses, data, batch_size=batch_size)


def plain_losses(problem, family, starts, num_steps):
    """Training losses [S, R, T] of a plain optax loop."""

    @jax.jit
    def one(step_size, key):
        params, state = problem.init(key)
        optimizer = family(step_size)

        def body(carry, step):
            params, opt_state = carry
            batch = None if problem.batches is None else problem.batches(jax.random.fold_in(key, 0), step)
            loss, gradient = jax.value_and_grad(lambda w: problem.loss(w, state, batch)[0])(params)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        return jax.lax.scan(body, (params, optimizer.init(params)), jnp.arange(num_steps))[1]

    return np.asarray([[one(np.float32(step_size), key) for key in starts] for step_size in STEP_SIZES])


def largest_in_a_row(trained):
    """Step size up to which all starts train, from the first at which they do."""
    meets = trained.all(axis=1)
    first = int(np.argmax(meets))
    return STEP_SIZES[first + int(np.argmin(np.append(meets[first:], False))) - 1]


WAVE = jnp.linspace(-3.0, 3.0, 48, dtype=jnp.float32)[:, None]
NETWORKS = {
    "adam, batches": (lambda: classifier(jax.nn.relu, 32), optax.adam, 300),
    "adam, full batch": (lambda: classifier(jax.nn.relu, None), optax.adam, 300),
    "sgd, gelu": (
        lambda: network(jax.nn.gelu, (1, 16, 16, 1), (WAVE, jnp.sin(2 * WAVE)), squared_error, None),
        optax.sgd,
        2000,
    ),
    "weight decay": (lambda: classifier(jnp.tanh, 32), functools.partial(optax.adamw, weight_decay=0.1), 300),
    "momentum, single examples": (
        lambda: classifier(jax.nn.relu, 1),
        functools.partial(optax.sgd, momentum=0.9),
        1000,
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "adam, batches" else pytest.mark.slow) for name in NETWORKS]
)
def test_a_network_trains_up_to_where_a_plain_loop_does(name):
    make, family, num_steps = NETWORKS[name]
    problem, starts = make(), keys(2)
    runs = gdx.sweep(problem, family, num_steps=num_steps)(np.float32(STEP_SIZES), starts)
    losses = plain_losses(problem, family, starts, num_steps)
    late = losses[:, :, -num_steps // 10 :].mean(axis=-1)
    wanted = largest_in_a_row(late <= 0.5 * losses[:, :, 0])
    assert wanted / (1.01 * SPACING) <= largest_in_a_row(gdx.trains(runs)) <= wanted * 1.01 * SPACING
    # Too slow is undecided, and never the first failure.
    verdicts, answers = gdx.training_verdicts(runs), gdx.answers(runs, "trains")
    assert np.all(verdicts[0] == gdx.TrainingVerdict.TOO_SLOW)
    assert np.all(answers[0] == gdx.Answer.UNDECIDED)
    assert np.all(answers[wanted / (1.01 * SPACING) > STEP_SIZES] != gdx.Answer.FAILED)
    # Without the order of step sizes a slow run is still no failure.
    unordered = gdx.training_verdicts(runs._replace(hyperparams=np.full_like(runs.hyperparams, np.nan)))
    assert not np.any((unordered == gdx.TrainingVerdict.DEAD) & (wanted / 2 > STEP_SIZES)[:, None])
    assert np.isin(unordered[0], [gdx.TrainingVerdict.TOO_SLOW, gdx.TrainingVerdict.UNDECIDED]).all()
    np.testing.assert_array_equal(jax.jit(gdx.training_verdicts)(runs), verdicts)
    assert default_criterion(problem, runs) == "trains"


def test_a_dead_network_is_no_success_and_its_small_gradient_no_rest():
    # Without biases, and with inputs above 0, units can all die: the loss is ln K, without a gradient, below its start.
    inputs = jnp.abs(jax.random.normal(jax.random.key(0), (32, 4)))
    labels = (inputs[:, 0] > 0.67).astype(int) + 2 * (inputs[:, 1] > 0.67)

    def loss(weights):
        logits = jax.nn.relu(inputs @ weights[0]) @ weights[1]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def init(key):
        first, second = jax.random.split(key)
        return jax.random.normal(first, (4, 8)), 4 * jax.random.normal(second, (8, 4))

    problem = gdx.problem(init, loss)
    runs = gdx.sweep(problem, optax.sgd, num_steps=1000)(np.geomspace(1e-6, 1e4, 41), keys(4))
    is_dead = np.isclose(runs.last_loss, np.log(4)) & (runs.tail_gradient_norm_max == 0)
    assert np.sum(is_dead & (runs.last_loss < 0.5 * runs.first_loss)) >= 10
    assert gdx.improved(runs)[is_dead].any()
    assert np.all(gdx.training_verdicts(runs)[is_dead] == gdx.TrainingVerdict.DEAD)
    assert gdx.trains(runs).any(axis=0).all()
    np.testing.assert_allclose(training_level(runs).chance, np.log(4))


def test_what_a_constant_prediction_costs_is_known_of_data():
    features = np.random.default_rng(0).normal(size=(60, 2))
    classes = gdx.problems.logistic_regression(features, np.repeat([0, 1, 2], 20))
    np.testing.assert_allclose(classes.known.chance, np.log(3))
    targets = np.arange(60.0)
    np.testing.assert_allclose(gdx.problems.least_squares(features, targets).known.chance, 0.5 * np.var(targets))
    assert gdx.problems.digits_mlp(examples=100).known.chance < np.log(10)
    runs = gdx.sweep(classes, optax.sgd, num_steps=10)([0.1], keys(1))
    np.testing.assert_allclose(runs.null_loss, np.log(3))


def test_the_late_loss_is_that_of_the_last_tenth_at_every_horizon():
    problem = gdx.problem(jnp.asarray([1.3, 0.4]), lambda w: 0.5 * (w[0] * w[1] - 1.0) ** 2)
    for num_steps in (5, 3000):
        runs = gdx.sweep(problem, optax.sgd, num_steps=num_steps, stopping=gdx.Stopping.none())([1.3], keys(1))
        path = gdx.trajectory(problem, optax.sgd(1.3), jax.random.key(0), num_steps=num_steps)
        losses = np.asarray(path.loss[:-1])
        blocks = choose_blocks(num_steps, 64, spares_watching=True)
        share, length = max(num_steps // 10, 1), blocks.coast + blocks.watch
        # Where the tenth is longer than the tail, in whole blocks.
        share = -(-share // length) * length if share > 64 else share
        np.testing.assert_allclose(runs.late_loss[0, 0], losses[-share:].mean(), rtol=1e-9)
        np.testing.assert_allclose(runs.first_training_loss[0, 0], losses[0])
        np.testing.assert_allclose(runs.null_loss[0, 0], 0.5)


def test_a_criterion_may_be_any_function_of_the_runs():
    runs = gdx.sweep(gdx.problems.quartic(start=0.5), optax.sgd, num_steps=1000)([0.5, 1.1, 2.5], keys(1))
    found = gdx.answers(runs, lambda runs: runs.last_loss < 1e-9)
    assert found.dtype == np.int8
    assert found[:, 0].tolist() == [gdx.Answer.MET, gdx.Answer.FAILED, gdx.Answer.FAILED]

    def no_short_cycle(runs):
        return np.where(runs.period >= 2, gdx.Answer.FAILED, gdx.Answer.UNDECIDED)

    assert gdx.answers(runs, no_short_cycle)[:, 0].tolist() == [2, 0, 2]
    assert criterion_name(no_short_cycle) == "no_short_cycle"
    assert criterion_name("trains") == "trains"
    interrupted = runs._replace(stopped=np.zeros_like(runs.stopped))
    assert np.all(gdx.answers(interrupted, lambda runs: runs.last_loss < 1) == gdx.Answer.UNDECIDED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (lambda runs: runs.last_loss, r"criterion: .*float64\[1, 1\]; return booleans"),
        (lambda runs: np.ones(3, bool), r"criterion: .*bool\[3\]; .*\[1, 1\]"),
        (lambda runs: np.full((1, 1), 7), "criterion: .*code 7; .*0 to 2"),
    ],
)
def test_a_function_that_gives_no_answers_is_refused(criterion, message):
    runs = gdx.sweep(gdx.problems.quartic(), optax.sgd, num_steps=5)([0.5], keys(1))
    with pytest.raises(ValueError, match=message):
        gdx.answers(runs, criterion)


def test_smooth_statistics_are_judged_by_rest_and_batches_by_training():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(50, 2)), rng.integers(0, 2, 50)
    full = gdx.problems.logistic_regression(features, labels, l2=0.1)
    runs = gdx.sweep(full, optax.sgd, num_steps=2000)(np.geomspace(1e-6, 1e4, 41), keys(2))
    assert default_criterion(full, runs) == "converged"
    some = gdx.problems.logistic_regression(features, labels, l2=0.1, batch_size=10)
    assert default_criterion(some, runs) == "trains"
    assert choose_criterion(some, runs)[1] == "the problem has batches"
    stateful = gdx.stateful_problem(lambda key: (jnp.ones(2), jnp.zeros(1)), lambda w, s: (jnp.sum(w**2), s))
    assert default_criterion(stateful, runs) == "trains"
    assert default_criterion(gdx.problems.quartic(), runs) == "converged"
    # Data that a plane separates have no minimum: the best runs are still on their way.
    separable = gdx.problems.logistic_regression(features, features[:, 0] > 0, l2=0.0)
    runs = gdx.sweep(separable, optax.sgd, num_steps=2000)(np.geomspace(1e-6, 10, 29), keys(2))
    assert default_criterion(separable, runs) == "trains"
    assert re.fullmatch(r"\d+ of the \d+ runs with the best loss came to rest", choose_criterion(separable, runs)[1])
