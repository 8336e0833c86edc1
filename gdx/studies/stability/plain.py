"""The second road: runs made again by a plain jitted loop over optax, which shares nothing with the sweep.

Nothing of gdx is imported here but the Problem that is handed over, the key that batches are drawn with, and what
counts as blown up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.problems.base import Problem
from gdx.stepping.keys import batch_key
from gdx.sweeps.state import BLOW_UP_FACTOR

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float

LATE = 10
"""The last one of so many parts of a run is what it is judged by."""
SMOOTHING = 0.98
"""Of a range test's losses, a running mean without its bias."""
DIVERGED = 4.0
"""Times the best loss, where a range test ends."""
RANGE = (1e-7, 10.0, 100)
"""First and last step size and number of steps of a range test, as finders have them."""
LEFT_OUT = (10, 5)
"""Of its steps, the first and the last ones that the rules do not look at."""


def losses_of(
    problem: Problem, family: Callable[[Any], Any], num_steps: int
) -> Callable[[Any, chex.PRNGKey], Float[np.ndarray, " T"]]:
    """Make a plain training loop.

    Parameters
    ----------
    problem
        A Problem.
    family
        `step_size -> optax transformation`.
    num_steps
        The horizon T.

    Returns
    -------
    callable
        `(step size, or one a step, at most T; key) -> losses` of the batches, at the parameters before every step. Of a
        family of several hyperparameters they come in place of the step size.
    """

    @jax.jit
    def train(step_sizes, key):
        params, model_state = problem.init(key)
        draws = batch_key(key)
        at_first = jax.tree.map(lambda leaf: leaf[0], step_sizes)
        carry = params, model_state, optax.with_extra_args_support(family(at_first)).init(params)

        def step(carry, at):
            params, model_state, opt_state = carry
            count, step_size = at
            batch = None if problem.batches is None else problem.batches(draws, count)

            def loss_of(params):
                return problem.loss(params, model_state, batch)

            (loss, new_state), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
            transformation = optax.with_extra_args_support(family(step_size))
            updates, new_opt = transformation.update(
                gradient, opt_state, params, value=loss, grad=gradient, value_fn=lambda params: loss_of(params)[0]
            )
            moved = optax.apply_updates(params, updates), new_state, new_opt
            # What a scan carries keeps its type.
            return jax.tree.map(lambda new, old: jnp.asarray(new, jnp.asarray(old).dtype), moved, carry), loss

        return jax.lax.scan(step, carry, (jnp.arange(num_steps, dtype=jnp.int32), step_sizes))[1]

    def run(step_sizes, key):
        wanted = jax.tree.map(
            lambda leaf: np.broadcast_to(leaf, np.shape(leaf) or (num_steps,))[:num_steps], step_sizes
        )
        num_wanted = len(jax.tree.leaves(wanted)[0])
        # Few step sizes go through the same program, whose last steps nobody looks at.
        padded = jax.tree.map(lambda leaf: np.append(leaf, np.full(num_steps - num_wanted, leaf[-1])), wanted)
        every = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), padded)
        return np.asarray(train(every, key), float)[:num_wanted]

    return run


def late_loss(losses: Float[np.ndarray, " T"]) -> float:
    """Give what a run is judged by: the mean over the last tenth, infinite where it blew up on the way.

    A run has blown up by the sweep's definition: where its loss was not finite, or above the first one by more than
    `BLOW_UP_FACTOR` times that, or it fell as far below zero.

    Parameters
    ----------
    losses
        Of every step.

    Returns
    -------
    float
    """
    bound = BLOW_UP_FACTOR * max(abs(losses[0]), 1.0)
    is_bounded = np.all(np.isfinite(losses)) and np.all(losses - losses[0] <= bound) and np.all(losses >= -bound)
    return float(np.mean(losses[-max(len(losses) // LATE, 1) :])) if is_bounded else np.inf


def suggestions(step_sizes: Float[np.ndarray, " N"], losses: Float[np.ndarray, " N"]) -> dict[str, float]:
    """Say where the usual rules of a learning-rate range test point (Smith, arXiv 1506.01186, and fastai's finder).

    Parameters
    ----------
    step_sizes
        Ascending, geometric.
    losses
        Smoothed, up to where the test ended; the first and last few are left out here.

    Returns
    -------
    dict
        "steepest" is where the loss falls the fastest against the logarithm of the step size; "minimum / 10" a tenth of
        where it is the lowest; "valley" two thirds along the longest fall.
    """
    kept = slice(LEFT_OUT[0], len(losses) - LEFT_OUT[1])
    step_sizes, losses = step_sizes[: len(losses)][kept], losses[kept]
    found = {"steepest": np.nan, "valley": np.nan, "minimum / 10": np.nan}
    if len(losses) < 3:
        return found
    lowest = int(np.argmin(losses))
    found["minimum / 10"] = float(step_sizes[lowest]) / 10
    found["steepest"] = float(step_sizes[int(np.argmin(np.gradient(losses)))])
    start, end = _longest_fall(losses)
    sections = (end - start) / 3
    found["valley"] = float(step_sizes[start + int(sections + sections / 2)])
    return found


def smoothed(losses: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Take a running mean, and cut it where it has diverged.

    Parameters
    ----------
    losses
        Of every step.

    Returns
    -------
    array
        As many as came before it was `DIVERGED` times the best.
    """
    mean, best, found = 0.0, np.inf, []
    for count, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        value = mean / (1 - SMOOTHING ** (count + 1))
        if not np.isfinite(value) or value > DIVERGED * best:
            break
        best = min(best, value)
        found.append(value)
    return np.asarray(found)


def _longest_fall(losses):
    """First and last index of the longest falling subsequence."""
    longest, before = np.ones(len(losses), int), np.full(len(losses), -1)
    for i in range(1, len(losses)):
        smaller = np.flatnonzero((losses[:i] > losses[i]) & (longest[:i] + 1 > longest[i]))
        if smaller.size:
            before[i] = smaller[int(np.argmax(longest[smaller]))]
            longest[i] = longest[before[i]] + 1
    end = start = int(np.argmax(longest))
    while before[start] >= 0:
        start = int(before[start])
    return start, end
