"""The triple that watches a run, and the simplest ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from gdx.records import record

if TYPE_CHECKING:
    import chex


NOTABLE, AT_REST = 1e-9, 1e-12
"""Relative rise of a loss that is no rounding, and share of the first loss below which rises say nothing."""


@record
class Observer(NamedTuple):
    """A pure triple that watches every step of a run; its summary lands in `Runs.observed`.

    `update` receives the view that stepping shows, a `gdx.View`: `params` before the step, `loss` and `gradient` there,
    the optimizer's `update`, the run's `hyperparams` and the number of the `step`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, gdx
    >>> steepest = gdx.Observer(
    ...     init=lambda params: jnp.zeros(()),
    ...     update=lambda largest, view: jnp.maximum(largest, optax.tree.norm(view.gradient)),
    ...     summarise=lambda largest: largest,
    ... )
    >>> watched = {"steepest": steepest, "end": gdx.observers.last_params, "failures": gdx.observers.search_failures}
    >>> run = gdx.sweep(gdx.problems.quadratic([1.0, 3.0]), optax.sgd, num_steps=100, observers=watched)
    >>> runs = run([0.1, 0.5], jax.random.split(jax.random.key(0), 4))
    >>> bool(jnp.all(runs.observed["steepest"] == runs.first_gradient_norm))  # these runs only go down
    True
    """

    init: Callable[[chex.ArrayTree], Any]
    """`init(params) -> state`, a pytree of arrays whose shapes never change."""
    update: Callable[[Any, Any], Any]
    """`update(state, view) -> state`."""
    summarise: Callable[[Any], Any]
    """`summarise(state) -> pytree of arrays`."""
    tangents: int = 0
    """How many tangent vectors, k, the engine is to push through every step for it, through parameters, the model's
    state and the optimizer's memory alike, and make orthonormal again; `view.growth` [k] says by how much the step
    stretched each of them, as a logarithm, once those before it are projected out. Each costs about a step."""
    whole_horizon: bool = False
    """Whether no run may end before its horizon because it has come to rest or repeats itself."""


search_failures = Observer(
    init=lambda params: jnp.zeros((), jnp.int32),
    update=lambda count, view: count + (0 if view.search_failed is None else view.search_failed),
    summarise=lambda count: count,
)
"""Counts the steps at which the optimizer's line search or solver found no acceptable step.

Examples
--------
Continues the example of `gdx.Observer`.

>>> int(runs.observed["failures"].sum())  # gradient descent searches nothing
0
"""

last_params = Observer(init=lambda params: params, update=lambda last, view: view.params, summarise=lambda last: last)
"""Keeps the parameters that a run's last step started from: where it came to rest, if it did.

Examples
--------
Continues the example of `gdx.Observer`.

>>> runs.observed["end"].shape, bool(abs(runs.observed["end"][1]).max() < 1e-9)  # [S, R, D]
((2, 4, 2), True)
"""


def _rises(state, view):
    first, last, rose = state
    first = jnp.where(jnp.isnan(first), view.loss, first).astype(first.dtype)
    # A comparison with NaN is false: at the first step there is no loss before.
    rose |= (view.loss > (1 + NOTABLE) * last) & (last > AT_REST * first)
    return first, jnp.asarray(view.loss, last.dtype), rose


ever_rose = Observer(
    init=lambda params: (*[jnp.full((), jnp.nan, float)] * 2, jnp.zeros((), bool)),
    update=_rises,
    summarise=lambda state: state[2],
)
"""Says whether the loss ever rose from one step to the next, by more than rounding.

Examples
--------
>>> import jax, optax, gdx
>>> watching = {"rose": gdx.observers.ever_rose}
>>> run = gdx.sweep(gdx.problems.quartic(start=0.5), optax.sgd, num_steps=500, observers=watching)
>>> run([0.5, 0.95], jax.random.split(jax.random.key(0), 1)).observed["rose"]  # monotone up to .828
array([[False],
       [ True]])
"""


def horizon_of(view: Any) -> int:
    """Give the horizon of the run that a view is of.

    Parameters
    ----------
    view
        As an observer's `update` receives it.

    Returns
    -------
    int
        Steps.

    Raises
    ------
    ValueError
        Outside of a sweep, where there is none.
    """
    if view.horizon is None:
        raise ValueError("observer: it has to know the horizon; pass it to gdx.sweep, which says it in view.horizon")
    return view.horizon
