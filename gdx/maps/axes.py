"""The two axes of a map: which hyperparameter, from where to where, and where its cells stand."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.checks import check_count
from gdx.records import record
from gdx.wording import number

if TYPE_CHECKING:
    from jaxtyping import Float

SCALES = ("linear", "log")
OFFSETS = ((math.sqrt(5) - 1) / 2, math.sqrt(2) - 1)
"""Where in a cell it is computed, along x and y, as a share of its width: symmetric grids hit sets of measure zero."""
SAME = 1e-6
"""Widths of a cell within which two positions are one."""


@record
class Axis(NamedTuple):
    """A hyperparameter, and where it goes from where to where.

    Examples
    --------
    >>> import gdx
    >>> gdx.Axis("step_size", 1e-2, 10, "log")
    Axis(step_size, 0.01 .. 10, log)
    >>> gdx.Axis("width", values=(2, 4, 8), static=True)  # handed over as a whole number, compiled anew for each
    Axis(width, 2, 4, 8, static)
    """

    name: str
    """Of the hyperparameter, as the family or the problem asks for it."""
    low: float = math.nan
    """Where the axis begins."""
    high: float = math.nan
    """Where it ends."""
    scale: str = "linear"
    """"linear" or "log"."""
    values: Sequence[float] | None = None
    """Where the cells stand, ascending, in place of ends and a resolution."""
    static: bool = False
    """Whether the family and the problem get plain Python numbers, one program a value: for a depth, a width, a batch
    size, whatever changes shapes. It needs `values`."""

    def __repr__(self) -> str:
        """Write what it was made of."""
        if self.values is None:
            return f"Axis({self.name}, {number(self.low)} .. {number(self.high)}, {self.scale})"
        shown = ", ".join(f"{value:g}" for value in self.values)
        return f"Axis({self.name}, {shown}{', static' if self.static else ''})"


@record
class Line(NamedTuple):
    """An axis with the cells that stand on it.

    Examples
    --------
    Continues the example of `gdx.phase_map`.

    >>> found.across.num_cells, found.across.borders()[[0, -1]].tolist()
    (64, [0.0, 0.5])
    >>> isinstance(found.down, gdx.maps.Line), round(found.down.offset, 3)
    (True, 0.414)
    """

    axis: Axis
    """The hyperparameter."""
    positions: Float[np.ndarray, " X"]
    """Where cells are computed, ascending."""
    offset: float
    """Of each in its cell, as a share of its width; NaN where they were given."""

    @property
    def num_cells(self) -> int:
        """X."""
        return self.positions.size

    @property
    def width(self) -> float:
        """Of a cell, on the axis's scale."""
        return (coordinate(self.axis, self.axis.high) - coordinate(self.axis, self.axis.low)) / self.num_cells

    def borders(self) -> Float[np.ndarray, " B"]:
        """Between cells and at both ends; given positions have theirs half-way.

        Returns
        -------
        array
            [X + 1], ascending.
        """
        if self.axis.values is None:
            low, high = (coordinate(self.axis, end) for end in (self.axis.low, self.axis.high))
            return at_coordinate(self.axis, np.linspace(low, high, self.num_cells + 1))
        places = coordinate(self.axis, self.positions)
        inner = (places[1:] + places[:-1]) / 2
        first, last = 2 * places[0] - inner[0], 2 * places[-1] - inner[-1]
        return at_coordinate(self.axis, np.concatenate([[first], inner, [last]]))


def check_axis(which: str, axis: Any) -> Axis:
    """Refuse an axis that leads nowhere.

    Parameters
    ----------
    which
        "x", "y" or "along".
    axis
        An `Axis`.

    Returns
    -------
    Axis

    Raises
    ------
    ValueError
        If it is none, or its ends, scale or values are none.
    """
    if not isinstance(axis, Axis):
        raise ValueError(f'{which}: {axis!r} is no gdx.Axis; pass one, as gdx.Axis("step_size", 1e-2, 10, "log")')
    if not isinstance(axis.name, str) or not axis.name:
        raise ValueError(f"{which}: {axis.name!r} is no name; pass that of a hyperparameter, as step_size")
    if axis.scale not in SCALES:
        near = difflib.get_close_matches(str(axis.scale), SCALES, n=1) or SCALES
        raise ValueError(f"{which}: scale {axis.scale!r} is unknown; pass {' or '.join(near)}")
    if axis.values is not None:
        return axis._replace(values=_checked_values(which, axis))
    if axis.static:
        raise ValueError(f"{which}: a static axis needs values, one program each; pass values=(2, 4, 8), say")
    return axis._replace(**_checked_ends(which, axis, axis.low, axis.high))


