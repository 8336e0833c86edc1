"""How far a long call has come: a bar on a terminal, where nobody asks for anything else."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Progress = Callable[[int, int], None] | bool | None
"""`progress(finished, total)`; None for a bar where there is a terminal, False for nothing."""
Function = TypeVar("Function", bound=Callable[..., Any])

PATIENCE = 2.0
"""Seconds that a call may take without a bar."""

_inside = contextvars.ContextVar("_inside", default=False)
"""Whether a call of gdx's is under way that has said already how progress is shown, if at all."""
_one_at_a_time = threading.Lock()
"""Calls in several threads would draw over each other's bars."""


class Bar:
    """A bar on stderr, a line a stage, that is gone when it is closed.

    It is drawn with rich, which comes with the extra `lab`, and not at all where that is not installed.
    """

    def __init__(self, patience: float = 0.0):
        self._due, self._drawn = time.monotonic() + patience, None
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, finished: int, total: int) -> None:
        """Show how far a stage has come, unless nobody has waited long enough yet."""
        if self._drawn is None:
            if time.monotonic() < self._due or importlib.util.find_spec("rich") is None:
                return
            self._drawn = _start()
        if stage not in self._tasks:
            self._tasks[stage] = self._drawn.add_task(stage, total=total)
        self._drawn.update(self._tasks[stage], completed=finished, total=total)

    def close(self) -> None:
        """Wipe it off the terminal."""
        if self._drawn is not None:
            self._drawn.stop()


def is_watched() -> bool:
    """Say whether stderr is a terminal; that of a notebook is none.

    Returns
    -------
    bool
    """
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # There is none, or it is closed.
        return False


@contextlib.contextmanager
def shown(progress: Any, stage: str | None = None) -> Iterator[Callable[..., Any] | None]:
    """Decide how the progress of a call is shown; calls inside it that leave it open show nothing.

    Parameters
    ----------
    progress
        A function, which is called as it is; False for nothing; by default a bar where stderr is a terminal and the
        call takes longer than `PATIENCE`.
    stage
        What the bar calls it; None for a caller that names stages itself.

    Yields
    ------
    callable or None
        `progress(finished, total)`, or `progress(stage, finished, total)` without a stage.

    Raises
    ------
    ValueError
        If it is nothing of this.
    """
    if not (callable(progress) or progress is None or isinstance(progress, bool)):
        raise ValueError(
            f"progress: {type(progress).__name__} is no function; leave it out for a bar on a terminal, or pass False"
        )
    is_open = progress is None or progress is True
    wants_bar = is_open and not _inside.get() and is_watched() and _one_at_a_time.acquire(blocking=False)
    before, bar = _inside.set(True), Bar(PATIENCE) if wants_bar else None
    try:
        if callable(progress):
            yield progress
        else:
            yield functools.partial(bar, stage) if bar and stage else bar
    finally:
        _inside.reset(before)
        if bar:
            bar.close()
            _one_at_a_time.release()


def shows_progress(stage: str | None = None) -> Callable[[Function], Function]:
    """Let a function that takes `progress=` as a keyword see what `shown` makes of it.

    Parameters
    ----------
    stage
        As in `shown`.

    Returns
    -------
    callable
        A decorator.
    """

    def decorate(function):
        @functools.wraps(function)
        def call(*args, progress: Any = None, **kwargs):
            with shown(progress, stage) as told:
                return function(*args, progress=told, **kwargs)

        return call

    return decorate  # pyright: ignore[reportReturnType]


def _start():
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    runs = TextColumn("{task.completed}/{task.total} runs")
    columns = (TextColumn("{task.description}"), BarColumn(), runs, TimeRemainingColumn())
    drawn = Progress(*columns, console=Console(stderr=True), transient=True)
    drawn.start()
    return drawn
