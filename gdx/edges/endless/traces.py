"""What was seen of a few runs at every step, and which of them met a criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.stepping import TrainState
from gdx.sweeps.state import BLOW_UP_FACTOR, TAIL, is_bad, loss_bound

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

WINDOW = 64
"""Steps over which a run that goes on moving is averaged."""
BLOCKS = 8
"""Blocks of that length, spread over the second half of a run, that are compared with each other."""
STATIONARY = 1e-9
"""Largest relative change between those blocks, and from a step to the one after next, of a cycle of two."""
PARTS, CLIMB = 4, 1.01
"""Parts of the second half of a run, each of which a growing norm leaves this many times larger than the last."""
VISIBLE = 1e-9
"""Smallest gradient norm of a cycle, relative to the first."""
STRETCHES, LEVEL = 8, 0.1
"""Stretches of the second half of a run that wanders, and the share of the largest of their gradient norms that all of
them reach."""


class Traces(NamedTuple):
    """What was seen of runs at `step_sizes`, ascending or not."""

    step_sizes: Float[np.ndarray, " S"]
    norms: Float[np.ndarray, "T S"]
    """Gradient norms."""
    changes: Float[np.ndarray, "T S"]
    """Logarithm of the norm of the gradient's change since the last step; -inf at the first step."""
    losses: Float[np.ndarray, "2 S"]
    """First and last."""
    lost: Bool[np.ndarray, " S"]
    """Whether the loss was not finite at any step, which ends a run of a sweep. A run that passes the bound of blow-up
    and comes back is not lost: the sweep ends it too, but an endless run knows no bound, so that two roads disagree."""
    states: TrainState
    """At the end, leaves [S, ...]."""
    tail: int = TAIL
    """Steps over which a gradient norm has to stay below the tolerance, as in the sweep."""
    blow_up_factor: float = BLOW_UP_FACTOR
    """As in the sweep."""

    @property
    def first_loss(self) -> Float[np.ndarray, " S"]:
        """At the start."""
        return self.losses[0]

    @property
    def loss_bound(self) -> Float[np.ndarray, " S"]:
        """As among the facts of a sweep."""
        return np.asarray(loss_bound(self.first_loss, self.blow_up_factor))

    @property
    def escaped(self) -> Bool[np.ndarray, " S"]:
        """Whether a run was no longer finite at some step, or its loss beyond the blow-up bound at the end."""
        return ~np.isfinite(self.norms[-1]) | self.lost | is_bad(self.losses[1], self)

    def arrived(self, tolerance: float) -> Bool[np.ndarray, " S"]:
        """Say which runs kept their gradient norm at or below the tolerance over the whole tail.

        Parameters
        ----------
        tolerance
            Relative to the first gradient norm.

        Returns
        -------
        array
        """
        with np.errstate(invalid="ignore"):
            return ~self.escaped & ~self.grows & (np.max(self.norms[-self.tail :], axis=0) <= tolerance * self.norms[0])

    @property
    def grows(self) -> Bool[np.ndarray, " S"]:
        """Whether the gradient norm climbs all through the second half of a run.

        Just above an edge a run may come very close to a minimum, and stay there for as long as its one unstable
        direction takes to grow.
        """
        half = self.norms[self.norms.shape[0] // 2 :]
        if half.shape[0] < PARTS:
            return np.zeros(self.step_sizes.size, bool)
        parts = np.array_split(half, PARTS)
        with np.errstate(invalid="ignore"):
            largest = np.stack([np.max(part, axis=0) for part in parts])
            return np.all(largest[1:] > CLIMB * largest[:-1], axis=0)

    @property
    def cycles(self) -> Bool[np.ndarray, " S"]:
        """Whether the gradient norm came back every two steps and no longer drifted, above zero."""
        num_steps = self.norms.shape[0]
        if num_steps < 4 * WINDOW:
            return np.zeros(self.step_sizes.size, bool)
        ends = np.linspace(num_steps // 2, num_steps, BLOCKS).astype(int)
        with np.errstate(invalid="ignore", over="ignore"):
            means = np.stack([np.mean(self.norms[end - WINDOW : end] ** 2, axis=0) for end in ends[-BLOCKS // 2 :]])
            last = self.norms[-WINDOW:] ** 2
            drift = np.max(np.abs(means - means[-1]), axis=0)
            flutter = np.max(np.abs(last[2:] - last[:-2]), axis=0)
            # Runs at rest at the level of rounding repeat as well.
            visible = means[-1] > VISIBLE**2 * self.norms[0] ** 2
            return ~self.escaped & visible & (np.maximum(drift, flutter) <= STATIONARY * means[-1])

    @property
    def wanders(self) -> Bool[np.ndarray, " S"]:
        """Whether the gradient norm stayed up all through the second half of a run, with no trend in it.

        So do cycles of any length, orbits that never close, and chaos; what lingers near the boundary of a basin may
        seem to, and goes on to fall or to grow later.
        """
        half = self.norms[self.norms.shape[0] // 2 :]
        if half.shape[0] < STRETCHES * WINDOW:
            return np.zeros(self.step_sizes.size, bool)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            largest = np.stack([np.max(part, axis=0) for part in np.array_split(half, STRETCHES)])
            change = np.diff(np.log(largest), axis=0)
            has_trend = np.all(change < -STATIONARY, axis=0) | np.all(change > STATIONARY, axis=0)
            is_level = np.min(largest, axis=0) >= LEVEL * np.max(largest, axis=0)
            return ~self.escaped & is_level & ~has_trend & (largest[-1] > VISIBLE * self.norms[0])

    @property
    def levels(self) -> Float[np.ndarray, " S"]:
        """Mean of the squared gradient norm at the end."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.mean(self.norms[-WINDOW:] ** 2, axis=0)


class Sides(NamedTuple):
    """Which runs certainly meet a criterion, and which certainly fail it; the others are undecided."""

    criterion: str
    """"converged", "stable" or "bounded"."""
    tolerance: float
    """Of convergence, relative to the first gradient norm."""

    def met(self, traces: Traces) -> Bool[np.ndarray, " S"]:
        """Say which runs meet it.

        Parameters
        ----------
        traces
            Of runs [S].

        Returns
        -------
        array
        """
        return ~traces.escaped if self.criterion == "bounded" else traces.arrived(self.tolerance)

    def failed(self, traces: Traces) -> Bool[np.ndarray, " S"]:
        """Say which runs certainly fail it: they escaped, or went on cycling or wandering away from a minimum.

        Parameters
        ----------
        traces
            Of runs [S].

        Returns
        -------
        array
        """
        if self.criterion == "bounded":
            return traces.escaped
        return traces.escaped | ((traces.cycles | traces.wanders) & ~traces.arrived(self.tolerance))
