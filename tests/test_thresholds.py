import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LINEAR_METHODS, keys

import gdx


@pytest.mark.parametrize("name", LINEAR_METHODS)
def test_thresholds_are_those_of_the_textbook(name):
    family, threshold = LINEAR_METHODS[name]
    np.testing.assert_allclose(gdx.curvature_threshold(family), threshold, rtol=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.77, 0.97, 0.999])
def test_momentum_thresholds_hold_for_every_coefficient(beta):
    def averaged(step_size):
        return optax.chain(optax.ema(beta), optax.scale(-1.0 * step_size))

    heavy, nesterov = (functools.partial(optax.sgd, momentum=beta, nesterov=flag) for flag in (False, True))
    np.testing.assert_allclose(gdx.curvature_threshold(heavy), 2 * (1 + beta), rtol=1e-9)
    np.testing.assert_allclose(gdx.curvature_threshold(nesterov), 2 * (1 + beta) / (1 + 2 * beta), rtol=1e-9)
    np.testing.assert_allclose(gdx.curvature_threshold(averaged), 2 * (1 + beta) / (1 - beta), rtol=1e-9)


def with_memory(transform):
    """A family that turns the last gradient and this one into an update."""

    def family(step_size):
        def update(gradient, last, params=None):
            return transform(gradient, last), gradient

        return optax.chain(optax.GradientTransformation(jnp.zeros_like, update), optax.sgd(step_size))

    return family


@pytest.mark.parametrize(
    ("family", "threshold"),
    [
        (lambda s: optax.chain(optax.ema(0.9, debias=False), optax.sgd(s, momentum=0.9)), 0.023456790),
        (lambda s: optax.chain(optax.ema(0.5, debias=False), optax.sgd(s, momentum=0.5)), 1.5),
        (with_memory(lambda new, old: (new + old) / 2), 2.0),
        (with_memory(lambda new, old: old), 1.0),
    ],
    ids=["ema .9 then momentum .9", "ema .5 then momentum .5", "mean of two", "delayed by one"],
)
def test_the_threshold_need_not_be_at_alternating_gradients(family, threshold):
    np.testing.assert_allclose(gdx.curvature_threshold(family), threshold, rtol=1e-7)


@pytest.mark.parametrize("beta", [0.2, 0.6])
def test_a_threshold_is_where_the_closed_loop_starts_to_grow(beta):
    def family(step_size):
        return optax.chain(optax.ema(beta, debias=False), optax.sgd(step_size, momentum=0.4))

    edge = gdx.curvature_threshold(family) / 3.0
    runs = gdx.sweep(gdx.problems.quadratic((3.0,)), family, num_steps=10_000)([0.95 * edge, 1.05 * edge], keys(2))
    assert gdx.verdicts(runs)[:, 0].tolist() == [gdx.Verdict.CONVERGED, gdx.Verdict.DIVERGED]


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (optax.adam, "not linear"),
        (optax.sign_sgd, "not linear"),
        (optax.rmsprop, "not linear"),
        (lambda s: optax.chain(optax.clip(1.0), optax.sgd(s)), "not linear"),
        (lambda s: optax.sgd(0.1), "not proportional"),
        (lambda s: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(s)), "depend on the parameters"),
        (lambda s: optax.sgd(optax.exponential_decay(s, 1000, 0.9)), "step number"),
        (lambda s: optax.scale(0.0 * s), "no update"),
        (lambda s: optax.sgd(s, momentum=0.99999), "remembers"),
    ],
)
def test_optimizers_without_a_threshold_are_refused_with_the_reason(family, reason):
    with pytest.raises(ValueError, match=rf"^family: .*{reason}"):
        gdx.curvature_threshold(family)
