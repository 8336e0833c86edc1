"""Which parameterisations carry a step size over: one JSON object, and tables for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gdx.reports.transition import title
from gdx.reports.values import bracket, new_table, versions
from gdx.studies.stability.words import size
from gdx.verdicts import TrainingVerdict
from gdx.wording import counted, span

if TYPE_CHECKING:
    from gdx.studies import Transfer

WIDTH = 79


def transfer_json(found: Transfer, settings: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Put everything about the networks into one dict.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.
    files
        Paths written.

    Returns
    -------
    dict
        Fields as in `gdx.studies.Transfer`, those of records inside it as dicts; an upper end of a bracket that is
        infinite (null in JSON) is where the scan ended.

    Examples
    --------
    Continues the example of `gdx.studies.transfer`.

    >>> from gdx.reports import transfer_json
    >>> transfer_json(found, {}, [])["optimizer"]
    'sgd'
    """
    values = found._asdict()
    values["cells"] = [_cell_json(cell) for cell in found.cells]
    values["laws"] = [law._asdict() for law in found.laws]
    values["linear_laws"] = [law._asdict() for law in found.linear_laws]
    values["linear"] = [
        cell._asdict() | {"measured": [bracket(pair) for pair in cell.measured]} for cell in found.linear
    ]
    return {**settings, **values, "versions": versions(), "files": list(files)}


def transfer_tables(found: Transfer, settings: Mapping[str, Any]) -> list[Any]:
    """Lay the networks out for a terminal of 80 columns, or a pipe.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.

    Returns
    -------
    list
        Things that rich prints.

    Examples
    --------
    Continues the example of `gdx.studies.transfer`.

    >>> from gdx.reports import transfer_tables
    >>> settings = {"problem": "digits", "optimizer": "sgd", "scale": None, "batch_size": 64, "replacement": False}
    >>> settings |= {"hyperparameters": {}, "repeats": 3, "num_steps": 20, "precision": "float32"}
    >>> len(transfer_tables(found, settings)) > 2
    True
    """
    steps = counted(found.num_steps, "step")
    heading = (
        f"{title(settings)}, {settings['precision']}; all parameterisations are one network at width "
        f"{found.base_width}, muP as for {found.optimizer}"
    )
    cost = f"cost: {counted(found.num_trainings, 'training')} of {steps}, {found.seconds:.0f} s"
    laws = [_laws(found)] if found.laws or found.linear_laws else []
    parts = ["\n".join(textwrap.wrap(heading, WIDTH)), _cells(found), *laws, *_notes(found)]
    if found.linear:
        parts.append(_linear(found))
        parts.append("\n".join(textwrap.wrap(LINEAR, WIDTH)))
    else:
        parts.append("\n".join(textwrap.wrap(f"no linear networks beside them: {found.linear_note}", WIDTH)))
    return [*parts, cost]


LINEAR = (
    "Closed form: each start of a two-layer linear network of one input converges below it and, almost surely, not "
    "above; of the start that fails first. off by: of all starts, measured beside it."
)


def _cell_json(cell):
    values = cell._asdict() | {"edge": bracket(cell.edge), "good": bracket(cell.good), "trust": cell.trust._asdict()}
    curve = cell.curve._asdict()
    codes = curve.pop("codes").tolist()
    curve["verdicts"] = [[TrainingVerdict(code).name.lower() for code in starts] for starts in codes]
    return values | {"curve": curve}


def _cells(found):
    table = new_table("largest and best step sizes", "network", "edge", "starts", "best", "loss", "as good")
    for cell in found.cells:
        table.add_row(
            f"{cell.parameterisation} {cell.width}x{cell.depth}",
            _span(cell.edge),
            f"x{size(cell.spread)}" if math.isfinite(cell.spread) else "",
            size(cell.best) if math.isfinite(cell.best) else "none",
            size(cell.best_loss) if math.isfinite(cell.best_loss) else "",
            f"{size(cell.good.lower)} to {size(cell.good.upper)}" if math.isfinite(cell.good.lower) else "",
        )
    return table


def _span(pair):
    if math.isnan(pair.lower) or math.isinf(pair.upper):
        return span(pair)
    return f"{pair.lower:.3g} .. {pair.upper:.3g}"


def _laws(found):
    table = new_table("which transfers", "step size, as a power", "of", "exponent", "verdict", text=True)
    table.columns[2].no_wrap = True
    for law in (*found.laws, *found.linear_laws):
        exponent = f"{round(law.slope, 2) + 0.0:+.2f} +- {law.error:.2f}" if math.isfinite(law.slope) else "none"
        table.add_row(
            f"{law.parameterisation}, {law.of}", law.axis + _where(found, law), exponent, law.verdict or law.note
        )
    return table


def _where(found, law):
    """At which depth, or width, where there are several."""
    other = "depth" if law.axis == "width" else "width"
    several = len({getattr(cell, other) for cell in found.cells}) > 1
    return f", {other} {law.at}" if several and law not in found.linear_laws else ""


def _notes(found):
    """How to read both tables, and what became of numbers that are not there."""
    again = sum(cell.trust.num_runs for cell in found.cells), sum(cell.trust.num_agree for cell in found.cells)
    how = (
        "edge: up to it every start trains. starts: factor between the starts' own edges. "
        "best: of the worst start; its exponent is of the starts' own. "
        "as good: away from the edge, every start as close to the best loss. open: what two standard errors leave. "
        f"{again[1]} of {again[0]} plain optax runs at edges and bests come to the same verdict; an edge is where both "
        "do."
    )
    told = [
        f"{cell.parameterisation} {cell.width}x{cell.depth}: {cell.trust.note}"
        for cell in found.cells
        if cell.trust.note
    ]
    return ["\n".join("\n".join(textwrap.wrap(line, WIDTH)) for line in [how, *told]) + "\n"]


def _linear(found):
    table = new_table("two-layer linear networks", "network", "closed form", "measured", "off by")
    for cell in found.linear:
        table.add_row(
            f"{cell.parameterisation} {cell.width}",
            f"{min(cell.predicted):.5g}",
            span(cell.edge),
            f"{cell.deviation:.1g}" if math.isfinite(cell.deviation) else "none",
        )
    return table
