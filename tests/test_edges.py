import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx.edges import scanning
from gdx.edges.growing import grow
from gdx.edges.reading import read_edge, worth_refining
from gdx.edges.starting import first_scan, guessed_step

pytestmark = pytest.mark.usefixtures("quick_compilation")

# The brackets alone; estimates have tests of their own.
critical_step_size = functools.partial(gdx.critical_step_size, estimate=False)

QUADRATIC = gdx.problems.quadratic((1.0, 10.0))


def test_a_bracket_is_no_wider_than_asked_and_holds_the_change():
    run = gdx.sweep(QUADRATIC, optax.sgd, num_steps=3000)
    for rtol in (1e-2, 1e-4, 1e-9):
        edge = critical_step_size(QUADRATIC, optax.sgd, keys=keys(4), run=run, rtol=rtol)
        for pair in (edge.first_failure, edge.last_success):
            assert pair.upper <= pair.lower * (1 + rtol)
        below, above = run([edge.first_failure.lower, edge.first_failure.upper], keys(4)).stopped
        assert not np.any(below == gdx.Stop.BLOWN_UP)
        assert np.any(above == gdx.Stop.BLOWN_UP)
        assert np.any(gdx.converged(run([edge.last_success.lower], keys(4))))
        assert not np.any(gdx.converged(run([edge.last_success.upper], keys(4))))


def test_too_slow_is_not_unstable():
    edge = critical_step_size(QUADRATIC, optax.sgd, keys=keys(4), num_steps=2000)
    # Converging to 1e-6 along curvature 1 takes a step of about ln(1e6)/2000.
    assert 0.5 < edge.too_slow_below / (math.log(1e6) / 2000) < 2
    assert edge.first_failure.lower > 0.19
    assert edge.horizon == 2000
    assert edge.repeats == 4


def test_what_is_beyond_the_scan_is_said_and_not_guessed():
    within = critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=2000, bracket=(0.02, 0.1))
    assert within.status is gdx.EdgeStatus.ALL_MEET
    assert math.isnan(within.first_failure.lower)
    assert within.last_success == (pytest.approx(0.1), math.inf)
    beyond = critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=2000, bracket=(0.3, 1.0))
    assert beyond.status is gdx.EdgeStatus.NONE_MEETS
    assert beyond.first_failure == (0.0, pytest.approx(0.3))
    assert math.isnan(beyond.last_success.upper)
    assert beyond.crossings == ()


def family_with_a_hole(step_size):
    """Descends, except that it climbs for step sizes between 0.05 and 0.08."""
    climbs = (step_size > 0.05) & (step_size < 0.08)
    return optax.sgd(jnp.where(climbs, -1.0, 1.0) * step_size)


def test_a_boundary_that_is_not_monotone_is_reported_with_all_its_crossings():
    edge = critical_step_size(QUADRATIC, family_with_a_hole, keys=keys(2), num_steps=3000, rtol=1e-5)
    assert edge.status is gdx.EdgeStatus.NOT_MONOTONE
    np.testing.assert_allclose(edge.first_failure, 0.05, rtol=2e-5)
    np.testing.assert_allclose(edge.last_success, 0.2, rtol=5e-3)
    assert any(pair.lower <= 0.08 <= pair.upper for pair in edge.crossings)
    assert all(pair.upper <= pair.lower * (1 + 1e-5) for pair in edge.crossings)
    assert list(edge.crossings) == sorted(edge.crossings)


def test_edges_may_start_from_a_grid_that_was_swept_already():
    run = gdx.sweep(QUADRATIC, optax.sgd, num_steps=2000)
    grid = np.geomspace(0.3, 0.05, 12)
    edge = critical_step_size(QUADRATIC, optax.sgd, keys=keys(3), run=run, scanned=(grid, run(grid, keys(3))))
    np.testing.assert_allclose(edge.last_success, 0.2, rtol=5e-3)
    assert edge.step_sizes.min() == pytest.approx(0.05)
    assert edge.answers.shape == (edge.step_sizes.size, 3)


def test_the_criteria_disagree_where_they_should():
    problem = gdx.problems.quartic(start=0.5)
    run = gdx.sweep(problem, optax.sgd, num_steps=4000)
    find = functools.partial(critical_step_size, problem, optax.sgd, keys=keys(1), run=run, bracket=(0.5, 3.0))
    np.testing.assert_allclose(find(criterion="converged").last_success, 1.0, rtol=3e-3)
    np.testing.assert_allclose(find(criterion="stable").last_success, 1.0, rtol=3e-3)
    assert find(criterion="bounded").last_success.lower > 1.6
    # Nothing at all is lost by a cycle whose loss is below the first.
    assert find(criterion="improved").first_failure.lower > 1.1


