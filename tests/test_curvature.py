import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdx
from gdx.curvature import EigenStatus, sharpness, top_eigenpairs

pytestmark = pytest.mark.usefixtures("quick_compilation")
KINDS = ["positive", "indefinite", "negative", "degenerate", "rank one", "zero"]


def matrix_of(kind, size):
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
    return (basis * eigenvalues) @ basis.T


def quadratic(matrix):
    return lambda w: 0.5 * w["x"] @ matrix @ w["x"]


def at_ones(matrix):
    return {"x": jnp.ones(len(matrix), matrix.dtype)}


@functools.partial(jax.jit, static_argnames=("which", "num_iters"))
def sharpness_of(matrix, rtol=1e-12, **options):
    """Compiled once a size, for every matrix."""
    return sharpness(quadratic(matrix), at_ones(matrix), rtol=rtol, **options)


@functools.partial(jax.jit, static_argnums=1)
def top_of(matrix, k):
    return top_eigenpairs(quadratic(matrix), at_ones(matrix), k, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 60])
def test_sharpness_equals_the_dense_eigenvalue(kind, size):
    matrix = jnp.asarray(matrix_of(kind, size))
    found = sharpness_of(matrix)
    np.testing.assert_allclose(found.value, np.linalg.eigvalsh(matrix)[-1], rtol=1e-8, atol=1e-12)
    assert found.status == EigenStatus.CONVERGED
    assert found.num_products <= min(size, 64)
    np.testing.assert_allclose(np.linalg.norm(found.vector["x"]), 1.0, rtol=1e-12)
    error = matrix @ found.vector["x"] - found.value * found.vector["x"]
    np.testing.assert_allclose(np.linalg.norm(error), found.residual, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_restarts_reach_both_ends_of_the_spectrum(kind, which):
    matrix = jnp.asarray(matrix_of(kind, 90))
    found = sharpness_of(matrix, which=which)
    expected = np.linalg.eigvalsh(matrix)[-1 if which == "largest" else 0]
    np.testing.assert_allclose(found.value, expected, rtol=1e-8, atol=1e-12)
    error = matrix @ found.vector["x"] - found.value * found.vector["x"]
    np.testing.assert_allclose(np.linalg.norm(error), found.residual, atol=1e-10)
    assert found.status == EigenStatus.CONVERGED


def test_a_large_random_matrix_is_no_different():
    half = np.random.default_rng(0).normal(size=(300, 300))
    found = sharpness_of(jnp.asarray(half + half.T))
    np.testing.assert_allclose(found.value, np.linalg.eigvalsh(half + half.T)[-1], rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "k"), [(6, 6), (90, 3)])
def test_top_eigenpairs_hold_repeated_eigenvalues_as_often_as_they_occur(kind, size, k):
    matrix = jnp.asarray(matrix_of(kind, size))
    found = jax.tree.map(np.asarray, top_of(matrix, k))
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(matrix)[::-1][:k], rtol=1e-8, atol=1e-12)
    vectors = found.vectors["x"]
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-12)
    errors = np.linalg.norm(vectors @ matrix - found.values[:, None] * vectors, axis=1)
    assert np.all(errors <= found.residuals + 1e-13)
    assert found.status == EigenStatus.CONVERGED


TOPS = [
    [3.0, 3.0, 2.9],
    [3.0, 3.0, 3.0, 2.9],
    [3.0, 2.9, 2.9, 2.9, 2.9, 2.9],
    [3.0, 3.0, 3.0, 3.0, 3.0],
    [3.0, 3.0 - 1e-10, 2.9],
    [3.0, 3.0 - 1e-4, 3.0 - 2e-4, 3.0 - 3e-4],
]


def crowded(top, size=90):
    """A matrix whose largest eigenvalues stand just above a dense crowd."""
    eigenvalues = np.concatenate([top, np.random.default_rng(0).uniform(-1, 2.85, size - len(top))])
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(size, size)))[0]
    return (basis * eigenvalues) @ basis.T


