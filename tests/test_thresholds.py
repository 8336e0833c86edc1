"""The optimizer's side of the edge."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LINEAR_METHODS, keys

import gdx
from gdx.responses import measure_response, parities, preconditioners, response
from gdx.responses.families import measured_once
from gdx.responses.preconditioners import make_reader

pytestmark = pytest.mark.usefixtures("quick_compilation")

ADAPTIVE = {
    "adam": (lambda b: functools.partial(optax.adam, b1=b), lambda b: 2 * (1 + b) / (1 - b)),
    "amsgrad": (lambda b: functools.partial(optax.amsgrad, b1=b), lambda b: 2 * (1 + b) / (1 - b)),
    "nadam": (lambda b: functools.partial(optax.nadam, b1=b), lambda b: 2 * (1 + b) / ((1 - b) * (1 + 2 * b))),
    "rmsprop": (lambda b: functools.partial(optax.rmsprop, decay=b), lambda b: 2.0),
    "rmsprop with momentum": (lambda b: functools.partial(optax.rmsprop, momentum=b), lambda b: 2 * (1 + b)),
    "adagrad": (lambda b: optax.adagrad, lambda b: 2.0),
    "adadelta": (lambda b: functools.partial(optax.adadelta, rho=b), lambda b: 2.0),
}


@pytest.mark.parametrize("name", LINEAR_METHODS)
def test_thresholds_are_those_of_the_textbook(name):
    family, threshold = LINEAR_METHODS[name]
    np.testing.assert_allclose(gdx.curvature_threshold(family), threshold, rtol=1e-9)


@pytest.mark.parametrize("beta", [0.3, *(pytest.param(b, marks=pytest.mark.slow) for b in (0.0, 0.77, 0.97, 0.999))])
def test_momentum_thresholds_hold_for_every_coefficient(beta):
    def averaged(step_size):
        return optax.chain(optax.ema(beta), optax.scale(-1.0 * step_size))

    heavy, nesterov = (functools.partial(optax.sgd, momentum=beta, nesterov=flag) for flag in (False, True))
    np.testing.assert_allclose(gdx.curvature_threshold(heavy), 2 * (1 + beta), rtol=1e-9)
    np.testing.assert_allclose(gdx.curvature_threshold(nesterov), 2 * (1 + beta) / (1 + 2 * beta), rtol=1e-9)
    np.testing.assert_allclose(gdx.curvature_threshold(averaged), 2 * (1 + beta) / (1 - beta), rtol=1e-9)


def with_memory(transform):
    """A family that turns the last gradient and this one into an update."""

    def family(step_size):
        def update(gradient, last, params=None):
            return transform(gradient, last), gradient

        return optax.chain(optax.GradientTransformation(jnp.zeros_like, update), optax.sgd(step_size))

    return family


@pytest.mark.parametrize(
    ("family", "threshold"),
    [
        (lambda s: optax.chain(optax.ema(0.9, debias=False), optax.sgd(s, momentum=0.9)), 0.023456790),
        (lambda s: optax.chain(optax.ema(0.5, debias=False), optax.sgd(s, momentum=0.5)), 1.5),
        (with_memory(lambda new, old: (new + old) / 2), 2.0),
        (with_memory(lambda new, old: old), 1.0),
    ],
    ids=["ema .9 then momentum .9", "ema .5 then momentum .5", "mean of two", "delayed by one"],
)
def test_the_threshold_need_not_be_at_alternating_gradients(family, threshold):
    np.testing.assert_allclose(gdx.curvature_threshold(family), threshold, rtol=1e-7)


@pytest.mark.parametrize("beta", [0.6, pytest.param(0.2, marks=pytest.mark.slow)])
def test_a_threshold_is_where_the_closed_loop_starts_to_grow(beta):
    def family(step_size):
        return optax.chain(optax.ema(beta, debias=False), optax.sgd(step_size, momentum=0.4))

    edge = gdx.curvature_threshold(family) / 3.0
    runs = gdx.sweep(gdx.problems.quadratic((3.0,)), family, num_steps=10_000)([0.95 * edge, 1.05 * edge], keys(2))
    assert gdx.verdicts(runs)[:, 0].tolist() == [gdx.Verdict.CONVERGED, gdx.Verdict.DIVERGED]


@pytest.mark.parametrize(
    ("name", "beta"),
    [
        ("adam", 0.35),
        ("nadam", 0.9),
        ("rmsprop with momentum", 0.35),
        *(
            pytest.param(name, beta, marks=pytest.mark.slow)
            for name in ADAPTIVE
            for beta in (0.9, 0.35)
            if (name, beta) not in (("adam", 0.35), ("nadam", 0.9), ("rmsprop with momentum", 0.35))
        ),
    ],
)
def test_adaptive_methods_have_the_threshold_of_their_memory_with_the_preconditioner_held(name, beta):
    make, threshold = ADAPTIVE[name]
    np.testing.assert_allclose(gdx.curvature_threshold(make(beta)), threshold(beta), rtol=1e-6)
    assert measure_response(make(beta)).is_preconditioned


@pytest.mark.parametrize(("b1", "decay", "sharpness", "preconditioner"), [(0.9, 0.1, 3.0, 2.0), (0.6, 5.0, 0.4, 0.03)])
def test_decoupled_decay_is_solved_for(b1, decay, sharpness, preconditioner):
    family = functools.partial(optax.adamw, b1=b1, weight_decay=decay)
    expected = 2 * (1 + b1) / ((1 - b1) * sharpness / preconditioner + (1 + b1) * decay)
    np.testing.assert_allclose(gdx.critical_step(family, sharpness, preconditioner), expected, rtol=1e-6)


def test_a_critical_step_without_decay_is_threshold_over_curvature():
    family = functools.partial(optax.sgd, momentum=0.7)
    np.testing.assert_allclose(gdx.critical_step(family, 5.0, preconditioner=2.0), 3.4 * 2 / 5, rtol=1e-9)
    assert gdx.critical_step(family, 0.0) == np.inf


def test_decay_through_the_momentum_is_curvature_like_any_other():
    def family(step_size):
        return optax.chain(optax.add_decayed_weights(0.3), optax.sgd(step_size, momentum=0.5))

    np.testing.assert_allclose(gdx.critical_step(family, 2.0), 3.0 / 2.3, rtol=1e-9)


def test_decay_that_the_preconditioner_divides_is_refused():
    def family(step_size):
        return optax.chain(optax.add_decayed_weights(0.3), optax.adam(step_size))

    with pytest.raises(ValueError, match="divided by the preconditioner"):
        gdx.critical_step(family, 2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1.0, 1.0), "sharpness: -1.0"), ((np.nan, 1.0), "sharpness: nan"), ((1.0, 0.0), "preconditioner: 0.0")],
)
def test_critical_steps_of_no_curvature_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gdx.critical_step(optax.sgd, *arguments)


def growth(family, kinds, state, step_size, curvature):
    """Growth a step of the closed loop on a quadratic: largest eigenvalue of the linear map of parameters and memory.

    Second moments and counts stay where they are.
    """
    update = parities.update_of(family(step_size))
    leaves, structure = jax.tree.flatten(state)
    memory = [i for i, kind in enumerate(kinds) if kind is parities.Parity.ODD]

    def step(point):
        x, carried = point[:1], iter(point[1:])
        mixed = [next(carried).reshape(leaf.shape) if i in memory else leaf for i, leaf in enumerate(leaves)]
        updates, new = update(curvature * x, structure.unflatten(mixed), x)
        after = jax.tree.leaves(new)
        return jnp.concatenate([x + updates, *(after[i].reshape(1) for i in memory)])

    # Linear for faint arguments; derivatives of norms would not be finite at 0.
    faint = 1e-10
    matrix = jax.jit(jax.vmap(step, out_axes=1))(faint * jnp.eye(1 + len(memory))) / faint
    return np.max(np.abs(np.linalg.eigvals(matrix)))


def filled_state(family, kinds):
    """A state late in training: second moments filled, memory empty."""
    params = jnp.zeros(1)
    update = parities.update_of(family(1.0))
    state = jax.tree.map(jnp.asarray, family(1.0).init(params))
    counting = jax.tree.structure(state).unflatten(parities.counters(family(1.0), params))
    for _ in range(3):
        state = update(jnp.ones(1), state, params)[1]
    state = jax.tree.map(lambda leaf, counts: leaf + (counts << 20), state, counting)
    return parities.change(state, {parities.Parity.ODD: jnp.zeros_like}, kinds)


LINEAR = [name for name, entry in gdx.optimizers.catalogue().items() if entry.has_threshold]
EVERYDAY = ("optimistic-gradient", "optimistic-adam", "adadelta")


def some_of(names, everyday):
    return [name if name in everyday else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some_of(LINEAR, EVERYDAY))
def test_the_threshold_is_where_the_closed_loop_of_a_quadratic_begins_to_grow(name):
    family = gdx.optimizers.family(name)
    kinds = parities.parities(family(1.0), jnp.zeros(1))
    state, curvature = filled_state(family, kinds), 3.0
    # What the loop divides by: a faint gradient over the update that follows it.
    faint = 1e-10
    first = -parities.update_of(family(1.0))(jnp.full(1, faint), state, jnp.zeros(1))[0][0] / faint
    scale = gdx.responses.impulse_response(family)[0] / first
    edge = gdx.curvature_threshold(family) * scale / curvature
    assert growth(family, kinds, state, (1 - 1e-5) * edge, curvature) < 1
    assert growth(family, kinds, state, (1 + 1e-5) * edge, curvature) > 1


def test_a_family_of_no_module_has_a_threshold_as_any_other():
    def family(step_size):
        return optax.sgd(step_size)

    family.__module__ = None  # as of a function that `exec` makes in a bare namespace
    np.testing.assert_allclose(gdx.curvature_threshold(family), 2.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        (optax.sgd(0.1), "optax.sgd, not"),
        (lambda s: s, "returns float, no optax"),
        (optax.sign_sgd, "not linear"),
        (optax.lion, "not linear"),
        (lambda s: optax.chain(optax.clip(1.0), optax.sgd(s)), "not linear"),
        (lambda s: optax.sgd(0.1), "they ignore it"),
        (lambda s: optax.sgd(s**2), "not proportional"),
        (lambda s: optax.scale(s), "climb"),
        (optax.adamw, "gdx.critical_step"),
        (optax.polyak_sgd, "value of the loss"),
        (lambda s: optax.adam(optax.exponential_decay(s, 1000, 0.9)), "step number|no update"),
        (gdx.optimizers.wolfe, "evaluates the loss"),
        (functools.partial(optax.noisy_sgd, key=0), "noise"),
        (lambda s: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(s)), "depend on the parameters"),
        (lambda s: optax.sgd(optax.exponential_decay(s, 1000, 0.9)), "step number"),
        (lambda s: optax.scale(0.0 * s), "no update"),
        (lambda s: optax.sgd(s, momentum=0.99999), "remembers"),
    ],
)
def test_optimizers_without_a_threshold_are_refused_with_the_reason(family, reason):
    with pytest.raises(ValueError, match=rf"^family: .*{reason}"):
        gdx.curvature_threshold(family)


def counted(family):
    """A family of the caller's own, and the step sizes that it was asked for as numbers."""
    asked = []

    def own(step_size):
        if isinstance(step_size, float):
            asked.append(step_size)
        return family(step_size)

    return own, asked


