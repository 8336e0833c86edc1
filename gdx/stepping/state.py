"""What one run is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gdx.records import record

if TYPE_CHECKING:
    import chex
    import jax


@record
class Orders(NamedTuple):
    """The orders of some consecutive epochs, drawn ahead.

    Examples
    --------
    Continues the example of `gdx.stepping.batch_of`.

    >>> int(state.orders.first_epoch), state.orders.joined.shape
    (0, (4,))
    """

    first_epoch: jax.Array
    """int32."""
    joined: jax.Array
    """End to end, int32 [epochs * L]."""


@record
class TrainState(NamedTuple):
    """Everything one run is made of.

    Examples
    --------
    Continues the example of `gdx.train_step`.

    >>> int(state.step), state.params.shape, float(state.hyperparams)
    (100, (), 0.1)
    """

    hyperparams: Any
    """What the family takes: a step size or a pytree of numbers; never changes."""
    key: chex.PRNGKey | None
    """Draws the batches; None for a problem without batches."""
    params: chex.ArrayTree
    """Parameters before the next update."""
    model_state: chex.ArrayTree
    """The model's mutable state, as batch statistics."""
    opt_state: chex.ArrayTree
    """The optimizer's state."""
    step: jax.Array
    """Updates made so far, int32."""
    orders: Orders | None = None
    """Of the examples, for a problem with `Epochs`."""


@record
class View(NamedTuple):
    """What a step shows of itself: where it started from, and what it does there.

    What nobody looks at costs nothing: it is computed anyway, and dropped where it is compiled.

    Examples
    --------
    Continues the example of `gdx.train_step`.

    >>> view.loss.shape, bool(abs(view.update[-1]) < 1e-6)  # of all 100 steps
    ((100,), True)
    """

    params: chex.ArrayTree
    """Parameters that the step starts from."""
    loss: jax.Array
    """There, on the step's batch."""
    gradient: chex.ArrayTree
    """Of that loss there; a pytree as the parameters."""
    step: jax.Array
    """Updates made before, int32."""
    update: chex.ArrayTree
    """What the optimizer adds to the parameters; a pytree as they are."""
    hyperparams: Any
    """What the family was given: a step size or a pytree of numbers."""
    search_failed: jax.Array | None = None
    """Whether the optimizer's line search or solver found no step; None for an optimizer without one."""
    growth: jax.Array | None = None
    """By how much the step stretched tangent vectors, of an observer that asks for k of them, see `Observer.tangents`:
    logarithms [k]; None for all others."""
    horizon: int | None = None
    """The run's, steps, a Python number; None outside of a sweep."""
