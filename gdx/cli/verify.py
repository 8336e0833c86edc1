"""`gdx verify`."""

from __future__ import annotations

import functools
from typing import Annotated

import jax
import typer

from gdx import reports, studies
from gdx.cli.options import progress_bar, refusals, say, show


def verify(
    seed: Annotated[int, typer.Option(help="of the random parameter values")] = 0,
    only: Annotated[
        str | None, typer.Option(help="a row's name or the beginning of one, or a kind, as threshold or tail")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="a few cheap rows of every kind")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout and nothing else")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress, no table")] = False,
) -> None:
    """Hold every closed form that gdx knows against a measurement on this machine; exit code 1 if one fails."""
    with refusals():
        jax.config.update("jax_enable_x64", True)
        try:
            with progress_bar(quiet or as_json) as progress:
                found = studies.verify(
                    seed,
                    only,
                    fast,
                    progress=progress and functools.partial(progress, "claims"),
                )
        except KeyboardInterrupt:
            say("interrupted: the rows were not all finished; --only and --fast run fewer of them")
            raise typer.Exit(130) from None
    if as_json:
        print(reports.to_json(reports.verification_json(found)))
    elif not quiet:
        show(reports.verification_table(found), reports.verification_line(found))
    if found.failed:
        raise typer.Exit(1)
