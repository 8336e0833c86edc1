"""What cannot be computed is refused in one sentence at the door; what can is computed as a plain loop would."""

import multiprocessing
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx import checks
from gdx.stepping import frozen_params, gradient_norm
from gdx.stepping.keys import batch_key
from gdx.sweeps import sizing
from gdx.sweeps.inputs import LONGEST_HORIZON, check_hyperparams, check_keys, check_total
from gdx.sweeps.watching import check_observers
from gdx.verdicts import CRITERIA

QUARTIC = gdx.problems.quartic()
PAIR = gdx.problem({"a": jnp.ones(3), "b": jnp.ones(2)}, lambda w: jnp.sum(w["a"] ** 2) + jnp.sum(w["b"] ** 2))
A_STEP_SIZE = jax.ShapeDtypeStruct((), float)


def shapes_of_a_run(problem, family):
    return jax.eval_shape(gdx.train_step(problem, family).init, A_STEP_SIZE, jax.random.key(0))


def checked(problem, family, hyperparams=(0.1,), **options):
    """Take a sweep as far as can be had without compiling."""
    options = {"num_steps": 10} | options
    return gdx.sweep(problem, family, **options).check(hyperparams, keys(1))


def plain_states(problem, family, step_size, num_steps):
    """Model and optimizer state of a loop in plain Python, which casts nothing."""
    params, state = problem.init(jax.random.key(0))
    optimizer = optax.with_extra_args_support(family(step_size))
    memory = optimizer.init(params)
    for _ in range(num_steps):
        (loss, state), gradient = jax.value_and_grad(problem.loss, has_aux=True)(params, state, None)
        updates, memory = optimizer.update(gradient, memory, params, value=loss)
        params = optax.apply_updates(params, updates)
    return params, state, memory, loss


# Keys.


@pytest.mark.usefixtures("quick_compilation_here")
@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_runs_with_one_key_start_where_the_key_alone_starts(impl):
    problem = gdx.problem(lambda key: jax.random.normal(key, (2,)), lambda w: jnp.sum(w**2))
    repeats = jax.random.split(jax.random.key(3, impl=impl), 3)
    runs = gdx.sweep(problem, optax.sgd, num_steps=2, slots=4)([0.1, 0.2], repeats)
    outside = [float(jnp.sum(problem.init(key)[0] ** 2)) for key in repeats]
    np.testing.assert_allclose(runs.first_loss, [outside, outside], rtol=1e-14)


def test_batches_of_rbg_keys_depend_on_the_run_alone():
    repeats = jax.random.split(jax.random.key(0, impl="rbg"), 3)
    side_by_side = jax.vmap(lambda key: jax.random.normal(batch_key(key)))(repeats)
    alone = [jax.random.normal(batch_key(key)) for key in repeats]
    np.testing.assert_array_equal(side_by_side, jnp.stack(alone))
    assert len(set(np.asarray(side_by_side).tolist())) == 3


def test_a_step_that_would_share_its_draws_is_refused():
    noise = jax.random.key(0, impl="rbg")
    problem = gdx.stateful_problem(
        lambda key: (jnp.ones(2), 0),
        lambda w, count: (
            jnp.sum(w**2)
            * jax.random.normal(jax.random.wrap_key_data(jax.random.key_data(noise) + jnp.uint32(count), impl="rbg")),
            count + 1,
        ),
    )
    with pytest.raises(ValueError, match=r"keys: .*rbg.*threefry2x32"):
        checked(problem, optax.sgd)


def test_legacy_keys_are_wrapped():
    legacy = jax.random.split(jax.random.PRNGKey(5), 3)
    np.testing.assert_array_equal(jax.random.key_data(check_keys(legacy)), legacy)


# Horizons, step sizes, precisions.


