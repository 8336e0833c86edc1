"""The exact basin of a factorization: an ellipse inside which every start converges, and outside of which none does.

Liang and Montufar, "Gradient descent with large step sizes: chaos and fractal convergence region", arXiv 2509.25351.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.maps import Axis, PhaseMap, phase_map, starting
from gdx.problems import problem
from gdx.progress import Progress, shown
from gdx.records import record
from gdx.studies.reproductions.base import Share, check_precision, held, starts
from gdx.studies.verification import Claim
from gdx.sweeps import sweep
from gdx.verdicts import bounded, converged

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SOURCE = "arXiv 2509.25351"
CASES = ((1.0, 0.25), (1.0, 0.7), (-1.5, 0.5), (0.0, 0.8), (1.0, 1.6))
"""Target and step size of each panel; of the last no start converges any more, and the same ellipse bounds what stays
finite."""
NUM_STEPS, NUM_STARTS = 3_000, 20_000
BESIDE = 1e-4
"""Relative distance from the boundary within which starts are not counted: there a run takes any time to decide."""
REACH = 1.1
"""Of the picture and of random starts, in the longer half-axis of the ellipse."""
DIMENSIONS = (1, 2)
"""Of u and of v."""


@record
class Basin(NamedTuple):
    """One target and step size.

    Examples
    --------
    Continues the example of `gdx.studies.factorization_basin`.

    >>> found.basins[0].target, found.basins[0].mismatches[1].number
    (1.0, 0)
    """

    target: float
    step_size: float
    criterion: str
    """"converged"; "bounded" above the critical step size, and for target 0, where runs take for ever to converge."""
    mapped: PhaseMap
    """Over both numbers of the start."""
    mismatches: dict[int, Share]
    """Of random starts that do otherwise than the ellipse says, by dimension of u and v."""

    def inside(self, u: Float[np.ndarray, ...], v: Float[np.ndarray, ...]) -> Bool[np.ndarray, ...]:
        """Say which starts the ellipse holds; the last axis is that of u and v.

        Parameters
        ----------
        u, v
            [..., d].

        Returns
        -------
        array
            bool [...].
        """
        return margin(self.target, self.step_size, u, v) > 0


@record
class FactorizationBasin(NamedTuple):
    """The basins, and whether the ellipse is theirs.

    Examples
    --------
    Continues the example of `gdx.studies.factorization_basin`.

    >>> len(found.basins), all(claim.passed for claim in found.claims)
    (5, True)
    """

    basins: tuple[Basin, ...]
    """A panel each."""
    claims: tuple[Claim, ...]
    """Theory's figures beside measured ones."""
    notes: tuple[str, ...]
    """What else is to be known."""
    num_runs: int
    """Of all."""
    seconds: float
    """With compiling."""


def margin(target: float, step_size: float, u: Float[np.ndarray, ...], v: Float[np.ndarray, ...]) -> np.ndarray:
    """Give how far inside the ellipse a start lies, relative to its bound.

    Parameters
    ----------
    target, step_size
        Of the loss 1/2 (u.v - target)^2 and of gradient descent.
    u, v
        [..., d].

    Returns
    -------
    array
        [...]; below 0 outside.
    """
    bound = 4 / step_size - step_size * target**2
    product = np.sum(u * v, axis=-1)
    return (bound - (np.sum(u**2 + v**2, axis=-1) - step_size * target * product)) / bound


