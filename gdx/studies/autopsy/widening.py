"""The same run in wider numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gdx.stepping.keys import programs_in
from gdx.studies.autopsy.job import Job, Place, batch_at

NARROW = ("bfloat16", "float16")


def wider_dtypes(job: Job) -> list[tuple[str, str]]:
    """Say which numbers could be wider.

    Parameters
    ----------
    job
        As checked.

    Returns
    -------
    list of (str, str)
        Names of a dtype among those of the parameters, and of the one to take instead.
    """
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(job.start.params)}
    narrow = sorted(dtypes & set(NARROW))
    if narrow:
        return [(" and ".join(narrow), "float32")]
    return [("float32", "float64")] if "float32" in dtypes else []


@contextlib.contextmanager
def widened(job: Job, place: Place, wide: str) -> Iterator[tuple[Job, Place]]:
    """Give the same job in wider numbers, for as long as it is computed with.

    Parameters
    ----------
    job, place
        As it is.
    wide
        Name of the dtype.

    Yields
    ------
    Job, Place
    """
    old = NARROW if wide == "float32" else (*NARROW, "float32")

    def widen(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(wide) if str(leaf.dtype) in old else leaf, tree)

    with jax.enable_x64(True) if wide == "float64" else contextlib.nullcontext():
        start, batches = Place(*map(widen, place)), widen(job.batches)
        yield job._replace(start=start, batches=jax.tree.map(jnp.asarray, batches)), start


def stays_narrow(job: Job) -> str:
    """Say in which narrow numbers a loss computes, whatever its parameters are in.

    Parameters
    ----------
    job
        With parameters, states and batches in wide numbers.

    Returns
    -------
    str
        Names of dtypes; empty for none.
    """
    program = jax.make_jaxpr(job.loss)(job.start.params, job.start.model_state, batch_at(job.batches, 0))
    return " and ".join(name for name in NARROW if _holds(program.jaxpr, name))


def _holds(program, dtype):
    return any(
        any(str(getattr(variable.aval, "dtype", "")) == dtype for variable in equation.outvars)
        or any(_holds(inner, dtype) for inner in programs_in(equation))
        for equation in program.eqns
    )