@pytest.mark.slow
def test_momentum_moves_the_edge_by_one_plus_beta():
    plain, heavy = (
        critical_step_size(QUADRATIC, family, keys=keys(2), num_steps=6000, bracket=(0.05, 1.0)).last_success.lower
        for family in (optax.sgd, functools.partial(optax.sgd, momentum=0.7))
    )
    np.testing.assert_allclose(heavy / plain, 1.7, rtol=2e-3)


def test_a_precision_that_float32_cannot_resolve_is_refused_with_the_remedy():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"rtol: 1e-07 .*float32.*jax_enable_x64"):
        critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=100, rtol=1e-7)
    with pytest.raises(ValueError, match=r"rtol: 1e-17 .*float64"):
        critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=100, rtol=1e-17)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 100, "criterion": "konverged"}, "criterion: 'konverged'.*converged, stable"),
        ({"num_steps": 100, "bracket": (1.0, 0.1)}, "bracket"),
        ({"num_steps": 100, "bracket": (0.0, 0.1)}, "bracket"),
        ({}, "num_steps: None"),
        (
            {"num_steps": 100, "run": gdx.sweep(QUADRATIC, optax.sgd, num_steps=50)},
            "num_steps: 100 is not the 50",
        ),
        (
            {"tolerance": 1e-9, "run": gdx.sweep(QUADRATIC, optax.sgd, num_steps=50)},
            "tolerance: 1e-09 is tighter",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), **options)


@pytest.fixture(scope="module")
def descent():
    """One compiled sweep of the quadratic, for all that only looks at its answers."""
    return gdx.sweep(QUADRATIC, optax.sgd, num_steps=2000)


def test_an_edge_keeps_every_run_so_that_any_criterion_can_be_asked_of_it(descent):
    edge = critical_step_size(keys=keys(2), run=descent, bracket=(0.05, 1.0), rtol=1e-2)
    assert edge.runs.stopped.shape == edge.answers.shape == (edge.step_sizes.size, 2)
    assert edge.step_sizes.size > 17
    assert np.all(np.diff(edge.step_sizes) > 0)
    again = descent(edge.step_sizes, keys(2))
    for criterion in ("converged", "bounded"):
        np.testing.assert_array_equal(gdx.answers(edge.runs, criterion), gdx.answers(again, criterion))


class Imagined:
    """Runs of one start that are too slow, succeed and fail in turn, for a search to ask for."""

    def __init__(self, slow_below, edge, step_sizes, slow=gdx.Answer.UNDECIDED):
        self.slow_below, self.edge, self.slow, self.rounds = slow_below, edge, slow, 0
        self.step_sizes = np.asarray(step_sizes, float)

    def add(self, step_sizes, progress):
        before = self.step_sizes.size
        self.rounds += len(step_sizes) > 0
        self.step_sizes = np.union1d(self.step_sizes, step_sizes)
        return self.step_sizes.size > before

    def answered(self):
        met = np.where(self.step_sizes <= self.edge, gdx.Answer.MET, gdx.Answer.FAILED)
        return np.where(self.step_sizes < self.slow_below, self.slow, met)[:, None]


@pytest.mark.parametrize("slow", [gdx.Answer.UNDECIDED, gdx.Answer.FAILED])
@pytest.mark.parametrize("edge", [3e-9, 1e-4, 0.7, 40.0, 2e9])
def test_a_scan_grows_until_it_has_seen_both_sides_of_an_edge_wherever_it_is(edge, slow):
    criterion = "converged" if slow == gdx.Answer.UNDECIDED else "trains"
    runs = Imagined(0.2 * edge, edge, np.geomspace(1e-2, 30, 8), slow)
    grow(runs, Imagined.answered, criterion)
    found = read_edge(runs.step_sizes, runs.answered(), criterion)
    assert found.last_success.lower <= edge < found.last_success.upper
    assert found.first_failure.lower <= edge < found.first_failure.upper
    assert not found.too_slow_below > edge
    assert runs.step_sizes.size < 80


