"""The picture of a map over two hyperparameters."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.maps import PhaseMap
from gdx.maps.filling import nearest_alike
from gdx.maps.found import ATTRACTOR
from gdx.plots.palette import COLOURS, FAILURE, SUCCESS, TRAINING_COLOURS
from gdx.plots.scales import label_log
from gdx.verdicts import Answer, TrainingVerdict, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNKNOWN_COLOUR = "#FFFFFF"
ANSWER_COLOURS = {Answer.MET: SUCCESS, Answer.FAILED: FAILURE, Answer.UNDECIDED: "#BBBBBB"}
# Okabe and Ito's hues.
ATTRACTOR_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
OTHER_ATTRACTORS, NO_ATTRACTOR = "#555555", "#DDDDDD"
PALEST, DARKEST = 0.75, 0.45
"""How far a hue goes towards white for the least intensity, and towards black for the largest."""
FADED = 0.55
"""How far the colour of a filled-in cell goes towards white where the computed ones are marked."""
TITLE_WIDTH, LEGEND_WIDTH = 70, 34
NUMBERS = {"steps": "steps to convergence or blow-up", "share": "share of the starts that succeed"}
WIDTHS = (32.0, 16.0, 8.0, 4.0, 2.0, 1.0)
"""Of the means that shade cells which were filled in, in cells."""
MOSTLY = 0.5
"""Share of undecided verdicts from which answers have the hues."""
ENDS = 0.005
"""Share of the values beyond each end of the colours."""


def phase_map(
    found: PhaseMap,
    colour: str = "intensity",
    *,
    mark_computed: bool = False,
    title: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Draw a map over two hyperparameters.

    Parameters
    ----------
    found
        From `gdx.phase_map`; with `follow="verdicts"` the borders of verdicts are as sharp as those of answers.
    colour
        "intensity": a hue a verdict, the darker the sooner runs converged or blew up, by rank, so that all shades are
        equally common. "verdict" or "answer" alone. "share" of the keys that succeed. "steps" to convergence or
        blow-up. "attractor": which one the first start ends in. Or the name of a fact or an observer, as
        `PhaseMap.of` knows them. Where a cell was filled in, it has a mean of the shades of those of its kind around it
        that were run, or the attractor of the nearest of them.
    mark_computed
        Whether to draw the cells that were filled in paler than those that were run.
    title
        Above the picture.
    axes
        To draw into; by default a new figure.

    Returns
    -------
    Axes
        Its coordinates are the hyperparameters, so that whatever is drawn over it needs no more.

    Raises
    ------
    ValueError
        If there is nothing of that name to colour by, with the list of what there is.

    Examples
    --------
    Continues the example of `gdx.phase_map`.

    >>> axes = gdx.plots.phase_map(found, "answer", mark_computed=True)
    >>> axes.get_xlabel(), axes.get_yscale()
    ('momentum', 'log')
    """
    if colour not in found.colours:
        found.of(colour)
    if axes is None:
        import matplotlib.pyplot as plt

        _, axes = plt.subplots(figsize=(8.2, 5.4), layout="constrained")
    is_kind = colour in ("answer", "verdict", "intensity", ATTRACTOR)
    if colour == ATTRACTOR and ATTRACTOR in found.colours:
        colours, entries = _by_attractor(found)
    elif is_kind:
        colours, entries = _by_kind(found, colour)
    else:
        colours, entries = _by_number(found, colour, axes)
    if mark_computed:
        colours = np.where(found.computed[:, :, None], colours, _towards(colours, 1.0, FADED))
        entries.append(("#999999", "full colour: computed; paler: filled in"))
    _draw(axes, found, colours)
    _explain(axes, found, entries, is_kind)
    axes.set_title(textwrap.fill(title, TITLE_WIDTH))
    return axes


def _draw(axes, found, colours):
    axes.set_xscale(found.across.axis.scale)
    axes.set_yscale(found.down.axis.scale)
    borders = found.across.borders(), found.down.borders()
    axes.pcolormesh(*borders, colours, shading="flat", rasterized=True, antialiased=False, linewidth=0)
    for axis, line, ends in zip((axes.xaxis, axes.yaxis), (found.across, found.down), borders, strict=True):
        if line.axis.scale == "log":
            label_log(axis, float(ends[0]), float(ends[-1]))
        axis.set_label_text(line.axis.name.replace("_", " "))
    axes.set_xlim(borders[0][0], borders[0][-1])
    axes.set_ylim(borders[1][0], borders[1][-1])


