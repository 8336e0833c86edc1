"""What the published pictures share: their claims, and what they need of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.checks import check_count
from gdx.observers import Observer
from gdx.records import record
from gdx.studies.verification import Claim

if TYPE_CHECKING:
    import chex


def held(
    name: str,
    claim: str,
    source: str,
    published: float,
    measured: float,
    bound: float,
    *,
    is_absolute: bool = False,
    note: str = "",
) -> Claim:
    """Hold what was measured against what is published.

    Parameters
    ----------
    name, claim, source
        Of the row: what is claimed, and by whom.
    published, measured
        The two figures.
    bound
        Largest distance between them that passes, as a share of the published one.
    is_absolute
        Whether it is the distance itself.
    note
        What else is to be known of the row.

    Returns
    -------
    Claim
        One that fails where nothing could be measured.

    Examples
    --------
    >>> from gdx.studies.reproductions import held
    >>> held("plateau", "sharpness hovers at 2 / eta", "arXiv 2103.00065", 10.0, 10.1, 0.03).passed
    True
    """
    error = abs(measured - published) / (1.0 if is_absolute else abs(published))
    return Claim(
        name=name,
        kind="picture",
        claim=claim,
        source=source,
        predicted=float(published),
        measured=float(measured),
        error=float(error),
        bound=float(bound),
        passed=bool(np.isfinite(measured) and error <= bound),
        seconds=0.0,
        note=note,
    )


@record
class Share(NamedTuple):
    """How many of some runs did something.

    Examples
    --------
    >>> from gdx.studies.reproductions import Share
    >>> Share(3, 4).value
    0.75
    """

    number: int
    """That did."""
    total: int
    """Of all."""

    @property
    def value(self) -> float:
        """Their quotient; NaN where there are no runs."""
        return self.number / self.total if self.total else float("nan")


def share_of(did: Any) -> Share:
    """Count what is true.

    Parameters
    ----------
    did
        Booleans.

    Returns
    -------
    Share
    """
    did = np.asarray(did)
    return Share(int(did.sum()), int(did.size))


def kept(read: Callable[[Any], Any], num_rows: int, every: int = 1) -> Observer:
    """Make an observer that keeps a number of every few steps: of the first one, and so on.

    Parameters
    ----------
    read
        `view -> scalar`.
    num_rows
        How many are kept. A sweep has room for those of thousands of runs: keep few.
    every
        Steps between two of them.

    Returns
    -------
    Observer
        Its summary is [num_rows], NaN where a run had ended.
    """

    def init(params):
        return jnp.full(num_rows, jnp.nan, jax.tree.leaves(params)[0].dtype)

    def update(rows, view):
        # What lies beyond the last row is dropped.
        row = jnp.where(view.step % every == 0, view.step // every, num_rows)
        return rows.at[row].set(read(view), mode="drop")

    return Observer(init, update, lambda rows: rows)


def starts(repeats: Any, default: int, seed: Any) -> chex.PRNGKey:
    """Make the keys of a picture's starts.

    Parameters
    ----------
    repeats
        How many were asked for; None for the picture's own number.
    default
        That number.
    seed
        Of all of them.

    Returns
    -------
    typed keys [R]

    Raises
    ------
    ValueError
        If one is no whole number, or too small.
    """
    number = check_count("repeats", default if repeats is None else repeats, "leave it out for the picture's own")
    return jax.random.split(jax.random.key(check_count("seed", seed, "pass 0, say", 0)), number)


def check_precision() -> None:
    """Refuse to make a picture with numbers that would not show it.

    Raises
    ------
    ValueError
        In single precision.
    """
    if not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "precision: float32 would blur these pictures; first jax.config.update('jax_enable_x64', True)"
        )