def test_within_a_study_a_family_of_ones_own_is_measured_once():
    own, asked = counted(optax.sgd)
    params = jnp.ones(3)
    with measured_once():
        first = measure_response(own, params)
        count = len(asked)
        with measured_once():
            assert measure_response(own, jax.eval_shape(lambda: params)) is first
        assert measure_response(own, jnp.ones((2, 3))) is not first
    before = len(asked)
    # Afterwards it may have become another.
    assert measure_response(own, params) is not first
    assert len(asked) - before >= count > 0


def test_a_refusal_is_remembered_and_stays_what_it_was():
    own, asked = counted(optax.sign_sgd)
    told = []
    with measured_once():
        for _ in range(2):
            with pytest.raises(ValueError, match="family: ") as refused:
                measure_response(own, jnp.ones(3))
            told.append((str(refused.value), len(asked)))
    assert told[0][0] == told[1][0]
    # The second time it was not even tried.
    assert told[1][1] == told[0][1]


def test_of_what_optax_ships_nothing_is_measured_twice(monkeypatch):
    looks = []

    def counting(function):
        return lambda *arguments: (looks.append(function.__name__), function(*arguments))[1]

    for name in ("_probe", "_measured"):
        module = preconditioners if name == "_probe" else response
        monkeypatch.setattr(module, name, counting(getattr(module, name)))
    # Made for this test alone, and twice, as two jobs of one process make them.
    for step_size in (0.1, 0.2):
        family = functools.partial(optax.adam, b1=0.8765)
        gdx.edge_margin(family, step_size, jnp.sum).init(jnp.ones(5))
        make_reader(family, jnp.ones(5))
    assert sorted(looks) == ["_measured", "_probe"]


@pytest.mark.parametrize("momentum", [1.01, 1.3, -1.05])
def test_a_memory_that_grows_is_stable_at_no_step_size(momentum):
    with pytest.raises(ValueError, match="its memory of a gradient grows for ever"):
        gdx.curvature_threshold(functools.partial(optax.sgd, momentum=momentum))


@pytest.mark.parametrize("num_entries", [3, 4, 6])
def test_entries_that_cancel_where_all_see_one_gradient_are_coupled(num_entries):
    def family(step_size):
        def turned(gradient):
            return -step_size * (gradient + jnp.roll(gradient, 1) - jnp.roll(gradient, -1))

        return optax.stateless(lambda gradients, params: jax.tree.map(turned, gradients))

    with pytest.raises(ValueError, match="depends on the gradients of others"):
        gdx.curvature_threshold(family, jnp.ones(num_entries))
