import functools
import signal
import subprocess
import sys
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LAST_PARAMS, SWEEPS, keys

import gdx
from gdx.sweeps import sizing, streaming
from gdx.sweeps.sizing import choose_blocks, choose_slots

NETWORK = gdx.problems.linear_network((3, 3, 3), singular_values=(1.0, 0.6, 0.3))


def take(runs, index):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], runs)


def assert_same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_permuting_the_lanes_changes_no_bit_of_any_lane():
    run = gdx.sweep(NETWORK, optax.sgd, num_steps=300, slots=16)
    step_sizes = np.linspace(0.3, 1.6, 23)
    order = np.random.default_rng(0).permutation(23)
    assert_same_bits(take(run(step_sizes, keys(3)), order), run(step_sizes[order], keys(3)))


def test_neither_the_segments_nor_the_queue_change_a_bit(monkeypatch):
    step_sizes = np.linspace(0.3, 1.6, 50)
    usual = gdx.sweep(NETWORK, optax.sgd, num_steps=300, slots=8)(step_sizes, keys(2))
    monkeypatch.setattr(streaming, "SEGMENT_SECONDS", 1e-9)
    monkeypatch.setattr(streaming, "QUEUE_ROWS", 7)
    monkeypatch.setattr(streaming, "LOG_ROWS", 3)
    assert_same_bits(usual, gdx.sweep(NETWORK, optax.sgd, num_steps=300, slots=8)(step_sizes, keys(2)))


def test_the_number_of_workers_changes_no_bit(monkeypatch):
    step_sizes = np.linspace(0.3, 1.6, 50)
    alone = gdx.sweep(NETWORK, optax.sgd, num_steps=300, slots=8, workers=1)(step_sizes, keys(2))
    for workers in (2, 3):
        run = gdx.sweep(NETWORK, optax.sgd, num_steps=300, slots=8, workers=workers)
        assert_same_bits(alone, run(step_sizes, keys(2)))
    # Segments of one block, so that the workers take turns all the time.
    monkeypatch.setattr(streaming, "SEGMENT_SECONDS", 1e-9)
    assert_same_bits(alone, run(step_sizes, keys(2)))


def test_a_worker_that_has_nothing_to_do_is_not_started(monkeypatch):
    started = []
    monkeypatch.setattr(streaming, "_worker", lambda *args: started.append(args))
    gdx.sweep(NETWORK, optax.sgd, num_steps=100, slots=8, workers=4)([0.1] * 8, keys(1))
    assert not started


def test_what_goes_wrong_in_a_worker_is_raised_to_the_caller(monkeypatch):
    calls = []
    fails = streaming.advance_flight

    def failing(segment, flight):
        calls.append(threading.current_thread().name)
        if calls[-1] == "gdx-sweep":
            raise MemoryError("no room")
        return fails(segment, flight)

    monkeypatch.setattr(streaming, "advance_flight", failing)
    with pytest.raises(MemoryError, match="no room"):
        gdx.sweep(NETWORK, optax.sgd, num_steps=100, slots=4, workers=2)(np.linspace(0.1, 1, 40), keys(1))


def test_a_loss_that_calls_back_into_python_runs_as_well():
    def loss(w):
        shape = jax.ShapeDtypeStruct((), w.dtype)
        one = jax.pure_callback(lambda: np.ones((), w.dtype), shape, vmap_method="sequential")
        return 0.5 * jnp.sum(w**2) * jax.lax.stop_gradient(one)

    runs = gdx.sweep(gdx.problem(jnp.ones(2), loss), optax.sgd, num_steps=20, slots=4, workers=2)([0.5] * 9, keys(1))
    np.testing.assert_allclose(runs.last_loss[:, 0], 0.25**19, rtol=1e-12)


