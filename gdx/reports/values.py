"""Brackets and tables as every report writes them."""

from __future__ import annotations

import enum
import importlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.edges import Bracket

if TYPE_CHECKING:
    from rich.table import Table


def to_json(values: Any) -> str:
    """Write nested values as JSON; numbers that are not finite become null, as JSON has none.

    Parameters
    ----------
    values
        Dicts, lists, numbers, text, members of enumerations, NumPy scalars and arrays.

    Returns
    -------
    str

    Examples
    --------
    >>> from gdx.reports import to_json
    >>> to_json({"edge": 0.5, "estimate": float("nan")})
    '{"edge": 0.5, "estimate": null}'
    """
    return json.dumps(_plain(values), allow_nan=False)


def new_table(title: str, *columns: str, text: bool = False) -> Table:
    """Make an empty table.

    Parameters
    ----------
    title
        Above the table.
    *columns
        Headings; the first column is never wrapped.
    text
        Whether columns hold words, which stand to the left, or numbers.

    Returns
    -------
    rich.table.Table
    """
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        # A word that is longer than its column goes on in the next line; by default its end would be cut off.
        table.add_column(column, justify="left" if text or i == 0 else "right", no_wrap=i == 0, overflow="fold")
    return table


def bracket(pair: Bracket | None) -> dict[str, float] | None:
    """Turn a bracket into a dict, one that is not there into None.

    Parameters
    ----------
    pair
        As an edge has it, or None.

    Returns
    -------
    dict or None
    """
    return None if pair is None or math.isnan(pair.lower) else pair._asdict()


def versions() -> dict[str, str]:
    """Say what numbers were made with.

    Returns
    -------
    dict
        Versions of gdx and of what it computes with, by name.

    Examples
    --------
    >>> from gdx.reports import versions
    >>> sorted(versions())
    ['gdx', 'jax', 'jaxlib', 'numpy', 'optax']
    """
    return {name: importlib.import_module(name).__version__ for name in ("gdx", "jax", "jaxlib", "optax", "numpy")}


def _plain(value):
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
