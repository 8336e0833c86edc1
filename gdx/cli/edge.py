"""`gdx edge`."""

from __future__ import annotations

import functools
from typing import Annotated

import jax
import typer

from gdx import reports, studies
from gdx.cli.arguments import Criterion, hyperparameters_of, named_optimizer, named_problem
from gdx.cli.options import Precision, Scale, progress_bar, refusals, say, show, stopping_early
from gdx.sweeps import Interrupted
from gdx.wording import span


def edge(
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
    seed: Annotated[int, typer.Option(help="of the random start")] = 0,
    precision: Annotated[Precision, typer.Option(help="of all numbers")] = Precision.float64,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout and nothing else")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="no progress, no table")] = False,
) -> None:
    """Set the step sizes that are called the largest stable one side by side, for one start."""
    with refusals():
        jax.config.update("jax_enable_x64", precision is Precision.float64)
        entry, made = named_problem(problem, scale, batch_size, replacement)
        hyperparameters = hyperparameters_of(momentum, nesterov, assignments or [])
        family, hyperparameters = named_optimizer(optimizer, hyperparameters)
        settings = {
            "problem": problem,
            "optimizer": optimizer,
            "hyperparameters": hyperparameters,
            "criterion": entry.criterion if criterion is None else criterion.value,
            "num_steps": entry.num_steps if num_steps is None else num_steps,
            "repeats": 1,
            "seed": seed,
            "precision": precision.value,
            "tolerance": entry.tolerance if tolerance is None else tolerance,
            "scale": None if not entry.takes_scale else (scale or Scale.standard).value,
            "batch_size": batch_size,
            "replacement": replacement,
        }
        try:
            with stopping_early(), progress_bar(quiet or as_json) as progress:
                found = studies.step_table(
                    made,
                    family,
                    jax.random.key(seed),
                    num_steps=settings["num_steps"],
                    criterion=settings["criterion"],
                    tolerance=settings["tolerance"],
                    rtol=entry.rtol,
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