@pytest.mark.parametrize("family", [optax.sgd, optax.adam], ids=["sgd", "adam"])
def test_a_neighbour_that_blows_up_changes_no_bit(family):
    problem = gdx.problem(lambda key: jax.random.normal(key, (5,)), lambda w: jnp.sum(w**4) + jnp.sum(jnp.exp(w)))
    calm = np.geomspace(1e-4, 1e-2, 8)
    wild = np.where(np.arange(8) % 2, 1e30, calm)
    run = gdx.sweep(problem, family, num_steps=200, slots=8)
    alone, beside = run(calm, keys(1)), run(wild, keys(1))
    assert_same_bits(take(alone, slice(0, None, 2)), take(beside, slice(0, None, 2)))
    assert np.all(gdx.verdicts(beside)[1::2] == gdx.Verdict.DIVERGED)


CLOSURES = {
    "problem": lambda x: (gdx.problem(lambda key: jnp.ones(2), lambda w: x * jnp.sum(w**4)), optax.sgd),
    "start": lambda x: (gdx.problem(lambda key: x * jnp.ones(2), lambda w: jnp.sum(w**4)), optax.sgd),
    "family": lambda x: (
        gdx.problem(lambda key: jnp.ones(2), lambda w: jnp.sum(w**4)),
        lambda step_size: optax.sgd(step_size, momentum=x),
    ),
}


@pytest.mark.parametrize("name", CLOSURES)
@pytest.mark.parametrize("transform", [jax.jit, pytest.param(jax.vmap, marks=pytest.mark.slow)])
def test_a_sweep_may_close_over_what_is_being_traced(name, transform):
    def last_loss(x):
        return gdx.sweep(*CLOSURES[name](x), num_steps=20)(jnp.array([0.01, 0.05]), keys(1)).last_loss

    values = [0.3, 0.6]
    found = (
        transform(last_loss)(jnp.asarray(values))
        if transform is jax.vmap
        else [transform(last_loss)(x) for x in values]
    )
    np.testing.assert_allclose(np.stack(found), np.stack([last_loss(x) for x in values]), rtol=1e-12)


def test_a_sweep_inside_a_users_trace_gives_the_same_bits():
    run = gdx.sweep(NETWORK, optax.sgd, num_steps=300, slots=16)
    step_sizes = jnp.linspace(0.3, 1.6, 20)
    inside = jax.jit(lambda step_sizes: run(step_sizes, keys(2)))(step_sizes)
    assert_same_bits(run(step_sizes, keys(2)), jax.tree.map(np.asarray, inside))
    closed_over = jax.jit(lambda: gdx.converged(run(step_sizes, keys(2))))()
    np.testing.assert_array_equal(closed_over, gdx.converged(run(step_sizes, keys(2))))


def test_one_trace_serves_grids_of_every_length_and_a_whole_edge():
    traces = []

    def loss(w):
        traces.append(1)
        return 0.5 * jnp.sum(jnp.asarray([1.0, 10.0]) * w**2)

    problem = gdx.problem(lambda key: jax.random.normal(key, (2,)), loss)
    run = gdx.sweep(problem, optax.sgd, num_steps=200)
    run(np.linspace(0.01, 0.3, 4), keys(2))
    before = len(traces)
    for length, repeats in ((1, 2), (9, 5), (5000, 1)):
        run(np.linspace(0.01, 0.3, length), keys(repeats))
    gdx.critical_step_size(problem, optax.sgd, keys=keys(3), run=run, estimate=False)
    assert len(traces) == before


@pytest.mark.parametrize(("step_size", "period"), [(0.95, None), (1.1, 2), (1.26, 4)])
def test_the_quartic_cycles_with_its_known_period(step_size, period):
    runs = gdx.sweep(gdx.problems.quartic(start=0.5), optax.sgd, num_steps=5000)([step_size], keys(1))
    if period is None:
        assert gdx.verdicts(runs)[0, 0] == gdx.Verdict.CONVERGED
    else:
        assert runs.period[0, 0] == period
        assert gdx.verdicts(runs)[0, 0] == gdx.Verdict.CYCLING


