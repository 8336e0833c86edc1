"""What an adaptive optimizer divides by, read off its state without knowing its formula."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.checks import own_rules
from gdx.records import record
from gdx.responses.families import checked_family, concretely, remembered
from gdx.responses.impulses import LATE
from gdx.responses.parities import Parity, at_step, carriers, change, counters, parities, update_of
from gdx.responses.response import Response, measure_response
from gdx.responses.scalings import stand_in_for
from gdx.trees import widest

if TYPE_CHECKING:
    import chex
    import optax

FAINT = 1e-8
"""Gradient beside the root of a second moment whose square leaves the moment as it is, in float32 too."""
TINY = 1e-16
"""The same where the moment is 0; its square is no denormal number."""
NARROW = 1e-30
"""Second moments at or below this are read apart: what is done with them leaves the normal numbers of float32, and is
then 0 to XLA."""


class Rest(enum.Enum):
    """Which gradient leaves a leaf of the preconditioner as it is."""

    FAINT = "faint"
    """One of 0: accumulators."""
    ROOT = "root"
    """One whose square is affine in the leaf: running means of squares."""
    VALUE = "value"
    """The leaf itself: running maxima."""


@record
class Reader(NamedTuple):
    """Reads preconditioners off states of one family."""

    read: Callable[[optax.OptState, chex.ArrayTree], chex.ArrayTree]
    """`read(opt_state, params) -> P`, a pytree like the parameters; traceable."""
    response: Response
    """Of the family, P held fixed."""


@own_rules()
def preconditioner(
    family: Callable[[Any], optax.GradientTransformation], opt_state: optax.OptState, params: chex.ArrayTree
) -> chex.ArrayTree:
    """Diagonal P that an adaptive optimizer divides its gradients by right now.

    Found as a black box: the state's memory of the gradients' signs is emptied, a gradient is chosen that leaves the
    memory of their sizes as it is, and P is that gradient over the update that follows. The largest eigenvalue of
    P^-1/2 H P^-1/2 then stands against `curvature_threshold(family) / step_size`.

    Parameters
    ----------
    family
        `step_size -> optax transformation`, linear in the gradients once its preconditioner is held fixed: Adam, NAdam,
        AdamW, RMSProp, AdaGrad, AdaDelta, Yogi, AMSGrad, ...
    opt_state
        A state of `family(step_size)`, whatever the step size, as after its last update.
    params
        The parameters it belongs to.

    Returns
    -------
    pytree
        P > 0, shaped as the parameters. For Adam sqrt(v / (1 - b2^t)) + eps after t updates, t at least 1; ones for an
        optimizer without a preconditioner.

    Raises
    ------
    ValueError
        As `curvature_threshold`, except for weight decay; or if the state is not of this family on these parameters,
        or its preconditioner is no diagonal that can be read this way.

    Notes
    -----
    Works inside a trace, where numbers out of range cannot be refused. P belongs to the last update that was made, so
    the count of updates is set back by one for the reading. The bias correction of a first moment is not part of P: it
    is what is left of the count's influence where eps alone divides. Where that does not tell (no eps; AdaBelief, whose
    eps is in the moment; RAdam before it divides), P of the first few dozen steps is too small by 1 - b1^t.

    Examples
    --------
    After one step along gradients of 4 and 1/2, RMSProp divides by their size.

    >>> import functools, jax.numpy as jnp, optax, gdx
    >>> family, params = functools.partial(optax.rmsprop, decay=0.75), jnp.ones(2)
    >>> _, opt_state = family(0.1).update(jnp.array([4.0, 0.5]), family(0.1).init(params), params)
    >>> gdx.preconditioner(family, opt_state, params).round(3)
    Array([2.  , 0.25], dtype=float64)
    """
    return make_reader(family, params).read(opt_state, params)


@own_rules()
def make_reader(
    family: Callable[[Any], optax.GradientTransformation], params: chex.ArrayTree, response: Response | None = None
) -> Reader:
    """Prepare to read preconditioners many times, inside a trace or not.

    Parameters
    ----------
    family
        As in `preconditioner`.
    params
        Arrays, tracers or shapes: only structure, shapes and dtypes are used.
    response
        Of the family, where it has been measured already.

    Returns
    -------
    Reader

    Raises
    ------
    ValueError
        As `preconditioner`.
    """
    named, family = family, checked_family(family)
    with concretely():
        response = measure_response(named, params) if response is None else response
        if not response.is_preconditioned:
            return Reader(functools.partial(_of_gains, response.scale), response)
        if response.cycle is not None:
            raise ValueError(
                "family: its updates depend on the step number in a period, so its preconditioner is not read off its "
                "state; measure the optimizer that it wraps, on that one's state"
            )
        with jax.enable_x64(True):
            probe = remembered(_PROBED, named, params, lambda: _probe(family, params))
    first, decays = float(response.gradient[0]), bool(np.any(response.params)) or response.decay is not None
    if first == 0:
        raise ValueError("family: its updates do not use the gradient of their own step, so no preconditioner is seen")

    def read(opt_state, params):
        _check_state(probe, opt_state)
        update = update_of(family(1.0))
        # Some scale with the parameters' size, others decay them: what decays alone is left out.
        params = jax.tree.map(lambda leaf: (jnp.zeros_like if decays else jnp.asarray)(leaf, widest(leaf)), params)
        state = _set_back(change(opt_state, {Parity.ODD: jnp.zeros_like}, probe.kinds), probe.counting)
        state = at_step(state, probe.carried, 1.0)
        gradient, state = _at_rest(probe, update, state, params)
        found = update(gradient, state, params)[0]
        gain = first * _gain(probe, update, state)
        divisor = jax.tree.map(lambda g, u: -gain.astype(g.dtype) * g / u, gradient, found)
        return divisor if response.scale is None else jax.tree.map(_unless_frozen, divisor, response.scale)

    return Reader(read, response)


def _unless_frozen(divisor, gain):
    return jnp.where(jnp.asarray(gain) == 0, jnp.inf, divisor).astype(divisor.dtype)


def _of_gains(scale, opt_state, params):
    """What an optimizer divides by that has no more than step sizes of its own for some parameters."""
    if scale is None:
        return jax.tree.map(jnp.ones_like, params)
    return jax.tree.map(
        lambda leaf, gain: jnp.broadcast_to(1 / jnp.asarray(gain, widest(leaf)), leaf.shape), params, scale
    )


class _Probe(NamedTuple):
    """What is known of a family's state, leaf by leaf."""

    kinds: tuple[Parity, ...]
    counting: tuple[bool, ...]
    carried: tuple[float | None, ...]
    """What the leaves that carry the step size hold at a step size of 1."""
    is_corrected: bool
    """Whether the bias correction of a first moment can be told apart."""
    structure: Any
    leaf_of: tuple[int, ...]
    """For every leaf of the parameters, the leaf of the state that says which gradient leaves all as it is."""
    rests: tuple[Rest, ...]
    """For every leaf of the parameters, which gradient that is."""
    start: Any
    """State of the stand-in with empty preconditioner."""
    stand_in: Any


