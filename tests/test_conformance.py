"""What every optimizer of gdx's own keeps to."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from own_optimizers import OWN_OPTIMIZERS, START, flatten, nest

pytestmark = pytest.mark.usefixtures("quick_compilation")

NUM_STEPS = 50
every_optimizer = pytest.mark.parametrize("name", OWN_OPTIMIZERS)
PARAMS = nest(START)
SLOW_EAGERLY = {"newton", "newton-cg", "damped-newton", "coordinate-descent", "block-coordinate-descent"}
"""Hundreds of operations, each compiled for itself."""


def move(optimizer, loss, params, state, **extra):
    value, gradient = jax.value_and_grad(loss)(params)
    return optimizer.update(gradient, state, params, value=value, grad=gradient, value_fn=loss, **extra)


def iterates(row):
    """`numbers -> [T, D]` on the row's landscape."""

    def run(numbers):
        optimizer = row.make(**numbers)

        def step(carry, _):
            params, state = carry
            updates, state = move(optimizer, row.landscape.loss, params, state)
            params = optax.apply_updates(params, updates)
            return (params, state), flatten(params)

        params = nest(jnp.asarray(START))
        return jax.lax.scan(step, (params, optimizer.init(params)), length=NUM_STEPS)[1]

    return run


@functools.cache
def compiled(name):
    """A row's optimizer, and one update of it at its own numbers, which may be traced once."""
    row = OWN_OPTIMIZERS[name]
    optimizer = row.make(**row.numbers)
    chex.clear_trace_counter()  # it knows functions by their source, which all rows share

    @jax.jit
    @chex.assert_max_traces(n=1)
    def update(params, state):
        return move(optimizer, row.landscape.loss, params, state)

    return optimizer, update


@every_optimizer
def test_iterates_are_those_of_the_textbook_for_every_lane_of_a_vmap_over_every_number(name):
    row = OWN_OPTIMIZERS[name]
    points = [row.numbers] + [{**row.numbers, key: 0.8 * number} for key, number in row.numbers.items()]
    numbers = {key: jnp.asarray([point[key] for point in points]) for key in row.numbers}
    lanes = jax.jit(jax.vmap(iterates(row)))(numbers)
    for lane, point in zip(lanes, points, strict=True):
        expected = list(itertools.islice(row.reference(row.landscape, START, **point), NUM_STEPS))
        np.testing.assert_allclose(lane, np.stack(expected), rtol=1e-12, atol=1e-12)
    for key, lane in zip(row.numbers, lanes[1:], strict=True):
        assert jnp.any(jnp.abs(lane - lanes[0]) > 1e-6), f"{key} changes nothing"


@every_optimizer
def test_an_update_changes_nothing_that_it_was_given_and_is_the_same_twice(name):
    optimizer, update = compiled(name)
    # NumPy arrays, since nothing could write into JAX's.
    given = jax.tree.map(np.array, (PARAMS, optimizer.init(PARAMS)))
    before = jax.tree.map(np.copy, given)
    once, again = update(*given), update(*given)
    chex.assert_trees_all_equal(once, again)
    chex.assert_trees_all_equal(given, before)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_EAGERLY)) for name in OWN_OPTIMIZERS]
)
def test_jit_changes_nothing(name):
    optimizer, update = compiled(name)
    params = jax.tree.map(np.array, PARAMS)
    state = jax.tree.map(np.array, optimizer.init(params))
    before = jax.tree.map(np.copy, (params, state))
    with jax.disable_jit():
        eager = move(optimizer, OWN_OPTIMIZERS[name].landscape.loss, params, state)
    chex.assert_trees_all_equal((params, state), before)
    chex.assert_trees_all_close(update(params, state), eager, rtol=1e-10, atol=1e-12)


@every_optimizer
def test_a_second_call_does_not_trace_again(name):
    optimizer, update = compiled(name)
    params = jax.tree.map(jnp.asarray, PARAMS)
    _, state = update(params, optimizer.init(params))
    update(params, state)


@pytest.mark.parametrize("name", [name for name, row in OWN_OPTIMIZERS.items() if row.takes_schedule])
def test_a_step_size_may_be_a_schedule(name):
    row = OWN_OPTIMIZERS[name]
    optimizer = row.make(**{**row.numbers, "step_size": lambda count: 0.1 / (1 + count)})
    state = jax.eval_shape(optimizer.init, PARAMS)
    updates, _ = jax.eval_shape(functools.partial(move, optimizer, row.landscape.loss), PARAMS, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, PARAMS)


@every_optimizer
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64, None])
def test_dtypes_stay_under_traced_numbers(name, dtype):
    row = OWN_OPTIMIZERS[name]
    params = optax.tree.cast(jax.tree.map(jnp.asarray, PARAMS), dtype or jnp.float32)
    if dtype is None:
        params["a"]["matrix"] = params["a"]["matrix"].astype(jnp.bfloat16)
        params["b"] = (params["b"][0].astype(jnp.float64), params["b"][1])

    def first(params, numbers):
        state = row.make(**numbers).init(params)
        return state, move(row.make(**numbers), row.landscape.loss, params, state)

    # float64 numbers as arrays, which promote whatever they touch.
    numbers = {key: jnp.asarray(number, jnp.float64) for key, number in row.numbers.items()}
    state, (updates, new_state) = jax.eval_shape(first, params, numbers)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((updates, state, new_state)))


@every_optimizer
def test_it_runs_in_half_precision_behind_a_clipping_and_with_extra_arguments(name):
    row = OWN_OPTIMIZERS[name]
    loss, own = row.landscape.loss, row.make(**row.numbers)
    chained = optax.chain(optax.clip_by_global_norm(0.5), own)
    params = optax.tree.cast(jax.tree.map(jnp.asarray, PARAMS), jnp.bfloat16)

    @jax.jit
    def both(params):
        value, gradient = jax.value_and_grad(loss)(params)
        told = {"value": value, "grad": gradient, "value_fn": loss, "weather": "fair"}
        clipped = optax.clip_by_global_norm(0.5).update(gradient, optax.EmptyState())[0]
        behind, _ = chained.update(gradient, chained.init(params), params, **told)
        return behind, own.update(clipped, own.init(params), params, **told)[0]

    behind, by_hand = both(params)
    chex.assert_trees_all_equal(behind, by_hand)
    moved = optax.apply_updates(params, behind)
    assert loss(optax.tree.cast(moved, jnp.float64)) < loss(optax.tree.cast(params, jnp.float64))


@every_optimizer
def test_the_state_is_a_pytree_of_arrays(name):
    optimizer, update = compiled(name)
    params = jax.tree.map(jnp.asarray, PARAMS)
    for state in (optimizer.init(params), update(params, optimizer.init(params))[1]):
        leaves, structure = jax.tree.flatten(state)
        assert all(isinstance(leaf, jax.Array) for leaf in leaves)
        assert not any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves)
        chex.assert_trees_all_equal(structure.unflatten(leaves), state)


@pytest.mark.slow
def test_every_state_can_be_saved_and_taken_up_again(tmp_path):
    params = jax.tree.map(jnp.asarray, PARAMS)
    states = {}
    for name in OWN_OPTIMIZERS:
        optimizer, update = compiled(name)
        states[name] = update(params, optimizer.init(params))[1]
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "states", states)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "states", jax.tree.map(jnp.zeros_like, states))
    chex.assert_trees_all_equal(restored, states)
    for name, state in states.items():
        _, update = compiled(name)
        chex.assert_trees_all_equal(update(params, restored[name]), update(params, state))
