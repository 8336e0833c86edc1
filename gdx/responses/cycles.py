"""Optimizers whose answer depends on the step number in a period: the map over one period, and where it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.responses.experiments import Findings, is_close
from gdx.responses.impulses import Bench, Setting
from gdx.responses.parities import Parity
from gdx.trees import rows

if TYPE_CHECKING:
    from jaxtyping import Float

SLOWEST = np.exp(-np.log(1e16) / (1 << 16))
"""Largest factor a step of a memory that fades to 1e-16 in 65536 steps."""
DECADES = 6
PER_DECADE = 400
"""Step sizes that are looked at, around the inverse of the mean response."""


class Cycle(NamedTuple):
    """A linear optimizer of one parameter with n numbers of memory s, at P phases.

    The update over minus the step size is `to_update s + gradient g + params x`; then s becomes
    `memory s + from_gradient g + from_params x`.
    """

    memory: Float[np.ndarray, "P n n"]
    from_gradient: Float[np.ndarray, "P n"]
    from_params: Float[np.ndarray, "P n"]
    to_update: Float[np.ndarray, "P n"]
    gradient: Float[np.ndarray, " P"]
    params: Float[np.ndarray, " P"]


def cycle_of(bench: Bench, kinds: tuple[Parity, ...], setting: Setting, entry: int, found: Findings) -> Cycle:
    """Read the linear maps of all phases off an optimizer's state, and check that they give the responses measured.

    Parameters
    ----------
    bench
        The optimizer.
    kinds
        Of its state's leaves.
    setting
        At which the responses were measured.
    entry
        Of the stand-in.
    found
        The responses, rows of exactly one period.

    Returns
    -------
    Cycle

    Raises
    ------
    ValueError
        If the maps do not give the responses, or the memory does not fade.

    Notes
    -----
    Only numbers of the state that a gradient reaches and that reach an update are part of the map: one at a time is
    moved, and what changes is followed until nothing new does.
    """
    maps, num_numbers = _maps_of(bench, kinds, setting, entry, len(found.gradient))
    reached, columns = _reached(maps, num_numbers)
    cycle = _observable(_assembled(columns, reached, maps))
    if not _explains(cycle, found):
        raise ValueError(
            "family: its updates depend on the step number in a period, and its state is no linear memory of the "
            "gradients; no threshold is known"
        )
    product = np.eye(cycle.memory.shape[1])
    for memory in cycle.memory:
        product = memory @ product
    if product.size and _radius(product[None])[0] > SLOWEST ** len(cycle.memory):
        raise ValueError("family: it remembers a gradient for more than 131072 steps, so its threshold is not measured")
    return cycle


def _maps_of(bench, kinds, setting, entry, period):
    """`maps(moved, gradient, param)`: changes of the update and of the state's numbers, [P, K] and [P, K, m]."""
    states = bench.states(setting, period)
    indices = [
        i
        for i, (leaf, kind) in enumerate(zip(jax.tree.leaves(states), kinds, strict=True))
        if kind is not Parity.EVEN and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    first = jax.tree.leaves(rows(states, 0))
    numbers, unravel = ravel_pytree([first[i].astype(float) for i in indices])

    def after(state, moved, gradient, param):
        leaves, structure = jax.tree.flatten(state)
        changes = unravel(bench.unit * moved)
        for i, change in zip(indices, changes, strict=True):
            leaves[i] = leaves[i] + change.astype(leaves[i].dtype)
        here = bench.unit * jnp.zeros(bench.num_entries).at[entry].set(1.0)
        update, new = bench.update(gradient * here, structure.unflatten(leaves), param * here)
        kept = jax.tree.leaves(new)
        return -update[entry], ravel_pytree([kept[i].astype(float) for i in indices])[0]

    def change(state, moved, gradient, param):
        ends = after(state, moved, gradient, param), after(state, 0 * moved, 0.0, 0.0)
        return jax.tree.map(lambda new, old: (new - old) / bench.unit, *ends)

    over_inputs = jax.vmap(change, in_axes=(None, 0, 0, 0))
    mapped = jax.jit(jax.vmap(over_inputs, in_axes=(0, None, None, None)))

    def maps(coordinates, gradient=0.0, param=0.0):
        moved = np.zeros((max(len(coordinates), 1), numbers.size))
        moved[np.arange(len(coordinates)), coordinates] = 1.0
        given = np.full((2, len(moved)), [[gradient], [param]])
        return tuple(np.asarray(leaf) for leaf in mapped(states, moved, *given))

    return maps, numbers.size


def _reached(maps, num_numbers):
    """Which numbers of the state a gradient or a parameter reaches, and what each of them changes."""
    columns: dict[int, tuple] = {}
    fresh: set[int] = set()
    for given in ({"gradient": 1.0}, {"param": 1.0}):
        fresh |= set(np.flatnonzero(np.any(maps([], **given)[1] != 0, axis=(0, 1))).tolist())
    while fresh:
        order = sorted(fresh)
        updates, changes = maps(order)
        for i, coordinate in enumerate(order):
            columns[coordinate] = updates[:, i], changes[:, i]
        fresh = set(np.flatnonzero(np.any(changes != 0, axis=(0, 1))).tolist()) - set(columns)
    return sorted(columns), columns


def _assembled(columns, reached, maps):
    updates, changes = zip(*(maps([], **given) for given in ({"gradient": 1.0}, {"param": 1.0})), strict=True)
    period = len(updates[0])
    memory, to_update = np.zeros((period, len(reached), len(reached))), np.zeros((period, len(reached)))
    for i, coordinate in enumerate(reached):
        to_update[:, i], memory[:, :, i] = columns[coordinate][0], columns[coordinate][1][:, reached]
    of_gradient, of_params = (change[:, 0, reached] if reached else np.zeros((period, 0)) for change in changes)
    return Cycle(memory, of_gradient, of_params, to_update, updates[0][:, 0], updates[1][:, 0])


def _observable(cycle):
    """Without the numbers that reach no update, such as a sum that is kept for the record."""
    seen = np.any(cycle.to_update != 0, axis=0)
    feeds = np.any(cycle.memory != 0, axis=0)
    for _ in range(len(seen)):
        seen = seen | np.any(feeds[seen], axis=0)
    return Cycle(
        cycle.memory[:, seen][:, :, seen],
        cycle.from_gradient[:, seen],
        cycle.from_params[:, seen],
        cycle.to_update[:, seen],
        cycle.gradient,
        cycle.params,
    )


def _explains(cycle, found):
    """Whether the maps give the responses that were measured."""
    pairs = (
        (cycle.from_gradient, cycle.gradient, found.gradient),
        (cycle.from_params, cycle.params, found.params),
    )
    period = len(cycle.gradient)
    for into, direct, measured in pairs:
        state, phases = into, np.arange(period)
        rows = [direct]
        for _ in range(measured.shape[1] - 1):
            phases = (phases + 1) % period
            rows.append(np.einsum("pn,pn->p", cycle.to_update[phases], state))
            state = np.einsum("pmn,pn->pm", cycle.memory[phases], state)
        if not is_close(np.stack(rows, axis=1), measured, share=1e-6):
            return False
    return True


def critical_of(cycle: Cycle, curvature: float) -> float:
    """Smallest step size at which the map over one period grows.

    Parameters
    ----------
    cycle
        The optimizer.
    curvature
        Of the loss, over the preconditioner.

    Returns
    -------
    float
        Infinite where none of those looked at does.

    Notes
    -----
    The largest magnitude among the eigenvalues of the map of parameter and memory over one period (the monodromy
    matrix) is followed over twelve decades of step sizes; where it comes close to 1 in between, more are looked at.
    """
    feedback = np.abs(curvature * cycle.gradient + cycle.params).mean()
    inputs = curvature * cycle.from_gradient + cycle.from_params
    size = max(feedback, np.abs(inputs).max(initial=0.0) * np.abs(cycle.to_update).max(initial=0.0))
    if size == 0:
        return np.inf
    steps = np.geomspace(10.0**-DECADES, 10.0**DECADES, 2 * DECADES * PER_DECADE + 1) / size
    radii = _growth(cycle, curvature, steps)
    # A narrow range of growth may lie between two step sizes.
    peaks = np.flatnonzero((radii[1:-1] >= radii[:-2]) & (radii[1:-1] >= radii[2:]) & (radii[1:-1] > 0.9)) + 1
    for i in peaks:
        between = np.linspace(steps[i - 1], steps[i + 1], 401)
        steps, radii = np.concatenate([steps, between]), np.concatenate([radii, _growth(cycle, curvature, between)])
    order = np.argsort(steps)
    steps, radii = steps[order], radii[order]
    grows = np.flatnonzero(radii > 1 + 1e-10)
    if not grows.size:
        return np.inf
    if grows[0] == 0:
        return 0.0
    low, high = steps[grows[0] - 1], steps[grows[0]]
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _growth(cycle, curvature, np.asarray([middle]))[0] > 1 else (middle, high)
    return float(low)


def _growth(cycle, curvature, steps):
    """Spectral radius of the map over one period, at every step size."""
    size = cycle.memory.shape[1] + 1
    product = np.broadcast_to(np.eye(size), (len(steps), size, size))
    with np.errstate(all="ignore"):
        for phase in range(len(cycle.gradient)):
            one = np.zeros((len(steps), size, size))
            one[:, 0, 0] = 1 - steps * (curvature * cycle.gradient[phase] + cycle.params[phase])
            one[:, 0, 1:] = -steps[:, None] * cycle.to_update[phase]
            one[:, 1:, 0] = curvature * cycle.from_gradient[phase] + cycle.from_params[phase]
            one[:, 1:, 1:] = cycle.memory[phase]
            product = one @ product
        return _radius(product)


def _radius(matrices):
    is_finite = np.all(np.isfinite(matrices), axis=(1, 2))
    found = np.full(len(matrices), np.inf)
    found[is_finite] = np.max(np.abs(np.linalg.eigvals(matrices[is_finite])), axis=1, initial=0.0)
    return found
