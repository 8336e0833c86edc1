import functools
import inspect
from fractions import Fraction

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LAST_PARAMS, keys, plain_loop

import gdx
from gdx import schedules

pytestmark = pytest.mark.usefixtures("quick_compilation")


def warmed_up(num_steps, start, step_size, tau):
    return schedules.linear_warmup(schedules.inverse_time(step_size, tau), num_steps, start)


# Name -> (constructor, each of its numbers with three values, the first of them whole where it counts steps).
CONSTRUCTORS = {
    "constant": (schedules.constant, {"step_size": (0.5, 0.1, 0.0)}),
    "harmonic": (schedules.harmonic, {"step_size": (0.5, 0.1, 2.0)}),
    "inverse_time": (schedules.inverse_time, {"step_size": (0.5, 0.1, 2.0), "tau": (7, 0.3, 100.0)}),
    "hyperbolic": (schedules.hyperbolic, {"a": (2.0, 0.1, 0.0), "b": (5, 0.2, 80.0), "c": (0.01, 0.0, 1.0)}),
    "exponential_decay": (
        schedules.exponential_decay,
        {
            "step_size": (0.5, 0.1, 2.0),
            "decay_rate": (0.7, 0.1, 1.0),
            "num_steps": (7, 1.5, 30.0),
            "begin": (3, 0.0, 5.5),
        },
    ),
    "exponential growth": (
        schedules.exponential_decay,
        {
            "step_size": (0.1, 0.5, 0.0),
            "decay_rate": (1.5, 0.9, 3.0),
            "num_steps": (7, 1.5, 30.0),
            "begin": (3, 0.0, 5.5),
            "end": (2.0, 0.3, 20.0),
        },
    ),
    "exponential staircase": (
        functools.partial(schedules.exponential_decay, staircase=True),
        {
            "step_size": (0.5, 0.1, 2.0),
            "decay_rate": (0.7, 0.1, 1.0),
            "num_steps": (7, 1.5, 30.0),
            "begin": (3, 0.0, 5.5),
        },
    ),
    "polynomial_decay": (
        schedules.polynomial_decay,
        {
            "step_size": (0.5, 0.1, 2.0),
            "num_steps": (20, 1.0, 33.5),
            "power": (2, 0.5, 1.3),
            "end": (0.1, 0.0, 3.0),
            "begin": (3, 0.0, 5.5),
        },
    ),
    "step_decay": (
        schedules.step_decay,
        {"step_size": (0.5, 0.1, 2.0), "factor": (0.1, 0.5, 1.0), "every": (7, 1.0, 9.5)},
    ),
    "cosine_annealing": (
        schedules.cosine_annealing,
        {"step_size": (0.5, 0.1, 2.0), "num_steps": (20, 1.0, 33.5), "alpha": (0.1, 0.0, 1.0)},
    ),
    "cosine_restarts": (
        schedules.cosine_restarts,
        {
            "step_size": (0.5, 0.1, 2.0),
            "period": (7, 1.0, 9.5),
            "multiplier": (2, 1.0, 1.3),
            "decay": (0.5, 0.9, 1.0),
            "alpha": (0.1, 0.0, 1.0),
        },
    ),
    "triangular": (
        schedules.triangular,
        {"low": (0.1, 0.0, 0.3), "high": (0.5, 0.4, 2.0), "half_period": (6, 1.0, 7.5), "decay": (0.5, 0.9, 1.0)},
    ),
    "exp_range": (
        schedules.exp_range,
        {"low": (0.1, 0.0, 0.3), "high": (0.5, 0.4, 2.0), "half_period": (6, 1.0, 7.5), "gamma": (0.97, 0.5, 1.0)},
    ),
    "one_cycle": (
        schedules.one_cycle,
        {
            "step_size": (0.5, 0.1, 2.0),
            "num_steps": (40, 10.0, 33.5),
            "pct_start": (0.3, 0.0, 1.0),
            "div_factor": (25, 10.0, 0.5),
            "final_div_factor": (100, 1e4, 0.5),
        },
    ),
    "linear_one_cycle": (
        schedules.linear_one_cycle,
        {
            "step_size": (0.5, 0.1, 2.0),
            "num_steps": (40, 10.0, 33.5),
            "pct_start": (0.3, 0.0, 0.7),
            "pct_final": (0.8, 1.0, 0.3),
            "div_factor": (25, 10.0, 0.5),
            "final_div_factor": (100, 1e4, 0.5),
        },
    ),
    "warmup_cosine": (
        schedules.warmup_cosine,
        {
            "step_size": (0.5, 0.1, 2.0),
            "num_steps": (40, 12.0, 33.5),
            "warmup": (9, 0.0, 10.5),
            "alpha": (0.1, 0.0, 1.0),
            "start": (0.0, 0.1, 1.0),
        },
    ),
    "linear_warmup": (
        warmed_up,
        {"num_steps": (9, 0.0, 10.5), "start": (0.0, 0.1, 1.0), "step_size": (0.5, 0.1, 2.0), "tau": (7, 0.3, 100.0)},
    ),
}
COUNTS = jnp.arange(0, 60, dtype=jnp.int32)


