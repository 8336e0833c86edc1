"""How large a job's step may be, and what moves its edge, where closed forms say it."""

import functools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx.edges import Bracket
from gdx.studies.stability import Cause, Reached, StepVerdict, answering, confirming, scanning, study, watching
from gdx.studies.stability import causes as causes_module
from gdx.studies.stability.causes import _is_sure
from gdx.studies.stability.changes import MOST_GROUPS, changes_of, groups_of
from gdx.studies.stability.clock import Clock
from gdx.studies.stability.plain import losses_of, smoothed, suggestions
from gdx.studies.stability.variants import variants_of
from gdx.studies.stability.watching import margin_of
from gdx.studies.stability.words import rows, size
from gdx.verdicts.training import TrainingLevel

STIFF, SOFT = 100.0, 1.0
EDGE = 2 / STIFF


def two_layers():
    """Two groups of parameters that do not touch, the one a hundred times as curved as the other."""

    def init(key):
        return {"stiff": jax.random.normal(key, (3,)), "soft": jax.random.normal(jax.random.fold_in(key, 1), (2,))}

    return gdx.problem(init, lambda w: 0.5 * STIFF * jnp.sum(w["stiff"] ** 2) + 0.5 * SOFT * jnp.sum(w["soft"] ** 2))


@pytest.fixture(scope="module")
def beyond():
    """Gradient descent at 1.5 times its edge."""
    return gdx.stability(two_layers(), optax.sgd, step_size=1.5 * EDGE, num_steps=100, budget=200.0, progress=False)


def causes(found):
    return {cause.name: cause for cause in found.causes}


def test_the_largest_step_that_trains_is_two_over_the_curvature(beyond):
    lower, upper = beyond.largest_step
    assert lower < EDGE < upper < 1.25 * lower
    assert beyond.none_beyond == upper
    assert beyond.spread == 1
    assert beyond.reached is Reached.FULL_RUNS
    assert beyond.trust.num_runs == beyond.trust.num_agree > 0


def test_a_step_size_beyond_the_edge_is_told_by_how_much(beyond):
    assert beyond.verdict is StepVerdict.BEYOND
    np.testing.assert_allclose(beyond.headroom, beyond.largest_step.lower / (1.5 * EDGE))


def test_the_margin_of_curvature_is_the_step_size_over_the_edge(beyond):
    np.testing.assert_allclose(beyond.margin.margins[-1], 1.5, rtol=1e-3)
    np.testing.assert_allclose(beyond.margin.sharpness[-1], STIFF, rtol=1e-3)
    assert beyond.margin.shares["stiff"] > 0.99


def test_half_the_step_in_the_stiff_layer_doubles_the_edge_and_saves_the_job(beyond):
    found = causes(beyond)
    np.testing.assert_allclose(found["half the step in stiff"].factor, 2.0)
    assert found["half the step in stiff"].saves
    np.testing.assert_allclose(found["half the step in soft"].factor, 1.0)
    assert not found["half the step in soft"].saves
    np.testing.assert_allclose(found["warm-up of 10 steps"].factor, 1.0)
    assert beyond.causes[0].factor >= 2.0
    assert "saves the present step size" in " ".join(str(beyond).split())


@pytest.mark.slow
def test_a_cause_that_plain_runs_contradict_has_no_number(monkeypatch):
    monkeypatch.setattr(
        causes_module, "Again", lambda *args: SimpleNamespace(num_runs=0, all_train=lambda *args: False)
    )
    found = gdx.stability(two_layers(), optax.sgd, step_size=1.5 * EDGE, num_steps=60, budget=60.0, progress=False)
    half = causes(found)["half the step in stiff"]
    assert math.isnan(half.factor)
    assert (half.saves, half.is_sure, half.note) == (None, False, causes_module.DISAGREE)
    assert "the two roads disagree about" in str(found)
    assert not any("half the step in stiff" in sentence for sentence in found.advice)


def cosine(step_size):
    return optax.sgd(lambda count: step_size * optax.cosine_decay_schedule(1.0, 40)(count))


def injected(step_size):
    return optax.inject_hyperparams(optax.sgd)(lambda count: step_size * optax.cosine_decay_schedule(1.0, 40)(count))


