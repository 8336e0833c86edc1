"""Names with a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gdx.optimizers import Hyperparameter
from gdx.reports.values import new_table

if TYPE_CHECKING:
    from rich.console import RenderableType


def catalogue_table(title: str, lines: Mapping[str, tuple[str, ...]], columns: Sequence[str]) -> RenderableType:
    """Lay out names with a line each.

    Parameters
    ----------
    title
        Above the table.
    lines
        Name to the other columns.
    columns
        Headings of the other columns.

    Returns
    -------
    rich.table.Table

    Examples
    --------
    >>> from gdx.reports import catalogue_table
    >>> table = catalogue_table("problems", {"quartic": ("a double well",)}, ["what it is"])
    >>> table.row_count
    1
    """
    table = new_table(title, "name", *columns, text=True)
    for name, rest in lines.items():
        table.add_row(name, *rest)
    return table


def hyperparameters(taken: Mapping[str, Hyperparameter]) -> str:
    """Write hyperparameters with their defaults and ranges, a line each.

    Parameters
    ----------
    taken
        Name to `Hyperparameter`.

    Returns
    -------
    str

    Examples
    --------
    >>> import gdx
    >>> from gdx.reports import hyperparameters
    >>> print(hyperparameters(gdx.optimizers.catalogue()["momentum"].hyperparameters))
    momentum 0.9, [0, 1)
    nesterov false, true or false
    """

    def default(value):
        if isinstance(value, bool):
            return str(value).lower()
        return "off" if value is None else f"{value:g}"

    return "\n".join(f"{name} {default(value.default)}, {value.range}" for name, value in taken.items())
