"""`gdx verify`."""

from __future__ import annotations

import functools
from typing import Annotated

import typer

from gdx import reports, studies
from gdx.cli.console import progress_bar, refusals, say, show
from gdx.cli.request import AsJson, Precision, Quiet, use


def verify(
    seed: Annotated[int, typer.Option(help="of the random parameter values")] = 0,
    only: Annotated[
        str | None, typer.Option(help="a row's name or the beginning of one, or a kind, as threshold or tail")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="a few cheap rows of every kind")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Hold every closed form that gdx knows against a measurement on this machine; exit code 1 if one fails."""
    with refusals():
        use(Precision.float64)
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
