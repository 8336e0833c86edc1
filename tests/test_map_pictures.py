"""What pictures of maps say: colours by kind and by number, shades by rank, and a legend that explains them."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from matplotlib.colors import to_rgb

import gdx
from gdx.maps import refine
from gdx.maps.axes import cells_of
from gdx.plots.palette import COLOURS, FAILURE, SUCCESS

X, Y = gdx.Axis("step_size", 0.1, 10.0, "log"), gdx.Axis("start", -2.0, 2.0)


@pytest.fixture(scope="module")
def found():
    """Starts against step sizes on a bowl that is steeper outwards: a run converges, or blows up the sooner the further
    out it starts. Made by hand, since a sweep takes seconds to compile."""
    across, down = cells_of(X, 96, 0.6), cells_of(Y, 64, 0.4)
    reach = np.abs(down.positions)[:, None] / np.sqrt(np.maximum(2 / across.positions - 1, 1e-3))
    inside = (reach < 1).astype(int)
    refined = refine(inside.shape, lambda cells: inside.flat[cells], max_wrong=0.05)
    cells = np.flatnonzero(refined.computed)
    meets, far = inside.flat[cells][:, None], reach.flat[cells][:, None]
    bad = np.where(meets, -1, 2 + (200 / far).astype(int))
    facts = {"first_bad_step": bad, "steps": np.where(meets, 150, bad), "first_loss": far**2, "last_loss": far**2 / 100}
    facts |= {"tail_loss": np.where(meets, far**2 / 100, np.nan), "gradient_rate": np.log(far)}
    verdict = np.where(inside, gdx.Verdict.CONVERGED, gdx.Verdict.DIVERGED)
    return gdx.PhaseMap(
        across=across,
        down=down,
        answers=refined.labels.astype(np.int8),
        share=refined.labels.astype(float),
        verdict=verdict.astype(np.int8),
        computed=refined.computed,
        audit=refined.audit,
        criterion="bounded",
        chosen_because="",
        tolerance=1e-6,
        horizon=150,
        at={},
        starts=[[0, 0]],
        cells=cells,
        run_answers=meets.astype(np.int8),
        verdicts=verdict.flat[cells][:, None].astype(np.int8),
        follow="verdicts",
        facts=facts,
        observed={"arrival": np.where(meets, 1 + (100 * far).astype(int), bad)},
        num_runs=cells.size,
        reused=0,
        seconds=1.0,
        compile_seconds=0.5,
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


def test_answers_have_the_hues_where_verdicts_tell_nothing(found):
    """As without facts of cycles and gradients."""
    untold = np.where(found.verdict == gdx.Verdict.DIVERGED, found.verdict, gdx.Verdict.UNDECIDED).astype(np.int8)
    axes = gdx.plots.phase_map(found._replace(verdict=untold))
    met, failed, _ = legend(axes)
    assert met.startswith("met: bounded")
    assert failed.startswith("failed: not bounded: the darker the sooner it blew up")


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


@pytest.mark.slow
def test_attractors_have_a_hue_each_and_what_wanders_has_none():
    mapped = gdx.phase_map(
        lambda h: gdx.maps.starting(gdx.problem(jnp.zeros(1), lambda w: jnp.sum((w**2 - 1) ** 2) / 4), h),
        lambda h: optax.sgd(h["step_size"]),
        x=gdx.Axis("step_size", 0.2, 1.9),
        y=gdx.Axis("start_x", -1.2, 1.2),
        keys=jax.random.split(jax.random.key(0), 1),
        num_steps=1_000,
        resolution=24,
        criterion="bounded",
        observers={"attractor": gdx.observers.attractor()},
    )
    labels = mapped.of("attractor")
    calm = np.isfinite(labels) & (mapped.x < 0.8)
    # Where steps are small a run stays in the well that it starts in.
    wells = np.sign(mapped.y)[:, None] * np.ones_like(labels)
    assert len({(sign, label) for sign, label in zip(wells[calm], labels[calm], strict=True)}) == 2
    assert np.isnan(labels[:, mapped.x > 1.85]).any()
    axes = gdx.plots.phase_map(mapped, "attractor")
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told[0].startswith("attractor 0: ")
    assert any("neither at rest" in line for line in told)