def _explain(axes, found, entries, is_beside):
    """A legend that says what each colour means, and how much of the map was run."""
    from matplotlib.patches import Patch

    width = LEGEND_WIDTH if is_beside else 2 * LEGEND_WIDTH
    handles = [Patch(color=colour, label=textwrap.fill(label, width)) for colour, label in entries]
    handles.append(Patch(color="none", label=textwrap.fill(_certificate(found), width)))
    # A bar of colours takes the place on the right.
    where = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13)}
    axes.legend(handles=handles, fontsize=8, frameon=False, **(where if is_beside else below))


def _certificate(found):
    """What is known of the cells that were not run."""
    if found.interrupted:
        return f"interrupted: {np.mean(found.computed):.1%} of the cells computed"
    if found.computed.all():
        return "every cell computed"
    what = "answers" if found.follow == "answers" else "answers and verdicts"
    return (
        f"{np.mean(found.computed):.1%} of the cells computed; of all {what} at most "
        f"{100 * found.audit.bound:.2g}\N{NO-BREAK SPACE}% wrong, at 95\N{NO-BREAK SPACE}%"
    )


def _by_kind(found, colour):
    """A hue an answer or a verdict, [Y, X, 3], shaded where asked for."""
    if colour == "answer" or (colour == "intensity" and not _tells(found)):
        kinds, palette = np.where(found.known, found.answers, -1), ANSWER_COLOURS
    else:
        kinds = found.verdict
        palette = TRAINING_COLOURS if found.verdict_names is TrainingVerdict else COLOURS
    ranks = _ranks(found, kinds) if colour == "intensity" else np.full(kinds.shape, np.nan)
    colours, entries = np.broadcast_to(_rgb(UNKNOWN_COLOUR), (*kinds.shape, 3)).copy(), []
    for kind, base in palette.items():
        own = kinds == kind
        if own.any():
            colours[own] = _shaded(_rgb(base), ranks[own])
            name = kind.name.lower().replace("_", " ") + (_meaning(found, kind) if palette is ANSWER_COLOURS else "")
            entries.append((base, name + (_shade_means(found, kind, own) if colour == "intensity" else "")))
    if np.any(kinds < 0):
        entries.append((UNKNOWN_COLOUR, "unknown"))
    return colours, entries


def _by_attractor(found):
    """A hue an attractor, the most frequent ones, [Y, X, 3]."""
    labels = found.of(ATTRACTOR)
    labels = labels[nearest_alike(found.verdict, found.computed)]
    colours, entries = np.broadcast_to(_rgb(NO_ATTRACTOR), (*labels.shape, 3)).copy(), []
    number = int(np.nanmax(labels, initial=-1)) + 1
    for label, hue in zip(range(number), ATTRACTOR_COLOURS, strict=False):
        colours[labels == label] = _rgb(hue)
        entries.append((hue, f"attractor {label}: {np.mean(labels == label):.1%} of the map"))
    if number > len(ATTRACTOR_COLOURS):
        others = labels >= len(ATTRACTOR_COLOURS)
        colours[others] = _rgb(OTHER_ATTRACTORS)
        entries.append((OTHER_ATTRACTORS, f"{number - len(ATTRACTOR_COLOURS)} others: {np.mean(others):.1%}"))
    if np.isnan(labels).any():
        entries.append((NO_ATTRACTOR, "neither at rest nor cycling"))
    return colours, entries


def _tells(found):
    """Whether verdicts tell runs that stayed bounded apart, which they do not where the facts for it were left out."""
    if found.verdict_names is TrainingVerdict:
        return True
    bounded = found.known & (found.verdict != Verdict.DIVERGED)
    return not bounded.any() or bool(np.mean(found.verdict[bounded] == Verdict.UNDECIDED) < MOSTLY)


def _meaning(found, answer):
    """What an answer says of a cell's starts."""
    starts = found.run_answers.shape[1]
    if answer == Answer.UNDECIDED:
        return ": unfinished" if starts == 1 else ": starts disagree, or all are unfinished"
    criterion = found.criterion.replace("_", " ")
    if starts == 1:
        return f": {'not ' if answer == Answer.FAILED else ''}{criterion}"
    return f": {criterion}, {'all starts' if answer == Answer.MET else 'no start'}"


