import inspect
import re
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LAST_PARAMS, keys
from optax import contrib

import gdx

pytestmark = pytest.mark.usefixtures("quick_compilation")

CATALOGUE = gdx.optimizers.catalogue()
STEP_SIZES = np.geomspace(1e-3, 0.1, 16)
NUM_STEPS = 24
# Those of the everyday run: one of every group and kind of state. The others are slow tests, 2 seconds each.
EVERYDAY = (
    *("sgd", "nesterov-lookahead", "adam", "adagrad-textbook", "lion", "lamb", "prodigy", "goldstein", "newton-cg"),
    "block-coordinate-descent",
)
ALL = [pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.slow) for name in CATALOGUE]


def matrix_and_vector():
    """A quadratic of a matrix and a vector, since some methods treat the two differently."""
    curvatures = {"matrix": jnp.asarray([[1.0, 2.0, 0.5], [3.0, 1.5, 0.7]]), "vector": jnp.asarray([1.0, 4.0])}

    def init(key):
        return jax.tree.map(lambda leaf: jax.random.normal(key, leaf.shape), curvatures)

    def loss(params):
        return optax.tree.sum(jax.tree.map(lambda c, p: 0.5 * jnp.sum(c * p**2), curvatures, params))

    return gdx.problem(init, loss)


def plain_optax(problem, family, step_sizes, key):
    """What anybody would write: parameters before the last of the updates, one step size after the other."""

    @jax.jit
    @jax.vmap
    def init(step_size):
        params, _ = problem.init(key)
        return params, family(step_size).init(params)

    @jax.jit
    @jax.vmap
    def step(step_size, params, opt_state):
        def value_fn(params):
            return problem.loss(params, (), None)[0]

        value, grad = jax.value_and_grad(value_fn)(params)
        update = optax.with_extra_args_support(family(step_size)).update
        updates, opt_state = update(grad, opt_state, params, value=value, grad=grad, value_fn=value_fn)
        return optax.apply_updates(params, updates), opt_state

    params, opt_state = init(step_sizes)
    for _ in range(NUM_STEPS - 1):
        params, opt_state = step(step_sizes, params, opt_state)
    return params


@pytest.mark.parametrize("name", ALL)
def test_every_optimizer_sweeps_and_equals_a_plain_loop(name):
    problem, family, (key,) = matrix_and_vector(), gdx.optimizers.family(name), keys(1)
    run = gdx.sweep(problem, family, num_steps=NUM_STEPS, slots=16, facts=(), observers={"params": LAST_PARAMS})
    swept = jax.tree.map(lambda leaf: leaf[:, 0], run(STEP_SIZES, key[None]).observed["params"])
    expected = plain_optax(problem, family, jnp.asarray(STEP_SIZES), key)
    chex.assert_trees_all_close(swept, expected, rtol=1e-9, atol=1e-12)
    spread = np.ptp(np.asarray(expected["matrix"]), axis=0).max()
    if name not in ("damped-newton", "lbfgs"):
        assert spread > 0, "the step size changes nothing"


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_floating_hyperparameter_of_every_optimizer_may_be_traced(name):
    problem, entry = matrix_and_vector(), CATALOGUE[name]
    floating = {key: value for key, value in entry.defaults.items() if isinstance(value, float)}

    def step(step_size, values):
        one = gdx.train_step(problem, lambda h: entry.make(h["step_size"], **h["values"]))
        return one.update(one.init({"step_size": step_size, "values": values}, keys(1)[0]))[0].params

    traced = jax.tree.map(jnp.float64, floating)
    params = jax.eval_shape(step, jnp.float64(0.1), traced)
    chex.assert_trees_all_equal_shapes_and_dtypes(params, jax.eval_shape(problem.init, keys(1)[0])[0])


def test_everything_that_optax_ships_is_in_the_catalogue_or_says_why_not():
    def partial_of(make):
        return inspect.unwrap(getattr(make, "func", make))

    held = {partial_of(entry.make) for entry in CATALOGUE.values()}
    excused = {name.split(".")[-1] for name in gdx.optimizers.left_out()}
    for module in (optax, contrib):
        for name in dir(module):
            make = getattr(module, name)
            if not inspect.isfunction(make) or name.startswith("_") or name in excused:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parameters = list(inspect.signature(make).parameters)
            if parameters and parameters[0] in ("learning_rate", "max_learning_rate") and not name.startswith("scale_"):
                assert make in held, name


def test_an_entry_says_what_it_is_for_with_defaults_ranges_and_a_source():
    for name, entry in CATALOGUE.items():
        assert entry.line, name
        assert entry.source, name
        for hyperparameter in entry.hyperparameters.values():
            default = hyperparameter.default
            assert default is None or isinstance(default, bool) or hyperparameter.holds(default), (name, hyperparameter)
            assert hyperparameter.range
    assert CATALOGUE["adam"].hyperparameters["b1"].range == "[0, 1)"
    assert CATALOGUE["goldstein"].hyperparameters["c"].range == "(0, 0.5)"
    assert CATALOGUE["muon"].hyperparameters["ns_steps"].range == "whole, [1, inf)"


