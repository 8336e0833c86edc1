"""The edge along another parameter: exact where theory is, and found again where it turns back."""

import os
import signal
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.split(jax.random.key(0), 1)
BOWL = gdx.problems.quadratic(np.array([1.0, 3.0, 10.0]))
MOMENTUM: Any = {"along": gdx.Axis("momentum", 0.0, 0.99), "keys": KEY}


def heavy_ball(h):
    return optax.sgd(h["step_size"], momentum=h["momentum"])


def growing(angle):
    """Gradients turned by an angle, on parameters that grow by a share at every step: (1 + p) w - s R g."""
    turn = jnp.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def family(h):
        return optax.stateless(lambda g, w: -h["step_size"] * turn @ g + h["growth"] * w)

    return family


@pytest.mark.slow
def test_the_edge_over_momentum_is_theorys_to_nine_digits():
    curve = gdx.edge_curve(BOWL, heavy_ball, **MOMENTUM, num_steps=5_000, num_points=34)
    assert curve.positions.tolist() == np.linspace(0, 0.99, 34).tolist()
    exact = 2 * (1 + curve.positions) / 10
    np.testing.assert_allclose(curve.step_sizes, exact, rtol=1e-9)
    assert np.all(np.abs(curve.step_sizes - exact) <= curve.errors)
    assert curve.turning_points == ()
    assert np.isnan(curve.lower).all()
    whole = gdx.critical_step_size(BOWL, optax.sgd, keys=KEY, num_steps=5_000, estimate=False)
    later = np.mean([edge.step_sizes.size for edge in curve.edges[1:]])
    assert later < 0.7 * whole.step_sizes.size, "a neighbour's edge is no better a beginning than none"
    assert "momentum 0.99  0.398 +-" in str(curve)


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [40, 60, 75])
def test_an_edge_that_comes_back_is_followed_on_both_branches_and_its_turning_point_is_found(degrees):
    """|1 + p - s exp(i angle)| < 1 holds between two step sizes that meet at 1 + p = 1 / sin(angle)."""
    angle, steps = np.radians(degrees), 8_000
    bowl = gdx.problems.quadratic(np.ones(2), start=np.ones(2))
    end = 1 / np.sin(angle) - 1
    curve = gdx.edge_curve(
        bowl,
        growing(angle),
        along=gdx.Axis("growth", 0.2 * end, 1.7 * end),
        keys=KEY,
        num_steps=steps,
        num_points=6,
        criterion="converged",
        estimate=False,
    )
    (turning,) = curve.turning_points
    # A run converges within the horizon where its multiplier is below 1e-6 ** (1 / steps), the tail of 64 left out.
    slow = 1e-6 ** (1 / (steps - 64))
    assert turning.lower - 2e-5 < slow / np.sin(angle) - 1 < turning.upper + 2e-5
    assert turning.upper - turning.lower < 1e-3 * end
    near = ~np.isnan(curve.step_sizes)
    assert np.sum(near) > 6
    assert np.all(curve.positions[near] < turning.upper)
    growth = 1 + curve.positions[near]
    half = np.sqrt(growth**2 * np.cos(angle) ** 2 - growth**2 + slow**2)
    np.testing.assert_allclose(curve.step_sizes[near], growth * np.cos(angle) + half, rtol=1e-3)
    # On the other branch runs fail that grow at all, within their horizon, and succeed as above.
    upper = growth * np.cos(angle) - half
    lower = growth * np.cos(angle) - np.sqrt(growth**2 * np.cos(angle) ** 2 - growth**2 + 1.005**2)
    assert np.all(curve.lower[near] + curve.lower_errors[near] > upper * (1 - 1e-3))
    assert np.all(curve.lower[near] - curve.lower_errors[near] > lower)
    assert np.all(curve.lower[near] < curve.step_sizes[near])