def first_values(numbers):
    return {name: values[0] for name, values in numbers.items()}


def one_at_a_time(numbers):
    """(name, all numbers with one at each of its values), for every number."""
    for name, values in numbers.items():
        yield name, [first_values(numbers) | {name: value} for value in values]


def cosines(first, periods, decay, alpha):
    """What optax's warm restarts take, from a list of whole periods."""
    heights = [first * decay**cycle for cycle in range(len(periods))]
    return [
        {"init_value": peak, "peak_value": peak, "warmup_steps": 0, "decay_steps": period, "end_value": alpha * peak}
        for peak, period in zip(heights, periods, strict=True)
    ]


def pairs():
    """(name, ours, optax's) at several numbers."""
    s, o = schedules, optax
    for step_size, rate, length, begin in ((0.5, 0.7, 10, 0), (0.03, 0.2, 49, 7), (2.0, 0.99, 1, 3)):
        for stairs in (False, True):
            mine = functools.partial(s.exponential_decay, step_size, rate, length, begin, stairs)
            theirs = functools.partial(o.exponential_decay, step_size, length, rate, begin, stairs)
            yield "exponential_decay", mine(), theirs()
            yield "exponential_decay with an end", mine(end=step_size / 7), theirs(end_value=step_size / 7)
        growing = s.exponential_decay(step_size, 1 / rate, length, begin, end=9.0)
        yield "exponential growth", growing, o.exponential_decay(step_size, length, 1 / rate, begin, end_value=9.0)
        stairs = o.exponential_decay(step_size, length, rate, staircase=True)
        yield "step_decay", s.step_decay(step_size, rate, length), stairs
        yield "constant", s.constant(step_size), o.constant_schedule(step_size)
    for step_size, end, length, begin in ((0.5, 0.0, 10, 0), (0.03, 0.01, 49, 7), (0.1, 2.0, 1, 3)):
        for power in (1, 2, 1.5):  # not 0.5, which makes 1e-8 of the 1e-16 by which optax's line misses its end
            theirs = o.polynomial_schedule(step_size, end, power, length, begin)
            yield "polynomial_decay", s.polynomial_decay(step_size, length, power, end, begin), theirs
        line = s.polynomial_decay(step_size, length, end=end, begin=begin)
        yield "linear_schedule", line, o.linear_schedule(step_size, end, length, begin)
    for step_size, length, alpha in ((0.5, 10, 0.0), (0.03, 49, 0.1), (2.0, 1, 1.0)):
        mine, theirs = s.cosine_annealing(step_size, length, alpha), o.cosine_decay_schedule(step_size, length, alpha)
        yield "cosine_annealing", mine, theirs
    for periods, multiplier, decay in (
        ((12,) * 11, 1, 0.8),
        ((10, 20, 40, 80), 2, 1.0),
        ((8, 12, 18, 27, 40), 1.5, 0.5),
    ):
        mine = s.cosine_restarts(0.3, periods[0], multiplier, decay, alpha=0.1)
        horizon = sum(periods[:4]) if multiplier == 1.5 else 130
        theirs = o.sgdr_schedule(cosines(0.3, periods, decay, 0.1))
        yield "cosine_restarts", up_to(horizon, mine), up_to(horizon, theirs)
    for length, share, divisor, last in ((100, 0.3, 25.0, 1e4), (37, 0.29, 10.0, 3.0), (100, 0.29, 4.0, 50.0)):
        mine = s.one_cycle(0.4, length, share, divisor, last)
        yield "one_cycle", mine, jax.vmap(o.cosine_onecycle_schedule(length, 0.4, share, divisor, last))
        mine = s.linear_one_cycle(0.4, length, share, 0.85, divisor, last)
        theirs = o.linear_onecycle_schedule(length, 0.4, share, 0.85, divisor, last)
        yield "linear_one_cycle", mine, jax.vmap(theirs)
    for peak, start, length, end in ((0.5, 0.0, 10, 0.05), (0.03, 0.1, 49, 0.0), (2.0, 0.5, 0, 0.1)):
        warm = functools.partial(s.linear_warmup, num_steps=length, start=start)
        if length:  # optax stays at the start where the warm-up has no steps
            yield "warmup_constant", warm(s.constant(peak)), o.warmup_constant_schedule(start, peak, length)
        mine = warm(s.cosine_annealing(peak, 90 - length, end / peak))
        yield "warmup_cosine", mine, o.warmup_cosine_decay_schedule(start, peak, length, 90, end)
        theirs = o.warmup_cosine_decay_schedule(start, peak, length, 90, end)
        yield "warmup_cosine at once", s.warmup_cosine(peak, 90, length, end / peak, start), theirs
        mine = warm(s.exponential_decay(peak, 0.6, 15, 4, True, end=peak / 5))
        theirs = o.warmup_exponential_decay_schedule(start, peak, length, 15, 0.6, 4, True, peak / 5)
        yield "warmup_exponential", mine, theirs


