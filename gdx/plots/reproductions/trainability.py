"""Maps of trainability, a panel a condition."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.phase_map import phase_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gdx.studies.reproductions import Trainability

TITLE_WIDTH = 110
COLUMNS = 3


def trainability(found: Trainability, *, title: str = "", figure: Figure | None = None) -> np.ndarray:
    """Draw which step sizes of both layers train, shaded by how fast or how soon.

    Parameters
    ----------
    found
        From `gdx.studies.trainability`.
    title
        Above the picture.
    figure
        To draw into; by default a new one.

    Returns
    -------
    array of Axes

    Examples
    --------
    Continues the example of `gdx.studies.trainability`.

    >>> gdx.plots.trainability(found).shape
    (2, 3)
    """
    columns = min(COLUMNS, len(found.maps))
    number = -(-len(found.maps) // columns)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(4.2 * columns, 4.3 * number + 1), layout="constrained")
    axes = figure.subplots(number, columns, squeeze=False)
    for axis in axes.flat[len(found.maps) :]:
        axis.axis("off")
    for axis, one in zip(axes.flat, found.maps, strict=False):
        phase_map(one.mapped, axes=axis)
        legend = axis.get_legend()
        if legend is not None:
            legend.remove()
        lines = [one.name]
        if one.statistics is not None and np.isfinite(one.statistics.dimension):
            bar = f"{one.statistics.dimension:.2f} +- {one.statistics.error:.2f}"
            lines.append(f"dimension {bar}, {one.statistics.verdict.value}")
        lines.append(f"plain loop: {one.otherwise} of {one.sampled.size} otherwise")
        axis.set_title("\n".join(lines), fontsize=9)
        if axis.get_xlabel() == "input":
            axis.set_xlabel("step size of the input layer")
            axis.set_ylabel("step size of the output layer")
    told = f"{title}. Green trains, the darker the lower the loss; orange does not, the darker the sooner it blows up"
    figure.suptitle(textwrap.fill(told, TITLE_WIDTH), fontsize=11)
    return axes
