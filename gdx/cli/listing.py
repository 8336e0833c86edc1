"""`gdx list`."""

from __future__ import annotations

from typing import Annotated

import typer

from gdx import optimizers, problems, reports
from gdx.cli.options import refusals, show

KINDS = ("problems", "landscapes", "optimizers")


def list_names(
    what: Annotated[str | None, typer.Argument(help="problems, landscapes or optimizers; all by default")] = None,
) -> None:
    """Show problems, landscapes and optimizers, a line each."""
    with refusals():
        if what not in (None, *KINDS):
            raise ValueError(f"what: {what!r} is unknown; choose problems, landscapes or optimizers")
        if what in (None, "problems"):
            lines = {name: (entry.line,) for name, entry in problems.catalogue().items()}
            show(reports.catalogue_table("problems", lines, ("what it is",)))
        if what in (None, "landscapes"):
            lines = {name: (entry.line,) for name, entry in problems.landscape_catalogue().items()}
            show(reports.catalogue_table("landscapes", lines, ("what it is",)))
        if what in (None, "optimizers"):
            columns = ("what it is for", "hyperparameters: default, range", "source")
            entries = optimizers.catalogue()
            for group in dict.fromkeys(entry.group for entry in entries.values()):
                lines = {
                    name: (entry.line, reports.hyperparameters(entry.hyperparameters), entry.source)
                    for name, entry in entries.items()
                    if entry.group == group
                }
                show(reports.catalogue_table(f"optimizers: {group}", lines, columns))
            left_out = {name: (reason,) for name, reason in optimizers.left_out().items()}
            show(reports.catalogue_table("left out", left_out, ("why",)))
