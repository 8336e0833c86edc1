"""Numbers of attractors: the same where runs end alike, wherever on the map that is."""

import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx.maps import attractors


def newton(side=120, num_steps=60):
    x = np.linspace(-1, 1, side) + 1e-3
    z = x[None, :] + 1j * x[:, None]
    with np.errstate(all="ignore"):
        for _ in range(num_steps):
            z = z - (z**3 - 1) / (3 * z**2)
    return z


def test_three_roots_are_three_attractors_in_all_their_scattered_basins():
    z = newton()
    labels = attractors(np.stack([z.real, z.imag], axis=2))
    roots = np.exp(2j * np.pi * np.arange(3) / 3)
    nearest = np.argmin(np.abs(z[..., None] - roots), axis=2)
    assert sorted(np.unique(labels)) == [0, 1, 2]
    # One number a root, whichever it is.
    assert len({(int(a), int(b)) for a, b in zip(labels.ravel(), nearest.ravel(), strict=True)}) == 3
    counts = np.bincount(labels.ravel())
    assert np.all(np.diff(counts) <= 0)


def test_an_attractor_keeps_its_number_while_it_moves():
    along = np.linspace(0, 10, 200)
    points = np.stack([np.tile(along, (2, 1)), np.array([[0.0], [40.0]]) + np.zeros(200)], axis=2)
    labels = attractors(points)
    assert np.all(labels[0] == labels[0, 0])
    assert np.all(labels[1] == labels[1, 0])
    assert labels[0, 0] != labels[1, 0]


def test_cells_without_an_end_have_no_number():
    points = np.ones((2, 3))
    points[0, 1] = np.nan
    labels = attractors(points, np.array([[True, True, False], [True, True, True]]))
    np.testing.assert_array_equal(labels, [[0, -1, -1], [0, 0, 0]])
    assert np.all(attractors(np.full((2, 2), np.nan)) == -1)


@pytest.mark.slow
def test_minima_and_cycles_of_two_wells_are_told_apart_whatever_the_phase():
    starts = np.linspace(-1.3, 1.3, 41)
    sizes = np.array([0.5, 0.9, 1.1, 1.2])
    grid, start = np.meshgrid(sizes, starts)
    run = gdx.sweep(
        lambda h: gdx.problem(lambda key: h["start"] + 0.001, lambda w: (w**2 - 1) ** 2 / 4),
        lambda h: optax.sgd(h["step_size"]),
        num_steps=2_001,
        observers={"end": gdx.observers.attractor()},
    )
    runs = run({"step_size": grid.ravel(), "start": start.ravel()}, keys(1))
    verdict = gdx.verdicts(runs).reshape(grid.shape)
    ends = np.asarray(runs.observed["end"]).reshape(grid.shape)
    settled = (verdict == gdx.Verdict.CONVERGED) | (verdict == gdx.Verdict.CYCLING)
    labels = attractors(ends, settled, alike=0.2)
    # Both minima grow into a cycle each; the sign of the well says which.
    assert set(np.unique(labels[settled])) == {0, 1}
    for number in (0, 1):
        assert np.ptp(np.sign(ends[settled & (labels == number)])) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.ones(3),), "points: shape"),
        ((np.ones((2, 2)), np.ones((2, 2))), "is_there: float64"),
        ((np.ones((2, 2)), np.ones((3, 2), bool)), r"is_there: bool\[3, 2\]"),
    ],
)
def test_what_is_no_map_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        attractors(*arguments)
