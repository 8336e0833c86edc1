"""Models of Flax, Haiku and Equinox, with all that they carry from step to step, as problems.

One shape for all: a model, a loss of the model and a batch, batches, and, where runs are to be judged by something
else than their batches, a `full_loss` of the model. The packages are imported where they are used.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gdx.checks import inside
from gdx.problems.base import Known, Problem, own_key, stateful_problem
from gdx.problems.batching import with_keys
from gdx.problems.loading import as_batches
from gdx.records import sharing

_of_a_model = sharing("""
    batches, num_batches
        As in `gdx.problems.from_batches`: any iterable of batches, or what `batches=` takes in `gdx.problem`. None for
        a loss that takes no batch.
    full_loss
        `full_loss(model) -> scalar`, say of all data or held-out ones; facts and verdicts use it in place of a batch's
        loss. Nothing that it does to the state of the model is kept.
    known
        As in `gdx.problem`.

    Returns
    -------
    Problem
        Its gradients, optimizers and observers see the parameters in the framework's own structure, so that masks and
        labels by name fit.

    Raises
    ------
    ValueError
        If the model is none of the framework's, or as `gdx.problems.from_batches`.
    """)
"""Of a function that takes a model: what its docstring shares with the others'."""


@_of_a_model
def from_flax(
    model: Any,
    loss: Callable[..., jax.Array],
    batches: Iterable[Any] | Callable | None = None,
    *,
    rngs: Sequence[str] = (),
    start: Any = None,
    full_loss: Callable[[Any], jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of a Flax Linen module, its mutable collections and its dropout.

    Parameters
    ----------
    model
        A `flax.linen.Module`.
    loss
        `loss(model, batch) -> scalar`, the model bound to its variables: called as `model(batch["x"], train=True)`, or
        by any other of its methods. All collections but "params" are carried from step to step.
    rngs
        Names of the streams of random numbers that it draws from in training, as ("dropout",): with a new key in every
        step.
    start
        Variables to start from, `{"params": ..., "batch_stats": ...}`; by default those of `model.init`, from the
        repeat's key. The model sees the first batch then.

    Examples
    --------
    >>> import flax.linen as nn, jax, jax.numpy as jnp, numpy as np, gdx
    >>> model = nn.Sequential([nn.Dense(8), nn.tanh, nn.Dense(1)])
    >>> def loss(model, batch):
    ...     return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_flax(model, loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    41
    """
    from flax import linen as nn

    _require("model", model, nn.Module, "flax.linen.Module")
    _require_callable(loss)

    def variables_of(key, args):
        if start is not None:
            return start
        streams = {name: jax.random.fold_in(key, i) for i, name in enumerate(rngs, start=1)}
        return nn.init(loss, model)({"params": key, **streams}, *args)

    def init(key, args):
        variables = jax.tree.map(jnp.asarray, dict(variables_of(key, args)))
        return variables.pop("params"), variables

    def applied(params, state, args, key):
        streams = {name: jax.random.fold_in(key, i) for i, name in enumerate(rngs)}
        run = nn.apply(loss, model, mutable=list(state))
        with _asking("InvalidRngError", 'rngs: the model draws random numbers; name its streams, as rngs=("dropout",)'):
            value, changed = run({"params": params, **state}, *args, rngs=streams)
        # What was not touched is not returned.
        return value, {**state, **changed}

    def judged(params, state):
        assert full_loss is not None
        return nn.apply(full_loss, model)({"params": params, **state})

    return _assembled(init, applied, full_loss and judged, batches, num_batches, bool(rngs), known)


@_of_a_model
def from_nnx(
    model: Any,
    loss: Callable[..., jax.Array],
    batches: Iterable[Any] | Callable | None = None,
    *,
    wrt: Any = None,
    full_loss: Callable[[Any], jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of a Flax NNX module, its batch statistics and its random numbers.

    Parameters
    ----------
    model
        A function `rngs -> flax.nnx.Module`, such as a class of `nnx.Module` that takes no more, which makes another
        start of every key; or a module, from which every run starts. It is trained in the mode in which it comes: where
        layers ask for one, call its `train()` first, also inside of the function.
    loss
        `loss(model, batch) -> scalar`, as for `nnx.value_and_grad`. All variables that are not trained are carried from
        step to step, the streams of dropout among them; those of a module are mixed with the repeat's key.
    wrt
        Filter of the variables that are trained; by default `nnx.Param`. For `full_loss` the model is in evaluation
        mode.

    Examples
    --------
    >>> from flax import nnx
    >>> import jax, jax.numpy as jnp, numpy as np, gdx
    >>> def loss(model, batch):
    ...     return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_nnx(lambda rngs: nnx.Linear(3, 1, rngs=rngs), loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    4
    """
    from flax import nnx

    trained = nnx.Param if wrt is None else wrt
    is_module = isinstance(model, nnx.Module)
    if not (is_module or callable(model)):
        raise ValueError(f"model: {type(model).__name__} is no flax.nnx.Module, nor a function rngs -> nnx.Module")
    _require_callable(loss)

    def make(key):
        with inside("model"):
            made = model(nnx.Rngs(key))
        _require("model: what it returns", made, nnx.Module, "flax.nnx.Module")
        return made

    graph, *_ = nnx.split(model if is_module else nnx.eval_shape(lambda: make(0)), trained, ...)

    def init(key, args):
        del args
        _, params, state = nnx.split(model if is_module else make(key), trained, ...)
        # A fresh copy, so that the caller's module stays as it is.
        params, state = jax.tree.map(lambda leaf: leaf, (params, state))
        return params, _mixed(state, key) if is_module else state

    def merged(params, state):
        return nnx.merge(graph, params, state, copy=True)

    def applied(params, state, args, key):
        del key
        here = merged(params, state)
        value = loss(here, *args)
        nnx.pop(here, nnx.Intermediate)
        return value, nnx.split(here, trained, ...)[2]

    def judged(params, state):
        assert full_loss is not None
        here: Any = merged(params, state)
        here.eval()
        return full_loss(here)

    return _assembled(init, applied, full_loss and judged, batches, num_batches, False, known)


@_of_a_model
def from_haiku(
    model: Any,
    loss: Callable[..., jax.Array],
    batches: Iterable[Any] | Callable | None = None,
    *,
    keyed: bool = False,
    start: Any = None,
    full_loss: Callable[[Any], jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of a Haiku function, its state and its random numbers.

    Parameters
    ----------
    model
        What `hk.transform` or `hk.transform_with_state` returns, with or without `hk.without_apply_rng`.
    loss
        `loss(model, batch) -> scalar`, the model called as the function that was transformed, `model(x, is_training)`:
        its parameters, its state and its key are passed for it.
    keyed
        Whether the function draws random numbers, as for dropout: with a new key in every step.
    start
        What to start from, as `model.init` returns it: parameters, or a pair `(params, state)` of a model with state.
        By default that of `model.init`, from the repeat's key. The model sees the first batch then.

    Examples
    --------
    >>> import haiku as hk, jax, jax.numpy as jnp, numpy as np, gdx
    >>> model = hk.transform(lambda x: hk.nets.MLP([8, 1])(x))
    >>> def loss(model, batch):
    ...     return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_haiku(model, loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    41
    """
    import haiku as hk

    if not isinstance(model, hk.Transformed | hk.TransformedWithState):
        raise ValueError(f"model: {type(model).__name__} is not transformed; pass hk.transform(function)")
    _require_callable(loss)
    has_state = isinstance(model, hk.TransformedWithState)
    takes_key = list(inspect.signature(model.apply).parameters)[1 + has_state :][:1] == ["rng"]

    def pair(variables):
        return variables if has_state else (variables, {})

    def init(key, args):
        if start is not None:
            return jax.tree.map(jnp.asarray, pair(start))
        made: list[Any] = []

        def first(*inputs, **named):
            if not made:
                made.append(pair(model.init(key, *inputs, **named)))
            params, state = made[0]
            return _called(model, has_state, takes_key, params, state, key)[0](*inputs, **named)

        loss(first, *args)
        if not made:
            raise ValueError("loss: it calls no model, so that nothing is trained; call the one that it is given")
        return made[0]

    def applied(params, state, args, key):
        called, last = _called(model, has_state, takes_key, params, state, key)
        with _asking("MissingRNGError", "keyed: the model draws random numbers; pass keyed=True"):
            value = loss(called, *args)
        return value, last()

    def judged(params, state):
        assert full_loss is not None
        return full_loss(_called(model, has_state, takes_key, params, state, None)[0])

    return _assembled(init, applied, full_loss and judged, batches, num_batches, keyed, known)


def _called(model, has_state, takes_key, params, state, key):
    """A Haiku function with all that it needs but its inputs, and what tells its state after the calls so far."""
    num_calls = 0

    def call(*inputs, **named):
        nonlocal state, num_calls
        own = key if key is None or not num_calls else jax.random.fold_in(key, num_calls)
        num_calls += 1
        front = (params, *((state,) if has_state else ()), *((own,) if takes_key else ()))
        outputs = model.apply(*front, *inputs, **named)
        if has_state:
            outputs, state = outputs
        return outputs

    return call, lambda: state


@_of_a_model
def from_equinox(
    model: Any,
    loss: Callable[..., Any],
    batches: Iterable[Any] | Callable | None = None,
    *,
    keyed: bool = False,
    full_loss: Callable[..., jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of an Equinox module and its state.

    Parameters
    ----------
    model
        A function `key -> equinox.Module`, which makes another start of every key; or a module, from which every run
        starts. Of a model with state, a pair `(module, state)` either way, as `eqx.nn.make_with_state` makes it.
    loss
        `loss(model, batch) -> scalar`, and of a model with state `loss(model, state, batch) -> (scalar, state)`. All
        floating arrays of the module are trained, and what else it holds stays.
    keyed
        Whether the loss takes a random key as well, another in every step, as its last argument: for dropout. For
        `full_loss`, which takes the model (and its state), the model is in inference mode.

    Examples
    --------
    >>> import equinox as eqx, jax, jax.numpy as jnp, numpy as np, gdx
    >>> def loss(model, batch):
    ...     return jnp.mean((jax.vmap(model)(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_equinox(lambda key: eqx.nn.MLP(3, 1, 8, 1, key=key), loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    41
    """
    import equinox as eqx

    _require_callable(loss)
    is_made = isinstance(model, (eqx.Module, tuple))
    if not (is_made or callable(model)):
        raise ValueError(f"model: {type(model).__name__} is no equinox.Module, nor a function key -> equinox.Module")

    def parts(key):
        with inside("model"):
            made = model if is_made else model(key)
        module, *carried = made if isinstance(made, tuple) else (made,)
        _require("model", module, eqx.Module, "equinox.Module")
        params, rest = eqx.partition(module, eqx.is_inexact_array)
        # Whole numbers and keys may be others for another start, so that they are carried.
        others, fixed = eqx.partition(rest, eqx.is_array)
        return params, (others, tuple(carried)), fixed

    *_, fixed = eqx.filter_eval_shape(parts, jax.random.key(0))

    def bound(params, state):
        return eqx.combine(params, state[0], fixed), *state[1]

    def applied(params, state, args, key):
        result = loss(*bound(params, state), *args, *((key,) if keyed else ()))
        if not state[1]:
            return result, state
        value, after = result
        return value, (state[0], (after,))

    def judged(params, state):
        assert full_loss is not None
        module, *carried = bound(params, jax.tree.map(lambda leaf: leaf, state))
        return full_loss(eqx.nn.inference_mode(module), *carried)

    return _assembled(
        lambda key, args: parts(key)[:2], applied, full_loss and judged, batches, num_batches, keyed, known
    )


def _assembled(init, applied, judged, batches, num_batches, keyed, known):
    """A Problem of `init(key, args)` and `applied(params, state, args, key)`, `args` being a batch or nothing."""
    drawn: Any = None if batches is None else as_batches(batches, num_batches)
    with_batch = drawn is not None
    if keyed:
        drawn = with_keys(drawn) if with_batch else own_key

    def unpacked(batch):
        args, key = (batch if with_batch else ((), batch)) if keyed else (batch, None)
        return (args,) if with_batch else (), key

    def start(key):
        args, _ = unpacked(None if drawn is None else drawn(key, jnp.zeros((), jnp.int32)))
        return init(key, args)

    def loss(params, state, batch=None):
        return applied(params, state, *unpacked(batch))

    return stateful_problem(start, loss, batches=drawn, full_loss=judged, known=known)


@contextlib.contextmanager
def _asking(kind: str, remedy: str) -> Iterator[None]:
    """Say what to pass where a framework misses random numbers, by an error of this name."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != kind:
            raise
        raise ValueError(remedy) from error


def _mixed(state, key):
    """The random streams of a module, another for every repeat's key."""
    word = jax.random.bits(key, dtype=jnp.uint32)

    def mix(leaf):
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        fold = jax.random.fold_in
        for _ in range(leaf.ndim):
            fold = jax.vmap(fold, (0, None))
        return fold(leaf, word)

    return jax.tree.map(mix, state)


def _require(name: str, value: Any, kind: Any, called: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name}: {type(value).__name__} is no {called}; pass the model, then the loss, then batches")


def _require_callable(loss: Any) -> None:
    if not callable(loss):
        raise ValueError(f"loss: {type(loss).__name__} is not callable; pass a function loss(model, batch) -> scalar")
