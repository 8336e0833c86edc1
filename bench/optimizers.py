"""What a step of gdx's own optimizers costs, beside the nearest of optax, jaxopt and optimistix.

Claims: a step takes no longer than one of the nearest peer, on a pytree of 1e6 parameters and on 64 vmapped logistic
regressions; and to bring Rosenbrock (2-D, 100-D) and a logistic regression within 1e-8 of the minimum, gdx's best line
search evaluates the loss no more often than the best peer's, along steepest descent and along L-BFGS directions.

Measured on 2 cores that were busy with other work, so that ratios near 1 mean little:
- The five first-order methods take .91 to 1.06x the time of optax's, but nesterov_lookahead 1.44x on small problems:
  the loss at the parameters is one more evaluation, where optax's other name for the iterates needs none.
- At 1e6 parameters goldstein takes .46x, wolfe 1.35x (it evaluates the accepted point again for its gradient),
  newton_cg 2.10x (two Hessian products a step that only guard it, and a tolerance that tightens where lineax's CG keeps
  .5), steepest_descent 2.86x the nearly exact zoom search, 2.14x with its tolerance of .01 (a trial is a second
  derivative, and the first is at the start).
- On 64 regressions goldstein takes 1.33x optimistix's Armijo search, which asks for less, newton 2.50x (eigenvalues,
  where optimistix solves), damped_newton 1.06x; wolfe .88x, newton_cg .63x, steepest_descent .60x.
- Evaluations along steepest descent: scale_by_wolfe .26x of the best peer on Rosenbrock in 2-D, .56x on the regression;
  in 100-D no search gets there in 5000 steps. Along L-BFGS gdx is hungrier: 2.14x, 1.93x and 1.97x of zoom or
  Armijo searches, which hand on the accepted point's gradient, where gdx's evaluate it again.

    pip install gdx[bench]
    python bench/optimizers.py            # three to six minutes on 2 cores
    python bench/optimizers.py --toy      # seconds, gdx and optax alone, figures without meaning

What counts: every evaluation of the loss that really runs, counted inside the compiled program, whether with a
derivative (a gradient, a linearisation, gdx's slopes and curvatures in forward mode) or without: at the start, along
the lines, and for each outer step's gradient. A search that hands over value and gradient of the accepted point is
spared evaluating them again, as its documentation recommends. All searches stand behind the same directions with their
packages' own constants, and give up after 30 trials, gdx's after 60; first trials are jaxopt's of its L-BFGS, and
optax's of `optax.lbfgs` where that is the direction. Times are of the first steps from the start, trials included.

Newton's method and coordinate descent are left out at 1e6 parameters: a Hessian has 1e12 numbers, and a coordinate at a
time is no way to train them. jaxopt's block coordinate descent takes linear models only, so ours has no peer.

Typical printout: see bench/results/optimizers-cpu.txt.
"""

from __future__ import annotations

import argparse
import collections
import functools
import importlib
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from timing import alternate, machine

import gdx
from gdx import optimizers as own

MAX_TRIALS = 30
TARGET = 1e-8
PACKAGES = ("gdx", "optax", "jaxopt", "optimistix")