@pytest.mark.usefixtures("quick_compilation_here")
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ("quartic", "heavy ball", "rmsprop") else pytest.mark.slow) for n in SWEEPS],
)
def test_verdicts_do_not_depend_on_the_stopping_rules(name):
    problem, family, step_sizes = SWEEPS[name]
    found = [
        gdx.verdicts(gdx.sweep(problem, family, num_steps=2000, stopping=stopping)(step_sizes, keys(4)))
        for stopping in (gdx.Stopping.none(), gdx.Stopping(converged=True))
    ]
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.usefixtures("quick_compilation_here")
def test_every_rule_ends_what_it_should_and_nothing_when_switched_off():
    step_sizes = [0.5, 1.1, 2.5]
    problem = gdx.problems.quartic(start=0.5)

    def stops(**rules):
        runs = gdx.sweep(problem, optax.sgd, num_steps=1000, stopping=gdx.Stopping(**rules))(step_sizes, keys(1))
        return [gdx.Stop(int(code)).name for code in runs.stopped[:, 0]], runs.steps[:, 0]

    names, steps = stops(converged=True)
    assert names == ["CONVERGED", "REPEATED", "BLOWN_UP"]
    assert np.all(steps < 1000)
    assert stops(blow_up=False)[0][2] == "NONFINITE"
    names, steps = stops(converged=False, nonfinite=False, blow_up=False, repeated=False)
    assert names == ["HORIZON"] * 3
    np.testing.assert_array_equal(steps, 1000)


@pytest.mark.usefixtures("quick_compilation_here")
@pytest.mark.parametrize("offset", [-3.0, 0.0, 7.0])
def test_the_blow_up_bound_copes_with_negative_and_zero_losses(offset):
    problem = gdx.problem(jnp.asarray(2.0**-0.5), lambda w: w**2 - 0.5 + offset)
    runs = gdx.sweep(problem, optax.sgd, num_steps=500)([0.5, 1.5], keys(1))
    np.testing.assert_allclose(runs.first_loss, offset, atol=1e-15)
    assert gdx.verdicts(runs)[:, 0].tolist() == [gdx.Verdict.CONVERGED, gdx.Verdict.DIVERGED]


def test_a_loss_without_a_lower_bound_diverges_downwards():
    runs = gdx.sweep(gdx.problem(jnp.asarray(1.0), lambda w: -(w**2)), optax.sgd, num_steps=500)([0.5], keys(1))
    assert runs.stopped[0, 0] == gdx.Stop.BLOWN_UP
    assert runs.last_loss[0, 0] < -1e12


@pytest.mark.usefixtures("quick_compilation_here")
@pytest.mark.parametrize("num_steps", [1, 5, 64, 65, 300, 997, 4000])
def test_facts_are_those_of_the_last_steps_at_every_horizon(num_steps):
    problem = gdx.problem(jnp.asarray([1.3, 0.4]), lambda w: 0.5 * (w[0] * w[1] - 1.0) ** 2)
    runs = gdx.sweep(problem, optax.sgd, num_steps=num_steps, stopping=gdx.Stopping.none())([1.1], keys(1))
    path = gdx.trajectory(problem, optax.sgd(1.1), jax.random.key(0), num_steps=num_steps)
    losses, norms = np.asarray(path.loss[:-1]), np.asarray(path.gradient_norm[:-1])
    tail = slice(max(num_steps - 64, 0), None)
    facts = take(runs, (0, 0))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-13)
    assert facts.steps == num_steps
    close(facts.first_loss, losses[0])
    close(facts.last_loss, losses[-1])
    close(facts.best_loss, losses.min())
    close(facts.tail_loss, losses[tail].mean())
    close(facts.first_gradient_norm, norms[0])
    close(facts.tail_gradient_norm_min, norms[tail].min())
    close(facts.tail_gradient_norm_mean, norms[tail].mean())
    close(facts.tail_gradient_norm_max, norms[tail].max())


