import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys
from hypothesis import given, settings
from hypothesis import strategies as st

import gdx
from gdx.observers import Window, cycle_period, exact_repetition, near_period, tail_statistics


def distances(orbit):
    return jnp.asarray([abs(point - orbit[0]) for point in orbit])


@settings(max_examples=50, deadline=None)
@given(
    points=st.lists(st.integers(-50, 50), min_size=2, max_size=15, unique=True),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
)
def test_the_period_of_an_orbit_is_found_at_every_scale(points, scale):
    # The first step's distance tells the points apart only where no two are equally far from the first.
    offsets = [abs(point - points[0]) for point in points]
    if len(set(offsets)) < len(offsets):
        return
    orbit = [scale * points[i % len(points)] for i in range(64)]
    assert int(cycle_period(distances(orbit))) == len(points)


def test_an_orbit_that_passes_its_start_on_the_way_is_not_cut_short():
    assert int(cycle_period(distances([0.0, 1.0, 0.0, 2.0] * 16))) == 4


def test_a_decaying_oscillation_has_no_period():
    assert int(cycle_period(distances([(-0.99) ** i for i in range(64)]))) == 0


def test_a_slow_oscillation_is_nearly_periodic_and_chaos_is_not():
    fading = distances([(-0.9995) ** i for i in range(64)])
    assert (int(cycle_period(fading)), int(near_period(fading))) == (0, 2)
    orbit = [0.3]
    for _ in range(63):
        orbit.append(3.6 * orbit[-1] * (1 - orbit[-1]))
    assert int(near_period(distances(orbit))) == 0
    assert int(near_period(distances([0.0, 1.0, 0.5, 2.0] * 16))) == 4


def test_a_drift_has_no_period():
    assert int(cycle_period(distances(np.linspace(0.0, 1.0, 64)))) == 0


def test_chaos_has_no_period_and_never_repeats():
    orbit = [0.3]
    for _ in range(63):
        orbit.append(3.9 * orbit[-1] * (1 - orbit[-1]))
    moved = distances(orbit)
    assert int(cycle_period(moved)) == 0
    assert int(exact_repetition(moved, jnp.zeros(64))) == 0


def test_exact_repetition_needs_parameters_and_state_to_come_back_together():
    moved = distances([0.0, 1.0] * 8)
    state = distances([0.0, 1.0, 2.0, 3.0] * 4)
    assert int(exact_repetition(moved, jnp.zeros(16))) == 2
    assert int(exact_repetition(moved, state)) == 4
    assert int(exact_repetition(moved * jnp.nan, state)) == 0


def test_windows_of_every_size_are_reduced():
    for size in (1, 2, 3, 64):
        norms = jnp.exp(-0.1 * jnp.arange(size))
        losses = jnp.arange(size) % 2.0
        tail = tail_statistics(Window(losses, norms, None, None))
        assert int(tail.loss_rises) == size // 2
        np.testing.assert_allclose(tail.norm_mean, norms.mean())
        if size % 2 == 0:
            np.testing.assert_allclose(tail.rate, -0.1, rtol=1e-12)
        assert int(cycle_period(losses)) == (2 if size > 4 else 0)


def test_rounding_is_no_rise():
    noisy = jnp.asarray([1.0, 1.0 + 2e-16, 1.0, 1.0 + 1e-12])
    assert int(tail_statistics(Window(noisy, noisy, None, None)).loss_rises) == 1


