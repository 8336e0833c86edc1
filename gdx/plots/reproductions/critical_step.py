"""The asymptotic gradient norm against the step size, network by network."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.plots.scales import label_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gdx.studies.reproductions import Control, CriticalStep, DigitsPanel, LinearPanel

# Okabe and Ito's.
COLOURS, MARKERS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7"), ("o", "s", "D", "v")
UNKNOWN = "#777777"
FLOOR, CEILING = 1e-10, 30.0
"""Gradient norms below which all are drawn at one height, and at which those of diverged runs are."""
DIGITS_NORMS = (1e-7, 30.0)
"""Gradient norms on the digits, between which all are drawn."""
SIDE = 0.004
"""By which networks of one panel stand beside each other."""
ROWS = {"whitened": "linear, whitened inputs", "raw": "linear, inputs not whitened"}
TITLE_WIDTH = 120


def critical_step(found: CriticalStep, *, title: str = "", figure: Figure | None = None) -> np.ndarray:
    """Draw a panel for every kind and depth of network: gradient norm over the tail against step size.

    Linear networks have their step sizes as multiples of eta_crit, a dot a run; networks on the digits the median of
    their starts, the range of their edges as a bar. Below them the losses without a critical step size.

    Parameters
    ----------
    found
        From `gdx.studies.critical_step`.
    title
        Above the picture.
    figure
        To draw into; by default a new one.

    Returns
    -------
    array of Axes
        [rows, columns]; those without a network are hidden.

    Examples
    --------
    Continues the example of `gdx.studies.critical_step`.

    >>> gdx.plots.critical_step(found).shape
    (4, 2)
    """
    rows = _rows(found)
    depths = sorted({one.depth for one in (*found.linear, *found.digits)})
    num_columns = max(len(depths), len(found.controls))
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(4.6 * num_columns + 0.4, 3.0 * (len(rows) + 1) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows) + 1, num_columns, squeeze=False)
    for axis in axes.flat:
        axis.set_visible(False)
    for line, (name, panels, draw) in zip(axes, rows, strict=False):
        for axis, depth in zip(line, depths, strict=False):
            mine = [one for one in panels if one.depth == depth]
            if mine:
                axis.set_visible(True)
                axis.set_title(f"{name}: {depth} layers", fontsize=9)
                draw(axis, mine)
                _finish(axis)
    for axis, control in zip(axes[-1], found.controls, strict=False):
        axis.set_visible(True)
        _draw_control(axis, control)
        _finish(axis)
    figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=11)
    return axes


def _rows(found):
    rows: list[tuple[str, list[Any], Any]] = [
        (ROWS["whitened"], [one for one in found.linear if one.is_whitened], _draw_linear),
        (ROWS["raw"], [one for one in found.linear if not one.is_whitened], _draw_linear),
    ]
    for loss in dict.fromkeys(one.loss for one in found.digits):
        rows.append((f"digits, {loss}", [one for one in found.digits if one.loss == loss], _draw_digits))
    return [row for row in rows if row[1]]


def _finish(axis):
    axis.set_yscale("log")
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.tick_params(labelsize=8)
    if not axis.get_ylabel():
        axis.set_ylabel("gradient norm over the tail", fontsize=8)


def _draw_linear(axis: Axes, panels: Sequence[LinearPanel]):
    number, total, is_known = 0, 0, False
    for at, one in enumerate(panels):
        has_crit = math.isfinite(one.eta_crit)
        unit = one.eta_crit if has_crit else one.last_success
        number, total = (old + new for old, new in zip((number, total), one.above, strict=True))
        is_known |= has_crit
        label = f"width {one.width}" + ("" if has_crit else "*")
        colour = COLOURS[at % len(COLOURS)] if has_crit else UNKNOWN
        x = np.broadcast_to(
            (one.step_sizes / unit + SIDE * (at - (len(panels) - 1) / 2))[:, None], one.gradient_norm.shape
        )
        has_tail = np.isfinite(one.gradient_norm)
        y = np.where(has_tail, np.clip(one.gradient_norm, FLOOR, CEILING), 2 * CEILING)
        style: dict[str, Any] = {"s": 9, "linewidths": 0.4, "alpha": 0.35}
        looks: dict[str, Any] = {
            "facecolors": colour if has_crit else "none",
            "edgecolors": "none" if has_crit else colour,
        }
        axis.scatter(x[has_tail], y[has_tail], marker=MARKERS[at % 4], **style, **looks, rasterized=True)
        axis.scatter(x[~has_tail], y[~has_tail], marker="^", color=colour, **style, rasterized=True)
        axis.scatter([], [], s=14, marker=MARKERS[at % 4], **looks, label=label)
    if panels[0].is_whitened and panels[0].depth == 2:
        beyond = np.linspace(1.0005, math.sqrt(5) - 1, 200)
        label = r"law: $\sqrt{2(\eta-1)}/\eta^{1.5}$"
        axis.plot(beyond, np.sqrt(2 * (beyond - 1)) / beyond**1.5, color="black", linewidth=1, label=label)
    axis.set_ylim(FLOOR / 3, 8 * CEILING)
    axis.set_xlim(0.25, 1.35)
    is_whole = all(math.isfinite(one.eta_crit) for one in panels)
    star = "" if is_whole else r"   (* unknown: over the last that converged)"
    axis.set_xlabel(rf"step size / $\eta_{{crit}}${star}", fontsize=8)
    if is_known:
        axis.axvline(1, color="black", linestyle="--", linewidth=1)
        axis.axvspan(1, 1.35, color="#D55E00", alpha=0.08, linewidth=0)
        text = f"{number} of {total:,} runs\nconverge here"
        axis.text(1.02, 1e-6, text, ha="left", va="center", fontsize=8)
    axis.scatter([], [], s=14, marker="^", color="black", linewidths=0, label="diverged")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(0.0, 0.6), framealpha=0.9)


def _draw_digits(axis: Axes, panels: Sequence[DigitsPanel]):
    low, high = DIGITS_NORMS
    for at, one in enumerate(panels):
        colour = COLOURS[at % len(COLOURS)]
        grid = np.broadcast_to(one.step_sizes[:, None], one.gradient_norm.shape)
        # Runs that have no tail diverged.
        norms = np.clip(np.where(np.isfinite(one.gradient_norm), one.gradient_norm, np.inf), low, high)
        failed = ~one.trains
        axis.scatter(grid[one.trains], norms[one.trains], s=7, color=colour, alpha=0.5, linewidths=0)
        axis.scatter(
            grid[failed], norms[failed], s=14, marker="x", color=colour, alpha=0.5, linewidths=0.8, clip_on=False
        )
        most = one.trains.mean(axis=1) >= 0.5
        median = [np.median(row[own]) for row, own in zip(norms[most], one.trains[most], strict=True)]
        is_known = np.isfinite(one.edges).any()
        edge = f"{np.nanmin(one.edges):.2g} to {np.nanmax(one.edges):.2g}" if is_known else "none in this range"
        axis.plot(one.step_sizes[most], median, color=colour, linewidth=1.2, label=f"{one.activation}: edge {edge}")
        if is_known:
            axis.axvspan(np.nanmin(one.edges), np.nanmax(one.edges), color=colour, alpha=0.15, linewidth=0)
            axis.axvline(np.nanmedian(one.edges), color=colour, linestyle="--", linewidth=1)
    axis.set_xscale("log")
    left, right = panels[0].step_sizes[0] / 1.1, panels[0].step_sizes[-1] * 1.1
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)
    label_log(axis.xaxis, left, right)
    axis.plot([], [], color="black", linestyle="--", linewidth=1, label="edge; band: of all starts")
    axis.plot([], [], "x", color="black", markersize=4, label="does not train: dead or diverged")
    axis.set_xlabel("step size", fontsize=8)
    axis.legend(fontsize=6.5, loc="lower left", framealpha=0.85)


def _draw_control(axis: Axes, control: Control):
    grid = np.broadcast_to(control.step_sizes[:, None], control.gradient_norm.shape)
    axis.scatter(grid, np.clip(control.gradient_norm, FLOOR, None), s=10, color=COLOURS[0], linewidths=0, alpha=0.6)
    axis.axhline(control.bound, color="black", linestyle=":", linewidth=1, label=f"check: all below {control.bound:g}")
    axis.set_xscale("log")
    low, high = control.step_sizes[0] / 1.5, control.step_sizes[-1] * 1.5
    axis.set_xlim(low, high)
    label_log(axis.xaxis, low, high)
    axis.set_ylim(FLOOR / 3, 10)
    axis.set_title(f"control, no critical step size:\n{control.name}", fontsize=9)
    axis.set_xlabel("step size", fontsize=8)
    axis.legend(fontsize=7, loc="upper right")
