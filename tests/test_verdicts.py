import functools

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


def kicked(num_kicks, kick):
    """An optimizer that first moves by fixed steps, whatever the gradient, and then descends."""

    def make(step_size):
        def init(params):
            return jnp.zeros((), jnp.int32)

        def update(gradient, count, params=None):
            updates = jax.tree.map(lambda g: jnp.where(count < num_kicks, kick, -step_size * g), gradient)
            return updates, count + 1

        return optax.GradientTransformation(init, update)

    return make


@pytest.mark.parametrize(("momentum", "num_steps"), [(0.99, 1_000), (0.999, 8_000)])
def test_an_oscillation_slower_than_the_tail_is_unfinished_and_no_failure(momentum, num_steps):
    # Below 2 (1 + b) / 10 heavy ball comes to rest at any step size, if slowly.
    problem = gdx.problems.quadratic([1.0, 3.0, 10.0])
    family = functools.partial(optax.sgd, momentum=momentum)
    run = gdx.sweep(problem, family, num_steps=num_steps)
    below = np.geomspace(1e-8, 0.995 * 2 * (1 + momentum) / 10, 300)
    found = gdx.answers(run(below, jax.random.split(jax.random.key(1), 4)))
    assert not np.any(found == gdx.Answer.FAILED)


def test_bursts_further_apart_than_the_tail_is_long_are_no_rest():
    # AdamW's edge for curvature 7.3 and decay .1 lies at 4.130435; beyond it the gradient bursts again and again.
    curvatures = jnp.asarray([1.0, 3.0, 7.3])
    problem = gdx.problem(lambda key: jax.random.normal(key, (3,)), lambda w: 0.5 * jnp.sum(curvatures * w**2))

    def family(step_size):
        return optax.adamw(step_size, b1=0.9, b2=0.99, eps=1.0, weight_decay=0.1)

    step_sizes = np.concatenate([[4.0, 4.12], np.linspace(4.2, 7.9, 100)])
    runs = sweep_of(problem, family, step_sizes, num_steps=20_000)
    quiet = runs.tail_gradient_norm_max <= 1e-6 * runs.first_gradient_norm
    assert quiet[:2].all()
    assert quiet[2:].any()
    for criterion in ("converged", "stable"):
        found = gdx.answers(runs, criterion)
        assert np.all(found[:2] == gdx.Answer.MET)
        assert np.all(found[2:] != gdx.Answer.MET)
        assert np.mean(found[2:] == gdx.Answer.FAILED) > 0.9


def test_a_run_that_leaves_a_minimum_again_has_not_converged():
    # Curvature 10 at 2.005 / 10: it grows by .5 % a step, from a start that lacks all but a trace of it.
    start = jnp.asarray([1.0, 1e-12])
    problem = gdx.problem(start, lambda w: 0.5 * jnp.sum(jnp.asarray([1.0, 10.0]) * w**2))
    runs = sweep_of(problem, optax.sgd, [0.199, 0.2005], num_steps=2000)
    assert np.all(runs.tail_gradient_norm_max <= 1e-6 * runs.first_gradient_norm)
    assert name_of(runs) == ["CONVERGED", "UNDECIDED"]


def test_a_local_minimum_counts_although_a_lower_loss_was_passed():
    # Kicked across the deep well at -1 into the shallow one at 1.
    problem = gdx.problem(jnp.asarray(-2.0), lambda w: (w**2 - 1) ** 2 + 0.3 * w)
    runs = sweep_of(problem, kicked(15, 0.2), [0.05], num_steps=3000)
    assert runs.last_loss[0, 0] > 0 > runs.best_loss[0, 0]
    assert name_of(runs) == ["CONVERGED"]


def test_a_saddle_without_curvature_is_no_success():
    # A chain of four with step sizes t (1, 2, 3, .2): beyond .47772 some runs end at 0, where the loss is a half.
    def family(step_size):
        scales = step_size * jnp.asarray([1.0, 2.0, 3.0, 0.2])
        return optax.stateless(lambda gradient, params: -scales * gradient)

    runs = gdx.sweep(gdx.problems.chain(4), family, num_steps=5000)([0.4, 0.4144, 0.989, 1.0139, 1.1481], keys(32))
    at_saddle = (runs.last_loss > 0.4) & (runs.tail_gradient_norm_max <= 1e-6 * runs.first_gradient_norm)
    assert at_saddle.any()
    assert not gdx.converged(runs)[at_saddle].any()
    assert not gdx.stable(runs)[at_saddle].any()
    assert gdx.converged(runs)[:2].sum() > 40


