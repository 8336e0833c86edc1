"""Runs of optimizers that several checks share: short programs, each compiled once for all rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.stepping import train_step

if TYPE_CHECKING:
    from jaxtyping import Float

WINDOW = 64
"""Steps of a tail."""


def descend(hyperparams: Any) -> Any:
    """Gradient descent at `hyperparams["step_size"]`.

    Parameters
    ----------
    hyperparams
        With a step size.

    Returns
    -------
    optax.GradientTransformation
    """
    import optax

    return optax.sgd(hyperparams["step_size"])


@functools.cache
def _ends(problem, family, num_steps, window):
    step = train_step(problem, family)

    def forward(state, _):
        new, view = step.update(state)
        return new, (view.loss, ravel_pytree(view.gradient)[0], ravel_pytree(view.params)[0])

    def run(hyperparams):
        state = step.init(hyperparams, jax.random.key(0))
        if num_steps > window:
            state = jax.lax.scan(lambda s, _: (step.update(s)[0], None), state, length=num_steps - window)[0]
        return jax.lax.scan(forward, state, length=min(window, num_steps))[1]

    return jax.jit(jax.vmap(run))


def ends(
    problem: Callable, family: Callable, points: dict[str, Any], num_steps: int, window: int = WINDOW
) -> tuple[Float[np.ndarray, "N W"], Float[np.ndarray, "N W D"], Float[np.ndarray, "N W D"]]:
    """Run a family on a problem at every point, and keep the last steps.

    Parameters
    ----------
    problem, family
        Functions of one point's values, defined in a module: the compiled program is kept with them.
    points
        Leaves [N, ...].
    num_steps
        T.
    window
        Steps kept, W; the first of them stands before update T - W.

    Returns
    -------
    losses, gradients, parameters
        Before each of the last W updates.
    """
    found = _ends(problem, family, num_steps, window)(jax.tree.map(jnp.asarray, points))
    losses, gradients, params = (np.asarray(leaf) for leaf in found)
    return losses, gradients, params


def tail_norms(problem: Callable, family: Callable, points: dict[str, Any], num_steps: int) -> Float[np.ndarray, "N W"]:
    """Gradient norms over the tail of every run.

    Parameters
    ----------
    problem, family, points, num_steps
        As in `ends`.

    Returns
    -------
    array
    """
    return np.linalg.norm(ends(problem, family, points, num_steps)[1], axis=-1)


def crossing(
    signal: Callable[[Float[np.ndarray, " N"]], Any], low: Any, high: Any, *, iterations: int = 52
) -> Float[np.ndarray, " N"]:
    """Bisect for where a signal becomes positive, for all rows side by side.

    Parameters
    ----------
    signal
        `signal(values [N]) -> [N]`; a row whose signal is not finite counts as positive.
    low, high
        [N] or numbers, between which the signal changes once.
    iterations
        Halvings.

    Returns
    -------
    array
        NaN where the signal does not change between the ends.
    """
    low, high = (np.array(end, float) for end in np.broadcast_arrays(low, high))

    def is_positive(values):
        values = np.asarray(signal(values))
        return ~np.isfinite(values) | (values > 0)

    changes = ~is_positive(low) & is_positive(high)
    for _ in range(iterations):
        middle = 0.5 * (low + high)
        above = is_positive(middle)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(changes, 0.5 * (low + high), np.nan)