def test_a_scan_does_not_grow_beyond_what_it_has_to_know():
    runs = Imagined(1e-3, 0.7, np.geomspace(1e-4, 10, 20))
    grow(runs, Imagined.answered, "converged")
    assert runs.rounds == 0
    endless = Imagined(0.0, math.inf, [1.0, 2.0])
    grow(endless, Imagined.answered, "bounded")
    assert endless.step_sizes[-1] <= 1e10
    assert endless.step_sizes[0] == 1.0


def test_an_edge_beyond_the_first_scan_is_found_by_growing():
    run = gdx.sweep(gdx.problems.quadratic((1e-6,)), optax.sgd, num_steps=300)
    edge = critical_step_size(keys=keys(1), run=run, criterion="bounded", rtol=1e-2)
    # A slow diverger looks bounded until its loss has grown by 1e12.
    np.testing.assert_allclose(edge.last_success, 2e6, rtol=8e-2)
    assert edge.status is gdx.EdgeStatus.BRACKETED


def test_where_steps_are_dear_the_scan_is_short_and_where_runs_are_around_what_curvature_says():
    rows = 1e-3 * jnp.asarray(np.random.default_rng(0).normal(size=(2000, 3)))
    problem = gdx.problem(jnp.ones(3), lambda w: 0.5 * jnp.mean((rows @ w) ** 2))
    edge_of_descent = 2 / float(np.linalg.eigvalsh(np.asarray(rows.T @ rows / 2000))[-1])
    run = gdx.sweep(problem, optax.sgd, num_steps=200)
    edge = critical_step_size(keys=keys(1), run=run, criterion="bounded", rtol=0.9)
    # Less than half of the points of the wide scan over as many decades.
    assert edge.step_sizes.size < 48
    assert edge.last_success.lower < 1.1 * edge_of_descent < 1.1 * edge.last_success.upper
    long = gdx.sweep(problem, optax.sgd, num_steps=10**6)
    long.check([1.0], keys(1))
    around = first_scan(long, keys(1))
    assert around.size < 10
    assert around[0] < 0.1 * edge_of_descent < edge_of_descent < 0.1 * around[-1]


@pytest.mark.slow
def test_the_guess_is_threshold_over_curvature_of_the_first_batch_if_there_is_one():
    curvatures = jnp.asarray([1.0, 4.0])
    one = gdx.problems.finite_sum(jnp.ones(2), lambda w, c: 0.5 * c * (w @ w), curvatures, batch_size=1)
    first = one.batches(jax.random.fold_in(keys(1)[0], 0), jnp.int32(0))[0][0]
    guess = functools.partial(guessed_step, key=keys(1)[0])
    assert guess(gdx.sweep(one, optax.sgd, num_steps=1)) == pytest.approx(2 / float(first), rel=1e-6)
    # After one step Adam divides by the size of the gradient: its threshold 38 over curvature / |gradient|.
    adam = gdx.sweep(gdx.problems.quadratic((3.0,), start=(0.5,)), optax.adam, num_steps=1)
    assert guess(adam) == pytest.approx(38 * 1.5 / 3.0, rel=1e-6)
    assert guess(gdx.sweep(QUADRATIC, optax.sign_sgd, num_steps=1)) is None
    # Twice the step size for the second number: the threshold belongs to curvatures 1 and 2 * 4.
    groups = lambda h: optax.partition({"slow": optax.sgd(h), "fast": optax.sgd(2 * h)}, {"a": "slow", "b": "fast"})  # noqa: E731
    both = gdx.problem({"a": jnp.ones(()), "b": jnp.ones(())}, lambda w: 0.5 * w["a"] ** 2 + 2 * w["b"] ** 2)
    assert guess(gdx.sweep(both, groups, num_steps=1)) == pytest.approx(2 / 8, rel=1e-6)


def test_a_sweep_that_is_passed_on_is_of_the_problem_and_the_family_that_are_named():
    heavy = functools.partial(optax.sgd, momentum=0.5)
    run = gdx.sweep(QUADRATIC, heavy, num_steps=50)
    options = {"keys": keys(1), "run": run, "bracket": (0.01, 1.0), "rtol": 0.5}
    with pytest.raises(ValueError, match=r"problem: .* is not the one of the sweep"):
        critical_step_size(gdx.problems.quadratic((1.0, 3.0)), heavy, **options)
    for other in (optax.sgd, functools.partial(optax.sgd, momentum=0.4)):
        with pytest.raises(ValueError, match=r"family: .* is not the one of the sweep"):
            critical_step_size(QUADRATIC, other, **options)
    with pytest.raises(ValueError, match="tail: 7 is not the "):
        critical_step_size(QUADRATIC, heavy, tail=7, **options)
    named, unnamed = (
        critical_step_size(*told, **options)
        for told in ((QUADRATIC, functools.partial(optax.sgd, momentum=0.5)), (None, None))
    )
    np.testing.assert_array_equal(named.answers, unnamed.answers)
    with pytest.raises(ValueError, match="problem: it is None"):
        critical_step_size(keys=keys(1), num_steps=10)