@pytest.mark.parametrize("top", TOPS)
def test_eigenvalues_repeated_just_above_all_others_are_found_as_often_as_they_occur(top):
    found = top_of(jnp.asarray(crowded(top)), 3)
    np.testing.assert_allclose(found.values, top[:3], rtol=1e-10)
    assert found.status == EigenStatus.CONVERGED


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize("size", [65, 300, 2000])
def test_no_eigenvalue_is_missed_whatever_the_spectrum_and_the_draw(size, k, dtype):
    rtol = 1e-5 if dtype == jnp.float32 else 1e-7

    @jax.jit
    def run(eigenvalues, key):
        normals = jax.random.normal(key, (2, size), dtype)

        def loss(x):
            # Two reflections: a full matrix at the price of a diagonal one.
            for normal in normals:
                x = x - 2 * normal * (normal @ x) / (normal @ normal)
            return 0.5 * jnp.sum(eigenvalues * x**2)

        return top_eigenpairs(loss, jnp.ones_like(eigenvalues), k, rtol=rtol, key=jax.random.fold_in(key, 1))

    for seed, top in enumerate([*TOPS, [3.0] * 12, [4.0, 4.0, 3.0, 3.0]]):
        rng = np.random.default_rng(seed)
        eigenvalues = np.sort(np.concatenate([top, rng.uniform(-1, 2.85, size - len(top))]))[::-1]
        found = run(jnp.asarray(eigenvalues, dtype), jax.random.key(seed))
        np.testing.assert_allclose(found.values, eigenvalues[:k], rtol=2 * rtol)
        # In the midst of a crowd the products may run out before it is sure that nothing is missing.
        in_the_open = {EigenStatus.CONVERGED}
        assert int(found.status) in in_the_open | ({EigenStatus.UNCONFIRMED} if k >= len(top) else set())


def test_pairs_that_may_not_be_all_are_said_to_be_unconfirmed():
    matrix = jnp.asarray(crowded([9.0, 9.0, 8.0, 7.0]))
    run = jax.jit(
        lambda m, num_iters: top_eigenpairs(quadratic(m), at_ones(m), 3, rtol=1e-6, num_iters=num_iters),
        static_argnums=1,
    )
    found = run(matrix, 16)
    np.testing.assert_allclose(found.values, [9, 8, 7], rtol=1e-6)
    assert found.status == EigenStatus.UNCONFIRMED
    found = run(matrix, 90)
    np.testing.assert_allclose(found.values, [9, 9, 8], rtol=1e-6)
    assert found.status == EigenStatus.CONVERGED


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_float32_reaches_its_own_rounding_at_every_scale(scale):
    matrix = jnp.asarray(scale * matrix_of("indefinite", 90), jnp.float32)
    found = sharpness_of(matrix, rtol=0.0)
    eigenvalues = np.linalg.eigvalsh(np.asarray(matrix, float))
    assert found.value.dtype == jnp.float32
    assert found.status == EigenStatus.CONVERGED
    # Elsewhere sums are taken in another order: what n of them may lose at most is n units of rounding.
    rounding = 1e-6 if jax.default_backend() == "cpu" else 90 * float(jnp.finfo(jnp.float32).eps) / 2
    assert abs(found.value - eigenvalues[-1]) < rounding * np.abs(eigenvalues).max()


def test_a_start_on_a_smaller_eigenvalue_is_no_trap_and_a_good_one_saves_products():
    matrix = matrix_of("indefinite", 90)
    eigenvalues, vectors = np.linalg.eigh(matrix)
    warm = jax.jit(lambda m, start: sharpness(quadratic(m), at_ones(m), start={"x": start}, rtol=1e-4))
    for column in (0, 45, 88):
        found = warm(jnp.asarray(matrix), jnp.asarray(vectors[:, column]))
        np.testing.assert_allclose(found.value, eigenvalues[-1], rtol=1e-6)
    cold = sharpness_of(jnp.asarray(matrix), rtol=1e-4)
    assert warm(jnp.asarray(matrix), jnp.asarray(vectors[:, -1])).num_products < cold.num_products


