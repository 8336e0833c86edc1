"""What is minimised: one inner form for every problem, and two doors to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.checks import inside
from gdx.records import record

if TYPE_CHECKING:
    import chex

_ARRAYS_ALONE = "keep to arrays, as equinox.partition(model, equinox.is_inexact_array) does for a model"


@record
class Known(NamedTuple):
    """What is known of a problem in closed form, without any optimizer.

    A threshold follows from it for every optimizer: `curvature_threshold(family) / min_sharpness`.

    Examples
    --------
    >>> import gdx
    >>> known = gdx.problems.quartic().known
    >>> known.min_sharpness, known.minimum
    (2.0, 0.0)
    >>> gdx.Known(min_sharpness=3.0).minimum is None
    True
    """

    min_sharpness: float | None = None
    """Smallest largest-Hessian-eigenvalue over all minima."""
    minimum: float | None = None
    """Smallest value of the loss."""
    tail_gradient_norm: Callable[[Any], Any] | None = None
    """Asymptotic gradient norm of plain gradient descent as a function of the step size; NaN where no law is known."""
    source: str = ""
    """Where the closed form comes from."""
    chance: float | None = None
    """Loss of the best constant prediction, which a model that learns nothing comes down to: the entropy of the
    frequencies of classes, half the variance of targets."""


@record
class Epochs(NamedTuple):
    """Mini-batches in an order that is drawn anew every epoch, as pure functions.

    Drawing an order costs many steps, reading one costs nothing: a sweep draws orders where runs enter and reads them
    in the step. Called as `epochs(key, step)` it does both, like any other `batches`.

    Examples
    --------
    >>> import jax, numpy as np, gdx
    >>> epochs = gdx.problems.minibatches(np.arange(6.0), 2)
    >>> isinstance(epochs, gdx.problems.Epochs), epochs.num_steps
    (True, 3)
    """

    order: Callable[[chex.PRNGKey, jax.Array], jax.Array]
    """`order(key, epoch) -> int32 [L]`, always of one length."""
    take: Callable[[jax.Array, jax.Array], Any]
    """`take(order, position) -> batch`: the orders of several epochs may be joined end to end, and the position counts
    steps from the first one's beginning."""
    num_steps: int
    """Steps in an epoch."""
    keyed: bool = False
    """Whether a batch comes with a key of its own, as `gdx.problems.with_keys` makes it: `(batch, key)`."""

    def __call__(self, key: chex.PRNGKey, step: jax.Array) -> Any:
        """Give the batch of any step by itself.

        Parameters
        ----------
        key, step
            Of the run.

        Returns
        -------
        Any
        """
        return self.read(self.order(key, step // self.num_steps), step % self.num_steps, key, step)

    def read(self, order: jax.Array, position: jax.Array, key: chex.PRNGKey, step: jax.Array) -> Any:
        """Give the batch of a step whose order has been drawn.

        Parameters
        ----------
        order, position
            As in `take`.
        key, step
            Of the run; what the batch's own key is made from, where there is one.

        Returns
        -------
        Any
        """
        batch = self.take(order, position)
        return (batch, own_key(key, step)) if self.keyed else batch


def own_key(key: chex.PRNGKey, step: jax.Array) -> chex.PRNGKey:
    """Derive a batch's own key, which nothing else is drawn from.

    Parameters
    ----------
    key, step
        Of the run.

    Returns
    -------
    typed key
    """
    # Orders and draws with replacement are made from `fold_in(key, count)`, of counts that never come so far.
    return jax.random.fold_in(jax.random.fold_in(key, np.uint32(2**32 - 1)), step)


@record
class Problem(NamedTuple):
    """A loss and the way to start on it, as pure functions.

    Users build one with `gdx.problem` or `gdx.stateful_problem`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, gdx
    >>> problem = gdx.problem(jnp.ones(2), lambda w: jnp.sum(w**2))
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> loss, model_state = problem.loss(params, model_state, None)
    >>> float(loss)
    2.0
    """

    init: Callable[[chex.PRNGKey], tuple[chex.ArrayTree, chex.ArrayTree]]
    """`init(key) -> (params, state)`; receives the repeat's key itself."""
    loss: Callable[..., tuple[jax.Array, chex.ArrayTree]]
    """`loss(params, state, batch) -> (scalar, state)`."""
    batches: Callable[[chex.PRNGKey, jax.Array], Any] | None = None
    """`batches(key, step) -> batch`, a pure function of both, or `Epochs`; None for a loss without batches."""
    full_loss: Callable[[chex.ArrayTree, chex.ArrayTree], jax.Array] | None = None
    """`full_loss(params, state) -> scalar`, what facts and verdicts use where the training loss is a batch's."""
    known: Known | None = None
    """Closed forms, where there are some."""


def problem(
    init: Callable[[chex.PRNGKey], chex.ArrayTree] | chex.ArrayTree,
    loss: Callable[..., jax.Array],
    *,
    batches: Callable[[chex.PRNGKey, jax.Array], Any] | None = None,
    full_loss: Callable[[chex.ArrayTree], jax.Array] | None = None,
    known: Known | None = None,
    maximise: bool = False,
) -> Problem:
    """Make a Problem from a loss of the parameters.

    Parameters
    ----------
    init
        A function `key -> params`, or the parameters themselves: any pytree of floating arrays.
        The function receives the repeat's own key, so that a start can be made again outside.
    loss
        `loss(params) -> scalar`, or `loss(params, batch) -> scalar` when there are `batches`.
    batches
        `batches(key, step) -> batch`, pure; the key is derived from the repeat's key. `gdx.problems.minibatches` makes
        one from data.
    full_loss
        `full_loss(params) -> scalar`; facts and verdicts use it in place of a batch's loss.
    known
        Closed forms to set beside the measurements.
    maximise
        Whether the loss is to be climbed: every optimizer then descends its negative, of which all facts are.

    Returns
    -------
    Problem

    Examples
    --------
    >>> import jax, optax, gdx
    >>> hyperbola = gdx.problem(
    ...     lambda key: jax.random.normal(key, (2,)), lambda w: 0.5 * (w[0] * w[1] - 1.0) ** 2
    ... )
    >>> path = gdx.trajectory(hyperbola, optax.sgd(0.1), jax.random.key(0), num_steps=100)
    >>> bool(path.loss[-1] < 1e-6)
    True
    """
    _require_callable("loss", loss)
    start = _as_init(init)
    takes_batch, sign = batches is not None, _sign(maximise)

    def stateful_loss(params, state, batch):
        return sign(loss(params, batch) if takes_batch else loss(params)), state

    return Problem(
        init=lambda key: (start(key), ()),
        loss=stateful_loss,
        batches=batches,
        full_loss=None if full_loss is None else lambda params, state: sign(full_loss(params)),
        known=known,
    )


def stateful_problem(
    init: Callable[[chex.PRNGKey], tuple[chex.ArrayTree, chex.ArrayTree]],
    loss: Callable[..., tuple[jax.Array, chex.ArrayTree]],
    *,
    batches: Callable[[chex.PRNGKey, jax.Array], Any] | None = None,
    full_loss: Callable[[chex.ArrayTree, chex.ArrayTree], jax.Array] | None = None,
    known: Known | None = None,
    maximise: bool = False,
) -> Problem:
    """Make a Problem of a model with mutable state, such as running batch statistics.

    Parameters
    ----------
    init
        `init(key) -> (params, state)`.
    loss
        `loss(params, state) -> (scalar, state)`, or `loss(params, state, batch) -> (scalar, state)`
        when there are `batches`. A dropout key travels in the batch, see `gdx.problems.with_keys`.
    batches, full_loss, known, maximise
        As in `problem`, except that `full_loss` takes `(params, state)`.

    Returns
    -------
    Problem

    Examples
    --------
    A model that counts how often it was asked.

    >>> import jax, jax.numpy as jnp, gdx
    >>> counting = gdx.stateful_problem(
    ...     lambda key: (jnp.ones(2), {"count": jnp.zeros(())}),
    ...     lambda w, state: (jnp.sum(w**2), {"count": state["count"] + 1}),
    ... )
    >>> loss, state = counting.loss(*counting.init(jax.random.key(0)), None)
    >>> float(loss), float(state["count"])
    (2.0, 1.0)
    """
    _require_callable("init", init)
    _require_callable("loss", loss)
    takes_batch, sign = batches is not None, _sign(maximise)

    def inner_loss(params, state, batch):
        # A fresh copy: states with handles, such as Equinox's, refuse to be read twice.
        state = jax.tree.map(lambda leaf: leaf, state)
        result = loss(params, state, batch) if takes_batch else loss(params, state)
        # What is no pair goes through as it is, to be refused in one sentence where problems are checked.
        return (sign(result[0]), *result[1:]) if isinstance(result, tuple) else result

    judged = None if full_loss is None else lambda params, state: sign(full_loss(params, state))
    return Problem(init, inner_loss, batches, judged, known)


def check_problem(candidate: Problem, key: chex.PRNGKey) -> None:
    """Refuse, before anything is compiled, what no optimizer could run on.

    Raises
    ------
    ValueError
        If the parameters are not floating, the loss is not a floating scalar, or one of the functions raises.
    """
    started = _shapes("init", candidate.init, key)
    if not (isinstance(started, tuple) and len(started) == 2):
        raise ValueError(f"init: it returns {type(started).__name__}, not a pair; return (params, state)")
    params, state = started
    leaves = jax.tree.leaves_with_path(params)
    if not leaves:
        raise ValueError("init: the parameters have no leaves; return a pytree of floating arrays")
    for path, leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            name = "params" + jax.tree_util.keystr(path)
            raise ValueError(
                f"init: {name} has dtype {leaf.dtype}, which gradient descent cannot move; "
                "make it floating, or close over it as data"
            )
    batch, batches = None, candidate.batches
    if batches is not None:
        batch = _shapes("batches", batches, key, jax.ShapeDtypeStruct((), jnp.int32))
    result = _shapes("loss", candidate.loss, params, state, batch)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ValueError(f"loss: it returns {type(result).__name__}, not a pair; return (scalar, state)")
    _require_scalar("loss", result[0])
    _require_same_state(result[1], state)
    if candidate.full_loss is not None:
        _require_scalar("full_loss", _shapes("full_loss", candidate.full_loss, params, state))


def _shapes(name, function, *args):
    """The shapes of what a function of the caller's returns; what is wrong with it is told by its name."""

    def named(*args):
        with inside(name):
            return function(*args)

    try:
        return jax.eval_shape(named, *args)
    except TypeError as error:
        # Inside the function it would have been told already: so it is what comes back.
        raise ValueError(f"{name}: it returns something that is no array; {_ARRAYS_ALONE}") from error


def _sign(maximise):
    return (lambda value: jax.tree.map(jnp.negative, value)) if maximise else (lambda value: value)


def _require_scalar(name, value):
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        what = f"{dtype}{list(shape)}" if shape is not None else type(value).__name__
        raise ValueError(f"{name}: it returns {what}, not one floating number; reduce it, say with jnp.mean")


def _require_same_state(new, old):
    """A state that changes its shape could not be carried from step to step."""
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise ValueError(
            f"loss: it returns a state {jax.tree.structure(new)} where {jax.tree.structure(old)} went in; "
            "return the same structure"
        )
    for (path, before), after in zip(jax.tree.leaves_with_path(old), jax.tree.leaves(new), strict=True):
        if before.shape != after.shape:
            raise ValueError(
                f"loss: state{jax.tree_util.keystr(path)} comes back with shape {after.shape} where {before.shape} "
                "went in; return the same shapes"
            )


def _require_callable(name, value):
    if not callable(value):
        raise ValueError(f"{name}: {value!r} is not callable; pass a function (see help(gdx.problem))")


def _as_init(init):
    """A function stays; anything that is a pytree of arrays becomes a constant start.

    Modules of Equinox and Flax NNX are both callable and pytrees, so being callable does not decide.
    """
    if inspect.isroutine(init) or isinstance(init, jax.tree_util.Partial):
        return init
    is_opaque = jax.tree.leaves(init) and all(leaf is init for leaf in jax.tree.leaves(init))
    if callable(init) and is_opaque:
        return init
    for path, leaf in jax.tree.leaves_with_path(init):
        if not isinstance(leaf, (jax.Array, np.ndarray, np.generic, float, int)):
            name = "params" + jax.tree_util.keystr(path)
            raise ValueError(f"init: {name} is {type(leaf).__name__}, no array; {_ARRAYS_ALONE}")
    params = jax.tree.map(jnp.asarray, init)
    return lambda key: params
