"""The fractal boundary of a parabola with a cosine: its counts, and a zoom into the line of step sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.palette import EXPECTED, FAILURE, SUCCESS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gdx.studies import CosineChanges

ZOOM = 16
"""From one strip of step sizes to the one below."""
STRIPS = 3


def cosine_changes(found: CosineChanges, *, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """Draw the counts of verdict changes with the published ones, and which step sizes fail.

    Parameters
    ----------
    found
        From `gdx.studies.cosine_changes`.
    axes
        Two axes to draw into, of counts and of step sizes; by default a new figure.

    Returns
    -------
    (Axes, Axes)

    Examples
    --------
    Continues the example of `gdx.studies.cosine_changes`.

    >>> counts, line = gdx.plots.cosine_changes(found)
    >>> counts.get_yscale()
    'log'
    """
    if axes is None:
        import matplotlib.pyplot as plt

        _, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained")
    else:
        left, right = axes
    _draw_counts(left, found)
    _draw_strips(right, found)
    formula = "x² (1 + .2 cos(2πx/.1))" if found.form == "multiplied" else "x² + .2 cos(2πx/.1)"
    left.figure.suptitle(
        f"gradient descent on {formula} from 1: a boundary in the step size", x=0.01, ha="left", fontsize=11
    )
    return left, right


def _draw_counts(panel, found):
    from matplotlib.ticker import MaxNLocator

    levels = np.arange(found.counts.size)
    known = np.isfinite(found.published)
    label = "counted here"
    if known.any():
        panel.plot(levels[known], found.published[known], "o", color=EXPECTED, markersize=9, fillstyle="none")
        panel.lines[-1].set_label("published, arXiv 2406.13971")
        label += f", off by {found.worst} at most"
    panel.plot(levels, found.counts, "o", color="#0072B2", markersize=4, label=label)
    if math.isfinite(found.slope):
        part = levels[found.first :]
        middle = np.log2(found.counts[found.first :]).mean()
        label = f"slope {found.slope:.3f} ± {found.slope_error:.3f}, published {found.published_slope}"
        panel.plot(part, 2 ** (middle + found.slope * (part - part.mean())), color="#0072B2", linewidth=1, label=label)
    panel.set_yscale("log", base=2)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("n, of step sizes 1.5 k / 2ⁿ")
    panel.set_title("changes of the verdict between neighbours", fontsize=10, loc="left")
    second = found.dimension
    told = f"{second.value:.3f} ± {second.error:.3f}" if math.isfinite(second.value) else f"none,\n{second.note}"
    panel.plot([], [], " ", label=f"dimension by pairs: {told}")
    panel.grid(alpha=0.25, linewidth=0.5)
    panel.legend(fontsize=8, frameon=False, loc="upper left")


def _draw_strips(panel, found):
    """Strips one below the other, each a part of the one above that still has a boundary in it."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    low, high = 0, found.failed.size
    colours = ListedColormap([SUCCESS, FAILURE])
    bottom = 0.0
    for strip in range(STRIPS):
        part = found.failed[low:high]
        top, bottom = STRIPS - strip, STRIPS - strip - 0.7
        panel.imshow(part[None], aspect="auto", cmap=colours, vmin=0, vmax=1, extent=(0, 1, bottom, top))
        ends = [found.step_sizes[low], found.step_sizes[high - 1]]
        for at, (end, side) in enumerate(zip(ends, ("left", "right"), strict=True)):
            place = {"textcoords": "offset points", "va": "top", "ha": side, "fontsize": 8}
            panel.annotate(f"{end:.6g}", (at, bottom), (0, -2), **place)
        length = (high - low) // ZOOM
        changes = np.flatnonzero(np.diff(part))
        if strip == STRIPS - 1 or length < ZOOM or not changes.size:
            break
        # The part with the most changes in it.
        counts = np.histogram(changes, bins=ZOOM, range=(0, length * ZOOM))[0]
        first = low + int(np.argmax(counts)) * length
        for side, at in ((0, first), (1, first + length)):
            panel.plot([(at - low) / (high - low), side], [bottom, bottom - 0.3], color="black", linewidth=0.7)
        low, high = first, first + length
    panel.set_xlim(0, 1)
    panel.set_ylim(bottom - 0.4, STRIPS)
    panel.set_axis_off()
    panel.set_title(f"step sizes, each strip {ZOOM} times the one above", fontsize=10, loc="left")
    keys = [Patch(color=SUCCESS, label="bounded"), Patch(color=FAILURE, label="loss passes 1e8")]
    panel.legend(handles=keys, fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)
