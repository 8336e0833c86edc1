"""Programs take the form that XLA is fast at on a CPU, and stay what they are."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys
from jax import lax
from jax.extend import core

import gdx
from gdx.rewriting import holds_convolution, suited_to_cpu

IMAGES = jax.random.normal(jax.random.key(1), (12, 6, 6, 2))
LABELS = jnp.arange(12) % 3


def convolutional_net(layout="NHWC"):
    """Two layers, the second of them strided, on noise."""

    def convolve(x, w, stride):
        x = jnp.moveaxis(x, 3, layout.index("C"))
        y = lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=(layout, "HWIO", layout))
        return jnp.moveaxis(y, layout.index("C"), 3)

    def loss(params):
        hidden = jax.nn.relu(convolve(IMAGES, params["first"], 1))
        hidden = jnp.tanh(convolve(hidden, params["second"], 2))
        logits = hidden.reshape(12, -1) @ params["last"]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, LABELS))

    def init(key):
        first, second, last = jax.random.split(key, 3)
        return {
            "first": 0.5 * jax.random.normal(first, (3, 3, 2, 3)),
            "second": 0.5 * jax.random.normal(second, (3, 3, 3, 4)),
            "last": 0.2 * jax.random.normal(last, (36, 3)),
        }

    return gdx.problem(init, loss)


def random_convolution(rng):
    """A convolution of one to three dimensions, in any layout, with whatever strides, padding, dilation and groups."""
    num_spatial = rng.integers(1, 4)
    groups = dict.fromkeys(("feature_group_count", "batch_group_count"), 1)
    groups[rng.choice(list(groups))] = int(rng.integers(1, 4))
    features, batches = groups.values()
    spatial = "DHW"[:num_spatial]
    layouts = ["".join(rng.permutation(list(letters + spatial))) for letters in ("NC", "OI", "NC")]
    reach = rng.integers(1, 4, num_spatial)
    sizes = {
        **{"N": batches * int(rng.integers(1, 4)), "I": int(rng.integers(1, 4))},
        "O": features * batches * int(rng.integers(1, 3)),
    }
    sizes["C"] = features * sizes["I"]
    images = sizes | dict(zip(spatial, rng.integers(6, 9, num_spatial).tolist(), strict=True))
    filters = sizes | dict(zip(spatial, reach.tolist(), strict=True))
    settings = {
        "window_strides": rng.integers(1, 4, num_spatial).tolist(),
        "padding": [tuple(pair) for pair in rng.integers(-1, 4, (num_spatial, 2)).tolist()],
        "lhs_dilation": rng.integers(1, 3, num_spatial).tolist(),
        "rhs_dilation": rng.integers(1, 3, num_spatial).tolist(),
        "dimension_numbers": tuple(layouts),
        **groups,
    }
    shapes = [tuple(images[letter] for letter in layouts[0]), tuple(filters[letter] for letter in layouts[1])]
    return functools.partial(lax.conv_general_dilated, **settings), shapes


def with_gradients(convolve):
    """A convolution and its gradients by both arguments, against some direction."""

    def all_three(x, w):
        y, pull = jax.vjp(convolve, x, w)
        return y, pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return all_three


def layouts_in_loops(function, *args):
    """Layouts of the convolutions that XLA compiles for a function, as it writes them."""
    text = jax.jit(function).lower(*args).compile().as_text()
    return re.findall(r"dim_labels=(\S+?),", text)


def check_against_plain(seeds):
    found, arguments = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        convolve, shapes = random_convolution(rng)
        found.append(with_gradients(convolve))
        arguments.append([jnp.asarray(rng.normal(size=shape)) for shape in shapes])

    @jax.jit
    def both(arguments):
        plain = [function(*args) for function, args in zip(found, arguments, strict=True)]
        return plain, [suited_to_cpu(function)(*args) for function, args in zip(found, arguments, strict=True)]

    plain, fast = both(arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), plain, fast)


def test_convolutions_and_their_gradients_are_what_they_were():
    check_against_plain(range(6))


@pytest.mark.slow
def test_many_convolutions_and_their_gradients_are_what_they_were():
    check_against_plain(range(6, 60))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_a_narrow_convolution_keeps_its_dtype_and_its_values(dtype):
    convolve = functools.partial(
        lax.conv_general_dilated, window_strides=(1, 2), padding="SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    x, w = jax.random.normal(jax.random.key(0), (3, 2, 6, 6), dtype), jnp.ones((4, 2, 3, 3), dtype)
    plain, fast = jax.jit(lambda x, w: (convolve(x, w), suited_to_cpu(convolve)(x, w)))(x, w)
    assert fast.dtype == plain.dtype == dtype
    np.testing.assert_allclose(np.asarray(fast, float), np.asarray(plain, float), rtol=4 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_loop_of_a_step_holds_convolutions_of_one_layout_alone(layout):
    problem = convolutional_net(layout)
    step = gdx.train_step(problem, optax.sgd)

    def loop(update):
        return lambda state: jax.lax.scan(lambda state, _: update(state), state, length=3)[1].loss

    def plain(state):
        gradient = jax.grad(lambda params: problem.loss(params, (), None)[0])(state.params)
        params = jax.tree.map(lambda w, g: w - 0.1 * g, state.params, gradient)
        return state._replace(params=params), step.update(state)[1]

    state = step.init(0.1, keys(1)[0])
    assert set(layouts_in_loops(loop(step.update), state)) == {"b01f_01io->b01f"}
    assert len(set(layouts_in_loops(loop(plain), state))) > 1
    assert holds_convolution(jax.make_jaxpr(loop(step.update))(state))


def test_rules_of_a_callers_own_survive_beside_a_convolution():
    @jax.custom_jvp
    def clipped(x):
        return jnp.minimum(lax.conv(x, jnp.ones((1, 1, 1)), (1,), "SAME"), 1.0)

    clipped.defjvp(lambda primals, tangents: (clipped(*primals), 7.0 * tangents[0]))
    x = jnp.full((1, 1, 4), 3.0)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(suited_to_cpu(clipped)(x))))(x)
    np.testing.assert_array_equal(slope, 7.0 * jnp.ones_like(x))


def draws(key):
    """Draws of several kinds in several shapes, some of them in a loop."""
    first, second = jax.random.split(key)
    loop = jax.lax.map(lambda key: jax.random.uniform(key, (2, 3, 2)), jax.random.split(second, 2))
    return jax.random.normal(first, (3, 3, 2)), jax.random.bits(second, (5, 2), "uint8"), jax.random.normal(first), loop


def shapes_drawn(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "random_bits":
            yield equation.params["shape"]
        for part in core.jaxprs_in_params(equation.params):
            yield from shapes_drawn(part)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_draws_are_the_same_bits_in_one_row(impl):
    key = jax.random.key(3, impl=impl)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(draws)(key), jax.jit(suited_to_cpu(draws))(key))
    longest = max(len(shape) for shape in shapes_drawn(jax.make_jaxpr(suited_to_cpu(draws))(key).jaxpr))
    assert longest == (1 if impl == "threefry2x32" else 3)


def test_draws_side_by_side_are_those_of_each_key_alone():
    many = jax.random.split(jax.random.key(0), 3)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(jax.vmap(draws))(many), jax.vmap(suited_to_cpu(draws))(many))


STEP_SIZES = np.array([0.03, 1e6, 0.3, 1e30, 0.1])


@pytest.fixture(scope="module")
def run():
    return gdx.sweep(convolutional_net(), optax.sgd, num_steps=40, tail=16, workers=1)


def test_a_convolutional_sweep_is_a_plain_loop_over_optax(run):
    problem = convolutional_net()

    @jax.jit
    def step(params, step_size):
        loss, gradient = jax.value_and_grad(lambda params: problem.loss(params, (), None)[0])(params)
        family = optax.sgd(step_size)
        updates, _ = family.update(gradient, family.init(params), params)
        return optax.apply_updates(params, updates), loss

    runs = run(STEP_SIZES, keys(2))
    assert run.slots == 1
    for row in (0, 2):
        for column, key in enumerate(keys(2)):
            params, _ = problem.init(key)
            for _ in range(40):
                params, loss = step(params, STEP_SIZES[row])
            np.testing.assert_allclose(runs.last_loss[row, column], loss, rtol=1e-9)


def test_neither_workers_nor_neighbours_change_a_bit_of_a_convolutional_run(run):
    usual = run(STEP_SIZES, keys(2))
    backwards = run(STEP_SIZES[::-1], keys(2))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[::-1]), usual, backwards)
    calm = run(STEP_SIZES[[0, 2]], keys(2))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[[0, 2]], b), usual, calm)
    run.workers = 3
    jax.tree.map(np.testing.assert_array_equal, usual, run(STEP_SIZES, keys(2)))


def test_a_program_with_a_linear_solve_beside_a_convolution_is_rewritten():
    def loss(w):
        x = jnp.ones((2, 4, 4, 1))
        out = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.mean((out - 1.0) ** 2)

    problem = gdx.problem(lambda key: 0.1 * jax.random.normal(key, (3, 3, 1, 1)), loss)
    key = jax.random.split(jax.random.key(0), 1)
    runs = gdx.sweep(problem, gdx.optimizers.newton_cg, num_steps=2)([0.5], key)
    assert runs.best_loss[0, 0] < 0.5 * runs.first_loss[0, 0]
