"""Errors inside a function of the user's, told in one sentence that says whose it is."""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
from collections.abc import Iterator
from typing import Any

import jax

UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
LONGEST = 200
"""Characters of somebody else's message that fit into a sentence."""

_forked = False


@contextlib.contextmanager
def inside(whose: str) -> Iterator[None]:
    """Turn whatever is raised inside a function of the user's into one sentence, with the original as its cause.

    Parameters
    ----------
    whose
        What the function is to gdx: "loss", "family", "observers['mine']".

    Raises
    ------
    ValueError
        Where anything is raised inside. What gdx itself refuses passes as it is.
    """
    try:
        yield
    except UNTRACEABLE as error:
        who, remedy = _who_asks(error)
        raise ValueError(
            f"{whose}: {who} asks for the value of a traced number ({first_line(error)}); {remedy}"
        ) from error
    except Exception as error:
        if isinstance(error, ValueError) and _is_of_gdx(error):
            raise
        raise ValueError(
            f"{whose}: it raises {type(error).__name__}: {first_line(error)}; this comes from its own code"
        ) from error


def first_line(error: BaseException) -> str:
    """Give the first line of a message, without its full stop.

    Parameters
    ----------
    error
        Any exception.

    Returns
    -------
    str
    """
    lines = str(error).strip().splitlines()
    line = lines[0].rstrip(" .;:") if lines else "no message"
    return line if len(line) <= LONGEST else line[:LONGEST] + "..."


@contextlib.contextmanager
def own_rules() -> Iterator[None]:
    """Compile as always, and let NaN be data, whatever the caller set for code of their own."""
    with jax.disable_jit(False), jax.debug_nans(False), jax.debug_infs(False), jax.numpy_dtype_promotion("standard"):
        yield


def check_number(name: str, value: Any, low: float, high: float, remedy: str) -> float:
    """Return a number strictly between two others.

    Parameters
    ----------
    name, value, remedy
        The argument, what was passed for it, and what to pass instead.
    low, high
        Both excluded.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is no number, or outside.
    """
    try:
        number = float("nan") if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not low < number < high:
        raise ValueError(f"{name}: {value!r} is no number in ({low:g}, {high:g}); {remedy}")
    return number


def check_count(name: str, value: Any, remedy: str, least: int = 1) -> int:
    """Return a whole number that is large enough.

    Parameters
    ----------
    name, value, remedy
        The argument, what was passed for it, and what to pass instead.
    least
        Smallest that is allowed.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is no whole number or too small.
    """
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = None
    if count is None or count < least:
        raise ValueError(f"{name}: {value!r} is no whole number of at least {least}; {remedy}")
    return count


def check_process() -> None:
    """Refuse to compute in a process that was forked from one which had used JAX: there it hangs for ever.

    Raises
    ------
    ValueError
        In such a process.
    """
    if _forked:
        raise ValueError(
            "process: it was forked from one that had used JAX, where JAX hangs; "
            "start it with multiprocessing.get_context('spawn')"
        )


def _who_asks(error):
    """Whose code wants to know a number that is being traced, and what to do about it."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_globals.get("__name__", ""), trace.tb_frame.f_code.co_qualname))
        trace = trace.tb_next
    # What JAX and NumPy add on the way is nobody's; then optax's own, as far up as it was called by somebody else.
    while frames and _package(frames[-1]) in ("jax", "jaxlib", "numpy"):
        frames.pop()
    own = list(itertools.takewhile(lambda frame: _package(frame) == "optax", reversed(frames)))
    if not own:
        return "it", "write jnp.where or jax.lax.cond for if, and no float() or int()"
    public = [name for _, name in own if "<" not in name]
    who = f"optax's {public[-1] if public else own[0][1].partition('.')[0]}"
    if any(module.startswith("optax.schedules") for module, _ in own):
        return who, (
            "multiply a schedule of peak 1 instead, lambda h: optax.adam(lambda t: h * unit(t)), or take one of "
            "gdx.schedules, whose numbers all trace"
        )
    return who, "this number cannot be an axis of a sweep; fix it, as functools.partial does, and sweep others"


def _package(frame):
    return frame[0].partition(".")[0]


def _is_of_gdx(error):
    """Whether the innermost frame of an error is gdx's own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").split(".")[0] == "gdx"


def _note_fork():
    global _forked
    try:
        from jax._src import xla_bridge

        _forked = xla_bridge.backends_are_initialized()
    except (ImportError, AttributeError):
        # Where JAX no longer tells, it is safer to assume that its threads were running.
        _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
