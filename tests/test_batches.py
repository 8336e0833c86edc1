import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LAST_PARAMS, keys

import gdx

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(11)
M, F = 10, 3
X, Y = RNG.normal(size=(M, F)), RNG.normal(size=M)
DATA = {"x": X, "y": Y, "id": np.arange(M)}
START = np.asarray([1.0, -2.0, 0.5])
REPEATS = keys(2)
LONGEST = 47
# Name -> (batch size, with replacement); an epoch has 10, 5, 4, 2 and 1 steps.
REGIMES = {
    "one at a time": (1, False),
    "a divisor": (2, False),
    "no divisor": (3, False),
    "more than half": (7, False),
    "all": (M, False),
    "with replacement": (4, True),
}


def marked(batch_size, replacement=False):
    """Least squares whose parameter `mark` has the weight of every example in the batch as its gradient, exactly and
    at every step size, so that an observer can tell which examples a step saw."""

    def loss(params, batch):
        rows, weights = batch
        errors = rows["x"] @ params["w"] - rows["y"]
        unseen = params["mark"] - jax.lax.stop_gradient(params["mark"])
        return jnp.sum(weights * (0.5 * errors**2 + jax.nn.one_hot(rows["id"], M, dtype=float) @ unseen))

    def full_loss(params: Any):
        return 0.5 * jnp.mean((X @ params["w"] - Y) ** 2)

    return gdx.problem(
        {"w": START, "mark": np.zeros(M)},
        loss,
        batches=gdx.problems.minibatches(DATA, batch_size, replacement=replacement),
        full_loss=full_loss,
    )


def seen_batches(num_steps):
    """An observer of the examples in every batch, [T, M]."""
    return gdx.Observer(
        init=lambda params: jnp.zeros((num_steps, M)),
        update=lambda seen, view: seen.at[view.step].set(view.gradient["mark"]),
        summarise=lambda seen: seen,
    )


def drawn(problem, num_steps):
    """What `problem.batches(key, step)` gives for both repeats and all steps: rows and weights [R, T, b, ...]."""
    step = gdx.train_step(problem, optax.sgd)

    def of_one(key):
        own = step.init(0.1, key).key
        return jax.vmap(lambda t: problem.batches(own, t))(jnp.arange(num_steps, dtype=jnp.int32))

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(of_one))(REPEATS))


@functools.cache
def regime(name):
    """A problem and its batches over `LONGEST` steps."""
    problem = marked(*REGIMES[name])
    return problem, drawn(problem, LONGEST)


def shares(batches):
    """The weight of every example in every batch, [..., T, M]."""
    rows, weights = batches
    return np.sum(weights[..., None] * (rows["id"][..., None] == np.arange(M)), axis=-2)


def by_hand(batches, step_size, rule=lambda gradient, w: gradient):
    """Mini-batch descent in NumPy: weights before every step and after the last, [T + 1, F]."""
    rows, weights = batches
    path = [START]
    for x, y, used in zip(rows["x"], rows["y"], weights > 0, strict=True):
        w, x, y = path[-1], x[used], y[used]
        path.append(w - step_size * rule(x.T @ (x @ w - y) / len(y), w))
    return np.stack(path)


def part(batches, repeat, num_steps):
    return jax.tree.map(lambda leaf: leaf[repeat, :num_steps], batches)


def full_facts(path):
    """Full losses and norms of full gradients along a path."""
    errors = path @ X.T - Y
    return 0.5 * np.mean(errors**2, axis=-1), np.linalg.norm(errors @ X / M, axis=-1)


