"""What a caller hands to a search for an edge, checked at the door."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np

from gdx.exploring import Along, hyperparams_at
from gdx.sweeps import Runs, Sweep

BRACKET_POINTS = 17


def within(bracket: Any) -> np.ndarray:
    """Spread step sizes over a bracket.

    Parameters
    ----------
    bracket
        Two step sizes.

    Returns
    -------
    array
        [P], geometric.

    Raises
    ------
    ValueError
        If it is none.
    """
    lower, upper = (float(end) for end in bracket)
    if not 0 < lower < upper < math.inf:
        raise ValueError(f"bracket: {bracket} is not two step sizes with 0 < lower < upper; leave it out for a scan")
    return np.geomspace(lower, upper, BRACKET_POINTS)


def already_scanned(scanned: Any, keys: Any, along: Along | None) -> tuple[np.ndarray, Runs]:
    """Take runs that were made elsewhere, with step sizes of their own or of the caller's.

    Parameters
    ----------
    scanned
        Runs, leaves [P, R], or `(step_sizes [P], runs)`.
    keys
        Typed random keys [R].
    along
        The axis, where it is a line through several hyperparameters: positions on it must then come with the runs.

    Returns
    -------
    array [P], Runs

    Raises
    ------
    ValueError
        If they do not fit together, or the runs were run at anything else than what stands at those positions.
    """
    if along is not None and isinstance(scanned, Runs):
        raise ValueError("scanned: runs do not say where they are on a line; pass (positions [P], runs) with along")
    step_sizes, runs = (scanned.step_sizes, scanned) if isinstance(scanned, Runs) else scanned
    step_sizes, shape = np.asarray(step_sizes, float), np.shape(runs.stopped)
    if step_sizes.ndim != 1 or shape != (step_sizes.size, keys.shape[0]):
        raise ValueError(
            f"scanned: {step_sizes.shape} step sizes and runs {shape} do not fit {keys.shape[0]} keys; "
            "pass [P] and [P, R]"
        )
    if not _is_run_at(runs, hyperparams_at(along, step_sizes)):
        raise ValueError(
            "scanned: its runs were run at other hyperparameters than those step sizes or positions stand for; "
            "pass runs of the sweep itself, with what they were run at"
        )
    return step_sizes, runs


def _is_run_at(runs, wanted):
    """Whether runs were made at these hyperparameters, as far as float32 tells."""
    if jax.tree.structure(runs.hyperparams) != jax.tree.structure(wanted):
        return False
    pairs = zip(jax.tree.leaves(runs.hyperparams), jax.tree.leaves(wanted), strict=True)
    return all(np.allclose(np.asarray(ran), np.asarray(want, float)[:, None], rtol=1e-6, atol=0) for ran, want in pairs)


def needed(name: str, value: Any) -> Any:
    """Refuse None.

    Parameters
    ----------
    name, value
        Of an argument without which there is nothing to run.

    Returns
    -------
    The value.

    Raises
    ------
    ValueError
        If it is None.
    """
    if value is None:
        raise ValueError(f"{name}: it is None; pass one, or a sweep of it as run")
    return value


def check_run(run: Sweep, problem: Any, family: Any, num_steps: Any, tail: Any) -> None:
    """Refuse whatever is said of a sweep that knows what it runs, unless it is the same.

    Parameters
    ----------
    run
        The sweep.
    problem, family, num_steps, tail
        As told; None for what was left out.

    Raises
    ------
    ValueError
        If one is another than the sweep's.
    """
    for name, told, held in (("problem", problem, run.problem), ("family", family, run.family)):
        if told is not None and not _is_same(told, held):
            raise ValueError(
                f"{name}: {_named(told)} is not the one of the sweep passed as run, {_named(held)}; "
                "pass the same object, or None"
            )
    for name, told, held in (("num_steps", num_steps, run.num_steps), ("tail", tail, run.tail)):
        if told not in (None, held):
            raise ValueError(f"{name}: {told} is not the {held} of the sweep passed as run; leave it out")


def check_rtol(rtol: float | None) -> None:
    """Refuse a width that the precision in use cannot resolve.

    Parameters
    ----------
    rtol
        Relative width, or None.

    Raises
    ------
    ValueError
        If it is too fine, or no width at all.
    """
    if rtol is None:
        return
    wide = jax.dtypes.canonicalize_dtype(float) == np.float64
    finest = 1e-14 if wide else 1e-6
    if not (finest <= rtol < 1):
        remedy = "ask for less" if wide else 'ask for less, or call jax.config.update("jax_enable_x64", True)'
        raise ValueError(f"rtol: {rtol} is outside [{finest:g}, 1) of {'float64' if wide else 'float32'}; {remedy}")


def _is_same(told, held):
    """Identity, or the equality that two partials of one function or two arrays of the same numbers have."""
    if told is held:
        return True
    if type(told) is not type(held):
        return False
    if isinstance(told, functools.partial):
        return _is_same((told.func, told.args, told.keywords), (held.func, held.args, held.keywords))
    if isinstance(told, (tuple, list)):
        return len(told) == len(held) and all(_is_same(*pair) for pair in zip(told, held, strict=True))
    if isinstance(told, dict):
        return told.keys() == held.keys() and all(_is_same(value, held[name]) for name, value in told.items())
    if isinstance(told, (np.ndarray, jax.Array)):
        return told.dtype == held.dtype and np.array_equal(told, held)
    return bool(told == held)


def _named(value):
    return getattr(value, "__name__", None) or type(value).__name__
