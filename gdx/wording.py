"""Numbers and values as text, alike wherever gdx writes them: in `print`, in reports, on the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

FEWEST, MOST = 6, 15
"""Digits of a number with an error bar."""
ENOUGH = 3
"""Digits of an end of a bracket, at least."""
LONGEST = 80
"""Characters of text, and of a value that nothing shorter is known for."""
FIRST = 3
"""Members of a long tuple that are written out, and fields of a record inside another."""


def span(pair: tuple[float, float]) -> str:
    """Write a bracket in words; a side where the scan ended is left open.

    Parameters
    ----------
    pair
        Lower and upper, as an edge has them.

    Returns
    -------
    str
        To two digits more than tell the ends apart, so that what is written is no further off than a twentieth of the
        bracket's width.
    """
    lower, upper = pair
    if math.isnan(lower):
        return "none"
    if math.isinf(upper):
        return f"at or above {lower:.6g}"
    if lower == 0:
        return f"at or below {upper:.6g}"
    digits = 17 if not upper > lower else min(max(math.ceil(math.log10(upper / (upper - lower))) + 2, ENOUGH), 17)
    return f"{lower:.{digits}g} .. {upper:.{digits}g}"


def number(value: float) -> str:
    """Write a number to five digits, one that is not finite as "none".

    Parameters
    ----------
    value
        A number.

    Returns
    -------
    str
    """
    return f"{value:.5g}" if math.isfinite(value) else "none"


def to_its_bar(value: float, error: float) -> str:
    """Write a number to as many digits as its error bar leaves and one more, six at least.

    Parameters
    ----------
    value, error
        Any; without a bar that makes sense it has six.

    Returns
    -------
    str
    """
    digits = FEWEST
    if 0 < error < math.inf and 0 < value < math.inf:
        digits = min(max(FEWEST, math.ceil(math.log10(value / error)) + 1), MOST)
    return f"{value:.{digits}g}"


def with_bar(value: float, error: float) -> str:
    """Write a number with its error bar.

    Parameters
    ----------
    value, error
        Positive, and not negative.

    Returns
    -------
    str
    """
    return f"{to_its_bar(value, error)} +- {error:.1g}"


def counted(number: int, what: str) -> str:
    """Write a number of things.

    Parameters
    ----------
    number, what
        How many, and the word for one of them.

    Returns
    -------
    str
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Set columns of text below each other.

    Parameters
    ----------
    rows
        Cells, as many in each.
    right
        Columns that are set to the right.

    Returns
    -------
    str
        A line a row, without spaces at the end.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def brief(value: Any) -> str:
    """Write any value in a line: of arrays, traced ones too, the dtype and the shape.

    Parameters
    ----------
    value
        A field of a result, say.

    Returns
    -------
    str
    """
    if isinstance(value, (bool, int, float, type(None))) and type(value).__module__ == "builtins":
        return repr(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _brief_array(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {brief(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        has_own = type(value).__repr__.__module__ not in ("collections", __name__)
        if has_own:
            return repr(value)
        return brief_record(value) if len(value) <= FIRST else f"{type(value).__name__}(...)"
    if isinstance(value, (tuple, list)):
        shown = [brief(item) for item in value[:FIRST]]
        more = [f"... {len(value)} in all"] if len(value) > FIRST else []
        return f"({', '.join(shown + more)}{',' if len(value) == 1 else ''})"
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    line = " ".join(repr(value).split())
    return line if len(line) <= LONGEST else line[:LONGEST] + "..."


def brief_record(record: Any) -> str:
    """Write a NamedTuple as Python does, but briefly.

    Parameters
    ----------
    record
        Any NamedTuple.

    Returns
    -------
    str
    """
    fields = ", ".join(f"{name}={brief(value)}" for name, value in zip(record._fields, record, strict=True))
    return f"{type(record).__name__}({fields})"


def _brief_array(array):
    if array.shape == ():
        try:
            return brief(array.item())
        except Exception:  # A tracer has no value, a key no number, a deleted array neither.
            pass
    return f"{array.dtype}{list(array.shape)}"
