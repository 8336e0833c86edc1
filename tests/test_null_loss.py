"""What a network reaches that has learned nothing: the loss of the best constant prediction."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx
from gdx.sweeps.training import constant_loss

pytestmark = pytest.mark.usefixtures("quick_compilation")
RNG = np.random.default_rng(3)
X = jnp.asarray(RNG.normal(size=(60, 5)))
WIDTH = 8


def start(key, outputs):
    first, second = jax.random.split(key)
    return {
        "in": jax.random.normal(first, (5, WIDTH)),
        "offsets": jnp.zeros(WIDTH),
        "out": jax.random.normal(second, (WIDTH, outputs)),
        "last": jnp.zeros(outputs),
    }


def outputs_of(params, x, activation=jnp.tanh):
    return activation(x @ params["in"] + params["offsets"][None]) @ params["out"] + params["last"][None]


def null_loss(loss, params):
    return float(jax.jit(lambda zeros: constant_loss(loss, zeros))(jax.tree.map(jnp.zeros_like, params)))


@pytest.mark.parametrize("activation", [jnp.tanh, jax.nn.relu, jax.nn.sigmoid])
def test_a_network_on_targets_far_from_zero_is_left_with_their_variance(activation):
    targets = RNG.normal(loc=(30.0, -5.0, 0.0), size=(60, 3))

    def loss(params):
        return jnp.mean((outputs_of(params, X, activation) - targets) ** 2)

    variance = np.mean(np.var(targets, axis=0))
    found = null_loss(loss, start(jax.random.key(0), 3))
    # The sigmoid of zero is a half, so that the last weights move too: what they add is a constant as well.
    assert found == pytest.approx(variance, rel=1e-6)


def test_a_network_is_left_with_the_entropy_of_its_classes():
    labels = jnp.asarray(np.repeat([0, 1, 2], [36, 18, 6]))
    frequencies = np.array([0.6, 0.3, 0.1])

    def loss(params):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs_of(params, X), labels))

    entropy = -np.sum(frequencies * np.log(frequencies))
    found = null_loss(loss, start(jax.random.key(0), 3))
    assert entropy - 1e-6 <= found <= entropy + 0.1 * (np.log(3) - entropy)


def test_what_a_linear_model_learns_from_weights_of_zero_is_not_nothing():
    targets = np.asarray(X) @ np.arange(1.0, 6.0)
    assert null_loss(lambda w: jnp.mean((X @ w - targets) ** 2), jnp.ones(5)) == pytest.approx(np.mean(targets**2))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_search_knows_no_units(scale):
    targets = RNG.normal(size=(60, 2)) + 4.0

    def loss(params):
        return scale * jnp.mean((outputs_of(params, X) - targets) ** 2)

    found = null_loss(loss, start(jax.random.key(0), 2))
    assert found / scale == pytest.approx(np.mean(np.var(targets, axis=0)), rel=0.01)


def test_a_sweep_holds_its_runs_against_a_constant_prediction_in_batches_too():
    targets = RNG.normal(size=(60, 1)) + 4.0

    def losses(params, rows):
        return jnp.mean((outputs_of(params, rows[0]) - rows[1]) ** 2, axis=1)

    problem = gdx.problems.finite_sum(lambda key: start(key, 1), losses, (X, targets), batch_size=20)
    runs = gdx.sweep(problem, optax.sgd, num_steps=16, tail=8)(
        jnp.array([1e-3]), jax.random.split(jax.random.key(0), 2)
    )
    # Eight batches of twenty are two and two thirds passes over the data.
    np.testing.assert_allclose(runs.null_loss, np.var(targets), rtol=0.2)


def test_a_run_that_bursts_but_is_there_on_average_trains():
    step_sizes = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
    late = np.array([0.1, 0.01, 0.02, 0.9, 2.3])
    most = np.array([0.2, 0.02, 0.04, 5.0, 2.4])
    zeros = np.zeros((5, 1))
    facts = dict.fromkeys(gdx.Runs._fields, zeros) | {
        "stopped": np.full((5, 1), gdx.Stop.HORIZON),
        "hyperparams": step_sizes[:, None],
        "first_training_loss": np.full((5, 1), 2.4),
        "null_loss": np.full((5, 1), 2.3),
        "loss_bound": np.full((5, 1), 1e12),
        "middle_loss": late[:, None],
        "late_loss": late[:, None],
        "late_loss_max": most[:, None],
        "worst_loss": np.maximum(most, 2.4)[:, None],
        "observed": {},
    }
    runs = gdx.Runs(**facts)
    names = [gdx.TrainingVerdict(code).name for code in gdx.training_verdicts(runs)[:, 0]]
    assert names == ["TRAINED", "TRAINED", "TRAINED", "BURSTING", "DEAD"]
    # Halfway between 2.3 and .01 is 1.155.
    np.testing.assert_array_equal(gdx.trains(runs)[:, 0], [True, True, True, True, False])
