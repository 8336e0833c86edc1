"""`gdx transition`."""

from __future__ import annotations

import difflib
import enum
import functools
import importlib
import math
import os
import pathlib
import sys
from typing import Annotated, Any

import jax
import typer
from rich.console import Console

from gdx import optimizers, plots, problems, reports, storage, studies
from gdx.cli.options import Precision, Scale, check_writable, progress_bar, refusals, say
from gdx.stepping import Family


class Criterion(enum.StrEnum):
    """What counts as success."""

    converged = "converged"
    stable = "stable"
    bounded = "bounded"
    improved = "improved"


def transition(
    problem: Annotated[
        str, typer.Argument(help="a name from gdx list, or my_module:my_problem from this folder")
    ] = "linear-network",
    optimizer: Annotated[str, typer.Option(help="a name from gdx list")] = "sgd",
    momentum: Annotated[float | None, typer.Option(help="the optimizer's momentum")] = None,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="Nesterov's form of momentum")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="any other hyperparameter, as b1=0.8; may be repeated")
    ] = None,
    step_sizes: Annotated[str | None, typer.Option(help="LO:HI:N, geometric")] = None,
    repeats: Annotated[int | None, typer.Option(help="random starts at every step size")] = None,
    num_steps: Annotated[int | None, typer.Option(help="the horizon")] = None,
    criterion: Annotated[Criterion | None, typer.Option(help="what counts as success")] = None,
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
        entry, made = _problem(problem, scale, batch_size, replacement)
        hyperparameters = _hyperparameters(momentum, nesterov, assignments or [])
        family = optimizers.family(optimizer, hyperparameters)
        grid = None if step_sizes is None else _grid(step_sizes)
        repeats = _at_least_one("repeats", entry.repeats if repeats is None else repeats)
        check_writable(out)
        keys = jax.random.split(jax.random.key(seed), repeats)
        settings = {
            "problem": problem,
            "optimizer": optimizer,
            "hyperparameters": optimizers.catalogue()[optimizer].defaults | hyperparameters,
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
        with progress_bar(quiet or as_json) as progress:
            found = studies.transition(
                made,
                family,
                keys=keys,
                num_steps=settings["num_steps"],
                step_sizes=grid,
                num_points=entry.num_points,
                criterion=settings["criterion"],
                tolerance=settings["tolerance"],
                rtol=max(entry.rtol, 1e-6 if precision is Precision.float32 else 0.0),
                progress=progress,
            )
            gain = None
            if found.edge is not None and scale is Scale.none and batch_size is None:
                gain = _scaling_gain(entry, made, family, keys, settings, progress)
    settings["slots"] = found.slots
    files = _write(out, found, settings)
    if as_json:
        print(reports.to_json(reports.transition_json(found, settings, files, gain)))
    elif not quiet:
        console = Console()
        for part in reports.transition_tables(found, settings, gain):
            console.print(part, soft_wrap=isinstance(part, str), highlight=False)
        console.print("wrote " + ", ".join(files), soft_wrap=True, highlight=False)
    if found.edge is None:
        say("interrupted: what had been finished is in " + ", ".join(files))
        raise typer.Exit(130)


def _problem(name, scale, batch_size, replacement):
    """Find a problem by name or import, and make it."""
    if replacement and batch_size is None:
        raise ValueError("replacement: it is about batches; pass --batch-size too")
    if ":" in name:
        made = _imported(name, scale, batch_size)
        return problems.ProblemEntry(lambda: made, "", num_points=48, repeats=8), made
    entries = problems.catalogue()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
        remedy = f"did you mean {' or '.join(near)}?" if near else "see gdx list, or pass my_module:my_problem"
        raise ValueError(f"problem: {name!r} is unknown; {remedy}")
    entry = entries[name]
    if scale is not None and not entry.takes_scale:
        raise ValueError(f"scale: the problem {name} has no features to scale; leave it out")
    if batch_size is not None and not entry.takes_scale:
        raise ValueError(f"batch-size: the problem {name} has no examples to batch; leave it out")
    options: dict[str, Any] = {} if scale is None else {"scale": None if scale is Scale.none else scale.value}
    if batch_size is not None:
        options |= {"batch_size": batch_size, "replacement": replacement}
        # The noise of batches keeps the full gradient from settling, so success is to end below the start.
        entry = entry._replace(criterion="improved")
    return entry, entry.make(**options)


def _imported(name, scale, batch_size):
    module_name, _, attribute = name.partition(":")
    if batch_size is not None:
        raise ValueError(f"batch-size: the problem {name} makes its own batches; leave it out")
    if scale is not None:
        raise ValueError(f"scale: the problem {name} is not one of gdx's data sets; leave it out")
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(f"problem: module {module_name!r} does not import ({type(error).__name__}: {error})") from None
    if not hasattr(module, attribute):
        names = [key for key, value in vars(module).items() if isinstance(value, problems.Problem)]
        remedy = f"its problems are {', '.join(names)}" if names else "it has no gdx.Problem at all"
        raise ValueError(f"problem: module {module_name!r} has no {attribute!r}; {remedy}")
    made = getattr(module, attribute)
    if callable(made) and not isinstance(made, problems.Problem):
        made = made()
    if not isinstance(made, problems.Problem):
        raise ValueError(
            f"problem: {name} is {type(made).__name__}, no gdx.Problem; make one with gdx.problem(init, loss)"
        )
    return made


def _hyperparameters(momentum, nesterov, assignments):
    values: dict[str, Any] = {}
    if momentum is not None:
        values["momentum"] = momentum
    if nesterov:
        values["nesterov"] = True
    for text in assignments:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"set: {text!r} is not NAME=VALUE; write it as --set b1=0.8")
        values[name.strip()] = _parsed(name.strip(), value.strip())
    return values


def _parsed(name, text):
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"set: {name}={text} is no number, true or false; write it as --set b1=0.8") from None


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
        progress=None if progress is None else functools.partial(progress, "scaling"),
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
    )
    plt.savefig(picture, dpi=130)
    plt.close()
    versions = {name: importlib.import_module(name).__version__ for name in ("gdx", "jax", "jaxlib", "optax", "numpy")}
    attributes = settings | {f"{name}_version": version for name, version in versions.items()}
    attributes |= {"backend": jax.default_backend()} | reports.edge_attributes(found.edge)
    storage.save(storage.to_dataset(found.step_sizes, found.runs, attributes), data)
    return [str(picture), str(data)]
