"""Optimizers that treat some parameters otherwise than others: step sizes, decays and masks of leaves or entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.responses.experiments import is_close
from gdx.responses.gains import smallest_real_gain
from gdx.responses.impulses import BURN_IN, FAINT
from gdx.responses.linearity import CLIMBS
from gdx.responses.parities import EvaluatesLossError, update_of

if TYPE_CHECKING:
    import chex

MOST_SMALL = 128
"""Entries of a stand-in whose leaves are 2 long in every direction; beyond, they are 1 long."""
MOST_WHOLE = 1 << 12
"""Entries of parameters that are measured as they are, where no smaller ones can stand in."""
MOST_WIDE = 1 << 20
"""Entries up to which the spread over real parameters is looked at in float64."""
NUM_STEPS = 4
ROUNDING = 1e-9
UNCLIPPED = 1e-3
"""Norm of gradients that are below what anybody clips to."""
AS_LARGE = 2.0
"""Ratio of the updates of a vector and of a matrix that the number of their entries does not explain."""
RATIOS = np.concatenate([[0.0], np.geomspace(1e-6, 1e8, 57)])
"""Of curvature to decay, at which it is seen whether alternating gradients are the first to grow."""
COUPLED = (
    "family: its update of one parameter depends on the gradients of others, so no threshold of one curvature holds"
)
DIFFERENT = (
    "family: some parameters answer gradients by another memory than others (as with gradient descent on one leaf and "
    "Adam on another), so no one threshold holds; measure a family of each"
)


def try_out(family: Callable[[Any], optax.GradientTransformation], params: chex.ArrayTree, remedy: str) -> None:
    """Trace one update, and tell in one sentence what somebody else's code says of it.

    Parameters
    ----------
    family
        Checked.
    params
        Of few entries.
    remedy
        What to pass instead.

    Raises
    ------
    ValueError
        If the update fails or is shaped otherwise than the parameters; an `EvaluatesLossError` goes through.
    """
    try:
        transformation = family(1.0)
        state = jax.tree.map(jnp.asarray, transformation.init(params))
        update = update_of(transformation)
        found = jax.eval_shape(lambda state: update(jax.tree.map(jnp.ones_like, params), state, params)[0], state)
    except EvaluatesLossError:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"family: on a few numbers in the parameters' place it raises {type(error).__name__}: {said}; {remedy}"
        ) from error
    if jax.tree.map(np.shape, found) != jax.tree.map(np.shape, params):
        raise ValueError(f"family: its updates are not shaped as a few numbers in the parameters' place; {remedy}")


def entrywise(
    family: Callable[[Any], optax.GradientTransformation], params: chex.ArrayTree, measured_on: Callable[..., Any]
) -> Any:
    """Measure a response on parameters of given shapes, entry by entry.

    Parameters
    ----------
    family
        Checked.
    params
        Arrays, tracers or shapes.
    measured_on
        `measured_on(family, stand_in) -> Measured`.

    Returns
    -------
    Response

    Raises
    ------
    ValueError
        As `measure_response`.

    Notes
    -----
    The response in time is measured on a stand-in with a few entries a leaf. What an entry has of it is read off a few
    updates of parameters of the real shapes, all of whose entries see the same gradients: where they answer in
    proportion, that is a step size of their own.
    """
    real = _zeros(params)
    small = stand_in_for(family, params)
    found = measured_on(family, small)
    gains, decays = found.gains, found.decays
    if _shapes(small) != _shapes(real):
        gains, decays = _spread(family, found, small, real)
    return _with_entries(found.response, gains, decays, real)


def stand_in_for(
    family: Callable[[Any], optax.GradientTransformation], params: chex.ArrayTree, length: int | None = None
) -> chex.ArrayTree:
    """Give parameters of the same structure and ranks with a few entries a leaf, on which an optimizer can be tried.

    Parameters
    ----------
    family
        Checked.
    params
        Arrays, tracers or shapes.
    length
        Of the leaves in every direction, 1 or 2; by default what keeps them few.

    Returns
    -------
    pytree
        Zeros. Where something in the optimizer has the shape of the real ones, as many as these, up to 4096.

    Raises
    ------
    ValueError
        If the optimizer can be tried on none of them.
    """
    real = _zeros(params)
    if length is None:
        length = 2 if sum(min(leaf.size, 2**leaf.ndim) for leaf in jax.tree.leaves(real)) <= MOST_SMALL else 1
    small = jax.tree.map(lambda leaf: np.zeros([min(size, length) for size in leaf.shape]), real)
    remedy = "pass the parameters that it is for"
    try:
        try_out(family, small, remedy)
        return small
    except EvaluatesLossError:
        raise
    except ValueError:
        if _size(real) > MOST_WHOLE:
            raise
    try_out(family, real, remedy)
    return real


def _zeros(params):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape if hasattr(leaf, "shape") else np.shape(leaf)), params)


def _size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _shapes(tree):
    return [leaf.shape for leaf in jax.tree.leaves(tree)]


def _spread(family, found, small, real):
    """Gains and decays of all entries of the real parameters, flat."""
    by_leaf = [
        np.concatenate([np.full(*pair) for pair in _by_leaf(s, small, real)]) for s in (found.gains, found.decays)
    ]
    spread, ready = [], _ready(family)
    # Of a preconditioner the size of gradients is no matter, and faint ones are clipped nowhere.
    size = UNCLIPPED / np.sqrt(_size(real)) if found.response.is_preconditioned else 1.0
    _check_apart(ready, real, found, size)
    for moving, flat, shares, entry in (
        (False, by_leaf[0], found.gains, found.entry),
        (True, by_leaf[1], found.decays, found.param_entry),
    ):
        graded = 0.0 if moving else size
        reference = [answer[entry] for answer in _answers(ready, small, found, graded, moving)]
        total, dot, square = float(np.sum(np.square(reference))), 0.0, 0.0
        for answer, number in zip(_answers(ready, real, found, graded, moving), reference, strict=True):
            dot, square = dot + number * answer, square + answer**2
        if not np.all(np.isfinite(square + total)):
            spread.append(flat)
            continue
        if np.any(square * total - dot**2 > 1e-6 * square * total) or (total == 0 and np.any(square)):
            raise ValueError(DIFFERENT)
        gains = dot / total * shares[entry] if total > 0 else flat
        if found.response.is_preconditioned and not moving:
            gains = np.sign(gains)
        # Rounding makes no difference between entries.
        spread.append(np.where(np.abs(gains - flat) <= 1e-5 * np.abs(flat), flat, gains))
    return spread


def _check_apart(ready, real, found, size):
    """Refuse an optimizer whose update of an entry depends on the sign of another one's gradient."""
    flip = np.random.default_rng(1).choice([-1.0, 1.0], _size(real))
    both = (_answers(ready, real, found, size, False, *signs) for signs in ((), (flip,)))
    pairs = zip(*both, strict=True)
    for alike, flipped in pairs:
        if np.all(np.isfinite(alike)) and not is_close(flipped, flip * alike, share=1e-6):
            raise ValueError(COUPLED)


