"""What runs do just beyond the edge of the minimum that they rest at, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gdx.curvature import FlipKind, flip
from gdx.responses import alternates, measure_response
from gdx.stepping import Family

if TYPE_CHECKING:
    import chex
    import jax

EXCESS = 0.01
"""Beyond the edge at which a distance is told, at most."""
WITHIN = 0.1
"""Of the slowest direction's share of the curvature: beyond that excess the distance is another."""
NEAR = 0.1
"""Of the length over which the loss bends: the distance that is told is no larger, where two parts of the coefficient
nearly cancel."""


def beyond(loss: Callable[[chex.ArrayTree], jax.Array], params: chex.ArrayTree, family: Family) -> str:
    """Say what runs do just beyond the edge of a minimum, see `gdx.flip`.

    Parameters
    ----------
    loss
        `params -> scalar`.
    params
        Where runs came to rest.
    family
        `step_size -> optax transformation`.

    Returns
    -------
    str
        Empty for an optimizer that does not lose stability by alternating signs; else one clause, of why it cannot be
        said where it cannot.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax, gdx
    >>> jax.config.update("jax_enable_x64", True)
    >>> gdx.studies.beyond(lambda x: x**4 / 4 - x**2 / 2, jnp.asarray(1.0), optax.sgd)
    'beyond its edge runs hop: at 0.8 % beyond by about 0.045'
    """
    try:
        if not alternates(measure_response(family)):
            return ""
    except ValueError:
        return ""
    try:
        found = flip(loss, params)
    except ValueError as error:
        reason = str(error).split("; ")[0].removeprefix("params: ").removeprefix("loss: ")
        return f"what runs do beyond its edge is not known: {reason}"
    if found.kind is FlipKind.UNDECIDED:
        return f"what runs do beyond its edge is not known: {found.note}"
    if found.kind is FlipKind.HARD:
        return "beyond its edge runs leave it, however little it is exceeded"
    whole = abs(found.cubic) + abs(found.quartic)
    excess = min(EXCESS, WITHIN * found.slowest, NEAR**2 * found.coefficient / whole)
    return f"beyond its edge runs hop: at {100 * excess:.2g} % beyond by about {found.amplitude(excess):.2g}"
