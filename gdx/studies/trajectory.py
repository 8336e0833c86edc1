"""One run, looked at step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.checks import own_rules
from gdx.problems.base import Problem, check_problem
from gdx.records import record
from gdx.stepping import gradient_norm, train_step, transformation_of
from gdx.sweeps.inputs import check_horizon, check_memory

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float


@record
class Trajectory(NamedTuple):
    """The whole history of one run, from the start to after its last step.

    Examples
    --------
    Continues the example of `gdx.trajectory`.

    >>> path.params.shape, path.loss.shape, bool(path.gradient_norm[-1] < 1e-6)
    ((101,), (101,), True)
    """

    params: chex.ArrayTree
    """Leaves [T + 1, ...]."""
    loss: Float[Array, " T+1"]
    """At those parameters; with batches of the batch that comes next."""
    gradient_norm: Float[Array, " T+1"]
    """Of that loss there."""


@own_rules()
def trajectory(
    problem: Problem, transformation: optax.GradientTransformation, key: chex.PRNGKey, *, num_steps: int
) -> Trajectory:
    """Run one optimizer once and keep everything; memory grows with the number of steps.

    Parameters
    ----------
    problem
        A Problem.
    transformation
        An optax transformation with its step size in it, such as `optax.sgd(0.1)`.
    key
        One typed random key: it draws the start, and the batches.
    num_steps
        Updates to make, T.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        If an argument is out of range, or the problem cannot be run.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> path = gdx.trajectory(gdx.problems.quartic(), optax.sgd(0.1), jax.random.key(0), num_steps=100)
    >>> round(abs(float(path.params[-1])), 6)
    1.0
    """
    num_steps = check_horizon("num_steps", num_steps, "pass the number of updates")
    if not isinstance(transformation, optax.GradientTransformation):
        raise ValueError(
            f"transformation: {type(transformation).__name__} is no optax transformation; "
            "pass one with its step size in it, such as optax.sgd(0.1)"
        )
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key) or shape != ():
        raise ValueError(f"key: {type(key).__name__} of shape {shape} is not one typed key; pass jax.random.key(0)")
    check_problem(problem, key)
    start = jax.tree.leaves(jax.eval_shape(lambda key: problem.init(key)[0], key))
    size = 16 + sum(leaf.size * leaf.dtype.itemsize for leaf in start)
    check_memory(f"num_steps: {num_steps} steps, all of which are kept,", num_steps * size, "pass fewer of them")

    def family(_):
        return transformation

    transformation_of(family, None)
    step = train_step(problem, family)

    @jax.jit
    def run(key):
        def body(state, _):
            new, view = step.update(state)
            return new, (view.params, view.loss, gradient_norm(view.gradient))

        last, history = jax.lax.scan(body, step.init((), key), length=num_steps)
        # One more update shows the loss and the gradient where the last step led.
        _, view = step.update(last)
        end = (view.params, view.loss, gradient_norm(view.gradient))
        return jax.tree.map(lambda past, now: jnp.concatenate([past, now[None]]), history, end)

    return Trajectory(*run(key))
