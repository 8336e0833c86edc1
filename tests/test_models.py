"""Batches and models as people have them end where the loops end that people write."""

import functools
import itertools

import chex
import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys
from flax import nnx

import gdx
from gdx.problems import epochs_of, from_batches, from_equinox, from_flax, from_haiku, from_nnx, minibatches, with_keys
from gdx.problems.base import check_problem

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(3)
NUM_STEPS = 7
X = RNG.normal(size=(36, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 36)


def loader(size=8):
    """As a loader gives them: dicts of NumPy arrays, the last one smaller."""
    for start in range(0, len(X), size):
        yield {"x": X[start : start + size], "y": Y[start : start + size]}


def cross_entropy(logits, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels))


def linear_loss(w, batch):
    return cross_entropy(batch["x"] @ w, batch["y"])


# Batches.


def given(batches, key, num_steps):
    return [jax.tree.map(np.asarray, batches(key, jnp.int32(step))) for step in range(num_steps)]


def test_batches_of_one_shape_come_once_an_epoch_in_an_order_of_the_key():
    epochs = epochs_of(loader())
    assert epochs.num_steps == 4, "the last one of five is smaller"
    orders = []
    for key, epoch in itertools.product(keys(3), range(3)):
        batches = given(epochs, key, 12)[4 * epoch : 4 * epoch + 4]
        starts = [int(np.flatnonzero((batch["x"][0] == X).all(axis=1))[0]) for batch in batches]
        for start, batch in zip(starts, batches, strict=True):
            np.testing.assert_array_equal(batch["x"], X[start : start + 8])
            np.testing.assert_array_equal(batch["y"], Y[start : start + 8])
        assert sorted(starts) == [0, 8, 16, 24]
        orders.append(tuple(starts))
    assert len(set(orders)) > 4


def test_an_endless_iterable_ends_where_it_was_told_to_or_where_memory_would():
    endless = itertools.cycle(loader(9))
    assert epochs_of(endless, num_batches=3).num_steps == 3
    large = np.ones(2**24, np.float32)
    assert epochs_of(itertools.repeat(large)).num_steps == 2**28 // large.nbytes


def test_a_loader_that_fills_one_array_again_and_again_is_copied():
    def reused():
        array = np.zeros(2)
        for value in range(3):
            array[:] = value
            yield array

    assert sorted(batch[0] for batch in given(epochs_of(reused()), keys(1)[0], 3)) == [0, 1, 2]


