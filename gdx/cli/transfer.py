"""`gdx transfer`."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import jax
import typer

from gdx import plots, problems, reports, studies
from gdx.checks import check_count
from gdx.cli.arguments import hyperparameters_of, named_optimizer
from gdx.cli.console import check_writable, progress_bar, refusals, say, show, written
from gdx.cli.request import AsJson, Assignments, Momentum, Nesterov, OptimizerName, Precision, Quiet, use

PICTURE = "transfer.png"


def transfer(
    data: Annotated[str, typer.Argument(help="digits or breast-cancer")] = "digits",
    widths: Annotated[str, typer.Option(help="of the hidden layers, with commas; three make a law")] = "32,64,128,256",
    depths: Annotated[str, typer.Option(help="numbers of hidden layers, with commas")] = "2",
    parameterisations: Annotated[str, typer.Option(help="with commas")] = ",".join(problems.PARAMETERISATIONS),
    optimizer: OptimizerName = "sgd",
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    assignments: Assignments = None,
    table: Annotated[str | None, typer.Option(help="of muP, sgd or adam; by default measured on the optimizer")] = None,
    activation: Annotated[str, typer.Option(help="tanh, relu, gelu or identity")] = "tanh",
    loss: Annotated[
        str,
        typer.Option(help="square, or cross-entropy, under which linear models of separable classes have no edge"),
    ] = "square",
    base_width: Annotated[
        int | None, typer.Option(help="where all parameterisations are one network; the smallest by default")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="examples a step, reshuffled every epoch")] = 64,
    num_steps: Annotated[int, typer.Option(help="the horizon")] = 100,
    repeats: Annotated[int, typer.Option(help="random starts and orders of batches")] = 3,
    seed: Annotated[int, typer.Option(help="of the random starts")] = 0,
    precision: Annotated[Precision, typer.Option(help="of all numbers")] = Precision.float32,
    out: Annotated[pathlib.Path, typer.Option(help=f"folder for {PICTURE}")] = pathlib.Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which parameterisations of a network carry the largest and the best step size from width to width."""
    with refusals():
        use(precision)
        family, hyperparameters = named_optimizer(optimizer, hyperparameters_of(momentum, nesterov, assignments or []))
        asked = {
            "widths": _counts("widths", widths),
            "depths": _counts("depths", depths),
            "parameterisations": tuple(name.strip() for name in parameterisations.split(",")),
            "activation": activation,
            "loss": loss,
            "batch_size": batch_size,
            "num_steps": check_count("num-steps", num_steps, "pass the horizon in steps"),
        }
        repeats = check_count("repeats", repeats, "pass at least 1")
        settings = {
            "problem": f"{data} network, {loss} loss",
            "optimizer": optimizer,
            "hyperparameters": hyperparameters,
            "repeats": repeats,
            "seed": seed,
            "precision": precision.value,
            "scale": None,
            "replacement": False,
            **asked,
        }
        check_writable(out, PICTURE)
        with progress_bar(quiet or as_json) as progress:
            found = studies.transfer(
                **asked,
                family=family,
                optimizer=table,
                data=data,
                base_width=base_width,
                keys=jax.random.split(jax.random.key(seed), repeats),
                progress=progress,
            )
    if not found.cells:
        say("interrupted: no network was finished yet; fewer --widths or --num-steps are quicker")
        raise typer.Exit(130)
    files = written(lambda: _draw(out, found, settings))
    if as_json:
        print(reports.to_json(reports.transfer_json(found, settings, files)))
    elif not quiet:
        show(*reports.transfer_tables(found, settings), "wrote " + (", ".join(files) or "nothing"))
    if found.interrupted:
        say("interrupted: what was found is of the networks so far")
        raise typer.Exit(130)
    if not files:
        raise typer.Exit(1)


def _counts(name, text):
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no list of whole numbers; write it as --{name}=32,64,128") from None


def _draw(folder: pathlib.Path, found: studies.Transfer, settings: dict[str, Any]) -> list[str]:
    """Draw what was found; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    picture = folder / PICTURE
    plots.transfer(found, title=reports.title(settings))
    plt.savefig(picture, dpi=130)
    plt.close()
    return [str(picture)]
