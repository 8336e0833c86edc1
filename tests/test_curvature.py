import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdx


@pytest.mark.parametrize("kind", ["positive", "indefinite", "negative", "degenerate", "rank one", "zero"])
@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_sharpness_equals_the_dense_eigenvalue(kind, size):
    rng = np.random.default_rng(size)
    eigenvalues = {
        "positive": rng.uniform(0.1, 3, size),
        "indefinite": rng.normal(size=size),
        "negative": -rng.uniform(0.1, 3, size),
        "degenerate": np.repeat([2.0, 0.5], [size - size // 2, size // 2]),
        "rank one": np.eye(1, size)[0] * 4.0,
        "zero": np.zeros(size),
    }[kind]
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = jnp.asarray(basis @ np.diag(eigenvalues) @ basis.T)
    found = jax.jit(lambda w: gdx.sharpness(lambda w: 0.5 * w["x"] @ matrix @ w["x"], w, rtol=1e-12))(
        {"x": jnp.ones(size)}
    )
    expected = np.linalg.eigvalsh(matrix)[-1]
    np.testing.assert_allclose(found.value, expected, rtol=1e-8, atol=1e-12)
    assert found.num_products <= min(size, 64)
    if kind != "zero":
        error = matrix @ found.vector["x"] - found.value * found.vector["x"]
        np.testing.assert_allclose(np.linalg.norm(error), found.residual, atol=1e-10)


def test_sharpness_vmaps_over_parameters():
    points = jnp.asarray([0.3, 1.0, 2.0])
    found = jax.vmap(lambda w: gdx.sharpness(lambda w: 0.25 * (w**2 - 1) ** 2, w).value)(points)
    np.testing.assert_allclose(found, 3 * points**2 - 1, rtol=1e-12)


def test_a_hessian_vector_product_is_a_column_of_the_dense_hessian():
    def loss(w):
        return jnp.sum(jnp.sin(w)) * jnp.prod(w)

    params, direction = jnp.asarray([0.3, -1.2, 2.0]), jnp.asarray([0.0, 1.0, 0.0])
    np.testing.assert_allclose(gdx.hvp(loss, params, direction), jax.hessian(loss)(params)[:, 1], rtol=1e-12)


def test_sharpness_without_iterations_is_refused():
    with pytest.raises(ValueError, match="num_iters: 0"):
        gdx.sharpness(lambda w: w**2, jnp.asarray(1.0), num_iters=0)
