"""A verification: a row for every claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gdx.reports.values import new_table
from gdx.studies import Verification

if TYPE_CHECKING:
    from rich.table import Table


SOURCE_WIDTH = 16
"""Of "arXiv 2402.13108"."""


def verification_json(found: Verification) -> dict[str, Any]:
    """Put everything about a verification into one dict.

    Parameters
    ----------
    found
        The study's values.

    Returns
    -------
    dict
        With `rows`, a dict each.

    Examples
    --------
    Continues the example of `gdx.verify`.

    >>> from gdx.reports import verification_json
    >>> sorted(verification_json(found))
    ['device', 'fast', 'num_failed', 'num_rows', 'rows', 'seconds', 'seed']
    """
    return {
        "seed": found.seed,
        "fast": found.fast,
        "device": found.device,
        "seconds": found.seconds,
        "num_rows": len(found.rows),
        "num_failed": len(found.failed),
        "rows": [row._asdict() for row in found.rows],
    }


def verification_table(found: Verification) -> Table:
    """Lay a verification out for a terminal of 100 columns or more.

    Parameters
    ----------
    found
        The study's values.

    Returns
    -------
    rich.table.Table
        Claims in the order of the study; what is known of a failed one stands below it.

    Examples
    --------
    Continues the example of `gdx.verify`.

    >>> from gdx.reports import verification_table
    >>> verification_table(found).row_count == len(found.rows)
    True
    """
    from rich.text import Text

    table = new_table(f"closed forms against measurements, seed {found.seed}", "claim", "source", text=True)
    # Words wrap, numbers do not: claims have what the others leave of the terminal.
    claims, sources = table.columns
    claims.no_wrap, claims.ratio, sources.max_width = False, 1, SOURCE_WIDTH
    table.expand, table.pad_edge, table.collapse_padding = True, False, True
    for heading in ("predicted", "measured", "error", "verdict", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        claim = Text(f"{row.name}: ", style="bold").append(row.claim, style="not bold")
        if not row.passed:
            claim.append(f" [{row.note or f'error above {row.bound:.0e}'}]", style="bold red")
        verdict = Text("pass", style="green") if row.passed else Text("FAIL", style="bold red")
        numbers = f"{row.predicted:.6g}", f"{row.measured:.6g}", f"{row.error:.0e}"
        table.add_row(claim, row.source, *numbers, verdict, f"{row.seconds:.1f}")
    return table


def verification_line(found: Verification) -> str:
    """Say in one line how a verification ended.

    Parameters
    ----------
    found
        The study's values.

    Returns
    -------
    str

    Examples
    --------
    Continues the example of `gdx.verify`.

    >>> from gdx.reports import verification_line
    >>> verification_line(found).split(",")[0]
    '1 rows'
    """
    return f"{len(found.rows)} rows, {len(found.failed)} failed, {found.seconds:.0f} s on {found.device}"
