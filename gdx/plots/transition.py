"""The picture of a phase transition."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.edges import Edge
from gdx.plots.palette import COLOURS, FAILURE, SUCCESS, TRAINING_COLOURS
from gdx.plots.scales import label_log
from gdx.sweeps import Runs
from gdx.verdicts import training_verdicts, verdicts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST_SHOWN = 1e-16
MOST_DOTS = 32
"""Starts that are drawn as a dot each; of more, a dot says how many there are at its height."""
NUM_CELLS = 40
"""Of height, within which runs of one verdict become one dot."""
LARGEST_DOT, SMALLEST_DOT = 60.0, 3.0
"""Areas of a dot that is all starts, and of one that is hardly any, square points."""
TITLE_WIDTH = 90
"""Characters of a title in one line."""
NOTABLE_SPREAD = 1.1
"""Factor between starts' own edges from which it is drawn."""


def transition(
    step_sizes: Any,
    runs: Runs,
    edge: Edge | None = None,
    *,
    law: Callable[[Any], Any] | None = None,
    predicted: Sequence[tuple[str, float]] = (),
    title: str = "",
    norm_scale: str | None = None,
    window: tuple[float, float] | None = None,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw the phase transition: tail gradient norm of every run, and under it the share of each verdict.

    Every run is a dot; of more than 32 starts those of one verdict and about one height share one, whose area is their
    share. Where the edge is one of training (criterion "trains") the height is the loss over the tail, and the
    verdicts are those of training.

    Parameters
    ----------
    step_sizes
        [S].
    runs
        Facts, leaves [S, R].
    edge
        Measured edges to mark.
    law
        Theory's tail gradient norm as a function of the step size; drawn where it is positive and finite.
    predicted
        Names and step sizes of predictions to mark.
    title
        Above the picture.
    norm_scale
        "linear" or "log" for the height; by default linear where there is a law, since that shows how the norm leaves
        zero, and log elsewhere, where it is positive.
    window
        Smallest and largest step size shown; by default of all.
    axes
        Two axes to draw into, upper and lower; by default a new figure.

    Returns
    -------
    (Axes, Axes)

    Raises
    ------
    ValueError
        If there are fewer than two step sizes, or not as many as the runs have.

    Examples
    --------
    Continues the example of `gdx`.

    >>> runs_axes, shares_axes = gdx.plots.transition(step_sizes, runs, edge)
    >>> runs_axes.get_ylabel()
    'gradient norm over the tail'
    """
    step_sizes = np.asarray(step_sizes, float)
    if step_sizes.ndim != 1 or step_sizes.size < 2 or len(runs.stopped) != step_sizes.size:
        shape = np.shape(runs.stopped)
        raise ValueError(
            f"step_sizes: shape {step_sizes.shape} does not fit runs {shape}; pass the [S] of them, at least 2"
        )
    upper, lower = axes if axes is not None else _new_axes()
    order = np.argsort(step_sizes)
    step_sizes, runs = step_sizes[order], jax.tree.map(lambda leaf: np.asarray(leaf)[order], runs)
    low, high = window if window is not None else (step_sizes[0], step_sizes[-1])
    trains = edge is not None and edge.criterion == "trains"
    colours = TRAINING_COLOURS if trains else COLOURS
    codes = np.asarray(training_verdicts(runs) if trains else verdicts(runs))
    heights = np.asarray(runs.tail_loss if trains else runs.tail_gradient_norm_mean, float)
    is_shown = (step_sizes >= low) & (step_sizes <= high)
    inside = is_shown[:, None] & np.isfinite(heights)
    default = "log" if law is None and np.all(heights[inside] >= 0) else "linear"
    is_log = (norm_scale or default) == "log"
    _draw_runs(upper, step_sizes, heights, (codes, colours), is_log, inside)
    upper.set_ylabel("loss over the tail" if trains else "gradient norm over the tail")
    _draw_shares(lower, step_sizes, codes, colours, is_shown)
    if law is not None:
        fine = np.geomspace(low, high, 2000)
        values = np.array(law(fine), float)
        values[~(np.isfinite(values) & (values > 0))] = np.nan
        upper.plot(fine, values, color="black", linewidth=1, zorder=4, label="theory's law")
    for axis in (upper, lower):
        # Within a decade a logarithmic axis shows hardly a number.
        axis.set_xscale("log" if high > 10 * low else "linear")
        axis.set_xlim(low, high)
        if high > 10 * low:
            label_log(axis.xaxis, low, high)
    _mark(upper, lower, edge, predicted)
    upper.tick_params(which="both", labelbottom=False)
    upper.set_title(textwrap.fill(title, TITLE_WIDTH))
    for axis, is_reversed in ((upper, False), (lower, True)):
        if axis.get_legend_handles_labels()[0]:
            beside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "fontsize": 8, "frameon": False}
            axis.legend(**beside, reverse=is_reversed)
    return upper, lower


def _new_axes():
    import matplotlib.pyplot as plt

    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(8.5, 6), height_ratios=(2.2, 1), sharex=True, layout="constrained"
    )
    del figure
    return upper, lower


def _draw_runs(axis, step_sizes, heights, verdict_of, is_log, inside):
    """A dot a run, or, of many starts, a dot for those of one verdict that come to about one height."""
    shown = np.isfinite(heights)
    floor, ceiling = _ends(heights, inside, is_log)
    at = np.where(shown, np.maximum(heights, floor), ceiling)
    draw = _draw_each if heights.shape[1] <= MOST_DOTS else _draw_groups
    for which, marker, label in ((shown, "o", ""), (~shown, "^", "ended early: no tail")):
        for verdict, colour in verdict_of[1].items():
            mine = (verdict_of[0] == verdict) & which
            if mine.any():
                draw(axis, step_sizes, at, mine, (floor, ceiling, is_log), {"marker": marker, "color": colour})
        if label and which.any():
            codes, counts = np.unique(verdict_of[0][which], return_counts=True)
            colour = verdict_of[1][codes[int(np.argmax(counts))]]
            axis.scatter([], [], s=18, marker=marker, color=colour, linewidths=0, label=label)
    if heights.shape[1] > MOST_DOTS:
        axis.plot([], [], linestyle="none", label="area of a dot: share of the starts")
    if is_log and np.any(heights[inside] < floor):
        axis.plot([], [], linestyle="none", label=f"lowest row: at most {floor:.2g}")
    axis.set_yscale("log" if is_log else "linear")
    room = 0.03 * (ceiling - floor)
    low, high = (floor / 2, ceiling * 2) if is_log else (floor - room, ceiling + 2 * room)
    axis.set_ylim(low, high)
    if not inside.any():
        # Marks along the top alone: no height means anything.
        axis.set_yticks([])
        axis.set_yticks([], minor=True)
        axis.text(0.5, 0.5, "no run has a tail", ha="center", va="center", fontsize=9, transform=axis.transAxes)
    elif is_log:
        label_log(axis.yaxis, low, high)
    axis.grid(alpha=0.25, linewidth=0.5)


def _ends(heights, inside, is_log):
    """Lowest height of a dot, where those below are drawn too, and that of the runs that have none."""
    largest = float(np.max(heights[inside], initial=0.0)) or 1.0
    least = float(np.min(heights[inside & (heights > 0)], initial=largest))
    if not is_log:
        return min(0.0, float(np.min(heights[inside], initial=0.0))), 1.2 * largest
    floor = max(SMALLEST_SHOWN, 0.3 * least)
    # Where all have come to rest the largest may be below what is shown.
    return floor, max(3 * largest, 10 * floor)


def _draw_each(axis, step_sizes, at, mine, ends, style):
    del ends
    grid = np.broadcast_to(step_sizes[:, None], at.shape)
    axis.scatter(grid[mine], at[mine], s=16 if style["marker"] == "o" else 18, linewidths=0, zorder=3, **style)


def _draw_groups(axis, step_sizes, at, mine, ends, style):
    """A dot in the middle of the runs of each cell of height; its area is their share of the starts."""
    floor, ceiling, is_log = ends
    low, high, values = (np.log(floor), np.log(ceiling), np.log(at)) if is_log else (floor, ceiling, at)
    cells = np.floor((values - low) / (high - low) * NUM_CELLS)
    x, y, shares = [], [], []
    for step_size, row, own, cell in zip(step_sizes, at, mine, cells, strict=True):
        for one in np.unique(cell[own]):
            members = own & (cell == one)
            x.append(step_size)
            y.append(np.median(row[members]))
            shares.append(members.mean())
    areas = np.maximum(LARGEST_DOT * np.array(shares), SMALLEST_DOT)
    axis.scatter(x, y, s=areas, linewidths=0, zorder=3, **style)


def _draw_shares(axis, step_sizes, codes, colours, is_shown):
    """Of all step sizes, since those beside the window reach into it; the legend names what is in it."""
    shares = np.stack([np.mean(codes == verdict, axis=1) for verdict in colours])
    # Bands reach half-way to the neighbours, on the logarithmic axis.
    middles = np.sqrt(step_sizes[1:]) * np.sqrt(step_sizes[:-1])
    edges = np.concatenate([step_sizes[:1], middles, step_sizes[-1:]])
    base = np.zeros(len(step_sizes))
    for (verdict, colour), share in zip(colours.items(), shares, strict=True):
        if not share.any():
            continue
        name = verdict.name.lower().replace("_", " ") if share[is_shown].any() else None
        axis.stairs(base + share, edges, baseline=base, fill=True, color=colour, label=name)
        base = base + share
    axis.set_ylim(0, 1)
    axis.set_ylabel("share of runs")
    axis.set_xlabel("step size")


def _mark(upper, lower, edge, predicted):
    styles = ["--", ":", "-."]
    low, high = upper.get_xlim()
    inside = [(name, value) for name, value in predicted if low <= value <= high]
    for (name, value), style in zip(inside, styles * len(inside), strict=False):
        for axis in (upper, lower):
            axis.axvline(value, color="black", linestyle=style, linewidth=1, zorder=2.5)
        upper.plot([], [], color="black", linestyle=style, linewidth=1, label=f"{name} {value:.6g}")
    if edge is None:
        return
    # The last step size that succeeded and the first that failed, not the other ends of their brackets; where the scan
    # ended before they did there is nothing to draw, but a bound to tell.
    last, first = edge.last_success, edge.first_failure
    for label, bound, value, is_open, colour in (
        ("last success", "at least", last.lower, np.isinf(last.upper), SUCCESS),
        ("first failure", "at most", first.upper, first.lower == 0, FAILURE),
    ):
        if np.isnan(value):
            continue
        if is_open:
            upper.plot([], [], linestyle="none", label=f"{label} {bound} {value:.6g}")
        elif low <= value <= high:
            for axis in (upper, lower):
                axis.axvline(value, color=colour, linewidth=1, zorder=2)
            upper.plot([], [], color=colour, linewidth=1, label=f"{label} {value:.6g}")
    _mark_beside(upper, lower, edge)


def _mark_beside(upper, lower, edge):
    """The edge of an endless run, and the range of the starts' own edges."""
    low, high = upper.get_xlim()
    found = edge.estimate
    if found is not None and low <= found.value <= high:
        for axis in (upper, lower):
            # Mostly narrower than a line.
            bar = found.value - found.error, found.value + found.error
            axis.axvspan(*bar, color=SUCCESS, alpha=0.25, linewidth=0, zorder=1.5)
            axis.axvline(found.value, color=SUCCESS, linestyle=(0, (1, 1)), linewidth=1.5, zorder=2.6)
        label = f"endless run {found.value:.6g} ± {found.error:.1g}"
        upper.plot([], [], color=SUCCESS, linestyle=(0, (1, 1)), linewidth=1.5, label=label)
    if edge.spread > NOTABLE_SPREAD:
        known = [pair.lower for pair in edge.by_start if pair.lower > 0]
        upper.axvspan(min(known), max(known), color=SUCCESS, alpha=0.12, linewidth=0, zorder=1)
        upper.fill([], [], color=SUCCESS, alpha=0.12, label="starts' own last successes")
