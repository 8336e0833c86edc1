"""What is blamed for a run that blew up, where closed forms or the planting itself say it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx
from gdx.studies.autopsy import Kind, study
from gdx.studies.autopsy.changes import changes_of
from gdx.studies.autopsy.job import make_job
from gdx.studies.autopsy.judging import Damage, damage_of, judge, savers, spike_of
from gdx.studies.autopsy.replaying import replay
from gdx.studies.autopsy.widening import stays_narrow

STIFF, BEYOND = 100.0, 1.2
POISONED, NUM_BATCHES = 7, 14


def two_layers(w):
    return 0.5 * STIFF * jnp.sum(w["stiff"] ** 2) + 0.5 * jnp.sum(w["soft"] ** 2)


def squares(params, batch):
    inputs, targets = batch
    return jnp.mean((inputs @ params["w"] + params["b"] - targets) ** 2)


def line_data(poison=1.0, num=NUM_BATCHES):
    """Batches of a linear regression, one of them with its targets scaled."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(num, 16, 4))
    targets = inputs @ rng.normal(size=4) + 0.3 * rng.normal(size=(num, 16))
    targets[POISONED % num] *= poison
    return jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32)


def line_start():
    return {"w": jnp.zeros(4), "b": jnp.zeros(())}


def look(loss, optimizer, params, **options):
    return gdx.autopsy(
        loss, optimizer, params=params, opt_state=optimizer.init(params), progress=False, **{"margin": False, **options}
    )


def plain_losses(optimizer, batches, left_out=()):
    """What anybody's training loop says of the batches, in turn."""
    params = line_start()
    opt_state, losses = optimizer.init(params), []
    for i in range(len(batches[0])):
        loss, gradient = jax.value_and_grad(squares)(params, (batches[0][i], batches[1][i]))
        losses.append(float(loss))
        if i not in left_out:
            updates, opt_state = optimizer.update(gradient, opt_state, params)
            params = optax.apply_updates(params, updates)
    return losses


def named(found):
    return {one.name: one for one in found.tried}


@pytest.fixture(scope="module")
def stiff():
    """Gradient descent at 1.2 times the edge of one of two groups."""
    params = {"stiff": jnp.full(3, 0.01), "soft": jnp.ones(2)}
    return look(two_layers, optax.sgd(BEYOND * 2 / STIFF), params, num_steps=30, margin=True)


@pytest.fixture(scope="module")
def poisoned():
    """A linear regression with one batch whose targets are 300 times too large, after some training."""
    return look(squares, optax.sgd(0.05, momentum=0.5), line_start(), batches=line_data(-300.0))


def test_a_step_beyond_the_edge_of_one_group_is_blamed_on_that_group(stiff):
    assert stiff.has_spike
    assert stiff.blame is not None
    assert (stiff.blame.kind, stiff.blame.group, stiff.blame.factor) == (Kind.GROUP, "stiff", 0.5)
    assert stiff.confirmed
    everywhere = named(stiff)["half the step everywhere"]
    assert everywhere.saves
    assert everywhere in stiff.others


def test_no_smaller_step_in_the_other_group_saves_anything(stiff):
    others = [one for one in stiff.tried if one.group == "soft"]
    assert len(others) == 5
    assert not any(one.saves for one in others)
    np.testing.assert_allclose([one.share for one in others], 1.0, rtol=0.02)


def test_the_margin_of_the_unchanged_run_is_the_step_size_over_the_edge(stiff):
    np.testing.assert_allclose(stiff.margin.margins, BEYOND, rtol=1e-3)
    np.testing.assert_allclose(stiff.margin.sharpness, STIFF, rtol=1e-3)
    assert stiff.margin.shares["stiff"] > 0.99


def test_a_loss_that_grows_by_a_factor_each_step_is_over_the_threshold_when_the_formula_says(stiff):
    # Of w' = (1 - h c) w the square grows by 1.4^2 each step; the soft part falls.
    steps = np.arange(31)
    truth = 1.5 * STIFF * 1e-4 * (1 - BEYOND * 2) ** (2 * steps) + (1 - BEYOND * 2 / STIFF) ** (2 * steps)
    np.testing.assert_allclose(stiff.curve, truth, rtol=1e-3)
    lowest = np.minimum.accumulate(truth)
    assert stiff.onset == np.flatnonzero(truth - lowest > 0.3 * lowest)[0] - 1


