"""One thing changed about a job, all of them numbers of one program: warm-up, clipping, half the step somewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.stepping import Family, transformation_of

if TYPE_CHECKING:
    import chex

WARMUPS = (10, 100)
"""Steps over which the step size rises to its value."""
CLIPS = (1.0,)
"""Global norms that gradients are clipped to."""
MOST_GROUPS = 8
"""Groups of parameters that are told apart; neighbours are taken together beyond."""
KEYWORDS = {"eps": (100.0, 10_000.0), "b2": (0.95, 0.9)}
"""Of Adam and its kin: factors for eps, values for b2."""
NO_GROUP = -1.0


class Change(NamedTuple):
    """One thing changed."""

    name: str
    """In words."""
    values: dict[str, float]
    """Of the hyperparameters that stand for it, beside the step size."""


class Changes(NamedTuple):
    """A job as a family of several numbers, among them its step size, and what may be changed about it."""

    family: Family
    """`hyperparams -> optax transformation`; with `unchanged` it is the job's own, but for rounding."""
    unchanged: dict[str, float]
    """Hyperparameters beside the step size."""
    changes: tuple[Change, ...]
    groups: dict[str, list[int]]
    """Leaves of every group of parameters, by name."""

    def along(self, change: Change | None = None) -> Callable[[float], dict[str, float]]:
        """Give the axis of step sizes with one thing changed.

        Parameters
        ----------
        change
            None for none.

        Returns
        -------
        callable
            `step size -> hyperparameters`.
        """
        values = {} if change is None else change.values
        return lambda step_size: {"step_size": step_size, **self.unchanged, **values}

    def within(self, num_steps: int) -> Changes:
        """Leave out warm-ups that take more than half of a horizon.

        Parameters
        ----------
        num_steps
            The horizon.

        Returns
        -------
        Changes
        """
        return self._replace(changes=tuple(change for change in self.changes if _is_within(change, num_steps)))


def _is_within(change, num_steps):
    return 2 * change.values.get("warmup", 0.0) <= num_steps


def changes_of(family: Family, params: chex.ArrayTree, num_steps: int) -> Changes:
    """Say what may be changed about a job without another program.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.
    params
        Arrays or their shapes.
    num_steps
        The horizon; no warm-up takes more than half of it.

    Returns
    -------
    Changes
    """
    groups = groups_of(params)
    index = np.zeros(len(jax.tree.leaves(params)), int)
    for number, leaves in enumerate(groups.values()):
        index[leaves] = number
    keywords = _keywords(family)
    unchanged = {"warmup": 0.0, "per_clip": 0.0, "half": NO_GROUP, **keywords}

    def changed(hyperparams):
        own = {name: hyperparams[name] for name in keywords}
        inner = transformation_of((lambda h: family(h, **own)) if own else family, hyperparams["step_size"])
        return _with(inner, hyperparams, index)

    changes = [Change(f"warm-up of {length} steps", {"warmup": float(length)}) for length in WARMUPS]
    changes += [Change(f"gradients clipped to {norm:g}", {"per_clip": 1 / norm}) for norm in CLIPS]
    if "eps" in keywords:
        changes += [
            Change(f"eps {keywords['eps'] * factor:g}", {"eps": keywords["eps"] * factor}) for factor in KEYWORDS["eps"]
        ]
    if "b2" in keywords:
        changes += [Change(f"b2 {value:g}", {"b2": value}) for value in KEYWORDS["b2"] if value != keywords["b2"]]
    if len(groups) > 1:
        changes += [Change(f"half the step in {name}", {"half": float(i)}) for i, name in enumerate(groups)]
    return Changes(changed, unchanged, tuple(changes), groups).within(num_steps)


def groups_of(params: chex.ArrayTree) -> dict[str, list[int]]:
    """Tell the groups of a model's parameters apart: its layers, as far as their names show.

    Parameters
    ----------
    params
        Arrays or their shapes.

    Returns
    -------
    dict
        Indices of leaves by the name of their group, in order; at most `MOST_GROUPS`.
    """
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    depth = 0
    while all(len(path) > depth for path in paths) and len({path[depth] for path in paths}) == 1:
        depth += 1
    groups: dict[str, list[int]] = {}
    for i, path in enumerate(paths):
        # A list of layers is as many layers, not one.
        listed = len(path) > depth + 2 and _is_index(path[depth + 1])
        name = jax.tree_util.keystr(path[depth : depth + 1], simple=True) or "all"
        name = f"[{name}]" if name.isdigit() else name
        groups.setdefault(f"{name}[{_plain(path[depth + 1])}]" if listed else name, []).append(i)
    names = list(groups)
    if len(names) <= MOST_GROUPS:
        return groups
    together = [list(part) for part in np.array_split(np.array(names, object), MOST_GROUPS)]
    joined = {}
    for part in together:
        name = part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}"
        joined[name] = [leaf for one in part for leaf in groups[one]]
    return joined


def _plain(key):
    return jax.tree_util.keystr((key,), simple=True)


def _is_index(key):
    return _plain(key).isdigit()


def _keywords(family):
    """Those of eps and b2 that a family takes, with their values."""
    try:
        parameters = inspect.signature(family).parameters
    except (TypeError, ValueError):
        return {}
    found = {}
    for name in KEYWORDS:
        default = parameters[name].default if name in parameters else None
        if isinstance(default, float) and not isinstance(default, bool):
            found[name] = default
    return found


class _State(NamedTuple):
    inner: optax.OptState
    num_updates: jax.Array


def _with(inner, hyperparams, index):
    """An optimizer with gradients clipped before it, and its updates scaled behind it."""

    def init_fn(params):
        return _State(inner.init(params), jnp.zeros((), jnp.int32))

    def update_fn(updates, state, params=None, **extra_args):
        # One over the bound, since hyperparameters are finite.
        excess = optax.tree.norm(updates) * hyperparams["per_clip"]
        clip = jnp.where(excess > 1, 1 / excess, 1.0)
        updates = jax.tree.map(lambda leaf: leaf * clip.astype(leaf.dtype), updates)
        updates, opt_state = inner.update(updates, state.inner, params, **extra_args)
        # Of 0 steps and of 1 the first is whole.
        warm = jnp.minimum(1.0, (state.num_updates + 1) / jnp.maximum(hyperparams["warmup"], 1.0))
        leaves, structure = jax.tree.flatten(updates)
        factors = [warm * jnp.where(hyperparams["half"] == group, 0.5, 1.0) for group in index]
        leaves = [leaf * factor.astype(leaf.dtype) for leaf, factor in zip(leaves, factors, strict=True)]
        return structure.unflatten(leaves), _State(opt_state, state.num_updates + 1)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
