"""A step as a linear map at one place, and the places that a step leaves as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.edges.endless.probing import Probe, coarsest_eps
from gdx.stepping import TrainState

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

MAX_NEWTON = 30
TANGENT_COST = 2
"""Gradients that the derivative of a step in one direction is counted as."""
RANK = 1e-10
"""Singular values of the linearised step minus one, relative, below which a direction is flat."""
AT_REST = 1e-11
"""Largest change by one step, relative to the run's own scale, of what is at rest."""
ROUNDING = 16
"""Units of rounding of the narrowest leaf that such a change may be as well."""
NOTHING, EMPTY = 1e-20, 1e-30
"""What counts as 0 in a memory, and what stands for it: the root of an empty second moment has no derivative, though
nothing hangs on it."""


class Rest(NamedTuple):
    """A place that a step leaves as it is."""

    place: Float[np.ndarray, " n"]
    changed: Float[np.ndarray, " n"]
    """What a step still changes there."""
    jacobian: Float[np.ndarray, "n n"]
    moved: float
    """Distance from where the search began."""

    @property
    def correction(self) -> Float[np.ndarray, " n"]:
        """Newton's next step, which the place is as uncertain as."""
        return newton_step(self.jacobian, self.changed)


class Linearised:
    """A period of steps of one problem and family as a map of one vector: parameters, model state and memory.

    What a step never changes (data that travels in the state, frozen leaves) and what is no floating number (step
    counts, keys) is left out.
    """

    def __init__(self, probe: Probe, start: TrainState, end: TrainState):
        self._probe, self._template, self.period = probe, end, probe.period
        self.eps = coarsest_eps(end)
        # A memory may be empty at both ends of a run, or of a period, but not after the first step.
        later = (probe.flow(start, count) for count in (1, probe.period))
        places = zip(*(_parts(state) for state in (start, *later, end)), strict=True)
        self._moves = tuple(
            jnp.issubdtype(first.dtype, jnp.floating)
            and any(np.any(np.asarray(other) != np.asarray(first)) for other in others)
            for first, *others in places
        )
        self._is_memory = np.concatenate(
            [
                np.full(leaf.size, memory)
                for part, memory in ((end.params, False), (end.model_state, False), (end.opt_state, True))
                for leaf in jax.tree.leaves(part)
            ]
        )[np.repeat(self._moves, [leaf.size for leaf in _parts(end)])]
        self.scale = max(float(np.linalg.norm(self.vector(state))) for state in (start, end))
        self.size = sum(leaf.size for leaf, moves in zip(_parts(end), self._moves, strict=True) if moves)
        key = "linearised", self._moves, probe.period
        if key not in probe.compiled:
            probe.compiled[key] = _with_derivative(probe, self._moves)
        self._both: Callable[..., Any] = probe.compiled[key]

    def vector(self, state: TrainState) -> Float[np.ndarray, " n"]:
        """Give a state as a vector.

        Parameters
        ----------
        state
            Of one run.

        Returns
        -------
        array
        """
        pairs = zip(_parts(state), self._moves, strict=True)
        return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf, moves in pairs if moves])

    def at(self, z: Any, step_size: float) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
        """Give what one step changes, and the derivative of where it leads.

        Parameters
        ----------
        z, step_size
            The place and the step size.

        Returns
        -------
        array [n], array [n, n]
        """
        z = np.where(self._is_memory & (np.abs(z) < NOTHING), EMPTY, z)
        self._probe.num_single += TANGENT_COST * self.size * self.period
        changed, jacobian = self._both(jnp.asarray(z), self._probe.hyperparams(step_size), self._template)
        return np.asarray(changed), np.asarray(jacobian)

    def halves(self, start: TrainState, step_size: float, num_steps: int) -> tuple[Any, Any]:
        """Run a start and see where it is after half of the steps and after all.

        Parameters
        ----------
        start, step_size, num_steps
            Of the run.

        Returns
        -------
        array [n], array [n]
        """
        half = num_steps // 2 - num_steps // 2 % self._probe.period
        self._probe.num_runs += 1
        middle = self._probe.flow(start._replace(hyperparams=self._probe.hyperparams(step_size)), half)
        return self.vector(middle), self.vector(self._probe.flow(middle, half))


def _with_derivative(probe, moves):
    """`(z, hyperparams, template) -> (what a period of steps changes, derivative of where it leads)`, compiled."""

    def lead(z, hyperparams, template):
        leaves, structure = jax.tree.flatten((template.params, template.model_state, template.opt_state))
        place, filled = 0, []
        for leaf, is_moved in zip(leaves, moves, strict=True):
            if is_moved:
                filled.append(z[place : place + leaf.size].reshape(leaf.shape).astype(leaf.dtype))
                place += leaf.size
            else:
                filled.append(leaf)
        params, model_state, opt_state = structure.unflatten(filled)
        state = template._replace(hyperparams=hyperparams, params=params, model_state=model_state, opt_state=opt_state)
        new = zip(_parts(probe.advance(state)), moves, strict=True)
        return jnp.concatenate([jnp.ravel(leaf).astype(z.dtype) for leaf, is_moved in new if is_moved])

    return jax.jit(lambda z, *where: (lead(z, *where) - z, jax.jacfwd(lead)(z, *where)))


def newton_step(jacobian: Float[np.ndarray, "n n"], changed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Give the shortest way to where a step would change nothing, were it linear.

    Parameters
    ----------
    jacobian, changed
        Of the step, at one place.

    Returns
    -------
    array [n]
    """
    return -np.linalg.lstsq(jacobian - np.eye(changed.size), changed, rcond=RANK)[0]


def come_to_rest(linearised: Linearised, place: Any, step_size: float) -> Rest | None:
    """Look for the place that a step leaves as it is, by Newton's method.

    Parameters
    ----------
    linearised, place, step_size
        The step, and where to begin.

    Returns
    -------
    Rest or None
        None where the method does not arrive.
    """
    first, least, best = place, math.inf, None
    for _ in range(MAX_NEWTON):
        changed, jacobian = linearised.at(place, step_size)
        size = np.linalg.norm(changed)
        if not (np.all(np.isfinite(jacobian)) and size < 0.5 * least):
            break
        best, least = (place, changed, jacobian), size
        if size == 0:
            break
        place = place + newton_step(jacobian, changed)
    if best is None or not least <= max(AT_REST, ROUNDING * linearised.eps) * linearised.scale:
        return None
    place, changed, jacobian = best
    return Rest(place, changed, jacobian, float(np.linalg.norm(place - first)))


def growth_rate(jacobian: Float[np.ndarray, "n n"], num_flat: int, period: int) -> float:
    """Give the logarithm, per step, of the largest multiplier that belongs to no flat direction.

    Parameters
    ----------
    jacobian, period
        Of so many steps.
    num_flat
        Multipliers nearest to 1 that are left out.

    Returns
    -------
    float
    """
    multipliers = np.linalg.eigvals(jacobian)
    others = multipliers[np.argsort(np.abs(multipliers - 1))[num_flat:]]
    largest = float(np.max(np.abs(others), initial=0.0))
    return math.log(largest) / period if largest > 0 else -math.inf


def _parts(state):
    return jax.tree.leaves((state.params, state.model_state, state.opt_state))