def test_what_is_said_fits_a_terminal_and_can_be_acted_on(stiff):
    text = str(stiff)
    assert max(map(len, text.splitlines())) <= 80
    assert "give stiff a step size 2x smaller" in " ".join(text.split())
    assert "1.2 at step 0" in text


def test_one_poisoned_batch_is_blamed_by_its_index(poisoned):
    assert poisoned.blame is not None
    assert (poisoned.blame.kind, poisoned.blame.batch) == (Kind.BATCH, POISONED)
    assert poisoned.onset == POISONED
    assert not any(one.saves for one in poisoned.tried if one.kind is Kind.BATCH and one.batch != POISONED)
    # It does so alone, too, and no other one does.
    alone = [one.batch for one in poisoned.tried if one.name.endswith("alone") and one.worst > 1]
    assert alone == [POISONED]


def test_a_batch_is_not_called_bad_data_where_half_the_step_saves_the_run_too(poisoned):
    assert "look at the data of batch 7" in " ".join(str(poisoned).split())
    half = poisoned.tried[0]._replace(kind=Kind.STEP, name="half the step everywhere", factor=0.5, saves=True)
    tipped = " ".join(str(poisoned._replace(others=(half, *poisoned.others))).split())
    assert "look at the data of batch 7" not in tipped
    assert "may only be the one that tipped" in tipped


def test_a_margin_that_nobody_asked_for_is_no_line(poisoned):
    assert "margin" not in str(poisoned)


def test_lanes_are_the_trainings_that_a_plain_loop_makes(poisoned):
    batches, optimizer = line_data(-300.0), optax.sgd(0.05, momentum=0.5)
    start = poisoned.start
    whole = plain_losses(optimizer, batches)
    np.testing.assert_allclose(poisoned.losses, whole, rtol=1e-4)
    np.testing.assert_allclose(poisoned.tried[0].losses, whole[start:], rtol=1e-4)
    without = plain_losses(optimizer, batches, [POISONED])
    np.testing.assert_allclose(named(poisoned)[f"batch {POISONED} left out"].losses, without[start:], rtol=1e-4)


def test_a_batch_whose_loss_is_high_whatever_the_parameters_is_no_spike():
    batches = line_data(-30.0)
    found = look(squares, optax.sgd(1e-4), line_start(), batches=batches)
    assert found.losses[POISONED] > 100 * np.median(found.losses)
    assert not found.has_spike
    assert found.blame is None
    assert found.tried == ()
    assert "no spike" in str(found)


def test_a_healthy_run_of_a_problem_draws_the_batches_of_its_key():
    inputs, targets = line_data()

    def losses(params, rows):
        return (rows[0] @ params["w"] + params["b"] - rows[1]) ** 2

    data = inputs.reshape(-1, 4), targets.reshape(-1)
    problem = gdx.problems.finite_sum(line_start(), losses, data, batch_size=8)
    key, optimizer = jax.random.key(3), optax.adam(0.05)
    found = look(problem, optimizer, line_start(), key=key, step=4, num_steps=6)
    assert not found.has_spike
    assert found.losses.size == 6
    rows, weights = problem.batches(jax.random.fold_in(key, 0), 4)
    np.testing.assert_allclose(found.losses[0], jnp.sum(weights * rows[1] ** 2), rtol=1e-5)


def test_a_batch_that_is_no_number_is_blamed_and_its_damage_is_infinite():
    inputs, targets = line_data()
    found = look(squares, optax.adam(0.05), line_start(), batches=(inputs, targets.at[5].set(jnp.nan)))
    assert found.blame is not None
    assert (found.blame.kind, found.blame.batch) == (Kind.BATCH, 5)
    assert math.isinf(found.tried[0].damage)
    assert "stays finite" in str(found)


def test_a_schedule_that_rises_beyond_the_edge_is_held_where_it_was():
    schedule = optax.join_schedules([optax.constant_schedule(0.1 / STIFF), optax.constant_schedule(4 / STIFF)], [5])
    params = {"one": jnp.ones(2), "two": jnp.ones(2)}

    def loss(w):
        return 0.5 * STIFF * optax.tree.norm(w, squared=True)

    found = look(loss, optax.sgd(schedule), params, num_steps=16, margin=True)
    assert found.blame is not None
    assert found.blame.kind is Kind.SCHEDULE
    assert found.onset == 5
    # The step size of every step over 2 / STIFF, and not that of the schedule's end.
    np.testing.assert_array_equal(found.margin.steps, np.arange(6))
    np.testing.assert_allclose(found.margin.margins, [0.05] * 5 + [2.0], rtol=1e-3)
    # No group alone is enough.
    assert not any(one.saves for one in found.tried if one.group is not None)


