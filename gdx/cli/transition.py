"""`gdx transition`."""

from __future__ import annotations

import functools
import math
import pathlib
from typing import Annotated, Any

import jax
import typer

from gdx import plots, reports, storage, studies
from gdx.cli.arguments import Scale
from gdx.cli.console import check_writable, progress_bar, refusals, say, show, stopping_early, written
from gdx.cli.request import (
    AsJson,
    Assignments,
    BatchSize,
    CriterionName,
    Momentum,
    Nesterov,
    NumSteps,
    OptimizerName,
    Precision,
    PrecisionName,
    ProblemName,
    Quiet,
    Replacement,
    ScaleName,
    Tolerance,
    requested,
)


def transition(
    problem: ProblemName = "linear-network",
    optimizer: OptimizerName = "sgd",
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    assignments: Assignments = None,
    step_sizes: Annotated[str | None, typer.Option(help="LO:HI:N, geometric")] = None,
    repeats: Annotated[int | None, typer.Option(help="random starts at every step size")] = None,
    num_steps: NumSteps = None,
    criterion: CriterionName = None,
    tolerance: Tolerance = None,
    scale: ScaleName = None,
    batch_size: BatchSize = None,
    replacement: Replacement = False,
    seed: Annotated[int, typer.Option(help="of the random starts")] = 0,
    precision: PrecisionName = Precision.float64,
    out: Annotated[pathlib.Path, typer.Option(help="folder for transition.png and transition.nc")] = pathlib.Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find where one optimizer stops converging, beside where theory says it should."""
    with refusals():
        optimizer_options = optimizer, momentum, nesterov, assignments
        data_options = scale, batch_size, replacement
        wanted = requested(
            problem, *optimizer_options, num_steps, criterion, tolerance, *data_options, seed, precision, repeats
        )
        settings: dict[str, Any] = wanted.settings | {"slots": None}
        grid = None if step_sizes is None else grid_of(step_sizes)
        check_writable(out, "transition.png", "transition.nc")
        keys = jax.random.split(jax.random.key(seed), settings["repeats"])
        with stopping_early(), progress_bar(quiet or as_json) as progress:
            found = studies.transition(
                wanted.problem,
                wanted.family,
                keys=keys,
                num_steps=settings["num_steps"],
                step_sizes=grid,
                num_points=wanted.entry.num_points,
                criterion=settings["criterion"],
                tolerance=settings["tolerance"],
                rtol=wanted.entry.rtol,
                progress=progress,
            )
            gain = None
            if not found.interrupted and scale is Scale.none and batch_size is None:
                gain = _scaling_gain(wanted, keys, progress)
    settings["slots"] = found.slots
    if found.edge is not None:
        settings["criterion"] = found.edge.criterion
    files = written(lambda: _write(out, found, settings))
    if as_json:
        print(reports.to_json(reports.transition_json(found, settings, files, gain)))
    elif not quiet:
        show(*reports.transition_tables(found, settings, gain), "wrote " + (", ".join(files) or "nothing"))
    if found.interrupted:
        say("interrupted: what had been finished is in " + (", ".join(files) or "no file"))
        raise typer.Exit(130)
    if not files:
        raise typer.Exit(1)


def grid_of(text: str, *, geometric: bool = True) -> Any:
    """Read step sizes from LO:HI:N.

    Parameters
    ----------
    text
        As it was typed.
    geometric
        Whether they are spaced by factors, or evenly.

    Returns
    -------
    array
        [N].

    Raises
    ------
    ValueError
        If it says anything else.
    """
    import numpy as np

    parts = text.split(":")
    try:
        low, high, number = float(parts[0]), float(parts[1]), int(parts[2])
        valid = len(parts) == 3 and 0 < low < high < math.inf and number >= 2
    except (ValueError, IndexError):
        valid, low, high, number = False, 0.0, 0.0, 0
    if not valid:
        raise ValueError(
            f"step-sizes: {text!r} is not LO:HI:N with 0 < LO < HI and N of at least 2; write it as 0.01:1:64"
        )
    return np.geomspace(low, high, number) if geometric else np.linspace(low, high, number)


def _scaling_gain(wanted, keys, progress):
    return studies.scaling_gain(
        wanted.entry.make(scale="standard"),
        wanted.problem,
        wanted.family,
        keys=keys,
        num_steps=wanted.settings["num_steps"],
        progress=progress and functools.partial(progress, "scaling"),
    )


def _write(folder, found, settings):
    """Draw and store what was found; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    picture, data = folder / "transition.png", folder / "transition.nc"
    plots.transition(
        found.step_sizes,
        found.runs,
        found.edge,
        law=found.predictions.law,
        predicted=[(f"predicted, {entry.name.replace('_', ' ')}", entry.value) for entry in found.predictions.entries],
        title=reports.title(settings),
        window=found.window,
    )
    plt.savefig(picture, dpi=130)
    plt.close()
    attributes = settings | {f"{name}_version": version for name, version in reports.versions().items()}
    attributes |= {"backend": jax.default_backend()} | reports.edge_attributes(found.edge, found.interrupted)
    storage.save(storage.to_dataset(found.runs, attributes), data)
    return [str(picture), str(data)]