def test_a_preconditioner_divides_the_hessian_on_both_sides():
    matrix = jnp.asarray(matrix_of("positive", 7))
    diagonal = jnp.linspace(0.01, 4.0, 7)
    scale = np.asarray(diagonal) ** -0.5
    dense = scale[:, None] * np.asarray(matrix) * scale

    def loss(w):
        joined = jnp.concatenate([w["a"], w["b"][0]])
        return 0.5 * joined @ matrix @ joined

    def shaped(x):
        return {"a": x[:3], "b": [x[3:]]}

    run = jax.jit(lambda d: sharpness(loss, shaped(jnp.ones(7)), preconditioner=shaped(d), rtol=1e-12))
    found = run(diagonal)
    np.testing.assert_allclose(found.value, np.linalg.eigvalsh(dense)[-1], rtol=1e-10)
    vector = np.concatenate([found.vector["a"], found.vector["b"][0]])
    np.testing.assert_allclose(dense @ vector, found.value * vector, atol=1e-9)
    quarter = run(jnp.full(7, 4.0))
    np.testing.assert_allclose(quarter.value, np.linalg.eigvalsh(matrix)[-1] / 4, rtol=1e-10)


def test_a_number_is_a_preconditioner():
    found = jax.jit(lambda p: sharpness(lambda w: 8.0 * jnp.sum(w["a"] ** 2), {"a": jnp.ones(2)}, preconditioner=p))(
        4.0
    )
    np.testing.assert_allclose(found.value, 4.0, rtol=1e-12)


def test_leaves_of_mixed_and_narrow_dtypes_are_computed_in_float32_at_least():
    params = {"a": jnp.ones((2, 2), jnp.bfloat16), "b": (jnp.asarray(2.0), jnp.ones(1, jnp.float32))}

    def loss(w):
        return 0.5 * (3 * jnp.sum(w["a"] ** 2) + w["b"][0] ** 4 + jnp.sum(w["b"][1] ** 2))

    found = jax.jit(lambda params: sharpness(loss, params))(params)
    np.testing.assert_allclose(found.value, 24.0, rtol=1e-6)
    assert jax.tree.structure(found.vector) == jax.tree.structure(params)
    assert found.vector["a"].dtype == jnp.float32
    product = jax.jit(lambda params: gdx.hvp(loss, params, jax.tree.map(jnp.ones_like, params)))(params)
    np.testing.assert_allclose(product["a"], np.full((2, 2), 3.0), rtol=1e-6)


def batched_loss(w, batch):
    return jnp.mean(jnp.sum(jnp.sin(batch["x"] @ w) ** 2)) + 0.0 * jnp.sum(batch["y"])


@pytest.fixture(scope="module")
def batches():
    return {"x": jax.random.normal(jax.random.key(0), (6, 5, 4)), "y": jnp.ones(6)}


def test_batches_mean_the_average_of_their_losses(batches):
    w, vector = jnp.linspace(-1, 1, 4), jnp.linspace(0, 1, 4)

    def whole(w):
        return jnp.mean(jax.vmap(lambda batch: batched_loss(w, batch))(batches))

    dense = jax.jit(jax.hessian(whole))(w)
    product = jax.jit(lambda b: gdx.hvp(batched_loss, w, vector, batches=b))(batches)
    np.testing.assert_allclose(product, dense @ vector, rtol=1e-12)
    found = jax.jit(lambda b: top_eigenpairs(batched_loss, w, 2, batches=b))(batches)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(dense)[::-1][:2], rtol=1e-10)


