import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx

pytestmark = pytest.mark.usefixtures("quick_compilation")


def sweep_of(problem, family, step_sizes, num_steps=3000, **options):
    return gdx.sweep(problem, family, num_steps=num_steps, **options)(step_sizes, keys(1))


def name_of(runs):
    return [gdx.Verdict(int(code)).name for code in gdx.verdicts(runs)[:, 0]]


def test_the_double_well_goes_through_all_verdicts():
    runs = sweep_of(gdx.problems.quartic(start=0.5), optax.sgd, [1e-5, 0.5, 1.1, 1.5, 2.5])
    assert name_of(runs) == ["SETTLING", "CONVERGED", "CYCLING", "APERIODIC", "DIVERGED"]
    assert runs.stopped[3, 0] == gdx.Stop.HORIZON


def test_a_symmetric_cycle_is_no_settling_though_its_loss_never_rises():
    # Mean logistic loss of x = 1 with both labels: beyond step size 8 a 2-cycle +-w with one loss.
    problem = gdx.problem(jnp.asarray(1.0), lambda w: 0.5 * (jax.nn.softplus(w) + jax.nn.softplus(-w)))
    runs = sweep_of(problem, optax.sgd, [7.0, 10.0])
    assert name_of(runs) == ["CONVERGED", "CYCLING"]
    assert runs.loss_rises[1, 0] == 0
    np.testing.assert_allclose(runs.tail_gradient_norm_max[1, 0], 0.3552058917, rtol=1e-9)


def test_ringing_that_still_dies_down_is_undecided_and_no_failure():
    # Curvature 1 and momentum near 1: an oscillation that shrinks by a factor e in some 2000 steps.
    runs = sweep_of(
        gdx.problems.quadratic((1.0,)),
        lambda s: optax.sgd(s, momentum=0.999),
        [0.01],
        num_steps=1500,
        tail=128,
    )
    assert name_of(runs) == ["UNDECIDED"]
    assert runs.trend[0, 0] == -1
    for criterion in ("converged", "stable"):
        assert gdx.answers(runs, criterion)[0, 0] == gdx.Answer.UNDECIDED


def test_a_slow_diverger_is_undecided_until_it_shows():
    runs = sweep_of(gdx.problems.quadratic((1.0,)), optax.sgd, [2.0005], num_steps=2000)
    assert name_of(runs) == ["UNDECIDED"]
    assert runs.trend[0, 0] == 1
    assert gdx.bounded(runs)[0, 0]
    longer = sweep_of(gdx.problems.quadratic((1.0,)), optax.sgd, [2.0005], num_steps=60_000)
    assert name_of(longer) == ["DIVERGED"]


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("converged", "UMFFF"),
        ("stable", "MMFFF"),
        ("bounded", "MMMMF"),
        ("improved", "MMMMF"),
    ],
)
def test_every_criterion_answers_met_failed_or_undecided(criterion, expected):
    runs = sweep_of(gdx.problems.quartic(start=0.1), optax.sgd, [1e-5, 0.5, 1.1, 1.5, 2.5])
    letters = {gdx.Answer.MET: "M", gdx.Answer.FAILED: "F", gdx.Answer.UNDECIDED: "U"}
    assert "".join(letters[int(code)] for code in gdx.answers(runs, criterion)[:, 0]) == expected
    plain = getattr(gdx, criterion)(runs)
    np.testing.assert_array_equal(plain, gdx.answers(runs, criterion) == gdx.Answer.MET)


def test_verdicts_are_int8_codes_and_criteria_are_booleans():
    runs = gdx.sweep(gdx.problems.quartic(), optax.sgd, num_steps=500)(np.geomspace(0.1, 1, 4), keys(3))
    assert gdx.verdicts(runs).dtype == np.int8
    assert gdx.verdicts(runs).shape == (4, 3)
    assert all(criterion(runs).dtype == bool for criterion in (gdx.converged, gdx.bounded, gdx.improved, gdx.stable))


def test_a_tighter_tolerance_is_applied_to_the_same_facts():
    runs = sweep_of(gdx.problems.quadratic((1.0,)), optax.sgd, [0.01], num_steps=2000)
    assert gdx.converged(runs, tolerance=1e-6)[0, 0]
    assert not gdx.converged(runs, tolerance=1e-12)[0, 0]


def test_verdicts_are_the_same_on_the_host_and_in_a_trace():
    runs = sweep_of(gdx.problems.quartic(start=0.5), optax.sgd, [0.5, 1.1, 1.5, 2.5])
    np.testing.assert_array_equal(gdx.verdicts(runs), jax.jit(gdx.verdicts)(runs))


def test_a_touch_is_no_convergence():
    # Of a tail that lies below the tolerance at its best step but not at its worst, whatever the optimizer.
    runs = sweep_of(gdx.problems.quadratic((1.0,)), optax.sgd, [0.05], num_steps=300)
    lowest, highest, first = (
        float(fact[0, 0])
        for fact in (runs.tail_gradient_norm_min, runs.tail_gradient_norm_max, runs.first_gradient_norm)
    )
    assert lowest < highest
    between = (lowest * highest) ** 0.5 / first
    assert not gdx.converged(runs, tolerance=between)[0, 0]
    assert gdx.converged(runs, tolerance=1.01 * highest / first)[0, 0]


def test_an_unknown_criterion_is_refused_with_the_known_ones():
    runs = sweep_of(gdx.problems.quartic(start=0.5), optax.sgd, [0.5], num_steps=10)
    with pytest.raises(ValueError, match=r"criterion: 'good'.*improved"):
        gdx.answers(runs, "good")