@pytest.mark.parametrize("num_steps", [2**31, LONGEST_HORIZON + 1, 99999999999999999999])
def test_a_horizon_that_cannot_be_counted_is_refused(num_steps):
    with pytest.raises(ValueError, match=f"num_steps: {num_steps} is above {2**30}"):
        gdx.sweep(QUARTIC, optax.sgd, num_steps=num_steps)
    with pytest.raises(ValueError, match=r"num_steps: .* above"):
        gdx.trajectory(QUARTIC, optax.sgd(0.1), jax.random.key(0), num_steps=num_steps)
    with pytest.raises(ValueError, match=r"num_steps: .* above"):
        gdx.step_table(QUARTIC, optax.sgd, jax.random.key(0), num_steps=num_steps)


def test_a_history_that_no_memory_holds_is_refused():
    with pytest.raises(ValueError, match=r"num_steps: .* GiB"):
        gdx.trajectory(gdx.problem(jnp.ones(10_000), jnp.sum), optax.sgd(0.1), jax.random.key(0), num_steps=10**9)


def test_the_longest_horizon_is_cut_into_blocks_at_once():
    for spares in (True, False):
        blocks = sizing.choose_blocks(LONGEST_HORIZON, 64, spares_watching=spares)
        assert blocks.number * (blocks.coast + blocks.watch) == LONGEST_HORIZON + blocks.padding


def test_whole_numbers_keep_their_value_in_float32():
    with jax.enable_x64(False):
        found, _ = check_hyperparams([2**40, 10**25])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [2.0**40, 1e25], rtol=1e-7)


@pytest.mark.parametrize("lost", [1e-50, 1e-39, 1e39, 10**40])
def test_a_step_size_that_the_precision_cannot_hold_is_refused(lost):
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"step_sizes: .*float32.*jax_enable_x64"):
        check_hyperparams([0.1, lost])
    check_hyperparams([0.1, lost])


@pytest.mark.parametrize("exponent", [-30, -20, 0, 18, 20, 30])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradient_norms_neither_vanish_nor_overflow(exponent, dtype):
    gradient = {
        "a": jnp.full((3, 2), 10.0**exponent, dtype),
        "b": jnp.full(3, 10.0**exponent, dtype),
        "c": jnp.ones(0, dtype),
    }
    np.testing.assert_allclose(
        float(gradient_norm(gradient)), 3 * 10.0**exponent, rtol=1e-2 if dtype == jnp.bfloat16 else 1e-6
    )


def test_a_gradient_norm_says_where_it_is_not_finite():
    assert np.isnan(gradient_norm(jnp.asarray([1.0, jnp.nan])))
    assert np.isinf(gradient_norm(jnp.asarray([1.0, -jnp.inf])))
    assert gradient_norm(jnp.zeros(3)) == 0


def test_float32_runs_of_tiny_and_huge_gradients_are_judged_as_others():
    # Of loss s (w - 1)^2 / 2 the edge is 2 / s.
    def problem(h):
        scale = h["scale"].astype(jnp.float32)
        return gdx.problem(jnp.asarray([0.1], jnp.float32), lambda w: jnp.sum(0.5 * (w - 1) * (scale * (w - 1))))

    run = gdx.sweep(problem, lambda h: optax.sgd(h["step_size"]), num_steps=200, slots=8, blow_up_factor=1e10)
    scales = np.asarray([1e-23, 1e-23, 1e23, 1e23])
    runs = run({"step_size": [1.9, 2.1, 1.9, 2.1] / scales, "scale": scales}, keys(1))
    assert gdx.converged(runs, 1e-4)[:, 0].tolist() == [True, False, True, False]


def begun_with_whole_numbers():
    """A model and an optimizer whose means begin as 0."""

    def loss(w, mean):
        mean = 0.9 * mean + 0.1 * jnp.sum(w)
        return jnp.sum((w - 1) ** 2) + 0.1 * mean**2, mean

    def family(step_size):
        def update(updates, mean, params=None):
            mean = 0.5 * mean + 0.5 * updates
            return -step_size * mean, mean

        return optax.GradientTransformation(lambda params: 0, update)

    return gdx.stateful_problem(lambda key: (jnp.asarray(3.0), 0), loss), family


