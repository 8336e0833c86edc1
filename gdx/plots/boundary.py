"""How rough a boundary is: the curves that its dimension was read off, beside those of smooth ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.palette import EXPECTED
from gdx.plots.scales import label_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdx.maps import BoundaryStatistics, Dimension

ROADS = {"box": ("boxes that see more than one label", "o"), "uncertainty": ("pairs whose labels differ", "s")}
OWN = "#0072B2"
CONTROLS = (("#D55E00", "-"), ("#E69F00", "--"), ("#CC79A7", "-."), ("#009E73", ":"))
LONGEST = 120
"""Characters of a line above the picture."""


def boundary(found: BoundaryStatistics, *, title: str = "", axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """Draw the shares of boxes and of pairs on the boundary against their size, with those of the controls.

    A dimension is 2 less the slope of such a curve; a smooth boundary's slope is 1, as that of the dotted line.
    Curves of controls are moved up or down to meet the boundary's own at its coarsest scale, where they would not
    otherwise be on the picture together: slopes count, not heights.

    Parameters
    ----------
    found
        From `gdx.maps.boundary_statistics`.
    title
        Above the picture, before the verdict.
    axes
        Two axes to draw into; by default a new figure.

    Returns
    -------
    (Axes, Axes)
        Of boxes, and of pairs.

    Examples
    --------
    Continues the example of `gdx.maps.boundary_statistics`.

    >>> boxes, pairs = gdx.plots.boundary(found)
    >>> boxes.get_xscale(), pairs.get_xlabel()
    ('log', 'distance, sides of the window')
    """
    import textwrap

    if axes is None:
        import matplotlib.pyplot as plt

        _, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained")
    else:
        left, right = axes
    for panel, road in ((left, "box"), (right, "uncertainty")):
        _draw_road(panel, found, road)
    horizon = "" if found.horizon is None else f", {found.horizon:,} steps"
    rows, columns = found.resolution
    verdict = f"{found.verdict.value}: {found.note} ({columns} x {rows} points{horizon})"
    told = textwrap.fill(verdict, LONGEST)
    left.figure.suptitle(f"{title}\n{told}" if title else told, x=0.01, ha="left", fontsize=10)
    return left, right


def _draw_road(panel, found, road):
    name, marker = ROADS[road]
    own: Dimension = getattr(found, road)
    shown = [(own, "this boundary", OWN, marker, "-")]
    for (label, control), (colour, line) in zip(found.controls.items(), CONTROLS, strict=False):
        shown.append((getattr(control, road), label, colour, "", line))
    panel.set_xscale("log")
    panel.set_yscale("log")
    anchor = _anchor(own.law)
    for dimension, label, colour, mark, line in shown:
        law = dimension.law
        if not law.scales.size:
            panel.plot([], [], color=colour, marker=mark, label=f"{label}: {dimension.note}")
            continue
        lift = 1.0 if anchor is None or dimension is own else _lift(law, anchor)
        text = f"{label}: " + (
            f"{dimension.value:.3f} ± {dimension.error:.3f}" if math.isfinite(dimension.value) else "no dimension"
        )
        panel.plot(law.scales, lift * law.shares, color=colour, marker=mark, markersize=4, linestyle=line, label=text)
    if anchor is not None:
        _draw_smooth(panel, own.law)
    panel.set_title(f"share of {name}", fontsize=10, loc="left")
    panel.set_xlabel(("size of a box" if road == "box" else "distance") + ", sides of the window")
    panel.grid(alpha=0.25, linewidth=0.5)
    for axis, limits in ((panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())):
        label_log(axis, *limits)
    panel.legend(title="dimension", fontsize=8, title_fontsize=8, frameon=False, loc="upper left")


def _anchor(law):
    return (law.scales[-1], law.shares[-1]) if law.scales.size else None


def _lift(law, anchor):
    """What brings a curve to the height of another at its coarsest scale that both have."""
    at = int(np.argmin(np.abs(np.log(law.scales / anchor[0]))))
    return anchor[1] / law.shares[at]


def _draw_smooth(panel, law):
    low, high = law.scales[0], law.scales[-1]
    ends = [law.shares[-1] * low / high, law.shares[-1]]
    panel.plot([low, high], ends, color=EXPECTED, linewidth=0.9, linestyle=":", label="slope of a smooth one")