def _flipped(tree, flip):
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = np.split(flip, ends[:-1])
    return structure.unflatten(
        [(leaf * part.reshape(leaf.shape)).astype(leaf.dtype) for leaf, part in zip(leaves, parts, strict=True)]
    )


def _by_leaf(shares, small, real):
    """For every leaf its number of entries, and what the first of its stand-in has."""
    start = 0
    for few, many in zip(jax.tree.leaves(small), jax.tree.leaves(real), strict=True):
        if few.size:
            yield many.size, shares[start]
        start += few.size


def _ready(family):
    """One transformation of a family, whose update is compiled once for parameters of one shape."""
    transformation = family(1.0)
    return optax.GradientTransformation(transformation.init, jax.jit(update_of(transformation)))


def _answers(ready, params, found, graded, moving, flip=None):
    """A few updates, flat, of parameters all of whose entries see gradients of one size, or move alike."""
    dtype = np.float64 if _size(params) <= MOST_WIDE else np.float32
    params = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), params)
    state = jax.tree.map(jnp.asarray, ready.init(params))
    leaves, structure = jax.tree.flatten(state)
    pairs = zip(leaves, found.rising, strict=True)
    state = structure.unflatten([leaf + np.asarray(BURN_IN, leaf.dtype) if up else leaf for leaf, up in pairs])
    rng = np.random.default_rng(0)
    unit = FAINT if found.response.is_preconditioned else 1.0
    for _ in range(max(NUM_STEPS, 2 * found.period)):
        given = rng.uniform(0.5, 1.5, 2) * rng.choice([-1.0, 1.0], 2) * (graded, unit * moving)
        trees = [jax.tree.map(lambda leaf, one=one: np.full(leaf.shape, one, dtype), params) for one in given]
        trees[0] = trees[0] if flip is None else _flipped(trees[0], flip)
        updates, state = ready.update(trees[0], state, trees[1])
        yield np.concatenate([np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(updates)])