def test_a_state_that_begins_as_a_whole_number_becomes_what_the_update_makes_of_it():
    problem, family = begun_with_whole_numbers()
    step = gdx.train_step(problem, family)
    state = step.init(jnp.asarray(0.1), jax.random.key(0))
    assert (state.model_state.dtype, state.opt_state.dtype) == (np.float64, np.float64)
    for _ in range(20):
        state, view = step.update(state)
    params, model_state, memory, loss = plain_states(problem, family, 0.1, 20)
    np.testing.assert_allclose(
        [state.params, state.model_state, state.opt_state, view.loss], [params, model_state, memory, loss], rtol=1e-12
    )


def test_counts_stay_whole_and_narrow_floats_narrow():
    problem = gdx.problem(jnp.ones(2, jnp.bfloat16), lambda w: jnp.sum(w**2))
    state = shapes_of_a_run(problem, optax.adam)
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(state.opt_state)}
    assert dtypes == {"int32", "bfloat16"}


def test_more_runs_than_can_be_held_are_refused_with_their_number():
    with pytest.raises(ValueError, match="10000000000 runs"):
        check_total(100_000, 100_000, 200)
    with pytest.raises(ValueError, match=r"2000000000 runs.* GiB"):
        check_total(1_000_000, 2_000, 10_000)
    many = jax.random.wrap_key_data(np.broadcast_to(np.uint32(0), (100_000, 2)))
    with pytest.raises(ValueError, match="10000000000 runs"):
        gdx.sweep(QUARTIC, optax.sgd, num_steps=10)(np.broadcast_to(0.1, 100_000), many)


def test_the_work_of_a_step_looks_into_the_larger_branch_of_a_condition():
    def update(x):
        wide = jax.lax.cond(x[0] > 0, lambda x: jnp.sum(jnp.outer(x, x)), lambda x: x[0], x)
        return jax.lax.scan(lambda total, _: (total + jnp.sum(jnp.sin(x)), None), wide, length=50)[0]

    found = sizing.work_bytes(jax.make_jaxpr(update)(jnp.ones(256)).jaxpr)
    # The outer product is 256 x 256 float64, the loop's body a vector of 256, once.
    assert 8 * 256**2 < found < 2.2 * 8 * 256**2


# Frozen parameters.


FROZEN = {"a": False, "b": True}
GROUPS = {"a": "moves", "b": "stays"}
FREEZING = {
    "partition": lambda h: optax.partition({"moves": optax.adam(h), "stays": optax.set_to_zero()}, GROUPS),
    "masked before momentum": lambda h: optax.chain(
        optax.masked(optax.set_to_zero(), FROZEN), optax.sgd(h, momentum=0.9)
    ),
    "masked after": lambda h: optax.chain(optax.adamw(h), optax.masked(optax.set_to_zero(), FROZEN)),
    "step size 0": lambda h: optax.partition({"moves": optax.sgd(h), "stays": optax.sgd(0.0)}, GROUPS),
    "if finite": lambda h: optax.apply_if_finite(FREEZING["partition"](h), 3),
}
MOVING = {
    "plain": optax.sgd,
    "decayed after": lambda h: optax.chain(optax.masked(optax.set_to_zero(), FROZEN), optax.adamw(h)),
    "step size 0 in the sweep": lambda h: optax.partition({"moves": optax.sgd(h), "stays": optax.sgd(0 * h)}, GROUPS),
    "frozen at first": lambda h: optax.sgd(optax.warmup_constant_schedule(0.0, h, 100)),
} | {name: gdx.optimizers.family(name) for name in ("adam", "noisy-sgd", "lamb", "rprop", "madgrad", "muon", "newton")}


@pytest.mark.parametrize("name", FREEZING)
def test_what_an_optimizer_provably_never_moves_is_found(name):
    found = frozen_params(PAIR, FREEZING[name], shapes_of_a_run(PAIR, FREEZING[name]))
    assert {leaf: bool(still.all()) for leaf, still in found.items()} == FROZEN


@pytest.mark.parametrize("name", MOVING)
def test_what_an_optimizer_may_move_is_not_called_frozen(name):
    assert frozen_params(PAIR, MOVING[name], shapes_of_a_run(PAIR, MOVING[name])) is None


