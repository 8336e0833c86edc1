"""`gdx stability`."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import jax
import typer

from gdx import plots, reports, studies
from gdx.cli.console import check_writable, progress_bar, refusals, say, show, written
from gdx.cli.request import (
    AsJson,
    Assignments,
    BatchSize,
    Momentum,
    Nesterov,
    OptimizerName,
    Precision,
    ProblemName,
    Quiet,
    Replacement,
    ScaleName,
    requested,
)

PICTURE, PAGE = "stability.png", "stability.html"
UNUSED = "criterion", "tolerance"
"""Settings that the other commands share: here runs are judged by whether they train."""


def stability(
    problem: ProblemName = "digits-mlp",
    optimizer: OptimizerName = "adamw",
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    assignments: Assignments = None,
    step_size: Annotated[float | None, typer.Option(help="the one that you train with, to be judged")] = None,
    num_steps: Annotated[int, typer.Option(help="the horizon: enough steps to learn something")] = 400,
    repeats: Annotated[int, typer.Option(help="random starts and orders of batches")] = 3,
    seed: Annotated[int, typer.Option(help="of the random starts")] = 0,
    budget: Annotated[float, typer.Option(help="seconds that all of it may take, about")] = 60.0,
    scale: ScaleName = None,
    batch_size: BatchSize = None,
    replacement: Replacement = False,
    precision: Annotated[
        Precision, typer.Option(help="of all numbers; what networks are mostly trained in, unlike other commands")
    ] = Precision.float32,
    out: Annotated[pathlib.Path, typer.Option(help=f"folder for {PICTURE} and {PAGE}")] = pathlib.Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say how large the step of a training job may be, how close it is, and what would help."""
    with refusals():
        optimizer_options = optimizer, momentum, nesterov, assignments
        data_options = scale, batch_size, replacement
        wanted = requested(problem, *optimizer_options, num_steps, None, None, *data_options, seed, precision, repeats)
        settings = {name: value for name, value in wanted.settings.items() if name not in UNUSED}
        settings |= {"step_size": step_size, "budget": budget}
        check_writable(out, PICTURE, PAGE)
        try:
            with progress_bar(quiet or as_json) as progress:
                found = studies.stability(
                    wanted.problem,
                    wanted.family,
                    step_size=step_size,
                    keys=jax.random.split(jax.random.key(seed), repeats),
                    num_steps=num_steps,
                    budget=budget,
                    progress=progress,
                )
        except KeyboardInterrupt:
            say("interrupted: there is no answer yet; a smaller --budget or --num-steps is quicker")
            raise typer.Exit(130) from None
    files = written(lambda: _write(out, found, settings))
    if as_json:
        print(reports.to_json(reports.stability_json(found, settings, files)))
    elif not quiet:
        show(*reports.stability_tables(found, settings), "wrote " + (", ".join(files) or "nothing"))
    if found.interrupted:
        say("interrupted: what was found is of the runs so far")
        raise typer.Exit(130)
    if not files:
        raise typer.Exit(1)


def _write(folder: pathlib.Path, found: studies.Stability, settings: dict[str, Any]) -> list[str]:
    """Draw what was found, and write the page around the picture; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    picture, page = folder / PICTURE, folder / PAGE
    plots.stability(found, title=reports.title(settings))
    plt.savefig(picture, dpi=130)
    plt.close()
    page.write_text(reports.stability_html(found, settings, picture), encoding="utf-8")
    return [str(picture), str(page)]
