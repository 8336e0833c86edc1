"""`gdx trajectory`."""

from __future__ import annotations

import functools
import pathlib
from typing import Annotated

import typer

from gdx import optimizers, plots, problems, reports, studies
from gdx.cli.arguments import entry_of, named_optimizer
from gdx.cli.console import check_writable, progress_bar, refusals, show, written
from gdx.cli.request import AsJson, Precision, PrecisionName, Quiet, use

DEFAULT_OPTIMIZERS = "sgd,momentum,nag,adagrad,rmsprop,adadelta,adam"
GIF_DPI = 75
"""So that a picture of a dozen optimizers stays below 5 MB."""


def trajectory(
    landscape: Annotated[str, typer.Argument(help="a name from gdx list landscapes")] = "rosenbrock",
    optimizer_list: Annotated[
        str,
        typer.Option(
            "--optimizers",
            help="names from gdx list, or my_module:my_optimizer, with commas; adam=0.1 fixes a step size",
        ),
    ] = DEFAULT_OPTIMIZERS,
    num_steps: Annotated[int | None, typer.Option(help="steps of every run")] = None,
    start: Annotated[str | None, typer.Option(help="X,Y, a point in the window")] = None,
    precision: PrecisionName = Precision.float64,
    out: Annotated[pathlib.Path, typer.Option(help="folder for trajectory.png")] = pathlib.Path("."),
    animate: Annotated[bool, typer.Option("--animate", help="trajectory.gif too")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw the paths of several optimizers over a landscape of two parameters, and loss against step."""
    with refusals():
        use(precision)
        place = _landscape(landscape)
        contestants = [_contestant(text) for text in optimizer_list.split(",")]
        point = None if start is None else _point(start)
        check_writable(out, "trajectory.png", "trajectory.gif")
        with progress_bar(quiet or as_json) as progress:
            found = studies.compare(
                place,
                contestants,
                num_steps=num_steps,
                start=point,
                progress=progress and functools.partial(progress, "optimizers"),
            )
    files = written(lambda: _draw(out, found, animate))
    if as_json:
        print(reports.to_json(reports.comparison_json(found, files)))
    elif not quiet:
        show(_table(found))
        show("wrote " + (", ".join(files) or "nothing"))
    if not files:
        raise typer.Exit(1)


def _landscape(name):
    entries = problems.landscape_catalogue()
    if name not in entries and name in problems.catalogue():
        raise ValueError(f"landscape: {name} is a problem of more than a picture; try gdx transition {name}")
    return entry_of("landscape", name, entries, "see gdx list landscapes")


def _contestant(text):
    name, separator, value = text.strip().partition("=")
    family, _ = named_optimizer(name, {})
    # A search's first trial, or the share of an exact or Newton's step: there 1 is the method itself.
    known = optimizers.catalogue().get(name)
    is_relative = known is not None and known.group in ("line search", "second order", "coordinate")
    step_size = 1.0 if is_relative else None
    if separator:
        try:
            step_size = float(value)
        except ValueError:
            raise ValueError(f"optimizers: {text.strip()} has no number as step size; write it as adam=0.1") from None
    return studies.Contestant(name, family, step_size)


def _point(text):
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"start: {text!r} is no point; write it as --start=-1.2,1") from None
    return x, y


def _draw(folder, found, animate):
    """Draw what was found; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    files = [folder / "trajectory.png"]
    plots.trajectories(found)
    plt.savefig(files[0], dpi=130)
    plt.close()
    if animate:
        files.append(folder / "trajectory.gif")
        plots.animate(found).save(files[1], writer="pillow", dpi=GIF_DPI)
        plt.close()
    return [str(file) for file in files]


def _table(found):
    heading = "last loss" if found.minimum is None else "last loss above the minimum"
    lines = {
        path.label: (
            f"{path.loss[-1] - (found.minimum or 0.0):.3g}",
            "never" if path.left_at is None else f"at step {path.left_at}",
        )
        for path in found.paths
    }
    return reports.catalogue_table(plots.headline(found), lines, (heading, "leaves the window"))
