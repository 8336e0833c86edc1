"""Sharpness against time at several step sizes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.scales import label_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gdx.studies.reproductions import EdgeOfStability, EdgePanel

# Okabe and Ito's, in an order in which neighbours differ in grey as well.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
ABOVE, WIDE = 1.75, 20.0
"""Times the largest edge that is shown; and from which ratio of sharpnesses the axis is logarithmic."""
PANEL_WIDTH = 46
"""Characters of a panel's title in one line."""
TITLE_WIDTH = 100


def edge_of_stability(found: EdgeOfStability, *, title: str = "", figure: Figure | None = None) -> np.ndarray:
    """Draw the sharpness of every run, with the level at which its step size is at the edge, and the loss below.

    Parameters
    ----------
    found
        From `gdx.studies.edge_of_stability`.
    title
        Above the picture.
    figure
        To draw into; by default a new one.

    Returns
    -------
    array of Axes
        [2, panels].

    Examples
    --------
    Continues the example of `gdx.studies.edge_of_stability`.

    >>> gdx.plots.edge_of_stability(found).shape
    (2, 1)
    """
    if figure is None:
        import matplotlib.pyplot as plt

        width = max(7.0, 5.2 * len(found.panels))
        figure = plt.figure(figsize=(width, 7.0), layout="constrained")
    axes = figure.subplots(2, len(found.panels), height_ratios=(2, 1), sharex="col", squeeze=False)
    for (upper, lower), panel in zip(axes.T, found.panels, strict=True):
        _draw(upper, lower, panel)
    axes[0, 0].set_ylabel("sharpness: largest curvature of the loss")
    axes[1, 0].set_ylabel("loss")
    figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=11)
    return axes


def _draw(upper: Axes, lower: Axes, panel: EdgePanel):
    top = ABOVE * float(np.max(panel.edges))
    shown = panel.sharpness[np.isfinite(panel.sharpness) & (panel.sharpness > 0)]
    is_log = bool(shown.size) and top > WIDE * float(np.percentile(shown, 5))
    for at, (step_size, edge) in enumerate(zip(panel.step_sizes, panel.edges, strict=True)):
        colour = COLOURS[at % len(COLOURS)]
        ends = ~panel.is_bounded[at]
        fate = "" if not ends.any() else f", {ends.sum()} of {ends.size} starts diverge (x)"
        upper.axhline(edge, color=colour, linestyle="--", linewidth=1.2)
        upper.plot([], [], color=colour, linewidth=1.6, label=rf"$\eta$ = {step_size:g}{fate}")
        for repeat, is_bounded in enumerate(panel.is_bounded[at]):
            own, loss = panel.sharpness[at, repeat], panel.loss[at, repeat]
            style = {"color": colour, "linewidth": 1.6 if repeat == 0 else 0.6, "alpha": 1.0 if repeat == 0 else 0.5}
            finite = np.isfinite(own) & np.isfinite(loss)
            upper.plot(panel.steps[finite], np.minimum(own[finite], 2 * top), **style)
            lower.plot(panel.steps[finite], loss[finite], **style)
            if not is_bounded and finite.any():
                last = int(np.flatnonzero(finite)[-1])
                upper.plot(panel.steps[last], min(own[last], top / 1.02), "x", color=colour, markersize=6, zorder=5)
    label = rf"{panel.threshold:.4g} / $\eta$, the edge of stability"
    upper.plot([], [], color="black", linestyle="--", linewidth=1.2, label=label)
    if is_log:
        low = float(np.percentile(shown, 1)) / 1.5
        upper.set_yscale("log")
        upper.set_ylim(low, 3 * top)
        label_log(upper.yaxis, low, 3 * top)
    else:
        upper.set_ylim(0, top)
    lower.set_yscale("log")
    bounded = panel.loss[panel.is_bounded]
    if np.isfinite(bounded).any():
        lower.set_ylim(np.nanmin(bounded) / 2, 5 * np.nanmax(bounded))
    upper.set_xlim(0, panel.steps[-1])
    upper.set_title(textwrap.fill(panel.name, PANEL_WIDTH), fontsize=10)
    upper.legend(fontsize=8, loc="lower right" if is_log else "upper right", framealpha=0.9)
    lower.set_xlabel("step")
    for axis in (upper, lower):
        axis.grid(alpha=0.25, linewidth=0.5)
