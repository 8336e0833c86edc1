"""`gdx reproduce`."""

from __future__ import annotations

import functools
import pathlib
from typing import Annotated, Any

import jax
import typer

from gdx import reports
from gdx.cli.console import check_writable, progress_bar, refusals, say, show, written
from gdx.cli.reproductions import REPRODUCTIONS, Reproduction, named_reproduction
from gdx.cli.request import AsJson, Precision, Quiet, use


def reproduce(
    name: Annotated[str | None, typer.Argument(help="of a picture; without one they are listed")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="a small version, in seconds")] = False,
    repeats: Annotated[int | None, typer.Option(help="random starts; the picture's own by default")] = None,
    seed: Annotated[int, typer.Option(help="of the random starts")] = 0,
    out: Annotated[pathlib.Path, typer.Option(help="folder for NAME.png and NAME.json")] = pathlib.Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure and draw a published picture again, and hold it to its figures; exit code 1 if one fails."""
    if name is None:
        _list(as_json, quiet)
        return
    with refusals():
        use(Precision.float64)
        row = named_reproduction(name)
        if repeats is not None and repeats < 1:
            raise ValueError(f"repeats: {repeats} is below 1; pass at least 1")
        if seed < 0:
            raise ValueError(f"seed: {seed} is below 0; pass a whole number of at least 0")
        check_writable(out, *_files(row))
        try:
            with progress_bar(quiet or as_json) as progress:
                told = progress and functools.partial(progress, row.name)
                found = row.study(repeats=repeats, quick=quick, seed=seed, progress=told)
        except KeyboardInterrupt:
            say("interrupted: the picture was not finished; --quick makes a small one")
            raise typer.Exit(130) from None
    settings: dict[str, Any] = {
        "name": row.name,
        "line": row.line,
        "source": row.source,
        "quick": quick,
        "repeats": repeats,
        "seed": seed,
        "precision": "float64",
        "backend": jax.default_backend(),
    }
    files = written(lambda: _write(out, row, found, settings))
    if as_json:
        print(reports.to_json(reports.reproduction_json(found, settings, files)))
    elif not quiet:
        title = f"{row.name}: {row.line}"
        last = reports.reproduction_line(found)
        wrote = "wrote " + (", ".join(files) or "nothing")
        show(reports.reproduction_table(found, title), *found.notes, wrote, last)
    if not files or not all(claim.passed for claim in found.claims):
        raise typer.Exit(1)


def _list(as_json, quiet):
    if as_json:
        print(reports.to_json({row.name: {"line": row.line, "source": row.source} for row in REPRODUCTIONS}))
    elif not quiet:
        lines = {row.name: (row.line, row.source) for row in REPRODUCTIONS}
        show(reports.catalogue_table("published pictures", lines, ("what it shows", "source")))


def _files(row: Reproduction):
    return f"{row.name}.png", f"{row.name}.json"


def _write(folder: pathlib.Path, row: Reproduction, found: Any, settings: dict[str, Any]) -> list[str]:
    """Draw the picture and write what was measured; returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    picture, data = (folder / name for name in _files(row))
    row.plot(found, title=f"{row.line[0].upper()}{row.line[1:]} ({row.source})")
    plt.savefig(picture, dpi=110)
    plt.close()
    text = reports.to_json(reports.reproduction_json(found, settings | reports.versions(), [str(picture), str(data)]))
    data.write_text(text + "\n", encoding="utf-8")
    return [str(picture), str(data)]