def test_the_tail_is_the_sweeps(monkeypatch):
    made = {}
    monkeypatch.setattr(scanning, "sweep", lambda *_, **options: made.update(options) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        critical_step_size(QUADRATIC, optax.sgd, keys=keys(1), num_steps=200, tail=50)
    assert made["tail"] == 50


def test_runs_that_are_merely_unfinished_do_not_all_meet_it(descent):
    edge = critical_step_size(keys=keys(2), run=descent, bracket=(1e-5, 0.1))
    assert edge.last_success == (pytest.approx(0.1), math.inf)
    assert edge.status is gdx.EdgeStatus.UNDECIDED


def test_brackets_are_no_finer_than_a_share_of_the_spread_between_starts():
    # x0^2 / 2 + x0^4 / 4: each start's basin ends at 2 / (1 + x0^2).
    problem = gdx.problem(
        lambda key: jax.random.uniform(key, minval=0.3, maxval=1.5), lambda w: 0.5 * w**2 + 0.25 * w**4
    )
    run = gdx.sweep(problem, optax.sgd, num_steps=1000)
    own = [2 / (1 + float(problem.init(key)[0]) ** 2) for key in keys(6)]
    spread = max(own) / min(own)
    assert spread > 1.5
    edge = critical_step_size(keys=keys(6), run=run, bracket=(0.3, 3.0), rtol=1e-6)
    alone = critical_step_size(keys=keys(6)[:1], run=run, bracket=(0.3, 3.0), rtol=1e-6)
    np.testing.assert_allclose(alone.last_success, own[0], rtol=2e-6)
    for pair, truth in ((edge.first_failure, min(own)), (edge.last_success, max(own))):
        assert pair.lower < truth < pair.upper
        assert 1e-4 < pair.upper / pair.lower - 1 < math.log(spread) / 15
    assert 1.3 < edge.spread <= spread
    for pair, truth in zip(edge.by_start, own, strict=True):
        assert pair.lower < truth < pair.upper


def test_where_one_starts_answers_alternate_finer_points_are_not_asked_for():
    step_sizes = np.geomspace(1.0, 2.0, 41)
    plain, torn = (np.full((41, 1), gdx.Answer.MET, np.int8) for _ in range(2))
    plain[20:] = torn[20:] = gdx.Answer.FAILED
    torn[22:36:2] = gdx.Answer.MET
    assert worth_refining(step_sizes, plain, "converged", 1e-6) == [(step_sizes[19], step_sizes[20])]
    # The zone is 2^(14/40) wide, a twentieth of that in logarithms .012: less than the spacing, .017.
    assert len(worth_refining(step_sizes, torn, "converged", 1e-6)) > 2
    halved, wide = np.geomspace(1.0, 2.0, 201), np.full((201, 1), gdx.Answer.MET, np.int8)
    wide[100:] = gdx.Answer.FAILED
    wide[110:180:10] = gdx.Answer.MET
    assert not worth_refining(halved, wide, "converged", 1e-6)
    # By the loss that is reached one relapse is enough to say how wide the boundary is.
    once = np.full((201, 1), gdx.Answer.MET, np.int8)
    once[100:] = gdx.Answer.FAILED
    once[170:175] = gdx.Answer.MET
    assert worth_refining(halved, once, "converged", 1e-6)
    assert not worth_refining(halved, once, "trains", 1e-6)


def reaches(bound):
    return lambda runs: np.where(np.asarray(runs.tail_loss) < bound, gdx.Answer.MET, gdx.Answer.FAILED)


def test_by_the_loss_that_is_reached_too_slow_and_too_large_are_never_one_first_failure(descent):
    edge = critical_step_size(keys=keys(4), run=descent, criterion=reaches(1e-4), bracket=(1e-4, 1.0), rtol=1e-3)
    assert 1e-3 < edge.too_slow_below < 0.05
    np.testing.assert_allclose(edge.first_failure, 0.2, rtol=3e-2)
    np.testing.assert_allclose(edge.last_success, 0.2, rtol=3e-2)
    assert edge.answers[0, 0] == gdx.Answer.FAILED


def interrupting(after):
    """Progress that presses Ctrl-C when so many rounds are done."""
    done = []

    def progress(finished, total):
        if finished == total:
            done.append(total)
        if len(done) == after:
            raise KeyboardInterrupt

    return progress


def test_ctrl_c_gives_back_all_that_was_measured_and_what_can_be_read_off_it(descent):
    options = {"keys": keys(2), "run": descent, "bracket": (0.05, 1.0), "rtol": 1e-6}
    whole = critical_step_size(**options)
    with pytest.raises(gdx.Interrupted) as caught:
        critical_step_size(progress=interrupting(2), **options)
    found = caught.value
    assert 17 < found.step_sizes.size < whole.step_sizes.size
    assert found.edge.last_success.lower < 0.2 < found.edge.first_failure.upper
    again = descent(found.step_sizes, keys(2))
    np.testing.assert_array_equal(found.runs.last_loss, again.last_loss)
    with pytest.raises(gdx.Interrupted) as caught:
        descent([0.1, 0.2], keys(2), progress=interrupting(1))
    np.testing.assert_array_equal(caught.value.step_sizes, [0.1, 0.2])


def test_ctrl_c_in_an_estimate_gives_back_the_finished_edge(monkeypatch, descent):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scanning, "estimate_of", interrupted)
    with pytest.raises(gdx.Interrupted) as caught:
        gdx.critical_step_size(keys=keys(1), run=descent, criterion="converged", bracket=(0.05, 1.0), rtol=1e-2)
    edge = caught.value.edge
    assert edge.last_success.upper <= edge.last_success.lower * 1.01