@functools.cache
def package(name) -> Any:
    """Import a peer; None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # jaxopt says on import that it is no longer maintained
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


class SearchMemory(NamedTuple):
    """What the peers' searches keep, under the names that optax's own have."""

    learning_rate: jax.Array
    value: jax.Array
    grad: object


def scale_by_jaxopt(search, **options):
    """A line search of jaxopt as an optax transformation, with the first trials of `jaxopt.LBFGS`."""

    def init_fn(params) -> Any:
        return SearchMemory(jnp.ones(()), jnp.full((), jnp.inf), optax.tree.zeros_like(params))

    def update_fn(
        updates,
        state: Any,
        params: Any = None,
        *,
        value: Any = None,
        grad: Any = None,
        value_fn: Any = None,
        **extra_args,
    ):
        del extra_args
        first = jnp.where(state.learning_rate <= 1e-6, 1.0, 1.5 * state.learning_rate)
        searching = getattr(package("jaxopt"), search)(fun=value_fn, maxiter=MAX_TRIALS, jit=True, **options)
        step, found = searching.run(first, params, value, grad, descent_direction=updates)
        memory = SearchMemory(step, found.value, found.grad)
        # Hager-Zhang's step and parameters disagree where it accepts its first bracket; jaxopt's L-BFGS goes by these.
        update: Any = (optax.tree.sub(found.params, params), optax.tree.cast_like(memory, state))
        return update

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def scale_by_optimistix(search):
    """A search of optimistix as an optax transformation; only losses are evaluated along the line."""
    info = package("optimistix").FunctionInfo
    searching = getattr(package("optimistix"), search)()

    def init_fn(params) -> Any:
        inner = searching.init(params, info.EvalGrad(jnp.zeros(()), params))
        return inner, jnp.ones(()), jnp.ones((), bool)

    def update_fn(
        updates,
        state: Any,
        params: Any = None,
        *,
        value: Any = None,
        grad: Any = None,
        value_fn: Any = None,
        **extra_args,
    ):
        del extra_args
        here = info.EvalGrad(value, grad)
        inner, step, is_first = state

        def attempt(carry):
            _, step, inner, tried, _ = carry
            moved = optax.tree.add_scale(params, step, updates)
            after = info.Eval(value_fn(moved))
            following, accepted, _, inner = searching.step(jnp.zeros((), bool), params, moved, here, after, inner)
            return step, jnp.asarray(following, step.dtype), inner, tried + 1, accepted

        # The first of all calls to its step only says where to begin.
        begun, _, _, inner_begun = searching.step(jnp.ones((), bool), params, params, here, info.Eval(value), inner)
        inner = jax.tree.map(lambda new, old: jnp.where(is_first, new, old), inner_begun, inner)
        step = jnp.where(is_first, begun, step)
        carry = (step, step, inner, 0, jnp.zeros((), bool))
        taken, following, inner, _, _ = jax.lax.while_loop(lambda c: ~c[4] & (c[3] < MAX_TRIALS), attempt, carry)
        return optax.tree.scale(taken, updates), (inner, following, jnp.zeros((), bool))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def scale_by_root_finding(linear_solver=None):
    """Optimistix's Newton method for the root of the gradient, as an optax transformation."""
    lineax, options = package("lineax"), {}
    if linear_solver is not None:
        options["linear_solver"] = linear_solver(lineax)
    finder = package("optimistix").Newton(rtol=1e-8, atol=1e-8, **options)
    tags = frozenset({lineax.positive_semidefinite_tag})

    def update_fn(updates, state, params: Any = None, *, value_fn: Any = None, **extra_args):
        del updates, extra_args
        problem = (lambda at, _: (jax.grad(value_fn)(at), None), params, None, {})
        begun = finder.init(*problem, jax.eval_shape(jax.grad(value_fn), params), None, tags)
        moved, _, _ = finder.step(*problem, begun, tags)
        return optax.tree.sub(moved, params), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)


def downhill(search):
    """Gradient descent with a search behind it."""
    return optax.chain(optax.scale(-1.0), search)


def zoom(strategy="keep", **options):
    return optax.scale_by_zoom_linesearch(MAX_TRIALS, initial_guess_strategy=strategy, **options)


def armijo():
    return optax.scale_by_backtracking_linesearch(MAX_TRIALS, store_grad=True)


def searches(strategy):
    """Every line search, gdx's first; `strategy` is what optax's zoom search tries first."""
    backtracking = functools.partial(scale_by_jaxopt, "BacktrackingLineSearch")
    return {
        "gdx scale_by_goldstein": lambda: own.scale_by_goldstein(restarts=strategy == "one"),
        "gdx scale_by_wolfe": lambda: own.scale_by_wolfe(restarts=strategy == "one"),
        "gdx scale_by_exact_search": own.scale_by_exact_search,
        "optax backtracking (Armijo)": armijo,
        "optax zoom (strong Wolfe)": lambda: zoom(strategy),
        "jaxopt backtracking (Goldstein)": lambda: backtracking(condition="goldstein"),
        "jaxopt backtracking (Wolfe)": lambda: backtracking(condition="wolfe"),
        "jaxopt zoom (strong Wolfe)": lambda: scale_by_jaxopt("ZoomLineSearch", max_stepsize=1.0),
        "jaxopt Hager-Zhang": lambda: scale_by_jaxopt("HagerZhangLineSearch"),
        "optimistix BacktrackingArmijo": lambda: scale_by_optimistix("BacktrackingArmijo"),
        "optimistix LinearTrustRegion": lambda: scale_by_optimistix("LinearTrustRegion"),
    }


