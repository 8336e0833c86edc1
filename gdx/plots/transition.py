"""The picture of a phase transition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.edges import Edge
from gdx.sweeps import Runs
from gdx.verdicts import Verdict, verdicts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by colour-blind eyes and, in this order, by their greys in print.
COLOURS = {
    Verdict.CONVERGED: "#0072B2",
    Verdict.SETTLING: "#56B4E9",
    Verdict.CYCLING: "#E69F00",
    Verdict.APERIODIC: "#CC79A7",
    Verdict.DIVERGED: "#D55E00",
    Verdict.UNDECIDED: "#BBBBBB",
    Verdict.STRANDED: "#F0E442",
}
SMALLEST_SHOWN = 1e-16


def transition(
    step_sizes: Any,
    runs: Runs,
    edge: Edge | None = None,
    *,
    law: Callable[[Any], Any] | None = None,
    predicted: Sequence[tuple[str, float]] = (),
    title: str = "",
    norm_scale: str | None = None,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw the phase transition: tail gradient norm of every run, and under it the share of each verdict.

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
        "linear" or "log" for the gradient norm; by default linear where there is a law, since that shows how the
        norm leaves zero, and log elsewhere.
    axes
        Two axes to draw into, upper and lower; by default a new figure.

    Returns
    -------
    (Axes, Axes)

    Raises
    ------
    ValueError
        If there are fewer than two step sizes, or not as many as the runs have.
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
    codes = np.asarray(verdicts(runs))
    is_log = (norm_scale or ("log" if law is None else "linear")) == "log"
    _draw_norms(upper, step_sizes, runs, codes, is_log)
    _draw_shares(lower, step_sizes, codes)
    if law is not None:
        fine = np.geomspace(step_sizes[0], step_sizes[-1], 2000)
        values = np.array(law(fine), float)
        values[~(np.isfinite(values) & (values > 0))] = np.nan
        upper.plot(fine, values, color="black", linewidth=1, zorder=4, label="theory's law")
    for axis in (upper, lower):
        # Within a decade a logarithmic axis shows hardly a number.
        axis.set_xscale("log" if step_sizes[-1] > 10 * step_sizes[0] else "linear")
        axis.set_xlim(step_sizes[0], step_sizes[-1])
    _mark(upper, lower, edge, predicted)
    upper.tick_params(which="both", labelbottom=False)
    upper.set_title(title)
    upper.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    lower.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False, reverse=True)
    return upper, lower


def _new_axes():
    import matplotlib.pyplot as plt

    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(8.5, 6), height_ratios=(2.2, 1), sharex=True, layout="constrained"
    )
    del figure
    return upper, lower


def _draw_norms(axis, step_sizes, runs, codes, is_log):
    norms = np.asarray(runs.tail_gradient_norm_mean, float)
    grid = np.broadcast_to(step_sizes[:, None], norms.shape)
    shown = np.isfinite(norms)
    largest = float(np.max(norms[shown], initial=0.0)) or 1.0
    floor = max(SMALLEST_SHOWN, 0.3 * float(np.min(norms[shown & (norms > 0)], initial=largest))) if is_log else 0.0
    ceiling = 3 * largest if is_log else 1.2 * largest
    for verdict, colour in COLOURS.items():
        mine = (codes == verdict) & shown
        axis.scatter(grid[mine], np.maximum(norms[mine], floor), s=16, color=colour, linewidths=0, zorder=3)
    gone = (codes == Verdict.DIVERGED) & ~shown
    if gone.any():
        colour = COLOURS[Verdict.DIVERGED]
        height = np.full(gone.sum(), ceiling)
        axis.scatter(grid[gone], height, s=18, marker="^", color=colour, linewidths=0, label="diverged: no tail")
    axis.set_yscale("log" if is_log else "linear")
    axis.set_ylim((floor / 2, ceiling * 2) if is_log else (-0.03 * ceiling, 1.06 * ceiling))
    axis.set_ylabel("gradient norm over the tail")
    axis.grid(alpha=0.25, linewidth=0.5)


def _draw_shares(axis, step_sizes, codes):
    shares = np.stack([np.mean(codes == verdict, axis=1) for verdict in COLOURS])
    # Bands reach half-way to the neighbours, on the logarithmic axis.
    middles = np.sqrt(step_sizes[1:]) * np.sqrt(step_sizes[:-1])
    edges = np.concatenate([step_sizes[:1], middles, step_sizes[-1:]])
    base = np.zeros(len(step_sizes))
    for (verdict, colour), share in zip(COLOURS.items(), shares, strict=True):
        if not share.any():
            continue
        axis.stairs(base + share, edges, baseline=base, fill=True, color=colour, label=verdict.name.lower())
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
    # The last step size that succeeded and the first that failed, not the other ends of their brackets.
    for label, value, colour in (
        ("last success", edge.last_success.lower, "#009E73"),
        ("first failure", edge.first_failure.upper, "#D55E00"),
    ):
        if low <= value <= high:
            for axis in (upper, lower):
                axis.axvline(value, color=colour, linewidth=1, zorder=2)
            upper.plot([], [], color=colour, linewidth=1, label=f"{label} {value:.6g}")