def test_a_cycle_of_two_that_still_settles_near_a_doubling_has_no_period_of_four():
    # Its two points move by 1e-2 to and fro, by a ten-millionth less each time.
    orbit = [step % 2 + 0.01 * (-1 + 1e-7) ** (step // 2) for step in range(64)]
    assert int(cycle_period(distances(orbit))) == 0
    settled = [step % 2 + 0.01 * (-1) ** (step // 2) for step in range(64)]
    assert int(cycle_period(distances(settled))) == 4


def total_of(part):
    """An observer that adds up what a part of the view comes to."""
    return gdx.Observer(
        init=lambda params: jnp.zeros_like(params),
        update=lambda total, view: total + part(view),
        summarise=lambda total: total,
    )


def test_an_observer_sees_updates_and_hyperparameters_of_its_own_run():
    problem = gdx.problems.quadratic((1.0, 4.0))
    observers = {
        "way": total_of(lambda view: view.update),
        "expected": total_of(lambda view: -view.hyperparams["step_size"] * view.gradient),
        "momenta": total_of(lambda view: jnp.full_like(view.params, view.hyperparams["momentum"])),
    }

    def family(h):
        return optax.sgd(h["step_size"], h["momentum"])

    run = gdx.sweep(problem, family, num_steps=10, tail=4, slots=2, observers=observers)
    sizes, momenta = np.array([0.01, 0.1, 0.2]), np.array([0.0, 0.0, 0.5])
    runs = run({"step_size": sizes, "momentum": momenta}, keys(2))
    seen = runs.observed
    # Gradient descent on a quadratic, and ten times its momentum.
    start = np.stack([problem.init(key)[0] for key in keys(2)])
    descent = start * (1 - sizes[:2, None, None] * np.array([1.0, 4.0])) ** 10 - start
    np.testing.assert_allclose(seen["way"][:2], descent, rtol=1e-12)
    np.testing.assert_allclose(seen["way"][:2], seen["expected"][:2], rtol=1e-12)
    assert np.all(np.abs(seen["way"][2] - seen["expected"][2]) > 1e-3)
    np.testing.assert_allclose(seen["momenta"], np.broadcast_to(10 * momenta[:, None, None], (3, 2, 2)))


def test_what_no_observer_looks_at_is_not_in_the_program():
    step = gdx.train_step(gdx.problems.quadratic((1.0, 4.0)), optax.adam)
    state = jax.eval_shape(step.init, jnp.float64(0.1), jax.random.key(0))

    def program(read):
        return jax.make_jaxpr(lambda state: (lambda moved, view: (moved, read(view)))(*step.update(state)))(state)

    loss_alone, all_of_it = program(lambda view: view.loss), program(lambda view: view)
    assert len(loss_alone.eqns) == len(all_of_it.eqns)


def test_large_summaries_do_not_wait_by_the_thousand():
    large = gdx.Observer(
        init=lambda params: jnp.zeros((400, 500)),
        update=lambda kept, view: kept + view.loss,
        summarise=lambda kept: kept,
    )
    run = gdx.sweep(gdx.problems.quadratic((1.0, 4.0)), optax.sgd, num_steps=10, observers={"large": large}, slots=4)
    runs = run(np.linspace(0.1, 0.4, 12), keys(1))
    assert runs.observed["large"].shape == (12, 1, 400, 500)
    assert np.all(runs.observed["large"][:, 0, 0, 0] > 0)
    (program,) = run._programs.values()
    # 1.6 MB each: room for 64 MiB of them and those that end at once, not for 4096.
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(program.blank[1])) < 80e6


@pytest.mark.slow
def test_periods_up_to_sixty_four_are_told_by_a_tail_of_twice_as_much():
    # Between the quartic's doublings, whose first seven are known to ten digits, the period is a power of two.
    doublings = [1.0, 1.2360679775, 1.2880317545, 1.2992279397, 1.3016289140, 1.3021432716, 1.3022534377, 1.3022770323]
    sizes = np.array([(low + 1.5 * high) / 2.5 for low, high in itertools.pairwise(doublings)])
    run = gdx.sweep(gdx.problems.quartic(start=0.9), optax.sgd, num_steps=200_000, tail=160)
    runs = run(sizes, keys(1))
    assert runs.period[:, 0].tolist() == [2, 4, 8, 16, 32, 64, 0]
    assert [gdx.Verdict(int(code)).name for code in gdx.verdicts(runs)[:6, 0]] == ["CYCLING"] * 6
