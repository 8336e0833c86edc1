"""Which batch comes next, and in what order an epoch sees its examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from gdx.problems.base import Epochs, Problem
from gdx.stepping.state import Orders, TrainState

if TYPE_CHECKING:
    import chex


def batch_of(problem: Problem, state: TrainState) -> Any:
    """Give the batch of this step, None for a problem without batches.

    Parameters
    ----------
    problem, state
        Which problem, and where its run stands.

    Returns
    -------
    Any

    Examples
    --------
    >>> import jax, numpy as np, optax, gdx
    >>> problem = gdx.problems.least_squares(np.eye(4), np.ones(4), batch_size=2)
    >>> state = gdx.train_step(problem, optax.sgd).init(0.1, jax.random.key(0))
    >>> jax.tree.map(np.shape, gdx.stepping.batch_of(problem, state))
    (((2, 4), (2,)), (2,))
    """
    if problem.batches is None or state.key is None:
        return None
    if isinstance(problem.batches, Epochs) and state.orders is not None:
        first_step = state.orders.first_epoch * problem.batches.num_steps
        return problem.batches.read(state.orders.joined, state.step - first_step, state.key, state.step)
    return problem.batches(state.key, state.step)


def reaches(epochs: Epochs, orders: Orders, step: jax.Array, block: int) -> jax.Array:
    """Say whether orders hold the next steps.

    Parameters
    ----------
    epochs, orders
        Of the problem, and what was drawn so far.
    step, block
        Where a run stands, and the steps ahead.

    Returns
    -------
    bool
    """
    first, length = orders.first_epoch, epochs.num_steps
    end = first + _num_epochs(epochs, block)
    return (step // length >= first) & ((step + block - 1) // length < end)


def draw_orders(epochs: Epochs, key: chex.PRNGKey, step: jax.Array, block: int) -> Orders:
    """Draw the orders of all epochs that the next steps touch.

    Parameters
    ----------
    epochs, key
        Of the problem and the run.
    step, block
        Where the run stands, and the steps ahead.

    Returns
    -------
    Orders
    """
    first = step // epochs.num_steps
    ahead = first + jnp.arange(_num_epochs(epochs, block), dtype=jnp.int32)
    orders = jax.vmap(lambda epoch: epochs.order(key, epoch))(ahead)
    return Orders(first, orders.reshape(-1))


def _num_epochs(epochs, block):
    """Epochs that a block of steps may touch, wherever it begins."""
    return 1 - (1 - block) // epochs.num_steps