@pytest.mark.usefixtures("quick_compilation_here")
def test_the_first_bad_step_is_exact():
    problem = gdx.problems.quartic(start=0.5)
    path = gdx.trajectory(problem, optax.sgd(2.2), jax.random.key(0), num_steps=40)
    first = int(np.argmax(~(np.abs(path.loss - path.loss[0]) <= 1e12)))
    for tail in (4, 64):
        runs = gdx.sweep(problem, optax.sgd, num_steps=2000, tail=tail)([2.2], keys(1))
        assert runs.first_bad_step[0, 0] == runs.steps[0, 0] == first


@pytest.mark.usefixtures("quick_compilation_here")
def test_a_full_loss_is_what_facts_are_about():
    data = jax.random.normal(jax.random.key(5), (64,)) + 2.0
    problem = gdx.problem(
        jnp.asarray(0.0),
        lambda w, batch: 0.5 * jnp.mean((w - batch) ** 2),
        batches=lambda key, step: jax.random.choice(jax.random.fold_in(key, step), data, (4,)),
        full_loss=lambda w: 0.5 * jnp.mean((w - data) ** 2),
    )
    options = {"num_steps": 400, "observers": {"params": LAST_PARAMS}}
    runs = gdx.sweep(problem, optax.sgd, evaluate_every=1, **options)([0.05], keys(3))
    np.testing.assert_allclose(runs.first_loss, 0.5 * float(jnp.mean(data**2)), rtol=1e-12)
    last = 0.5 * np.mean((runs.observed["params"][..., None] - np.asarray(data)) ** 2, axis=-1)
    np.testing.assert_allclose(runs.last_loss, last, rtol=1e-12)
    assert len(np.unique(runs.last_loss)) == 3
    rare = gdx.sweep(problem, optax.sgd, evaluate_every=16, **options)([0.05], keys(3))
    np.testing.assert_array_equal(rare.observed["params"], runs.observed["params"])
    assert np.all(rare.tail_gradient_norm_min >= runs.tail_gradient_norm_min)


def test_hyperparameters_may_be_a_pytree_and_reach_the_problem():
    run = gdx.sweep(lambda h: gdx.problems.quartic(start=h["w0"]), lambda h: optax.sgd(h["step_size"]), num_steps=1000)
    runs = run({"w0": np.asarray([0.5, 2.0, 0.5]), "step_size": np.asarray([0.5, 1.5, 1.1])}, keys(2))
    assert runs.stopped.shape == (3, 2)
    assert gdx.verdicts(runs)[:, 0].tolist() == [
        gdx.Verdict.CONVERGED,
        gdx.Verdict.DIVERGED,
        gdx.Verdict.CYCLING,
    ]


@pytest.mark.usefixtures("quick_compilation_here")
def test_an_observer_sees_every_step_and_only_those():
    counter = gdx.Observer(
        init=lambda params: (jnp.int32(0), jnp.int32(-1)),
        update=lambda state, view: (state[0] + 1, view.step),
        summarise=lambda state: {"count": state[0], "last": state[1]},
    )
    for num_steps in (64, 300, 997):
        run = gdx.sweep(
            gdx.problems.quartic(),
            optax.sgd,
            num_steps=num_steps,
            stopping=gdx.Stopping.none(),
            observers={"c": counter},
        )
        seen = run([0.1, 0.2], keys(2)).observed["c"]
        np.testing.assert_array_equal(seen["count"], num_steps)
        np.testing.assert_array_equal(seen["last"], num_steps - 1)


@pytest.mark.usefixtures("quick_compilation_here")
def test_leaving_facts_out_leaves_the_rest_as_it_is():
    problem, step_sizes = gdx.problems.quartic(start=0.5), [0.5, 1.1, 2.5]
    full = gdx.sweep(problem, optax.sgd, num_steps=1000, stopping=gdx.Stopping.none())(step_sizes, keys(1))
    bare = gdx.sweep(problem, optax.sgd, num_steps=1000, stopping=gdx.Stopping.none(), facts=())(step_sizes, keys(1))
    np.testing.assert_array_equal(full.best_loss, bare.best_loss)
    np.testing.assert_array_equal(full.last_loss, bare.last_loss)
    assert np.all(np.isnan(bare.tail_gradient_norm_max))
    assert np.all(bare.period == 0)


