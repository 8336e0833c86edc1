"""The step sizes side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdx.edges.edge import tolerance_of
from gdx.reports.transition import title
from gdx.reports.values import bracket, new_table
from gdx.studies import StepTable


def step_table_json(found: StepTable, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put everything about the step sizes into one dict.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.

    Returns
    -------
    dict

    Examples
    --------
    Continues the example of `gdx.step_table`.

    >>> from gdx.reports import step_table_json
    >>> sorted(step_table_json(table, {}))[:3]
    ['cost_unit', 'criterion_chosen_because', 'crossings']
    """
    return {
        **settings,
        "rows": [row._asdict() for row in found.rows],
        "reading": found.reading,
        "cost_unit": found.unit,
        "status": found.edge.status.value,
        "criterion_chosen_because": found.edge.chosen_because or None,
        "first_failure": bracket(found.edge.first_failure),
        "last_success": bracket(found.edge.last_success),
        "crossings": [bracket(pair) for pair in found.edge.crossings],
    }


def step_table_tables(found: StepTable, settings: Mapping[str, Any]) -> list[Any]:
    """Lay the step sizes out for a terminal.

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
    Continues the example of `gdx.step_table`.

    >>> from gdx.reports import step_table_tables
    >>> settings = {"problem": "quartic", "optimizer": "sgd", "scale": None, "batch_size": None, "hyperparameters": {}}
    >>> settings |= {"repeats": 1, "num_steps": 2_000, "precision": "float64"}
    >>> settings |= {"criterion": "converged", "tolerance": 1e-6}
    >>> len(step_table_tables(table, settings)) > 0
    True
    """
    table = new_table("step sizes", "", "step size", "+-", "cost", "what it means")
    table.columns[-1].justify = "left"
    chosen = f", since {found.edge.chosen_because}" if found.edge.chosen_because else ""
    for row in found.rows:
        table.add_row(row.name, *row.numbers, f"{row.cost:.3g}", row.meaning)
    return [
        f"[bold]{title(settings)}[/], criterion {found.edge.criterion}{tolerance_of(found.edge)}{chosen}",
        table,
        *(f"{row.name}: {row.note}" for row in found.rows),
        f"cost: in {found.unit}; a Hessian product is two, an evaluation of the loss a third",
        f"\n{found.reading}",
    ]
