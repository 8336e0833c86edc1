"""What one run is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import chex
    import jax


class Orders(NamedTuple):
    """The orders of some consecutive epochs, drawn ahead."""

    first_epoch: jax.Array
    """int32."""
    joined: jax.Array
    """End to end, int32 [epochs * L]."""


class TrainState(NamedTuple):
    """Everything one run is made of."""

    hyperparams: Any
    """What the family takes: a step size or a pytree of numbers; never changes."""
    key: chex.PRNGKey | None
    """Draws the batches; None for a problem without batches."""
    params: chex.ArrayTree
    model_state: chex.ArrayTree
    opt_state: chex.ArrayTree
    step: jax.Array
    """Updates made so far, int32."""
    orders: Orders | None = None
    """Of the examples, for a problem with `Epochs`."""


class View(NamedTuple):
    """What a step shows of itself: where it started from."""

    params: chex.ArrayTree
    loss: jax.Array
    gradient: chex.ArrayTree
    step: jax.Array
    search_failed: jax.Array | None = None
    """Whether the optimizer's line search or solver found no step; None for an optimizer without one."""
