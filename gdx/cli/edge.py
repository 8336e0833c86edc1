"""`gdx edge`."""

from __future__ import annotations

import functools
from typing import Annotated

import jax
import typer

from gdx import reports, studies
from gdx.cli.console import progress_bar, refusals, say, show, stopping_early
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
from gdx.sweeps import Interrupted
from gdx.wording import span


def edge(
    problem: ProblemName = "linear-network",
    optimizer: OptimizerName = "sgd",
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    assignments: Assignments = None,
    num_steps: NumSteps = None,
    criterion: CriterionName = None,
    tolerance: Tolerance = None,
    scale: ScaleName = None,
    batch_size: BatchSize = None,
    replacement: Replacement = False,
    seed: Annotated[int, typer.Option(help="of the random start")] = 0,
    precision: PrecisionName = Precision.float64,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Set the step sizes that are called the largest stable one side by side, for one start."""
    with refusals():
        optimizer_options = optimizer, momentum, nesterov, assignments
        data_options = scale, batch_size, replacement
        wanted = requested(problem, *optimizer_options, num_steps, criterion, tolerance, *data_options, seed, precision)
        settings = wanted.settings
        try:
            with stopping_early(), progress_bar(quiet or as_json) as progress:
                found = studies.step_table(
                    wanted.problem,
                    wanted.family,
                    jax.random.key(seed),
                    num_steps=settings["num_steps"],
                    criterion=settings["criterion"],
                    tolerance=settings["tolerance"],
                    rtol=wanted.entry.rtol,
                    progress=progress and functools.partial(progress, "edges"),
                )
        except Interrupted as interrupted:
            table = getattr(interrupted, "table", None)
            if table is not None and not (as_json or quiet):
                show(*reports.step_table_tables(table, settings), soft_wrap=False)
            say(f"interrupted: {_so_far(interrupted.edge)}; a smaller --num-steps is quicker")
            raise typer.Exit(130) from None
        settings["criterion"] = found.edge.criterion
    if as_json:
        print(reports.to_json(reports.step_table_json(found, settings)))
    elif not quiet:
        show(*reports.step_table_tables(found, settings), soft_wrap=False)


def _so_far(edge):
    """What a search that was interrupted had found, in one sentence."""
    if edge is None:
        return "nothing was finished yet"
    ends = f"last success {span(edge.last_success)}, first failure {span(edge.first_failure)}"
    return f"of {len(edge.step_sizes)} step sizes so far, {ends} ({edge.criterion})"
