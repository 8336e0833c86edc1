"""What the commands say and show: refusals, tables, files that could not be written, the progress bar."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Literal

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from gdx.checks import first_line
from gdx.progress import Bar, is_watched
from gdx.sweeps import Interrupted

PLAIN_WIDTH = 80
"""Columns of a terminal that says it has none."""
BLOCK_BYTES = 1 << 16
"""Room that a disk must have for a first look."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn a refused argument into one sentence and exit code 2."""
    try:
        yield
    except ValueError as error:
        say(str(error))
        raise typer.Exit(2) from None


@contextlib.contextmanager
def stopping_early() -> Iterator[None]:
    """Answer Ctrl-C before any run was finished in one sentence and exit code 130; with runs it goes on as it is."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        say("interrupted: nothing was finished yet")
        raise typer.Exit(130) from None


def say(text: str) -> None:
    """Tell a person something that is no result.

    Parameters
    ----------
    text
        A sentence.
    """
    print(f"gdx: {text}", file=sys.stderr)


def speak_plainly() -> None:
    """Get results onto any terminal, whatever it says of itself.

    What its encoding lacks becomes a question mark, where a traceback would cost all results; a width of 0 is none.
    """
    if os.environ.get("COLUMNS", "").strip() == "0":
        del os.environ["COLUMNS"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def show(*parts: Any, soft_wrap: bool = True) -> None:
    """Print results, on a terminal of any width: words wrap, numbers are never cut.

    Parameters
    ----------
    *parts
        Text and tables, as the reports make them.
    soft_wrap
        Whether lines of text are left for the terminal to break.
    """
    console = Console()
    narrow = console.width if console.width > 0 else PLAIN_WIDTH
    for part in parts:
        console.width = narrow
        if isinstance(part, Table):
            unlimited = console.options.update(max_width=sys.maxsize)
            measure = functools.partial(Measurement.get, console, unlimited)
            console.width = _width_without_cuts(part, narrow, measure)
        console.print(part, soft_wrap=soft_wrap and isinstance(part, str), highlight=False)


def _width_without_cuts(table, narrow, measure):
    """Columns of a terminal on which no number, name or word of a table is cut, the narrow one's if that will do.

    Numbers and names keep their width; columns of words share what they leave, each with room for its longest word.
    """
    wraps = [column for column in table.columns if not (column.no_wrap or column.justify == "right")]
    least, most = [], []
    for column in table.columns:
        column.no_wrap = not any(column is other for other in wraps)
        cells = [measure(cell) for cell in (column.header, *column.cells)]
        if column.no_wrap:
            column.min_width = max(cell.maximum for cell in cells)
        else:
            column.min_width = max(cell.minimum for cell in cells)
            least.append(column.min_width)
            most.append(max(cell.maximum for cell in cells))
    width = measure(table).minimum
    spare, wanted = narrow - width, sum(most) - sum(least)
    share = min(max(spare, 0) / wanted, 1.0) if wanted else 0.0
    for column, low, high in zip(wraps, least, most, strict=True):
        # Left to itself rich narrows all columns alike, and cuts the one with the longest word.
        column.width = low + int(share * (high - low))
        column.min_width = None
    return max(narrow, width)


def check_writable(folder: pathlib.Path, *names: str) -> None:
    """Make a folder, and refuse one that cannot be written before anything is computed.

    Parameters
    ----------
    folder
        Where files will go.
    *names
        Of the files.

    Raises
    ------
    ValueError
        If it cannot be made or written, or a folder has the name of a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(BLOCK_BYTES))
    except OSError as error:
        raise ValueError(f"out: {folder} cannot be written ({error.strerror}); choose another folder") from None
    for name in names:
        if (folder / name).is_dir():
            raise ValueError(f"out: {folder / name} is a folder where a file will go; choose another folder")


def written(write: Callable[[], list[str]]) -> list[str]:
    """Write files at the end of a long computation, whose table must not be lost with them.

    Parameters
    ----------
    write
        Writes them and returns their paths.

    Returns
    -------
    list of str
        Nothing, and a sentence for the reader, where writing failed.
    """
    try:
        return write()
    except (OSError, RuntimeError) as error:
        # HDF5 has errors of its own for a full disk.
        why = (isinstance(error, OSError) and error.strerror) or first_line(error)
        say(f"out: the files could not be written ({why}); what was found is only printed")
        return []


@contextlib.contextmanager
def progress_bar(hidden: bool) -> Iterator[Bar | Literal[False]]:
    """Show a bar on a terminal, nothing where nobody would see it.

    Parameters
    ----------
    hidden
        Whether nothing is wanted.

    Yields
    ------
    Bar or False
        `progress(stage, finished, total)`; False, so that nothing else shows a bar either.
    """
    if hidden or not is_watched():
        yield False
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.close()
