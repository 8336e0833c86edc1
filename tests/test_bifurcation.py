"""What runs do beyond an edge, against what is known of the quartic and of chains."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx import reports, studies

CHAOS = {"quartic": 1.30228346}
MERGING = 1.598076211


def chain(depth):
    return gdx.problem(lambda key: 1 + 0.3 * jax.random.normal(key, (depth,)), lambda w: (jnp.prod(w) - 1) ** 2 / 2)


@pytest.mark.slow
def test_the_quartic_doubles_falls_into_chaos_and_its_wells_merge():
    found = studies.bifurcation(gdx.problems.quartic(start=0.5), optax.sgd, keys=keys(1), progress=False)
    sizes = [one.step_size for one in found.cascade.doublings]
    np.testing.assert_allclose(sizes[:5], [1, np.sqrt(5) - 1, 1.288031754, 1.299227940, 1.301628914], atol=1e-8)
    assert found.cascade.ratios[-1] == pytest.approx(4.6692, abs=1e-3)
    assert found.onset == pytest.approx(CHAOS["quartic"], abs=1e-6)
    assert abs(found.onset - CHAOS["quartic"]) <= found.onset_error + 6e-9
    (jump,) = found.jumps
    assert jump.lower - 1e-3 < MERGING < jump.upper + 1e-3
    # Beyond 2 every run leaves; at it the exponent is the logarithm of three.
    assert np.all(found.verdicts[found.step_sizes > 2] == gdx.Verdict.DIVERGED)
    last = np.flatnonzero(found.step_sizes < 2)[-1]
    assert found.exponents[last, 0] == pytest.approx(np.log(3), abs=0.05)
    assert found.step_sizes[0] == pytest.approx(0.9)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "second"), [(2, np.sqrt(5) - 1), (3, 0.829738), (4, 0.623585)])
def test_chains_double_where_it_is_known(depth, second):
    edge = 2 / depth
    found = studies.bifurcation(
        chain(depth), optax.sgd, keys=keys(2), step_sizes=np.linspace(0.95, 1.4, 120) * edge, progress=False
    )
    first, next_one, *_ = (one.step_size for one in found.cascade.doublings)
    assert first == pytest.approx(edge, abs=1e-6)
    assert next_one == pytest.approx(second, abs=1e-6)
    assert found.onset > next_one


def quick(problem, family=optax.sgd, **options):
    settings = {"keys": keys(1), "num_steps": 1024, "num_doublings": 3, "num_points": 24, "progress": False}
    return studies.bifurcation(problem, family, **settings | options)


@pytest.mark.slow
def test_where_nothing_cycles_it_is_said_why():
    hard = quick(gdx.problems.hard_partner(start=0.1))
    assert hard.cascade.doublings == ()
    assert "no cycle grows out of the minimum" in hard.cascade.note
    assert np.isnan(hard.onset)
    bowl = quick(gdx.problems.quadratic([1.0, 3.0]), step_sizes=np.linspace(0.5, 0.8, 10))
    assert "linear" in bowl.cascade.note
    network = quick(gdx.problems.linear_network(widths=(6, 6, 6)), step_sizes=np.linspace(0.1, 0.3, 5))
    assert "up to 64" in network.cascade.note
    assert bowl.start == hard.start == -1


@pytest.mark.slow
def test_the_report_tells_what_the_study_found():
    found = quick(gdx.problems.quartic(start=0.9), step_sizes=np.linspace(0.9, 1.35, 20), num_steps=2048)
    settings = {"problem": "quartic", "optimizer": "sgd"}
    told = json.loads(reports.to_json(reports.bifurcation_json(found, settings, ["a.png"])))
    assert [one["period"] for one in told["doublings"]] == [1, 2, 4]
    assert told["onset"] is None
    assert "five" in told["no_onset_because"]
    assert told["edge"]["kind"] == "soft"
    assert len(told["verdicts"]) == 20


@pytest.mark.slow
def test_shown_may_be_a_parameter_the_loss_or_a_function_of_ones_own():
    sizes = np.array([0.8, 1.1])
    wells = gdx.problem(jnp.array([0.9, 0.4]), lambda w: (w[0] ** 2 - 1) ** 2 / 4 + w[1] ** 2 / 8)
    options = {"step_sizes": sizes, "num_values": 8}
    assert quick(wells, **options).shown == "parameter 0"
    loss = quick(wells, of="loss", **options)
    own = quick(wells, of=lambda view: view.params[1], **options)
    assert np.all(np.abs(own.values) < 1e-9)
    assert loss.values.shape == (2, 1, 8)
    heavy = quick(wells, functools.partial(optax.sgd, momentum=0.3), of=1, **options)
    assert heavy.shown == "parameter 1"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"of": 7}, "of: 7 is none of loss, gradient_norm and parameters 0 to 1"),
        ({"of": "los"}, "of: 'los'"),
        ({"num_values": 0}, "num_values: 0"),
        ({"num_values": 2000}, "num_values: 2000 are more than the 1024 steps"),
        ({"num_doublings": -1}, "num_doublings: -1"),
        ({"problem": gdx.problems.digits_mlp((4,), batch_size=10)}, "problem: it has batches"),
    ],
)
def test_what_cannot_be_shown_is_refused(options, says):
    problem = options.pop("problem", gdx.problems.quadratic([1.0, 3.0]))
    with pytest.raises(ValueError, match=says):
        quick(problem, **options)


@pytest.mark.slow
def test_a_range_that_grows_evenly_has_no_jump_however_coarse_the_grid():
    corner = gdx.problem(lambda key: jnp.array(0.2), lambda w: jnp.where(w > -1, w**2 / 2, -w - 0.5))
    found = quick(corner, step_sizes=[1.9, 2.2, 2.6, 3.5, 6.0], num_steps=4096, num_doublings=0)
    assert np.sum(found.verdicts == gdx.Verdict.CHAOTIC) >= 3
    assert found.jumps == ()


@pytest.mark.slow
def test_runs_that_wander_ever_further_have_no_range_that_could_jump():
    waves = gdx.problem(lambda key: jnp.array(0.3), lambda w: 1 - jnp.cos(w))
    found = quick(waves, step_sizes=np.linspace(3.5, 5.5, 60), num_steps=4096, num_doublings=0)
    # At 4.60333882 the orbit first leaves its well; beyond, its range is a matter of time.
    for jump in found.jumps:
        assert jump.lower - 2e-3 < 4.603339 < jump.upper + 2e-3


@pytest.mark.slow
def test_doublings_are_those_of_the_start_whose_edge_they_begin_at():
    # Wells at 1 and -1 of curvature 2.3 and 1.7; the flatter one keeps its runs the longest.
    wells = gdx.problem(
        lambda key: jnp.where(jax.random.uniform(key) > 0.5, 1.05, -1.05),
        lambda w: (w**2 - 1) ** 2 / 4 + 0.15 * w**3 / 3 - 0.15 * w,
    )
    found = quick(
        wells, keys=keys(4), step_sizes=np.linspace(0.8, 1.6, 81), num_steps=4096, num_doublings=7, num_values=16
    )
    begins = np.array([float(wells.init(key)[0]) for key in keys(4)])
    assert begins[found.start] < 0 < begins.max()
    assert found.cascade.doublings[0].step_size == pytest.approx(2 / 1.7, abs=1e-6)
    assert found.onset_note == ""


@pytest.mark.slow
def test_in_float32_chaos_that_comes_back_to_its_own_numbers_is_no_cycle():
    with jax.enable_x64(False):
        cubic = gdx.problem(lambda key: jnp.array(0.1), lambda w: w**2 / 2 + w**3 / 3)
        run = gdx.sweep(
            cubic,
            optax.sgd,
            num_steps=8192,
            tail=256,
            observers={"lyapunov": gdx.observers.lyapunov()},
        )
        runs = run(np.linspace(2.6, 2.99, 200, dtype=np.float32), keys(1))
    exponents = runs.observed["lyapunov"]
    parts = exponents.exponents[..., 0] > exponents.errors[..., 0]
    cycling = np.asarray(gdx.verdicts(runs)) == gdx.Verdict.CYCLING
    assert np.any((runs.period > 0) & parts)
    assert not np.any(cycling & parts)
