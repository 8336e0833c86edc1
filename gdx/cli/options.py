"""What the commands share: kinds of options, refusals, the progress bar."""

from __future__ import annotations

import contextlib
import enum
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gdx.sweeps import Interrupted


class Precision(enum.StrEnum):
    """Of all numbers of a sweep."""

    float32 = "float32"
    float64 = "float64"


class Scale(enum.StrEnum):
    """Of the features of a data set."""

    standard = "standard"
    minmax = "minmax"
    robust = "robust"
    none = "none"


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


def check_writable(folder: pathlib.Path) -> None:
    """Make a folder, and refuse one that cannot be written before anything is computed.

    Parameters
    ----------
    folder
        Where files will go.

    Raises
    ------
    ValueError
        If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"out: {folder} cannot be written ({error.strerror}); choose another folder") from None


@contextlib.contextmanager
def progress_bar(hidden: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Show a bar on a terminal, nothing where nobody would see it.

    Parameters
    ----------
    hidden
        Whether nothing is wanted.

    Yields
    ------
    callable or None
        `progress(stage, finished, total)`.
    """
    console = Console(stderr=True)
    if hidden or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} runs"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def progress(stage, finished, total):
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=finished, total=total)

        yield progress
