"""Which parameterisations carry a step size from width to width, in one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gdx.plots.scales import label_log
from gdx.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gdx.studies import Transfer

# Okabe and Ito's: told apart by colour-blind eyes. The marker says it again.
STYLES = {"standard": ("#D55E00", "o"), "ntk": ("#E69F00", "s"), "mup": ("#0072B2", "D")}
NAMES = {"standard": "standard", "ntk": "NTK", "mup": "muP"}
SHIFT = 0.02
"""Share of the axis by which marks of the parameterisations stand beside each other."""
ROOM = 1.15
TOP = 3.0
"""Times the loss of learning nothing that is shown."""


def transfer(found: Transfer, *, title: str = "", figure: Figure | None = None) -> tuple[list[Axes], list[Axes]]:
    """Draw loss against step size for every network, and below it edges and best step sizes against width.

    Parameters
    ----------
    found
        From `gdx.studies.transfer`.
    title
        What was run, above the picture.
    figure
        To draw into; by default a new one.

    Returns
    -------
    (list of Axes, list of Axes)
        A panel of losses a parameterisation; the panels of edges, of best step sizes and, where there are any, of
        linear networks.

    Examples
    --------
    Continues the example of `gdx.studies.transfer`.

    >>> losses, steps = gdx.plots.transfer(found)
    >>> losses[0].get_xscale()
    'log'
    """
    names = list(dict.fromkeys(cell.parameterisation for cell in found.cells)) or ["standard"]
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=(12, 8.4), layout="constrained")
    above, below = np.ravel(figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.15)))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    losses = list(np.ravel(above.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)))
    _draw_all_losses(above, losses, found, names)
    lower = list(np.ravel(below.subplots(1, 3 if found.linear else 2, squeeze=False)))
    axis = "width" if len({cell.width for cell in found.cells}) > 1 else "depth"
    for panel, of in zip(lower, ("edge", "best"), strict=False):
        _draw_steps(panel, found, names, axis, of)
    if found.linear:
        _draw_linear(lower[2], found, names)
    return losses, lower


def _draw_all_losses(figure, panels, found, names):
    figure.suptitle("loss against step size; dot: best; bar: from the last that trains to the first that fails")
    shown = [cell for cell in found.cells if cell.curve.step_sizes.size]
    if not shown:
        return
    from matplotlib import colormaps

    sizes = sorted({(cell.width, cell.depth) for cell in shown})
    colours = dict(zip(sizes, colormaps["viridis"](np.linspace(0.85, 0, len(sizes))), strict=True))
    chance = float(np.median([cell.curve.chance for cell in shown]))
    least = min(float(np.nanmin(np.where(cell.curve.losses > 0, cell.curve.losses, np.nan))) for cell in shown)
    matter = [end for cell in shown for end in (cell.best, *cell.good, *cell.edge) if 0 < end < math.inf]
    low, high = (min(matter) / 3, max(matter) * 3) if matter else (0.1, 10.0)
    is_log = 0 < least < chance / 5
    several_depths = len({cell.depth for cell in shown}) > 1
    for panel, name in zip(panels, names, strict=True):
        for cell in shown:
            if cell.parameterisation == name:
                label = f"width {cell.width}" + (f", depth {cell.depth}" if several_depths else "")
                _draw_loss(panel, cell, colours[cell.width, cell.depth], label, TOP * chance)
        panel.axhline(chance, color="#555555", linestyle="--", linewidth=0.9)
        panel.annotate("learns nothing", (0.01, chance), (0, 2), ("axes fraction", "data"), "offset points", fontsize=8)
        panel.set_title(NAMES.get(name, name), fontsize=10, loc="left", color=STYLES[name][0])
        panel.set_xlabel("step size")
        panel.grid(alpha=0.25, linewidth=0.5)
    panels[0].set_xscale("log")
    panels[0].set_xlim(low, high)
    label_log(panels[0].xaxis, low, high)
    floor = max(least / 1.5, chance * 1e-8) if is_log else 0.0
    panels[0].set_yscale("log" if is_log else "linear")
    panels[0].set_ylim(floor, TOP * chance)
    if is_log:
        label_log(panels[0].yaxis, floor, TOP * chance)
    panels[0].set_ylabel(
        f"loss, mean of the last tenth\nof {found.num_steps} steps, median of {counted(found.repeats, 'start')}"
    )
    by_label = dict(pair[::-1] for panel in panels for pair in zip(*panel.get_legend_handles_labels(), strict=True))
    panels[-1].legend(
        by_label.values(), by_label.keys(), loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False
    )


def _draw_loss(panel, cell, colour, label, top):
    curve = cell.curve
    with np.errstate(invalid="ignore"):
        middle = np.median(np.where(np.isfinite(curve.losses), curve.losses, np.inf), axis=1)
    middle = np.where(middle <= top, middle, np.nan)
    panel.plot(curve.step_sizes, middle, color=colour, linewidth=1.4, label=label)
    if math.isfinite(cell.best):
        panel.plot([cell.best], [cell.best_loss], "o", color=colour, markersize=6, markeredgecolor="white", zorder=4)
    if cell.edge.lower > 0 and math.isfinite(cell.edge.upper):
        panel.plot(cell.edge, [curve.halfway] * 2, color=colour, linewidth=5, solid_capstyle="butt", zorder=3)


def _draw_steps(panel, found, names, axis, of):
    """Brackets of the edge, or the best step sizes with their ranges as good, against width or depth."""
    heading = {
        "edge": "largest step size that trains\nbar: from it to one that fails",
        "best": "best step size, mean of the starts\nbar: from the smallest to the largest of them",
    }[of]
    panel.set_title(heading, fontsize=9, loc="left")
    laws = [law for law in found.laws if (law.of, law.axis) == (of, axis)]
    heights = []
    sizes = sorted({getattr(cell, axis) for cell in found.cells})
    other = "depth" if axis == "width" else "width"
    several = len({getattr(cell, other) for cell in found.cells}) > 1
    for at, name in enumerate(names):
        shift = _shift(at, len(names), sizes)
        for value in sorted({getattr(cell, other) for cell in found.cells if cell.parameterisation == name}):
            law = next((law for law in laws if (law.parameterisation, law.at) == (name, value)), None)
            mine = [cell for cell in found.cells if (cell.parameterisation, getattr(cell, other)) == (name, value)]
            points = [_point(cell, of) for cell in mine]
            label = NAMES[name] + (f", {other} {value}" if several else "") + (_told(law) if law else "")
            x = np.array([getattr(cell, axis) for cell in mine], float)
            heights += _draw_points(panel, x, shift, points, STYLES[name], label)
    _finish(panel, axis, sizes, heights)


def _point(cell, of):
    """Height, and lower and upper end of its bar."""
    if of == "edge":
        lower, upper = cell.edge
        seen = lower > 0 and math.isfinite(upper)
        return (math.sqrt(lower * upper), lower, upper) if seen else (math.nan,) * 3
    own = np.log(cell.bests)
    seen = math.isfinite(cell.best) and np.all(np.isfinite(own))
    return tuple(np.exp([own.mean(), own.min(), own.max()])) if seen else (math.nan,) * 3


def _draw_points(panel, x, shift, points, style, label):
    middle, lower, upper = np.array(points, float).T
    colour, marker = style
    bars = np.array([middle - lower, upper - middle])
    panel.errorbar(
        x * shift, middle, bars, color=colour, marker=marker, markersize=6, capsize=3, linewidth=1.2, label=label
    )
    return [end for end in (*lower, *upper) if math.isfinite(end)]


def _told(law):
    if not math.isfinite(law.slope):
        return ": no number"
    power = f"{law.axis}^({law.slope:+.2f} ± {law.error:.2f})"
    return f": {power}\n{law.verdict or f'no verdict, {law.note}'}"


def _draw_linear(panel, found, names):
    panel.set_title("linear network, largest step size\nline: closed form; mark: measured", fontsize=9, loc="left")
    sizes = sorted({cell.width for cell in found.linear})
    heights = []
    for at, name in enumerate(names):
        mine = [cell for cell in found.linear if cell.parameterisation == name]
        colour, marker = STYLES[name]
        shift = _shift(at, len(names), sizes)
        x = np.array([cell.width for cell in mine]) * shift
        predicted = [float(np.min(cell.predicted)) for cell in mine]
        middle = [math.sqrt(cell.edge.lower * cell.edge.upper) for cell in mine]
        law = next((law for law in found.linear_laws if (law[0], law[1]) == (name, "linear edge")), None)
        panel.plot(x, predicted, color=colour, linewidth=1.2)
        panel.plot(x, middle, marker, color=colour, markersize=6, label=NAMES[name] + (_told(law) if law else ""))
        heights += [*predicted, *(end for end in middle if math.isfinite(end))]
    _finish(panel, "width", sizes, heights)


def _shift(at, number, sizes):
    """A factor that puts marks at one width beside each other."""
    span = (max(sizes) / min(sizes)) if len(sizes) > 1 else 10.0
    return span ** (SHIFT * (at - (number - 1) / 2))


def _finish(panel, axis, sizes, heights):
    from matplotlib.ticker import FixedLocator, NullFormatter

    panel.set_xscale("log")
    panel.set_yscale("log")
    room = max((max(sizes) / min(sizes)) ** 0.08, 1.05)
    panel.set_xlim(min(sizes) / room, max(sizes) * room)
    panel.xaxis.set_major_locator(FixedLocator(sizes))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("width of the hidden layers" if axis == "width" else "hidden layers")
    panel.grid(alpha=0.25, linewidth=0.5)
    if heights:
        low, high = min(heights) / ROOM, max(heights) * ROOM
        panel.set_ylim(low, high)
        label_log(panel.yaxis, low, high)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8, frameon=False)
