"""`gdx list`."""

from __future__ import annotations

from typing import Annotated

import typer

from gdx import optimizers, problems, reports
from gdx.cli.console import refusals, show
from gdx.cli.request import AsJson

KINDS = ("problems", "landscapes", "optimizers")


def list_names(
    what: Annotated[str | None, typer.Argument(help="problems, landscapes or optimizers; all by default")] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no table")] = False,
) -> None:
    """Show problems, landscapes and optimizers, a line each."""
    with refusals():
        if what not in (None, *KINDS):
            raise ValueError(f"what: {what!r} is unknown; choose problems, landscapes or optimizers")
    wanted = KINDS if what is None else (what,)
    if as_json:
        print(reports.to_json({kind: _entries(kind) for kind in wanted}))
    elif not quiet:
        show(*(table for kind in wanted for table in _tables(kind)))


def _entries(kind):
    """Everything that a script wants to know of what there is, by name."""
    if kind == "problems":
        return {name: {"line": entry.line} for name, entry in problems.catalogue().items()}
    if kind == "landscapes":
        return {name: {"line": entry.line} for name, entry in problems.landscape_catalogue().items()}
    return {
        name: {
            "line": entry.line,
            "group": entry.group,
            "source": entry.source,
            "hyperparameters": {
                key: {"default": taken.default, "range": taken.range} for key, taken in entry.hyperparameters.items()
            },
        }
        for name, entry in optimizers.catalogue().items()
    }


def _tables(kind):
    if kind != "optimizers":
        lines = {name: (entry["line"],) for name, entry in _entries(kind).items()}
        yield reports.catalogue_table(kind, lines, ("what it is",))
        return
    columns = ("what it is for", "hyperparameters: default, range", "source")
    entries = optimizers.catalogue()
    for group in dict.fromkeys(entry.group for entry in entries.values()):
        lines = {
            name: (entry.line, reports.hyperparameters(entry.hyperparameters), entry.source)
            for name, entry in entries.items()
            if entry.group == group
        }
        yield reports.catalogue_table(f"optimizers: {group}", lines, columns)
    left_out = {name: (reason,) for name, reason in optimizers.left_out().items()}
    yield reports.catalogue_table("left out", left_out, ("why",))
