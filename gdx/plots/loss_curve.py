"""Loss against step size, and below it the step sizes that matter, one a row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.plots.palette import EXPECTED, FAILURE, SUCCESS, TRAINING_COLOURS
from gdx.plots.scales import label_log, spread_out
from gdx.studies.stability.words import size
from gdx.verdicts import TrainingVerdict
from gdx.wording import counted, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdx.studies.stability import Stability

MOST_LINES = 12
"""Starts that are drawn one by one; of more, one dot a verdict and step size says how many."""
ABOVE = 10.0
"""Times the loss at the start or of learning nothing that the picture reaches, on a logarithmic scale."""
SMALLEST_SHOWN = 1e-16
AROUND = 30.0
"""Times the smallest and the largest step size that matter, to which others are shown."""
TOP = 0.88
"""Share of the height that losses have; above it are the runs that have none."""
LINE = 0.06
"""Height of a label, as a share."""
LEVEL, USE = "#555555", "use: loss as good as the best"


class Place(NamedTuple):
    """A row below the curve: a step size or a range of them, and what it is."""

    name: str
    lower: float
    upper: float
    """The same for one step size, infinite where the scan ended."""
    colour: str
    text: str


def places(found: Stability) -> list[Place]:
    """List the step sizes that matter.

    Parameters
    ----------
    found
        Of a job.

    Returns
    -------
    list of Place
        What was measured first, what a range test would say last.
    """
    listed = []
    if found.is_number:
        lower, upper = found.largest_step
        edge = span(found.largest_step) if math.isfinite(upper) else f"at or above {size(lower)}"
        listed = [
            Place("use", *found.good, SUCCESS, f"{size(found.good.lower)} to {size(found.good.upper)}"),
            Place("best", found.best, found.best, TRAINING_COLOURS[TrainingVerdict.TRAINED], size(found.best)),
            Place("largest that trains", lower, upper, FAILURE, edge),
        ]
        if math.isfinite(found.too_slow_below):
            colour, value = TRAINING_COLOURS[TrainingVerdict.TOO_SLOW], found.too_slow_below
            listed.append(Place("too slow below", value, value, colour, size(value)))
    if found.step_size is not None:
        text = f"{size(found.step_size)}, {found.verdict.value}"
        listed.append(Place("you", found.step_size, found.step_size, "black", text))
    for name, value in found.range_test.suggestions.items():
        if math.isfinite(value):
            listed.append(Place(f"range test: {name}", value, value, EXPECTED, size(value)))
    return [place for place in listed if math.isfinite(place.lower)]


def draw_losses(axis: Axes, found: Stability) -> None:
    """Draw loss against step size, with what its heights mean written beside it.

    Parameters
    ----------
    axis
        On which the x axis is set already.
    found
        Of a job.
    """
    curve = _within(found.curve, *axis.get_xlim())
    if not curve.step_sizes.size:
        axis.set_yticks([])
        axis.text(0.5, 0.5, "no run ended", ha="center", va="center", fontsize=9, transform=axis.transAxes)
        return
    losses = np.where(np.isfinite(curve.losses), curve.losses, np.nan)
    low, high, is_log = _heights(curve, losses)
    axis.set_yscale("log" if is_log else "linear")
    to_top = (high / low) ** (1 / TOP) * low if is_log else low + (high - low) / TOP
    axis.set_ylim(low, to_top)
    if is_log:
        label_log(axis.yaxis, low, high)
    else:
        axis.set_yticks([tick for tick in axis.get_yticks() if low <= tick <= high])
    _draw_range_test(axis, found)
    _mark(axis, found)
    _draw_runs(axis, curve, np.clip(losses, low, None), high)
    off = ~(losses <= high)
    is_blown = curve.codes[off] == TrainingVerdict.BLOWN_UP
    _label_levels(axis, found, "" if not off.any() else "blown up" if is_blown.all() else "off the scale")
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.set_ylabel(f"loss, mean of the last tenth\nof {found.horizon} steps")


def draw_places(axis: Axes, listed: list[Place]) -> None:
    """Draw a row a step size that matters, with its name and number beside it.

    Parameters
    ----------
    axis
        Below the losses, on the same x axis.
    listed
        From `places`.
    """
    for row, place in enumerate(listed):
        ends = [end for end in (place.lower, place.upper) if math.isfinite(end)]
        # A range is seen by its ends where it is narrower than a line; an open one points to where nobody looked.
        marker = "|" if len(ends) == 2 else ">"
        style = {"marker": marker, "markersize": 8, "markeredgewidth": 2, "fillstyle": "none"}
        axis.plot(ends, [row] * len(ends), color=place.colour, linewidth=4, solid_capstyle="butt", **style)
        axis.annotate(place.text, (1, row), (6, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=8)
    axis.set_ylim(max(len(listed), 1) - 0.5, -0.5)
    axis.set_yticks(range(len(listed)), [place.name for place in listed], fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.25, linewidth=0.5)
    axis.set_xlabel("step size")


def window(found: Stability, listed: list[Place]) -> tuple[float, float]:
    """Give the step sizes shown: all that matter, and what was run around them.

    Parameters
    ----------
    found
        Of a job.
    listed
        From `places`.

    Returns
    -------
    (float, float)
    """
    matter = [end for place in listed for end in (place.lower, place.upper)]
    matter += [found.too_slow_below, found.none_beyond, found.blows_up_from]
    matter = [end for end in matter if 0 < end < math.inf]
    run = [float(value) for value in found.curve.step_sizes]
    low, high = (min(run + matter), max(run + matter)) if run + matter else (0.1, 10.0)
    if found.is_number:
        # A scan may have gone on for ten decades in which nothing happens.
        low, high = max(low, min(matter) / AROUND), min(high, max(matter) * AROUND)
    # A single step size stands in the middle of a decade.
    room = max((high / low) ** 0.03, math.sqrt(max(10 * low / high, 1.0)))
    return low / room, high * room


def _within(curve, low, high):
    """Runs at the step sizes that are shown."""
    inside = (curve.step_sizes >= low) & (curve.step_sizes <= high)
    runs = {name: getattr(curve, name)[inside] for name in ("step_sizes", "losses", "codes")}
    return curve._replace(**runs)


def _heights(curve, losses):
    """Lowest and highest loss shown, and whether on a logarithmic scale."""
    levels = [level for level in (curve.start, curve.chance) if math.isfinite(level)]
    known = np.concatenate([losses[np.isfinite(losses)], levels])
    if not known.size:
        return 0.1, 10.0, True
    least, most = float(known.min()), float(known.max())
    reference = max(levels, default=most)
    if least >= 0 and most > 0:
        least = max(float(known[known > 0].min()), SMALLEST_SHOWN)
        high = min(most, ABOVE * max(reference, least))
        return least / max((high / least) ** 0.06, 1.01), high * max((high / least) ** 0.03, 1.01), True
    room = max(min(most, 2 * reference - least) - least, abs(least), 1e-12)
    return least - 0.06 * room, min(most, 2 * reference - least) + 0.03 * room, False


def _draw_range_test(axis, found):
    test = found.range_test
    if len(test.step_sizes) > 1:
        axis.plot(
            test.step_sizes,
            test.losses,
            color=EXPECTED,
            alpha=0.6,
            linewidth=1,
            linestyle=(0, (4, 1)),
            zorder=1.5,
            label="range test: one run whose step size grows",
        )


def _mark(axis, found):
    if found.is_number:
        lower, upper = found.largest_step
        # Where one step size alone is good, the line around the region is what is seen of it.
        axis.axvspan(*found.good, facecolor=SUCCESS, edgecolor=SUCCESS, alpha=0.18, linewidth=3, zorder=1, label=USE)
        if math.isfinite(upper):
            label = "from the largest that trains to one that fails"
            axis.axvspan(lower, upper, facecolor=FAILURE, alpha=0.22, linewidth=0, zorder=1, label=label)
            axis.axvline(lower, color=FAILURE, linewidth=1, zorder=2)
    if found.step_size is not None:
        label = f"you, at {size(found.step_size)}"
        axis.axvline(found.step_size, color="black", linestyle="--", linewidth=1, zorder=2, label=label)


def _draw_runs(axis, curve, losses, high):
    num_starts = losses.shape[1]
    shown = np.where(losses <= high, losses, np.nan)
    ordered = np.sort(np.where(np.isnan(losses), np.inf, losses), axis=1)
    label = f"median of {counted(num_starts, 'start')}" if num_starts > 1 else "the start"
    if 1 < num_starts <= MOST_LINES:
        axis.plot(curve.step_sizes, shown, color="black", alpha=0.3, linewidth=0.6, zorder=2.5)
    elif num_starts > MOST_LINES:
        tenth, label = num_starts // 10, f"{label}; grey: 80 % of them;\narea of a dot: share of them"
        least, most = ordered[:, tenth], np.minimum(ordered[:, -1 - tenth], high)
        axis.fill_between(curve.step_sizes, least, most, where=least < high, color="black", alpha=0.15, linewidth=0)
    with np.errstate(invalid="ignore"):
        middle = np.median(ordered, axis=1)
    middle = np.where(middle <= high, middle, np.nan)
    axis.plot(curve.step_sizes, middle, color="black", linewidth=1.6, zorder=2.7, label=label)
    draw = _draw_each if num_starts <= MOST_LINES else _draw_shares
    for verdict, colour in TRAINING_COLOURS.items():
        mine = curve.codes == verdict
        if mine.any():
            draw(axis, curve.step_sizes, shown, mine, colour)
            axis.scatter([], [], s=22, color=colour, linewidths=0, label=verdict.name.lower().replace("_", " "))


def _draw_each(axis, step_sizes, shown, mine, colour):
    """A dot a run; those without a height in a row a start along the top."""
    points, starts = np.nonzero(mine)
    heights = shown[points, starts]
    seen = np.isfinite(heights)
    axis.scatter(step_sizes[points[seen]], heights[seen], s=16, color=colour, linewidths=0, zorder=3)
    rows = TOP + (1 - TOP) * (starts[~seen] + 1) / (shown.shape[1] + 1)
    along_top = axis.get_xaxis_transform()
    x = step_sizes[points[~seen]]
    axis.scatter(x, rows, s=14, marker="^", color=colour, linewidths=0, zorder=3, transform=along_top)


def _draw_shares(axis, step_sizes, shown, mine, colour):
    """A dot a verdict and step size, at the median of those runs; its area is their share."""
    has_height = np.isfinite(shown)
    for marker, which in (("o", mine & has_height), ("^", mine & ~has_height)):
        share = which.mean(axis=1)
        some = share > 0
        along = axis.get_xaxis_transform() if marker == "^" else axis.transData
        middles = [np.median(row[own]) for row, own in zip(shown, which, strict=True) if own.any()]
        at = np.full(len(middles), (1 + TOP) / 2) if marker == "^" else middles
        style = {"marker": marker, "color": colour, "linewidths": 0, "zorder": 3, "transform": along}
        axis.scatter(step_sizes[some], at, s=60 * share[some], **style)


def _label_levels(axis, found, above):
    """Lines at heights that mean something, named at the right; and what the marks above them mean."""
    curve = found.curve
    to_share, (low, high) = axis.transAxes.inverted(), axis.get_ylim()
    labels, heights = [], []
    for name, level, style in (
        ("start", curve.start, ":"),
        ("chance", curve.chance, "--"),
        ("trains below", curve.halfway, "-"),
    ):
        if not low <= level <= high:
            continue
        axis.axhline(level, color=LEVEL, linestyle=style, linewidth=0.9, zorder=1.8)
        labels.append(f"{name} {level:.3g}")
        heights.append(float(to_share.transform(axis.transData.transform((axis.get_xlim()[0], level)))[1]))
    if above:
        from matplotlib.patches import Rectangle

        band = Rectangle((0, TOP), 1, 1 - TOP, transform=axis.transAxes, color="black", alpha=0.06, linewidth=0)
        axis.add_patch(band)
        labels.append(f"\u25b2 {above}")
        heights.append((1 + TOP) / 2)
    leader = {"arrowstyle": "-", "color": LEVEL, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
    for text, at, height in zip(labels, spread_out(heights, LINE), heights, strict=True):
        coordinates = "axes fraction", "axes fraction"
        axis.annotate(text, (1, height), (1.015, at), *coordinates, va="center", fontsize=8, arrowprops=leader)
