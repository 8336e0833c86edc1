"""Every optimizer of gdx's own by its name in the catalogue, with its numbers and the textbook's formula in NumPy.

A reference is an endless generator of iterates: it takes a `Landscape`, the start and the row's numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import gdx


class Landscape(NamedTuple):
    """A loss of D numbers, once in JAX and thrice in NumPy."""

    loss: Callable
    value: Callable
    gradient: Callable
    hessian: Callable


class Row(NamedTuple):
    """An optimizer, called as `make(**numbers)`."""

    make: Callable
    numbers: dict[str, float]
    """Each of them changes the iterates when it changes."""
    reference: Callable
    landscape: Landscape
    takes_schedule: bool = True
    """Whether the step size may be a schedule; a search's first trial is none."""


RNG = np.random.default_rng(0)
START = RNG.normal(size=6)
BLOCKS = (slice(0, 4), slice(4, 5), slice(5, 6))
"""Of the nested parameters that `nest` makes."""
EPS = np.finfo(float).eps


def nest(vector):
    """A nested pytree with a matrix, a number and a vector, in the order of their blocks."""
    return {"a": {"matrix": vector[:4].reshape(2, 2)}, "b": (vector[4].reshape(()), vector[5:])}


def flatten(params):
    number, vector = params["b"]
    return jnp.concatenate([params["a"]["matrix"].ravel(), number.reshape(1), vector])


def logistic():
    features, labels, ridge = 2 * RNG.normal(size=(12, 6)), RNG.integers(0, 2, size=12), 0.1

    def loss(params):
        x = flatten(params)
        margins = jnp.asarray(features, x.dtype) @ x
        return jnp.sum(jnp.logaddexp(0.0, margins) - jnp.asarray(labels, x.dtype) * margins) + 0.5 * ridge * x @ x

    def value(x):
        return np.sum(np.logaddexp(0.0, features @ x) - labels * (features @ x)) + 0.5 * ridge * x @ x

    def gradient(x):
        return features.T @ (1 / (1 + np.exp(-features @ x)) - labels) + ridge * x

    def hessian(x):
        chances = 1 / (1 + np.exp(-features @ x))
        return features.T @ np.diag(chances * (1 - chances)) @ features + ridge * np.eye(6)

    return Landscape(loss, value, gradient, hessian)


def quadratic(slope=1.0):
    root, shift = RNG.normal(size=(6, 6)), slope * RNG.normal(size=6)
    matrix = root @ root.T / 6 + np.eye(6)

    def loss(params):
        x = flatten(params)
        return 0.5 * x @ (jnp.asarray(matrix, x.dtype) @ x) - jnp.asarray(shift, x.dtype) @ x

    return Landscape(loss, lambda x: 0.5 * x @ matrix @ x - shift @ x, lambda x: matrix @ x - shift, lambda x: matrix)


def averaged(f, x, step_size, momentum, debias=False):
    mean, total = 0.0, 0.0
    while True:
        mean = momentum * mean + (1 - momentum) * f.gradient(x)
        total = momentum * total + (1 - momentum)
        x = x - step_size * mean / (total if debias else 1.0)
        yield x


def adagrad(f, x, step_size, eps):
    total = 0.0
    while True:
        g = f.gradient(x)
        total = total + g**2
        x = x - step_size * g / (np.sqrt(total) + eps)
        yield x


def adadelta(f, x, step_size, rho, eps):
    gradients, moves = 0.0, 0.0
    while True:
        g = f.gradient(x)
        gradients = rho * gradients + (1 - rho) * g**2
        move = (np.sqrt(moves) + eps) / (np.sqrt(gradients) + eps) * g
        moves = rho * moves + (1 - rho) * move**2
        x = x - step_size * move
        yield x


def rmsprop(f, x, step_size, decay, eps):
    mean = 0.0
    while True:
        g = f.gradient(x)
        mean = decay * mean + (1 - decay) * g**2
        x = x - step_size * g / (np.sqrt(mean) + eps)
        yield x


def nesterov(f, x, step_size, momentum):
    velocity = 0.0
    while True:
        velocity = momentum * velocity - step_size * f.gradient(x + momentum * velocity)
        x = x + velocity
        yield x


def newton_direction(f, x, damping, floor):
    values, vectors = np.linalg.eigh(f.hessian(x))
    sizes = np.maximum(abs(values), floor * abs(values).max()) + damping
    return vectors @ (vectors.T @ f.gradient(x) / sizes)


def newton_steps(f, x, step_size, damping, floor):
    while True:
        x = x - step_size * newton_direction(f, x, damping, floor)
        yield x


def damped_newton_steps(f, x, step_size, damping, floor, slope_rtol):
    while True:
        move = -step_size * newton_direction(f, x, damping, floor)
        value, slope, share = f.value(x), f.gradient(x) @ move, 1.0
        while f.value(x + share * move) > value + slope_rtol * share * slope + 4 * EPS * abs(value):
            share /= 2
        x = x + share * move
        yield x