def test_many_batches_need_the_memory_of_one():
    def temporary_bytes(num_batches):
        shape = jax.ShapeDtypeStruct((num_batches, 4096, 4), float)
        weights = jax.ShapeDtypeStruct((4, 64), float)

        def product(w, x):
            return gdx.hvp(lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2), w, jnp.ones_like(w), batches=x)

        return jax.jit(product).lower(weights, shape).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(64) < 1.5 * temporary_bytes(2)


def test_memory_is_some_forty_vectors():
    size = 100_000

    def loss(w):
        return jnp.sum(jnp.cos(w))

    compiled = jax.jit(lambda w: sharpness(loss, w).value).lower(jax.ShapeDtypeStruct((size,), jnp.float32)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 45 * 4 * size


def test_sharpness_vmaps_over_parameters_and_over_the_loss():
    points, scales = jnp.asarray([0.3, 1.0, 2.0, jnp.nan]), jnp.asarray([1.0, jnp.inf, 0.0, 1.0])

    def of_both(w, scale):
        return sharpness(lambda w: scale * 0.25 * jnp.sum((w["x"] ** 2 - 1) ** 2), {"x": w})

    found = jax.jit(jax.vmap(of_both))(points, scales)
    np.testing.assert_allclose(found.value, [3 * 0.3**2 - 1, np.nan, 0.0, np.nan], rtol=1e-12)
    assert found.status.dtype == jnp.int8
    S = EigenStatus
    assert found.status.tolist() == [S.CONVERGED, S.NONFINITE, S.CONVERGED, S.NONFINITE]


def test_a_hessian_vector_product_is_a_column_of_the_dense_hessian():
    def loss(w):
        return jnp.sum(jnp.sin(w)) * jnp.prod(w)

    params, direction = jnp.asarray([0.3, -1.2, 2.0]), jnp.asarray([0.0, 1.0, 0.0])
    column = jax.jit(jax.hessian(loss))(params)[:, 1]
    np.testing.assert_allclose(jax.jit(functools.partial(gdx.hvp, loss))(params, direction), column, rtol=1e-12)


def test_too_few_products_are_said():
    found = sharpness_of(jnp.asarray(matrix_of("indefinite", 40)), num_iters=5)
    assert (found.num_products, found.status) == (5, EigenStatus.NOT_CONVERGED)
    assert found.residual > 1e-3


def test_more_products_than_parameters_are_clamped_and_said():
    with pytest.warns(UserWarning, match="num_iters: 10 is above the number of parameters, 2;"):
        jax.eval_shape(lambda w: sharpness(lambda w: w @ w, w, num_iters=10), jnp.ones(2))


def test_products_that_are_not_finite_are_a_status_where_they_are_traced():
    found = sharpness_of(jnp.full((7, 7), jnp.nan))
    assert np.isnan(found.value)
    assert found.status == EigenStatus.NONFINITE


@jax.custom_vjp
def squared(x):
    return x**2


@jax.custom_vjp
def squared_by_rule(x):
    return x**2


squared.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))
squared_by_rule.defvjp(lambda x: (x**2, x), lambda x, g: (2 * g * squared(x) / x,))


def loss_of_rule(w):
    return jnp.sum(squared_by_rule(w))


@pytest.mark.parametrize("transform", [lambda function: function, jax.jit])
def test_a_loss_that_refuses_forward_mode_is_told_the_way_out(transform):
    with pytest.raises(ValueError, match=r"loss: it cannot be differentiated twice .* one_step_edge"):
        transform(lambda w: sharpness(loss_of_rule, w))(jnp.ones(2))
    with pytest.raises(ValueError, match=r"loss: it cannot be differentiated twice .* one_step_edge"):
        transform(lambda w: gdx.hvp(loss_of_rule, w, w))(jnp.ones(2))


def test_a_custom_derivative_that_can_be_differentiated_is_not_refused():
    np.testing.assert_allclose(gdx.hvp(lambda w: jnp.sum(squared(w)), jnp.ones(2), jnp.ones(2)), [2.0, 2.0])