def transformations():
    """Give gdx's own optimizers, each with its peers."""
    behind = {name: lambda make=make: downhill(make()) for name, make in searches("keep").items()}

    def some(*starts):
        return {name: make for name, make in behind.items() if name.startswith(starts)}

    newton_and_search = lambda: optax.chain(scale_by_root_finding(), armijo())  # noqa: E731
    return {
        "ema_momentum": (lambda: own.ema_momentum(1e-3), {"optax sgd(momentum)": lambda: optax.sgd(1e-4, 0.9)}),
        "textbook_adagrad": (lambda: own.textbook_adagrad(1e-2), {"optax adagrad": lambda: optax.adagrad(1e-2)}),
        "textbook_rmsprop": (lambda: own.textbook_rmsprop(1e-2), {"optax rmsprop": lambda: optax.rmsprop(1e-2)}),
        "textbook_adadelta": (own.textbook_adadelta, {"optax adadelta": lambda: optax.adadelta(1.0)}),
        "nesterov_lookahead": (
            lambda: own.nesterov_lookahead(1e-3),
            {"optax sgd(nesterov)": lambda: optax.sgd(1e-3, 0.9, nesterov=True)},
        ),
        "steepest_descent": (
            own.steepest_descent,
            {"optax zoom (curv_rtol=.01)": lambda: downhill(zoom(curv_rtol=0.01))},
        ),
        "steepest_descent, tolerance=.01": (
            lambda: own.steepest_descent(tolerance=0.01),
            {"optax zoom (curv_rtol=.01)": lambda: downhill(zoom(curv_rtol=0.01))},
        ),
        "goldstein": (own.goldstein, some("optax back", "jaxopt backtracking (G", "optimistix Back")),
        "wolfe": (own.wolfe, some("optax zoom", "jaxopt zoom", "jaxopt Hager", "jaxopt backtracking (W")),
        "newton": (own.newton, {"optimistix Newton on the gradient": scale_by_root_finding}),
        "damped_newton": (own.damped_newton, {"optimistix Newton, optax Armijo": newton_and_search}),
        "newton_cg": (
            own.newton_cg,
            {"optimistix Newton, lineax CG": lambda: scale_by_root_finding(lambda lx: lx.CG(rtol=0.5, atol=0.0))},
        ),
        "coordinate_descent": (own.coordinate_descent, {}),
        "block_coordinate_descent": (own.block_coordinate_descent, {}),
    }


def step_of(optimizer, loss):
    """One step on (params, state, value, gradient), which evaluates anew only what the state does not remember."""

    def step(carry):
        params, state, value, grad = carry
        updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        params = optax.apply_updates(params, updates)
        remembered = optax.tree.get(state, "grad")
        if remembered is None:
            return params, state, *jax.value_and_grad(loss)(params)
        return params, state, optax.tree.get(state, "value"), remembered

    return step


def begin(optimizer, loss, params):
    return params, optimizer.init(params), *jax.value_and_grad(loss)(params)