def test_in_single_precision_runs_that_cycle_among_neighbouring_numbers_have_converged():
    with jax.enable_x64(False):
        problem = gdx.problem(lambda key: jax.random.normal(key, (1,)), lambda w: jnp.sum(w**4 / 4 - w**2 / 2))
        edge = gdx.critical_step_size(
            problem,
            optax.sgd,
            keys=jax.random.split(jax.random.key(1), 4),
            num_steps=3000,
            criterion="converged",
            bracket=(0.7, 1.4),
            rtol=1e-3,
            estimate=False,
        )
    # The minima lose their stability at 1; the horizon sees it a little too low.
    assert 0.99 < edge.last_success.lower < edge.first_failure.upper < 1.005


def heavy_ball(hyperparams):
    return optax.sgd(hyperparams["step_size"], momentum=hyperparams["momentum"])


def test_an_edge_along_a_line_is_compiled_once_for_all_lines():
    run = gdx.sweep(gdx.problems.quadratic((1.0, 3.0, 10.0)), heavy_ball, num_steps=1000)
    compiled = []
    for momentum in (0.0, 0.3, 0.8):
        edge = gdx.critical_step_size(
            keys=keys(1), run=run, along=lambda t, m=momentum: {"step_size": t, "momentum": m}, rtol=1e-2
        )
        exact = 2 * (1 + momentum) / 10
        assert abs(edge.estimate.value - exact) <= edge.estimate.error <= 1e-12
        assert edge.first_failure.lower <= 1.02 * exact
        assert edge.last_success.upper >= 0.98 * exact
        np.testing.assert_array_equal(edge.runs.step_sizes, edge.step_sizes)
        compiled.append(run.compile_seconds)
    assert compiled[0] == compiled[-1]


def test_a_line_may_lead_through_any_number_and_be_no_function_that_jax_can_trace():
    # Heavy ball at step size a is stable on curvature 4 for momenta between 2 a - 1 and 1.
    edge = gdx.critical_step_size(
        gdx.problems.quadratic((4.0,)),
        heavy_ball,
        keys=keys(1),
        num_steps=2000,
        bracket=(0.1, 1.5),
        along=lambda t: {"step_size": math.exp(math.log(0.6)), "momentum": t},
        rtol=1e-2,
    )
    assert edge.too_slow_below != edge.too_slow_below
    assert edge.crossings[0].lower <= 0.2 <= 1.02 * edge.crossings[0].upper
    assert abs(edge.estimate.value - 1) <= edge.estimate.error <= 1e-9


