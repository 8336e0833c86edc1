"""Tables of optimizers and problems that tests run over."""

import functools

import jax
import jax.numpy as jnp
import optax

import gdx

# Name -> (family of a pytree of hyperparameters, hyperparameters).
OPTIMIZERS = {
    "sgd": (lambda h: optax.sgd(h["step_size"]), {"step_size": 0.05}),
    "heavy ball": (
        lambda h: optax.sgd(h["step_size"], momentum=h["momentum"]),
        {"step_size": 0.02, "momentum": 0.9},
    ),
    "nesterov": (
        lambda h: optax.sgd(h["step_size"], momentum=h["momentum"], nesterov=True),
        {"step_size": 0.02, "momentum": 0.8},
    ),
    "adam": (lambda h: optax.adam(h["step_size"], b1=h["b1"]), {"step_size": 0.02, "b1": 0.85}),
    "adamw": (
        lambda h: optax.adamw(h["step_size"], weight_decay=h["decay"]),
        {"step_size": 0.02, "decay": 0.01},
    ),
    "nadam": (lambda h: optax.nadam(h["step_size"]), {"step_size": 0.02}),
    "amsgrad": (lambda h: optax.amsgrad(h["step_size"]), {"step_size": 0.02}),
    "adagrad": (lambda h: optax.adagrad(h["step_size"]), {"step_size": 0.1}),
    "rmsprop": (
        lambda h: optax.rmsprop(h["step_size"], decay=h["decay"]),
        {"step_size": 0.01, "decay": 0.95},
    ),
    "adadelta": (lambda h: optax.adadelta(h["step_size"]), {"step_size": 1.0}),
    "lion": (lambda h: optax.lion(h["step_size"]), {"step_size": 0.003}),
    "yogi": (lambda h: optax.yogi(h["step_size"]), {"step_size": 0.02}),
    "clipped and scheduled": (
        lambda h: optax.chain(optax.clip(0.5), optax.sgd(optax.linear_schedule(0.0, h["step_size"], 20))),
        {"step_size": 0.05},
    ),
    "backtracking": (
        lambda h: optax.chain(optax.sgd(h["step_size"]), optax.scale_by_backtracking_linesearch(15)),
        {"step_size": 0.5},
    ),
}

LINEAR_METHODS = {
    "gradient descent": (optax.sgd, 2.0),
    "heavy ball .5": (functools.partial(optax.sgd, momentum=0.5), 3.0),
    "heavy ball .8": (functools.partial(optax.sgd, momentum=0.8), 3.6),
    "heavy ball .9": (functools.partial(optax.sgd, momentum=0.9), 3.8),
    "heavy ball .95": (functools.partial(optax.sgd, momentum=0.95), 3.9),
    "nesterov .9": (functools.partial(optax.sgd, momentum=0.9, nesterov=True), 2 * 1.9 / 2.8),
}

# Name -> (problem, family, step sizes): what verdicts must not depend on the stopping rules for.
SWEEPS = {
    "quartic": (gdx.problems.quartic(start=0.5), optax.sgd, (0.5, 0.95, 1.1, 1.26, 1.29, 1.5, 1.9, 2.5)),
    "hard partner": (gdx.problems.hard_partner(start=0.7), optax.sgd, (0.1, 1.0, 1.3, 1.5, 1.9, 3.0)),
    "quadratic": (gdx.problems.quadratic((1.0, 3.0, 10.0)), optax.sgd, (0.01, 0.15, 0.19, 0.21, 0.5)),
    "heavy ball": (
        gdx.problems.quadratic((1.0, 10.0)),
        functools.partial(optax.sgd, momentum=0.9),
        (0.01, 0.3, 0.37, 0.39, 1.0),
    ),
    "factorization": (
        gdx.problems.scalar_factorization(1.0, start=(1.2, 0.3)),
        optax.sgd,
        (0.3, 0.97, 1.1, 1.2, 3.0),
    ),
    "linear network": (
        gdx.problems.linear_network((3, 3, 3), singular_values=(1.0, 0.6, 0.3)),
        optax.sgd,
        (0.3, 0.9, 1.05, 1.2, 1.6),
    ),
    "rmsprop": (gdx.problems.quadratic((3.0,)), optax.rmsprop, (1e-5, 1e-3, 0.1)),
}


def curved_problem(dtype=jnp.float64):
    """A smooth convex loss of nested parameters, nowhere quadratic, calm under every method of the table."""

    def init(key):
        matrix, vector = jax.random.split(key)
        return {
            "a": {"matrix": jax.random.normal(matrix, (2, 3), dtype)},
            "b": (jax.random.normal(vector, (3,), dtype), jnp.asarray(0.7, dtype)),
        }

    def loss(params):
        vector, number = params["b"]
        mixed = params["a"]["matrix"] @ vector
        smooth = jnp.sum(jnp.sqrt(1 + (mixed - 1) ** 2)) + jnp.sum(jnp.log(jnp.cosh(vector)))
        return smooth + 0.1 * jnp.sum(params["a"]["matrix"] ** 2) + jnp.sqrt(1 + number**2)

    return gdx.problem(init, loss)


def keys(number, seed=0):
    return jax.random.split(jax.random.key(seed), number)


def plain_loop(problem, transformation, key, num_steps):
    """What anybody would write with optax: parameters before the last update, and the losses."""
    params, state = problem.init(key)
    opt_state = transformation.init(params)
    transformation = optax.with_extra_args_support(transformation)

    @jax.jit
    def step(params, opt_state):
        def value_fn(params):
            return problem.loss(params, state, None)[0]

        loss, gradient = jax.value_and_grad(value_fn)(params)
        updates, opt_state = transformation.update(
            gradient, opt_state, params, value=loss, grad=gradient, value_fn=value_fn
        )
        return optax.apply_updates(params, updates), opt_state, loss

    losses = []
    before = params
    for _ in range(num_steps):
        before = params
        params, opt_state, loss = step(params, opt_state)
        losses.append(float(loss))
    return before, losses


LAST_PARAMS = gdx.Observer(
    init=lambda params: params, update=lambda state, view: view.params, summarise=lambda state: state
)
