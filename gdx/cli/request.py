"""What a command was asked for: the options that commands share, and the one value that they become."""

from __future__ import annotations

import enum
from typing import Annotated, Any, NamedTuple

import jax
import typer

from gdx import problems
from gdx.cli.arguments import Scale, hyperparameters_of, named_optimizer, named_problem
from gdx.stepping import Family


class Precision(enum.StrEnum):
    """Of all numbers of a sweep."""

    float32 = "float32"
    float64 = "float64"


class Criterion(enum.StrEnum):
    """What counts as success."""

    trains = "trains"
    converged = "converged"
    stable = "stable"
    bounded = "bounded"
    improved = "improved"


ProblemName = Annotated[str, typer.Argument(help="a name from gdx list, or my_module:my_problem from this folder")]
OptimizerName = Annotated[str, typer.Option(help="a name from gdx list, or my_module:my_optimizer from this folder")]
Momentum = Annotated[float | None, typer.Option(help="the optimizer's momentum")]
Nesterov = Annotated[bool, typer.Option("--nesterov", help="Nesterov's form of momentum")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="any other hyperparameter, as b1=0.8; may be repeated")
]
NumSteps = Annotated[int | None, typer.Option(help="the horizon")]
CriterionName = Annotated[
    Criterion | None, typer.Option(help="what counts as success; what suits the problem by default")
]
Tolerance = Annotated[float | None, typer.Option(help="of convergence, relative to the first gradient norm")]
ScaleName = Annotated[Scale | None, typer.Option(help="of the features, for problems on data")]
BatchSize = Annotated[
    int | None, typer.Option(help="examples a step, reshuffled every epoch, for problems on data; all by default")
]
Replacement = Annotated[bool, typer.Option("--replacement", help="draw batches with replacement")]
PrecisionName = Annotated[Precision, typer.Option(help="of all numbers")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object on stdout and nothing else")]
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress, no table")]


class Request(NamedTuple):
    """A problem, an optimizer, and what is wanted of them."""

    entry: problems.ProblemEntry
    """The problem's row of the catalogue."""
    problem: problems.Problem
    family: Family
    settings: dict[str, Any]
    """Everything that was asked for or left at its default, for reports and files."""


def use(precision: Precision) -> None:
    """Set the precision of all numbers of this process.

    Parameters
    ----------
    precision
        As asked for.
    """
    jax.config.update("jax_enable_x64", precision is Precision.float64)


def requested(
    problem: str,
    optimizer: str,
    momentum: float | None,
    nesterov: bool,
    assignments: list[str] | None,
    num_steps: int | None,
    criterion: Criterion | None,
    tolerance: float | None,
    scale: Scale | None,
    batch_size: int | None,
    replacement: bool,
    seed: int,
    precision: Precision,
    repeats: int | None = 1,
) -> Request:
    """Find what the options name, fill in the problem's own defaults, and set the precision.

    Parameters
    ----------
    problem, optimizer, momentum, nesterov, assignments, num_steps, criterion, tolerance, scale, batch_size, replacement
        The options of these names.
    seed, precision
        Likewise.
    repeats
        Starts, R; None for what suits the problem.

    Returns
    -------
    Request

    Raises
    ------
    ValueError
        If there is no such problem or optimizer, or one does not take an option.
    """
    use(precision)
    entry, made = named_problem(problem, scale, batch_size, replacement)
    family, hyperparameters = named_optimizer(optimizer, hyperparameters_of(momentum, nesterov, assignments or []))
    repeats = entry.repeats if repeats is None else repeats
    if repeats < 1:
        raise ValueError(f"repeats: {repeats} is below 1; pass at least 1")
    settings = {
        "problem": problem,
        "optimizer": optimizer,
        "hyperparameters": hyperparameters,
        "criterion": entry.criterion if criterion is None else criterion.value,
        "num_steps": entry.num_steps if num_steps is None else num_steps,
        "repeats": repeats,
        "seed": seed,
        "precision": precision.value,
        "tolerance": entry.tolerance if tolerance is None else tolerance,
        "scale": None if not entry.takes_scale else (scale or Scale.standard).value,
        "batch_size": batch_size,
        "replacement": replacement,
    }
    return Request(entry, made, family, settings)
