"""Regressions of everyday statistics and small networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc

from truths.base import Kind, anywhere, regressors
from truths.wells import log_cosh

# Regressions


def _ridge(w, p):
    return 0.5 * p["l"] * w @ w


def _residuals(w, p):
    return p["X"] @ w - p["y"]


def _pseudo_huber(w, p):
    return jnp.mean(jnp.sqrt(1 + _residuals(w, p) ** 2)) + _ridge(w, p)


def _log_cosh_regression(w, p):
    return jnp.mean(log_cosh(_residuals(w, p))) + _ridge(w, p)


def _cauchy(w, p):
    return jnp.mean(jnp.log1p(_residuals(w, p) ** 2)) + _ridge(w, p)


def _draw_robust(rng, far):
    m, d = 20, int(rng.choice([3, 6]))
    x = regressors(rng, m, d)
    w = rng.normal(size=d)
    y = x @ w + 0.3 * rng.standard_t(2, size=m)
    return w + anywhere(rng, far, d), {"X": x, "y": y, "l": 10 ** rng.uniform(-3, 0)}


def _logistic(w, p):
    return jnp.mean(jnp.logaddexp(0.0, -p["y"] * (p["X"] @ w))) + _ridge(w, p)


def _draw_logistic(rng, far):
    m, d = 20, int(rng.choice([3, 6]))
    x = regressors(rng, m, d)
    y = np.sign(x @ rng.normal(size=d) + rng.logistic(size=m))
    return anywhere(rng, far, d), {"X": x, "y": y, "l": 10 ** rng.uniform(-2.5, 0)}


def _softmax(w, p):
    logits = p["X"] @ w.reshape(p["X"].shape[1], -1)
    chosen = jnp.take_along_axis(logits, p["y"][:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen) + _ridge(w, p)


def _draw_softmax(rng, far):
    m, d, k = 20, 4, 3
    x = regressors(rng, m, d)
    y = np.argmax(x @ rng.normal(size=(d, k)) + rng.gumbel(size=(m, k)), axis=1)
    return anywhere(rng, far, d * k), {"X": x, "y": y, "l": 10 ** rng.uniform(-2.5, 0)}


def _poisson(w, p):
    z = p["X"] @ w
    return jnp.mean(jnp.exp(z) - p["y"] * z) + _ridge(w, p)


def _draw_poisson(rng, far):
    m, d = 20, int(rng.choice([3, 6]))
    x = 0.5 * regressors(rng, m, d)
    w = 0.7 * rng.normal(size=d)
    return w + 0.5 * anywhere(rng, far, d), {
        "X": x,
        "y": rng.poisson(np.exp(x @ w)).astype(float),
        "l": 10 ** rng.uniform(-3, 0),
    }


def _probit(w, p):
    # `log_ndtr` reaches further into the tail, and takes a hundred times as long.
    return -jnp.mean(jnp.log(0.5 * erfc(-p["y"] * (p["X"] @ w) / jnp.sqrt(2.0)))) + _ridge(w, p)


def _draw_probit(rng, far):
    m, d = 16, 3
    x = regressors(rng, m, d)
    y = np.sign(x @ rng.normal(size=d) + rng.normal(size=m))
    return 0.5 * anywhere(rng, far, d), {"X": x, "y": y, "l": 10 ** rng.uniform(-2.5, 0)}


def _sigmoid_squares(w, p):
    return jnp.mean((jax.nn.sigmoid(p["X"] @ w) - p["y"]) ** 2) + _ridge(w, p)


def _draw_sigmoid_squares(rng, far):
    m, d = 20, int(rng.choice([3, 6]))
    x = regressors(rng, m, d)
    y = 1 / (1 + np.exp(-(x @ rng.normal(size=d)))) + 0.05 * rng.normal(size=m)
    return anywhere(rng, far, d), {"X": x, "y": y, "l": 10 ** rng.uniform(-3, -1)}


def _modulus(w, p):
    return jnp.mean((jnp.abs(p["X"] @ w) - p["y"]) ** 2)


def _draw_modulus(rng, far):
    m, d = 24, int(rng.choice([2, 4]))
    x = regressors(rng, m, d)
    return anywhere(rng, far, d), {"X": x, "y": np.full(m, 2.0)}


def _gamma_regression(w, p):
    z = p["X"] @ w
    return jnp.mean(z + p["y"] * jnp.exp(-z)) + _ridge(w, p)


def _draw_gamma(rng, far):
    m, d = 16, 3
    x = 0.5 * regressors(rng, m, d)
    w = 0.7 * rng.normal(size=d)
    return w + 0.4 * anywhere(rng, far, d), {
        "X": x,
        "y": np.exp(x @ w) * rng.gamma(3, 1 / 3, size=m),
        "l": 10 ** rng.uniform(-3, 0),
    }


def _mixture(w, p):
    """Negative log-likelihood of two normals of unit width, by their places."""
    return -jnp.mean(jnp.logaddexp(*(-0.5 * (p["y"] - place) ** 2 for place in w))) + 0.5 * p["l"] * w @ w


def _draw_mixture(rng, far):
    places = np.array([-1.0, 1.0]) * rng.uniform(0.8, 2)
    y = rng.normal(size=24) + rng.choice(places, size=24)
    return places + 0.5 * anywhere(rng, far, 2), {"y": y, "l": 10 ** rng.uniform(-3, -1)}


# Networks


WIDTH, INPUTS = 3, 2


def _network(w, x):
    first, bias, last = jnp.split(w, [WIDTH * INPUTS, WIDTH * (INPUTS + 1)])
    return jnp.tanh(x @ first.reshape(INPUTS, WIDTH) + bias[None]) @ last


def _tanh_network(w, p):
    return 0.5 * jnp.mean((_network(w, p["X"]) - p["y"]) ** 2) + _ridge(w, p)


def _draw_network(rng, far, decay=0.0):
    d = WIDTH * (INPUTS + 2)
    w, x = rng.normal(size=d), 1.5 * rng.normal(size=(16, INPUTS))
    y = np.asarray(_network(jnp.asarray(w), jnp.asarray(x)))
    return w + 0.1 * far * rng.normal(size=d), {"X": x, "y": y, "l": decay}


def _draw_decayed_network(rng, far):
    return _draw_network(rng, far, 10 ** rng.uniform(-3, -1.5))


def _tanh_chain(w, p):
    return 0.5 * (w[2] * jnp.tanh(w[1] * jnp.tanh(w[0])) - p["y"]) ** 2 + 0.5 * p["l"] * w @ w


def _draw_tanh_chain(rng, far):
    return rng.uniform(0.5, 1 + 0.5 * far, size=3), {"y": rng.uniform(0.3, 1), "l": 10 ** rng.uniform(-3, -1)}


MODELS = {
    "pseudo-huber": Kind(_pseudo_huber, _draw_robust),
    "log-cosh": Kind(_log_cosh_regression, _draw_robust),
    "cauchy": Kind(_cauchy, _draw_robust),
    "logistic": Kind(_logistic, _draw_logistic),
    "softmax": Kind(_softmax, _draw_softmax),
    "poisson": Kind(_poisson, _draw_poisson),
    "probit": Kind(_probit, _draw_probit),
    "gamma": Kind(_gamma_regression, _draw_gamma),
    "sigmoid-squares": Kind(_sigmoid_squares, _draw_sigmoid_squares),
    "modulus": Kind(_modulus, _draw_modulus),
    "mixture": Kind(_mixture, _draw_mixture),
    "tanh-network": Kind(_tanh_network, _draw_network),
    "tanh-network-l2": Kind(_tanh_network, _draw_decayed_network),
    "tanh-chain": Kind(_tanh_chain, _draw_tanh_chain),
}
