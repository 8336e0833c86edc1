"""Smooth, fractal, or undecided: what two roads to a boundary's dimension and two controls say together."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.checks import check_count
from gdx.maps.boundaries.boxes import box_dimension
from gdx.maps.boundaries.controls import Control, default_controls
from gdx.maps.boundaries.dimension import Dimension
from gdx.maps.boundaries.entropy import BOX, BasinEntropy, basin_entropy
from gdx.maps.boundaries.inputs import SMALLEST_MAP, check_labels, check_window, map_of
from gdx.maps.boundaries.pairs import uncertainty_exponent
from gdx.records import legend, record

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

RESOLUTION = 512
"""Points along a side of a map that is made here."""
HORIZON = 500
"""Steps of the controls, where nobody says how long the runs were."""
BOX_PAIRS = 4
"""Times fewer boxes of 25 points are asked for than pairs: more of them are on the boundary."""
SHARPEST = 0.15
"""Above 1, that the upper end of the interval of a smooth boundary's dimension is at most."""


@legend
class Roughness(enum.Enum):
    """What a boundary looks like over the scales that were seen.

    Examples
    --------
    Continues the example of `gdx.maps.boundary_statistics`.

    >>> found.verdict is gdx.maps.Roughness.SMOOTH
    True
    """

    SMOOTH = "smooth"
    """Of dimension 1, as curves with finitely many corners are."""
    FRACTAL = "fractal"
    """Of a dimension above 1, and above that of both controls, beyond the error."""
    UNDECIDED = "undecided"
    """Neither is known; `note` says why."""


@record
class BoundaryStatistics(NamedTuple):
    """How rough a boundary is, beside controls through the same pipeline.

    Examples
    --------
    Continues the example of `gdx.maps.boundary_statistics`.

    >>> sorted(found.controls), found.resolution, found.horizon
    (['ellipse', 'quadratic'], (256, 256), 200)
    """

    verdict: Roughness
    """Smooth, fractal or undecided, over `scales` and at this horizon."""
    note: str
    """What it rests on, or why it is undecided."""
    dimension: float
    """Of the boundary: that of the road with the smaller error; NaN where both roads disagree or one leads nowhere."""
    error: float
    """Half the width of its interval at 95 %."""
    scales: tuple[float, float]
    """Smallest and largest that both roads were measured at, in sides of the window."""
    box: Dimension
    """First road: boxes that see more than one label."""
    uncertainty: Dimension
    """Second road: pairs of points whose labels differ."""
    entropy: BasinEntropy
    """Of small boxes; above ln 2 on the boundary, no smooth one."""
    controls: dict[str, BoundaryStatistics]
    """The same of boundaries that are smooth, by name."""
    resolution: tuple[int, int]
    """Points of the map, Y and X."""
    horizon: int | None
    """Steps of the runs behind the labels; None where nobody said. A longer one may tell another boundary."""


