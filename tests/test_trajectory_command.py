import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from matplotlib.animation import AbstractMovieWriter
from PIL import Image
from typer.testing import CliRunner

import gdx
from gdx import optimizers, plots, studies
from gdx.cli import app
from gdx.cli.trajectory import DEFAULT_OPTIMIZERS
from gdx.plots.animation import animate
from gdx.plots.paths import HEAD_ORDER, draw, new_axes
from gdx.plots.routes import marked_rows, route
from gdx.studies.comparison import STEP_SIZES, STRIDE

pytestmark = pytest.mark.usefixtures("quick_compilation")
LANDSCAPES = gdx.problems.landscape_catalogue()
RAVINE = LANDSCAPES["ravine"]
WINDOW = (-2.0, 2.0, -1.0, 1.0)


@pytest.fixture(autouse=True)
def _precision_stays_as_it_is():
    yield
    jax.config.update("jax_enable_x64", True)
    plt.close("all")


@pytest.fixture(scope="module")
def found():
    """One step size chosen, one that converges, one that blows up."""
    contestants = [studies.Contestant("sgd", optax.sgd, step_size) for step_size in (None, 0.03, 1.0)]
    return studies.compare(RAVINE, contestants, num_steps=400)


@pytest.fixture(scope="module")
def saddle():
    contestants = [studies.Contestant("sgd", optax.sgd), studies.Contestant("sign-sgd", optax.sign_sgd, 0.3)]
    return studies.compare(LANDSCAPES["saddle"], contestants, num_steps=40)


def invoke(*arguments):
    return CliRunner().invoke(app, ["trajectory", *arguments])


