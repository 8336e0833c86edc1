"""What is seen of a run: the user's own watchers, and the statistics of a window of its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Bool, Float, Int


class Observer(NamedTuple):
    """A pure triple that watches every step of a run; its summary lands in `Runs.observed`.

    `update` receives the view that stepping shows: the parameters before the step, the loss and the gradient
    there, and the step number.
    """

    init: Callable[[chex.ArrayTree], Any]
    """`init(params) -> state`, a pytree of arrays whose shapes never change."""
    update: Callable[[Any, Any], Any]
    """`update(state, view) -> state`."""
    summarise: Callable[[Any], Any]
    """`summarise(state) -> pytree of arrays`."""


class Window(NamedTuple):
    """One run's record over W consecutive steps, each array [W]."""

    loss: Float[Array, " W"]
    gradient_norm: Float[Array, " W"]
    """NaN throughout where gradients are left out."""
    moved: Float[Array, " W"] | None
    """Largest distance of any parameter from the first step of the window; None where cycles are left out."""
    memory_moved: Float[Array, " W"] | None
    """The same for the optimizer's and the model's state; None where exact repetition cannot be known."""


class TailStatistics(NamedTuple):
    """Statistics of the first steps of a window, up to where the run ended; NaN where it ended before."""

    loss: chex.Array
    """Mean loss."""
    norm_min: chex.Array
    norm_mean: chex.Array
    norm_max: chex.Array
    rate: chex.Array
    """Change of the log of the gradient norm per step, from the means of the window's two halves."""
    loss_rises: chex.Array
    """Steps whose loss rose above the one before by more than rounding, int32."""


def tail_statistics(window: Window, length: Int[Array, ""]) -> TailStatistics:
    """Reduce a window of one run to statistics.

    Parameters
    ----------
    window
        One run's record, arrays [W].
    length
        How many of its steps count, from the first.

    Returns
    -------
    TailStatistics
    """
    size = window.loss.shape[0]
    rows = jnp.arange(size)
    counted = rows < length
    norms = window.gradient_norm

    def mean(values, where):
        number = jnp.sum(where)
        return jnp.sum(jnp.where(where, values, 0)) / jnp.where(number > 0, number, jnp.nan)

    early, late = mean(norms, counted & (2 * rows < size)), mean(norms, counted & (2 * rows >= size))
    eps = 8 * jnp.finfo(window.loss.dtype).eps
    rose = window.loss[1:] - window.loss[:-1] > eps * jnp.abs(window.loss[1:])
    nothing = length < 1
    return TailStatistics(
        loss=mean(window.loss, counted),
        norm_min=jnp.where(nothing, jnp.nan, jnp.min(jnp.where(counted, norms, jnp.inf))),
        norm_mean=mean(norms, counted),
        norm_max=jnp.where(nothing, jnp.nan, jnp.max(jnp.where(counted, norms, -jnp.inf))),
        rate=(jnp.log(late) - jnp.log(early)) * 2 / size,
        loss_rises=jnp.sum(rose & counted[1:], dtype=jnp.int32),
    )


def cycle_period(moved: Float[Array, " W"]) -> Int[Array, ""]:
    """Smallest number of steps after which an orbit comes back, 0 where it does not within the window.

    Coming back means to within the square root of machine precision of the orbit's size, so that no scale is
    assumed. The next step must come back to its own place too: an orbit a, b, a, c has period 4, not 2.

    Parameters
    ----------
    moved
        Distances from the first step of the window, [W].

    Returns
    -------
    int32
    """
    if moved.shape[0] < 4:
        return jnp.zeros((), jnp.int32)
    near = jnp.sqrt(jnp.finfo(moved.dtype).eps) * jnp.max(moved)
    back = (moved[1:-1] <= near) & (jnp.abs(moved[2:] - moved[1]) <= near)
    # A period must be seen twice, or an orbit that passes its start once by chance would count.
    rows = jnp.arange(1, moved.shape[0] - 1)
    twice = jnp.minimum(2 * rows, moved.shape[0] - 1)
    back = back & (2 * rows < moved.shape[0]) & (moved[twice] <= near)
    return _first(back, offset=1)


def exact_repetition(moved: Float[Array, " W"], memory_moved: Float[Array, " W"]) -> Int[Array, ""]:
    """Smallest number of steps after which parameters and state are the same numbers, 0 where there is none.

    From then on nothing new can come. The number is a multiple of the period or, through rounding, unrelated
    to it: use `cycle_period` for the period.

    Parameters
    ----------
    moved, memory_moved
        Distances from the first step of the window, [W].

    Returns
    -------
    int32
    """
    return _first((moved[1:] == 0) & (memory_moved[1:] == 0), offset=1)


def _first(mask: Bool[Array, " W"], offset: int) -> Int[Array, ""]:
    return jnp.where(jnp.any(mask), jnp.argmax(mask) + offset, 0).astype(jnp.int32)
