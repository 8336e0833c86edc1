"""Optimizers whose answer depends on the step number, and what is no linear memory at all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx.responses import measure_response, parities

pytestmark = pytest.mark.usefixtures("quick_compilation")

heavy = functools.partial(optax.sgd, momentum=0.9)


def accumulated(family, num_steps, **keywords):
    return lambda step_size: optax.MultiSteps(family(step_size), num_steps, accumulator_dtype=jnp.float64, **keywords)


def cyclic(factors, family=optax.sgd):
    """Step sizes h f_0, h f_1, ... and again."""
    return lambda step_size: family(lambda count: step_size * jnp.asarray(factors)[count % len(factors)])


def restarted(num_steps, momentum=0.9):
    """Heavy ball that forgets every few steps."""

    def family(step_size):
        def init(params):
            return jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params)

        def update(gradient, state, params=None):
            count, trace = state
            kept = jnp.where(count % num_steps == 0, 0.0, momentum)
            trace = jax.tree.map(lambda m, g: kept * m + g, trace, gradient)
            return jax.tree.map(lambda m: -step_size * m, trace), (count + 1, trace)

        return optax.GradientTransformation(init, update)

    return family


def slow(*row):
    return pytest.param(*row, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("family", "threshold"),
    [
        (accumulated(optax.sgd, 4), 2.0),
        slow(accumulated(optax.sgd, 8), 2.0),
        slow(accumulated(heavy, 4), 3.8),
        slow(accumulated(heavy, 100), 3.8),
        slow(accumulated(optax.sgd, 3, use_grad_mean=False), 2 / 3),
        slow(accumulated(optax.adam, 4), 38.0),
        slow(lambda s: optax.apply_if_finite(optax.sgd(s), 3), 2.0),
    ],
)
def test_accumulated_gradients_have_the_threshold_of_the_optimizer_that_takes_them(family, threshold):
    np.testing.assert_allclose(gdx.curvature_threshold(family), threshold, rtol=1e-9)


def smallest_root_of_products(factors):
    """Smallest positive x at which the product of 1 - f x is 1 or -1: gradient descent on one curvature."""
    product = np.poly1d([1.0])
    for factor in factors:
        product *= np.poly1d([-factor, 1.0])
    roots = np.concatenate([(product - 1).roots, (product + 1).roots])
    return min(root.real for root in roots if abs(root.imag) < 1e-9 and root.real > 1e-9)


@pytest.mark.parametrize("factors", [(1.0, 3.0), slow((1.0, 2.0, 3.0)), slow((2.0, 0.1, 0.5, 0.1, 4.0))])
def test_cyclic_step_sizes_have_the_threshold_of_their_product(factors):
    np.testing.assert_allclose(gdx.curvature_threshold(cyclic(factors)), smallest_root_of_products(factors), rtol=1e-9)


def growth(family, step_size, num_steps):
    """Largest eigenvalue of the closed loop over so many steps on curvature 1."""
    transformation = gdx.responses.families.as_transformation(family(step_size))
    update, state = parities.update_of(transformation), transformation.init(jnp.zeros(()))
    leaves, structure = jax.tree.flatten(state)
    is_memory = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    @jax.jit
    @functools.partial(jax.vmap, out_axes=1)
    def moved(point):
        x, carried = point[0], iter(point[1:])
        state = structure.unflatten(
            [next(carried) if is_ else leaf for leaf, is_ in zip(leaves, is_memory, strict=True)]
        )
        for _ in range(num_steps):
            change, state = update(x, state, x)
            x = x + change
        return jnp.stack([x, *(leaf for leaf, is_ in zip(jax.tree.leaves(state), is_memory, strict=True) if is_)])

    return np.max(np.abs(np.linalg.eigvals(moved(jnp.eye(1 + sum(is_memory))))))


@pytest.mark.parametrize(
    ("family", "period"),
    [
        (restarted(5), 5),
        slow(restarted(2), 2),
        slow(cyclic((1.0, 3.0), functools.partial(optax.sgd, momentum=0.5)), 2),
        slow(cyclic(tuple(np.linspace(1, 4, 10)), functools.partial(optax.sgd, nesterov=True, momentum=0.7)), 10),
        slow(accumulated(cyclic((1.0, 3.0), heavy), 3), 6),
    ],
)
def test_a_threshold_of_a_period_is_where_the_map_over_it_begins_to_grow(family, period):
    edge = gdx.curvature_threshold(family)
    assert growth(family, (1 - 1e-6) * edge, period) < 1
    assert growth(family, (1 + 1e-6) * edge, period) > 1
    steps = np.linspace(0.02, 0.98, 25) * edge
    assert max(growth(family, step, period) for step in steps) < 1


@pytest.mark.slow
def test_a_hundred_step_sizes_are_one_cycle():
    factors = np.linspace(1, 4, 100)
    edge = gdx.curvature_threshold(cyclic(tuple(factors)))
    inside, outside = (abs(np.prod(1 - share * edge * factors)) for share in (1 - 1e-6, 1 + 1e-6))
    assert inside < 1 < outside


@pytest.mark.slow
def test_decay_in_an_accumulated_optimizer_is_solved_for():
    def family(step_size):
        decayed = optax.chain(optax.add_decayed_weights(0.5), optax.sgd(step_size))
        return optax.MultiSteps(decayed, 3, accumulator_dtype=jnp.float64)

    np.testing.assert_allclose(gdx.critical_step(family, 2.0), 2 / 2.5, rtol=1e-9)


def test_multi_steps_run_as_they_are_written():
    family, problem = accumulated(optax.sgd, 4), gdx.problems.quadratic((1.0, 3.0))
    runs = gdx.sweep(problem, family, num_steps=2_000)([0.6, 0.7], keys(1))
    assert gdx.verdicts(runs)[:, 0].tolist() == [gdx.Verdict.CONVERGED, gdx.Verdict.DIVERGED]


def own(update, num_memories=1):
    """A family of one array whose state is a few more of them: `update(step_size, gradient, params, *memories)`."""

    def family(step_size):
        def updated(gradient, state, params=None):
            change, *state = update(step_size, gradient, params, *state)
            return change, tuple(state)

        return optax.GradientTransformation(lambda params: (params,) * num_memories, updated)

    return family


def barzilai_borwein(step_size, gradient, params, last_params, last_gradient):
    moved, turned = params - last_params, gradient - last_gradient
    product = jnp.sum(moved * turned)
    length = jnp.where(product > 0, jnp.sum(moved**2) / jnp.where(product > 0, product, 1.0), 0.1)
    return -step_size * length * gradient, params, gradient


def secant_of_its_own_updates(step_size, gradient, params, moved, last_gradient):
    turned = gradient - last_gradient
    product = jnp.sum(moved * turned)
    length = jnp.where(product > 0, jnp.sum(moved**2) / jnp.where(product > 0, product, 1.0), 0.1)
    change = -step_size * length * gradient
    return change, change, gradient


def shaped(transform):
    return lambda step_size: optax.chain(
        optax.stateless(lambda updates, params: transform(updates)), optax.sgd(step_size)
    )


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (own(barzilai_borwein, 2), "depend on the parameters otherwise"),
        slow(own(secant_of_its_own_updates, 2), "not linear"),
        (lambda s: optax.rmsprop(s, decay=0.0), "sign descent"),
        slow(lambda s: optax.adam(s, b1=0.0, b2=0.0), "sign descent"),
        slow(shaped(lambda u: jnp.sign(u) * jnp.max(jnp.abs(u))), "not linear"),
        slow(shaped(lambda u: u - jnp.mean(u)), "couples parameters"),
        slow(shaped(lambda u: u / (1e-8 + jnp.linalg.norm(u))), "not linear"),
        slow(shaped(lambda u: jnp.clip(u, -1e5, 1e5)), "not linear"),
        slow(shaped(lambda u: jnp.where(jnp.abs(u) < 1e-5, 0.0, u)), "not linear"),
        slow(lambda s: optax.sgd(lambda count: jnp.where(count < 10_000, s, 2 * s)), "step number"),
        slow(cyclic(tuple(np.linspace(1, 4, 300))), "step number"),
        slow(lambda s: optax.contrib.schedule_free(optax.sgd(s), s), "step number"),
        slow(lambda s: optax.chain(optax.scale_by_trust_ratio(), optax.sgd(s)), "depend on the parameters otherwise"),
        slow(lambda s: optax.chain(optax.add_noise(0.01, 0.5, 0), optax.sgd(s)), "noise"),
    ],
)
def test_what_is_not_linear_and_periodic_in_the_gradients_is_refused(family, reason):
    with pytest.raises(ValueError, match=rf"^family: [^\n]*{reason}[^\n]*$"):
        measure_response(family)


def test_what_somebody_elses_code_says_is_told_in_one_sentence_with_its_cause():
    with pytest.raises(ValueError, match=r"^family: on a few numbers [^\n]*AttributeError[^\n]*$") as caught:
        gdx.curvature_threshold(lambda s: optax.lookahead(optax.sgd(s), 5, 0.5))
    assert isinstance(caught.value.__cause__, AttributeError)