@pytest.mark.slow
def test_two_straight_branches_meet_in_a_corner():
    """Growth p needs steps above p / 1 on curvature 1, and below (2 + p) / 10 on curvature 10: up to p = 2 / 9."""
    run = gdx.sweep(
        gdx.problems.quadratic(np.array([1.0, 10.0]), start=np.ones(2)),
        lambda h: optax.stateless(lambda g, w: -h["step_size"] * g + h["growth"] * w),
        num_steps=4_000,
    )
    options: Any = {"keys": KEY, "criterion": "converged", "estimate": False, "run": run}
    curve = gdx.edge_curve(along=gdx.Axis("growth", 0.02, 0.3), num_points=7, **options)
    (turning,) = curve.turning_points
    assert turning.upper == pytest.approx(2 / 9, rel=2e-2)
    near = ~np.isnan(curve.step_sizes)
    np.testing.assert_allclose(curve.step_sizes[near], (2 + curve.positions[near]) / 10, rtol=5e-3)
    np.testing.assert_allclose(curve.lower[near], curve.positions[near], atol=7e-3)
    backwards = gdx.edge_curve(along=gdx.Axis("growth", values=(0.01, 0.1)), **options)
    np.testing.assert_allclose(backwards.step_sizes, [0.201, 0.21], rtol=5e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("hears_ctrl_c")
def test_ctrl_c_keeps_the_edges_so_far():
    told = []

    def progress(finished, total):
        told.append(total)
        if len(told) > 30:
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.05)

    curve = gdx.edge_curve(
        BOWL, heavy_ball, **MOMENTUM, num_steps=20_000, num_points=200, estimate=False, progress=progress
    )
    assert curve.interrupted
    assert 0 < len(curve.positions) == len(curve.edges) < 200
    assert "interrupted" in str(curve)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"along": gdx.Axis("momentum", 0.9, 0.1)}, "along: momentum from 0.9 to 0.1 is reversed"),
        ({"along": gdx.Axis("step_size", 0.1, 0.9)}, r"along: Axis\(step_size.* is the step size itself"),
        ({"along": gdx.Axis("momentum", values=(0, 1), static=True)}, "along: .* changes shapes"),
        ({"along": gdx.Axis("b1", 0.1, 0.9)}, "axis: 'b1' is asked for by nobody: the family asks for momentum, step"),
        ({"at": {"step_size": 0.1}}, "at: 'step_size' is an axis"),
        ({"num_points": 1}, "num_points: 1 is no whole number of at least 2"),
        ({"num_steps": None}, "num_steps: it is None"),
        ({"criterion": "best"}, "criterion: 'best' is unknown"),
    ],
)  # fmt: skip
def test_what_is_no_curve_is_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        gdx.edge_curve(BOWL, heavy_ball, **{**MOMENTUM, "num_steps": 10, **change})


@pytest.mark.slow
def test_a_curve_begins_each_search_at_its_neighbours_edge():
    curve = gdx.edge_curve(
        BOWL, heavy_ball, along=gdx.Axis("momentum", 0.0, 0.6), keys=KEY, num_steps=300, num_points=4, rtol=1e-2,
        criterion="bounded", estimate=False,
    )  # fmt: skip
    np.testing.assert_allclose(curve.step_sizes, 2 * (1 + curve.positions) / 10, rtol=0.05)
    sizes = [edge.step_sizes.size for edge in curve.edges]
    assert max(sizes[1:]) < 0.6 * sizes[0]


@pytest.mark.slow
def test_near_a_turning_point_an_edge_is_that_of_endless_runs_or_none():
    # Stable where (h - 1)^2 < .5 - p: the edge is 1 + sqrt(.5 - p), and near p = .5 every horizon is too short.
    curve = gdx.edge_curve(
        gdx.problems.quadratic([1.0]),
        lambda h: optax.sgd(1.5 + (h["step_size"] - 1) ** 2 + h["p"]),
        along=gdx.Axis("p", 0.3, 0.6), keys=KEY, num_steps=500, num_points=3,
    )  # fmt: skip
    known = np.isfinite(curve.step_sizes)
    assert known.any()
    assert not known.all()
    off = np.abs(curve.step_sizes[known] - 1 - np.sqrt(0.5 - curve.positions[known]))
    assert np.all(off <= curve.errors[known] + 1e-12)