def test_a_root_of_zero_in_float16_is_blamed_on_the_width_of_numbers():
    # The square of 1e-3 times 1 - b2 is 1e-9, which float16 rounds to 0, and eps of 1e-8 too.
    params = {"w": jnp.ones(3, jnp.float16)}
    found = look(lambda w: 5e-4 * jnp.sum(w["w"] ** 2), optax.adam(1e-3), params, num_steps=8)
    assert found.blame is not None
    assert found.blame.kind is Kind.WIDTH
    assert "float32" in str(found)


def test_an_update_that_is_left_out_leaves_the_state_of_model_and_optimizer_as_they_are():
    def loss(params, model_state, batch):
        return model_state + 0 * params["w"] + batch, model_state + 1

    params, optimizer = {"w": jnp.zeros(())}, optax.adam(0.1)
    batches = jnp.arange(4.0) * 10
    job = make_job(loss, optimizer, params, optimizer.init(params), batches, jnp.zeros(()), None, None, 0, None)
    changes = changes_of(4, 0, ["all"], True, 1.0, False)
    lanes = replay(job, job.start, batches, 4, changes).losses
    found = {change.name: losses for change, losses in zip(changes, lanes, strict=True)}
    np.testing.assert_array_equal(found["nothing changed"], [0, 11, 22, 33])
    np.testing.assert_array_equal(found["batch 1 left out"], [0, 11, 21, 32])
    np.testing.assert_array_equal(found["batch 1 alone"], [0, 10, 21, 31])


def test_where_the_plain_loop_says_otherwise_there_is_no_blame(monkeypatch):
    monkeypatch.setattr(study, "_plain_damage", lambda *args: Damage(math.inf, math.inf))
    found = look(squares, optax.sgd(0.05), line_start(), batches=line_data(-300.0))
    assert found.blame is None
    assert found.confirmed is False
    assert "plain loop" in found.reason
    assert found.others[0].batch == POISONED


def test_a_loss_that_computes_in_narrow_numbers_whatever_it_is_given_is_found_out():
    def loss(params, batch, dtype):
        def half(w, x):
            return (w.astype(dtype) * x.astype(dtype)).sum(), None

        return jax.lax.scan(lambda w, x: (w, half(w, x)[0]), params["w"], batch)[1].astype(jnp.float32).sum()

    params, optimizer = {"w": jnp.ones(2)}, optax.sgd(0.1)
    for dtype, told in ((jnp.bfloat16, "bfloat16"), (jnp.float32, "")):
        own = functools.partial(loss, dtype=dtype)
        job = make_job(own, optimizer, params, optimizer.init(params), jnp.ones((4, 3, 2)), None, None, None, 0, None)
        assert stays_narrow(job) == told


def judged(kind, saves, group=None, factor=1.0, batch=None):
    (change, *_) = changes_of(4, 0, ["a", "b"], False, np.inf, False)
    change = change._replace(
        kind=kind, group=group, factor=factor, batch=batch, name=f"{kind} {group} {factor} {batch}"
    )
    damage = Damage(0.0, 0.0) if saves else Damage(10.0, 5.0)
    return judge(change, np.zeros(4), damage, Damage(10.0, 5.0))


def test_a_run_that_any_batch_left_out_would_save_blames_none_of_them():
    found, reason = savers([judged(Kind.BATCH, True, batch=i) for i in range(4)])
    assert not found
    assert "hangs by a thread" in reason


def test_two_groups_that_save_alike_are_one_step_that_is_too_large():
    steps = [judged(Kind.GROUP, True, group, 0.25) for group in "ab"] + [judged(Kind.STEP, True, factor=0.25)]
    found, _ = savers(steps)
    assert [one.kind for one in found] == [Kind.STEP]
    found, _ = savers([steps[0], judged(Kind.GROUP, False, "b", 0.25), steps[2]])
    assert [one.kind for one in found] == [Kind.GROUP, Kind.STEP]


def test_a_change_that_harms_a_run_without_damage_saves_nothing():
    (change, *_) = changes_of(4, 0, ["a"], False, np.inf, False)
    found = judge(change._replace(kind=Kind.STEP), np.zeros(4), Damage(3.0, 2.0), Damage(0.0, 0.4))
    assert not found.saves
    assert found.share == 1


def test_wider_numbers_that_save_are_blamed_before_a_batch():
    found, _ = savers([judged(Kind.BATCH, True, batch=1), judged(Kind.BATCH, False, batch=2), judged(Kind.WIDTH, True)])
    assert [one.kind for one in found] == [Kind.WIDTH, Kind.BATCH]