def _ranks(found, kinds):
    """Rank of each cell's intensity among those of its kind, from 0 to 1, [Y, X]."""
    intensity, ranks = found.of("intensity"), np.full(kinds.shape, np.nan)
    for kind in np.unique(kinds[kinds >= 0]):
        own = (kinds == kind) & np.isfinite(intensity)
        if own.any():
            values, index, counts = np.unique(intensity[own], return_inverse=True, return_counts=True)
            middles = np.cumsum(counts) - counts / 2
            ranks[own] = middles[index] / own.sum() if values.size > 1 else 0.5
    return _filled(ranks, kinds, found.computed)


def _filled(values, kinds, computed):
    """Values of the cells that were run, and elsewhere means of those of a cell's kind, from as near as there are."""
    from scipy.ndimage import gaussian_filter

    known = computed & np.isfinite(values)
    filled = values[nearest_alike(np.where(known | ~computed, kinds, -2), known)]
    for kind in np.unique(kinds[kinds >= 0]):
        own, wanted = (kinds == kind) & known, (kinds == kind) & ~computed
        if not (own.any() and wanted.any()):
            continue
        mean = filled
        for width in WIDTHS:
            # A tenth of what one cell weighs at its own place: wider means count where nothing nearer does.
            weight, least = gaussian_filter(own.astype(float), width), 0.1 / (2 * np.pi * width**2)
            total = gaussian_filter(np.where(own, values, 0.0), width)
            mean = (total + least * mean) / (weight + least)
        filled = np.where(wanted, mean, filled)
    return filled


def _shade_means(found, kind, own):
    """What a darker shade of a verdict says, with the range that it stands for."""
    steps = found.of("steps")[own]
    steps = steps[np.isfinite(steps)]
    if steps.size:
        # By name, since codes of different kinds are equal numbers.
        verb = "blew up" if kind.name in ("DIVERGED", "BLOWN_UP", "FAILED") else "converged"
        return f": the darker the sooner it {verb}, {np.min(steps):.0f} .. {np.max(steps):.0f} steps"
    if not np.isfinite(found.of("intensity")[own]).any():
        return ""
    return ": the darker the further the loss fell"


def _by_number(found, colour, axes):
    """Colours of a number, [Y, X, 3], with a bar; cells without one are grey."""
    from matplotlib import colormaps, colors
    from matplotlib.cm import ScalarMappable

    values = found.share if colour == "share" else _filled(found.of(colour), found.verdict, found.computed)
    # What a run that blew up leaves behind has no bounds, and would take all colours for itself.
    blown = found.verdict == (TrainingVerdict.BLOWN_UP if found.criterion == "trains" else Verdict.DIVERGED)
    finite = values[np.isfinite(values)]
    shown = finite if colour in NUMBERS else values[np.isfinite(values) & ~blown]
    norm: Any = colors.Normalize(0, 1)
    chart = colormaps["cividis"]
    if colour != "share" and shown.size:
        low, high = np.quantile(shown, [ENDS, 1 - ENDS])
        if low < 0 < high:
            norm, chart = colors.Normalize(-max(-low, high), max(-low, high)), colormaps["PuOr"]
        elif low > 0 and high > 100 * low:
            norm = colors.LogNorm(low, high)
        else:
            norm = colors.Normalize(low, high if high > low else low + 1)
    rgb = chart(norm(np.nan_to_num(values)))[:, :, :3]
    rgb = np.where(np.isfinite(values)[:, :, None], rgb, _rgb("#BBBBBB"))
    label = NUMBERS.get(colour, colour.replace("_", " "))
    extend = "neither" if colour == "share" else "both"
    axes.figure.colorbar(ScalarMappable(norm, chart), ax=axes, label=label, extend=extend, pad=0.02)
    return rgb, [("#BBBBBB", "nothing to tell")] if finite.size < values.size else []


def _shaded(base, ranks):
    """A hue from pale to dark by rank; as it is where there is none."""
    share = np.where(np.isfinite(ranks), 2 * np.nan_to_num(ranks) - 1, 0.0)[:, None]
    pale, dark = _towards(base, 1.0, PALEST * np.maximum(-share, 0)), DARKEST * np.maximum(share, 0)
    return _towards(pale, 0.0, dark)


def _towards(colours, end, share):
    return colours + (end - colours) * share


def _rgb(colour):
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))
