"""Transformations that give back the dtypes they were given."""

from __future__ import annotations

import optax

from gdx.trees import cast_like


def keep_dtypes(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Cast a transformation's updates to the dtypes of those that came in, and its state to those of the last state.

    A number of a sweep is an array, and an array of float64 promotes the float32 and bfloat16 leaves that it
    multiplies; a scan would then fail. Weak types go too, since they make a second call compile again.

    Parameters
    ----------
    inner
        An optax transformation.

    Returns
    -------
    optax.GradientTransformationExtraArgs
    """
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        state = inner.init(params)
        return cast_like(state, state)

    def update_fn(updates, state, params=None, **extra_args):
        new_updates, new_state = inner.update(updates, state, params, **extra_args)
        return cast_like(new_updates, updates), cast_like(new_state, state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
