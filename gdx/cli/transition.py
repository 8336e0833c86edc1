"""`gdx transition`."""

from __future__ import annotations

import functools
import importlib
import math
import pathlib
from typing import Annotated

import jax
import typer

from gdx import plots, reports, storage, studies
from gdx.cli.arguments import Criterion, hyperparameters_of, named_optimizer, named_problem
from gdx.cli.options import (
    Precision,
    Scale,
    check_writable,
    progress_bar,
    refusals,
    say,
    show,
    stopping_early,
    written,
)
from gdx.stepping import Family


def transition(
    problem: Annotated[
        str, typer.Argument(help="a name from gdx list, or my_module:my_problem from this folder")
    ] = "linear-network",
    optimizer: Annotated[
        str, typer.Option(help="a name from gdx list, or my_module:my_optimizer from this folder")
    ] = "sgd",
    momentum: Annotated[float | None, typer.Option(help="the optimizer's momentum")] = None,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="Nesterov's form of momentum")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="any other hyperparameter, as b1=0.8; may be repeated")
    ] = None,
    step_sizes: Annotated[str | None, typer.Option(help="LO:HI:N, geometric")] = None,
    repeats: Annotated[int | None, typer.Option(help="random starts at every step size")] = None,
    num_steps: Annotated[int | None, typer.Option(help="the horizon")] = None,
    criterion: Annotated[
        Criterion | None, typer.Option(help="what counts as success; what suits the problem by default")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(help="of convergence, relative to the first gradient norm")] = None,
    scale: Annotated[Scale | None, typer.Option(help="of the features, for problems on data")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="examples a step, reshuffled every epoch, for problems on data; all by default")
    ] = None,
    replacement: Annotated[bool, typer.Option("--replacement", help="draw batches with replacement")] = False,
    seed: Annotated[int, typer.Option(help="of the random starts")] = 0,
    precision: Annotated[Precision, typer.Option(help="of all numbers")] = Precision.float64,
    out: Annotated[pathlib.Path, typer.Option(help="folder for transition.png and transition.nc")] = pathlib.Path("."),
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout and nothing else")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress, no table")] = False,
) -> None:
    """Find where one optimizer stops converging, beside where theory says it should."""
    with refusals():
        jax.config.update("jax_enable_x64", precision is Precision.float64)
        entry, made = named_problem(problem, scale, batch_size, replacement)
        hyperparameters = hyperparameters_of(momentum, nesterov, assignments or [])
        family, hyperparameters = named_optimizer(optimizer, hyperparameters)
        grid = None if step_sizes is None else _grid(step_sizes)
        repeats = _at_least_one("repeats", entry.repeats if repeats is None else repeats)
        check_writable(out, "transition.png", "transition.nc")
        keys = jax.random.split(jax.random.key(seed), repeats)
        settings = {
            "problem": problem,
            "optimizer": optimizer,
            "hyperparameters": hyperparameters,
            "criterion": entry.criterion if criterion is None else criterion.value,
            "num_steps": entry.num_steps if num_steps is None else num_steps,
            "repeats": repeats,
            "slots": None,
            "seed": seed,
            "precision": precision.value,
            "tolerance": entry.tolerance if tolerance is None else tolerance,
            "scale": None if not entry.takes_scale else (scale or Scale.standard).value,
            "batch_size": batch_size,
            "replacement": replacement,
        }
        with stopping_early(), progress_bar(quiet or as_json) as progress:
            found = studies.transition(
                made,
                family,
                keys=keys,
                num_steps=settings["num_steps"],
                step_sizes=grid,
                num_points=entry.num_points,
                criterion=settings["criterion"],
                tolerance=settings["tolerance"],
                rtol=entry.rtol,
                progress=progress,
            )
            gain = None
            if not found.interrupted and scale is Scale.none and batch_size is None:
                gain = _scaling_gain(entry, made, family, keys, settings, progress)
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


def _grid(text):
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
    return np.geomspace(low, high, number)


def _at_least_one(name, value):
    if value < 1:
        raise ValueError(f"{name}: {value} is below 1; pass at least 1")
    return value


def _scaling_gain(entry, raw, family: Family, keys, settings, progress):
    return studies.scaling_gain(
        entry.make(scale="standard"),
        raw,
        family,
        keys=keys,
        num_steps=settings["num_steps"],
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
    versions = {name: importlib.import_module(name).__version__ for name in ("gdx", "jax", "jaxlib", "optax", "numpy")}
    attributes = settings | {f"{name}_version": version for name, version in versions.items()}
    attributes |= {"backend": jax.default_backend()} | reports.edge_attributes(found.edge, found.interrupted)
    storage.save(storage.to_dataset(found.runs, attributes), data)
    return [str(picture), str(data)]