@pytest.mark.parametrize("family", [pytest.param(cosine, marks=pytest.mark.slow), injected])
def test_the_margin_follows_a_schedule_that_ends_at_zero(family):
    seen = margin_of(two_layers(), family, 0.5 * EDGE, keys(1)[0], 41, {"soft": [0], "stiff": [1]})
    np.testing.assert_allclose(seen.margins, 0.25 * (1 + np.cos(np.pi * seen.steps / 40)), atol=1e-3)
    np.testing.assert_allclose([seen.first, seen.late], [0.5, np.median(seen.margins[-(len(seen.margins) // 3) :])])


def test_a_schedule_of_one_group_alone_is_no_factor_and_has_no_margin():
    def family(step_size):
        scheduled = optax.sgd(lambda count: step_size * optax.linear_schedule(1.0, 0.0, 30)(count))
        return optax.multi_transform({"a": scheduled, "b": optax.sgd(step_size)}, {"stiff": "a", "soft": "b"})

    seen = margin_of(two_layers(), family, EDGE, keys(1)[0], 41, {"soft": [0], "stiff": [1]})
    assert math.isnan(seen.first)
    assert "its schedule changes more than the size" in seen.note


@pytest.mark.slow
def test_the_first_margin_waits_for_warm_up_and_for_second_moments():
    def family(step_size):
        return optax.adam(optax.linear_schedule(0.0, step_size, 20))

    def first_step(family):
        return margin_of(two_layers(), family, 1e-3, keys(1)[0], 41, {"soft": [0], "stiff": [1]}).first_step

    assert first_step(family) == 20
    assert first_step(optax.adam) == 10
    assert first_step(optax.sgd) == 0


def test_a_margin_that_lanczos_does_not_find_is_not_told(monkeypatch):
    monkeypatch.setattr(watching, "_by_lanczos", lambda still, loss_of: lambda look: 3 * STIFF)
    seen = margin_of(two_layers(), optax.sgd, EDGE, keys(1)[0], 41, {"soft": [0], "stiff": [1]})
    assert math.isnan(seen.first)
    assert math.isnan(seen.late)
    assert "disagree at the start and at the end" in seen.note


def unscaled(deviations, num_rows=64):
    """Least squares in batches, whose features have these standard deviations and a mean of one of them."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(num_rows, len(deviations))) + 0.5) * deviations
    return x, gdx.problems.finite_sum(
        {"w": jnp.zeros(len(deviations)), "b": jnp.zeros(1)},
        lambda p, rows: 0.5 * (rows[0] @ p["w"] + p["b"] - rows[1]) ** 2,
        (x, np.sign(x).sum(axis=1)),
        batch_size=16,
    )


def test_features_are_standardised_where_they_are_not():
    _, problem = unscaled([1.0, 0.0, 1e4])
    changed = variants_of(problem, keys(1)[0])["features standardised"]()
    batch = problem.batches(keys(1)[0], jnp.int32(0))
    (rows, targets), weights = batch
    drawn = np.concatenate([problem.batches(keys(1)[0], jnp.int32(i))[0][0] for i in range(64)])
    scaled = (rows - drawn.mean(axis=0)[None]) / np.where(drawn.std(axis=0) > 0, drawn.std(axis=0), 1.0)[None]
    params = {"w": jnp.array([0.3, 0.2, -0.5]), "b": jnp.ones(1)}
    expected = jnp.sum(weights * 0.5 * (scaled @ params["w"] + 1.0 - targets) ** 2)
    np.testing.assert_allclose(changed.loss(params, (), batch)[0], expected, rtol=1e-9)
    assert "features standardised" not in variants_of(unscaled([1.0, 1.1])[1], keys(1)[0])


@pytest.mark.slow
def test_what_unscaled_features_cost_is_told(monkeypatch):
    def only(problem, key):
        return {"features standardised": variants_of(problem, key)["features standardised"]}

    monkeypatch.setattr(study, "variants_of", only)
    x, problem = unscaled([1.0, 300.0])
    found = gdx.stability(problem, optax.sgd, num_steps=300, budget=200.0, progress=False)
    scaled = causes(found)["features standardised"]
    with_ones = np.column_stack([x, np.ones(len(x))])
    raw = np.linalg.eigvalsh(with_ones.T @ with_ones / len(x))[-1]
    plain = max(np.linalg.eigvalsh(np.corrcoef(x.T))[-1], 1.0)
    assert scaled.is_sure
    assert raw / plain / 2 < scaled.factor < raw / plain * 2


def test_what_is_said_fits_a_terminal_and_holds_the_numbers(beyond):
    text = str(beyond)
    assert max(map(len, text.splitlines())) <= 80
    assert f"{beyond.largest_step.lower:.2g}" in text
    assert len(beyond.advice) == 2


def reading(codes, sizes=(1.0, 2.0, 3.0, 4.0, 5.0)):
    """A scan of two starts with these verdicts, the best of which is at 2."""
    codes = np.repeat(np.asarray(codes, np.int8)[:, None], 2, axis=1)
    losses = np.where(codes == gdx.TrainingVerdict.TRAINED, 0.1, np.nan)
    return scanning.Reading(
        np.asarray(sizes), codes, losses, np.all(codes == 0, axis=1), TrainingLevel(2.0, 0.0, 1.0), 1
    )


@pytest.mark.parametrize(
    ("step_size", "verdict"),
    [
        (1.0, StepVerdict.TOO_SLOW),
        (3.0, StepVerdict.AT_THE_EDGE),
        (4.0, StepVerdict.BEYOND),
        (None, StepVerdict.UNKNOWN),
    ],
)
def test_a_step_size_is_told_by_which_side_of_the_best_it_fails_on(step_size, verdict):
    found = reading([1, 0, 0, 4, 4])
    assert answering._verdict(found, found.largest_step, step_size) is verdict


def test_far_below_the_edge_a_step_size_is_safe():
    found = reading([0, 0, 0, 4, 4], (0.1, 0.2, 3.0, 4.0, 5.0))
    assert answering._verdict(found, found.largest_step, 0.1) is StepVerdict.SAFE


def test_where_plain_runs_do_otherwise_there_is_no_number(monkeypatch):
    def never(problem, family, num_steps):
        return lambda step_sizes, key: np.full(num_steps, 1e6)

    monkeypatch.setattr(study, "losses_of", never)
    found = gdx.stability(two_layers(), optax.sgd, num_steps=60, budget=60.0, progress=False)
    assert not found.is_number
    assert math.isnan(found.largest_step.upper)
    assert "no number" in found.trust.note
    assert "none" in str(found)
    assert found.causes == ()


def test_a_loss_with_parameters_and_batches_goes_in_as_people_have_them(monkeypatch):
    monkeypatch.setattr(study, "variants_of", lambda problem, key: {})
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    y = x @ np.ones(3)

    def loss(w, batch):
        return jnp.mean((batch[0] @ w - batch[1]) ** 2)

    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 40, 8)]
    found = gdx.stability(
        loss, optax.sgd, params=jnp.zeros(3), batches=batches, num_steps=50, budget=60.0, progress=False
    )
    # The edge of one at a time lies beyond the mean one's and below twice the steepest batch's.
    sharpest = max(2 * np.linalg.eigvalsh(b[0].T @ b[0] / 8)[-1] for b in batches)
    flat = 2 * np.linalg.eigvalsh(x.T @ x / 40)[-1]
    assert 2 / sharpest < found.largest_step.lower < 2 * 2 / flat
    with pytest.raises(ValueError, match="params, batches: a Problem has its own"):
        gdx.stability(two_layers(), optax.sgd, params=jnp.zeros(3))
    with pytest.raises(ValueError, match="or pass a loss with params and batches"):
        gdx.stability(loss, optax.sgd)


def test_ctrl_c_leaves_what_was_run(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "margin_of", interrupted)
    found = gdx.stability(two_layers(), optax.sgd, num_steps=60, budget=100.0, progress=False)
    assert found.interrupted
    assert found.largest_step.lower < EDGE < found.largest_step.upper
    assert found.causes == ()
    monkeypatch.setattr(study, "confirm", interrupted)
    found = gdx.stability(two_layers(), optax.sgd, num_steps=60, budget=100.0, progress=False)
    assert found.interrupted
    assert not found.is_number
    assert "interrupted" in str(found)


def test_a_budget_that_pays_for_nothing_says_so():
    found = gdx.stability(two_layers(), optax.sgd, num_steps=1 << 22, budget=0.5, progress=False)
    assert found.reached is not Reached.FULL_RUNS or (not found.is_number and "budget" in found.trust.note)


def test_without_a_change_the_optimizer_is_the_jobs_own():
    params = {"a": jnp.asarray([1.0, -2.0]), "b": jnp.asarray(3.0)}
    family = functools.partial(optax.adamw, b1=0.8)
    changes = changes_of(family, params, 400)
    ours, own = changes.family(changes.along()(0.1)), family(0.1)

    def loss(w):
        return jnp.sum(w["a"] ** 4) + (w["b"] - w["a"][0]) ** 2

    places = []
    for optimizer in (ours, own):
        w, state = params, optimizer.init(params)
        for _ in range(50):
            updates, state = optimizer.update(jax.grad(loss)(w), state, w)
            w = optax.apply_updates(w, updates)
        places.append(w)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-12), *places)


def test_changes_are_what_they_are_called():
    params = {"a": jnp.asarray([3.0, 4.0]), "b": jnp.asarray([12.0])}
    changes = changes_of(optax.adam, params, 400)
    by_name = {change.name: change for change in changes.changes}
    assert {"eps 1e-06", "b2 0.95", "half the step in a", "warm-up of 100 steps"} <= set(by_name)
    plain = changes_of(lambda step_size: optax.sgd(step_size), params, 400)
    by_name = {change.name: change for change in plain.changes}
    assert "b2 0.95" not in by_name

    def first_update(name):
        optimizer = plain.family(plain.along(by_name[name])(1.0))
        return optimizer.update(params, optimizer.init(params), params)[0]

    np.testing.assert_allclose(first_update("gradients clipped to 1")["a"], [-3 / 13, -4 / 13])
    np.testing.assert_allclose(first_update("warm-up of 10 steps")["b"], [-1.2])
    np.testing.assert_allclose(first_update("half the step in a")["a"], [-1.5, -2.0])
    np.testing.assert_allclose(first_update("half the step in a")["b"], [-12.0])


def test_layers_are_told_apart_by_name_and_neighbours_taken_together_where_there_are_many():
    assert list(groups_of({"params": {"one": {"w": 1.0, "b": 1.0}, "two": {"w": 1.0}}})) == ["one", "two"]
    assert list(groups_of([jnp.ones(2), jnp.ones(2)])) == ["[0]", "[1]"]
    many = groups_of({f"layer{i:02d}": jnp.ones(1) for i in range(20)})
    assert len(many) == MOST_GROUPS
    assert [leaf for leaves in many.values() for leaf in leaves] == list(range(20))


def test_a_list_of_layers_is_as_many_groups_and_not_one():
    layer = {"w": jnp.ones(1), "b": jnp.ones(1)}
    groups = groups_of({"hidden": [layer, layer], "out": layer})
    assert groups == {"hidden[0]": [0, 1], "hidden[1]": [2, 3], "out": [4, 5]}
    assert list(groups_of({"weights": [jnp.ones(1), jnp.ones(1)], "bias": jnp.ones(1)})) == ["bias", "weights"]


def test_batches_of_half_the_size_keep_the_scale_of_the_loss():
    # Rows of one batch that are all alike, so that halves add up.
    alike = gdx.problem(
        lambda key: jnp.ones(3),
        lambda w, batch: jnp.mean((batch @ w) ** 2),
        batches=lambda key, step: jnp.ones((8, 3)) * (1 + step),
    )
    key = jax.random.key(0)
    halved = variants_of(alike, key)["batches of half the size"]()
    np.testing.assert_allclose(halved.loss(jnp.ones(3), (), jnp.ones((8, 3)))[0], 9.0)


@pytest.mark.parametrize("keyed", [False, True])
def test_batches_of_twice_the_size_are_two_in_a_row_of_orders_drawn_ahead(keyed):
    batches = gdx.problems.minibatches(jnp.arange(20.0), 4)
    if keyed:
        batches = gdx.problems.with_keys(batches)

    def loss(w, batch):
        rows, weights = batch[0] if keyed else batch
        return w * jnp.sum(weights * rows)

    problem = gdx.problem(jnp.asarray(1.0), loss, batches=batches)
    key = jax.random.key(0)
    doubled = variants_of(problem, key)["batches of twice the size"]()
    # Five batches an epoch make two pairs.
    assert doubled.batches.num_steps == 2
    for step, singles in enumerate([(0, 1), (2, 3), (5, 6), (7, 8)]):
        found = doubled.loss(jnp.asarray(1.0), (), doubled.batches(key, jnp.int32(step)))[0]
        each = [problem.loss(jnp.asarray(1.0), (), batches(key, jnp.int32(one)))[0] for one in singles]
        np.testing.assert_allclose(found, np.mean(each))


def test_rules_of_range_tests_point_where_they_say():
    sizes = np.geomspace(1e-6, 1.0, 61)
    losses = np.where(sizes < 1e-2, 2.0 - np.clip(np.log10(sizes) + 5, 0, 3) / 3, 1.0 + 50 * (sizes - 1e-2))
    found = suggestions(sizes, losses)
    np.testing.assert_allclose(found["minimum / 10"], 1e-3, rtol=0.3)
    assert 1e-5 < found["steepest"] < 1e-2
    assert 1e-4 < found["valley"] < 1e-2
    assert len(smoothed(np.r_[np.ones(50), np.full(50, 1e3)])) < 60


def test_a_plain_run_takes_one_step_size_a_step():
    problem = gdx.problem(lambda key: jnp.asarray(1.0), lambda w: 0.5 * w**2)
    losses = losses_of(problem, optax.sgd, 4)(np.array([0.5, 0.25, 0.1]), keys(1)[0])
    np.testing.assert_allclose(losses, 0.5 * np.array([1.0, 0.5, 0.375]) ** 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_size": -1.0}, "step_size: -1"),
        ({"budget": 0.0}, "budget: 0"),
        ({"num_steps": 0}, "num_steps: 0"),
        ({"problem": lambda h: 1}, "problem: function is no gdx.Problem"),
        ({"family": optax.sgd(0.1)}, "family"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gdx.stability(**({"problem": two_layers(), "family": optax.sgd} | arguments))


def test_the_bracket_is_where_both_roads_agree():
    found = reading([0, 0, 0, 4, 4])

    def train(step_size, key):
        """All starts fail from 2.5 on, where the sweep's do from 4."""
        return np.full(20, 0.1 if step_size < 2.5 else 5.0)

    confirmed = confirming.confirm(train, keys(2), found, Clock(100.0))
    assert tuple(confirmed.largest_step) == (2.0, 4.0)
    assert confirmed.trust.num_runs > confirmed.trust.num_agree


def test_an_edge_that_plain_runs_never_see_is_none():
    confirmed = confirming.confirm(
        lambda step_size, key: np.full(20, 0.1), keys(2), reading([0, 0, 0, 4, 4]), Clock(100.0)
    )
    assert math.isnan(confirmed.largest_step.lower)
    assert "no number" in confirmed.trust.note


def test_where_no_step_size_suits_every_start_the_reason_says_so():
    found = reading([0, 0, 0, 4, 4])
    codes = found.codes.copy()
    codes[:, 1] = gdx.TrainingVerdict.TOO_SLOW
    found = found._replace(codes=codes, trains=np.zeros(5, bool), best=-1)
    confirmed = confirming.confirm(lambda step_size, key: np.full(20, 0.1), keys(2), found, Clock(100.0))
    assert confirmed.trust.note == "at no step size does every start train; single ones do from 1 to 3"


def test_where_plain_runs_fail_at_the_best_step_size_the_next_best_is_taken():
    found = reading([0, 0, 0, 4, 4])
    losses = found.losses.copy()
    losses[1] = 0.01

    def train(step_size, key):
        return np.full(20, 0.1 if step_size in (1.0, 3.0) else 5.0)

    confirmed = confirming.confirm(train, keys(2), found._replace(losses=losses), Clock(100.0))
    assert confirmed.best in (0, 2)
    assert confirmed.largest_step.lower in (1.0, 3.0)


@pytest.mark.parametrize("offset", [-50.0, 0.0, 1e3])
def test_what_is_as_good_as_the_best_does_not_depend_on_where_the_loss_has_its_zero(offset):
    found = reading([0, 0, 0, 0, 4], (0.1, 0.2, 0.3, 4.0, 5.0))
    losses = np.array([0.9, 0.1, 0.11, 0.5, np.nan])[:, None] + np.zeros(2) + offset
    level = TrainingLevel(2.0 + offset, 0.1 + offset, 1.05 + offset)
    found = found._replace(losses=losses, level=level)
    assert tuple(answering.good_range(found, found.largest_step)) == (0.2, 0.3)


def test_what_to_use_does_not_lie_at_the_edge():
    found = reading([0, 0, 0, 0, 4])
    losses = np.array([0.12, 0.13, 0.11, 0.1, np.nan])[:, None] + np.zeros(2)
    found = found._replace(losses=losses, best=3)
    assert tuple(answering.good_range(found, found.largest_step)) == (1.0, 2.0)


def test_a_scan_that_saw_one_side_of_the_edge_alone_gives_no_number():
    found = reading([0, 0, 0, 0, 0])
    confirmed = confirming.confirm(lambda step_size, key: np.full(20, 0.1), keys(2), found, Clock(100.0))
    assert tuple(confirmed.largest_step) == (5.0, math.inf)
    cut = study._of_a_part(confirmed)
    assert math.isnan(cut.largest_step.lower)
    assert "no number" in cut.trust.note


def test_a_family_that_makes_nothing_of_its_step_size_is_told():
    problem = gdx.problem(lambda key: jax.random.normal(key, (2,)), lambda w: jnp.sum(w**2))
    found = gdx.stability(problem, lambda step_size: optax.sgd(0.1), num_steps=30, budget=60.0, progress=False)
    assert not found.is_number
    assert "same at every step size" in found.trust.note


def test_a_change_moves_the_edge_only_beyond_where_starts_train_and_fail_in_turns():
    def cause(lower, factor):
        return Cause("", factor, Bracket(lower, 1.4 * lower), None, 0.0, 3)

    control = cause(1.0, 1.0)
    assert _is_sure(cause(2.0, 2.0), control, 1.0, 1.2)
    assert not _is_sure(cause(2.0, 2.0), control, 1.0, 10.0)
    assert not _is_sure(cause(1.4, 1.4), control, 1.0, 1.2)
    assert _is_sure(cause(0.5, 0.5), control, 1.0, 1.2)
    assert not _is_sure(cause(0.5, 0.5), control, 1.0, 10.0)


def test_features_that_were_standardised_over_more_rows_are_left_alone():
    digits = gdx.problems.digits_mlp(examples=256, batch_size=32)
    assert "features standardised" not in variants_of(digits, keys(1)[0])
    raw = gdx.problems.logistic_regression("breast-cancer", scale=None, batch_size=32)
    assert "features standardised" in variants_of(raw, keys(1)[0])


def told_of(found, name):
    return next(" ".join(text) for text in rows(found) if text[0] == name)


def test_a_best_at_the_edge_is_said_to_be_there(beyond):
    inside = beyond._replace(best=0.01, good=Bracket(0.005, 0.012))
    assert "as good from 0.005 to 0.012" in told_of(inside, "best")
    outside = told_of(beyond._replace(best=0.019, good=Bracket(0.005, 0.012)), "best")
    assert "lies at the edge" in outside
    assert "as good" not in outside


def test_a_safe_step_size_that_bursts_on_the_way_says_so(beyond):
    at = int(np.argmin(abs(beyond.curve.step_sizes - beyond.best)))
    safe = beyond._replace(step_size=float(beyond.curve.step_sizes[at]), verdict=StepVerdict.SAFE)
    name = f"you, at {size(safe.step_size)}"
    assert "bursts" not in told_of(safe, name)
    worst = np.array(safe.runs.worst_loss)
    worst[at, 0] = 1e4
    assert "after bursts to 10000 on the way" in told_of(safe._replace(runs=safe.runs._replace(worst_loss=worst)), name)


def test_a_range_test_that_hangs_on_its_start_says_so(beyond):
    test = beyond.range_test._replace(suggestions={"valley": 0.1}, ranges={"valley": (0.01, 0.1)})
    assert "valley 0.1 (0.01 to 0.1 by start)" in told_of(beyond._replace(range_test=test), "a range test would say")
    alike = test._replace(ranges={"valley": (0.09, 0.1)})
    assert "by start" not in told_of(beyond._replace(range_test=alike), "a range test would say")