def test_progress_counts_up_to_the_whole():
    seen = []
    run = gdx.sweep(gdx.problems.quartic(), optax.sgd, num_steps=100, slots=8)
    run(np.linspace(0.1, 0.9, 40), keys(2), progress=lambda finished, total: seen.append((finished, total)))
    assert seen[-1] == (80, 80)
    assert [finished for finished, _ in seen] == sorted(finished for finished, _ in seen)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_gives_back_what_was_finished():
    run = gdx.sweep(gdx.problems.quartic(), optax.sgd, num_steps=20_000, slots=8, stopping=gdx.Stopping.none())

    def press_once_something_is_done(finished, total):
        if finished:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(gdx.Interrupted) as caught:
        run(np.linspace(0.1, 0.9, 2000), keys(1), progress=press_once_something_is_done)
    runs = caught.value.runs
    finished = runs.stopped[:, 0] == gdx.Stop.HORIZON
    assert 0 < finished.sum() < 2000
    assert np.all(gdx.verdicts(runs)[~finished] == gdx.Verdict.UNDECIDED)
    assert np.all(gdx.verdicts(runs)[finished] == gdx.Verdict.CONVERGED)


def test_lanes_stream_through_a_queue_and_a_log_of_fixed_size(monkeypatch):
    # Hundreds of segments that end at once: a segment's length must not grow without bound meanwhile.
    monkeypatch.setattr(streaming, "QUEUE_ROWS", 64)
    monkeypatch.setattr(streaming, "LOG_ROWS", 64)
    run = gdx.sweep(gdx.problems.quartic(start=0.5), optax.sgd, num_steps=1, slots=64)
    runs = run(np.linspace(0.1, 0.9, 20_011), keys(1))
    np.testing.assert_allclose(runs.first_loss, 0.140625)
    assert np.all(runs.stopped == gdx.Stop.HORIZON)


@pytest.mark.parametrize("num_steps", [1, 10, 64, 100, 300, 997, 5000, 20_000, 99_991])
@pytest.mark.parametrize("spares", [True, False])
def test_blocks_make_up_the_horizon(num_steps, spares):
    blocks = choose_blocks(num_steps, 64, spares_watching=spares)
    assert blocks.number * (blocks.coast + blocks.watch) == num_steps + blocks.padding
    assert blocks.watch == min(64, num_steps)
    assert 0 <= blocks.padding < blocks.number


def test_slots_are_a_power_of_two_from_the_work_of_a_step_alone():
    chosen = [choose_slots(size, backend) for size in (1, 10**3, 10**5, 10**7) for backend in ("cpu", "gpu")]
    assert all(slots & (slots - 1) == 0 for slots in chosen)
    assert chosen[0] >= chosen[2] >= chosen[4] >= chosen[6]


def whitened(matrix):
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    return left @ jnp.diag(jnp.minimum(values, 1.0)) @ right


def calls_in(function, *shapes, monkeypatch):
    # As on a jaxlib that shares matrices among threads, whichever is installed.
    monkeypatch.setattr(sizing, "SPLITTING", ((0, 0, 0), (9, 0, 0)))
    return sizing.factorizations(jax.make_jaxpr(function)(*(jnp.ones(shape) for shape in shapes)).jaxpr)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (whitened, [(6, 4)], {(1, 10 * 6 * 4 * 4)}),
        (jax.vmap(whitened), [(3, 6, 4)], {(3, 10 * 6 * 4 * 4)}),
        (jnp.linalg.solve, [(5, 5), (5,)], {(1, 5 * 5 * 5), (1, 5 * 5)}),
        (lambda x: jax.lax.scan(lambda carry, _: (whitened(carry), None), x, length=3)[0], [(4, 4)], {(1, 640)}),
        (lambda x: x @ x, [(5, 5)], set()),
    ],
)
def test_factorizations_of_a_step_are_found_wherever_they_stand(function, shapes, expected, monkeypatch):
    assert set(calls_in(function, *shapes, monkeypatch=monkeypatch)) == expected


