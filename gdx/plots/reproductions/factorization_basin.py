"""Basins of a factorization under their ellipses."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.palette import FAILURE, SUCCESS
from gdx.plots.phase_map import phase_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gdx.studies.reproductions import FactorizationBasin

TITLE_WIDTH = 110
FINE = 400
"""Points along a side that the ellipse is drawn by."""


def factorization_basin(found: FactorizationBasin, *, title: str = "", figure: Figure | None = None) -> np.ndarray:
    """Draw which starts converge, a panel a target and step size, and the ellipse as a white line.

    Parameters
    ----------
    found
        From `gdx.studies.factorization_basin`.
    title
        Above the picture.
    figure
        To draw into; by default a new one.

    Returns
    -------
    array of Axes

    Examples
    --------
    Continues the example of `gdx.studies.factorization_basin`.

    >>> gdx.plots.factorization_basin(found).size
    6
    """
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, 3)
    for axis, basin in zip(axes.flat, found.basins, strict=False):
        phase_map(basin.mapped, colour="answer", axes=axis)
        legend = axis.get_legend()
        if legend is not None:
            legend.remove()
        line = np.linspace(basin.mapped.x[0], basin.mapped.x[-1], FINE)
        u, v = np.meshgrid(line, line)
        axis.contour(
            u, v, basin.inside(u[..., None], v[..., None]).astype(float), [0.5], colors="white", linewidths=1.2
        )
        does = "converges" if basin.criterion == "converged" else "stays finite"
        counts = " and ".join(f"{share.number} of {share.total}" for share in basin.mismatches.values())
        axis.set_title(
            f"y = {basin.target:g}, step size {basin.step_size:g}: {does}\nrandom starts that do otherwise:\n{counts}",
            fontsize=8.5,
        )
        axis.set_xlabel("u at the start")
        axis.set_ylabel("v at the start")
    _key(axes.flat[-1])
    figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=11)
    return axes


def _key(axis):
    """What colours mean, in the place of a sixth panel."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axis.axis("off")
    handles = [
        Patch(color=SUCCESS, label="converges, or stays finite, as the panel says"),
        Patch(color=FAILURE, label="does not"),
        Line2D([], [], color="#999999", label="|u|^2 + |v|^2 - eta y u.v = 4 / eta - eta y^2 (white in the panels)"),
    ]
    axis.legend(handles=handles, loc="center", fontsize=8)