def bowl(width):
    """A bowl of `width`^2 parameters in four leaves, so cheap that the optimizer's own work shows."""
    shapes = {"in": (width, 4 * width // 5), "bias": (width,), "out": (width, width // 5 - 2), "end": (width,)}
    keys = jax.random.split(jax.random.key(0), len(shapes))
    start = {name: jax.random.normal(key, shapes[name]) for name, key in zip(shapes, keys, strict=True)}
    weights = dict(zip(shapes, (1.0, 3.0, 10.0, 30.0), strict=True))

    def loss(params):
        return sum(
            weights[name] * jnp.sum(0.5 * params[name] ** 2 + jnp.sqrt(1 + params[name] ** 2) - 1) for name in shapes
        )

    return loss, start


def logistic(params, features, labels):
    """Logistic regression with a penalty; labels are -1 and 1."""
    logits = features @ params["weights"] + params["bias"]
    return jnp.mean(jax.nn.softplus(-labels * logits)) + 5e-3 * jnp.sum(params["weights"] ** 2)


def regressions(count):
    """Starts and data of small logistic regressions, stacked."""
    keys = jax.random.split(jax.random.key(1), 3)
    start = {"weights": jax.random.normal(keys[0], (count, 8)), "bias": jnp.zeros(count)}
    features = jax.random.normal(keys[1], (count, 32, 8)) * jnp.geomspace(0.3, 3, 8)
    return start, features, jnp.sign(jax.random.normal(keys[2], (count, 32)))


def on_one(make, loss, start, num_steps):
    """Many steps on one problem, compiled."""

    @jax.jit
    def run(start):
        step = step_of(make(), loss)
        return jax.lax.scan(lambda c, _: (step(c), c[2]), begin(make(), loss, start), length=num_steps)[1]

    return lambda: run(start)


def on_many(make, stacked, num_steps):
    """Many steps on many problems at once, compiled."""

    def alone(start, features, labels):
        loss = functools.partial(logistic, features=features, labels=labels)
        step = step_of(make(), loss)
        return jax.lax.scan(lambda c, _: (step(c), c[2]), begin(make(), loss, start), length=num_steps)[1]

    run = jax.jit(jax.vmap(alone))
    return lambda: run(*stacked)


def time_steps(title, contestant, num_steps, left_out, rounds, packages):
    """Print a row an optimizer and a row a peer: microseconds a step."""
    print(f"\n{title}: microseconds a step (bar 1x the best peer)")
    for name, (make, peers) in transformations().items():
        if name in left_out:
            print(f"{'gdx ' + name:36s}{'left out':>10s}")
            continue
        wanted = {label: peer for label, peer in peers.items() if label.split()[0] in packages}
        usable = {label: peer for label, peer in wanted.items() if package(label.split()[0]) is not None}
        seconds = alternate({label: contestant(peer) for label, peer in {"gdx": make, **usable}.items()}, rounds)
        cost = {label: second / num_steps * 1e6 for label, second in seconds.items()}
        best = min((cost[label] for label in usable), default=None)
        ratio = f"{cost['gdx'] / best:8.2f}x the best peer" if best else "" if peers else "   no peer takes any loss"
        print(f"{'gdx ' + name:36s}{cost['gdx']:10.4g}{ratio}", flush=True)
        for label in wanted:
            print(f"  {label:34s}" + (f"{cost[label]:10.4g}" if label in usable else "  not installed"))


def counted(loss, counts):
    """Make a loss that counts its evaluations by the order of the derivative taken with them, also when compiled."""

    def tick(order):
        @jax.custom_jvp
        def passed(value):
            jax.debug.callback(lambda: counts.update([order]))
            return value

        @passed.defjvp
        def _differentiate(primals, tangents):
            return tick(order + 1)(primals[0]), tangents[0]

        return passed

    return lambda params: tick(0)(loss(params))


def count_evaluations(optimizer, loss, start, minimum, max_steps):
    """Run to within the target of the minimum: the steps, evaluations by order, and whether it got there."""
    counts = collections.Counter()
    watched = counted(loss, counts)
    step = step_of(optimizer, watched)

    def going(carry):
        # Comparing in this way also ends at a NaN.
        return (carry[0][2] - minimum > TARGET) & (carry[1] < max_steps)

    @jax.jit
    def run(start):
        begun = (begin(optimizer, watched, start), 0)
        return jax.lax.while_loop(going, lambda carry: (step(carry[0]), carry[1] + 1), begun)

    (params, _, _, _), steps = run(start)
    jax.effects_barrier()
    return int(steps), counts, bool(loss(params) - minimum <= TARGET)


def rosenbrock(params):
    """The curved valley, chained through all coordinates."""
    return jnp.sum(100 * (params[1:] - params[:-1] ** 2) ** 2 + (1 - params[:-1]) ** 2)


def cancer():
    """Logistic regression on the bundled data, and its minimum to rounding by Newton's method."""
    data = gdx.problems.logistic_regression("breast-cancer")
    start, _ = data.init(jax.random.key(0))

    def loss(params):
        return data.loss(params, (), None)[0]

    step = step_of(own.damped_newton(), loss)
    begun = begin(own.damped_newton(), loss, start)
    end = jax.jit(lambda carry: jax.lax.fori_loop(0, 30, lambda _, c: step(c), carry))(begun)
    return loss, start, float(end[2])


def compare_searches(title, problem, direction, strategy, max_steps, packages):
    """Print a row a search behind one direction: steps, evaluations, and how many had derivatives."""
    print(f"\n{title}, {direction}: until within {TARGET:g} of the minimum, at most {max_steps} steps")
    print(f"{'':36s}{'steps':>7s}{'evaluations':>13s}{'with derivative':>17s}")
    (loss, start, minimum), needed = problem, {}
    for label, make in searches(strategy).items():
        if label.split()[0] not in packages:
            continue
        if package(label.split()[0]) is None:
            print(f"{label:36s}  not installed")
            continue
        along = DIRECTIONS[direction]()
        steps, counts, arrived = count_evaluations(optax.chain(along, make()), loss, start, minimum, max_steps)
        total = counts.total()
        note = "" if arrived else "  not reached"
        print(f"{label:36s}{steps:7d}{total:13d}{total - counts[0]:17d}{note}", flush=True)
        if arrived:
            needed[label] = total
    ours = {label: total for label, total in needed.items() if label.startswith("gdx")}
    theirs = {label: total for label, total in needed.items() if label not in ours}
    if ours and theirs:
        best, peer = min(ours, key=ours.__getitem__), min(theirs, key=theirs.__getitem__)
        print(f"{best} makes {ours[best] / theirs[peer]:.2f}x the evaluations of {peer} (bar 1x)")


DIRECTIONS = {
    "steepest descent": lambda: optax.scale(-1.0),
    "L-BFGS": lambda: optax.chain(optax.scale_by_lbfgs(), optax.scale(-1.0)),
}


def main():
    """Run everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--toy", action="store_true")
    toy = parser.parse_args().toy
    # A toy compiles for a minute to run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", toy)
    print(machine())
    loss, start = bowl(20 if toy else 1000)
    steps, rounds = (2, 1) if toy else (5, 7)
    wide = lambda make: on_one(make, loss, start, steps)  # noqa: E731
    covered = set(transformations()) - {"ema_momentum"} if toy else set()
    left_out = {"newton", "damped_newton", "coordinate_descent"} | covered
    time_steps(f"{optax.tree.size(start)} parameters", wide, steps, left_out, rounds, PACKAGES)
    # At 1e6 parameters as networks are trained; from here on with digits enough to tell searches apart.
    jax.config.update("jax_enable_x64", True)
    stacked, steps = regressions(4 if toy else 64), steps * (1 if toy else 2)
    many = lambda make: on_many(make, stacked, steps)  # noqa: E731
    title = f"{stacked[1].shape[0]} logistic regressions"
    time_steps(title, many, steps, set(), rounds, ("gdx",) if toy else PACKAGES)
    # Evaluations are counted, not timed.
    jax.config.update("jax_disable_most_optimizations", True)
    problems: Any = {"Rosenbrock, 2-D": (rosenbrock, jnp.array([-1.2, 1.0]), 0.0)}
    if not toy:
        problems["Rosenbrock, 100-D"] = (rosenbrock, jnp.zeros(100), 0.0)
        problems["logistic regression, breast cancer"] = cancer()
    for title, problem in problems.items():
        if not toy:
            compare_searches(title, problem, "steepest descent", "keep", 5000, PACKAGES)
        compare_searches(title, problem, "L-BFGS", "one", 1000, ("gdx", "optax") if toy else PACKAGES)


if __name__ == "__main__":
    main()
