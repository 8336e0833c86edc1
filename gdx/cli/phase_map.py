"""`gdx map`."""

from __future__ import annotations

import functools
import pathlib
from typing import Annotated, Any, Literal

import jax
import typer

from gdx import phase_map, plots, reports, storage
from gdx.cli.axes import AxisText, mapped, parsed_axis, parsed_fixed, parsed_resolution, parsed_window
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
from gdx.maps.arriving import ARRIVAL
from gdx.maps.found import TOLD
from gdx.maps.judging import KEPT

COLOURS = tuple(dict.fromkeys((*TOLD, *KEPT, ARRIVAL)))
"""What a map can be coloured by."""


def draw_map(
    problem: ProblemName,
    x: Annotated[str, AxisText],
    y: Annotated[str, AxisText],
    optimizer: OptimizerName = "sgd",
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    assignments: Assignments = None,
    at: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER, the same in all cells; may be repeated")] = None,
    resolution: Annotated[str, typer.Option(help="cells along an axis, as 512 or 512x256")] = "256",
    max_wrong: Annotated[float, typer.Option(help="share of the map that may be wrong, at 95 %")] = 1e-3,
    dense: Annotated[bool, typer.Option("--dense", help="compute every cell")] = False,
    window: Annotated[
        list[str] | None, typer.Option(help="X0:X1:Y0:Y1, a part of the axes to map; may be repeated")
    ] = None,
    follow: Annotated[
        Literal["answers", "verdicts"], typer.Option(help="whose borders are computed and audited")
    ] = "verdicts",
    colour: Annotated[str, typer.Option(help="intensity, verdict, answer, share, steps or the name of a fact")] = (
        "intensity"
    ),
    mark_computed: Annotated[
        bool, typer.Option("--mark-computed", help="draw cells that were filled in paler")
    ] = False,
    repeats: Annotated[int, typer.Option(help="random starts in every cell")] = 1,
    num_steps: NumSteps = None,
    criterion: CriterionName = None,
    tolerance: Tolerance = None,
    scale: ScaleName = None,
    batch_size: BatchSize = None,
    replacement: Replacement = False,
    seed: Annotated[int, typer.Option(help="of the random starts and of the audit")] = 0,
    precision: PrecisionName = Precision.float64,
    out: Annotated[pathlib.Path, typer.Option(help="folder for map.png and map.nc")] = pathlib.Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Map where runs succeed over two numbers, with a bound on how much of it is wrong."""
    with refusals():
        optimizer_options, data_options = (optimizer, momentum, nesterov, assignments), (scale, batch_size, replacement)
        wanted = requested(
            problem, *optimizer_options, num_steps, criterion, tolerance, *data_options, seed, precision, repeats
        )
        axes = parsed_axis("x", x), parsed_axis("y", y)
        windows, fixed = [parsed_window(text) for text in window or ()], parsed_fixed(at or [])
        parts = mapped(wanted, axes, fixed)
        if colour not in COLOURS:
            raise ValueError(f"colour: {colour!r} is unknown; choose from {', '.join(COLOURS)}")
        names = _names(len(windows))
        check_writable(out, *(f"{name}.{kind}" for name in names for kind in ("png", "nc")))
        with stopping_early(), progress_bar(quiet or as_json) as progress:
            found: Any = phase_map(
                parts.problem,
                parts.family,
                x=axes[0],
                y=axes[1],
                at=fixed,
                keys=jax.random.split(jax.random.key(seed), repeats),
                num_steps=wanted.settings["num_steps"],
                criterion=wanted.settings["criterion"],
                tolerance=wanted.settings["tolerance"],
                resolution=parsed_resolution(resolution),
                max_wrong=max_wrong,
                dense=dense,
                window=windows or None,
                follow=follow,
                seed=seed,
                progress=progress and functools.partial(progress, "map"),
            )
        maps = list(found) if windows else [found]
    _tell(maps, wanted.settings, functools.partial(_write, out, colour, mark_computed), as_json, quiet)


def _tell(maps, settings, write, as_json, quiet):
    """Write the files, say what they show, and leave with what went wrong."""
    missing, told = False, []
    for name, one in zip(_names(len(maps)), maps, strict=False):
        files = written(functools.partial(write, name, one, settings))
        missing |= not files
        if as_json:
            told.append(reports.map_json(one, settings, files))
        elif not quiet:
            show(*reports.map_lines(one, settings), "wrote " + (", ".join(files) or "nothing"))
    if as_json:
        print(reports.to_json(told[0] if len(told) == 1 else {"maps": told}))
    if maps[-1].interrupted:
        say("interrupted: what had been finished is in the files")
        raise typer.Exit(130)
    if missing:
        raise typer.Exit(1)


def _names(number):
    return ["map"] if number < 2 else [f"map-{at}" for at in range(1, number + 1)]


def _write(folder: pathlib.Path, colour, mark_computed, name, found, settings):
    """Draw and store a map; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    picture, data = folder / f"{name}.png", folder / f"{name}.nc"
    plots.phase_map(found, colour, mark_computed=mark_computed, title=reports.title(settings))
    plt.savefig(picture, dpi=130)
    plt.close()
    attributes = settings | {f"{name}_version": version for name, version in reports.versions().items()}
    attributes |= {"backend": jax.default_backend()} | reports.map_attributes(found)
    storage.save(storage.map_to_dataset(found, attributes), data)
    return [str(picture), str(data)]
