"""An atlas in one picture: optimizers x problems, each with the step sizes that work."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.palette import FAILURE, SUCCESS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gdx.studies.atlas import Atlas, Cell

ROW_HEIGHT, NAME_WIDTH, PANEL_WIDTH, MARGIN = 0.165, 1.9, 1.75, 1.5
"""Inches."""
WINDOW = (1e-5, 1e3)
"""Step sizes that a panel shows at most; what goes on beyond has an arrow."""
TRAINS, GOOD = "#A9CCE3", "#0072B2"
SHADE = "#F2F2F2"
MOST_LABELS = 5
"""Of an axis."""
FEWEST_TURNED = 4
"""Rows of a group whose name, turned, has room beside them."""
SHORTEST = 34
"""Characters of a reason in a panel."""


def atlas(found: Atlas, *, title: str = "", figure: Figure | None = None) -> np.ndarray:
    """Draw which step sizes work, a row an optimizer and a panel a problem.

    Parameters
    ----------
    found
        From `gdx.studies.atlas`.
    title
        Above the picture.
    figure
        To draw into; by default a new one, as high as the optimizers need.

    Returns
    -------
    array of Axes
        One a problem.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> panels = gdx.plots.atlas(found)
    >>> len(panels)
    1
    """
    from matplotlib.patches import Patch

    num_rows, num_panels = len(found.rows), len(found.problems)
    if figure is None:
        import matplotlib.pyplot as plt

        size = (NAME_WIDTH + PANEL_WIDTH * num_panels, MARGIN + ROW_HEIGHT * num_rows)
        figure = plt.figure(figsize=size, layout="constrained")
    axes = np.ravel(figure.subplots(1, num_panels, sharey=True, squeeze=False))
    low, high = _window(found)
    for axis, (at, name) in zip(axes, enumerate(found.problems), strict=True):
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        _label(axis.xaxis, low, high)
        _shade_groups(axis, found)
        for place, row in enumerate(found.rows):
            _draw_cell(axis, place, row.cells[at], low, high)
        axis.set_title(name, fontsize=8)
        axis.tick_params(axis="x", labelsize=6.5)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3, linewidth=0.5)
        axis.set_axisbelow(True)
    axes[0].set_ylim(num_rows - 0.4, -0.6)
    axes[0].set_yticks(range(num_rows), [row.optimizer for row in found.rows], fontsize=7)
    handles = [
        Patch(color=GOOD, label="as good as the best"),
        Patch(color=TRAINS, label="every start trains"),
        axes[0].plot([], [], ".", color="white", markeredgecolor="black", label="best")[0],
        axes[0].plot([], [], "|", color=FAILURE, markeredgewidth=1.5, label="edge: first failure of any start")[0],
        axes[0].plot([], [], "x", color=SUCCESS, label="edge by threshold / sharpness")[0],
    ]
    _name_groups(axes[-1], found)
    look = {"fontsize": 7.5, "title_fontsize": 10, "alignment": "left", "frameon": False}
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(max(num_panels, 2), 5), title=title or None, **look
    )
    figure.supxlabel("step size", fontsize=8)
    return axes


def _window(found):
    ends = [end for cell in found.cells for end in (cell.trains_from, cell.good.upper, cell.first_failure.upper)]
    known = [end for end in ends if math.isfinite(end) and end > 0]
    low, high = (min(known) / 2, max(known) * 2) if known else WINDOW
    return max(low, WINDOW[0]), min(high, WINDOW[1])


def _label(axis, low, high):
    """Powers of ten, as many as a narrow panel has room for."""
    from matplotlib.ticker import FixedLocator, NullLocator

    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    stride = -(-len(powers) // MOST_LABELS)
    axis.set_major_locator(FixedLocator([10.0**power for power in powers if power % stride == 0]))
    axis.set_minor_locator(NullLocator())


def _name_groups(axis: Axes, found):
    start = 0
    for group, rows in itertools.groupby(found.rows, key=lambda row: row.group):
        size = len(list(rows))
        middle = start + (size - 1) / 2
        axis.annotate(
            group,
            (1, middle),
            (3, 0),
            xycoords=axis.get_yaxis_transform(),
            textcoords="offset points",
            rotation=0 if size < FEWEST_TURNED else -90,
            va="center",
            fontsize=6.5,
        )
        start += size


def _shade_groups(axis: Axes, found):
    start = 0
    for count, (_, rows) in enumerate(itertools.groupby(found.rows, key=lambda row: row.group)):
        size = len(list(rows))
        if count % 2 == 0:
            axis.axhspan(start - 0.5, start + size - 0.5, color=SHADE, linewidth=0, zorder=0)
        start += size


def _draw_cell(axis: Axes, place, cell: Cell, low, high):
    if math.isfinite(cell.trains_from) and math.isfinite(cell.trains_up_to.lower):
        _bar(axis, place, cell.trains_from, cell.trains_up_to.lower, 0.35, TRAINS, (low, high))
    if math.isfinite(cell.good.lower):
        _bar(axis, place, *cell.good, 0.62, GOOD, (low, high), cell.is_open)
        best = min(max(cell.best_step, low), high)
        if low < best < high:
            axis.plot(best, place, ".", color="white", markersize=3.5, zorder=4)
    else:
        note = cell.good_note if len(cell.good_note) <= SHORTEST else _short(cell.good_note)
        axis.text(math.sqrt(low * high), place, note, fontsize=5.5, ha="center", va="center", color="#444444")
    edge = cell.first_failure.upper
    if low < edge < high:
        axis.plot(edge, place, "|", color=FAILURE, markersize=6.5, markeredgewidth=1.5, zorder=5)
    if low < cell.predicted < high:
        axis.plot(cell.predicted, place, "x", color=SUCCESS, markersize=4, markeredgewidth=1.1, zorder=6)


def _bar(axis, place, left, right, height, colour, window, is_open=(False, False)):
    low, high = window
    left_shown, right_shown = max(left, low), min(right, high)
    if right_shown <= left_shown:
        # All of it lies beyond the panel.
        right_shown = left_shown = min(left_shown, high)
    width = max(right_shown, left_shown * 1.06) - left_shown
    axis.barh(place, width, left=left_shown, height=height, color=colour, linewidth=0, zorder=2)
    if height > 0.5:
        goes_on = (left < low or is_open[0], right > high or is_open[1])
        for beyond, end, mark in zip(goes_on, (left_shown, right_shown), ("<", ">"), strict=True):
            if beyond:
                axis.plot(end, place, mark, color=colour, markersize=4.5, clip_on=False, zorder=3)


def _short(note):
    """What stands in a panel; the tables have all of it."""
    for begins, said in SHORT_NOTES.items():
        if note.startswith(begins):
            return said
    return note[: SHORTEST - 3] + "..."


SHORT_NOTES = {
    "not run: its steps cost": "not run: steps too dear",
    "given up": "given up: too slow to run",
    "interrupted": "not run",
    "at no step size": "never every start",
    "no run learned": "learned nothing",
    "plain optax": "two roads disagree",
    "it cannot be run": "cannot be run",
    "no run had": "nothing stayed finite",
}