close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in REGIMES if name != "with replacement"])
def test_every_epoch_sees_each_example_exactly_once_in_an_order_of_its_own(name):
    _, (rows, weights) = regime(name)
    length = -(-M // REGIMES[name][0])
    np.testing.assert_array_equal(rows["x"], X[rows["id"]])
    np.testing.assert_array_equal(rows["y"], Y[rows["id"]])
    ids, used = (leaf[:, : 4 * length].reshape(8, -1) for leaf in (rows["id"], weights > 0))
    orders = [of_epoch[mask] for of_epoch, mask in zip(ids, used, strict=True)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(M))
    assert len({order.tobytes() for order in orders}) == 8


@pytest.mark.parametrize("name", REGIMES)
def test_weights_are_those_of_a_mean_over_the_examples_that_are_left(name):
    size, replacement = REGIMES[name]
    _, (rows, weights) = regime(name)
    left = np.full(1 if replacement else -(-M // size), size)
    if not replacement:
        left[-1] = M - (len(left) - 1) * size
    expected = np.where(np.arange(size) < left[:, None], 1 / left[:, None], 0.0)
    np.testing.assert_array_equal(weights, np.broadcast_to(np.resize(expected, (LONGEST, size)), weights.shape))
    # Padding repeats an example of its own batch, so that it brings in no number which is not there anyway.
    assert all(np.isin(ids, ids[mask]).all() for ids, mask in zip(rows["id"][0], weights[0] > 0, strict=True))


def test_with_replacement_every_draw_is_even_over_all_examples_and_may_repeat_one():
    rows, _ = drawn(marked(4, replacement=True), 1000)
    counts = np.bincount(rows["id"].ravel(), minlength=M)
    np.testing.assert_allclose(counts, 800, atol=4 * np.sqrt(8000 * 0.1 * 0.9))
    distinct = np.asarray([len(set(ids)) for ids in rows["id"].reshape(-1, 4)])
    # Four draws out of ten are all different with probability .9 * .8 * .7.
    np.testing.assert_allclose(np.mean(distinct == 4), 0.504, atol=4 * np.sqrt(0.25 / 2000))


@pytest.mark.parametrize("name", REGIMES)
def test_a_scan_of_ones_own_equals_a_loop_in_numpy_under_vmap(name):
    problem, batches = regime(name)
    step, step_sizes = gdx.train_step(problem, optax.sgd), np.asarray([0.05, 0.2])

    def scan(step_size, key):
        params: Any = jax.lax.scan(lambda s, _: step.update(s), step.init(step_size, key), length=23)[1].params
        return params["w"]

    found = jax.jit(jax.vmap(jax.vmap(scan, (None, 0)), (0, None)))(step_sizes, REPEATS)
    for point, step_size in enumerate(step_sizes):
        for repeat in range(2):
            close(found[point, repeat], by_hand(part(batches, repeat, 23), step_size)[:-1])


@pytest.mark.parametrize("name", ["no divisor", pytest.param("with replacement", marks=pytest.mark.slow)])
def test_a_trajectory_equals_the_same_loop(name):
    problem, batches = regime(name)
    params: Any = gdx.trajectory(problem, optax.sgd(0.1), REPEATS[1], num_steps=23).params
    close(params["w"], by_hand(part(batches, 1, 23), 0.1))


@pytest.mark.parametrize(
    ("name", "block", "num_blocks"),
    [
        ("one at a time", 4, 6),
        ("no divisor", 6, 4),
        pytest.param("one at a time", 23, 1, marks=pytest.mark.slow),
        pytest.param("more than half", 1, 9, marks=pytest.mark.slow),
    ],
)
def test_orders_drawn_ahead_of_a_block_are_those_drawn_in_the_step(name, block, num_blocks):
    problem, batches = regime(name)
    step = gdx.train_step(problem, optax.sgd, block=block)

    def one_block(state, _):
        return jax.lax.scan(lambda s, _: step.update(s), step.renew(state), length=block)

    views = jax.jit(lambda: jax.lax.scan(one_block, step.init(0.1, REPEATS[0]), length=num_blocks)[1])()
    seen = views.gradient["mark"].reshape(-1, M)
    np.testing.assert_array_equal(seen, shares(batches)[0, : len(seen)])


# Name -> (regime, horizon, tail). By the rule for blocks: one block of 3 of an epoch's 4 steps; exactly an epoch;
# several times one in blocks of 6 with a held step, of which an epoch has fewer (4) or more (10) steps.
HORIZONS = {
    "shorter than an epoch": ("no divisor", 3, 64),
    "several epochs in longer blocks": ("no divisor", 23, 4),
    "several epochs in shorter blocks": ("one at a time", 23, 4),
    "an epoch": ("no divisor", 4, 4),
    "with replacement": ("with replacement", 23, 4),
}
QUICK = ("shorter than an epoch", "several epochs in longer blocks")
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in HORIZONS]


@functools.cache
def swept(name):
    """Runs [S, R], paths by hand [S, R, T + 1, F] and the shares of examples in batches [R, T, M]."""
    of, num_steps, tail = HORIZONS[name]
    problem, batches = regime(of)
    run = gdx.sweep(
        problem,
        optax.sgd,
        num_steps=num_steps,
        tail=tail,
        evaluate_every=1,
        slots=4,
        facts=("gradient",),
        observers={"params": LAST_PARAMS, "batches": seen_batches(num_steps)},
    )
    step_sizes = np.asarray([0.05, 0.1, 0.2])
    parts = [part(batches, repeat, num_steps) for repeat in range(2)]
    paths = [[by_hand(rows, step_size) for rows in parts] for step_size in step_sizes]
    return run(step_sizes, REPEATS), np.asarray(paths), shares(batches)[:, :num_steps]


@pytest.mark.parametrize("name", CASES)
def test_a_sweep_equals_a_loop_in_numpy_over_the_same_batches(name):
    runs, paths, batches = swept(name)
    assert np.all(runs.steps == HORIZONS[name][1])
    for seen in runs.observed["batches"]:
        np.testing.assert_array_equal(seen, batches)
    close(runs.observed["params"]["w"], paths[:, :, -2])


@pytest.mark.parametrize("name", CASES)
def test_the_full_loss_judges_runs_on_mini_batches(name):
    runs, paths, _ = swept(name)
    losses, norms = full_facts(paths[:, :, :-1])
    tail = slice(-min(HORIZONS[name][1:3]), None)
    close(runs.first_loss, losses[..., 0])
    close(runs.first_gradient_norm, norms[..., 0])
    close(runs.last_loss, losses[..., -1])
    close(runs.tail_loss, losses[..., tail].mean(axis=-1))
    close(runs.tail_gradient_norm_max, norms[..., tail].max(axis=-1))
    close(runs.tail_gradient_norm_min, norms[..., tail].min(axis=-1))
    np.testing.assert_array_equal(runs.loss_rises, np.sum(np.diff(losses[..., tail]) > 0, axis=-1))


def squares(params, rows):
    x, y = rows
    return 0.5 * (x @ params - y) ** 2


def test_a_run_has_converged_by_its_full_gradient_and_not_by_that_of_a_batch():
    # Where the model fits every target one example at a time converges; where it fits none, no run does.
    def one_at_a_time(h):
        targets = X @ np.ones(F) + h["noise"] * Y
        return gdx.problems.finite_sum(jnp.zeros(F), squares, (X, targets), batch_size=1)

    family = lambda h: optax.sgd(h["step_size"])  # noqa: E731
    run = gdx.sweep(one_at_a_time, family, num_steps=400, tail=16, tolerance=1e-2, slots=4)
    runs = run({"step_size": np.asarray([0.1, 50.0, 0.1]), "noise": np.asarray([0.0, 0.0, 1.0])}, REPEATS[:1])
    fits, explodes, does_not_fit = gdx.verdicts(runs)[:, 0]
    assert (fits, explodes) == (gdx.Verdict.CONVERGED, gdx.Verdict.DIVERGED)
    assert does_not_fit not in (gdx.Verdict.CONVERGED, gdx.Verdict.DIVERGED)


@pytest.mark.parametrize(
    ("name", "slots"),
    [
        ("no divisor", 2),
        ("one at a time", 16),
        pytest.param("no divisor", 16, marks=pytest.mark.slow),
        pytest.param("one at a time", 1, marks=pytest.mark.slow),
        pytest.param("with replacement", 4, marks=pytest.mark.slow),
    ],
)
def test_runs_with_one_key_see_the_same_batches_to_the_bit_whatever_their_step_size_slot_or_neighbours(name, slots):
    problem, batches = regime(name)
    expected = shares(batches)
    assert not np.array_equal(expected[0], expected[1])
    observers = {"batches": seen_batches(LONGEST)}
    run = gdx.sweep(problem, optax.sgd, num_steps=LONGEST, tail=4, slots=slots, facts=(), observers=observers)
    # Half of the lanes blow up, at several different steps, and others take their slots, out of step with the rest.
    step_sizes = np.geomspace(1e-3, 1e6, 24)
    for order in (np.arange(24), np.random.default_rng(1).permutation(24), np.asarray([3])):
        runs = run(step_sizes[order], REPEATS)
        taken = np.arange(LONGEST) < runs.steps[..., None]
        seen = np.where(taken[..., None], runs.observed["batches"], expected)
        np.testing.assert_array_equal(seen, np.broadcast_to(expected, seen.shape))
        if len(order) > 1:
            assert len(np.unique(runs.steps)) > 3
            assert 8 < np.sum(runs.stopped == gdx.Stop.HORIZON) < 40


def primitives(jaxpr, inside_scan=False):
    """Names of all primitives of a jaxpr, each with whether it stands inside a scan."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        yield name, inside_scan
        for value in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from primitives(inner, inside_scan or name == "scan")


def test_nothing_is_sorted_inside_the_steps_of_a_sweep():
    problem, key = marked(3), REPEATS[0]

    def sorts(function):
        found = primitives(jax.make_jaxpr(function)().jaxpr)
        return {inside for name, inside in found if name == "sort"}

    def scan(step):
        return lambda: jax.lax.scan(lambda s, _: step.update(s), step.init(0.1, key), length=64)[0]

    assert sorts(scan(gdx.train_step(problem, optax.sgd))) == {False, True}
    assert sorts(scan(gdx.train_step(problem, optax.sgd, block=64))) == {False}
    run = gdx.sweep(problem, optax.sgd, num_steps=300, slots=128)
    assert sorts(lambda: run(jnp.ones(3), REPEATS)) == {False}


def test_maximising_is_minimising_the_negative_to_the_bit():
    def negative(params, rows):
        return -squares(params, rows)

    climb: Any = gdx.problems.finite_sum(jnp.zeros(F), negative, (X, Y), batch_size=3, maximise=True)
    descend: Any = gdx.problems.finite_sum(jnp.zeros(F), squares, (X, Y), batch_size=3)
    away: Any = gdx.problems.finite_sum(jnp.zeros(F), negative, (X, Y), batch_size=3)

    @jax.jit
    def views():
        pairs = [gdx.train_step(problem, optax.sgd, block=9) for problem in (climb, descend, away)]
        return [jax.lax.scan(lambda s, _, p=p: p.update(s), p.init(0.1, REPEATS[0]), length=9)[1] for p in pairs]

    up, down, off = views()
    for field in ("params", "loss", "gradient"):
        np.testing.assert_array_equal(getattr(up, field), getattr(down, field))
    assert not np.array_equal(off.params, up.params)
    params = up.params[-1]
    np.testing.assert_array_equal(climb.full_loss(params, ()), descend.full_loss(params, ()))
    np.testing.assert_array_equal(climb.full_loss(params, ()), -away.full_loss(params, ()))


def test_gradients_accumulated_over_four_batches_make_one_step_on_their_union():
    features, targets = RNG.normal(size=(24, F)), RNG.normal(size=24)
    problem = gdx.problems.finite_sum(jnp.zeros(F), squares, (features, targets), batch_size=3)
    step = gdx.train_step(problem, lambda h: optax.MultiSteps(optax.sgd(h), 4).gradient_transformation(), block=24)
    scan = jax.jit(lambda h: jax.lax.scan(lambda s, _: step.update(s), step.init(h, REPEATS[0]), length=24)[1].params)
    # Four of an epoch's eight batches are twelve examples.
    (x, y), _ = part(drawn(problem, 24), 0, 24)
    w, unions = np.zeros(F), []
    for x_union, y_union in zip(x.reshape(6, 12, F), y.reshape(6, 12), strict=True):
        unions += 4 * [w]
        w = w - 0.3 * x_union.T @ (x_union @ w - y_union) / 12
    # optax's running mean divides by a count in float32.
    np.testing.assert_allclose(scan(0.3), unions, rtol=4 * float(np.finfo(np.float32).eps))


def test_clipping_and_weight_decay_come_from_an_optax_chain():
    problem, batches = regime("no divisor")
    bound, decay = 0.5, 0.3

    def family(h):
        # The clip is over the weights alone, as the mark is none of the model's parameters.
        clipped = optax.masked(optax.clip_by_global_norm(bound), {"w": True, "mark": False})
        return optax.chain(clipped, optax.add_decayed_weights(decay), optax.sgd(h))

    clips = []

    def rule(gradient, w):
        norm = np.linalg.norm(gradient)
        clips.append(bool(norm > bound))
        return gradient * min(1.0, bound / norm) + decay * w

    expected = by_hand(part(batches, 0, 23), 0.1, rule)
    assert set(clips) == {True, False}
    step = gdx.train_step(problem, family, block=23)
    scan = jax.jit(lambda h: jax.lax.scan(lambda s, _: step.update(s), step.init(h, REPEATS[0]), length=23)[1].params)
    close(scan(0.1)["w"], expected[:-1])


# Lanes of a quadratic: step size and distance of the start. The second starts below the bound of the gradient, the
# third at the minimum, the fourth never comes below, the last two grow, one of them past the bound for blown up.
LANES = {"step_size": [0.1, 0.05, 0.1, 1e-5, 0.21, 0.4], "start": [1.0, 1e-4, 0.0, 1.0, 1.0, 1.0]}
SMALL_GRADIENT, SMALL_CHANGE = 1e-3, 0.02


def bowl(h):
    curvatures = jnp.asarray([1.0, 10.0])
    return gdx.problem(h["start"] * jnp.ones(2), lambda w: 0.5 * jnp.sum(curvatures * w**2))


@functools.cache
def paths_of_lanes():
    lanes = [dict(zip(LANES, values, strict=True)) for values in zip(*LANES.values(), strict=True)]
    return [gdx.trajectory(bowl(h), optax.sgd(h["step_size"]), REPEATS[0], num_steps=200) for h in lanes]


def first(mask):
    """Position of the first true entry, infinity for none."""
    return float(np.argmax(mask)) if np.any(mask) else np.inf


def end_by_hand(path, num_steps, rules):
    """When and why a run ends, read off its whole history."""
    loss, norm = (np.asarray(leaf)[:num_steps] for leaf in (path.loss, path.gradient_norm))
    change = np.abs(np.diff(loss)) <= rules.get("loss_change", -1) * np.abs(loss[:-1])
    ends = {
        gdx.Stop.BLOWN_UP: first(~(np.abs(loss - loss[0]) <= 1e12 * max(loss[0], 1))),
        gdx.Stop.SMALL_GRADIENT: first(norm <= rules.get("gradient_norm", -1)),
        gdx.Stop.SMALL_CHANGE: 1 + first(change),
        gdx.Stop.HORIZON: num_steps,
    }
    why = min(ends, key=lambda code: ends[code])
    return why, ends[why], loss[int(min(ends[why], num_steps - 1))]


RULES: dict[str, dict[str, Any]] = {
    "gradient": {"gradient_norm": SMALL_GRADIENT},
    "change": {"loss_change": SMALL_CHANGE},
    "both": {"gradient_norm": SMALL_GRADIENT, "loss_change": SMALL_CHANGE},
}


@pytest.mark.parametrize(
    ("rule", "num_steps", "tail"),
    [
        ("both", 150, 64),
        ("both", 37, 8),
        pytest.param("gradient", 37, 8, marks=pytest.mark.slow),
        pytest.param("change", 200, 8, marks=pytest.mark.slow),
        pytest.param("both", 1, 64, marks=pytest.mark.slow),
        pytest.param("gradient", 200, 64, marks=pytest.mark.slow),
        pytest.param("change", 128, 64, marks=pytest.mark.slow),
        pytest.param("change", 37, 8, marks=pytest.mark.slow),
        pytest.param("both", 50, 64, marks=pytest.mark.slow),
        pytest.param("both", 199, 1, marks=pytest.mark.slow),
    ],
)
def test_a_run_ends_at_the_first_step_at_which_a_rule_of_its_user_holds(rule, num_steps, tail):
    rules = RULES[rule]
    stopping = gdx.Stopping(repeated=False, **rules)
    family = lambda h: optax.sgd(h["step_size"])  # noqa: E731
    run = gdx.sweep(bowl, family, num_steps=num_steps, tail=tail, slots=2, facts=("gradient",), stopping=stopping)
    runs = run({name: np.asarray(values) for name, values in LANES.items()}, REPEATS[:1])
    ends = [end_by_hand(path, num_steps, rules) for path in paths_of_lanes()]
    assert [gdx.Stop(int(code)) for code in runs.stopped[:, 0]] == [why for why, _, _ in ends]
    assert runs.steps[:, 0].tolist() == [when for _, when, _ in ends]
    close(runs.last_loss[:, 0], [loss for _, _, loss in ends])


def test_rules_are_about_the_full_loss_of_runs_on_mini_batches_and_held_steps_change_no_batch():
    # Every step is watched, in three blocks of 16 for 41 steps, so that the first 7 hold still: more than an epoch.
    problem, batches = regime("no divisor")
    step_sizes, expected = np.asarray([0.02, 0.1]), shares(batches)[:, :41]
    paths = [[by_hand(part(batches, repeat, 41), h) for repeat in range(2)] for h in step_sizes]
    losses, norms = full_facts(np.asarray(paths)[:, :, :41])
    bound = 1.01 * norms[0].min()
    run = gdx.sweep(
        problem,
        optax.sgd,
        num_steps=41,
        tail=16,
        evaluate_every=1,
        slots=2,
        facts=("gradient",),
        stopping=gdx.Stopping(gradient_norm=bound),
        observers={"batches": seen_batches(41)},
    )
    runs = run(step_sizes, REPEATS)
    ends = np.minimum(np.apply_along_axis(first, -1, norms <= bound), 41).astype(int)
    np.testing.assert_array_equal(runs.steps, ends)
    np.testing.assert_array_equal(runs.stopped == gdx.Stop.SMALL_GRADIENT, ends < 41)
    assert len(np.unique(ends)) > 2
    close(runs.last_loss, np.take_along_axis(losses, np.minimum(ends, 40)[..., None], axis=-1)[..., 0])
    taken = (np.arange(41) < ends[..., None])[..., None]
    seen = np.where(taken, runs.observed["batches"], expected)
    np.testing.assert_array_equal(seen, np.broadcast_to(expected, seen.shape))


@pytest.mark.parametrize("size", [0, -1, -M, M + 1, 2.5, 2.0, True, "3", np.nan, (2,)])
def test_a_batch_size_that_is_no_number_of_examples_is_refused_in_one_sentence(size):
    makers = [
        lambda: gdx.problems.minibatches(DATA, size),
        lambda: gdx.problems.finite_sum(jnp.zeros(F), squares, (X, Y), batch_size=size, replacement=True),
        lambda: gdx.problems.least_squares(X, Y, batch_size=size),
        lambda: gdx.problems.logistic_regression(X, Y > 0, batch_size=size),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=rf"^batch_size: .* is no whole number in \[1, {M}\].*; leave it out"):
            make()


@pytest.mark.parametrize("data", [(X, Y[:-1]), (X, 3.0), (), (X[:0], Y[:0])])
def test_arrays_of_different_lengths_are_no_data(data):
    for make in (gdx.problems.minibatches, functools.partial(gdx.problems.finite_sum, jnp.zeros(F), squares)):
        with pytest.raises(ValueError, match=r"^data: its arrays have \[.*\] examples; pass arrays \[M, ...\]"):
            make(data, batch_size=1)