_PROBED: dict[Any, _Probe] = {}


def _probe(family, params):
    """Look at a stand-in whose leaves are numbers, in float64."""
    small = jax.tree.map(jnp.asarray, stand_in_for(family, params, 1))
    transformation = family(1.0)
    kinds, counting = parities(transformation, small), counters(transformation, small)
    update = jax.jit(update_of(transformation))
    start = jax.tree.map(jnp.asarray, transformation.init(small))
    state = start
    rng = np.random.default_rng(0)
    for _ in range(3):
        state = update(jax.tree.map(lambda leaf: leaf + rng.uniform(0.5, 1.5), small), state, small)[1]
    state = change(state, {Parity.ODD: jnp.zeros_like}, kinds)
    paths = [path for path, _ in jax.tree.leaves_with_path(start)]
    scalars = [i for i, (_, leaf) in enumerate(jax.tree.leaves_with_path(start)) if np.ndim(leaf) == 0]
    chosen = []
    for path, _ in jax.tree.leaves_with_path(small):
        candidates = [
            i
            for i, kind in enumerate(kinds)
            if kind is Parity.EVEN and (paths[i][len(paths[i]) - len(path) :] == path or not _ends_in(paths[i], small))
        ]
        found = [(i, rest) for i in candidates if (rest := _rest(update, state, small, i)) is not None]
        if not candidates and scalars:
            # Nothing that it learns divides this leaf: it answers any gradient alike, or none.
            found = [(scalars[0], Rest.FAINT)]
        if not found:
            raise ValueError("family: its preconditioner is no diagonal that can be read off its state")
        chosen.append(found[0])
    leaf_of, rests = zip(*chosen, strict=True)
    empty = change(start, {Parity.EVEN: jnp.zeros_like, Parity.ODD: jnp.zeros_like}, kinds)
    # NumPy's, since they outlive the precision that they were made in.
    empty, small = (jax.tree.map(np.asarray, tree) for tree in (empty, small))
    carried = carriers(family, small)
    probe = _Probe(kinds, counting, carried, True, jax.tree.structure(start), leaf_of, rests, empty, small)
    # With an eps, what follows a gradient far below it is proportional to it.
    one, tenth = (_faint_response(probe, update, [1] * sum(counting), amount) for amount in (1e-30, 1e-31))
    return probe._replace(is_corrected=bool(np.isclose(one, tenth, rtol=1e-6)))


def _ends_in(path, params):
    """Whether a leaf of the state belongs to one leaf of the parameters."""
    ends = [end for end, _ in jax.tree.leaves_with_path(params)]
    return any(path[len(path) - len(end) :] == end for end in ends)