def test_a_path_is_the_textbook_recursion(found):
    path = found.paths[1]
    hessian = jax.hessian(lambda w: RAVINE.make().loss(w, (), None)[0])(np.zeros(2))
    w = [np.asarray(found.start)]
    for _ in range(400):
        w.append(w[-1] - 0.03 * hessian @ w[-1])
    np.testing.assert_allclose(path.params, w, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(path.loss, [0.5 * point @ hessian @ point for point in w], rtol=1e-9, atol=1e-25)
    assert (path.left_at, path.nonfinite_at) == (None, None)


def test_the_chosen_step_size_is_the_best_of_those_that_can_be_followed(found):
    # On a quadratic all runs are known; the best that is tried stays below the edge at 2/50.
    hessian = jax.hessian(lambda w: RAVINE.make().loss(w, (), None)[0])(np.zeros(2))
    values, vectors = np.linalg.eigh(hessian)
    costs = {}
    for step_size in (step_size for step_size in STEP_SIZES if step_size < 2 / 50):
        modes = vectors.T @ np.asarray(found.start) * (1 - step_size * values) ** np.arange(401)[:, None]
        moves = np.linalg.norm(np.diff(modes, axis=0), axis=1)
        heights = 0.5 * modes**2 @ values
        if moves.max() <= STRIDE * np.hypot(7.5, 6.0):
            costs[step_size] = np.mean(np.log10(np.maximum(heights, 1e-12 * heights[0])))
    assert found.paths[0].step_size == min(costs, key=costs.get)


def test_a_run_that_blows_up_says_when_it_left_and_when_it_stopped_being_finite(found):
    path = found.paths[2]
    # |1 - 50|^k times the first coordinate across the ravine.
    assert path.left_at == 1
    squares = 2 * np.log10(49) * np.arange(401)
    assert path.nonfinite_at == pytest.approx(np.argmax(squares > 308), abs=2)


def test_without_a_minimum_the_step_size_is_chosen_by_what_happens_in_the_window(saddle):
    path = saddle.paths[0]
    assert 0 < path.left_at < 40
    moves = np.linalg.norm(np.diff(path.params[: path.left_at + 1], axis=0), axis=1)
    assert moves.max() <= STRIDE * np.hypot(4, 4)
    assert path.step_size > STEP_SIZES[0]
    assert saddle.minimum is None


def test_the_visible_part_of_a_path_is_what_dense_sampling_finds_inside():
    params = np.cumsum(np.random.default_rng(0).normal(size=(60, 2)), axis=0)
    way = route(params, WINDOW)
    shares = np.linspace(0, 1, 20_001)[:, None, None]
    dense = params[:-1] + shares * np.diff(params, axis=0)
    inside = (np.abs(dense[..., 0]) <= 2) & (np.abs(dense[..., 1]) <= 1)
    # Steps that only pass through are left out.
    inside &= inside[0] | inside[-1]
    begin, end = way.points[::3], way.points[1::3]
    lengths = np.nan_to_num(np.linalg.norm(end - begin, axis=1) / np.linalg.norm(np.diff(params, axis=0), axis=1))
    np.testing.assert_allclose(lengths, inside.mean(axis=0), atol=2e-4)
    assert 0 < len(way.exits) < 59
    assert 0 < inside.any(axis=0).sum() < 59
    border = np.minimum(np.abs(np.abs(way.exits[:, 0]) - 2), np.abs(np.abs(way.exits[:, 1]) - 1))
    np.testing.assert_allclose(border, 0, atol=1e-12)
    np.testing.assert_array_equal(way.exit_steps, np.flatnonzero(inside.any(axis=0) & ~inside[-1]))


@pytest.mark.parametrize("beyond", [1e300, -1e308, np.inf, np.nan])
def test_a_path_to_infinity_is_cut_without_a_warning(beyond):
    params = np.array([[0.0, 0.0], [0.5, 0.0], [beyond, 0.0], [-beyond, beyond], [0.0, 0.5], [0.0, 0.5]])
    way = route(params, WINDOW)
    np.testing.assert_array_equal(way.points[:2], [[0, 0], [0.5, 0]])
    np.testing.assert_allclose(way.exits[:1], [[2 * np.sign(beyond), 0]] if np.isfinite(beyond) else np.empty((0, 2)))
    np.testing.assert_array_equal(way.points[-3:], [[0.0, 0.5]] * 3)


def test_markers_stand_at_equal_distances_along_a_path():
    params = np.stack([np.linspace(-1, 1, 1001) ** 3, np.zeros(1001)], axis=1)
    way = route(params, WINDOW)
    rows = marked_rows(way.points, WINDOW, 5, 0.5)
    np.testing.assert_allclose(way.points[rows, 0], [-0.8, -0.4, 0.0, 0.4, 0.8], atol=0.01)
    still = route(np.zeros((4, 2)), WINDOW)
    assert marked_rows(still.points, WINDOW, 5, 0.5).size == 0


def test_a_dozen_optimizers_differ_without_their_colours_and_are_named_outside_the_axes(found):
    many = found._replace(paths=found.paths[:2] * 6)
    left, right = plots.trajectories(many)
    curves = right.get_lines()
    assert len({line.get_marker() for line in curves}) == 12
    assert len({(line.get_color(), line.get_linestyle()) for line in curves}) > 6
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels[1] == "sgd, step 0.03"
    assert {"start", "minimum", "last step"} <= set(labels)
    assert left.get_title() == "ravine: 400 steps from (-3.5, -0.5)"
    left.figure.draw_without_rendering()
    assert right.get_legend().get_window_extent().x0 >= right.get_window_extent().x1


def test_a_path_that_leaves_is_drawn_to_the_border_and_marked_there(found, saddle):
    for comparison, number in ((found, 2), (saddle, 0), (saddle, 1)):
        drawn = draw(*new_axes(), comparison)[number]
        left, right, bottom, top = comparison.landscape.window
        x, y = (np.asarray(values, float) for values in drawn.line.get_data())
        assert left <= np.nanmin(x) <= np.nanmax(x) <= right
        assert bottom <= np.nanmin(y) <= np.nanmax(y) <= top
        (mark,) = (mark for mark in drawn.exits[:1])
        (x,), (y,) = mark.get_data()
        # The triangle's tip, turned by its angle, points out of the side it stands on.
        angle = np.radians(mark.get_marker()[2] + 90)
        tip = {"left": -np.cos(angle), "right": np.cos(angle), "bottom": -np.sin(angle), "top": np.sin(angle)}
        gaps = {"left": x - left, "right": right - x, "bottom": y - bottom, "top": top - y}
        side = min(gaps, key=gaps.get)
        assert gaps[side] == pytest.approx(0, abs=1e-9)
        assert tip[side] == pytest.approx(1)
        assert np.isfinite(drawn.heights).sum() == (comparison.paths[number].nonfinite_at or comparison.num_steps + 1)
    labels = [text.get_text() for text in drawn.curve.axes.get_legend().get_texts()]
    assert any(label.endswith(f"(leaves at {saddle.paths[0].left_at})") for label in labels)


def test_one_run_that_blows_up_does_not_press_the_others_flat(found):
    _, right = plots.trajectories(found)
    low, high = right.get_ylim()
    assert np.log10(found.paths[0].height[0] / low) > np.log10(high / low) / 2


def test_every_frame_shows_the_paths_up_to_its_step(found):
    seen = []

    class Recorder(AbstractMovieWriter):
        def setup(self, fig, outfile, dpi=None):
            self.fig, self.outfile, self.dpi = fig, outfile, dpi

        def grab_frame(self, **_):
            left, right = self.fig.axes
            heads = [line for line in left.get_lines() if line.get_zorder() == HEAD_ORDER]
            curves = [line.get_xdata()[-1] for line in right.get_lines()]
            seen.append((left.get_title().split()[-1], curves, np.ravel(heads[1].get_data())))

        def finish(self):
            pass

    animate(found, num_frames=8, hold=2).save("nowhere", writer=Recorder())
    assert [title for title, _, _ in seen] == [str(step) for step in (*range(0, 401, 50), 400, 400)]
    for title, curves, head in seen:
        assert curves == [int(title)] * 3
        np.testing.assert_allclose(head, found.paths[1].params[int(title)])


@pytest.mark.slow
def test_the_command_writes_a_picture_an_animation_and_a_table(tmp_path):
    result = invoke("booth", "--optimizers", "sgd=0.02, adam", "--num-steps", "3", "--animate", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "trajectory.png").read_bytes().startswith(b"\x89PNG")
    with Image.open(tmp_path / "trajectory.gif") as gif:
        assert gif.n_frames >= 4
    for words in ("booth: 3 steps from (-3.9, 5.3)", "sgd, step 0.02", "adam, step", "trajectory.gif"):
        assert words in result.stdout


def test_quiet_prints_nothing_and_a_start_may_be_negative(tmp_path):
    options = ["--optimizers", "sgd=0.1", "--num-steps", "2", "--start", "-1.25,0.5", "--precision", "float32"]
    result = invoke("double-well", *options, "--quiet", "--out", str(tmp_path))
    assert (result.exit_code, result.output) == (0, "")
    assert [file.name for file in tmp_path.iterdir()] == ["trajectory.png"]


def test_the_default_optimizers_exist():
    assert set(DEFAULT_OPTIMIZERS.split(",")) <= set(optimizers.catalogue())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rosenbrok"], ["rosenbrok", "did you mean rosenbrock"]),
        (["quartic-sea"], ["quartic-sea", "is unknown"]),
        (["booth", "--optimizers", "sgd,addam"], ["addam", "did you mean adam"]),
        (["booth", "--optimizers", "adam=fast"], ["adam=fast", "adam=0.1"]),
        (["booth", "--optimizers", "adam=-1"], ["-1", "outside (0, inf)"]),
        (["booth", "--optimizers", "sgd,sgd"], ["sgd", "twice"]),
        (["booth", "--optimizers", "sgd", "--start", "1"], ["'1'", "is no point"]),
        (["booth", "--optimizers", "sgd", "--start", "9,9"], ["(9, 9)", "outside the window"]),
        (["booth", "--optimizers", "sgd", "--start", "nan,1"], ["(nan, 1)", "outside the window"]),
        (["booth", "--optimizers", "sgd", "--num-steps", "0"], ["num_steps", "0"]),
        (["booth", "--optimizers", "sgd", "--out", "/proc/nothing"], ["/proc/nothing", "cannot be written"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_arguments_are_one_sentence_exit_code_two_and_nothing_compiled(arguments, words):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
    result = invoke(*arguments)
    jax.monitoring.clear_event_listeners()
    assert result.exit_code == 2, result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
    assert not [event for event in compiled if "compile" in event]


def test_landscapes_are_listed():
    listed = CliRunner().invoke(app, ["list", "landscapes"]).stdout
    assert all(name in listed for name in LANDSCAPES)
    assert "adam" not in listed
    refused = CliRunner().invoke(app, ["list", "landscape"])
    assert refused.exit_code == 2
    assert "'landscape' is unknown" in refused.stderr
