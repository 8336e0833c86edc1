"""The spectrum of one step of an optimizer at a minimum, and the step size at which it leaves the unit disc."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from gdx.problems import problem
from gdx.stepping import train_step
from gdx.studies.verification.running import crossing

if TYPE_CHECKING:
    from jaxtyping import Float

SETTLED = 1_000_000
"""Steps after which every bias correction has faded."""


def _bowl(h):
    return problem(jnp.zeros(1), lambda x: 0.5 * h["lam"] * jnp.sum(x**2))


@functools.cache
def _jacobians(family):
    """Compile the derivative of one step at the minimum, for all rows: [N, D + memory, D + memory]."""
    step = train_step(_bowl, family)

    def jacobian(h):
        state = step.init(h, jax.random.key(0))
        opt_state = _settled(state.opt_state, h)
        flat, unravel = ravel_pytree((state.params, opt_state))

        def advance(flat):
            params, opt_state = unravel(flat)
            new = step.update(state._replace(params=params, opt_state=opt_state))[0]
            return ravel_pytree((new.params, new.opt_state))[0]

        return jax.jacfwd(advance)(flat)

    return jax.jit(jax.vmap(jacobian))


def _settled(opt_state, h):
    """Bias corrections faded, and the preconditioner P in place of a second moment.

    At the minimum the second moment's derivative is 0, so that it adds an eigenvalue of its own and moves no other.
    """
    get, put = optax.tree.get_all_with_path, optax.tree.set
    if get(opt_state, "count"):
        opt_state = put(opt_state, count=jnp.asarray(SETTLED, jnp.int32))
    if get(opt_state, "nu"):
        opt_state = put(opt_state, nu=h["second_moment"] * jnp.ones(1))
    return opt_state


def by_loop(family: Any, points: dict[str, Any]) -> Float[np.ndarray, " N"]:
    """Bisect for the step size at which the spectral radius of one step of the closed loop passes 1.

    Parameters
    ----------
    family
        A function of one point's values, defined in a module.
    points
        Leaves [N, ...], with the bowl's curvature lam, and a second moment where the optimizer has one.

    Returns
    -------
    array
        Step sizes.
    """
    compiled = _jacobians(family)
    names = [name for name in points if name != "step_size"]

    def excess(step_sizes):
        here = {name: jnp.asarray(points[name], float) for name in names} | {"step_size": jnp.asarray(step_sizes)}
        return np.abs(np.linalg.eigvals(np.asarray(compiled(here)))).max(axis=-1) - 1

    # The first change on a grid: a threshold beyond which stability returned would be missed by bisection alone.
    grid = np.geomspace(1e-3, 1e3, 97)[:, None] / points["lam"]
    signs = np.stack([excess(row) for row in grid]) > 0
    first = np.argmax(signs, axis=0)
    rows = np.arange(len(first))
    return crossing(excess, grid[np.maximum(first - 1, 0), rows], grid[first, rows])


def with_moment(eps_inside: bool, points: dict[str, Any]) -> dict[str, Any]:
    """Add the second moment whose update, at gradient 0, gives the denominator P.

    Parameters
    ----------
    eps_inside
        Whether P is sqrt(moment + eps), as in RMSprop, or sqrt(moment) + eps, as in Adam; optax's default eps.
    points
        With P, and RMSprop's decay as b.

    Returns
    -------
    dict
    """
    P, decay, eps = points["P"], (points["b"] if eps_inside else 0.999), 1e-8
    moment = (P**2 - eps if eps_inside else (P - eps) ** 2) / decay
    return points | {"second_moment": moment}
