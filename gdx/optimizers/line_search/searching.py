"""From a search along a line to what an optax transformation is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gdx.optimizers.line_search.bracketing import SearchEnd, init_state, scaled, settle
from gdx.optimizers.line_search.line import Line, line

if TYPE_CHECKING:
    import chex
    import jax


def searching(
    find: Callable[[Line, jax.Array], SearchEnd], first_step: chex.Numeric, *, restarts: bool = False
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make the (init, update) pair that scales updates by the step that a search along them finds.

    Parameters
    ----------
    find
        `(loss along the line, first trial) -> where the search ended`.
    first_step
        First trial of the first search, above 0.
    restarts
        Whether every search begins with `first_step`; by default each later one with the step accepted last.

    Returns
    -------
    callable, callable
        Of an optax transformation whose state is a `LineSearchState`.
    """

    def init_fn(params):
        return init_state(params, first_step)

    def update_fn(updates, state, params=None, *, value=None, grad=None, value_fn=None, **extra_args):
        del extra_args
        found = find(line(value_fn, params, updates, value, grad), state.step_size)
        return scaled(updates, found.step), settle(state, found, first_step, restarts)

    return init_fn, update_fn