def _rest(update, state, params, index):
    """Which gradient leaves this leaf of the state as it is; None where none of the known ones does."""
    before = np.asarray(jax.tree.leaves(state)[index])

    def after(gradient):
        gradients = jax.tree.map(lambda leaf: leaf + jnp.max(jnp.asarray(gradient)), params)
        return np.asarray(jax.tree.leaves(update(gradients, state, params)[1])[index])

    def stays(gradient, rtol=1e-9):
        return np.allclose(after(gradient), before, rtol=rtol, atol=0)

    if stays(0.0):
        return Rest.FAINT
    at_zero, at_root = after(0.0), after(np.sqrt(before))
    slope = (at_root - at_zero) / before
    if np.all(slope > 0) and np.all(before > at_zero) and stays(np.sqrt((before - at_zero) / slope)):
        return Rest.ROOT
    # A maximum may have an eps added.
    return Rest.VALUE if stays(before, rtol=1e-6) else None


def _at_rest(probe, update, state, params):
    """A gradient for every parameter that leaves the second moments as they are, and the state to use it on."""
    leaves, structure = jax.tree.flatten(params)
    found, state_structure = jax.tree.flatten(state)

    def moments(found):
        pairs = zip(probe.leaf_of, leaves, strict=True)
        return [jnp.broadcast_to(found[i].astype(leaf.dtype), leaf.shape) for i, leaf in pairs]

    def after(found, gradients):
        return jax.tree.leaves(update(structure.unflatten(gradients), state_structure.unflatten(found), params)[1])

    means = {i for i, rest in zip(probe.leaf_of, probe.rests, strict=True) if rest is Rest.ROOT}
    found = [leaf.astype(widest(leaf)) if i in means else leaf for i, leaf in enumerate(found)]
    # What narrow ones answer is asked of 1 in their place.
    safe = [jnp.where(leaf > NARROW, leaf, 1) if i in means else leaf for i, leaf in enumerate(found)]
    roots = [jnp.sqrt(moment) for moment in moments(safe)]
    if means:
        at_zero, at_root = after(safe, [jnp.zeros_like(root) for root in roots]), after(safe, roots)
        # A gradient that could hold a narrow one squares to 0. So it is made larger by what it is about to lose.
        for i in means:
            kept = jnp.where(at_zero[i] > 0, at_zero[i], 1)
            found[i] = jnp.where(found[i] > NARROW, found[i], found[i] / kept)
    else:
        at_zero = at_root = safe
    rows = zip(probe.rests, moments(jax.tree.leaves(state)), *map(moments, (safe, at_zero, at_root)), strict=True)
    return structure.unflatten([_resting_gradient(*row) for row in rows]), state_structure.unflatten(found)


def _resting_gradient(rest, moment, safe, at_zero, at_root):
    """Of one leaf; its second moments, those that were asked, and what these become without a gradient and with it."""
    least = jnp.where(moment >= jnp.finfo(moment.dtype).tiny, FAINT * jnp.sqrt(moment), TINY)
    if rest is Rest.FAINT:
        return least
    if rest is Rest.VALUE:
        return jnp.maximum(moment, least)
    rises = (at_root > at_zero) & (safe > at_zero)
    share = jnp.where(rises, (safe - at_zero) / jnp.where(rises, at_root - at_zero, 1.0), 0.0)
    return jnp.where(moment > NARROW, jnp.maximum(jnp.sqrt(safe * share), least), least)


def _gain(probe, update, state):
    """Bias correction of a first moment at the state's count: what the count changes where eps alone divides."""
    if not (probe.is_corrected and any(probe.counting)):
        return jnp.ones(())
    counts = [leaf for leaf, counts in zip(jax.tree.leaves(state), probe.counting, strict=True) if counts]
    amount = 1e-30 if jnp.result_type(float) == jnp.float64 else 1e-18
    now, late = (_faint_response(probe, update, at, amount) for at in (counts, [LATE] * len(counts)))
    # A correction for a start at 0 is at least 1. Less says that the count changes the eps (AdaBelief), or whether
    # there is a division at all (RAdam): what then remains is of no use.
    return jnp.where(now >= (1 - 1e-6) * late, now / late, 1.0)


def _faint_response(probe, update, counts, amount):
    """Response of the stand-in's numbers, summed, to a gradient that their empty second moments do not notice."""
    params = jax.tree.map(jnp.asarray, probe.stand_in)
    counts, leaves = iter(counts), [jnp.asarray(leaf) for leaf in jax.tree.leaves(probe.start)]
    pairs = zip(leaves, probe.counting, strict=True)
    state = probe.structure.unflatten([jnp.asarray(next(counts), leaf.dtype) if is_ else leaf for leaf, is_ in pairs])
    found = update(jax.tree.map(lambda leaf: leaf + amount, params), state, params)[0]
    # Where the first is never moved, another speaks.
    return -sum(jnp.sum(leaf) for leaf in jax.tree.leaves(found)) / amount


def _set_back(state, counting):
    """The counts before the last update; none has been made where they are 0."""
    leaves, structure = jax.tree.flatten(state)
    pairs = zip(leaves, counting, strict=True)
    return structure.unflatten([jnp.maximum(leaf, 1) - 1 if counts else leaf for leaf, counts in pairs])


def _check_state(probe, opt_state):
    if jax.tree.structure(opt_state) != probe.structure:
        raise ValueError(
            f"opt_state: its structure {jax.tree.structure(opt_state)} is not that of family(step_size).init(params), "
            f"{probe.structure}; pass the state of this family, with a number as step size"
        )