def own_scale(
    loss: Callable[..., jax.Array], params: chex.ArrayTree, preconditioner: Any = None, decay: Any = None
) -> tuple[Callable[..., jax.Array], chex.ArrayTree]:
    """Give the loss in the coordinates in which an optimizer is gradient descent with a memory.

    Parameters
    ----------
    loss
        `loss(params, ...) -> scalar`.
    params
        Where it is looked at.
    preconditioner
        P, as `preconditioner` gives it; infinite where a parameter is never moved. None for ones.
    decay
        As in a `Response`, or None.

    Returns
    -------
    tuple
        A loss of y, and y = 0 where the parameters are: x = params + P^-1/2 y. Its Hessian is P^-1/2 H P^-1/2 plus the
        decay on the diagonal, and its largest eigenvalue stands against `step_at` of the response.
    """

    def moved(y, *rest):
        x = y if preconditioner is None else jax.tree.map(lambda leaf, p: leaf / jnp.sqrt(p), y, preconditioner)
        value = loss(jax.tree.map(jnp.add, params, x), *rest)
        if decay is None:
            return value
        terms = jax.tree.map(lambda leaf, c: 0.5 * jnp.sum(jnp.asarray(c, leaf.dtype) * leaf**2), y, decay)
        return value + jax.tree.reduce(jnp.add, terms)

    return moved, jax.tree.map(jnp.zeros_like, params)


def differs_by_shape(family: Callable[[Any], optax.GradientTransformation], found: Any, stand_in: Any) -> bool:
    """Whether an optimizer that was measured on a matrix treats a vector otherwise.

    Parameters
    ----------
    family
        Checked.
    found
        What was measured on the matrix.
    stand_in
        The matrix.

    Returns
    -------
    bool
        Without a preconditioner, whether the updates differ; with one, which depends on sizes in many ways, whether
        they differ by more than a factor of 2, or weight decay does. False where it takes no vector at all.
    """
    is_preconditioned = found.response.is_preconditioned
    pairs, ready = [], _ready(family)
    for graded, moving in ((True, False), (False, True)) if is_preconditioned else ((True, True),):
        expected = np.asarray([flat[found.entry] for flat in _answers(ready, stand_in, found, graded, moving)])
        try:
            given = np.stack(list(_answers(ready, np.zeros(3), found, graded, moving)))
        except Exception:
            return False
        pairs.append((given, expected[:, None]))
    if is_preconditioned:
        # Norms differ with the number of entries; a step size of its own by more.
        (given, expected), *pairs = pairs
        sizes = np.max(np.abs(given)), np.max(np.abs(expected))
        if np.all(np.isfinite(sizes)) and max(sizes) > AS_LARGE * min(sizes):
            return True
    return any(np.all(np.isfinite(given)) and not is_close(given, expected, share=1e-6) for given, expected in pairs)


def _with_entries(response, gains, decays, real):
    """The response, and what every entry has of it as far as entries differ."""
    # What differs by rounding does not differ.
    gains = np.where(np.abs(gains - 1) < ROUNDING, 1.0, gains)
    moved = (gains != 0) | (decays != 0)
    if np.any(gains < 0) or (np.any(decays < 0) and np.any(decays > 0)):
        raise ValueError(CLIMBS)
    if not (response.is_preconditioned or np.all(gains == 1)) or np.any(gains == 0):
        response = response._replace(scale=_as_tree(gains, real))
    if not np.any(response.params) or np.all(decays[moved] == decays[moved][0]):
        return response._replace(params=response.params * (decays[moved][0] if np.any(response.params) else 1.0))
    share = _decay_share(response)
    return response._replace(params=np.zeros_like(response.params), decay=_as_tree(share * decays, real))


def _as_tree(flat, real):
    leaves, structure = jax.tree.flatten(real)
    parts = np.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
    # A number stands for a leaf of equal ones: it becomes a constant of whatever is compiled with it.
    pairs = zip(parts, leaves, strict=True)
    return structure.unflatten(
        [part[0] if part.size and np.all(part == part[0]) else part.reshape(leaf.shape) for part, leaf in pairs]
    )


def _decay_share(response):
    """Curvature that a decay of 1 adds, where all parameters have decays of their own."""
    if response.cycle is None:
        alternating = (-1.0) ** np.arange(len(response.gradient))
        at_gradient, at_params = response.gradient @ alternating, response.params @ alternating
        share = at_params / at_gradient if at_gradient > 0 else 0.0
        pairs = [(ratio * share, 1.0) for ratio in RATIOS] + [(1.0, 0.0)]
        found = [smallest_real_gain(a * response.gradient + c * response.params) for a, c in pairs]
        flips = [2 / (a * at_gradient + c * at_params) for a, c in pairs] if share > 0 else [np.nan]
        if np.allclose(found, flips, rtol=1e-9) if share > 0 else False:
            return share
    # The same memory: a decay is curvature like any other.
    size = np.sum(np.square(response.gradient))
    share = float(np.sum(response.gradient * response.params) / size)
    if share > 0 and is_close(share * response.gradient, response.params):
        return share
    raise ValueError(
        "family: weight decay acts on some parameters only, and by another memory than the gradients, whose first "
        "growth is not an alternation, so no one threshold holds; put l2 into the loss, where it is curvature"
    )