def test_a_spike_is_measured_against_the_spread_of_batches_and_a_share_of_the_loss():
    spread = np.array([0.5, 1.0, 1.5, 1.0, 1.0 + 1e-9])
    calm = np.stack([spread, spread - 0.1, spread + 0.15, spread])
    assert not spike_of(calm).has_spike
    jump = np.stack([spread, spread - 0.1, spread + 5.0, spread])
    found = spike_of(jump)
    assert (found.has_spike, found.onset, found.start) == (True, 1, 0)
    np.testing.assert_allclose(found.rise, 5.1)
    # What had been learned since the checkpoint hides no part of it.
    late = spike_of(np.stack([spread + 9, spread + 6, spread, spread + 5.0]))
    assert (late.has_spike, late.onset, late.start) == (True, 2, 2)


def test_damage_is_counted_from_what_the_start_makes_of_the_same_batch():
    reference = np.array([1.0, 50.0, 1.0, 1.0, 1.0])
    spike = spike_of(np.stack([reference, reference, reference + 9.0]))
    # The second batch is a hard one, and stays as it was.
    none = damage_of(reference, reference, spike, 0)
    assert none == Damage(0.0, 0.0)
    lost = damage_of(np.array([1.0, np.nan, 1.0, 1.0, 1.0]), reference, spike, 0)
    assert math.isinf(lost.total)
    higher = damage_of(np.array([1.0, 50.0, 1.0, 4.0, 4.0]), reference, spike, 0)
    np.testing.assert_allclose(higher.total, 2 * (3 - spike.threshold / 2))
    np.testing.assert_allclose(higher.worst, 3 / spike.threshold)


BATCHES = [(np.zeros((2, 4), np.float32), np.zeros(2, np.float32))] * 4
BAD = {
    "loss": {"loss": 3, "batches": BATCHES},
    "optimizer": {"optimizer": 0.1, "opt_state": (), "batches": BATCHES},
    "opt_state": {"opt_state": optax.adam(0.1).init(line_start()), "batches": BATCHES},
    "params": {"params": {"w": jnp.zeros(4, jnp.int32), "b": jnp.zeros(())}, "batches": BATCHES},
    "batches: there are none": {},
    "batches: number 2": {"batches": [*BATCHES[:2], (np.zeros((1, 4)), np.zeros(1))]},
    "batches: 2 are too few": {"batches": BATCHES[:2]},
    "batches: the list is empty": {"batches": []},
    "batches: their arrays": {"batches": {"x": np.zeros((4, 2)), "y": np.zeros((3, 2))}},
    "num_steps": {"num_steps": 1.5, "batches": BATCHES},
    "groups": {"groups": {"w": "a"}, "batches": BATCHES},
    "loss: it returns shape": {"loss": lambda params, batch: batch[0] @ params["w"], "batches": BATCHES},
    "loss: it raises": {"loss": lambda params, batch: batch["x"], "batches": BATCHES},
    "progress": {"progress": 3, "batches": BATCHES},
}


@pytest.mark.parametrize("name", BAD)
def test_what_could_not_be_replayed_is_refused_in_one_sentence(name):
    optimizer, params = optax.sgd(0.1), line_start()
    options = {"loss": squares, "optimizer": optimizer, "params": params, "opt_state": optimizer.init(params)}
    options |= BAD[name]
    with pytest.raises(ValueError, match=f"^{name}") as error:
        gdx.autopsy(options.pop("loss"), options.pop("optimizer"), **options)
    assert "\n" not in str(error.value)


def test_where_there_is_no_spike_the_rise_that_is_told_is_below_what_would_be_one():
    rng = np.random.default_rng(0)
    # Early, batches differ much and the loss falls; late they differ little and it rises by a bit.
    level = np.concatenate([np.linspace(3.0, 0.1, 12), np.linspace(0.1, 0.13, 8)])
    apart = 0.3 * level[:, None] * rng.normal(size=(20, 9))
    found = spike_of(level[:, None] + apart)
    assert not found.has_spike
    assert found.rise <= found.threshold


def test_a_rise_that_is_gone_again_is_no_reason_to_change_anything(stiff):
    gone = stiff._replace(curve=np.append(stiff.curve[:-1], stiff.curve[0]))
    assert "comes back by itself" in " ".join(str(gone).split())
    assert "comes back by itself" not in " ".join(str(stiff).split())