@pytest.mark.parametrize(("rows", "slots"), [(4, 128), (16, 4), (27, 1), (60, 1)])
def test_no_more_lanes_factorize_at_once_than_one_thread_takes(rows, slots, monkeypatch):
    calls = calls_in(whitened, (rows, rows), monkeypatch=monkeypatch)
    assert choose_slots(1, "cpu", calls=calls) == slots
    assert choose_slots(1, "gpu", calls=calls) == choose_slots(1, "gpu")
    assert not sizing.is_split(calls, slots)
    assert sizing.is_split(calls, 512)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "optimizer", "num_steps", "slots"),
    [
        # On jaxlib 0.10.2 two workers once waited for each other's matrices for ever.
        ("digits_mlp(batch_size=64)", "galore", 100, None),
        ("digits_mlp(batch_size=64)", "galore", 100, 8),
        # Lanes side by side once searched for ever where one had come to rest.
        ('logistic_regression("breast-cancer")', "lbfgs", 500, 4),
    ],
)
def test_sweeps_end(problem, optimizer, num_steps, slots):
    # In a program of its own, so that it can be ended from outside.
    program = f"""
import jax, numpy as np, gdx
jax.config.update("jax_enable_x64", True)
problem, family = gdx.problems.{problem}, gdx.optimizers.family("{optimizer}")
run = gdx.sweep(problem, family, num_steps={num_steps}, slots={slots}, workers=2)
print(run(np.geomspace(1e-6, 1e3, 31), jax.random.split(jax.random.key(0), 3), progress=False).steps.shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "(31, 3)"


QUARTIC = gdx.problems.quartic()
BAD_CALLS = {
    "empty": ([], "step_sizes: .*empty"),
    "negative": ([0.1, -0.2], "step_sizes: -0.2"),
    "zero": ([0.0], "step_sizes: 0.0"),
    "nan": ([0.1, np.nan], "step_sizes: nan"),
    "infinite": ([np.inf], "step_sizes: inf"),
    "two-dimensional": (np.ones((2, 2)), "step_sizes: shape"),
    "a number": (0.1, "step_sizes: shape"),
    "text": (np.asarray(["a"]), "step_sizes: dtype"),
    "unequal": ({"a": np.ones(2), "b": np.ones(3)}, "length 3 differs from 2"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_step_sizes_that_make_no_sense_are_refused(name):
    value, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        gdx.sweep(QUARTIC, optax.sgd, num_steps=10)(value, keys(1))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (jax.random.PRNGKey(0), r"shape \(\)"),
        (jnp.zeros((3, 4), jnp.uint32), "uint32 of shape .*wrap_key_data"),
        (jax.random.key(0), r"shape \(\)"),
        (0, "int, no random keys"),
        (keys(4).reshape(2, 2), r"shape \(2, 2\)"),
        (keys(4)[:0], r"shape \(0,\)"),
    ],
)
def test_keys_that_do_not_fit_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        gdx.sweep(QUARTIC, optax.sgd, num_steps=10)([0.1], bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps: 0"),
        ({"num_steps": 1.5}, "num_steps: 1.5"),
        ({"num_steps": 10, "tail": 0}, "tail: 0"),
        ({"num_steps": 10, "tolerance": -1.0}, "tolerance: -1.0"),
        ({"num_steps": 10, "tolerance": np.nan}, "tolerance: nan"),
        ({"num_steps": 10, "slots": 0}, "slots: 0"),
        ({"num_steps": 10, "facts": ("norms",)}, "norms"),
        ({"num_steps": 10, "evaluate_every": 0}, "evaluate_every: 0"),
        ({"num_steps": 10, "blow_up_factor": 0}, "blow_up_factor: 0"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gdx.sweep(QUARTIC, optax.sgd, **options)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (gdx.problem(jnp.ones(3), lambda w: w), r"loss: .*\[3\]"),
        (gdx.problem(jnp.ones(3), lambda w: jnp.sum(w > 0)), "loss: .*int"),
        (gdx.problem(jnp.arange(3), lambda w: jnp.sum(w) * 1.0), "int64"),
        (gdx.problem((), lambda w: jnp.zeros(())), "no leaves"),
        (gdx.problem(lambda key: {"a": jnp.ones(2), "b": jnp.tanh}, lambda w: jnp.sum(w["a"])), "init: .*partition"),
        (gdx.stateful_problem(lambda key: (jnp.ones(2), 0.0), lambda w, s: jnp.sum(w)), "loss: .*not a pair"),
        (gdx.stateful_problem(lambda key: (jnp.ones(2), {"a": 0.0}), lambda w, s: (jnp.sum(w), 0.0)), "same structure"),
        (
            gdx.stateful_problem(lambda key: (jnp.ones(2), jnp.ones(2)), lambda w, s: (jnp.sum(w), s[:1])),
            "same shapes",
        ),
        (3, "no gdx.Problem"),
        (lambda h: h, "no gdx.Problem"),
    ],
)
def test_problems_that_cannot_be_descended_are_refused(problem, message):
    with pytest.raises(ValueError, match=message):
        gdx.sweep(problem, optax.sgd, num_steps=10)([0.1], keys(1))


def test_a_hyperparameter_that_the_optimizer_lacks_is_refused_with_what_it_takes():
    family = functools.partial(optax.sgd, b1=0.8)
    with pytest.raises(ValueError, match=r"b1.*momentum"):
        gdx.sweep(QUARTIC, family, num_steps=10)([0.1], keys(1))


def test_a_step_size_at_which_a_run_gives_nan_is_data():
    runs = gdx.sweep(QUARTIC, optax.sgd, num_steps=50)([0.1, 1e200], keys(2))
    assert np.all(gdx.verdicts(runs)[1] == gdx.Verdict.DIVERGED)
    assert np.all(np.isfinite(runs.last_loss[0]))


def test_float32_parameters_stay_float32_and_give_the_same_verdicts():
    start = jnp.asarray([1.2, 0.3], jnp.float32)
    problem = gdx.problem(start, lambda w: 0.5 * (w[0] * w[1] - jnp.float32(1)) ** 2)
    runs = gdx.sweep(problem, optax.sgd, num_steps=3000, tolerance=1e-5)([0.5, 0.9, 1.1, 5.0], keys(1))
    chex.assert_type(runs.last_loss, np.float32)
    expected = [gdx.Verdict.CONVERGED, gdx.Verdict.CONVERGED, gdx.Verdict.CYCLING, gdx.Verdict.DIVERGED]
    assert gdx.verdicts(runs)[:, 0].tolist() == expected


@pytest.mark.parametrize(("tail", "num_steps", "slots"), [(64, 200, 8), (4, 3000, 64)])
def test_the_best_loss_is_that_before_the_run_ended(tail, num_steps, slots):
    # One step to the left each time: from 10.5 down to .5 at 5, up again, NaN below 2, and lower than ever beyond.
    def loss(w):
        return jnp.where(w > 2, jnp.abs(w - 5) + 0.5, jnp.where(w > -20, jnp.nan, 0.01 * w))

    walk = optax.stateless(lambda gradient, params: jax.tree.map(lambda g: -jnp.ones_like(g), gradient))
    run = gdx.sweep(gdx.problem(jnp.asarray(15.0), loss), lambda h: walk, num_steps=num_steps, tail=tail, slots=slots)
    runs = run([0.1], keys(1))
    assert runs.stopped[0, 0] == gdx.Stop.NONFINITE
    assert runs.best_loss[0, 0] == 0.5
    assert runs.first_bad_step[0, 0] == 13