def test_single_entries_are_found_too():
    mask = {"a": jnp.asarray([1.0, 0.0, 2.0]), "b": jnp.ones(2)}
    scaled = optax.stateless(lambda updates, params: jax.tree.map(jnp.multiply, updates, mask))

    def family(step_size):
        return optax.chain(optax.sgd(step_size), scaled)

    found = frozen_params(PAIR, family, shapes_of_a_run(PAIR, family))
    assert found["a"].tolist() == [False, True, False]


def test_an_optimizer_that_moves_nothing_is_refused():
    with pytest.raises(ValueError, match="family: its updates are zero"):
        checked(PAIR, lambda h: optax.set_to_zero())


@pytest.mark.usefixtures("quick_compilation_here")
def test_a_run_converges_although_the_gradient_of_a_frozen_leaf_stays():
    runs = gdx.sweep(PAIR, FREEZING["masked before momentum"], num_steps=400, slots=8)([0.1, 2.5], keys(1))
    # Of curvature 2 under momentum .9 the edge is 1.9.
    assert gdx.converged(runs)[:, 0].tolist() == [True, False]
    np.testing.assert_allclose(runs.first_gradient_norm[:, 0], np.sqrt(3 * 4))
    np.testing.assert_allclose(runs.last_loss[0], 2.0, rtol=1e-6)


# Other people's code.


def untraceable_family(step_size):
    return optax.sgd(step_size) if step_size > 1 else optax.adam(step_size)


def untraceable_loss(w):
    return jnp.sum(w) * float(w[0])


def broken_init(key):
    raise RuntimeError("no data on this machine\nand more")


SCALAR = gdx.problem(jnp.ones(()), lambda w: w**2)
EMPTY_LEAF = gdx.problem((jnp.ones(2), jnp.ones((0, 3))), lambda w: jnp.sum(w[0] ** 2))
LOOPING = gdx.problem(jnp.ones(2), lambda w: jax.lax.while_loop(lambda v: v < 9, lambda v: v + w[0] ** 2, w[1]))


def shrinking():
    def update(updates, state, params=None):
        return updates, state[:-1]

    return optax.GradientTransformation(lambda params: jnp.ones(3), update)


@pytest.mark.parametrize(
    ("problem", "family", "hyperparams", "words"),
    [
        (QUARTIC, untraceable_family, [0.1], "family: .*traced.*jnp.where"),
        (gdx.problem(jnp.ones(2), untraceable_loss), optax.sgd, [0.1], "loss: .*traced.*float"),
        (gdx.problem(jnp.ones(2), lambda w: jnp.sum(w) if w[0] > 0 else w[1]), optax.sgd, [0.1], "loss: .*traced"),
        (SCALAR, optax.sm3, [0.1], "family: it raises IndexError"),
        (EMPTY_LEAF, optax.contrib.muon, [0.1], "family: it raises ZeroDivisionError"),
        (gdx.problem(broken_init, jnp.sum), optax.sgd, [0.1], "init: it raises RuntimeError: no data on this machine;"),
        (LOOPING, optax.sgd, [0.1], "loss: it raises ValueError: Reverse-mode"),
        (
            lambda h: gdx.problem(jnp.ones(2), lambda w: h["lr"]),
            lambda h: optax.sgd(h["x"]),
            {"x": [0.1]},
            "loss: it raises KeyError: 'lr'",
        ),
        (
            QUARTIC,
            lambda h: optax.sgd(h["lr"]),
            {"step_size": [0.1]},
            r"family: it asks for hyperparams\['lr'\].*'step_size'",
        ),
        (QUARTIC, lambda h: shrinking(), [0.1], r"family: its state has shape \(2,\) after a step and \(3,\)"),
    ],
)
def test_an_error_inside_somebody_elses_code_is_one_sentence_that_names_it(problem, family, hyperparams, words):
    with pytest.raises(ValueError, match=words) as caught:
        checked(problem, family, hyperparams)
    assert "\n" not in str(caught.value)
    if "raises" in words or "traced" in words:
        assert caught.value.__cause__ is not None


def test_what_gdx_itself_refuses_inside_a_family_keeps_its_own_words():
    with pytest.raises(ValueError, match=r"^momentum: 3 is outside"):
        checked(QUARTIC, lambda h: gdx.optimizers.ema_momentum(h, 3))