W = np.ones(3)


def square(w):
    return jnp.sum(jnp.asarray(jax.tree.leaves(w)[0]) ** 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sharpness(square, W * jnp.nan), "params: its leaf is not finite"),
        (lambda: sharpness(square, {}), "params: they hold no number"),
        (lambda: sharpness(square, jnp.zeros(0)), "params: they hold no number"),
        (lambda: sharpness(square, {"a": W, "n": jnp.arange(3)}), r"params: its leaf \['n'\] is int"),
        (lambda: sharpness(square, {"a": W, "f": square}), r"params: its leaf \['f'\] is function"),
        (lambda: sharpness(square, W + 1j), "params: its leaf is complex128"),
        (lambda: sharpness(lambda w: w, W), r"loss: it returns float64 of shape \(3,\)"),
        (lambda: sharpness(lambda w: (square(w), w), W), "loss: it returns PyTreeDef"),
        (lambda: sharpness(lambda w: 3, W), "loss: it returns int"),
        (lambda: sharpness(lambda w: jnp.sum(jnp.log(w)), -W), "loss: it is nan at params"),
        (lambda: gdx.hvp(lambda w: jnp.sum(jnp.sqrt(jnp.abs(w))), 0 * W, W), "second derivatives there are not finite"),
        (lambda: gdx.hvp(jnp.linalg.norm, 0 * W, W), "second derivatives there are not finite"),
        (lambda: gdx.hvp(square, W, jnp.ones(2)), r"vector: its leaf has shape \(2,\), the parameter's is \(3,\)"),
        (lambda: gdx.hvp(square, W, [W]), "vector: its structure"),
        (lambda: gdx.hvp(square, W, W * jnp.inf), "vector: its leaf is not finite"),
        (lambda: sharpness(square, W, num_iters=0), "num_iters: 0 is no whole number of at least 1"),
        (lambda: sharpness(square, W, num_iters=2.5), "num_iters: 2.5 is no whole number of at least"),
        (lambda: sharpness(square, W, rtol=1.0), r"rtol: 1.0 is outside \[0, 1\)"),
        (lambda: sharpness(square, W, rtol=float("nan")), "rtol: nan is outside"),
        (lambda: sharpness(square, W, which="top"), "which: 'top' is neither"),
        (lambda: sharpness(square, W, start=0 * W), "start: it is zero everywhere"),
        (lambda: sharpness(square, W, start={"x": W}), "start: its structure"),
        (lambda: sharpness(square, W, preconditioner=-1.0), "preconditioner: its smallest entry is -1.0"),
        (
            lambda: sharpness(square, W, preconditioner=np.asarray([1.0, 0.0, 1.0])),
            "preconditioner: its smallest entry is 0.0",
        ),
        (lambda: sharpness(square, W, preconditioner=jnp.ones(2)), "preconditioner: its leaf has shape"),
        (lambda: sharpness(square, W, preconditioner=[W]), "preconditioner: its structure"),
        (lambda: top_eigenpairs(square, W, 0), "k: 0 is no whole number of at least 1"),
        (lambda: top_eigenpairs(square, W, 4), "k: 4 is above the number of parameters, 3"),
        (lambda: top_eigenpairs(square, W, 2, num_iters=1), "num_iters: 1 is no whole number of at least 2"),
        (lambda: gdx.hvp(batched_loss, W, W, batches={}), "batches: the leading axes"),
        (lambda: gdx.hvp(batched_loss, W, W, batches=[jnp.ones(2), jnp.ones(3)]), r"batches: .* \[2, 3\]"),
        (lambda: gdx.hvp(batched_loss, W, W, batches=jnp.ones((0, 3))), r"batches: .* \[0\]"),
        (lambda: gdx.hvp(batched_loss, W, W, batches={"x": 1.0}), r"batches: its leaf \['x'\] has no leading axis"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
