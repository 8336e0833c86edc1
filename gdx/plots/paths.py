"""Paths of several optimizers over one landscape, and beside them how high they still are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.plots.routes import Route, marked_rows, route
from gdx.plots.scales import label_log
from gdx.studies import Comparison, Path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# Okabe and Ito's palette without its yellow, which is lost on white. With 7 colours, 12 markers and 5 kinds of dashes
# no two of 84 optimizers share colour and marker, and none needs its colour to be known.
COLOURS = ("#0072B2", "#D55E00", "#000000", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "h", ">", "p", "d")
DASHES = ("-", (0, (5, 1.5)), (0, (5, 1, 1, 1)), (0, (1.5, 1)), (0, (8, 1, 1, 1, 1, 1)))
MARKERS_ON_A_PATH = 6
LEVELS = 14
DECADES = 3.5
"""Of heights that contours tell apart, at most; deeper ones would crowd around the minimum."""
SMALLEST_SHARE = 0.005
"""Of the window that lies within the innermost contours, at least."""
DARKEST = 0.25
"""Grey of the highest ground, 1 being black; paths must stand out against it."""

HEAD_ORDER = 5
"""Last points lie above the paths and minima, below the start and the marks on the border."""
TITLE: dict[str, Any] = {"fontsize": 11, "pad": 12}
"""Clear of the marks on the border."""


class Drawn(NamedTuple):
    """What one optimizer has in the picture."""

    path: Path
    route: Route
    marked: np.ndarray
    """Rows of the route that carry a marker."""
    line: Line2D
    head: Line2D
    """The last point, where it is in the window."""
    exits: list[Line2D]
    curve: Line2D
    heights: np.ndarray


def trajectories(
    found: Comparison, *, title: str | None = None, axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """Draw the paths over the contours of their landscape, and height against step.

    Colour is never the only cue: every optimizer has its own dashes and marker too. Contours are logarithmic in the
    height above the minimum where there is one. A path that leaves the window is drawn to the border and marked there.

    Parameters
    ----------
    found
        As `gdx.studies.compare` gives it.
    title
        Above the paths; by default the landscape, the number of steps and the start.
    axes
        Two axes to draw into, left and right; by default a new figure.

    Returns
    -------
    (Axes, Axes)

    Examples
    --------
    Continues the example of `gdx.studies.compare`.

    >>> paths_axes, heights_axes = gdx.plots.trajectories(found)
    >>> heights_axes.get_yscale()
    'log'
    """
    left, right = new_axes() if axes is None else axes
    draw(left, right, found)
    left.set_title(headline(found) if title is None else title, **TITLE)
    return left, right


def headline(found: Comparison) -> str:
    """Say what is shown.

    Parameters
    ----------
    found
        As `gdx.studies.compare` gives it.

    Returns
    -------
    str

    Examples
    --------
    Continues the example of `gdx.studies.compare`.

    >>> print(gdx.plots.headline(found))
    ravine: 50 steps from (-3.5, -0.5)
    """
    x, y = found.start
    return f"{found.landscape.name}: {found.num_steps} steps from ({x:g}, {y:g})"


def new_axes() -> tuple[Axes, Axes]:
    """Make a figure with room for the legend at its right.

    Returns
    -------
    (Axes, Axes)
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), layout="constrained")
    del figure
    return left, right


def draw(left: Axes, right: Axes, found: Comparison) -> list[Drawn]:
    """Draw everything but the title.

    Parameters
    ----------
    left, right
        Axes for the paths and for the heights.
    found
        As `gdx.studies.compare` gives it.

    Returns
    -------
    list of Drawn
        One an optimizer.
    """
    _draw_contours(left, found)
    lowest, highest = _prepare_curves(right, found)
    drawn = [_draw_one(left, right, found, number, (lowest, highest)) for number in range(len(found.paths))]
    signs = _draw_signs(left, found)
    if any(one.exits for one in drawn):
        signs.append(_sign((3, 0, 0), "0.6", 9, "leaves the window"))
    signs.append(_sign("o", "0.6", 8, "last step"))
    (x0, x1, y0, y1) = found.landscape.window
    left.set(xlim=(x0, x1), ylim=(y0, y1), xlabel="x", ylabel="y")
    left.set_aspect("equal")
    right.legend(
        handles=[one.curve for one in drawn] + signs,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        fontsize=9,
        frameon=False,
        handlelength=4,
        labelspacing=0.8,
    )
    return drawn