def windowed(axis: Axis, which: str, window: Any) -> Axis:
    """Give the part of an axis within a window.

    Parameters
    ----------
    axis
        Checked.
    which
        "window's x", say.
    window
        Two numbers.

    Returns
    -------
    Axis

    Raises
    ------
    ValueError
        If it is empty, reversed, or no part of the axis.
    """
    try:
        low, high = (float(end) for end in window)
    except (TypeError, ValueError):
        raise ValueError(f"{which}: {window!r} is not two numbers; pass (low, high)") from None
    if axis.values is None:
        return axis._replace(**_checked_ends(which, axis, low, high))
    inside = tuple(value for value in axis.values if low <= value <= high)
    if len(inside) < 2:
        raise ValueError(f"{which}: {len(inside)} of the axis's values lie in {low:g} .. {high:g}; leave at least 2")
    return axis._replace(values=inside)


def check_resolution(resolution: Any) -> tuple[int, int]:
    """Give the number of cells along x and y.

    Parameters
    ----------
    resolution
        One number for both, or (X, Y).

    Returns
    -------
    X, Y

    Raises
    ------
    ValueError
        If one is below 2.
    """
    pair = tuple(resolution) if isinstance(resolution, (tuple, list)) else (resolution, resolution)
    if len(pair) != 2:
        raise ValueError(f"resolution: {resolution!r} is no number of cells; pass one for both axes, or (X, Y)")
    across, down = (check_count("resolution", one, "pass the cells along an axis, as 512", 2) for one in pair)
    return across, down


def cells_of(axis: Axis, number_of_cells: int, offset: float, former: Collection[Line] = ()) -> Line:
    """Say where the cells of an axis stand, on those of a former map where the widths of both fit together.

    Parameters
    ----------
    axis
        Checked.
    number_of_cells
        X; of an axis with values it is their number.
    offset
        In each cell, where no former map says otherwise.
    former
        The same hyperparameter of former maps; the first counts whose cells are a whole number of times as wide, or
        go into one a whole number of times.

    Returns
    -------
    Line
    """
    if axis.values is not None:
        return Line(axis, np.asarray(axis.values, float), math.nan)
    low, high = coordinate(axis, axis.low), coordinate(axis, axis.high)
    width = (high - low) / number_of_cells
    for other in former:
        if other.axis.values is None and other.axis.scale == axis.scale:
            ratio = max(other.width / width, width / other.width)
            if abs(ratio - round(ratio)) <= SAME * ratio:
                places = coordinate(axis, other.positions)
                nearest = places[np.argmin(np.abs(places - low - offset * width))]
                offset = float((nearest - low) / width % 1.0)
                break
    positions = at_coordinate(axis, low + width * (np.arange(number_of_cells) + offset))
    return Line(axis, positions, offset)


def coinciding(line: Line, other: Line) -> tuple[np.ndarray, np.ndarray]:
    """Find cells of two lines that stand at one place.

    Parameters
    ----------
    line, other
        Of one hyperparameter.

    Returns
    -------
    array, array
        Indices in the first and in the second, of equal length.
    """
    if line.axis.scale != other.axis.scale or line.axis.static != other.axis.static:
        return np.zeros(0, int), np.zeros(0, int)
    own, theirs = (coordinate(line.axis, one.positions) for one in (line, other))
    at = np.clip(np.searchsorted(own, theirs), 1, own.size - 1)
    at = np.where(theirs - own[at - 1] < own[at] - theirs, at - 1, at)
    near = np.abs(own[at] - theirs) <= SAME * np.min(np.diff(own))
    return at[near], np.flatnonzero(near)


def coordinate(axis: Axis, values: Any) -> Any:
    """Where values stand on an axis's scale."""
    return np.log10(values) if axis.scale == "log" else np.asarray(values, float)


def at_coordinate(axis: Axis, places: Any) -> Any:
    """Which values stand at places on an axis's scale."""
    return np.power(10.0, places) if axis.scale == "log" else np.asarray(places, float)


def _checked_ends(which, axis, low, high):
    try:
        low, high = float(low), float(high)
    except (TypeError, ValueError):
        raise ValueError(f"{which}: {low!r} .. {high!r} are not two numbers; pass where {axis.name} goes") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        kind = "reversed" if high < low else "empty" if low == high else "without an end"
        raise ValueError(
            f"{which}: {axis.name} from {low:g} to {high:g} is {kind}; pass finite ends, the lower one first"
        )
    if axis.scale == "log" and low <= 0:
        raise ValueError(f"{which}: {axis.name} from {low:g} has no logarithm; begin above 0, or pass linear")
    line = np.linspace(low, high, 3)
    if not (np.diff(line) > 0).all():
        raise ValueError(f"{which}: between {low!r} and {high!r} there is no other number; pass a wider window")
    return {"low": low, "high": high}


def _checked_values(which, axis):
    try:
        values = tuple(axis.values)
        floats = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        raise ValueError(f"{which}: values {axis.values!r} are no numbers; pass them ascending") from None
    if floats.size < 2 or not np.all(np.isfinite(floats)) or not np.all(np.diff(floats) > 0):
        raise ValueError(f"{which}: values {values!r} are not at least 2 finite numbers, ascending; pass such")
    if axis.scale == "log" and floats[0] <= 0:
        raise ValueError(f"{which}: {axis.name} from {floats[0]:g} has no logarithm; begin above 0, or pass linear")
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)
