"""`gdx list`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from gdx import optimizers, problems, reports
from gdx.cli.options import refusals

KINDS = ("problems", "landscapes", "optimizers")


def list_names(
    what: Annotated[str | None, typer.Argument(help="problems, landscapes or optimizers; all by default")] = None,
) -> None:
    """Show problems, landscapes and optimizers, a line each."""
    with refusals():
        if what not in (None, *KINDS):
            raise ValueError(f"what: {what!r} is unknown; choose problems, landscapes or optimizers")
        console = Console()
        if what in (None, "problems"):
            lines = {name: (entry.line,) for name, entry in problems.catalogue().items()}
            console.print(reports.catalogue_table("problems", lines, ("what it is",)))
        if what in (None, "landscapes"):
            lines = {name: (entry.line,) for name, entry in problems.landscape_catalogue().items()}
            console.print(reports.catalogue_table("landscapes", lines, ("what it is",)))
        if what in (None, "optimizers"):
            lines = {
                name: (entry.line, ", ".join(entry.hyperparameters)) for name, entry in optimizers.catalogue().items()
            }
            console.print(reports.catalogue_table("optimizers", lines, ("for", "what it is")))