def up_to(horizon, schedule):
    return lambda count: jnp.where(count < horizon, schedule(count), 0.0)


def test_every_schedule_equals_its_optax_namesake():
    everything = list(pairs())
    counts = jnp.arange(130, dtype=jnp.int32)
    mine = jax.jit(lambda counts: [schedule(counts) for _, schedule, _ in everything])(counts)
    # NumPy's float64: from JAX's int32 counts and Python numbers optax computes in float32, and from JAX's float64
    # ones, even uncompiled, its staircase falls short at multiples of 49, where 49 * (1 / 49) is below 1.
    theirs = [schedule(np.arange(130.0)) for _, _, schedule in everything]
    for (name, _, _), ours, reference in zip(everything, mine, theirs, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-12, atol=1e-16, err_msg=name)


def test_stairs_fall_and_lines_end_exactly_at_multiples_whatever_the_compiler_makes_of_the_division():
    lengths = (3, 7, 49, 98, 103, 107)

    @jax.jit
    def last_and_first(counts):
        stairs = [schedules.step_decay(1.0, 0.5, length) for length in lengths]
        drops = [
            stair(counts * length - early) for stair, length in zip(stairs, lengths, strict=True) for early in (1, 0)
        ]
        root = [schedules.polynomial_decay(1.0, length, 0.5)(counts * length) for length in lengths]
        return drops, root

    counts = jnp.arange(1, 9, dtype=jnp.int32)
    drops, roots = last_and_first(counts)
    for before, after in zip(drops[::2], drops[1::2], strict=True):
        np.testing.assert_array_equal(before, 0.5 ** (counts - 1.0))
        np.testing.assert_array_equal(after, 0.5**counts)
    np.testing.assert_array_equal(roots, 0.0)