class Tensor:
    """What NumPy can read, as a tensor of PyTorch."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_what_numpy_reads_is_an_array_and_keys_of_jax_stay_keys():
    tensors = [[Tensor([1.0, 2.0]), Tensor([3])]] * 2
    x, y = given(epochs_of(tensors), keys(1)[0], 1)[0]
    np.testing.assert_array_equal(np.concatenate([x, y]), [1, 2, 3])
    epochs = epochs_of([{"key": key, "x": np.ones(2)} for key in keys(3)])
    assert jnp.issubdtype(epochs(keys(1)[0], jnp.int32(0))["key"].dtype, jax.dtypes.prng_key)


def broken():
    yield {"x": X}
    raise OSError("disk is gone")


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([], "there are none"),
        (iter(()), "there are none"),
        (3, "int cannot be iterated over"),
        ([None, None], "they hold no arrays"),
        (["a", "b"], "'a' is no array of numbers"),
        ({"x": X, "y": Y}, "'x' is no array of numbers"),
        ((X, Y), "no more than 1 of 2 have one shape"),
        ([X[:n] for n in (2, 3, 3, 4)], "no more than 2 of 4 have one shape"),
        (broken, "it raises OSError: disk is gone"),
    ],
)
def test_batches_that_cannot_be_stacked_are_refused_in_one_sentence(batches, says):
    with pytest.raises(ValueError, match=f"^batches: .*{says}"):
        from_batches(linear_loss, jnp.zeros((6, 3)), batches)


def test_a_loss_in_the_wrong_place_is_refused():
    with pytest.raises(ValueError, match=r"^loss: .* is not callable; pass from_batches\(loss, params, batches\)"):
        from_batches(jnp.zeros((6, 3)), linear_loss, loader())


@pytest.mark.parametrize("batches", [loader, loader(), list(loader())])
def test_a_generator_function_a_generator_and_a_list_are_the_same_batches(batches):
    found = given(from_batches(linear_loss, jnp.zeros((6, 3)), batches).batches, keys(1)[0], 4)
    chex.assert_trees_all_equal(found, given(epochs_of(loader()), keys(1)[0], 4))


@functools.cache
def stepping(problem, family, block=8):
    """A function `(step size, key) -> states before every step`, whose orders are drawn ahead as in a sweep."""
    step = gdx.train_step(problem, family, block=block)

    def many(state, _):
        return jax.lax.scan(lambda old, _: (step.update(old)[0], old), step.renew(state), length=block)

    def states(step_size, key):
        found = jax.lax.scan(many, step.init(step_size, key), length=-(-(NUM_STEPS + 1) // block))[1]
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: NUM_STEPS + 1], found)

    return jax.jit(states)


def plain(loss, optimizer, params, state, batches):
    """Parameters and state after one step a batch, as anyone writes it; `loss(params, state, batch)`, with a state."""

    @jax.jit
    def run(params, state, batches):
        def step(carry, batch):
            params, state, opt_state = carry
            gradient, state = jax.grad(loss, has_aux=True)(params, state, batch)
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), state, opt_state), None

        return jax.lax.scan(step, (params, state, optimizer.init(params)), batches)[0][:2]

    return run(params, state, batches)


def stacked(batches, key):
    return jax.jit(jax.vmap(batches, (None, 0)))(key, jnp.arange(NUM_STEPS, dtype=jnp.int32))


def test_a_problem_of_batches_ends_where_a_plain_loop_ends():
    problem = from_batches(linear_loss, lambda key: jax.random.normal(key, (6, 3)), loader())
    family = functools.partial(optax.sgd, momentum=0.9)
    states = stepping(problem, family)(0.1, keys(1)[0])
    loss = lambda w, state, batch: (linear_loss(w, batch), state)  # noqa: E731
    w, _ = plain(loss, family(0.1), states.params[0], (), stacked(problem.batches, states.key[0]))
    np.testing.assert_allclose(states.params[-1], w, rtol=1e-12)


# Keys.


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from primitives(inner)


def noisy_loss(w, batch, key):
    return linear_loss(w * jax.random.bernoulli(key, 0.8, w.shape), batch)


def test_a_key_beside_a_batch_leaves_the_batch_as_it_is_and_differs_by_step_and_run():
    plain = minibatches({"x": X, "y": Y}, 8)
    drawn = minibatches({"x": X, "y": Y}, 8, replacement=True)

    @jax.jit
    def look(key, step):
        kinds = (plain, drawn, epochs_of(loader()))
        # Orders and draws with replacement are made from the last of these.
        return (
            [with_keys(kind)(key, step) for kind in kinds],
            [kind(key, step) for kind in kinds],
            jax.random.fold_in(key, step),
        )

    seen = set()
    for key, step in itertools.product(keys(2), range(6)):
        pairs, alone, used = look(key, jnp.int32(step))
        chex.assert_trees_all_equal([batch for batch, _ in pairs], alone)
        own = {tuple(jax.random.key_data(one).tolist()) for _, one in pairs}
        assert len(own) == 1
        assert tuple(jax.random.key_data(used).tolist()) not in own
        seen |= own
    assert len(seen) == 12
    with pytest.raises(ValueError, match=r"^batches: they come with keys already"):
        with_keys(with_keys(plain))


def test_with_a_key_a_step_orders_are_still_drawn_ahead_of_the_steps():
    problem = from_batches(noisy_loss, jnp.zeros((6, 3)), loader(), keyed=True)
    ahead, alone = (gdx.train_step(problem, optax.sgd, block=block) for block in (4, None))

    def names(step):
        state = jax.eval_shape(step.init, 0.1, keys(1)[0])
        return set(primitives(jax.make_jaxpr(step.update)(state).jaxpr))

    assert "random_bits" in names(ahead)
    assert "sort" in names(alone)
    assert "sort" not in names(ahead)
    two = (stepping(problem, optax.sgd, block=block)(0.1, keys(1)[0]).params for block in (4, 1))
    np.testing.assert_array_equal(*two)


# Models: a class a framework, with batch statistics and dropout.


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(5)(x))
        return nn.Dense(3)(nn.Dropout(0.3, deterministic=not train)(nn.tanh(x)))


def linen():
    model = LinenNet()
    problem = from_flax(
        model,
        lambda model, batch: cross_entropy(model(batch["x"], train=True), batch["y"]),
        loader(),
        rngs=("dropout",),
        full_loss=lambda model: cross_entropy(model(X, train=False), Y),
    )

    def init(key):
        variables = model.init({"params": key, "dropout": key}, X[:8], train=True)
        return variables["params"], {"batch_stats": variables["batch_stats"]}

    def loss(params, state, batch):
        batch, key = batch
        logits, state = model.apply(
            {"params": params, **state},
            batch["x"],
            train=True,
            rngs={"dropout": jax.random.fold_in(key, 0)},
            mutable=["batch_stats"],
        )
        return cross_entropy(logits, batch["y"]), state

    def full_loss(params, state):
        return cross_entropy(model.apply({"params": params, **state}, X, train=False), Y)

    return problem, init, loss, full_loss


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(6, 5, rngs=rngs)
        self.norm = nnx.BatchNorm(5, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.out = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(jnp.tanh(self.norm(self.hidden(x)))))


def flax_nnx():
    def of_model(model, batch):
        return cross_entropy(model(batch["x"]), batch["y"])

    problem = from_nnx(NnxNet, of_model, loader(), full_loss=lambda model: cross_entropy(model(X), Y))

    def init(key):
        return nnx.split(NnxNet(nnx.Rngs(key)), nnx.Param, ...)[1:]

    graph = nnx.split(NnxNet(nnx.Rngs(0)), nnx.Param, ...)[0]

    def loss(params, state, batch):
        model = nnx.merge(graph, params, state, copy=True)
        value = of_model(model, batch)
        return value, nnx.split(model, nnx.Param, ...)[2]

    def full_loss(params, state):
        model = nnx.merge(graph, params, state, copy=True)
        model.eval()
        return cross_entropy(model(X), Y)

    return problem, init, loss, full_loss


def haiku():
    def forward(x, train):
        x = hk.BatchNorm(True, True, 0.9)(hk.Linear(5)(x), train)
        x = jnp.tanh(x)
        return hk.Linear(3)(hk.dropout(hk.next_rng_key(), 0.3, x) if train else x)

    model = hk.transform_with_state(forward)
    problem = from_haiku(
        model,
        lambda model, batch: cross_entropy(model(batch["x"], True), batch["y"]),
        loader(),
        keyed=True,
        full_loss=lambda model: cross_entropy(model(X, False), Y),
    )

    def loss(params, state, batch):
        batch, key = batch
        logits, state = model.apply(params, state, key, batch["x"], True)
        return cross_entropy(logits, batch["y"]), state

    def full_loss(params, state):
        return cross_entropy(model.apply(params, state, None, X, False)[0], Y)

    return problem, lambda key: model.init(key, X[:8], True), loss, full_loss


class EquinoxNet(eqx.Module):
    hidden: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.hidden, self.out = eqx.nn.Linear(6, 5, key=first), eqx.nn.Linear(5, 3, key=second)
        self.norm, self.dropout = eqx.nn.BatchNorm(5, "batch", momentum=0.9, mode="batch"), eqx.nn.Dropout(0.3)

    def __call__(self, x, state, key):
        x, state = self.norm(self.hidden(x), state)
        return self.out(self.dropout(jnp.tanh(x), key=key)), state


def equinox():
    make = eqx.nn.make_with_state(EquinoxNet)

    def logits(model, state, x, key):
        many = None if key is None else jax.random.split(key, len(x))
        axes = (0, None, None if key is None else 0)
        return jax.vmap(model, axes, (0, None), axis_name="batch")(jnp.asarray(x), state, many)

    def of_model(model, state, batch, key):
        found, state = logits(model, state, batch["x"], key)
        return cross_entropy(found, batch["y"]), state

    problem = from_equinox(
        make,
        of_model,
        loader(),
        keyed=True,
        full_loss=lambda model, state: cross_entropy(logits(model, state, X, None)[0], Y),
    )
    static = eqx.partition(make(jax.random.key(0))[0], eqx.is_inexact_array)[1]

    def init(key):
        model, state = make(key)
        return eqx.partition(model, eqx.is_inexact_array)[0], state

    def loss(params, state, batch):
        return of_model(eqx.combine(params, static), jax.tree.map(lambda leaf: leaf, state), *batch)

    def full_loss(params, state):
        model = eqx.nn.inference_mode(eqx.combine(params, static))
        return cross_entropy(logits(model, jax.tree.map(lambda leaf: leaf, state), X, None)[0], Y)

    return problem, init, loss, full_loss


FRAMEWORKS = {"linen": linen, "nnx": flax_nnx, "haiku": haiku, "equinox": equinox}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_model_with_batch_statistics_and_dropout_ends_where_its_plain_loop_ends(framework):
    problem, init, loss, full_loss = FRAMEWORKS[framework]()
    family, key = functools.partial(optax.sgd, momentum=0.9), keys(1)[0]
    states = stepping(problem, family)(0.1, key)
    own = states._replace(model_state=states.model_state[1][0]) if framework == "equinox" else states
    start, end = (jax.tree.map(lambda leaf, i=i: leaf[i], (own.params, own.model_state)) for i in (0, -1))
    made = jax.jit(init)(key)
    chex.assert_trees_all_equal_structs(start[0], made[0])
    assert_close(start, made)
    assert_close(end, plain(loss, family(0.1), *made, stacked(problem.batches, states.key[0])))

    @jax.jit
    def values():
        last = jax.tree.map(lambda leaf: leaf[-1], (states.params, states.model_state))
        return full_loss(*start), full_loss(*end), problem.full_loss(*last)

    before, after, judged = values()
    np.testing.assert_allclose(judged, after, rtol=1e-5)
    assert abs(after / before - 1) > 2e-2


def assert_close(found, expected):
    """Up to single precision, keys and counts to the bit."""
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_module_as_it_stands_starts_every_run_and_stays_as_it_is():
    model = NnxNet(nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.Param))
    problem = from_nnx(model, lambda model, batch: cross_entropy(model(batch["x"]), batch["y"]), loader())
    (first, one), (second, other) = (problem.init(key) for key in keys(2))
    chex.assert_trees_all_equal(first, second, nnx.state(model, nnx.Param))
    streams = [jax.random.key_data(state["dropout"]["rngs"]["key"][...]) for state in (one, other)]
    assert not np.array_equal(*streams), "starts differ in their dropout"
    runs = gdx.sweep(problem, optax.sgd, num_steps=12)([0.1, 0.3, 1e9], keys(2))
    assert np.all(np.isfinite(runs.last_loss[:2]))
    assert np.all(runs.last_loss[:, 0] != runs.last_loss[:, 1])
    chex.assert_trees_all_equal(before, jax.tree.map(np.asarray, nnx.state(model, nnx.Param)))
    assert model.dropout.rngs.count[...] == 0


def test_a_state_that_holds_a_key_starts_outside_of_jit_too():
    def loss(params, state):
        return jnp.sum(params**2), {"key": jax.random.fold_in(state["key"], 1), "count": state["count"] + 1}

    problem = gdx.stateful_problem(lambda key: (jnp.ones(2), {"key": key, "count": jnp.zeros((), jnp.int32)}), loss)
    state = gdx.train_step(problem, optax.sgd).init(0.1, keys(1)[0])
    assert state.model_state["key"] == keys(1)[0]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: from_flax(NnxNet, cross_entropy, loader()), "model: .* is no flax.linen.Module"),
        (lambda: from_nnx(lambda rngs: LinenNet(), cross_entropy), "model: what it returns: LinenNet is no flax.nnx"),
        (lambda: from_nnx(3, cross_entropy), "model: int is no flax.nnx.Module"),
        (lambda: from_haiku(lambda x: x, cross_entropy), "model: function is not transformed; pass hk.transform"),
        (lambda: from_equinox(lambda key: 3.0, cross_entropy), "model: float is no equinox.Module"),
        (lambda: from_equinox(EquinoxNet, list(loader())), "loss: list is not callable"),
    ],
)
def test_a_model_of_something_else_is_refused_in_one_sentence(make, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        make()


def test_dropout_without_keys_is_told_with_what_to_pass():
    def forward(x):
        return hk.dropout(hk.next_rng_key(), 0.5, hk.Linear(3)(x))

    def loss(model, batch):
        return cross_entropy(model(batch["x"]), batch["y"])

    dropping = nn.Sequential([nn.Dense(3), nn.Dropout(0.5, deterministic=False)])
    for problem, says in (
        (from_flax(dropping, loss, loader()), r'rngs: .*rngs=\("dropout",'),
        (from_haiku(hk.transform(forward), loss, loader()), "keyed: .*pass keyed=True"),
    ):
        with pytest.raises(ValueError, match=f"^{says}"):
            check_problem(problem, keys(1)[0])
