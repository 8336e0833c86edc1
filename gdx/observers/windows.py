"""Statistics of a window of steps: how its losses and gradients went, and whether the orbit came back in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gdx.records import record

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


@record
class Window(NamedTuple):
    """One run's record over W consecutive steps, each array [W].

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> norms = 0.5 ** jnp.arange(8.0)
    >>> window = gdx.observers.Window(loss=norms**2, gradient_norm=norms, moved=None, memory_moved=None)
    >>> window.loss.shape
    (8,)
    """

    loss: Float[Array, " W"]
    """What verdicts are about."""
    gradient_norm: Float[Array, " W"]
    """NaN throughout where gradients are left out."""
    moved: Float[Array, " W"] | None
    """Largest distance of any parameter from the first step of the window; None where cycles are left out."""
    memory_moved: Float[Array, " W"] | None
    """The same for the optimizer's and the model's state; None where exact repetition cannot be known."""


@record
class TailStatistics(NamedTuple):
    """Statistics of a window.

    Examples
    --------
    Continues the example of `gdx.observers.Window`.

    >>> statistics = gdx.observers.tail_statistics(window)
    >>> round(float(statistics.rate), 3), int(statistics.loss_rises)  # log(0.5) a step
    (-0.693, 0)
    """

    loss: jax.Array
    """Mean loss."""
    norm_min: jax.Array
    """Smallest gradient norm."""
    norm_mean: jax.Array
    """Mean gradient norm."""
    norm_max: jax.Array
    """Largest gradient norm."""
    rate: jax.Array
    """Change of the log of the gradient norm per step, from the means of the window's two halves."""
    loss_rises: jax.Array
    """Steps whose loss rose above the one before by more than rounding, int32."""


def tail_statistics(window: Window) -> TailStatistics:
    """Reduce a window of one run to statistics; values that are not finite come through.

    Parameters
    ----------
    window
        One run's record, arrays [W].

    Returns
    -------
    TailStatistics

    Examples
    --------
    Continues the example of `gdx.observers.Window`.

    >>> float(gdx.observers.tail_statistics(window).norm_max)
    1.0
    """
    losses, norms = window.loss, window.gradient_norm
    size = losses.shape[0]
    half = size // 2
    early, late = jnp.sum(norms[:half]), jnp.sum(norms[half:])
    eps = 8 * jnp.finfo(losses.dtype).eps
    rose = losses[1:] - losses[:-1] > eps * jnp.abs(losses[1:])
    ratio = (late * max(half, 1)) / (early * (size - half))
    return TailStatistics(
        loss=jnp.mean(losses),
        norm_min=jnp.min(norms),
        norm_mean=(early + late) / size,
        norm_max=jnp.max(norms),
        rate=jnp.log(ratio) * 2 / size,
        loss_rises=jnp.sum(rose, dtype=jnp.int32),
    )


def cycle_period(moved: Float[Array, " W"]) -> Int[Array, ""]:
    """Smallest number of steps after which an orbit comes back, 0 where it does not twice within the window.

    Coming back means to within the square root of machine precision of the orbit's size, so that no scale is
    assumed. The step after must come back to its own place too: an orbit a, b, a, c has period 4, not 2. Nor is
    an orbit of period 2 that still settles near a doubling one of period 4, though it comes back better after 4 steps
    than after 2: it must do so by as much more closely than after a half or a third of the period.

    Parameters
    ----------
    moved
        Distances from the first step of the window, [W].

    Returns
    -------
    int32

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> int(gdx.observers.cycle_period(jnp.tile(jnp.array([0.0, 2.0, 1.0]), 5)))
    3
    """
    half = (moved.shape[0] - 1) // 2
    near = jnp.sqrt(jnp.finfo(moved.dtype).eps) * jnp.max(moved)
    once, twice, after = moved[1 : half + 1], moved[2 : 2 * half + 1 : 2], moved[2 : half + 2]
    back = (once <= near) & (twice <= near) & (jnp.abs(after - moved[min(1, half)]) <= near)
    period = _first(back)
    # Half of it is what a doubling, a third what a tripling would have come from; there the orbit must be apart.
    parts = [jnp.where(period % part == 0, moved[period // part], jnp.inf) for part in (2, 3)]
    before = jnp.where(period > 3, jnp.minimum(*parts), jnp.inf)
    has_settled = moved[period] <= jnp.minimum(near, jnp.sqrt(jnp.finfo(moved.dtype).eps) * before)
    return jnp.where(has_settled, period, 0)


def near_period(moved: Float[Array, " W"]) -> Int[Array, ""]:
    """Number of steps, 1, 2 or 4, after which an orbit nearly comes back throughout the window, 0 where it does not.

    Such an orbit is a cycle that has not come to rest yet, or an oscillation that fades or grows slowly: too regular to
    be called aperiodic, too early to be called periodic. Nearly means to within a twentieth of the orbit's size.

    Parameters
    ----------
    moved
        Distances from the first step of the window, [W].

    Returns
    -------
    int32

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> steps = jnp.arange(32)
    >>> int(gdx.observers.near_period((steps % 2) * 0.999**steps))  # fades
    2
    """
    near = 0.05 * jnp.max(moved)
    found = jnp.zeros((), jnp.int32)
    for lag in (4, 2, 1):
        if lag < moved.shape[0]:
            found = jnp.where(jnp.max(jnp.abs(moved[lag:] - moved[:-lag])) <= near, lag, found)
    return found


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

    Examples
    --------
    >>> import jax.numpy as jnp, gdx
    >>> orbit = jnp.tile(jnp.array([0.0, 1.0]), 4)
    >>> int(gdx.observers.exact_repetition(orbit, jnp.zeros(8)))
    2
    """
    return _first((moved[1:] == 0) & (memory_moved[1:] == 0))


def _first(mask: Bool[Array, " P"]) -> Int[Array, ""]:
    """Position of the first true entry counted from 1, 0 where there is none; argmax would be five times slower."""
    rows = jnp.arange(1, mask.shape[0] + 1, dtype=jnp.int32)
    never = jnp.int32(mask.shape[0] + 1)
    first = jnp.min(jnp.where(mask, rows, never), initial=never)
    return jnp.where(first == never, 0, first)
