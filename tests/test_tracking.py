"""The largest eigenpair, followed by single products."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdx.curvature.lanczos import largest_eigenpairs
from gdx.curvature.tracking import FIRST_PRODUCTS, FIRST_RTOL, SHAKE, Followed, follow
from gdx.trees import few_leaves, from_few_leaves


def symmetric(values, seed=0):
    """A matrix with these eigenvalues and random eigenvectors."""
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    return jnp.asarray((basis * np.asarray(values, float)) @ basis.T)


def nothing(size):
    return Followed(jnp.asarray(jnp.nan), jnp.zeros(size), jnp.zeros(size), jnp.asarray(jnp.nan), jnp.asarray(jnp.nan))


@jax.jit
def look(matrix, old, refreshes):
    return follow(lambda vector: matrix @ vector, lambda vector: vector @ matrix @ vector, old, jnp.asarray(refreshes))


SPECTRA = {
    "one number": [3.0],
    "two": [1.0, -5.0],
    "all negative": [-1.0, -2.0, -3.0, -4.0, -5.0],
    "copies of the top": [2.0, 2.0, 2.0, 0.5, 0.1],
    "graded": np.geomspace(1e-4, 1e4, 40),
    "huge": 1e30 * np.linspace(-1, 1, 20),
    "tiny": 1e-30 * np.linspace(-1, 1, 20),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_a_first_look_finds_the_largest_eigenvalue_to_its_tolerance(name):
    values = np.asarray(SPECTRA[name])
    found = look(symmetric(values), nothing(len(values)), False)
    np.testing.assert_allclose(found.value, values.max(), atol=FIRST_RTOL * abs(values.max()))
    assert found.value <= values.max() + 1e-12 * np.abs(values).max()
    np.testing.assert_allclose(jnp.linalg.norm(found.vector), 1, rtol=1e-12)


@pytest.mark.parametrize("size", [30, 300])
def test_in_float32_rounding_carries_no_value_above_the_largest_eigenvalue(size):
    matrix, start = symmetric(np.linspace(-1, 1, size)), nothing(size)
    matrix, start = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (matrix, start))
    found = look(matrix, start, False)
    assert 0.99 < found.value < 1 + 1e-6
    np.testing.assert_allclose(found.vector @ matrix @ found.vector, found.value, rtol=1e-5)


def test_vectors_may_be_pytrees_and_are_looked_at_as_one():
    values = np.linspace(-1, 1, 60)
    parts = {"few": jnp.asarray(values[:7]), "many": jnp.asarray(values[7:].reshape(1, 53))}

    def product(vector):
        return jax.tree.map(jnp.multiply, parts, vector)

    zeros, number = jax.tree.map(jnp.zeros_like, parts), jnp.asarray(jnp.nan)
    start = Followed(number, zeros, zeros, number, number)
    found = follow(product, lambda vector: optax.tree.vdot(vector, product(vector)), start, jnp.zeros((), bool))
    flat = look(jnp.diag(values), nothing(60), False)
    np.testing.assert_allclose(found.value, flat.value, rtol=1e-12)
    np.testing.assert_allclose(found.vector["many"].ravel(), flat.vector[7:], atol=1e-12)


def test_value_residual_and_vector_belong_together():
    matrix = symmetric(np.linspace(0, 1, 200))
    found = look(matrix, nothing(200), False)
    rest = matrix @ found.vector - found.value * found.vector
    np.testing.assert_allclose(jnp.linalg.norm(rest), found.residual, rtol=1e-6)
    np.testing.assert_allclose(found.vector @ matrix @ found.vector, found.value, rtol=1e-12)


def test_a_first_look_comes_as_near_as_lanczos_with_all_its_vectors():
    # Nothing stands clear of the rest, so that neither converges.
    values = jnp.linspace(-1, 1, 100_000) ** 3
    found = follow(lambda v: values * v, lambda v: jnp.vdot(v, values * v), nothing(100_000), jnp.zeros((), bool))
    best = largest_eigenpairs(
        lambda v: values * v, jnp.zeros(100_000), jax.random.key(0), k=1, num_iters=FIRST_PRODUCTS, rtol=FIRST_RTOL
    )
    assert 1 - found.value < 1.2 * (1 - best.values[0])


def test_of_a_matrix_that_stays_the_looks_climb_to_the_top():
    matrix, found = symmetric(np.linspace(-1, 1, 30)), nothing(30)
    seen = []
    for turn in range(120):
        found = look(matrix, found, turn % 2 == 1 or not jnp.any(found.direction))
        seen.append(float(found.told))
    # Up to what the vector keeps of the shakes that it gets now and then.
    assert np.all(np.diff(seen) > -(SHAKE**2))
    np.testing.assert_allclose(seen[-1], 1.0, rtol=SHAKE**2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("size", [4, 1000])
@pytest.mark.parametrize("num_before", [20, 300])
def test_curvature_that_rises_where_the_vector_has_no_share_is_seen(dtype, size, num_before):
    # Two models in one loss: long after all that is left of one is rounding, its curvature rises tenfold.
    calm = np.random.default_rng(size).uniform(-0.5, 0.5, size)
    calm[0], calm[-1] = 1.0, 0.4
    steep = np.where(np.arange(size) == size - 1, 10.0, calm)
    seen = []

    @jax.jit
    def once(values, found, refreshes):
        return follow(lambda v: values * v, lambda v: jnp.vdot(v, values * v), found, refreshes)

    found = jax.tree.map(lambda leaf: leaf.astype(dtype), nothing(size))
    for values in [calm] * num_before + [steep] * 20:
        refreshes = jnp.asarray(len(seen) % 2 == 1) | ~jnp.any(found.direction)
        found = once(jnp.asarray(values, dtype), found, refreshes)
        seen.append(float(found.told))
    np.testing.assert_allclose(seen[num_before - 1], 1.0, rtol=SHAKE**2)
    np.testing.assert_allclose(seen[-1], 10.0, rtol=1e-3)


def test_a_top_that_has_moved_far_is_searched_for_anew():
    up, down = jnp.diag(jnp.asarray([9.0, 1.0, 0.5, 0.2])), jnp.diag(jnp.asarray([0.1, 1.0, 0.5, 8.0]))
    found = look(up, nothing(4), False)
    found = look(down, found, True)
    np.testing.assert_allclose(found.value, 8.0, rtol=FIRST_RTOL)
    # What was found on the way says nothing of the next matrix.
    assert not np.any(found.direction)


def test_under_vmap_no_product_is_made_where_none_is_due():
    products = []

    def lane(is_due):
        def product(vector):
            jax.debug.callback(lambda: products.append(1))
            return 2 * vector

        return follow(product, lambda v: 2 * v @ v, nothing(3), jnp.zeros((), bool), is_due)

    looked = jax.jit(jax.vmap(lane))
    for dues, expected in (([False, False], 0), ([False, True], 1)):
        products.clear()
        found = looked(jnp.asarray(dues))
        jax.effects_barrier()
        assert bool(products) == bool(expected)
        np.testing.assert_array_equal(np.isnan(found.value), ~np.asarray(dues))


def test_few_leaves_come_back_as_they_were():
    rng = np.random.default_rng(0)
    tree = {
        "large": jnp.asarray(rng.normal(size=(200, 300)), jnp.float32),
        "small": [jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(), jnp.float32)],
        "wide": jnp.asarray(rng.normal(size=40_000)),
    }
    few = few_leaves(tree)
    assert [leaf.shape for leaf in few] == [(4,), (200, 300), (40_000,)]
    assert {leaf.dtype for leaf in few} == {jnp.dtype(jnp.float64)}
    chex.assert_trees_all_equal(from_few_leaves(few, tree), tree)
    chex.assert_trees_all_equal_dtypes(from_few_leaves(few, tree), tree)
    only_large = {"one": jnp.ones(40_000)}
    chex.assert_trees_all_equal(from_few_leaves(few_leaves(only_large), only_large), only_large)
