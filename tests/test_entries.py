"""Step sizes, decays and masks of single parameters, against the closed loop written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import gdx
from gdx.responses import measure_response, parities, step_at
from gdx.responses.preconditioners import make_reader
from gdx.responses.scalings import own_scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(3)
ROOT = RNG.normal(size=(5, 5))
HESSIAN = ROOT @ ROOT.T + 0.1 * np.eye(5)
START = {"a": jnp.asarray([1.0, -2.0]), "b": jnp.asarray([[0.5, 0.1, 0.3]])}
LABELS = {"a": "fast", "b": "slow"}
heavy = functools.partial(optax.sgd, momentum=0.8)


def bowl(params):
    x = ravel_pytree(params)[0]
    return 0.5 * x @ jnp.asarray(HESSIAN, x.dtype) @ x


def scaled(step_size):
    factors = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray([[0.3, 5.0, 1.0]])}
    return optax.chain(optax.stateless(lambda u, p: jax.tree.map(jnp.multiply, u, factors)), heavy(step_size))


def grouped(step_size):
    return optax.partition({"fast": heavy(4 * step_size), "slow": heavy(step_size)}, LABELS)


def frozen(step_size):
    return optax.partition({"fast": optax.set_to_zero(), "slow": heavy(step_size)}, LABELS)


def decayed_in_part(step_size):
    return optax.chain(optax.add_decayed_weights(3.0, mask={"a": False, "b": True}), heavy(step_size))


def decayed_beside(step_size):
    decay = optax.add_decayed_weights(3.0, mask={"a": True, "b": False})
    return optax.chain(optax.trace(0.8), decay, optax.scale_by_learning_rate(step_size))


def grouped_and_decayed(step_size):
    return optax.chain(optax.add_decayed_weights(2.0, mask={"a": False, "b": True}), grouped(step_size))


def every_third(step_size):
    return optax.MultiSteps(grouped(step_size), 3, accumulator_dtype=jnp.float64)


def map_of(family, step_size, num_steps=1):
    """The closed loop of parameters and state over a few steps, column by column."""
    transformation = gdx.responses.families.as_transformation(family(step_size))
    update = parities.update_of(transformation)
    state = transformation.init(START)
    is_memory = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(state)]
    leaves, structure = jax.tree.flatten(state)
    memory = [leaf for leaf, is_ in zip(leaves, is_memory, strict=True) if is_]
    start, unravel = ravel_pytree((START, memory))

    @jax.jit
    @functools.partial(jax.vmap, out_axes=1)
    def moved(point):
        params, memory = unravel(point)
        kept = iter(memory)
        state = structure.unflatten([next(kept) if is_ else leaf for leaf, is_ in zip(leaves, is_memory, strict=True)])
        for _ in range(num_steps):
            updates, state = update(jax.grad(bowl)(params), state, params)
            params = optax.apply_updates(params, updates)
        found = [leaf for leaf, is_ in zip(jax.tree.leaves(state), is_memory, strict=True) if is_]
        return ravel_pytree((params, found))[0]

    return np.asarray(moved(jnp.eye(start.size)))


def growth(family, step_size, num_steps):
    """Largest magnitude of an eigenvalue, but for those of what is never moved."""
    found = np.linalg.eigvals(map_of(family, step_size, num_steps))
    return np.max(np.abs(found[np.abs(found - 1) > 1e-12]))


def edge_of(family):
    """Critical step size by the library, from the parts that `edge_margin` is made of."""
    reader = make_reader(family, START)
    divisor = reader.read(gdx.responses.families.as_transformation(family(1.0)).init(START), START)
    found = gdx.sharpness(*own_scale(bowl, START, divisor, reader.response.decay), rtol=0.0)
    return step_at(reader.response, float(found.value))


def slow(*row):
    return pytest.param(*row, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("family", "num_steps"),
    [
        slow(scaled, 1),
        slow(grouped, 1),
        slow(frozen, 1),
        slow(decayed_in_part, 1),
        slow(decayed_beside, 1),
        (grouped_and_decayed, 1),
        slow(every_third, 3),
    ],
)
def test_the_edge_is_where_the_closed_loop_begins_to_grow(family, num_steps):
    edge = edge_of(family)
    assert growth(family, (1 - 1e-6) * edge, num_steps) < 1 + 1e-12
    assert growth(family, (1 + 1e-6) * edge, num_steps) > 1 + 1e-8


@pytest.mark.slow
def test_a_margin_follows_groups_and_masks():
    watched = gdx.edge_margin(grouped_and_decayed, 1e-3, bowl, every=1)
    update, state = jax.jit(watched.update), watched.init(START)
    for _ in range(40):
        _, state = update(START, state, START)
    np.testing.assert_allclose(state.margin, 1e-3 / edge_of(grouped_and_decayed), rtol=1e-5)


def test_a_scaling_of_one_and_two_has_the_margin_of_the_larger_step():
    def family(step_size):
        return optax.chain(optax.stateless(lambda u, p: u * jnp.asarray([1.0, 2.0])), optax.sgd(step_size))

    watched = gdx.edge_margin(family, 0.1, lambda params: 2.5 * jnp.sum(params**2))
    params = jnp.ones(2)
    _, state = watched.update(5 * params, watched.init(params), params)
    np.testing.assert_allclose(state.margin, 0.5, rtol=1e-9)


@pytest.mark.slow
def test_decay_of_some_parameters_beside_adam_is_part_of_the_margin():
    """The closed loop of gradient means m and parameters x is written out, with P as it is read."""
    b1, decay = 0.7, 4.0
    family = functools.partial(optax.adamw, b1=b1, weight_decay=decay, mask={"a": True, "b": False})
    watched = gdx.edge_margin(family, 1e-4, bowl, every=1)
    update, state = jax.jit(watched.update), watched.init(START)
    for _ in range(60):
        _, state = update(jax.grad(bowl)(START), state, START)
    divisor = np.asarray(ravel_pytree(gdx.preconditioner(family, state.inner, START))[0])
    decays = decay * np.asarray([1.0, 1.0, 0.0, 0.0, 0.0])

    def radius(step_size):
        to_mean = (1 - b1) * HESSIAN
        rows = np.block(
            [
                [
                    np.eye(5) - step_size * (to_mean / divisor[:, None] + np.diag(decays)),
                    -step_size * np.diag(b1 / divisor),
                ],
                [to_mean, b1 * np.eye(5)],
            ]
        )
        return np.max(np.abs(np.linalg.eigvals(rows)))

    edge = 1e-4 / float(state.margin)
    assert radius((1 - 1e-4) * edge) < 1 < radius((1 + 1e-4) * edge)


@pytest.mark.slow
def test_groups_of_adam_have_their_step_sizes_in_the_preconditioner():
    def family(step_size):
        return optax.partition({"fast": optax.adam(4 * step_size), "slow": optax.adam(step_size)}, LABELS)

    gradient = jax.grad(bowl)(START)
    states = [make.update(gradient, make.init(START))[1] for make in (family(0.1), optax.adam(0.1))]
    found, plain = (
        gdx.preconditioner(make, state, START) for make, state in zip((family, optax.adam), states, strict=True)
    )
    thresholds = [gdx.curvature_threshold(family, START), gdx.curvature_threshold(optax.adam)]
    ratio = thresholds[1] / thresholds[0]
    np.testing.assert_allclose(found["a"] / ratio, plain["a"] / 4, rtol=1e-6)
    np.testing.assert_allclose(found["b"] / ratio, plain["b"], rtol=1e-6)


def test_what_is_never_moved_has_no_curvature():
    def family(step_size):
        return optax.partition({"fast": optax.set_to_zero(), "slow": optax.adam(step_size)}, LABELS)

    gradient = jax.grad(bowl)(START)
    state = family(0.1).update(gradient, family(0.1).init(START), START)[1]
    divisor = gdx.preconditioner(family, state, START)
    assert np.all(np.isinf(divisor["a"]))
    assert np.all(np.isfinite(divisor["b"]))
    scale = 1 / np.sqrt(np.asarray(divisor["b"]).ravel())
    expected = np.linalg.eigvalsh(scale[:, None] * HESSIAN[2:, 2:] * scale).max()
    np.testing.assert_allclose(gdx.sharpness(bowl, START, preconditioner=divisor).value, expected, rtol=1e-9)


def test_where_parameters_differ_one_number_is_refused_with_where_to_go():
    with pytest.raises(ValueError, match=r"^family: it treats some .* as params="):
        gdx.curvature_threshold(lambda s: optax.adamw(s, mask=lambda p: jax.tree.map(lambda x: jnp.ndim(x) > 1, p)))
    with pytest.raises(ValueError, match=r"^family: on a few numbers .* as params="):
        gdx.curvature_threshold(grouped)
    with pytest.raises(ValueError, match=r"^family: its step sizes .* gdx.edge_margin"):
        gdx.critical_step(grouped, 3.0, params=START)
    np.testing.assert_allclose(gdx.curvature_threshold(grouped, START), 3.6 / 4, rtol=1e-9)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        slow(lambda s: optax.partition({"fast": optax.sgd(s), "slow": optax.adam(s)}, LABELS), "another memory"),
        (lambda s: optax.partition({"fast": heavy(s), "slow": optax.sgd(s)}, LABELS), "another memory"),
        slow(lambda s: optax.masked(optax.sgd(s), {"a": True, "b": False}), "climbs the loss in some"),
        slow(
            lambda s: optax.chain(
                optax.ema(0.9, debias=False),
                optax.trace(0.9),
                optax.add_decayed_weights(0.1, mask={"a": True, "b": False}),
                optax.scale_by_learning_rate(s),
            ),
            "weight decay acts on some parameters only",
        ),
    ],
)
def test_groups_that_no_one_threshold_fits_are_refused(family, reason):
    with pytest.raises(ValueError, match=rf"^family: [^\n]*{reason}[^\n]*$"):
        measure_response(family, START)


def test_a_step_size_that_the_state_carries_leaves_the_preconditioner_as_it_is():
    family = optax.inject_hyperparams(optax.adam)
    gradient = jax.grad(bowl)(START)
    divisors = []
    for make, step_size in ((optax.adam, 3e-3), (family, 0.5)):
        transformation = make(step_size)
        state = transformation.update(gradient, transformation.init(START), START)[1]
        divisors.append(ravel_pytree(gdx.preconditioner(make, state, START))[0])
    np.testing.assert_allclose(divisors[1], divisors[0], rtol=1e-5)


def test_of_all_numbers_in_a_state_the_step_size_alone_is_taken_for_it():
    family = optax.inject_hyperparams(optax.adamw)
    carried = family(1.0).init(START), parities.carriers(family, START)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(carried[0])]
    found = [name for name, one in zip(names, carried[1], strict=True) if one is not None]
    assert found == [".hyperparams['learning_rate']"]


def test_a_step_size_that_is_changed_in_the_state_is_the_one_of_the_margin():
    watched = gdx.edge_margin(optax.inject_hyperparams(optax.sgd), 0.01, bowl)
    state = watched.init(START)
    state.inner.hyperparams["learning_rate"] = jnp.asarray(0.03)
    updates, state = watched.update(START, state, START)
    np.testing.assert_allclose(updates["a"], -0.03 * START["a"], rtol=1e-9)
    np.testing.assert_allclose(state.margin, 0.03 * np.linalg.eigvalsh(HESSIAN)[-1] / 2, rtol=1e-3)


@pytest.mark.slow
def test_a_schedule_moves_the_step_size_that_a_state_carries():
    schedule = optax.linear_schedule(0.01, 0.03, 1)
    watched = gdx.edge_margin(optax.inject_hyperparams(optax.sgd), schedule, bowl)
    state = watched.init(START)
    for step_size in (0.01, 0.03):
        updates, state = watched.update(START, state, START)
        np.testing.assert_allclose(updates["a"], -step_size * START["a"], rtol=1e-6)