def test_falling_and_cyclical_schedules_follow_their_formulas():
    steps = np.arange(60.0)
    formulas = {
        "harmonic": 0.5 / (steps + 1),
        "inverse_time": 0.5 * 7 / (steps + 7),
        "hyperbolic": 2 / (steps + 5) + 0.01,
        "triangular": 0.1 + 0.4 * 0.5 ** (steps // 12) * np.interp(steps % 12, (0, 6, 12), (0, 1, 0)),
        "exp_range": 0.1 + 0.4 * 0.97**steps * np.interp(steps % 12, (0, 6, 12), (0, 1, 0)),
    }
    for name, expected in formulas.items():
        constructor, numbers = CONSTRUCTORS[name]
        np.testing.assert_allclose(constructor(**first_values(numbers))(COUNTS), expected, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_restarts_fall_where_exact_sums_of_the_periods_put_them(dtype):
    cases = [(period, m) for period in (1, 7, 10, 49) for m in ("1", "1.25", "1.5", "2", "3", "10")]
    counts = jnp.arange(3000, dtype=jnp.int32)

    @jax.jit
    @jax.vmap
    def run(period, multiplier):
        return schedules.cosine_restarts(dtype(1), period, multiplier, decay=0.75)(counts)

    periods = jnp.asarray([period for period, _ in cases], dtype)
    found = run(periods, jnp.asarray([float(multiplier) for _, multiplier in cases], dtype))
    for (period, multiplier), values in zip(cases, found, strict=True):
        begin, length, cycle, expected = Fraction(0), Fraction(period), 0, []
        for count in range(len(values)):
            while count >= begin + length:
                begin, length, cycle = begin + length, length * Fraction(multiplier), cycle + 1
            expected.append(0.75**cycle * 0.5 * (1 + np.cos(np.pi * float((count - begin) / length))))
        # The share of a cycle that has passed is as uncertain as the count where the cycle began.
        error = 32 * float(jnp.finfo(dtype).eps) * counts.size
        np.testing.assert_allclose(values, expected, rtol=0, atol=error, err_msg=f"{period} {multiplier}")


def test_every_number_of_every_constructor_is_an_axis():
    def swept(constructor, points, name):
        def one(number):
            return constructor(**(points[0] | {name: number}))(COUNTS)

        return jax.vmap(one)(jnp.asarray([point[name] for point in points], float))

    @jax.jit
    def everything():
        return {
            (label, name): swept(constructor, points, name)
            for label, (constructor, numbers) in CONSTRUCTORS.items()
            for name, points in one_at_a_time(numbers)
        }

    found = everything()
    for label, (constructor, numbers) in CONSTRUCTORS.items():
        for name, points in one_at_a_time(numbers):
            expected = [constructor(**point)(COUNTS) for point in points]
            message = f"{label} {name}"
            assert np.ptp(expected, axis=0).max() > 0, message
            np.testing.assert_allclose(found[label, name], expected, rtol=1e-10, atol=1e-15, err_msg=message)


def test_the_table_of_constructors_knows_every_number():
    public = {name for name in schedules.__all__ if name != "Schedule"}
    assert public <= {getattr(c, "func", c).__name__ for c, _ in CONSTRUCTORS.values()} | {"linear_warmup"}
    for constructor, _ in CONSTRUCTORS.values():
        function = getattr(constructor, "func", constructor)
        known = set().union(*(n for c, n in CONSTRUCTORS.values() if getattr(c, "func", c) is function))
        assert set(inspect.signature(function).parameters) - {"staircase"} == known


def test_other_numbers_and_counts_do_not_retrace():
    @jax.jit
    @chex.assert_max_traces(1)
    def everything(points, count):
        return [constructor(**points[name])(count) for name, (constructor, _) in CONSTRUCTORS.items()]

    for row, count in ((0, 5), (1, 7)):
        points = {
            name: {key: jnp.asarray(values[row], float) for key, values in numbers.items()}
            for name, (_, numbers) in CONSTRUCTORS.items()
        }
        for value in everything(points, jnp.int32(count)):
            assert value.shape == ()
            assert value.dtype == jnp.float64


def test_huge_and_negative_counts_give_finite_step_sizes():
    counts = jnp.asarray([-(2**31), -1, 0, 2**24 + 1, 2**31 - 2, 2**31 - 1], jnp.int32)

    @jax.jit
    def everything(one):
        return {
            (name, row): constructor(**{key: values[row] * one for key, values in numbers.items()})(counts)
            for name, (constructor, numbers) in CONSTRUCTORS.items()
            for row in range(3)
        }

    for dtype in (jnp.float64, jnp.float32):
        for case, values in everything(jnp.ones((), dtype)).items():
            assert np.all(np.isfinite(values)), (case, values)
            assert np.all(values >= 0), (case, values)
            np.testing.assert_array_equal(values[:2], values[2], err_msg=str(case))


def test_step_sizes_have_the_type_of_the_numbers():
    for name, (constructor, numbers) in CONSTRUCTORS.items():
        for dtype in (jnp.float32, jnp.float64, jnp.bfloat16, jnp.int32):
            given = {key: jnp.asarray(values[0], dtype) for key, values in numbers.items()}
            if dtype == jnp.int32:
                given = {key: dtype(1) for key in numbers}
            out = jax.eval_shape(lambda c, given=given, make=constructor: make(**given)(c), jnp.int32(3))
            assert out.dtype == (jnp.float64 if dtype == jnp.int32 else dtype), name
        out = jax.eval_shape(constructor(**first_values(numbers)), jnp.int32(3))
        assert out.dtype == jnp.float64, name
        # Weak: Python's numbers leave the parameters' precision alone.
        assert out.weak_type, name


def test_without_x64_step_sizes_are_float32_and_close_to_float64():
    @jax.jit
    def everything(counts):
        return [constructor(**first_values(numbers))(counts) for constructor, numbers in CONSTRUCTORS.values()]

    wide = everything(COUNTS)
    with jax.enable_x64(False):
        narrow = everything(COUNTS)
    for name, exact, value in zip(CONSTRUCTORS, wide, narrow, strict=True):
        assert value.dtype == jnp.float32, name
        np.testing.assert_allclose(value, exact, rtol=1e-4, atol=1e-6, err_msg=name)


def test_sixteen_bits_count_as_far_as_thirty_two():
    step_size = schedules.inverse_time(jnp.bfloat16(1), jnp.bfloat16(1024))(jnp.int32(1023))
    assert step_size == jnp.bfloat16(1024 / 2047)
    late = schedules.triangular(jnp.float16(0), jnp.float16(1), jnp.float16(4))(jnp.int32(100_002))
    assert late == 0.5


def test_a_warm_up_leads_into_any_function_of_the_count():
    table = jnp.asarray([0.4, 0.3, 0.2])

    def looked_up(count):
        assert count.dtype == jnp.int32
        return table[jnp.minimum(count, 2)]

    found = jax.vmap(schedules.linear_warmup(looked_up, jnp.float64(4), start=0.2))(jnp.arange(8, dtype=jnp.int32))
    np.testing.assert_allclose(found, [0.2, 0.25, 0.3, 0.35, 0.4, 0.3, 0.2, 0.2], rtol=1e-15)
    twice = schedules.linear_warmup(schedules.linear_warmup(optax.constant_schedule(1.0), 2, 0.5), 2)
    np.testing.assert_allclose([twice(count) for count in range(6)], [0, 0.25, 0.5, 0.75, 1, 1])
    whole = schedules.linear_warmup(schedules.harmonic(1.0), 2.5)
    np.testing.assert_allclose([whole(count) for count in range(5)], [0, 0.4, 0.8, 1, 0.5])


def test_a_swept_tau_equals_a_plain_loop():
    problem = gdx.problem({"w": jnp.asarray([1.0, -2.0])}, lambda p: jnp.sum(jnp.sqrt(1 + p["w"] ** 2)))

    def family(h):
        return optax.sgd(schedules.inverse_time(h["step_size"], h["tau"]))

    taus, key = np.asarray([2.0, 50.0]), keys(1)
    run = gdx.sweep(problem, family, num_steps=60, slots=2, facts=(), observers={"params": LAST_PARAMS})
    runs = run({"step_size": np.asarray([0.7, 0.7]), "tau": taus}, key)
    for row, tau in enumerate(taus):
        before, losses = plain_loop(problem, optax.sgd(lambda count, tau=tau: 0.7 * tau / (count + tau)), key[0], 60)
        seen = jax.tree.map(lambda leaf, row=row: leaf[row, 0], runs.observed["params"])
        chex.assert_trees_all_close(seen, jax.tree.map(np.asarray, before), rtol=1e-11)
        np.testing.assert_allclose(runs.last_loss[row, 0], losses[-1], rtol=1e-12)


OUTSIDE = {
    "step_size": (-0.1, "[0, inf)"),
    "tau": (-1, "(0, inf)"),
    "a": (-1, "[0, inf)"),
    "b": (0, "(0, inf)"),
    "c": (-1, "[0, inf)"),
    "decay_rate": (0, "(0, "),
    "num_steps": (-3, "inf)"),
    "begin": (-1, "[0, inf)"),
    "warmup": (-1, "[0, inf)"),
    "power": (0, "(0, inf)"),
    "end": (-1, "[0, inf)"),
    "start": (float("nan"), "[0, inf)"),
    "factor": (1.5, "(0, 1]"),
    "every": (0, "(0, inf)"),
    "alpha": (1.5, "[0, 1]"),
    "period": (float("inf"), "(0, inf)"),
    "multiplier": (0.5, "[1, inf)"),
    "decay": (0, "(0, 1]"),
    "low": (-1, "[0, inf)"),
    "high": (-1, "[0, inf)"),
    "half_period": (0, "(0, inf)"),
    "gamma": (1.01, "(0, 1]"),
    "pct_start": (30, "[0, 1]"),
    "pct_final": (-0.1, "[0, 1]"),
    "div_factor": (0, "(0, inf)"),
    "final_div_factor": (0, "(0, inf)"),
}


@pytest.mark.parametrize("label", CONSTRUCTORS)
def test_bad_numbers_are_refused_in_one_sentence(label):
    constructor, numbers = CONSTRUCTORS[label]
    for name, values in numbers.items():
        bad, interval = OUTSIDE[name]
        for given in (bad, np.asarray([values[0], bad]), jnp.asarray([values[0], bad], jnp.float32)):
            with pytest.raises(ValueError) as error:
                constructor(**(first_values(numbers) | {name: given}))
            assert str(error.value).startswith(f"{name}: {bad:g} is outside ")
            assert interval in str(error.value)
            assert "; pass " in str(error.value)
        for given in ("fast", None, 1j):
            if name == "end" and given is None:
                continue
            with pytest.raises(ValueError, match=rf"{name}: .* is no real number; pass "):
                constructor(**(first_values(numbers) | {name: given}))


def test_numbers_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match=r"low: 0.3 is outside \[0, high\], high being 0.1; swap"):
        schedules.triangular(0.3, 0.1, 5)
    with pytest.raises(ValueError, match=r"warmup: 30 is outside \[0, num_steps\], num_steps being 20"):
        schedules.warmup_cosine(0.1, 20, 30)
    with pytest.raises(ValueError, match=r"low: 0.3 is outside"):
        schedules.exp_range(np.asarray([0.0, 0.3]), 0.1, 5, 0.9)
    with pytest.raises(ValueError, match=r"pct_start: 0.9 is outside \[0, pct_final\]"):
        schedules.linear_one_cycle(0.1, 100, pct_start=0.9)
    with pytest.raises(ValueError, match=r"decay_rate: 1.1 is outside \(0, 1\]; .*end= "):
        schedules.exponential_decay(0.1, 1.1, 10)
    with pytest.raises(ValueError, match=r"staircase: 1 is no switch"):
        schedules.exponential_decay(0.1, 0.9, 10, staircase=1)  # type: ignore
    with pytest.raises(ValueError, match=r"schedule: 0.1 is not callable; .*constant"):
        schedules.linear_warmup(0.1, 10)  # type: ignore


def named(family):
    """What is said of a family where its step size is a tracer."""
    step = gdx.train_step(gdx.problems.quadratic((1.0, 3.0)), family)
    with pytest.raises(ValueError) as error:
        jax.eval_shape(step.init, 0.1, keys(1)[0])
    assert str(error.value).startswith("family: ")
    return str(error.value)


RESTARTS = {"init_value": 0.0, "warmup_steps": 3, "decay_steps": 10}
ASKING = {
    "warmup_cosine_decay_schedule": lambda h: optax.adam(optax.warmup_cosine_decay_schedule(0.0, h, 5, 20)),
    "sgdr_schedule": lambda h: optax.sgd(optax.sgdr_schedule([RESTARTS | {"peak_value": h}])),
    "linear_schedule": lambda h: optax.sgd(optax.linear_schedule(0.0, 0.1, h)),
}


@pytest.mark.parametrize("name", ASKING)
def test_a_schedule_of_optax_that_asks_for_its_traced_peak_is_named_with_what_goes_instead(name):
    said = named(ASKING[name])
    assert said.startswith(f"family: optax's {name} asks for the value of a traced number")
    assert "multiply a schedule of peak 1 instead, lambda h: optax.adam(lambda t: h * unit(t))" in said


def test_what_is_said_to_go_instead_goes():
    unit = optax.warmup_cosine_decay_schedule(0.0, 1.0, 5, 20, 0.1)
    traced = (lambda h: optax.adam(lambda t: h * unit(t)), lambda h: optax.adam(schedules.warmup_cosine(h, 20, 5, 0.1)))
    plain = optax.warmup_cosine_decay_schedule(0.0, 0.3, 5, 20, 0.03)
    problem = gdx.problems.quadratic((1.0, 3.0))
    expected = gdx.trajectory(problem, optax.adam(plain), keys(1)[0], num_steps=25).params[:-1]
    for family in traced:
        step = gdx.train_step(problem, family)
        scan = jax.jit(lambda h, s=step: jax.lax.scan(lambda a, _: s.update(a), s.init(h, keys(1)[0]), length=25))
        # From int32 counts optax's cosine is in float32.
        np.testing.assert_allclose(scan(0.3)[1].params, expected, rtol=1e-5)


def test_whoever_else_asks_for_a_traced_number_is_told_apart():
    assert "optax's reduce_on_plateau asks" in (said := named(lambda h: optax.contrib.reduce_on_plateau(factor=h)))
    assert "cannot be an axis of a sweep; fix it" in said
    for own in (
        lambda h: optax.sgd(h if h < 1 else 1.0),
        lambda h: optax.sgd(float(h)),
        lambda h: optax.sgd(np.sqrt(h)),
    ):
        assert named(own).startswith("family: it asks for the value of a traced number")
        assert "write jnp.where" in named(own)
