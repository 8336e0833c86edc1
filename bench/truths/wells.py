"""Wells of one to nine parameters, smooth and neither quadratics nor factorizations of a number."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from truths.base import Kind, anywhere, bowl


def log_cosh(z):
    """Stable for any z, up to ln 2."""
    return jnp.logaddexp(z, -z) - jnp.log(2.0)


# Wells of one parameter


def _well_exp(x, p):
    return 0.5 * x**2 + p["a"] * jnp.exp(-(x**2) / p["s"])


def _well_log(x, p):
    return 0.5 * x**2 + p["a"] * jnp.log1p(x**2)


def _rippled(x, p):
    return 0.5 * x**2 + p["a"] * jnp.cos(p["k"] * x + p["c"])


def _double_well(x, p):
    return 0.25 * (x**2 - p["a"]) ** 2 + p["t"] * x


def _asymmetric(x, p):
    return jnp.exp(p["a"] * x) - p["b"] * x + 0.05 * x**2


def _hook(x, p):
    return 0.5 * x**2 + p["a"] * x**3 * jnp.exp(-(x**2))


def _root(x, p):
    return jnp.sqrt(1 + x**2) + 0.5 * p["l"] * (x - p["c"]) ** 2


def _cosh_well(x, p):
    return log_cosh(p["a"] * x) + 0.5 * p["l"] * (x - p["c"]) ** 2


def _morse(x, p):
    return (1 - jnp.exp(-p["a"] * x)) ** 2 + 0.5 * p["l"] * x**2


def _one(**ranges):
    def draw(rng, far):
        numbers = {name: rng.uniform(*ends) for name, ends in ranges.items()}
        return anywhere(rng, far), numbers

    return draw


# Wells of several parameters


def _well_many(w, p):
    return 0.5 * w @ p["A"] @ w + p["a"] * jnp.exp(-(w @ w) / p["s"])


def _draw_well_many(rng, far):
    d = int(rng.choice([2, 3, 6]))
    return anywhere(rng, far, d), {"A": bowl(rng, d), "a": rng.uniform(0.3, 3), "s": rng.uniform(0.5, 3)}


def _round_well(w, p):
    r = w @ w
    return 0.5 * r + p["a"] * jnp.exp(-r / p["s"])


def _draw_round_well(rng, far):
    return anywhere(rng, far, 3), {"a": rng.uniform(1, 3), "s": rng.uniform(0.5, 1.0)}


def _quartic(w, p):
    y = w - p["c"]
    return 0.5 * y @ p["A"] @ y + jnp.einsum("ijk,i,j,k", p["T"], y, y, y) + jnp.sum((p["B"] @ y) ** 4)


def _draw_quartic(rng, far):
    d = int(rng.choice([2, 4]))
    c = rng.normal(size=d)
    numbers = {
        "A": bowl(rng, d, 0.5, 2.0),
        "T": rng.uniform(0, 0.15) * rng.normal(size=(d, d, d)),
        "B": rng.uniform(0.3, 0.8) * rng.normal(size=(d + 1, d)),
        "c": c,
    }
    return c + 0.7 * anywhere(rng, far, d), numbers


def _chain(x, p):
    """Springs between neighbours, the ends held."""
    r = jnp.diff(jnp.concatenate([jnp.zeros(1), x, jnp.zeros(1)]))
    return jnp.sum(0.5 * p["k"] * r**2 + p["a"] * r**3 / 3 + p["b"] * r**4 / 4)


def _draw_chain(rng, far):
    d = 5
    numbers = {"k": rng.uniform(0.5, 1.5, size=d + 1), "a": rng.uniform(-0.4, 0.4), "b": rng.uniform(0.1, 0.6)}
    return 0.7 * anywhere(rng, far, d), numbers


def _valley(w, p):
    return 0.5 * (w[0] - p["c"]) ** 2 + 0.5 * p["b"] * (w[1] - w[0] ** 2) ** 2


def _draw_valley(rng, far):
    # A minimum that floating point can hit exactly would hold runs that it repels.
    c = rng.uniform(0.5, 1.5)
    return np.array([c, c**2]) + 0.3 * far * rng.normal(size=2), {"b": rng.uniform(1, 10), "c": c}


def _rayleigh(w, p):
    r = w @ w
    return 0.5 * (w @ p["A"] @ w) / r + p["q"] * (r - 1) ** 2


def _draw_rayleigh(rng, far):
    w = rng.normal(size=4)
    return w / np.linalg.norm(w) * rng.uniform(0.6, 1 + 0.3 * far), {
        "A": bowl(rng, 4, 0.3, 4),
        "q": rng.uniform(0.1, 1),
    }


def _barrier(w, p):
    slack = 1 - p["A"] @ w
    return p["c"] @ w - p["m"] * jnp.sum(jnp.log(slack))


def _draw_barrier(rng, far):
    d = 3
    sides = np.concatenate([np.eye(d), -np.eye(d), 0.5 * rng.normal(size=(2, d))])
    start = rng.uniform(-1, 1, size=d) * min(0.25 * far, 0.7) / 1.5
    return start, {"A": sides, "c": rng.normal(size=d), "m": rng.uniform(0.2, 1)}


def _matrix_root(w, p):
    w = w.reshape(p["M"].shape)
    return 0.25 * jnp.sum((w @ w - p["M"]) ** 2)


def _draw_matrix_root(rng, far):
    root = bowl(rng, 3, 0.6, 1.6)
    return (root + 0.15 * far * rng.normal(size=(3, 3))).ravel(), {"M": root @ root}


def _symmetric_factor(w, p):
    w = w.reshape(3, 2)
    return 0.25 * jnp.sum((w @ w.T - p["M"]) ** 2)


def _draw_symmetric_factor(rng, far):
    u = rng.normal(size=(3, 2))
    return (u + 0.2 * far * rng.normal(size=(3, 2))).ravel(), {"M": u @ u.T}


WELLS = {
    "well-exp": Kind(_well_exp, _one(a=(0.2, 3), s=(0.3, 2))),
    "well-log": Kind(_well_log, _one(a=(0.2, 3))),
    "well-rippled": Kind(_rippled, _one(a=(0.02, 0.4), k=(1, 4), c=(-3, 3))),
    "double-well": Kind(_double_well, _one(a=(0.5, 2), t=(-0.3, 0.3))),
    "well-asymmetric": Kind(_asymmetric, _one(a=(0.5, 2), b=(0.3, 3))),
    "well-hook": Kind(_hook, _one(a=(-0.8, 0.8))),
    "well-root": Kind(_root, _one(l=(0.02, 1), c=(-2, 2))),
    "well-cosh": Kind(_cosh_well, _one(a=(0.5, 3), l=(0.02, 1), c=(-2, 2))),
    "well-morse": Kind(_morse, _one(a=(0.3, 1.5), l=(0.05, 1))),
    "wells": Kind(_well_many, _draw_well_many),
    "round-well": Kind(_round_well, _draw_round_well),
    "quartic": Kind(_quartic, _draw_quartic),
    "springs": Kind(_chain, _draw_chain),
    "curved-valley": Kind(_valley, _draw_valley),
    "rayleigh": Kind(_rayleigh, _draw_rayleigh),
    "barrier": Kind(_barrier, _draw_barrier),
    "matrix-root": Kind(_matrix_root, _draw_matrix_root),
    "symmetric-factor": Kind(_symmetric_factor, _draw_symmetric_factor),
}
