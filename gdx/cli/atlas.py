"""`gdx atlas`."""

from __future__ import annotations

import os
import pathlib
from typing import Annotated, Any

import jax
import typer

from gdx import plots, reports, studies
from gdx.cli.console import check_writable, progress_bar, refusals, say, show, written
from gdx.cli.request import AsJson, Precision, Quiet, use

PAGE, DATA, PICTURE = "atlas.md", "atlas.csv", "atlas.png"


def atlas(
    problems: Annotated[
        str | None, typer.Option(help=f"some of {', '.join(studies.ATLAS_PROBLEMS)}; all by default")
    ] = None,
    optimizers: Annotated[str | None, typer.Option(help="names from gdx list, a,b; all by default")] = None,
    num_steps: Annotated[int | None, typer.Option("--steps", help="the horizon; each problem's own by default")] = None,
    repeats: Annotated[int, typer.Option(help="random starts and orders of batches")] = 3,
    seed: Annotated[int, typer.Option(help="of the random starts, and of what is made again")] = 0,
    out: Annotated[pathlib.Path, typer.Option(help=f"folder for {PAGE}, {DATA} and {PICTURE}")] = pathlib.Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Sweep every optimizer over a set of problems: where it breaks, how well it does, how forgiving it is."""
    with refusals():
        use(Precision.float64)
        if repeats < 1:
            raise ValueError(f"repeats: {repeats} is below 1; pass at least 1")
        check_writable(out, PAGE, DATA, PICTURE)
        with progress_bar(quiet or as_json) as progress:
            found = studies.atlas(
                _names(problems),
                _names(optimizers),
                num_steps=num_steps,
                keys=jax.random.split(jax.random.key(seed), repeats),
                seed=seed,
                progress=progress,
            )
    if found.interrupted and not any(cell.num_runs for cell in found.cells):
        say("interrupted: nothing was finished yet")
        raise typer.Exit(130)
    settings: dict[str, Any] = {
        "seed": seed,
        "repeats": repeats,
        "precision": "float64",
        "backend": jax.default_backend(),
    }
    settings["cores"] = os.cpu_count()
    files = written(lambda: _write(out, found, settings))
    if as_json:
        print(reports.to_json(reports.atlas_json(found, settings, files)))
    elif not quiet:
        lines = reports.summary_lines(found)
        show(reports.atlas_table(found), *lines, "wrote " + (", ".join(files) or "nothing"))
    if found.interrupted:
        say("interrupted: what had been finished is in " + (", ".join(files) or "no file"))
        raise typer.Exit(130)
    if not files:
        raise typer.Exit(1)


def _names(text):
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _write(folder: pathlib.Path, found: studies.Atlas, settings: dict[str, Any]) -> list[str]:
    """Write the page, the data and the picture; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    page, data, picture = (folder / name for name in (PAGE, DATA, PICTURE))
    page.write_text(reports.atlas_markdown(found, settings), encoding="utf-8")
    data.write_text(reports.atlas_csv(found), encoding="utf-8")
    plots.atlas(found, title=f"Which step sizes work: {len(found.rows)} optimizers, {found.repeats} starts each")
    plt.savefig(picture, dpi=95)
    plt.close()
    return [str(page), str(data), str(picture)]
