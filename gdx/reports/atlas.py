"""An atlas as Markdown, CSV, JSON and a table for a terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gdx.edges import Bracket
from gdx.reports.values import bracket, versions
from gdx.wording import aligned, span

if TYPE_CHECKING:
    from gdx.studies.atlas import Atlas, Cell, Row

MUCH = 1e5
"""From where the first digit is enough in a narrow table."""
MEANING = """
- **threshold**: critical step size times curvature, by probe (`gdx.curvature_threshold`); "of P" where it is of the
  Hessian as the optimizer's own preconditioner bends it, which does not exist before training.
- **last success** and **first failure**: the largest step size at which some start met the criterion, and the smallest
  at which some start failed it for too large a step. Each was bracketed by two step sizes that were run, mostly within
  a factor of 1.2; shown are the one that succeeded and the one that failed. **predicted** is threshold / sharpness
  where both are known before any run; off quadratics it bounds successes alone.
- **best**: the step size at which the worst start's late loss is the smallest, and the median late loss there (the mean
  over the last tenth of the horizon), with the starts' range.
- **good**: step sizes in a row at which every start's late loss is within 2 % of the way from the best loss to that of
  learning nothing, no nearer than 1.5 times to where the first start stops training; both ends were run, at factors of
  2. **width** is their ratio: how forgiving the optimizer is; ">=" where the range goes on beyond all that was
  run, 1e-10 to 1e10.
- **spread**: factor between the starts' own largest step sizes that train.
- A word in place of a number says why there is none.
""".strip()


def atlas_markdown(found: Atlas, settings: Mapping[str, Any]) -> str:
    """Write an atlas as a page of tables.

    Parameters
    ----------
    found
        The study's value.
    settings
        What was asked for, by name.

    Returns
    -------
    str
        Markdown: how it was made, widths by problem, a table a problem, what was made again, where theory and runs
        disagree.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> from gdx.reports import atlas_markdown
    >>> atlas_markdown(found, {}).splitlines()[0]
    '# Atlas'
    """
    made_with = ", ".join(f"{name} {version}" for name, version in {**settings, **versions()}.items())
    problems = [
        f'- `{name}`: {what.line}; {found.num_steps[name]} steps, edge of "{what.criterion}"'
        for name, what in found.problems.items()
    ]
    parts = [
        "# Atlas",
        f"{len(found.rows)} optimizers at the defaults of their hyperparameters, {len(found.problems)} problems, "
        f"{found.repeats} starts each; {_num_runs(found)} runs. {made_with}.",
        "\n".join(problems),
        "\n".join(f"- {line}" for line in summary_lines(found)),
        "## How forgiving: largest over smallest good step size",
        _table(["optimizer", "threshold", *found.problems, "median"], [_widths(row) for row in found.rows]),
        *[part for name in found.problems for part in (f"## {name}", _table(COLUMNS, _of_problem(found, name)))],
        "## Without a threshold",
        "\n".join(f"- {note}: {', '.join(names)}" for note, names in _without_threshold(found).items()) or "None.",
        "## What the columns mean",
        MEANING,
    ]
    return "\n\n".join(parts) + "\n"


def atlas_csv(found: Atlas) -> str:
    """Write an atlas as CSV, a row a pair of optimizer and problem.

    Parameters
    ----------
    found
        The study's value.

    Returns
    -------
    str
        Fields as in `atlas_json`; a number that is not there is empty.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> from gdx.reports import atlas_csv
    >>> atlas_csv(found).split(",")[:2]
    ['optimizer', 'group']
    """
    lines = [_flat(row, cell) for row in found.rows for cell in row.cells]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv(value) for key, value in line.items()} for line in lines)
    return text.getvalue()


def atlas_json(found: Atlas, settings: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Put an atlas into one dict.

    Parameters
    ----------
    found
        The study's value.
    settings
        What was asked for.
    files
        Paths written.

    Returns
    -------
    dict
        `rows`, one an optimizer, with `cells`, one a problem, fields as in `gdx.studies.atlas.Cell`.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> from gdx.reports import atlas_json
    >>> atlas_json(found, {}, [])["interrupted"]
    False
    """
    problems = {
        name: {"line": what.line, "num_steps": found.num_steps[name], "criterion": what.criterion}
        for name, what in found.problems.items()
    }
    rows = [
        {**row._asdict(), "median_width": row.median_width, "cells": [_cell(cell) for cell in row.cells]}
        for row in found.rows
    ]
    told = {"interrupted": found.interrupted, "seconds": found.seconds, "lines": summary_lines(found)}
    return {**settings, "problems": problems, "rows": rows, **told, "versions": versions(), "files": list(files)}


def atlas_table(found: Atlas) -> str:
    """Lay the widths out for a terminal of 80 columns or a pipe, a row an optimizer.

    Parameters
    ----------
    found
        The study's value.

    Returns
    -------
    str

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> from gdx.reports import atlas_table
    >>> print(atlas_table(found).splitlines()[0])
    largest over smallest good step size, how forgiving the optimizer is:
    """
    names = [name.partition("-") for name in found.problems]
    heading = [["", *[first + dash for first, dash, _ in names]], ["optimizer", *[last for *_, last in names]]]
    lines = [[row.optimizer, *[_short_width(cell) for cell in row.cells]] for row in found.rows]
    table = aligned([*heading, *lines], right=range(1, 1 + len(names)))
    return f"largest over smallest good step size, how forgiving the optimizer is:\n{table}"


