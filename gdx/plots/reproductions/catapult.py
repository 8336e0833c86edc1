"""Three phases of a wide two-layer linear network."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gdx.studies.reproductions import Catapult, CatapultNetwork

LAZY, FLUNG, DIVERGED = "#0072B2", "#E69F00", "#D55E00"
NAMES = {LAZY: "lazy: the loss only falls", FLUNG: "catapult: it rises, then falls", DIVERGED: "diverges"}
BOUNDARIES = (2.0, 4.0)
SHOWN_AT = (1.0, 2.6, 3.6, 4.4)
"""Step sizes times curvature whose losses are drawn."""
LOSSES = (1e-8, 1e5)
TITLE_WIDTH = 110


def catapult(found: Catapult, *, title: str = "", figure: Figure | None = None) -> np.ndarray:
    """Draw losses, final curvatures and shares of the three phases.

    Parameters
    ----------
    found
        From `gdx.studies.catapult`.
    title
        Above the picture.
    figure
        To draw into; by default a new one.

    Returns
    -------
    array of Axes
        [3, networks].

    Examples
    --------
    Continues the example of `gdx.studies.catapult`.

    >>> gdx.plots.catapult(found).shape
    (3, 2)
    """
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(11.5, 9.5), layout="constrained")
    axes = figure.subplots(3, len(found.networks), height_ratios=(1.2, 1.5, 0.8), sharey="row", squeeze=False)
    for (losses, curvatures, shares), one in zip(axes.T, found.networks, strict=True):
        losses.set_title(one.name, fontsize=10)
        _draw_losses(losses, one)
        _draw_curvatures(curvatures, one)
        _draw_shares(shares, one)
        curvatures.sharex(shares)
        shares.set_xlim(one.multiples[0], one.multiples[-1])
        shares.set_xlabel(r"step size $\times$ curvature at the start, $\eta\lambda_0$")
        losses.set_xlabel("step")
    for axis, label in zip(
        axes[:, 0],
        ("loss over first loss", r"curvature at the end over at the start, $\lambda/\lambda_0$", "share of runs"),
        strict=True,
    ):
        axis.set_ylabel(label)
    figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=11)
    return axes


def _phases(one: CatapultNetwork):
    """Which runs are of which colour, [S, R]."""
    return {LAZY: ~one.rose & one.is_bounded, FLUNG: one.rose & one.is_bounded, DIVERGED: ~one.is_bounded}


def _draw_losses(axis: Axes, one: CatapultNetwork):
    low, high = LOSSES
    phases = _phases(one)
    styles = iter(("-", "-", "--", "-"))
    for multiple, style in zip(SHOWN_AT, styles, strict=True):
        at = int(np.argmin(np.abs(one.multiples - multiple)))
        (colour,) = [colour for colour, mine in phases.items() if mine[at, 0]]
        curve = one.curves[at]
        shown = np.clip(curve[np.isfinite(curve)], low / 10, high * 10)
        label = rf"$\eta\lambda_0$ = {one.multiples[at]:.2g}: {NAMES[colour].partition(':')[0]}"
        axis.plot(shown, color=colour, linestyle=style, linewidth=1.5, label=label)
    axis.set_yscale("log")
    axis.set_ylim(low, high)
    axis.set_xlim(0, one.curves.shape[1] - 1)
    axis.axhline(1, color="black", linewidth=0.6)
    axis.legend(fontsize=8, loc="upper right")
    axis.grid(alpha=0.25, linewidth=0.5)


def _draw_curvatures(axis: Axes, one: CatapultNetwork):
    grid = np.broadcast_to(one.multiples[:, None], one.rose.shape)
    for colour, mine in _phases(one).items():
        if colour != DIVERGED and mine.any():
            axis.scatter(grid[mine], one.curvature[mine], s=5, color=colour, linewidths=0, alpha=0.5)
    axis.plot(one.multiples, 2 / one.multiples, color="black", linewidth=1.2)
    axis.text(3.0, 0.72, "above this line no minimum is stable: $\\lambda = 2/\\eta$", fontsize=8)
    axis.set_ylim(0, 1.6)
    _mark(axis, one)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.legend(fontsize=8, loc="upper right")


def _mark(axis: Axes, one: CatapultNetwork):
    """Published boundaries, and the range of the starts' own."""
    for value, style in zip(BOUNDARIES, ("--", ":"), strict=True):
        axis.axvline(value, color="black", linestyle=style, linewidth=1, label=f"published: {value:g}")
    for edges, colour in ((one.lazy_up_to, LAZY), (one.bounded_up_to, DIVERGED)):
        if np.isfinite(edges).any():
            label = f"measured: {np.nanmedian(edges):.2f}, starts {np.nanmin(edges):.2f} to {np.nanmax(edges):.2f}"
            axis.axvspan(np.nanmin(edges), np.nanmax(edges), color=colour, alpha=0.2, linewidth=0)
            axis.axvline(np.nanmedian(edges), color=colour, linewidth=1.2, label=label)


def _draw_shares(axis: Axes, one: CatapultNetwork):
    shares = {colour: mine.mean(axis=1) for colour, mine in _phases(one).items()}
    axis.stackplot(
        one.multiples,
        *shares.values(),
        colors=list(shares),
        labels=[NAMES[colour] for colour in shares],
        linewidth=0,
    )
    for value, style in zip(BOUNDARIES, ("--", ":"), strict=True):
        axis.axvline(value, color="black", linestyle=style, linewidth=1)
    axis.set_ylim(0, 1)
    axis.legend(fontsize=8, loc="lower left")
