"""A published picture, measured again: what was found, and its claims. The same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gdx.maps import PhaseMap
from gdx.reports.values import new_table
from gdx.studies import Claim

if TYPE_CHECKING:
    from rich.table import Table

SOURCE_WIDTH = 16


class Reproduced(Protocol):
    """What every study of a picture returns, beside fields of its own.

    Examples
    --------
    Continues the example of `gdx.studies.catapult`.

    >>> found.num_runs, len(found.claims), len(found.notes)
    (800, 10, 2)
    """

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Published figures beside measured ones."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be known."""
        ...

    @property
    def num_runs(self) -> int:
        """Of all."""
        ...

    @property
    def seconds(self) -> float:
        """With compiling."""
        ...


def reproduction_json(found: Reproduced, settings: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Put a picture's settings, claims and notes into one dict, and all that was measured.

    Parameters
    ----------
    found
        The study's value, a NamedTuple.
    settings
        What was asked for.
    files
        Paths written.

    Returns
    -------
    dict
        With `holds`, whether every claim does, and `measured`, the fields of the value by name.

    Examples
    --------
    Continues the example of `gdx.studies.catapult`.

    >>> from gdx.reports import reproduction_json
    >>> told = reproduction_json(found, {"name": "catapult"}, [])
    >>> told["holds"], sorted(told["measured"])
    (True, ['networks'])
    """
    shared = ("claims", "notes", "num_runs", "seconds")
    fields = {name: value for name, value in _fields(found).items() if name not in shared}
    return {
        **settings,
        "holds": all(claim.passed for claim in found.claims),
        "num_failed": sum(not claim.passed for claim in found.claims),
        "claims": [claim._asdict() for claim in found.claims],
        "notes": list(found.notes),
        "num_runs": found.num_runs,
        "seconds": found.seconds,
        "measured": fields,
        "files": list(files),
    }


def reproduction_table(found: Reproduced, title: str) -> Table:
    """Lay the claims of a picture out for a terminal.

    Parameters
    ----------
    found
        The study's value.
    title
        Above the table.

    Returns
    -------
    rich.table.Table

    Examples
    --------
    Continues the example of `gdx.studies.catapult`.

    >>> from gdx.reports import reproduction_table
    >>> reproduction_table(found, "catapult").row_count
    10
    """
    from rich.text import Text

    table = new_table(title, "check", "source", text=True)
    checks, sources = table.columns
    checks.no_wrap, checks.ratio, sources.max_width = False, 1, SOURCE_WIDTH
    table.expand, table.pad_edge, table.collapse_padding = True, False, True
    for heading in ("published", "measured", "off by", "allowed", "holds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for claim in found.claims:
        verdict = Text("yes", style="green") if claim.passed else Text("NO", style="bold red")
        numbers = f"{claim.predicted:.6g}", f"{claim.measured:.6g}", f"{claim.error:.2g}", f"{claim.bound:g}"
        table.add_row(Text(claim.claim), claim.source, *numbers, verdict)
    return table


def reproduction_line(found: Reproduced) -> str:
    """Say in one line whether a picture was reproduced.

    Parameters
    ----------
    found
        The study's value.

    Returns
    -------
    str

    Examples
    --------
    Continues the example of `gdx.studies.catapult`.

    >>> from gdx.reports import reproduction_line
    >>> reproduction_line(found).split(";")[0]
    'CHECK: all 10 hold'
    """
    failed = [claim.name for claim in found.claims if not claim.passed]
    number = len(found.claims)
    said = f"{len(failed)} of {number} do not hold ({', '.join(failed)})" if failed else f"all {number} hold"
    return f"CHECK: {said}; {found.num_runs} runs, {found.seconds:.0f} s"


def _fields(value: Any) -> Any:
    """A record with all that it holds, as dicts."""
    names = getattr(value, "_fields", None)
    if isinstance(value, PhaseMap):
        # Its facts, cell by cell, would be a hundred times as long as all else.
        told = {"x": value.x, "y": value.y, "answers": value.answers, "audit": value.audit}
        return {name: _fields(item) for name, item in told.items()}
    if names is not None:
        return {name: _fields(item) for name, item in zip(names, value, strict=True)}
    return [_fields(item) for item in value] if isinstance(value, (tuple, list)) else value
