"""Edges of losses of several parameters that are neither quadratics nor factorizations: regressions and a network too.

At the edge small cycles grow out of the minimum, or the loss is quadratic next to it: a run from nearby goes on
converging right up to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc

from gdx.studies.verification.base import Check
from gdx.studies.verification.three_roads import Loss, check_of
from gdx.studies.verification.wells import beside, dimple, draw_trough, log_cosh

EXAMPLES, FEATURES = 16, 3


# What is drawn


def _draw_ring(rng):
    p = draw_trough(rng)
    direction = rng.normal(size=FEATURES)
    return p | {"start": abs(p["start"]) * direction / np.linalg.norm(direction)}


def _draw_labels(rng):
    shares = rng.dirichlet(np.full(4, 3.0))
    return {"shares": shares, "start": beside(rng, np.log(shares), 0.5)}


def _draw_sphere(rng):
    values = np.sort(rng.uniform(0.5, 4, size=4))
    q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    return {"values": values, "A": q * values @ q.T, "q": rng.uniform(0.1, 0.6), "start": beside(rng, q[:, 0], 0.1)}


def _draw_root(rng):
    values = np.sort(rng.uniform(0.6, 1.5, size=3))
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    root = q * values @ q.T
    return {"values": values, "M": root @ root, "start": beside(rng, root, 0.1)}


def _regressors(rng):
    return rng.normal(size=(EXAMPLES, FEATURES)) * [1.0, 0.7, 0.5], rng.normal(size=FEATURES)


def _draw_robust(rng):
    x, w = _regressors(rng)
    y = x @ w + 0.3 * rng.normal(size=EXAMPLES)
    return {"X": x, "y": y, "l": 10 ** rng.uniform(-2, 0), "start": beside(rng, w)}


def _draw_classes(rng):
    x, w = _regressors(rng)
    y = np.sign(x @ w + rng.logistic(size=EXAMPLES))
    return {"X": x, "y": y, "l": 10 ** rng.uniform(-1, 0), "start": beside(rng, np.zeros(FEATURES))}


def _draw_counts(rng):
    x, w = _regressors(rng)
    y = rng.poisson(np.exp(0.5 * x @ w)).astype(float)
    return {"X": x, "y": y, "l": 10 ** rng.uniform(-2, 0), "start": beside(rng, 0.5 * w)}


def _draw_moduli(rng):
    x, w = _regressors(rng)
    # Close enough that no sign of X w changes on the way: the loss is quadratic there.
    near = 0.05 * np.abs(x @ w).min() / np.linalg.norm(x, axis=1).max()
    return {"X": x, "y": np.abs(x @ w), "start": beside(rng, w, near)}


def _network(w, x):
    return jnp.tanh(x @ w[:9].reshape(FEATURES, 3)) @ w[9:]


def _draw_network(rng):
    w, x = rng.normal(size=12), rng.normal(size=(EXAMPLES, FEATURES))
    y = np.asarray(_network(jnp.asarray(w), jnp.asarray(x)))
    return {"X": x, "y": y, "l": rng.uniform(0.03, 0.1), "start": beside(rng, w, 0.1)}


# Losses


def _sphere(w, p):
    r = w @ w
    return 0.5 * (w @ p["A"] @ w) / r + p["q"] * (r - 1) ** 2


def _ridge(w, p):
    return 0.5 * p["l"] * w @ w


def _residuals(w, p):
    return p["X"] @ w - p["y"]


def _margins(w, p):
    return p["y"] * (p["X"] @ w)


def _poisson(w, p):
    z = p["X"] @ w
    return jnp.mean(jnp.exp(z) - p["y"] * z) + _ridge(w, p)


MODELS = {
    "ring": Loss(
        "|w|^2/2 + a exp(-|w|^2/s) in three dimensions, a = {a:.4g}, s = {s:.4g}",
        dimple,
        _draw_ring,
        lambda p: 2 * np.log(2 * p["a"] / p["s"]),
        "2 ln(2a/s)",
        "descent",
    ),
    "labels": Loss(
        "cross-entropy of a softmax with labels of four shares",
        lambda w, p: jax.nn.logsumexp(w) - p["shares"] @ w,
        _draw_labels,
        lambda p: np.linalg.eigvalsh(np.diag(p["shares"]) - np.outer(p["shares"], p["shares"]))[-1],
        "largest eigenvalue of diag(q) - q q'",
        "descent",
    ),
    "sphere": Loss(
        "w'Aw/(2|w|^2) + q (|w|^2 - 1)^2, q = {q:.4g}, in four dimensions",
        _sphere,
        _draw_sphere,
        lambda p: max(8 * p["q"], p["values"][-1] - p["values"][0]),
        "max(8q, spread of A's eigenvalues)",
        "descent",
    ),
    "matrix-root": Loss(
        "|W^2 - M|^2/4, M 3 x 3",
        lambda w, p: 0.25 * jnp.sum((w @ w - p["M"]) ** 2),
        _draw_root,
        lambda p: 2 * p["values"][-1] ** 2,
        "2 M's largest eigenvalue",
        "descent",
    ),
    "logistic": Loss(
        "logistic regression, l2 = {l:.3g}",
        lambda w, p: jnp.mean(jnp.logaddexp(0.0, -_margins(w, p))) + _ridge(w, p),
        _draw_classes,
        None,
        "",
        "descent",
    ),
    "probit": Loss(
        "probit regression, l2 = {l:.3g}",
        lambda w, p: -jnp.mean(jnp.log(0.5 * erfc(-_margins(w, p) / jnp.sqrt(2.0)))) + _ridge(w, p),
        _draw_classes,
        None,
        "",
        "nesterov",
    ),
    "poisson": Loss("Poisson regression, l2 = {l:.3g}", _poisson, _draw_counts, None, "", "descent"),
    "pseudo-huber": Loss(
        "pseudo-Huber regression, l2 = {l:.3g}",
        lambda w, p: jnp.mean(jnp.sqrt(1 + _residuals(w, p) ** 2)) + _ridge(w, p),
        _draw_robust,
        None,
        "",
        "heavy ball",
    ),
    "log-cosh": Loss(
        "log-cosh regression, l2 = {l:.3g}",
        lambda w, p: jnp.mean(log_cosh(_residuals(w, p))) + _ridge(w, p),
        _draw_robust,
        None,
        "",
        "descent",
    ),
    "robust": Loss(
        "Cauchy regression, l2 = {l:.3g}",
        lambda w, p: jnp.mean(jnp.log1p(_residuals(w, p) ** 2)) + _ridge(w, p),
        _draw_robust,
        None,
        "",
        "descent",
    ),
    "moduli": Loss(
        "mean of (|X w| - y)^2 beside its solution",
        lambda w, p: jnp.mean((jnp.abs(p["X"] @ w) - p["y"]) ** 2),
        _draw_moduli,
        lambda p: 2 * float(np.linalg.norm(p["X"], 2)) ** 2 / EXAMPLES,
        "largest eigenvalue of 2 X'X/m",
        "heavy ball",
    ),
    "network": Loss(
        "two-layer tanh network beside its teacher, l2 = {l:.3g}",
        lambda w, p: 0.5 * jnp.mean((_network(w, p["X"]) - p["y"]) ** 2) + _ridge(w, p),
        _draw_network,
        None,
        "",
        "descent",
    ),
}


def checks() -> list[Check]:
    """All checks of regressions, networks and wells of several parameters.

    Returns
    -------
    list
    """
    return [check_of(name, made) for name, made in MODELS.items()]
