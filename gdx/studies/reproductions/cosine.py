"""A parabola with a cosine: verdict changes along a line of step sizes, counted on finer and finer grids.

Liu, "Complex fractal trainability boundary can arise from trivial non-convexity", arXiv 2406.13971.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from gdx.progress import Progress
from gdx.records import record
from gdx.studies.cosine import CosineChanges, cosine_changes
from gdx.studies.reproductions.base import check_precision, held, starts
from gdx.studies.verification import Claim

SOURCE = "arXiv 2406.13971"
LEVELS, QUICK_LEVELS = 18, 12
"""Grids: up to n = 17, and up to 11."""
COUNTED, OFF = 15, 4
"""Levels whose counts are held to the published ones, and by how much single ones may differ: the order of operations
moves them by as much."""
SLOPE_OFF = 0.01


@record
class CosineFractal(NamedTuple):
    """The counts, and what is published of them.

    Examples
    --------
    Continues the example of `gdx.studies.cosine_fractal`.

    >>> [claim.name for claim in found.claims]
    ['counts', 'two-roads']
    """

    changes: CosineChanges
    """What was counted."""
    claims: tuple[Claim, ...]
    """Published figures beside measured ones."""
    notes: tuple[str, ...]
    """What else is to be known."""
    num_runs: int
    """Of all."""
    seconds: float
    """With compiling."""


def cosine_fractal(
    *, repeats: int | None = None, quick: bool = False, seed: int = 0, progress: Progress = None
) -> CosineFractal:
    """Count again how often runs change from bounded to failed between neighbouring step sizes.

    Parameters
    ----------
    repeats, seed
        There is one start, 1, and nothing is random: they change nothing.
    quick
        Whether grids up to n = 11 will do.
    progress
        As for a sweep.

    Returns
    -------
    CosineFractal

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.cosine_fractal(quick=True)
    >>> all(claim.passed for claim in found.claims)
    True
    """
    check_precision()
    starts(repeats, 1, seed)
    started = time.perf_counter()
    changes = cosine_changes(QUICK_LEVELS if quick else LEVELS, progress=progress)
    off = np.abs(changes.counts - changes.published)[:COUNTED]
    claims = [
        held(
            "counts",
            f"verdict changes between 1.5 k / 2^n, n up to {off.size - 1}: largest difference from the published ones",
            SOURCE,
            0,
            float(np.max(off)),
            OFF,
            is_absolute=True,
        )
    ]
    if not quick:
        claims.append(
            held(
                "slope",
                "log2 of the counts against n",
                SOURCE,
                changes.published_slope,
                changes.slope,
                SLOPE_OFF,
                is_absolute=True,
            )
        )
    claims.append(
        held(
            "two-roads",
            "the slope is the dimension of the boundary, by pairs of step sizes",
            "Grebogi et al., Phys. Lett. A 99, 1983",
            changes.dimension.value,
            changes.slope,
            changes.slope_error + changes.dimension.error,
            is_absolute=True,
        )
    )
    counted = ", ".join(str(count) for count in changes.counts)
    notes = (
        f"counts for n = 0 .. {changes.counts.size - 1}: {counted}",
        f"slope {changes.slope:.3f} +- {changes.slope_error:.3f} from n = {changes.first} on, "
        f"dimension {changes.dimension.value:.3f} +- {changes.dimension.error:.3f}",
    )
    return CosineFractal(changes, tuple(claims), notes, changes.failed.size - 1, time.perf_counter() - started)