def described(entry):
    """Every number of an entry that its function describes, with the words."""
    text = inspect.getdoc(getattr(entry.make, "func", entry.make)) or ""
    for name, hyperparameter in entry.hyperparameters.items():
        found = re.search(rf"^\s+{name}: (.*(?:\n\s{{6,}}.*)*)", text, re.MULTILINE)
        if found and not isinstance(hyperparameter.default, bool):
            yield name, hyperparameter, " ".join(found.group(1).split())


def test_what_weighs_the_past_against_the_present_is_below_1():
    seen = set()
    for entry in CATALOGUE.values():
        for name, hyperparameter, words in described(entry):
            # A negative momentum is none: optimism adds so many times the last change.
            says = re.search(r"decay rate|(?<!negative )momentum (parameter|decay)|running average|EMA\b", words)
            if says and "weight" not in name and "Mixing" not in words:
                seen.add(name)
                assert hyperparameter.range == "[0, 1)", (entry.line, name, words)
    assert {"b1", "b2", "b3", "adam_b1", "adam_b2", "beta3", "rho"} <= seen


def own():
    """Names of what gdx defines, and not optax."""
    for name, entry in CATALOGUE.items():
        module = getattr(entry.make, "func", entry.make).__module__
        if module.startswith("gdx") and not module.endswith("optax_methods"):
            yield name


@pytest.mark.parametrize("name", list(own()))
def test_the_table_allows_what_a_door_of_gdx_lets_in(name):
    for key, hyperparameter in CATALOGUE[name].hyperparameters.items():
        if isinstance(hyperparameter.default, bool):
            continue
        for end, is_in in ((hyperparameter.low, hyperparameter.includes_low), (hyperparameter.high, False)):
            if not np.isfinite(end):
                continue
            value = int(end) if isinstance(hyperparameter.default, int) else float(end)
            if is_in:
                CATALOGUE[name].make(0.1, **{key: value})
            else:
                with pytest.raises(ValueError, match=key):
                    CATALOGUE[name].make(0.1, **{key: value})


@pytest.mark.parametrize(
    ("name", "hyperparameters", "words"),
    [
        ("addam", {}, ["addam", "adam"]),
        ("adam", {"b1": 1.0}, ["b1", "1.0", "[0, 1)"]),
        ("adagrad-textbook", {"eps": -1e-8}, ["eps", "-1e-08", "[0, inf)"]),
        ("wolfe", {"c1": 0.5, "c2": 0.1}, ["c1", "0.5", "c2", "0.1"]),
        ("goldstein", {"c": 0.5}, ["c", "0.5", "(0, 0.5)"]),
        ("backtracking", {"slope_rtol": 0.0}, ["slope_rtol", "(0, 1)"]),
        ("strong-wolfe", {"slope_rtol": 0.9, "curv_rtol": 0.1}, ["slope_rtol", "0.9", "curv_rtol"]),
        ("lbfgs", {"memory_size": 2.5}, ["memory_size", "2.5", "whole"]),
        ("newton", {"damping": -1.0}, ["damping", "-1.0"]),
        ("amsgrad", {"bias_correction_mu": 1.0}, ["bias_correction_mu", "switch"]),
    ],
)
def test_a_hyperparameter_out_of_range_is_one_sentence(name, hyperparameters, words):
    with pytest.raises(ValueError) as error:
        gdx.optimizers.family(name, hyperparameters)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_a_family_takes_hyperparameters_by_keyword_and_names_what_it_does_not_take():
    by_keyword, by_mapping = (
        gdx.optimizers.family("momentum", momentum=0.5),
        gdx.optimizers.family("momentum", {"momentum": 0.5}),
    )
    assert gdx.curvature_threshold(by_keyword) == gdx.curvature_threshold(by_mapping) == pytest.approx(3.0)
    with pytest.raises(ValueError, match=r"bad: the optimizer adam does not take it; it takes .*b1"):
        gdx.optimizers.family("adam", bad=1.0)


def test_lbfgs_is_optaxs_until_it_comes_to_rest():
    problem, key = gdx.problems.rosenbrock(), jax.random.key(0)
    own = gdx.trajectory(problem, gdx.optimizers.lbfgs(1.0), key, num_steps=25)
    theirs = gdx.trajectory(problem, optax.lbfgs(1.0), key, num_steps=25)
    assert own.loss[-1] < 1e-6 * own.loss[0]
    np.testing.assert_array_equal(own.loss, theirs.loss)
