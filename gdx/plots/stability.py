"""A job's stability in one picture."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.loss_curve import draw_losses, draw_places, places, window
from gdx.plots.palette import FAILURE, SUCCESS, TRAINING_COLOURS
from gdx.plots.scales import label_log
from gdx.studies.stability.causes import NOTABLE
from gdx.studies.stability.found import StepVerdict
from gdx.studies.stability.words import size
from gdx.verdicts import TrainingVerdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gdx.studies.stability import Cause, Margin, Stability

WIDTH, CURVE_HEIGHT, ROW_HEIGHT, FEWEST_ROWS = 9.0, 3.4, 0.2, 7
"""Inches, and rows of the lower panels."""
RAISES, LOWERS = TRAINING_COLOURS[TrainingVerdict.TOO_SLOW], TRAINING_COLOURS[TrainingVerdict.BURSTING]
LONGEST_NAME, MOST_MISSING = 40, 4
"""Characters of a cause in the picture, and how many are named that were not measured."""


def stability(found: Stability, *, title: str = "", figure: Figure | None = None) -> tuple[Axes, Axes, Axes, Axes]:
    """Draw all that was found of a job: loss against step size, the margin of a run, and what moves the edge.

    Parameters
    ----------
    found
        From `gdx.stability`.
    title
        What was run, above the picture.
    figure
        To draw into; by default a new one, as high as the causes need.

    Returns
    -------
    (Axes, Axes, Axes, Axes)
        Losses, the step sizes that matter below them, the margin, the causes.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> curve, *others = gdx.plots.stability(found)
    >>> curve.get_xscale()
    'log'
    """
    listed = places(found)
    upper_height = CURVE_HEIGHT + ROW_HEIGHT * (len(listed) + 5)
    # Panels that only say why they are empty stay small.
    is_empty = not _measured(found) and not np.isfinite(found.margin.margins).any()
    lower_height = ROW_HEIGHT * (6 if is_empty else max(len(_measured(found)), FEWEST_ROWS) + 5)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(WIDTH, upper_height + lower_height), layout="constrained")
    upper, lower = np.ravel(figure.subfigures(2, 1, squeeze=False, height_ratios=(upper_height, lower_height)))
    heights = (CURVE_HEIGHT, ROW_HEIGHT * max(len(listed), 1))
    losses, below = upper.subplots(2, 1, height_ratios=heights, sharex=True)
    margin, causes = lower.subplots(1, 2, width_ratios=(1, 1.15))
    upper.suptitle("\n".join(textwrap.wrap(title, 110) + _headline(found)), x=0.01, ha="left", fontsize=10)
    low, high = window(found, listed)
    losses.set_xscale("log")
    losses.set_xlim(low, high)
    label_log(losses.xaxis, low, high)
    losses.tick_params(which="both", labelbottom=False)
    draw_losses(losses, found)
    draw_places(below, listed)
    if losses.get_legend_handles_labels()[0]:
        losses.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=3, fontsize=8, frameon=False)
    _draw_margin(margin, found.margin)
    _draw_causes(causes, found)
    return losses, below, margin, causes


def _headline(found):
    return textwrap.wrap(" ".join(found.advice), 110)


def _draw_margin(axis, margin: Margin):
    where = f" of a run at {size(margin.step_size)}" if math.isfinite(margin.step_size) else ""
    seen = np.isfinite(margin.margins)
    line = "\nline: 1 is the edge of stability" if seen.any() else ""
    axis.set_title(f"curvature margin{where}{line}", fontsize=9, loc="left")
    if not seen.any():
        _say(axis, f"none: {margin.note or 'it was not measured'}")
        return
    heights = margin.margins[seen]
    axis.plot(margin.steps[seen], heights, "o-", color=TRAINING_COLOURS[TrainingVerdict.TRAINED], markersize=3)
    axis.axhline(1, color=FAILURE, linewidth=1)
    low, high = min(float(heights.min()), 1.0), max(float(heights.max()), 1.0)
    if low > 0 and high > 3 * low:
        axis.set_yscale("log")
        room = (high / low) ** 0.1
        axis.set_ylim(low / room, high * room)
        label_log(axis.yaxis, low / room, high * room)
    else:
        room = 0.12 * (high - low or 1.0)
        axis.set_ylim(low - room, high + room)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("step")
    axis.set_ylabel("step size x sharpness / threshold")


def _measured(found: Stability) -> list[Cause]:
    """Causes that have a bar. That the edge is at or above something lower than before says nothing."""
    return [
        cause
        for cause in found.causes
        if math.isfinite(cause.factor) and (cause.factor >= 1 or math.isfinite(cause.largest_step.upper))
    ]


def _draw_causes(axis, found: Stability):
    measured = _measured(found)
    saving = [bool(cause.saves) and found.verdict is StepVerdict.BEYOND for cause in measured]
    axis.set_title(_meaning(bool(measured), any(saving)), fontsize=9, loc="right")
    if not measured:
        _say(axis, "nothing was changed: " + ("no time was left" if found.is_number else "there is no edge to move"))
        return
    factors = np.array([cause.factor for cause in measured])
    for row, (cause, saves) in enumerate(zip(measured, saving, strict=True)):
        is_notable = cause.is_sure
        colour = SUCCESS if saves else "#999999" if not is_notable else RAISES if cause.factor >= 1 else LOWERS
        # Where the scan ended first, the bar is a bound and stays empty.
        is_whole = math.isfinite(cause.largest_step.upper)
        axis.barh(row, cause.factor - 1, left=1, height=0.65, color=colour, fill=is_whole, edgecolor=colour, zorder=2)
        axis.annotate(
            _effect(cause, found.step_size if saves else None),
            (max(cause.factor, 1), row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            weight="bold" if saves else "normal",
        )
    low, high = min(factors.min(), 0.5), max(factors.max(), 2.0)
    # Room for what is written beside the longest bar.
    low, high = low / 1.1, high * (high / low) ** (0.9 if any(saving) else 0.25)
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    label_log(axis.xaxis, low, high)
    axis.axvline(1, color="black", linewidth=1, zorder=3)
    axis.axvspan(1 / NOTABLE, NOTABLE, color="black", alpha=0.06, linewidth=0, zorder=0.5)
    axis.set_yticks(range(len(measured)), [_short(cause.name) for cause in measured], fontsize=8)
    axis.set_ylim(max(len(measured), FEWEST_ROWS) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.25, linewidth=0.5)
    missing = [_short(cause.name) for cause in found.causes if cause not in measured]
    if len(missing) > MOST_MISSING:
        missing[MOST_MISSING:] = [f"{len(missing) - MOST_MISSING} more"]
    note = textwrap.wrap(f"not measured: {', '.join(missing)}", 48) if missing else []
    axis.set_xlabel("\n".join(["factor on the largest step size that trains", *note]), fontsize=8.5)


def _short(name):
    """A name without its middle: layers differ in their ends, and what is done to them in its beginning."""
    half = (LONGEST_NAME - 3) // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}...{name[-half:]}"


def _meaning(is_measured, is_saved):
    if not is_measured:
        return "what moves the edge"
    green = "; green: saves the present step size" if is_saved else ""
    return f"what moves the edge, one thing changed at a time\ngrey: chance does as much{green}"


def _effect(cause: Cause, saved):
    bound = "" if math.isfinite(cause.largest_step.upper) else " or more"
    return f"{size(cause.factor)}x{bound}" + (f", saves {size(saved)}" if saved is not None else "")


def _say(axis, text):
    axis.set_xticks([])
    axis.set_yticks([])
    axis.text(0.5, 0.5, textwrap.fill(text, 40), ha="center", va="center", fontsize=9, transform=axis.transAxes)
