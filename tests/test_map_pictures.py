"""What pictures of maps say: colours by kind and by number, shades by rank, and a legend that explains them."""

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from matplotlib.colors import to_rgb

import gdx
from gdx.plots.palette import COLOURS, FAILURE, SUCCESS

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def found():
    """Starts against step sizes on a bowl that is steeper outwards: converges, or blows up."""
    return gdx.phase_map(
        lambda h: gdx.problems.hard_partner(start=h["start"]),
        optax.sgd,
        x=gdx.Axis("step_size", 0.1, 10.0, "log"),
        y=gdx.Axis("start", -2.0, 2.0),
        keys=jax.random.split(jax.random.key(0), 1),
        num_steps=150,
        resolution=(96, 64),
        criterion="bounded",
        max_wrong=0.05,
        follow="verdicts",
    )


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def colours_of(axes, found):
    return np.asarray(axes.collections[0].get_array()).reshape(*found.answers.shape, 3)


def legend(axes):
    return [" ".join(text.get_text().split()) for text in axes.get_legend().get_texts()]


def test_answers_have_the_colours_of_success_and_failure_where_they_are(found):
    axes = gdx.plots.phase_map(found, "answer")
    shown = colours_of(axes, found)
    assert np.allclose(shown[found.answers == gdx.Answer.MET], to_rgb(SUCCESS))
    assert np.allclose(shown[found.answers == gdx.Answer.FAILED], to_rgb(FAILURE))
    assert legend(axes)[:2] == ["met: bounded", "failed: not bounded"]
    assert legend(axes)[-1].startswith(f"{np.mean(found.computed):.1%} of the cells computed; of all answers and verd")
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel(), axes.get_ylabel() == ("step size", "start")
    np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], [0.1, 10, -2, 2])


def test_runs_that_blew_up_sooner_are_darker_in_the_hue_of_their_verdict(found):
    axes = gdx.plots.phase_map(found)
    shown, steps = colours_of(axes, found), found.of("steps")
    own = found.computed & (found.verdict == gdx.Verdict.DIVERGED)
    order = np.argsort(steps[own], kind="stable")
    brightness = shown[own].sum(axis=1)[order]
    assert np.all(np.diff(brightness) >= -1e-12)
    assert brightness[0] < np.sum(to_rgb(COLOURS[gdx.Verdict.DIVERGED])) < brightness[-1]
    (told,) = [line for line in legend(axes) if line.startswith("diverged")]
    assert told == f"diverged: the darker the sooner it blew up, {steps[own].min():.0f} .. {steps[own].max():.0f} steps"


def test_cells_that_were_filled_in_are_paler_where_that_is_asked_for(found):
    whole, marked = (colours_of(gdx.plots.phase_map(found, mark_computed=mark), found) for mark in (False, True))
    np.testing.assert_array_equal(whole[found.computed], marked[found.computed])
    assert np.all(marked[~found.computed].sum(axis=1) > whole[~found.computed].sum(axis=1))


@pytest.mark.parametrize("colour", ["share", "steps", "last_loss", "gradient_rate", "arrival"])
def test_numbers_have_a_bar_that_names_them(found, colour):
    axes = gdx.plots.phase_map(found, colour)
    (bar,) = [one for one in axes.figure.axes if one is not axes]
    assert colour.split("_")[0] in bar.get_ylabel() + axes.get_title()
    assert colours_of(axes, found).shape == (64, 96, 3)


def test_what_was_not_measured_is_no_colour(found):
    with pytest.raises(ValueError, match="colour: 'lyapunov' is unknown; choose from verdict, intensity"):
        gdx.plots.phase_map(found, "lyapunov")


def test_an_interrupted_map_shows_what_is_known(found):
    labels = np.where(found.computed, found.verdict, -1).astype(np.int8)
    part = found._replace(verdict=labels, share=np.where(found.computed, found.share, np.nan), interrupted=True)
    for colour in ("intensity", "answer"):
        axes = gdx.plots.phase_map(part, colour)
        assert np.all(colours_of(axes, part)[~found.computed] == 1)
        assert "unknown" in legend(axes) or colour == "answer"
        assert legend(axes)[-1].startswith("interrupted: ")