# Settings.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tolerance": None}, "tolerance: None"),
        ({"num_steps": True}, "num_steps: True"),
        ({"facts": None}, "facts: None"),
        ({"tolerance": float("nan")}, "tolerance: nan"),
        ({"tolerance": "1e-6"}, "tolerance: '1e-6'"),
        ({"tolerance": True}, "tolerance: True"),
        ({"blow_up_factor": np.inf}, "blow_up_factor: inf"),
        ({"stopping": True}, "stopping: True is no gdx.Stopping"),
        ({"stopping": gdx.Stopping(gradient_norm="small")}, "gradient_norm: 'small'"),
    ],
)
def test_settings_that_are_none_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        gdx.sweep(QUARTIC, optax.sgd, **{"num_steps": 10} | options)


@pytest.mark.parametrize("tolerance", [float("nan"), 0, -1.0, "1e-6"])
def test_a_tolerance_that_is_none_is_refused_wherever_it_is_asked_for(tolerance):
    run = gdx.sweep(QUARTIC, optax.sgd, num_steps=10)
    with pytest.raises(ValueError, match="tolerance: "):
        gdx.critical_step_size(QUARTIC, optax.sgd, keys=keys(1), run=run, tolerance=tolerance)
    facts = gdx.Runs(**{name: np.ones((1, 1)) for name in gdx.Runs._fields} | {"observed": {}})
    with pytest.raises(ValueError, match="tolerance: "):
        gdx.verdicts(facts, tolerance)


def test_facts_in_bfloat16_have_verdicts_and_answers():
    floating = {name: jnp.full((2, 3), 0.5, jnp.bfloat16) for name in gdx.Runs._fields}
    whole = ("stopped", "steps", "loss_rises", "trend", "period", "near_period", "repeats_after", "search_failures")
    counts = {name: np.ones((2, 3), np.int32) for name in (*whole, "first_bad_step", "tail_steps", "climbs")}
    facts = gdx.Runs(
        **{name: np.asarray(fact) for name, fact in (floating | counts).items() if name != "observed"}, observed={}
    )
    assert gdx.verdicts(facts).shape == (2, 3)
    for criterion in CRITERIA:
        assert gdx.answers(facts, criterion).shape == (2, 3)


COUNTING = gdx.Observer(lambda params: 0, lambda count, view: count + 1, lambda count: count)


@pytest.mark.parametrize(
    ("observers", "words"),
    [
        ([COUNTING], "observers: list"),
        ({"my counter": COUNTING}, "'my counter' is no identifier"),
        ({"a/b": COUNTING}, "'a/b' is no identifier"),
        ({"last_loss": COUNTING}, "'last_loss' is the name of a fact"),
        ({"mine": len}, r"observers\['mine'\]: builtin_function_or_method"),
        ({"mine": COUNTING._replace(init=0)}, r"observers\['mine'\]"),
        (
            {"mine": COUNTING._replace(init=lambda params: jnp.float32(0), update=lambda s, view: s + view.loss)},
            "float32.*float64",
        ),
        ({"mine": COUNTING._replace(update=lambda s, view: jnp.ones(3))}, r"int64\[\].*float64\[3\]"),
        ({"mine": COUNTING._replace(update=lambda s, view: (s, s))}, "keep one structure"),
        ({"mine": COUNTING._replace(update=lambda s, view: s + view.speed)}, "it raises AttributeError.*speed"),
        ({"mine": COUNTING._replace(update=lambda s, view: s + int(view.loss))}, "traced"),
        ({"mine": COUNTING._replace(summarise=lambda s: jax.random.key(0))}, "no numbers"),
        ({"mine": COUNTING._replace(summarise=lambda s: 1 / 0)}, "ZeroDivisionError"),
    ],
)
def test_observers_that_could_not_watch_are_refused(observers, words):
    with pytest.raises(ValueError, match=words) as caught:
        checked(QUARTIC, optax.sgd, observers=observers)
    assert "\n" not in str(caught.value)


