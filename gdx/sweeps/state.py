"""What the engine holds while it runs: slots under way, a queue before them, a log behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from gdx.observers import Observer
from gdx.stepping import TrainState
from gdx.sweeps.runs import Runs, Stopping
from gdx.sweeps.sizing import Blocks

if TYPE_CHECKING:
    import chex
    import numpy as np

    from gdx.sweeps.runs import Fact


TAIL, BLOW_UP_FACTOR = 64, 1e12
"""Where nobody says otherwise: the window that verdicts are about, steps, and how far a loss may rise, in units of the
first."""
SEARCH_FAILURES = "search failures"
"""Name of the observer behind the fact, among the user's own, which are identifiers."""
TANGENTS = "tangent vectors"
"""Where those that observers ask for stand beside their states."""


class Settings(NamedTuple):
    """Static choices of a sweep."""

    blocks: Blocks
    slots: int
    tolerance: float
    blow_up_factor: float
    stopping: Stopping
    gradients: bool
    cycles: bool
    evaluate_every: int
    is_apart: bool
    """Whether verdicts are about another loss than the one that is trained on."""
    observers: Mapping[str, Observer]
    frozen: Any = None
    """Parameters that never move, as `gdx.stepping.frozen_params` gives them; gradient norms leave them out."""

    @property
    def ends_at_first_bad(self) -> bool:
        """Whether a run ends at its first bad step, so that what comes after it must not be looked at."""
        return self.stopping.nonfinite and self.stopping.blow_up


class Peaks(NamedTuple):
    """The largest gradient norm of each window so far, and the smallest loss of the last, leaves [B]."""

    lowest: jax.Array
    highest: jax.Array
    streak: jax.Array
    """Windows in a row that set a new low (counted negative) or a new high (positive), int32."""
    previous: jax.Array
    """Of the last window."""
    low: jax.Array
    """Smallest loss of the last window."""


class Slots(NamedTuple):
    """B lanes under way, leaves [B, ...]."""

    lane: jax.Array
    """Number of the lane in the queue's count, -1 for a free slot."""
    train: TrainState
    facts: Runs
    peaks: Peaks
    late_total: jax.Array
    """Sum of the training losses over the blocks, so far, that touch the last tenth of the horizon."""
    watched: dict[str, Any]
    """Observers' states, and the tangent vectors that they share."""


class Queue(NamedTuple):
    """Waiting lanes, leaves [Q, ...]; rows from `length` on are padding."""

    lane: jax.Array
    hyperparams: Any
    key: chex.PRNGKey
    length: jax.Array | np.ndarray
    is_last: jax.Array | np.ndarray
    """Whether nothing waits behind this queue."""


class Log(NamedTuple):
    """Facts of lanes that have left, in the order of leaving, leaves [C, ...]."""

    lane: jax.Array
    facts: Runs
    filled: jax.Array | np.ndarray


class Bounded(Protocol):
    """Whatever knows how a run began, and how far it may go."""

    @property
    def first_loss(self) -> Fact: ...  # noqa: D102

    @property
    def loss_bound(self) -> Fact: ...  # noqa: D102


def loss_bound(first_loss: Fact, blow_up_factor: float) -> jax.Array:
    """Give the distance from the first loss beyond which a run has blown up.

    Parameters
    ----------
    first_loss
        Of one run or of many.
    blow_up_factor
        As in `sweep`.

    Returns
    -------
    number or array
    """
    # Raising to 1 copes with losses that start at 0; it can only delay the bound, never bring it forward.
    # At most a quarter of what can be written, so that an infinite loss is always beyond it.
    largest = jnp.finfo(first_loss.dtype).max / 4
    return jnp.minimum(blow_up_factor * jnp.maximum(jnp.abs(first_loss), 1), largest).astype(first_loss.dtype)


def is_bad(loss: Fact, facts: Bounded) -> Any:
    """Say whether a loss is not finite or beyond the run's bound.

    Parameters
    ----------
    loss, facts
        Of one run or of many.

    Returns
    -------
    bool array
    """
    lower, upper = bounds(facts)
    # An infinite loss fails the comparison as NaN does.
    return ~((loss <= upper) & (loss >= lower))


def bounds(facts: Bounded) -> tuple[Any, Any]:
    """Give the losses between which a run has not blown up: a fall is none, unless it goes as far below zero.

    Parameters
    ----------
    facts
        Of one run or of many.

    Returns
    -------
    lower, upper
    """
    return -abs(facts.first_loss) - facts.loss_bound, facts.first_loss + facts.loss_bound