def newton_cg_steps(f, x, step_size, rtol, damping):
    first = np.linalg.norm(f.gradient(x))
    while True:
        g, matrix = f.gradient(x), f.hessian(x) + damping * np.eye(x.size)
        tolerance = min(rtol, np.linalg.norm(g) / first) * np.linalg.norm(g)
        solution, residual, direction, count = 0 * g, g, g, 0
        while np.linalg.norm(residual) > tolerance and count < 100:
            image, before, count = matrix @ direction, residual @ residual, count + 1
            length = before / (direction @ image)
            solution, residual = solution + length * direction, residual - length * image
            direction = residual + (residual @ residual / before) * direction
        x = x - step_size * solution
        yield x


def cyclic_exact(f, x, step_size):
    while True:
        for i in range(x.size):
            x = x - step_size * f.gradient(x)[i] / f.hessian(x)[i, i] * np.eye(x.size)[i]
            yield x


def greedy_lipschitz(f, x, step_size, lipschitz):
    while True:
        i = np.argmax(abs(f.gradient(x)))
        x = x - step_size * f.gradient(x)[i] / lipschitz * np.eye(x.size)[i]
        yield x


def cyclic_blocks(f, x, step_size):
    while True:
        for block in BLOCKS:
            g = np.zeros_like(x)
            g[block] = f.gradient(x)[block]
            x = x - step_size * (g @ g) / (g @ f.hessian(x) @ g) * g
            yield x


def steepest(f, x, step_size):
    while True:
        g = f.gradient(x)
        x = x - step_size * (g @ g) / (g @ f.hessian(x) @ g) * g
        yield x


def searched(f, x, step_size, accepts):
    """On a parabola the trial after one that is refused is its minimum."""
    while True:
        g = f.gradient(x)
        slope, least = -g @ g, (g @ g) / (g @ f.hessian(x) @ g)
        if not accepts(f.value(x - step_size * g) - f.value(x), slope, step_size, -g @ f.gradient(x - step_size * g)):
            step_size = least
        x = x - step_size * g
        yield x


def goldstein_steps(f, x, step_size, c):
    def accepts(change, slope, step, _):
        return (1 - c) * step * slope <= change <= c * step * slope

    return searched(f, x, step_size, accepts)


def wolfe_steps(f, x, step_size, c1, c2):
    def accepts(change, slope, step, slope_there):
        return change <= c1 * step * slope and slope_there >= c2 * slope

    return searched(f, x, step_size, accepts)


LOGISTIC, QUADRATIC = logistic(), quadratic()
# A search by values alone sees no finer than the loss's rounding, which is relative to 0 here.
BOWL = quadratic(slope=0.0)

CATALOGUE = gdx.optimizers.catalogue()


def row(name, *rest):
    if name not in CATALOGUE:
        raise ValueError(f"tests/own_optimizers.py: {name!r} has no row in gdx/optimizers/table.py; add one")
    return Row(CATALOGUE[name].make, *rest)


OWN_OPTIMIZERS = {
    name: row(name, *rest)
    for name, *rest in [
        ("ema-momentum", {"step_size": 0.05, "momentum": 0.8}, averaged, LOGISTIC),
        (
            "ema-momentum-debiased",
            {"step_size": 0.05, "momentum": 0.8},
            lambda f, x, **h: averaged(f, x, debias=True, **h),
            LOGISTIC,
        ),
        ("adagrad-textbook", {"step_size": 0.3, "eps": 1e-3}, adagrad, LOGISTIC),
        ("adadelta-textbook", {"step_size": 1.0, "rho": 0.8, "eps": 1e-3}, adadelta, LOGISTIC),
        ("rmsprop-textbook", {"step_size": 0.004, "decay": 0.95, "eps": 1e-3}, rmsprop, LOGISTIC),
        ("nesterov-lookahead", {"step_size": 0.02, "momentum": 0.8}, nesterov, LOGISTIC),
        ("newton", {"step_size": 0.7, "damping": 0.05, "floor": 0.1}, newton_steps, LOGISTIC),
        (
            "damped-newton",
            {"step_size": 4.0, "damping": 0.5, "floor": 0.7, "slope_rtol": 0.4},
            damped_newton_steps,
            LOGISTIC,
        ),
        ("newton-cg", {"step_size": 0.7, "rtol": 0.3, "damping": 0.05}, newton_cg_steps, LOGISTIC),
        ("steepest-descent", {"step_size": 0.8}, steepest, QUADRATIC),
        ("goldstein", {"step_size": 0.2, "c": 0.2}, goldstein_steps, BOWL, False),
        ("wolfe", {"step_size": 0.2, "c1": 0.3, "c2": 0.7}, wolfe_steps, BOWL, False),
        ("coordinate-descent", {"step_size": 1.2}, cyclic_exact, QUADRATIC),
        ("greedy-coordinate-descent", {"step_size": 0.9, "lipschitz": 30.0}, greedy_lipschitz, LOGISTIC),
        ("block-coordinate-descent", {"step_size": 0.8}, cyclic_blocks, QUADRATIC),
    ]
}
