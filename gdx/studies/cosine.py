"""A boundary in step size that is fractal in a parabola with a cosine: a published count, counted once more."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import check_count
from gdx.maps import Dimension, change_counts, line_dimension
from gdx.problems import problem
from gdx.progress import Progress
from gdx.records import record
from gdx.sweeps import Stop, sweep

HEIGHT, LENGTH = 0.2, 0.1
"""Of the cosine, and its wavelength."""
LARGEST = 1.5
"""Step size that the line ends at."""
HORIZON = 1_000
"""Steps."""
FAILED = 1e8
"""Loss beyond which a run has failed."""
COUNTS = (1, 1, 1, 1, 3, 5, 7, 13, 21, 27, 57, 115, 247, 423, 683, 1215, 2303, 4245, 7619, 13365, 22885)
"""Of the multiplied cosine, published in arXiv 2406.13971."""
SLOPES = {"multiplied": 0.839, "added": 1.03}
"""The same, of the logarithm of the counts."""
FEWEST_LEVELS, MOST_LEVELS = 7, 22
"""From which there is a slope, and up to which neighbouring step sizes take minutes."""


@record
class CosineChanges(NamedTuple):
    """How often runs change from bounded to failed along a line of step sizes, on finer and finer grids.

    Examples
    --------
    Continues the example of `gdx.studies.cosine_changes`.

    >>> found.worst
    0
    """

    form: str
    """Whether the cosine is multiplied with the parabola, or added to it."""
    step_sizes: np.ndarray
    """[2^n + 1] of the finest grid, from 0 on."""
    failed: np.ndarray
    """[2^n + 1], whether the loss passed 1e8."""
    counts: np.ndarray
    """[n + 1] of changes between neighbours."""
    published: np.ndarray
    """[n + 1] of the same, NaN where none are. Another order of operations moves single ones by 2 to 6."""
    first: int
    """Level that the slope is taken from: the last with one change."""
    slope: float
    """Of log2 of the counts against the level, least squares; NaN where there are fewer than four levels."""
    slope_error: float
    """Half the width of its interval at 95 %, from the counts' distance from the line."""
    published_slope: float
    """The published one; that of the added cosine is no dimension, since it is above 1."""
    dimension: Dimension
    """Of the boundary, by pairs of step sizes on the finest grid: the second road to the slope."""

    @property
    def worst(self) -> int:
        """Largest difference between a count and the published one; 0 where none are published."""
        known = np.isfinite(self.published)
        return int(np.max(np.abs(self.counts - self.published)[known], initial=0))

    @property
    def agrees(self) -> bool:
        """Whether slope and dimension agree within their errors."""
        return abs(self.slope - self.dimension.value) <= self.slope_error + self.dimension.error


def cosine_changes(levels: int = 15, *, form: str = "multiplied", progress: Progress = None) -> CosineChanges:
    """Count verdict changes of x^2 (1 + .2 cos(2 pi x / .1)) between step sizes 1.5 k / 2^n, for n = 0, 1, ...

    Gradient descent from 1, 1,000 steps, which fails where the loss passes 1e8. The counts grow as 2^(d n) with d the
    dimension of the boundary (Liu, arXiv 2406.13971). Of the added cosine the boundary is a small part of the line:
    counts begin at n = 13, and their slope, above 1, is none yet. Wants float64.

    Parameters
    ----------
    levels
        Number of grids; the finest has 2^(levels - 1) intervals.
    form
        "multiplied", or "added" for x^2 + .2 cos(2 pi x / .1).
    progress
        As for a sweep.

    Returns
    -------
    CosineChanges

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import jax, gdx
    >>> jax.config.update("jax_enable_x64", True)
    >>> found = gdx.studies.cosine_changes(9)
    >>> found.counts
    array([ 1,  1,  1,  1,  3,  5,  7, 13, 21])
    """
    levels = check_count("levels", levels, "pass 15 for the published numbers", FEWEST_LEVELS)
    if levels > MOST_LEVELS:
        raise ValueError(f"levels: {levels} are more than {MOST_LEVELS}, over two million runs; pass fewer")
    if form not in SLOPES:
        raise ValueError(f"form: {form!r} is unknown; choose among {tuple(SLOPES)}")
    if jnp.result_type(float) != jnp.float64:
        raise ValueError("jax_enable_x64: JAX computes in float32, where other runs fail; turn it on")
    step_sizes = LARGEST * np.arange(2 ** (levels - 1) + 1) / 2 ** (levels - 1)
    failed = _failed(step_sizes, _loss(form), progress)
    counts = change_counts(failed)
    published = np.full(levels, np.nan)
    if form == "multiplied":
        published[: len(COUNTS)] = COUNTS[:levels]
    first = int(np.flatnonzero(counts == 1)[-1]) if np.any(counts == 1) else 0
    slope, error = _slope(counts[first:])
    return CosineChanges(
        form,
        step_sizes,
        failed,
        counts,
        published,
        first,
        slope,
        error,
        SLOPES[form],
        line_dimension(failed),
    )


def _loss(form):
    if form == "added":
        return lambda x: x**2 + HEIGHT * jnp.cos(2 * jnp.pi * x / LENGTH)
    return lambda x: x**2 * (1 + HEIGHT * jnp.cos(2 * jnp.pi * x / LENGTH))


def _failed(step_sizes, loss, progress):
    """Of every step size; at 0, the first, a run stays where it is."""
    first = float(loss(jnp.asarray(1.0)))
    run = sweep(
        problem(jnp.asarray(1.0), loss),
        optax.sgd,
        num_steps=HORIZON,
        blow_up_factor=(FAILED - first) / max(abs(first), 1.0),
        facts=(),
    )
    runs = run(step_sizes[1:], jax.random.split(jax.random.key(0), 1), progress=progress)
    return np.append(False, np.isin(runs.stopped[:, 0], (Stop.NONFINITE, Stop.BLOWN_UP)))


def _slope(counts):
    from scipy.special import stdtrit

    if counts.size < 4:
        return math.nan, math.nan
    levels, logs = np.arange(counts.size), np.log2(counts)
    slope, offset = np.polyfit(levels, logs, 1)
    left = logs - (offset + slope * levels)
    free = counts.size - 2
    error = math.sqrt(np.sum(left**2) / free / np.sum((levels - levels.mean()) ** 2))
    return float(slope), float(stdtrit(free, 0.975)) * error