def boundary_statistics(
    labels: ArrayLike | None = None,
    labels_of: Callable[[np.ndarray], ArrayLike] | None = None,
    window: ArrayLike = ((0.0, 1.0), (0.0, 1.0)),
    *,
    horizon: int | None = None,
    resolution: int = RESOLUTION,
    box: int = BOX,
    max_pairs: int = 2**16,
    controls: Mapping[str, Control] | None = None,
    seed: int = 0,
) -> BoundaryStatistics:
    """Say whether the boundary between labels is smooth or fractal, and on what grounds.

    Box counting and the uncertainty exponent are two roads to one dimension. Where they disagree beyond their errors
    there is none. A rough graph that stands at an angle to both axes is hardest: of such ones one interval in eight
    misses, by some .1. Boundaries known to be smooth go the same way, at the same resolution, horizon and number of
    pairs; a verdict is given only where theirs come out smooth.

    Parameters
    ----------
    labels
        Whole numbers, [Y, X], at evenly spaced points of the window; by default asked of `labels_of`.
    labels_of
        `points [N, 2] -> labels [N]`, x first; the uncertainty exponent then reaches far below the map's resolution.
        Left out, it is read off the map.
    window
        ((x from, x to), (y from, y to)) of `labels_of`.
    horizon
        Steps of the runs behind the labels; the controls are run as long.
    resolution
        Points along either side, where the map is made here.
    box
        As for `gdx.maps.basin_entropy`.
    max_pairs, seed
        As for `gdx.maps.uncertainty_exponent`.
    controls
        Of your own, by name; by default those of `gdx.maps.default_controls`.

    Returns
    -------
    BoundaryStatistics

    Raises
    ------
    ValueError
        If neither labels nor a function are given, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> y, x = np.mgrid[-1:1:256j, -1:1:256j]
    >>> found = gdx.maps.boundary_statistics(np.hypot(x, y) < 0.7, horizon=200)
    >>> found.verdict.value, round(found.dimension, 1)
    ('smooth', 1.0)
    """
    if labels is None and labels_of is None:
        raise ValueError(
            "labels: neither a map nor labels_of is given; pass a map [Y, X], a function of points, or both"
        )
    window = check_window(window)
    if horizon is not None:
        horizon = check_count("horizon", horizon, "pass the number of steps of the runs")
    if labels is None and labels_of is not None:
        resolution = check_count("resolution", resolution, "pass points along a side", SMALLEST_MAP)
        labels = map_of(labels_of, window, (resolution, resolution))
    mapped = check_labels(np.asarray(labels))

    def measured(labels, labels_of, window):
        entropy, boxes = basin_entropy(labels, box=box), box_dimension(labels)
        if labels_of is None:
            return _agreed(boxes, uncertainty_exponent(labels), entropy, labels.shape, horizon)
        # Of a map the smallest box has four cells, too large where the boundary fills the window.
        if boxes.note:
            max_boxes = max_pairs // BOX_PAIRS
            boxes = box_dimension(labels_of=labels_of, window=window, max_boxes=max_boxes, seed=seed)
        pairs = uncertainty_exponent(labels_of=labels_of, window=window, max_pairs=max_pairs, seed=seed)
        return _agreed(boxes, pairs, entropy, labels.shape, horizon)

    of_controls = {}
    for name, control in (default_controls(horizon or HORIZON) if controls is None else controls).items():
        theirs = map_of(control.labels_of, check_window(control.window), mapped.shape)
        found = measured(theirs, None if labels_of is None else control.labels_of, control.window)
        of_controls[name] = _judged(found, {})
    return _judged(measured(mapped, labels_of, window), of_controls)


def _agreed(box, uncertainty, entropy, resolution, horizon):
    """Without a verdict yet."""
    best = min((box, uncertainty), key=lambda road: road.error)
    scales = max(box.scales[0], uncertainty.scales[0]), min(box.scales[1], uncertainty.scales[1])
    found = BoundaryStatistics(
        Roughness.UNDECIDED, "", best.value, best.error, scales, box, uncertainty, entropy, {}, resolution, horizon
    )
    note = ""
    if box.note or uncertainty.note:
        note = f"by boxes: {box.note}" if box.note else f"by pairs: {uncertainty.note}"
    elif abs(box.value - uncertainty.value) > box.error + uncertainty.error:
        told = [f"{road.value:.3f} +- {road.error:.3f}" for road in (box, uncertainty)]
        note = f"two roads disagree: dimension {told[0]} by boxes, {told[1]} by pairs"
    return found._replace(dimension=math.nan, error=math.nan, note=note) if note else found


def _judged(found, controls):
    found = found._replace(controls=controls)
    for name, control in controls.items():
        if control.verdict is not Roughness.SMOOTH:
            return found._replace(
                note=f"the control {name!r}, which is smooth, does not come out smooth: {control.note}"
            )
    is_known = math.isfinite(found.dimension)
    lower, upper = found.dimension - found.error, found.dimension + found.error
    highest = max([1.0, *(control.dimension + control.error for control in controls.values())])
    told = f"dimension {found.dimension:.3f} +- {found.error:.3f}"
    if is_known and lower > highest:
        return found._replace(verdict=Roughness.FRACTAL, note=f"{told}, of the controls at most {highest:.3f}")
    if found.entropy.is_fractal:
        why = f"boundary basin entropy {found.entropy.boundary:.3f} is above ln 2"
        if is_known:
            return found._replace(note=f"{told}, but {why}")
        return found._replace(verdict=Roughness.FRACTAL, note=f"{why}; no dimension, {found.note}")
    if not is_known:
        return found
    if lower <= 1 and upper <= 1 + SHARPEST:
        return found._replace(verdict=Roughness.SMOOTH, note=told)
    why = f"neither above {highest:.3f}, as high as the controls' reach, nor within 1 and {1 + SHARPEST:g}"
    return found._replace(note=f"{told}: {why}")
