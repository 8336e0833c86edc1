import jax
import numpy as np
import pytest

import gdx
from gdx.problems import catalogue, landscape_catalogue
from gdx.problems.landscapes import HIMMELBLAU_MINIMA, RIPPLE_MINIMUM

pytestmark = pytest.mark.usefixtures("quick_compilation")
LANDSCAPES = landscape_catalogue()


def loss_of(landscape):
    problem = landscape.make(start=landscape.start)
    return lambda point: problem.loss(point, (), None)[0]


@pytest.fixture(scope="module")
def derivatives():
    """Loss, gradient and Hessian at the minima, or else the saddle, of every landscape, compiled once for all."""
    points = {name: np.reshape(at.minima if len(at.minima) else at.saddle, (-1, 2)) for name, at in LANDSCAPES.items()}
    points["rippled-bowl"] = np.asarray([[0.0, 0.0], [RIPPLE_MINIMUM, -RIPPLE_MINIMUM]])

    @jax.jit
    def evaluate(points):
        losses = {name: loss_of(LANDSCAPES[name]) for name in points}
        kinds = (lambda loss: loss), jax.grad, jax.hessian
        return {name: [jax.vmap(kind(loss))(points[name]) for kind in kinds] for name, loss in losses.items()}

    return jax.tree.map(np.asarray, evaluate(points))


@pytest.mark.parametrize("name", [name for name, landscape in LANDSCAPES.items() if len(landscape.minima)])
def test_known_minima_are_minima_and_their_smallest_sharpness_is_known(name, derivatives):
    known = LANDSCAPES[name].make().known
    value, gradient, hessian = derivatives[name]
    eigenvalues = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    assert (eigenvalues > 0).all()
    assert known.min_sharpness == pytest.approx(eigenvalues[:, -1].min(), rel=1e-12)
    minima = value[: len(LANDSCAPES[name].minima)]
    np.testing.assert_allclose(minima, known.minimum, atol=1e-28)


@pytest.mark.parametrize(("name", "eigenvalues"), [("saddle", [-2.0, 2.0]), ("monkey-saddle", [0.0, 0.0])])
def test_saddles_are_flat_and_have_no_known_minimum(name, eigenvalues, derivatives):
    _, gradient, hessian = derivatives[name]
    np.testing.assert_array_equal(gradient, 0)
    np.testing.assert_array_equal(np.linalg.eigvalsh(hessian[0]), eigenvalues)
    assert LANDSCAPES[name].make().known is None


def test_the_four_minima_of_himmelblau_are_not_equally_sharp(derivatives):
    sharpness = np.linalg.eigvalsh(derivatives["himmelblau"][2])[:, -1]
    assert HIMMELBLAU_MINIMA[np.argmin(sharpness)] == HIMMELBLAU_MINIMA[1]


@pytest.mark.parametrize("name", ["rosenbrock", "saddle"])
def test_a_start_is_a_given_point_or_anywhere_in_the_window(name):
    landscape = LANDSCAPES[name]
    left, right, bottom, top = landscape.window
    np.testing.assert_array_equal(landscape.make(start=(0.25, -0.5)).init(jax.random.key(0))[0], [0.25, -0.5])
    x, y = jax.vmap(lambda key: landscape.make().init(key)[0])(jax.random.split(jax.random.key(0), 500)).T
    assert left <= x.min() < left + 0.1 * (right - left) < right - 0.1 * (right - left) < x.max() <= right
    assert bottom <= y.min() < bottom + 0.1 * (top - bottom) < top - 0.1 * (top - bottom) < y.max() <= top


def test_no_point_of_a_window_is_lower_than_the_known_minimum():
    shares = np.stack(np.meshgrid(*[np.linspace(0, 1, 60)] * 2), axis=-1).reshape(-1, 2)
    points = {}
    for name, landscape in LANDSCAPES.items():
        left, right, bottom, top = landscape.window
        points[name] = np.array([left, bottom]) + shares * np.array([[right - left, top - bottom]])

    @jax.jit
    def evaluate(points):
        return {name: jax.vmap(loss_of(LANDSCAPES[name]))(points[name]) for name in points}

    for name, losses in evaluate(points).items():
        known = LANDSCAPES[name].make().known
        # A loss without a lower bound goes below its saddle.
        assert losses.min() > known.minimum if known else losses.min() < 0, name


@pytest.mark.parametrize("name", LANDSCAPES)
def test_starts_minima_and_saddles_lie_in_the_window(name):
    landscape = LANDSCAPES[name]
    left, right, bottom, top = landscape.window
    for x, y in [landscape.start, *landscape.minima, *([landscape.saddle] if landscape.saddle else [])]:
        assert left < x < right
        assert bottom < y < top
    assert landscape.name == name


def test_landscapes_with_an_edge_can_be_swept_by_name():
    swept = set(catalogue()) & set(LANDSCAPES)
    assert {"rosenbrock", "himmelblau", "ravine"} <= swept
    assert all(catalogue()[name].make().known.min_sharpness for name in swept)


def test_a_start_that_is_no_point_is_refused():
    with pytest.raises(ValueError, match=r"start: shape \(3,\)"):
        gdx.problems.beale(start=(1.0, 2.0, 3.0))