def summary_lines(found: Atlas) -> list[str]:
    """Say how far the numbers of an atlas may be trusted.

    Parameters
    ----------
    found
        The study's value.

    Returns
    -------
    list of str
        A line on the runs that were made again in a plain optax loop, one on theory, and one for every disagreement.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> from gdx.reports import summary_lines
    >>> summary_lines(found)[-1]
    'Theory: of 2 predicted edges 2 are borne out by the runs.'
    """
    again = [cell for cell in found.cells if cell.num_again]
    runs, same = sum(cell.num_again for cell in again), sum(cell.num_same for cell in again)
    lines = [
        f"Second road: {runs} runs of {len(again)} pairs made again in a plain optax loop, {same} came out the same."
    ]
    if found.interrupted:
        unfinished = sum(not cell.num_runs for cell in found.cells)
        lines.append(f"Unfinished: {unfinished} of {len(found.cells)} pairs have no runs.")
    predicted = [cell for cell in found.cells if cell.agrees is not None]
    if predicted:
        agree = sum(bool(cell.agrees) for cell in predicted)
        lines.append(f"Theory: of {len(predicted)} predicted edges {agree} are borne out by the runs.")
    lines += [
        f"Disagreement: {cell.optimizer} on {cell.problem}: predicted {_size(cell.predicted)}, "
        f"first failure {span(cell.first_failure)}, last success {span(cell.last_success)}; {cell.edge_note}."
        for cell in found.disagreements
    ]
    return lines


def _without_threshold(found):
    """Names of optimizers by the reason."""
    reasons: dict[str, list[str]] = {}
    for row in found.rows:
        if row.note:
            reasons.setdefault(row.note, []).append(row.optimizer)
    return reasons


COLUMNS = (
    "optimizer", "predicted", "last success", "first failure", "best at", "best loss", "good", "width", "spread",
    "remarks",
)  # fmt: skip


def _of_problem(found, name):
    at = list(found.problems).index(name)
    return [_line(row.cells[at]) for row in found.rows]


def _line(cell: Cell):
    notes = dict.fromkeys(note for note in (cell.edge_note, cell.good_note) if note)
    low, high = cell.best_losses
    loss = f"{_size(cell.best_loss)} ({_size(low)} .. {_size(high)})" if math.isfinite(cell.best_loss) else ""
    return [
        cell.optimizer,
        _size(cell.predicted),
        _size(cell.last_success.lower, 3) or "none",
        _size(cell.first_failure.upper, 3) or "none",
        _size(cell.best_step),
        loss,
        f"{_size(cell.good.lower)} .. {_size(cell.good.upper)}" if math.isfinite(cell.good.lower) else "",
        _width(cell),
        _size(cell.spread),
        "; ".join(notes),
    ]


def _widths(row: Row):
    threshold = f"{_size(row.threshold, 4)}{' of P' if row.is_preconditioned else ''}" or "none"
    median = (_size(row.median_width) if row.median_width else "") or "none"
    return [row.optimizer, threshold, *[_width(cell) or "none" for cell in row.cells], median]


def _width(cell):
    if not math.isfinite(cell.width):
        return ""
    return f"{'>=' if any(cell.is_open) else ''}{_size(cell.width)}"


def _short_width(cell):
    """In six characters."""
    if not math.isfinite(cell.width):
        return "none"
    return f"{'>' if any(cell.is_open) else ''}{f'{cell.width:.0e}' if cell.width >= MUCH else _size(cell.width)}"


def _size(value, digits=2):
    # Once rounded, again: 130 and not 1.3e+02.
    return f"{float(f'{value:.{digits}g}'):g}" if math.isfinite(value) else ""


def _num_runs(found):
    return sum(cell.num_runs for cell in found.cells)


def _table(heading, lines):
    rows = [list(heading), ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)


def _cell(cell: Cell):
    values = {name: bracket(value) if isinstance(value, Bracket) else value for name, value in cell._asdict().items()}
    return values | {"width": cell.width}


def _flat(row: Row, cell: Cell):
    flat: dict[str, Any] = {"optimizer": row.optimizer, "group": row.group, "problem": cell.problem}
    flat |= {"threshold": row.threshold, "is_preconditioned": row.is_preconditioned, "threshold_note": row.note}
    flat |= {"smallest_best_loss": cell.best_losses[0], "largest_best_loss": cell.best_losses[1]}
    flat |= {"is_open_below": cell.is_open[0], "is_open_above": cell.is_open[1], "width": cell.width}
    for name, value in cell._asdict().items():
        if isinstance(value, Bracket):
            flat |= {f"{name}_lower": value.lower, f"{name}_upper": value.upper}
        elif not isinstance(value, tuple):
            flat.setdefault(name, value)
    return flat


def _csv(value):
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value
