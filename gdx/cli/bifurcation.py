"""`gdx bifurcation`."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import jax
import typer

from gdx import plots, reports, storage, studies
from gdx.cli.console import check_writable, progress_bar, refusals, show, stopping_early, written
from gdx.cli.request import (
    AsJson,
    Assignments,
    Momentum,
    Nesterov,
    OptimizerName,
    Precision,
    PrecisionName,
    ProblemName,
    Quiet,
    ScaleName,
    Tolerance,
    requested,
)
from gdx.cli.transition import grid_of


def bifurcation(
    problem: ProblemName = "quartic",
    optimizer: OptimizerName = "sgd",
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    assignments: Assignments = None,
    step_sizes: Annotated[str | None, typer.Option(help="LO:HI:N, evenly; from below the edge by default")] = None,
    of: Annotated[
        str, typer.Option(help="what is drawn: loss, gradient_norm or the number of a parameter; auto chooses")
    ] = "auto",
    repeats: Annotated[int, typer.Option(help="random starts at every step size")] = 2,
    num_steps: Annotated[int, typer.Option(help="the horizon; its first half is the way to where a run goes")] = 8192,
    num_values: Annotated[int, typer.Option(help="of the last steps that are drawn")] = 128,
    num_doublings: Annotated[int, typer.Option(help="most that are looked for")] = 7,
    tolerance: Tolerance = None,
    scale: ScaleName = None,
    seed: Annotated[int, typer.Option(help="of the random starts")] = 0,
    precision: PrecisionName = Precision.float64,
    out: Annotated[pathlib.Path, typer.Option(help="folder for bifurcation.png and bifurcation.nc")] = pathlib.Path(
        "."
    ),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what runs do beyond the edge: values that they visit, exponents, where periods double and chaos begins."""
    with refusals():
        wanted = requested(
            problem,
            optimizer,
            momentum,
            nesterov,
            assignments,
            num_steps,
            None,
            tolerance,
            scale,
            None,
            False,
            seed,
            precision,
            repeats,
        )
        grid = None if step_sizes is None else grid_of(step_sizes, geometric=False)
        check_writable(out, "bifurcation.png", "bifurcation.nc")
        settings: dict[str, Any] = wanted.settings
        with stopping_early(), progress_bar(quiet or as_json) as progress:
            found = studies.bifurcation(
                wanted.problem,
                wanted.family,
                keys=jax.random.split(jax.random.key(seed), repeats),
                step_sizes=grid,
                of=int(of) if of.isdigit() else of,
                num_steps=num_steps,
                num_values=num_values,
                num_doublings=num_doublings,
                tolerance=settings["tolerance"],
                progress=progress,
            )
    files = written(lambda: _write(out, found, settings))
    if as_json:
        print(reports.to_json(reports.bifurcation_json(found, settings, files)))
    elif not quiet:
        show(*reports.bifurcation_tables(found, settings), "wrote " + (", ".join(files) or "nothing"))
    if not files:
        raise typer.Exit(1)


def _write(folder, found, settings):
    """Draw and store what was found; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    picture, data = folder / "bifurcation.png", folder / "bifurcation.nc"
    plots.bifurcation(found, title=f"{settings['problem']} under {settings['optimizer']}: what runs visit last")
    plt.savefig(picture, dpi=130)
    plt.close()
    attributes = settings | {f"{name}_version": version for name, version in reports.versions().items()}
    attributes |= {"backend": jax.default_backend()} | reports.edge_attributes(found.edge)
    storage.save(storage.to_dataset(found.runs, attributes), data)
    return [str(picture), str(data)]
