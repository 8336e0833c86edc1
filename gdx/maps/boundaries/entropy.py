"""Basin entropy: how uncertain the outcome is for who knows a point to within a small box."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.checks import check_count
from gdx.maps.boundaries.inputs import check_labels
from gdx.maps.boundaries.parts import PARTS, by_parts
from gdx.records import record

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

BOX = 5
"""Points along a side of a box, as Daza and others took them."""
FEWEST_BOXES = 20
"""On the boundary, below which their mean says nothing."""
FEWEST_PARTS = 4
"""Of the map, that these must be spread over."""
CONFIDENCE = 0.95
"""Of the intervals."""


@record
class BasinEntropy(NamedTuple):
    """Entropies of a map's boxes, in nats.

    Examples
    --------
    Continues the example of `gdx.maps.basin_entropy`.

    >>> print(f"{found.value:.3f}, on the boundary {found.boundary:.2f}")
    0.011, on the boundary 0.49
    >>> found.is_fractal
    False
    """

    value: float
    """S_b, mean over all boxes."""
    error: float
    """Half the width of its interval at 95 %."""
    boundary: float
    """S_bb, mean over the boxes that see more than one label; NaN where `note` says why there is none."""
    boundary_error: float
    """Half the width of its interval at 95 %."""
    box: int
    """Points along a side of a box."""
    num_boxes: int
    """Boxes."""
    num_boundary: int
    """Those that see more than one label."""
    note: str
    """Why there is no S_bb; empty where there is one."""

    @property
    def is_fractal(self) -> bool:
        """Whether S_bb is above ln 2 beyond its error, which no smooth boundary reaches; below it may be either."""
        return self.boundary - self.boundary_error > math.log(2)


def basin_entropy(labels: ArrayLike, *, box: int = BOX) -> BasinEntropy:
    """Measure the basin entropy of a map (Daza, Wagemakers, Georgeot, Guery-Odelin and Sanjuan, 2016).

    A box of `box` x `box` points has the entropy -sum p ln p of the labels' shares p in it. The numbers depend on the
    size of the box, in points and in sides of the window, and compare only at the same; the intervals are those of the
    sample of boxes.
    Boxes in which three smooth basins meet may be above ln 2, too; there are few of them where boxes are small.

    Parameters
    ----------
    labels
        Whole numbers, [Y, X].
    box
        Points along a side of a box, at least 2; what is left over at the map's far edges counts nowhere.

    Returns
    -------
    BasinEntropy

    Raises
    ------
    ValueError
        If the labels are no whole numbers on a map of at least 64 x 64, or fewer than 8 boxes fit along a side.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> y, x = np.mgrid[-1:1:512j, -1:1:512j]
    >>> found = gdx.maps.basin_entropy(np.hypot(x, y) < 0.7)
    >>> found.box, found.num_boxes
    (5, 10404)
    """
    labels = check_labels(labels)
    box = check_count("box", box, "pass points along a side", 2)
    number = [length // box for length in labels.shape]
    if min(number) < PARTS[2]:
        raise ValueError(f"box: {box} points fit {min(number)} times into a map {labels.shape}; pass a smaller one")
    boxes = labels[: number[0] * box, : number[1] * box].reshape(number[0], box, number[1], box)
    entropies = _entropies(boxes.swapaxes(1, 2).reshape(*number, box * box))
    mixed = entropies > 0
    sums, on, counts = (by_parts(each)[0] for each in (entropies, mixed, np.ones_like(mixed)))
    value, error = _mean(sums, counts)
    found = BasinEntropy(value, error, math.nan, math.nan, box, int(counts.sum()), int(on.sum()), "")
    spread = on.sum() ** 2 / max(np.sum(on**2), 1)
    if found.num_boundary < FEWEST_BOXES or spread < FEWEST_PARTS:
        if not found.num_boundary:
            return found._replace(note="no boundary: every box has one label")
        return found._replace(note=f"{found.num_boundary} boxes in {spread:.1f} parts of the map see the boundary")
    boundary, boundary_error = _mean(sums, on)
    return found._replace(boundary=boundary, boundary_error=boundary_error)


def _entropies(boxes):
    """Of the last axis."""
    size = boxes.shape[-1]
    entropies = np.zeros(boxes.shape[:-1])
    mixed = np.any(boxes != boxes[..., :1], axis=-1)
    # Where labels are many, most boxes still see few: sorted, every label is a run.
    ordered = np.sort(boxes[mixed], axis=1)
    starts = np.concatenate([np.ones((len(ordered), 1), bool), ordered[:, 1:] != ordered[:, :-1]], axis=1)
    if len(ordered):
        lengths = np.diff(np.append(np.flatnonzero(starts), ordered.size))
        parts = -lengths / size * np.log(lengths / size)
        entropies[mixed] = np.add.reduceat(parts, np.concatenate([[0], np.cumsum(starts.sum(axis=1))[:-1]]))
    return entropies


def _mean(sums, counts):
    """A ratio of sums over parts, and its error from leaving out one part after the other."""
    from scipy.special import stdtrit

    without = (sums.sum() - sums) / np.maximum(counts.sum() - counts, 1)
    number = len(sums)
    spread = math.sqrt((number - 1) / number * np.sum((without - without.mean()) ** 2))
    parts = counts.sum() ** 2 / np.sum(counts**2)
    return float(sums.sum() / counts.sum()), float(stdtrit(parts - 1, (1 + CONFIDENCE) / 2)) * spread