@pytest.mark.parametrize(
    ("along", "message"),
    [
        (3.0, "along: 3.0 is not callable"),
        (lambda t: {"step_size": t, "momentum": np.ones(2)}, "along: it gives arrays"),
        (
            lambda t: {"step_size": t, "momentum": 0.5} if t < 2 else {"step_size": t},
            "along: it gives .* and not at all",
        ),
        (lambda t: {"step_size": t / 0}, "along: it raises ZeroDivisionError"),
    ],
)
def test_a_line_that_leads_nowhere_is_refused(along, message):
    run = gdx.sweep(QUADRATIC, heavy_ball, num_steps=10)
    with pytest.raises(ValueError, match=message):
        critical_step_size(keys=keys(1), run=run, along=along)


def test_each_starts_own_edge_is_refined_where_that_is_asked_for():
    problem = gdx.problem(lambda key: 3 * jax.random.uniform(key), lambda x: (x**2 - 1) ** 2 / 4)
    run = gdx.sweep(problem, optax.sgd, num_steps=500)
    options = {"run": run, "criterion": "bounded", "estimate": False, "rtol": 1e-3}
    edge = critical_step_size(keys=keys(3), each_start=True, **options)
    assert edge.spread > 1.1
    for repeat, key in enumerate(keys(3)):
        alone, own = critical_step_size(keys=key[None], **options), gdx.edge_of_start(edge, repeat)
        assert own.last_success == edge.by_start[repeat]
        for found in ("last_success", "first_failure"):
            assert getattr(own, found).upper <= 1.001 * getattr(own, found).lower
            np.testing.assert_allclose(getattr(own, found), getattr(alone, found), rtol=2e-3)
    with pytest.raises(ValueError, match=r"repeat: 3 is outside \[0, 3\)"):
        gdx.edge_of_start(edge, 3)


def test_runs_know_what_they_were_run_at():
    run = gdx.sweep(QUADRATIC, heavy_ball, num_steps=20)
    points = {"step_size": np.array([0.1, 0.2]), "momentum": np.array([0.0, 0.5])}
    runs = run(points, keys(3))
    np.testing.assert_array_equal(runs.hyperparams["momentum"], np.repeat([[0.0], [0.5]], 3, axis=1))
    np.testing.assert_array_equal(runs.step_sizes, [0.1, 0.2])
    traced = jax.jit(run)(points, keys(3))
    np.testing.assert_array_equal(traced.hyperparams["momentum"], runs.hyperparams["momentum"])
    with pytest.raises(ValueError, match="there is no one step size"):
        _ = runs._replace(hyperparams=runs.hyperparams["step_size"].T).step_sizes


def test_runs_alone_are_enough_to_begin_with(descent):
    step_sizes = np.geomspace(0.05, 1.0, 8)
    runs = descent(step_sizes, keys(2))
    options = {"keys": keys(2), "run": descent, "estimate": False, "rtol": 1e-2}
    alone, paired = (critical_step_size(scanned=scanned, **options) for scanned in (runs, (step_sizes, runs)))
    np.testing.assert_array_equal(alone.step_sizes, paired.step_sizes)
    assert alone.last_success == paired.last_success


def test_runs_of_another_axis_are_not_taken_for_those_of_a_line():
    run = gdx.sweep(QUADRATIC, heavy_ball, num_steps=200)
    options = {"keys": keys(1), "run": run, "estimate": False, "rtol": 1e-2}

    def line(momentum):
        return lambda t: {"step_size": t, "momentum": momentum}

    positions = np.geomspace(0.05, 1.0, 8)
    runs = run({"step_size": positions, "momentum": np.full(8, 0.5)}, keys(1))
    edge = critical_step_size(along=line(0.5), scanned=(positions, runs), **options)
    np.testing.assert_allclose(
        edge.last_success, critical_step_size(along=line(0.5), **options).last_success, rtol=0.03
    )
    for along, scanned in (
        (line(0.5), runs),
        (line(0.9), (positions, runs)),
        (line(0.9), (edge.step_sizes, edge.runs)),
        (None, (edge.step_sizes, edge.runs)),
    ):
        with pytest.raises(ValueError, match="scanned: "):
            critical_step_size(along=along, scanned=scanned, **options)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_a_search_inside_of_a_trace_is_refused(transform):
    def edge(momentum):
        problem = gdx.problem(lambda key: jnp.ones(2), lambda w: jnp.sum(w**2))
        family = functools.partial(optax.sgd, momentum=momentum)
        return gdx.critical_step_size(problem, family, keys=keys(1), num_steps=100).value

    with pytest.raises(ValueError, match="stands inside of a trace"):
        transform(edge)(jnp.asarray([0.5])[0] if transform is jax.jit else jnp.asarray([0.5]))