def test_an_observer_may_begin_with_plain_numbers():
    mean = gdx.Observer(lambda params: 0.0, lambda s, view: 0.5 * s + view.loss.astype(jnp.float32), lambda s: s)
    checked(QUARTIC, optax.sgd, observers={"count": COUNTING, "mean": mean})
    assert set(check_observers({"count": COUNTING})) == {"count"}


@pytest.mark.usefixtures("quick_compilation_here")
def test_healthy_and_diverging_runs_are_facts_whatever_is_set_for_debugging():
    run = gdx.sweep(gdx.problems.quartic(start=0.5), optax.adam, num_steps=8, slots=8)
    strict = jax.numpy_dtype_promotion("strict")
    with jax.debug_nans(True), jax.debug_infs(True), jax.disable_jit(), strict:
        runs = run([0.1, 1e300], keys(1))
    assert np.isfinite(runs.last_loss[0, 0])
    assert gdx.verdicts(runs)[1, 0] == gdx.Verdict.DIVERGED


@pytest.mark.usefixtures("quick_compilation_here")
def test_curvature_and_thresholds_are_measured_whatever_is_set_for_debugging():
    def loss(w):
        return jnp.sum(jnp.asarray([1.0, 3.0]) * jnp.cosh(w))

    with jax.debug_nans(True), jax.debug_infs(True), jax.disable_jit(), jax.numpy_dtype_promotion("strict"):
        assert gdx.sharpness(loss, jnp.zeros(2)).value == pytest.approx(3.0)
        assert gdx.curvature_threshold(optax.sgd) == pytest.approx(2.0)


def test_an_error_inside_the_loss_of_a_curvature_is_named_too():
    with pytest.raises(ValueError, match=r"loss: .*traced"):
        gdx.sharpness(lambda w: float(w[0]), jnp.zeros(2))


def test_a_forked_child_says_why_it_cannot_compute():
    code = """
import multiprocessing, warnings
warnings.simplefilter("ignore")
import jax, optax, gdx
jax.random.key(0)
def work(_):
    try:
        gdx.sweep(gdx.problems.quartic(), optax.sgd, num_steps=10)
    except ValueError as error:
        return str(error)
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.map(work, [0])[0])
"""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("nothing forks here")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert re.fullmatch(r"process: it was forked .*'spawn'\)\n", done.stdout)


def test_this_process_was_not_forked():
    checks.check_process()


def test_the_advice_about_constant_columns_can_be_followed():
    features = np.column_stack([np.ones(5), np.arange(5.0)])
    with pytest.raises(ValueError, match="constant='zero'"):
        gdx.problems.least_squares(features, np.arange(5.0))
    known = gdx.problems.least_squares(features, np.arange(5.0), constant="zero").known
    assert known.min_sharpness == pytest.approx(1.0)


@pytest.mark.slow
def test_a_frozen_leaf_changes_no_edge_and_no_estimate():
    edge = gdx.critical_step_size(PAIR, FREEZING["masked before momentum"], keys=keys(1), num_steps=400)
    # Of curvature 2 under momentum .9 the edge is 1.9.
    assert edge.last_success.lower == pytest.approx(1.9, rel=5e-2)
    assert edge.estimate.value == pytest.approx(1.9, abs=3 * edge.estimate.error)
    assert edge.estimate.error < 1e-6


@pytest.mark.slow
def test_a_bfloat16_problem_has_its_transition_and_its_file(tmp_path):
    curvatures = jnp.asarray([1, 2, 3], jnp.bfloat16)
    problem = gdx.problem(
        lambda key: jax.random.normal(key, (3,), jnp.bfloat16), lambda w: jnp.sum(curvatures * w**2) / 2
    )
    found = gdx.studies.transition(problem, optax.sgd, keys=keys(2), num_steps=300, num_points=16)
    # Of curvature 3; a bfloat16 has eight bits.
    assert found.edge.last_success.lower == pytest.approx(2 / 3, rel=2**-5)
    gdx.storage.save(gdx.storage.to_dataset(found.runs), tmp_path / "runs.nc")
    assert gdx.storage.load(tmp_path / "runs.nc")["last_loss"].dtype == "float32"