def factorization_basin(
    *, repeats: int | None = None, quick: bool = False, seed: int = 0, progress: Progress = None
) -> FactorizationBasin:
    """Map which starts of 1/2 (u.v - y)^2 converge, and count random ones against the closed form.

    Gradient descent converges exactly for starts with |u|^2 + |v|^2 - eta y u.v < 4 / eta - eta y^2 as long as eta is
    at most 1 / |y|; up to twice that the same ellipse bounds the starts that stay finite.

    Parameters
    ----------
    repeats
        Random starts of each count; by default 20,000, or 2,000 where it is to be quick.
    quick
        Whether a coarse picture will do.
    seed
        Of the random starts, at least 0.
    progress
        Called as `progress(finished, total)`, panels; by default a bar on a terminal, False for none.

    Returns
    -------
    FactorizationBasin

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.factorization_basin(repeats=500, quick=True)
    >>> [share.number for basin in found.basins for share in basin.mismatches.values()]
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    check_precision()
    started = time.perf_counter()
    number = starts(repeats, 2_000 if quick else NUM_STARTS, seed).shape[0]
    basins = []
    with shown(progress, "panels") as told:
        for target, step_size in CASES:
            if told is not None:
                told(len(basins), len(CASES))
            basins.append(_basin(target, step_size, number, 64 if quick else 256, seed))
    claims = tuple(_claim(basin, dimension) for basin in basins for dimension in DIMENSIONS)
    num_runs = sum(int(basin.mapped.computed.sum()) for basin in basins) + number * len(CASES) * len(DIMENSIONS)
    notes = (
        f"starts within {BESIDE:g} of the ellipse, relative, are not counted; horizon {NUM_STEPS} steps",
        "white lines are the ellipse; nothing is fitted",
    )
    return FactorizationBasin(tuple(basins), claims, notes, num_runs, time.perf_counter() - started)


def _basin(target, step_size, number, resolution, seed):
    # With target 0 runs creep towards the saddle at 0, where curvature vanishes: a power of the number of steps.
    criterion = "converged" if 0 < step_size * abs(target) <= 1 else "bounded"
    # The longer half-axis: along u = v where the target is positive, u = -v where it is negative.
    reach = REACH * np.sqrt((4 / step_size - step_size * target**2) / (1 - step_size * abs(target) / 2))
    product = problem(jnp.ones(2), lambda w: 0.5 * (w[0] * w[1] - target) ** 2)
    mapped = phase_map(
        lambda h: starting(product, h),
        lambda h: optax.sgd(step_size),
        x=Axis("start_x", -reach, reach),
        y=Axis("start_y", -reach, reach),
        keys=jax.random.split(jax.random.key(seed), 1),
        num_steps=NUM_STEPS,
        resolution=resolution,
        criterion=criterion,
        progress=False,
    )
    shares = {
        dimension: _mismatches(target, step_size, criterion, dimension, reach, number, seed) for dimension in DIMENSIONS
    }
    return Basin(target, step_size, criterion, mapped, shares)


def _mismatches(target, step_size, criterion, dimension, reach, number, seed):
    """Random starts that do otherwise, of those that are not beside the boundary."""
    drawn = np.random.default_rng(seed).uniform(-reach, reach, (number, 2, dimension))
    inside = margin(target, step_size, drawn[:, 0], drawn[:, 1])
    drawn, inside = drawn[np.abs(inside) > BESIDE], inside[np.abs(inside) > BESIDE]
    names = [f"{vector}{place}" for vector in "uv" for place in range(dimension)]

    def begun(h):
        start = jnp.stack([h[name] for name in names]).reshape(2, dimension)
        return problem(lambda key: start, lambda w: 0.5 * (jnp.sum(w[0] * w[1]) - target) ** 2)

    run = sweep(begun, lambda h: optax.sgd(step_size), num_steps=NUM_STEPS)
    hyperparams = dict(zip(names, drawn.reshape(len(drawn), -1).T, strict=True))
    runs = run(hyperparams, jax.random.split(jax.random.key(0), 1), progress=False)
    met = np.asarray(converged(runs) if criterion == "converged" else bounded(runs))[:, 0]
    return Share(int(np.sum(met != (inside > 0))), len(inside))


def _claim(basin, dimension):
    share = basin.mismatches[dimension]
    does = "converge" if basin.criterion == "converged" else "stay finite"
    return held(
        f"ellipse y={basin.target:g} eta={basin.step_size:g} d={dimension}",
        f"y = {basin.target:g}, step size {basin.step_size:g}, u and v of {dimension}: exactly the starts inside the "
        f"ellipse {does}; of {share.total} random ones do otherwise",
        SOURCE,
        0,
        share.number,
        0,
        is_absolute=True,
    )
