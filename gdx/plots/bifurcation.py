"""The picture of what runs do beyond the edge."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.palette import COLOURS, EXPECTED
from gdx.studies import Bifurcation
from gdx.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARE = (0.5, 99.5)
"""Percentiles of what is visited between which the height lies: a run that leaves passes through any value."""
FEW_DOTS, MOST_DOTS = 40_000, 400_000
"""Fewer are drawn larger; more of them are thinned out."""
LOWEST_EXPONENT = -1.5
"""Below which superstable cycles have their spikes, down to minus infinity."""
TITLE_WIDTH = 90
ROOM = 0.01
"""Beside the first and the last step size."""


def bifurcation(found: Bifurcation, *, title: str = "", axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """Draw the values that runs visit last against step size, and under them their Lyapunov exponents with bars.

    Colours are those of verdicts; lines mark the edge, further doublings, the onset of chaos and jumps.

    Parameters
    ----------
    found
        The study's values.
    title
        Above the picture.
    axes
        Two axes to draw into, upper and lower; by default a new figure.

    Returns
    -------
    (Axes, Axes)

    Examples
    --------
    Continues the example of `gdx.studies.bifurcation`.

    >>> upper, lower = gdx.plots.bifurcation(found)
    >>> upper.get_ylabel(), lower.get_xlabel()
    ('parameter 0', 'step size')
    """
    if axes is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(10, 7.5), constrained_layout=True)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    else:
        upper, lower = axes
    codes = found.verdicts
    _visited(upper, found, codes)
    _exponents(lower, found, codes)
    _marks(upper, lower, found)
    upper.set_ylabel(found.shown)
    upper.set_title("\n".join(textwrap.wrap(title, TITLE_WIDTH)), fontsize=11)
    lower.set_xlabel("step size")
    lower.set_ylabel("Lyapunov exponent\na step")
    low, high = found.step_sizes[[0, -1]]
    upper.set_xlim(low - ROOM * (high - low), high + ROOM * (high - low))
    _legend(upper, codes)
    return upper, lower


def _visited(axis, found, codes):
    values, sizes = found.values, found.step_sizes
    stride = max(1, values.size // MOST_DOTS)
    for verdict in Verdict:
        rows, starts = np.nonzero(codes == verdict)
        if verdict is Verdict.DIVERGED or not rows.size:
            continue
        seen = values[rows, starts][:, ::stride]
        places = np.repeat(sizes[rows], seen.shape[1])
        # Few of them as dots, many as single points.
        style = {"marker": ".", "markersize": 2.5} if values.size < FEW_DOTS else {"marker": ","}
        axis.plot(places, seen.ravel(), linestyle="", color=COLOURS[verdict], alpha=0.8, rasterized=True, **style)
    kept = values[np.isfinite(values)]
    if kept.size:
        low, high = np.percentile(kept, SHARE)
        room = 0.08 * (high - low) or 1.0
        axis.set_ylim(low - room, high + room)
    left = np.mean(codes == Verdict.DIVERGED, axis=1)
    if left.any():
        ends = np.flatnonzero(left > 0.5)
        note = f"{np.sum(codes == Verdict.DIVERGED)} of {codes.size} runs left"
        where = f", more than half of the starts from {sizes[ends[0]]:.4g} on" if ends.size else ""
        axis.text(0.99, 0.02, note + where, transform=axis.transAxes, ha="right", fontsize=8, color=EXPECTED)


def _legend(axis, codes):
    """Of dots as large as can be seen."""
    from matplotlib.lines import Line2D

    shown = [verdict for verdict in Verdict if verdict is not Verdict.DIVERGED and np.any(codes == verdict)]
    handles = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS[verdict], label=verdict.name.lower())
        for verdict in shown
    ]
    axis.legend(handles=handles, loc="center left", fontsize=8, framealpha=0.9)


def _exponents(axis, found, codes):
    shown = found.exponents.copy()
    shown[~np.isfinite(shown)] = np.nan
    for start in range(shown.shape[1]):
        middle, bar = shown[:, start], found.errors[:, start]
        axis.fill_between(found.step_sizes, middle - bar, middle + bar, color="#BBBBBB", linewidth=0, alpha=0.7)
    rows, starts = np.nonzero(np.isfinite(shown))
    colours = [COLOURS[Verdict(code)] for code in codes[rows, starts]]
    axis.scatter(found.step_sizes[rows], shown[rows, starts], s=3, c=colours, linewidths=0, zorder=3)
    axis.axhline(0, color="black", linewidth=0.8)
    known = shown[np.isfinite(shown)]
    if known.size:
        low, high = max(known.min(), LOWEST_EXPONENT), known.max()
        room = 0.1 * max(high - low, 0.1)
        axis.set_ylim(low - room, max(high, 0) + room)


def _marks(upper, lower, found):
    lines = [(one.step_size, f"period {one.period} doubles") for one in found.cascade.doublings[1:3]]
    if np.isfinite(found.edge.estimate.value):
        lines.insert(0, (found.edge.estimate.value, "edge"))
    if np.isfinite(found.onset):
        lines.append((found.onset, "chaos"))
    lines += [(jump.lower, "range jumps") for jump in found.jumps[:3]]
    low, high = found.step_sizes[[0, -1]]
    for place, name in lines:
        if not low <= place <= high:
            continue
        for axis in (upper, lower):
            axis.axvline(place, color=EXPECTED, linewidth=0.8, linestyle=":")
        upper.text(
            place,
            0.98,
            f" {name} {place:.5g}",
            transform=upper.get_xaxis_transform(),
            rotation=90,
            va="top",
            ha="right",
            fontsize=7,
            color="#444444",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )
