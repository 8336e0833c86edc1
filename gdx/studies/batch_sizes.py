"""The edge as a function of the batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.edges import Edge, critical_step_size
from gdx.problems.base import Problem
from gdx.progress import Progress
from gdx.records import record
from gdx.stepping import Family
from gdx.sweeps import Runs

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float


@record
class BatchSizeEdges(NamedTuple):
    """One edge a batch size.

    Examples
    --------
    Continues the example of `gdx.studies.edges_by_batch_size`.

    >>> found.batch_sizes, found.last_success.shape
    ((1, None), (2,))
    """

    batch_sizes: tuple[int | None, ...]
    """None for the full batch."""
    edges: tuple[Edge, ...]
    """As `gdx.critical_step_size` gives them, one a batch size."""

    @property
    def last_success(self) -> Float[np.ndarray, " B"]:
        """The largest step size that succeeded at each batch size; NaN where successes went on to the scan's end."""
        pairs = [edge.last_success for edge in self.edges]
        return np.asarray([pair.lower if np.isfinite(pair.upper) else np.nan for pair in pairs])

    @property
    def first_failure(self) -> Float[np.ndarray, " B"]:
        """The smallest step size that failed at each batch size; NaN where the scan began with failures."""
        pairs = [edge.first_failure for edge in self.edges]
        return np.asarray([pair.upper if pair.lower > 0 else np.nan for pair in pairs])


def edges_by_batch_size(
    make: Callable[[int | None], Problem],
    family: Family,
    batch_sizes: Sequence[int | None],
    *,
    keys: chex.PRNGKey,
    num_steps: int,
    criterion: str | Callable[[Runs], Any] = "trains",
    rtol: float = 1e-2,
    bracket: tuple[float, float] | None = None,
    progress: Progress = None,
) -> BatchSizeEdges:
    """Find the critical step size of one problem at several batch sizes.

    Runs with one key see the same order of examples at every step size, so that edges do not differ by luck.

    Parameters
    ----------
    make
        `batch_size -> Problem`, as `lambda size: gdx.problems.least_squares(x, y, batch_size=size)`.
    family
        `step_size -> optax transformation`.
    batch_sizes
        Examples in a batch, None for all.
    keys
        Typed random keys [R].
    num_steps
        The horizon T, steps (not epochs).
    criterion
        As in `gdx.answers`. The noise of batches keeps most runs from converging, so by default success is the loss
        that is reached.
    rtol, bracket, progress
        As in `gdx.critical_step_size`.

    Returns
    -------
    BatchSizeEdges

    Raises
    ------
    ValueError
        If there are no batch sizes, or as `make` and `gdx.critical_step_size`.

    Notes
    -----
    On a number with per-example curvatures h, one example at a time stays bounded for almost every order exactly while
    the mean of log|1 - step_size h| is below 0, which may lie beyond the full batch's edge 2 / E h. In the mean square
    it leaves earlier, at 2 E h / E h^2.

    Examples
    --------
    >>> import jax, numpy as np, optax, gdx
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(16, 2))
    >>> y = x @ np.ones(2) + rng.normal(size=16)
    >>> make = lambda size: gdx.problems.least_squares(x, y, batch_size=size)
    >>> setting = {"keys": jax.random.split(jax.random.key(0), 2), "num_steps": 300, "bracket": (0.1, 10.0)}
    >>> found = gdx.studies.edges_by_batch_size(make, optax.sgd, (1, None), **setting)
    >>> found.edges[0].last_success.lower < found.edges[1].last_success.lower  # one example at a time stands less
    True
    """
    if not batch_sizes:
        raise ValueError("batch_sizes: there are none; pass some, as in (1, 16, None)")
    # All are made first, so that a wrong size is refused before anything is compiled.
    made = [make(size) for size in batch_sizes]
    edges = tuple(
        critical_step_size(
            problem,
            family,
            keys=keys,
            num_steps=num_steps,
            criterion=criterion,
            rtol=rtol,
            bracket=bracket,
            progress=progress,
            estimate=False,
        )
        for problem in made
    )
    return BatchSizeEdges(tuple(batch_sizes), edges)