def _draw_contours(axis, found):
    surface = found.surface if found.minimum is None else found.surface - found.minimum
    highest = np.abs(surface).max()
    if found.minimum is None:
        # On both sides of the saddle, denser near it.
        half = highest * np.linspace(0, 1, LEVELS // 2 + 1)[1:] ** 2
        levels = np.concatenate([-half[::-1], [0.0], half])
    else:
        lowest = max(np.quantile(surface, SMALLEST_SHARE), highest / 10**DECADES)
        levels = np.concatenate([[0.0], np.geomspace(lowest, highest, LEVELS)])
    greys = [str(1 - shade) for shade in np.linspace(0, DARKEST, len(levels) - 1)]
    axis.contourf(found.x, found.y, surface, levels=levels, colors=greys, zorder=0)
    style: dict[str, Any] = {"colors": "0.55", "linestyles": "solid", "linewidths": 0.5}
    axis.contour(found.x, found.y, surface, levels=levels, **style, zorder=1)


def _prepare_curves(axis, found):
    """Scale and label the right axes; returns the heights between which curves are drawn."""
    axis.set(xlabel="step", xlim=(0, found.num_steps))
    axis.grid(alpha=0.25, linewidth=0.5)
    if found.minimum is None:
        # Beyond the window there is nothing to see.
        axis.set(xlim=(0, max(_seen_until(path, found.num_steps) for path in found.paths)))
        lowest, highest = found.surface.min(), found.surface.max()
        margin = 0.05 * (highest - lowest)
        axis.set(ylabel="loss", ylim=(lowest - margin, highest + margin))
        return lowest - 2 * margin, highest + 2 * margin
    seen = np.concatenate([path.height[np.isfinite(path.height)] for path in found.paths])
    # A run that blows up must not press all others flat.
    highest = min(seen.max(), 1e3 * max(found.surface.max() - found.minimum, seen.min()))
    axis.set(ylabel="loss above the minimum", yscale="log", ylim=(seen.min() / 2, 2 * highest))
    label_log(axis.yaxis, seen.min() / 2, 2 * highest)
    return seen.min() / 10, 10 * highest


def _draw_one(left, right, found, number, limits):
    path, window = found.paths[number], found.landscape.window
    style: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 1.5,
        "markersize": 6,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }
    offset = (number + 1) / (len(found.paths) + 1)
    way = route(path.params, window)
    marked = marked_rows(way.points, window, MARKERS_ON_A_PATH, offset)
    (line,) = left.plot(*way.points.T, **style, markevery=marked.tolist(), zorder=3)
    bare = {"linestyle": "none", "markeredgecolor": "black", "clip_on": False}
    (head,) = left.plot(*way.points[-1:].T, **(style | bare | {"markersize": 8}), zorder=HEAD_ORDER)
    exits = []
    for point in way.exits:
        pointing = {"marker": (3, 0, _outwards(point, window)), "markersize": 11}
        exits.extend(left.plot(*point, **(style | bare | pointing), zorder=7))
    is_finite = np.isfinite(path.height) & np.isfinite(path.params).all(axis=1)
    heights = np.where(is_finite, np.clip(path.height, *limits), np.nan)
    every = max(int(right.get_xlim()[1]) // MARKERS_ON_A_PATH, 1)
    (curve,) = right.plot(heights, **style, markevery=(int(offset * every), every), zorder=3, label=_label(path, found))
    return Drawn(path, way, marked, line, head, exits, curve, heights)


def _outwards(point, window):
    """Degrees by which a triangle that points up is turned to point out of the side it stands on."""
    gaps = {90: point[0] - window[0], -90: window[1] - point[0], 180: point[1] - window[2], 0: window[3] - point[1]}
    return min(gaps, key=lambda angle: gaps[angle])


def _seen_until(path, num_steps):
    return num_steps if path.left_at is None else path.left_at + 1


def _label(path, found):
    if found.minimum is not None and path.nonfinite_at is not None:
        return f"{path.label} (not finite from {path.nonfinite_at})"
    return path.label if path.left_at is None else f"{path.label} (leaves at {path.left_at})"


def _draw_signs(axis, found):
    """Mark start, minima and saddle; returns what the legend says of them."""
    signs = [_sign("o", "white", 8, "start")]
    axis.plot(*found.start, "o", color="white", markeredgecolor="black", markersize=8, zorder=6)
    if len(found.landscape.minima):
        signs.append(_sign("*", "white", 13, "minimum"))
        axis.plot(*found.landscape.minima.T, "*", color="white", markeredgecolor="black", markersize=16, zorder=4)
    if found.landscape.saddle is not None:
        signs.append(_sign("X", "white", 9, "saddle"))
        axis.plot(*found.landscape.saddle, "X", color="white", markeredgecolor="black", markersize=9, zorder=2)
    return signs


def _sign(marker, colour, size, label):
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"color": colour, "markeredgecolor": "black", "linestyle": "none"}
    return Line2D([], [], marker=marker, markersize=size, label=label, **style)