def test_a_search_that_stands_still_is_no_success():
    # Newton's method on logistic loss of one example with both labels: beyond .599 from 3 it ends on a far plain.
    problem = gdx.problem(jnp.asarray([3.0]), lambda b: jnp.mean(jnp.logaddexp(0.0, b) - b / 2))
    runs = sweep_of(problem, gdx.optimizers.newton, [0.59, 0.61], num_steps=500)
    assert name_of(runs) == ["CONVERGED", "STRANDED"]
    assert runs.tail_search_failures[1, 0] == runs.tail_steps[1, 0] == 64
    for criterion in ("converged", "stable", "bounded", "improved"):
        assert gdx.answers(runs, criterion)[:, 0].tolist() == [gdx.Answer.MET, gdx.Answer.FAILED]


def test_a_fact_that_was_left_out_gives_no_verdict_rather_than_a_wrong_one():
    step_sizes = [1e-5, 0.5, 1.1, 1.5, 2.5]
    for facts in ((), ("gradient",), ("cycles",)):
        runs = sweep_of(gdx.problems.quartic(start=0.1), optax.sgd, step_sizes, facts=facts)
        found = name_of(runs)
        whole = ["SETTLING", "CONVERGED", "CYCLING", "APERIODIC", "DIVERGED"]
        assert all(name in (wanted, "UNDECIDED") for name, wanted in zip(found, whole, strict=True)), (facts, found)
        assert found[-1] == "DIVERGED"
        assert gdx.bounded(runs)[:, 0].tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("options", [{"tail": 1}, {"num_steps": 1}])
def test_one_step_of_tail_says_nothing_of_stability(options):
    runs = sweep_of(gdx.problems.quartic(start=0.5), optax.sgd, [0.5, 1.1], **options)
    assert np.all(gdx.answers(runs, "stable")[1] != gdx.Answer.MET)
    assert runs.loss_rises[1, 0] == -1


def test_a_fall_is_no_blow_up():
    problem = gdx.problem(jnp.asarray(10.0), lambda w: 0.5 * w**2)
    runs = sweep_of(problem, optax.sgd, [0.1, 2.5], num_steps=300, blow_up_factor=0.9)
    assert name_of(runs) == ["CONVERGED", "DIVERGED"]
    assert runs.first_bad_step[0, 0] == -1


def test_a_cycle_that_still_settles_near_a_doubling_gets_no_wrong_period():
    # The quartic's 2-cycle doubles at 1.236068.
    runs = sweep_of(gdx.problems.quartic(start=0.5), optax.sgd, [1.2, 1.236006, 1.25], num_steps=20_000)
    assert runs.period[0, 0] == 2
    assert runs.period[1, 0] in (0, 2)
    assert runs.period[2, 0] == 4


@pytest.mark.slow
def test_searches_that_are_led_uphill_are_told_with_what_is_missing():
    problem = gdx.problem(jnp.ones(3), lambda w: jnp.sum(jnp.cosh(w)))

    def uphill(h):
        return optax.chain(gdx.optimizers.scale_by_newton_cg(), gdx.optimizers.scale_by_wolfe(h))

    def downhill(h):
        return optax.chain(gdx.optimizers.scale_by_newton_cg(), optax.scale(-1.0), gdx.optimizers.scale_by_wolfe(h))

    told = {}
    for family in (uphill, downhill):
        run = gdx.sweep(problem, family, num_steps=20)
        told[family] = str(run([0.5, 1.0], keys(1)))
        edge = gdx.critical_step_size(run=run, keys=keys(1), bracket=(0.5, 1.0), criterion="converged", estimate=False)
        assert ("is optax.scale(-1.0) missing in front?" in str(edge)) == (family is uphill)
    assert "all failed from step 0; is optax.scale(-1.0) missing in front?" in told[uphill]
    assert "missing" not in told[downhill]
    # Nor where one of two runs has found something, or there is no search at all.
    runs = gdx.sweep(problem, optax.sgd, num_steps=20)([0.0001, 0.1], keys(1))
    assert "missing" not in str(runs)
