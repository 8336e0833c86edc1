"""Whether `gdx.autopsy` blames what was done to a run, and leaves healthy ones alone.

Claims: of 200 faults planted into small trainings at least three of four are blamed rightly, none of the kinds of
fault less than half of the time; and of 50 healthy runs at most one in twenty is said to have spiked.

Every case trains a small model as it should be, up to a checkpoint, and goes on from there for 24 steps with one fault:
the step of one layer 8 to 64 times too large; one batch whose inputs or targets are scaled or garbage; a schedule that
rises to a peak 8 to 64 times too high; or, of models in float16 or bfloat16, a loss scaled by too much, squares that
overflow, variances that cancel. All have a schedule, in the other cases one that does no harm.

A referee that knows nothing of gdx says which plants count: a plain scan over optax, and the mean loss over all of the
training data after every step. A plant has made a spike where this exceeds twice what it was at the checkpoint and
twice what the same run without the fault has there, or is not finite; it counts only where the run without it stays
below 1.3 times the checkpoint's. A healthy run is one without a fault that does. A peak too high counts as found by
"schedule" or "step everywhere", a layer by its name in a smaller step, a batch by its index.

Constants of the autopsy were chosen on seeds 0 to 3; the results are those of others. Overflowing squares and scaled
losses are of float16: none of the variances in bfloat16 came to a spike, since XLA computes them in float32 on CPU, and
its range is that of float32. So nothing is said here of bfloat16. Steps and sizes of faults were chosen so that faults
spike, before any were reported. Most do not: a tanh network bears a batch of garbage. How many did not is printed.

    python bench/autopsy.py             # some fifteen minutes on 2 busy cores
    python bench/autopsy.py --each      # a line a case
    python bench/autopsy.py --toy       # seconds, figures without meaning

Typical printout: see bench/results/autopsy-cpu.txt.
"""

from __future__ import annotations

import argparse
import collections
import functools
import inspect
import tempfile
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import machine

import gdx
from gdx.problems.data import bundled, scale_features
from gdx.studies.autopsy import Kind

NUM_STEPS, BATCH = 24, 32
WARM = (100, 300)
"""Steps before the checkpoint, one of these."""
FACTORS = (8.0, 16.0, 32.0, 64.0)
FAULTS = ("layer", "batch", "width", "schedule")
SPIKE, CALM = 2.0, 1.3
NEVER = 10**6
REPORTED = 1000
"""Seed of what is reported."""


class Model(NamedTuple):
    """A small model with its data."""

    init: Any
    """`key -> {layer: {name: array}}`."""
    losses: Any
    """`(params, inputs, targets) -> [b]`."""
    inputs: np.ndarray
    targets: np.ndarray
    step_sizes: dict[str, float]
    """That train it well, by optimizer."""


def dense(key, inputs, outputs, gain=1.0):
    return {"w": gain * jax.random.normal(key, (inputs, outputs)) / np.sqrt(inputs), "b": jnp.zeros(outputs)}


def mlp(widths, activation, losses, norm=None):
    """A perceptron; with a norm of its hidden values, written as one should not in narrow numbers."""

    def init(key):
        keys = jax.random.split(key, len(widths) - 1)
        return {f"layer{i}": dense(keys[i], *widths[i : i + 2], np.sqrt(2)) for i in range(len(keys))}

    def apply(params, x):
        for i, layer in enumerate(params.values()):
            x = x @ layer["w"] + layer["b"]
            if i < len(params) - 1:
                x = activation(x if norm is None else norm(x))
        return x

    return init, lambda params, x, y: losses(apply(params, x), y)


def elman(width, losses):
    """A recurrent network over the rows of an image."""

    def init(key):
        one, two, three = jax.random.split(key, 3)
        return {"input": dense(one, 8, width), "recurrent": dense(two, width, width), "output": dense(three, width, 10)}

    def apply(params, x):
        rows = jnp.swapaxes(x.reshape(len(x), 8, 8), 0, 1)

        def step(h, row):
            inner = row @ params["input"]["w"] + h @ params["recurrent"]["w"] + params["recurrent"]["b"]
            return jnp.tanh(inner + params["input"]["b"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((len(x), width), x.dtype), rows)
        return h @ params["output"]["w"] + params["output"]["b"]

    return init, lambda params, x, y: losses(apply(params, x), y)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def squares(outputs, targets):
    return jnp.mean((outputs.astype(jnp.float32) - targets) ** 2, axis=-1)


def variance_norm(x):
    """The mean of the squares less the square of the mean: cancels in narrow numbers."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    return (x - mean) / jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) - mean * mean)


def square_norm(x):
    """Divided by the root of the sum of squares, which overflows in float16 from 65504."""
    return 6 * x / jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))


@functools.cache
def models():
    """The small models, by name."""
    pixels, labels = bundled("digits")
    pixels = scale_features(pixels, "standard")[:768].astype(np.float32)
    labels = np.asarray(labels[:768], np.int32)
    features, target = bundled("diabetes")
    features = scale_features(features, "standard").astype(np.float32)
    target = scale_features(target[:, None], "standard").astype(np.float32)
    usual = {"sgd": 0.2, "momentum": 0.03, "adam": 5e-3, "adamw": 5e-3}
    softer = {"sgd": 0.05, "momentum": 1e-2, "adam": 5e-3, "adamw": 5e-3}
    return {
        "tanh MLP": Model(*mlp((64, 32, 10), jnp.tanh, cross_entropy), pixels, labels, usual),
        "ReLU MLP": Model(*mlp((64, 48, 32, 10), jax.nn.relu, cross_entropy), pixels, labels, usual),
        "RNN": Model(*elman(32, cross_entropy), pixels, labels, softer),
        "regression": Model(*mlp((10, 32, 1), jnp.tanh, squares), features, target, softer),
        "square norm": Model(*mlp((64, 32, 10), jnp.tanh, cross_entropy, square_norm), pixels, labels, usual),
        "variance norm": Model(*mlp((64, 32, 10), jnp.tanh, cross_entropy, variance_norm), pixels, labels, usual),
    }


SOUND = ("tanh MLP", "ReLU MLP", "RNN", "regression")


class Numbers(NamedTuple):
    """Of an optimizer. They stand in its state, so that cases of one model and one optimizer share their programs."""

    factors: Any
    """Of the updates, by layer."""
    begins: Any
    """Count at which the schedule begins to rise."""
    length: Any
    """Steps over which it does."""
    peak: Any
    """To so many times the step size."""


class Rise(NamedTuple):
    """State of the schedule."""

    count: Any
    numbers: Numbers


class Schedule(optax.schedules.StatefulSchedule):
    """A step size that falls slowly, until it rises to a peak."""

    def __init__(self, step_size, numbers):
        self.step_size, self.numbers = step_size, numbers

    def init(self):
        return Rise(jnp.zeros((), jnp.int32), self.numbers)

    def update(self, state, **extra_args):
        return state._replace(count=state.count + 1)

    def __call__(self, state, **extra_args):
        numbers = state.numbers
        share = jnp.clip((state.count - numbers.begins) / numbers.length, 0, 1)
        return self.step_size * (1 - 1e-4 * state.count) * numbers.peak**share


def optimizer_of(name, step_size, numbers):
    """The optimizer of a case, as a user would chain it: the scale of the loss is taken back before it."""
    make, fixed = {
        "sgd": (optax.sgd, {}),
        "momentum": (optax.sgd, {"momentum": 0.9}),
        "adam": (optax.adam, {"eps": 1e-5}),
        "adamw": (optax.adamw, {"eps": 1e-5, "weight_decay": 1e-2}),
    }[name]
    static = ("momentum", "nesterov", "accumulator_dtype", "b1", "b2", "eps", "eps_root", "mu_dtype", "weight_decay")
    static = [word for word in (*static, "mask") if word in inspect.signature(make).parameters]
    scheduled = optax.inject_hyperparams(make, static_args=static)(learning_rate=Schedule(step_size, numbers), **fixed)

    def each(updates, factors, params=None):
        scaled = {layer: times(updates[layer], factor) for layer, factor in factors.items()}
        return scaled, factors

    return optax.chain(scheduled, optax.GradientTransformation(lambda params: numbers.factors, each))


def times(tree, factor):
    return jax.tree.map(lambda leaf: leaf * jnp.asarray(factor, leaf.dtype), tree)


def loss_of(model):
    """Mean loss of a batch; its gradient is that of a loss scaled as the batch says, with the scale taken back."""

    @jax.custom_vjp
    def scaled(loss, scale):
        return loss

    def forward(loss, scale):
        return loss, scale

    scaled.defvjp(forward, lambda scale, back: (back * scale, None))

    @jax.custom_vjp
    def taken_back(params, scale):
        return params

    taken_back.defvjp(lambda params, scale: (params, scale), lambda scale, back: (times(back, 1 / scale), None))

    def loss(params, batch):
        inputs, targets, scale = batch
        return scaled(jnp.mean(model.losses(taken_back(params, scale), inputs, targets)), scale)

    return loss


@functools.cache
def trainer(name, optimizer, dtype):
    """The referee's loop: `(params, opt_state, batches) -> the end, losses of all data after every step`."""
    model = models()[name]
    all_data = jnp.asarray(model.inputs, dtype), jnp.asarray(model.targets), jnp.ones(())
    loss = loss_of(model)

    @jax.jit
    def train(params, opt_state, batches):
        # The numbers are in the state.
        nothing = nothing_wrong(params)
        transformation = optimizer_of(optimizer, model.step_sizes[optimizer], nothing)

        def step(carry, batch):
            params, opt_state = carry
            gradient = jax.grad(loss)(params, batch)
            updates, opt_state = transformation.update(gradient, opt_state, params)
            params = optax.apply_updates(params, updates)
            return (params, opt_state), loss(params, all_data)

        before = loss(params, all_data)
        end, losses = jax.lax.scan(step, (params, opt_state), batches)
        return end, jnp.append(before, losses)

    return train


def nothing_wrong(params):
    """Numbers of a run without a fault."""
    one = jnp.ones((), jnp.float32)
    return Numbers(dict.fromkeys(params, one), jnp.asarray(NEVER, jnp.float32), one, one)


class Case(NamedTuple):
    """A run to look at."""

    fault: str
    model: str
    optimizer: str
    dtype: str
    truth: Any
    """Layer, or index of the batch."""
    loss: Any
    transformation: Any
    params: Any
    opt_state: Any
    batches: Any
    counts: bool


def make_case(fault, seed):
    """Train up to a checkpoint, plant a fault, and let the referee say whether it did anything."""
    rng = np.random.default_rng(seed)
    dtype, name = "float32", str(rng.choice(SOUND))
    optimizer = str(rng.choice(["sgd", "momentum", "adam", "adamw"]))
    how = ""
    if fault == "width":
        how = str(rng.choice(["loss scale", "square norm", "variance norm"]))
        dtype = "bfloat16" if how == "variance norm" else "float16"
        name = how if "norm" in how else "ReLU MLP"
    model = models()[name]
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), model.init(jax.random.key(int(rng.integers(2**31)))))
    warm = int(rng.choice(WARM))
    train = trainer(name, optimizer, dtype)
    before, after = draw(model, rng, warm, dtype), draw(model, rng, NUM_STEPS, dtype)
    clean = nothing_wrong(params)
    chosen = optimizer_of(optimizer, model.step_sizes[optimizer], clean)
    opt_state = jax.tree.map(jnp.asarray, chosen.init(params))
    (params, opt_state), _ = train(params, opt_state, before)
    numbers, faulty, truth = plant(fault, how, rng, clean, after, warm, params)
    planted = with_numbers(opt_state, numbers)
    _, fine = train(params, opt_state, after)
    _, ill = train(params, planted, faulty)
    fine, ill = np.asarray(fine, float), np.asarray(ill, float)
    is_calm = bool(np.all(fine <= CALM * fine[0]))
    spikes = not np.all(ill <= SPIKE * np.maximum(fine, fine[0]))
    counts = is_calm and (spikes or fault == "healthy")
    return Case(fault, name, optimizer, dtype, truth, loss_of(model), chosen, params, planted, faulty, counts)


def with_numbers(opt_state, numbers):
    """The state of an optimizer with other numbers."""
    scheduled, _ = opt_state
    states = {name: state._replace(numbers=numbers) for name, state in scheduled.hyperparams_states.items()}
    return scheduled._replace(hyperparams_states=states), numbers.factors


def draw(model, rng, number, dtype):
    """Batches, stacked: inputs, targets, and the scale of the loss."""
    rows = rng.integers(0, len(model.inputs), (number, BATCH))
    return jnp.asarray(model.inputs[rows], dtype), jnp.asarray(model.targets[rows]), jnp.ones(number)


def plant(fault, how, rng, clean, batches, warm, params):
    """The numbers and the batches of a run with a fault, and what would be the right answer."""
    factor = jnp.asarray(rng.choice(FACTORS), jnp.float32)
    inputs, targets, scale = batches
    at = int(rng.integers(2, NUM_STEPS - 5))
    if fault == "layer":
        layer = str(rng.choice(list(params)))
        return clean._replace(factors={**clean.factors, layer: factor}), batches, layer
    if fault == "schedule":
        # One of three peaks has been reached at the checkpoint.
        begins, length = warm + int(rng.choice([-1, 0, 5])), float(rng.choice([1, 4, 8]))
        length = 1.0 if begins < warm else length
        numbers = clean._replace(begins=jnp.float32(begins), length=jnp.float32(length), peak=factor)
        return numbers, batches, None
    if fault == "batch":
        return clean, (*poisoned((inputs, targets), at, rng), scale), at
    if how == "loss scale":
        # As dynamic scaling does it: twice as much every few steps, until it is too much.
        return clean, (inputs, targets, 2.0 ** (int(rng.integers(10, 15)) + jnp.arange(NUM_STEPS) // 3)), None
    if how:
        # From some batch on, features come in other units, or off their mean.
        by = float(rng.choice([60, 120])) if how == "square norm" else 1.0
        offset = float(rng.choice([30, 100])) if how == "variance norm" else 0.0
        changed = (inputs[at:].astype(jnp.float32) * by + offset).astype(inputs.dtype)
        return clean, (inputs.at[at:].set(changed), targets, scale), None
    return clean, batches, None


def poisoned(batches, at, rng):
    """One batch made useless in one of several ways."""
    inputs, targets = batches
    size = float(rng.choice([30, 100, 300, 1000]))
    way = str(rng.choice(["inputs scaled", "garbage inputs", "targets"]))
    if way == "targets" and targets.dtype == jnp.float32:
        return inputs, targets.at[at].mul(-size)
    if way == "garbage inputs":
        noise = jnp.asarray(size * rng.normal(size=inputs.shape[1:]), inputs.dtype)
        return inputs.at[at].set(noise), targets
    wrong = targets if targets.dtype == jnp.float32 else targets.at[at].set((targets[at] + 1) % 10)
    return inputs.at[at].mul(size), wrong


def told(case, found):
    """In a word, what was blamed."""
    if not found.has_spike:
        return "no spike"
    if found.blame is None:
        return "no blame"
    return found.blame.kind.value


def is_right(case, found):
    """Whether it is what was planted."""
    if case.fault == "healthy":
        return not found.has_spike
    if not found.has_spike or found.blame is None:
        return False
    kind = found.blame.kind
    return {
        "layer": kind is Kind.GROUP and found.blame.group == case.truth,
        "batch": kind is Kind.BATCH and found.blame.batch == case.truth,
        "width": kind is Kind.WIDTH,
        "schedule": kind in (Kind.SCHEDULE, Kind.STEP),
    }[case.fault]


def look(case):
    """One autopsy, and its seconds."""
    started = time.perf_counter()
    found = gdx.autopsy(
        case.loss,
        case.transformation,
        params=case.params,
        opt_state=case.opt_state,
        batches=case.batches,
        margin=False,
        progress=False,
    )
    return found, time.perf_counter() - started


class Survey:
    """Cases of one kind that count, with what was found, and how many did not."""

    def __init__(self, fault, seed, each):
        self.fault, self.seed, self.each = fault, seed, each
        self.seen, self.missed = [], 0

    def one_more(self):
        """Look at the next case that counts."""
        while True:
            number = len(self.seen) + self.missed
            case = make_case(self.fault, [self.seed, (*FAULTS, "healthy").index(self.fault), number])
            if case.counts:
                break
            self.missed += 1
        found, seconds = look(case)
        self.seen.append((case, found, seconds))
        if self.each:
            show(number, case, found)


def show(number, case, found):
    blame = found.blame.name if found.blame else found.reason
    also = ", ".join(one.name for one in found.others[:3])
    print(
        f"{case.fault:9s}{number:4d} {case.model:14s}{case.optimizer:9s}{case.truth!s:10s} "
        f"{'ok ' if is_right(case, found) else 'OFF'} {blame}; also {also}",
        flush=True,
    )


def report(results):
    """Print a table, and give the shares of right answers."""
    columns = [kind.value for kind in Kind] + ["no blame", "no spike"]
    print(f"\n{'planted':10s}{'count':>6s}{'right':>7s}{'not counted':>13s}   blamed")
    print(f"{'':36s}  " + "".join(f"{column:>18s}" for column in columns))
    shares = {}
    for fault, survey in results.items():
        seen, missed = survey.seen, survey.missed
        right = sum(is_right(case, found) for case, found, _ in seen)
        shares[fault] = right / len(seen)
        counts = collections.Counter(told(case, found) for case, found, _ in seen)
        wrong = sum(
            told(case, found) in ("batch", "step of a group") and not is_right(case, found)
            for case, found, _ in seen
            if case.fault in ("layer", "batch")
        )
        print(
            f"{fault:10s}{len(seen):6d}{shares[fault]:7.0%}{missed:13d}     "
            + "".join(f"{counts[column]:18d}" for column in columns)
            + (f"   {wrong} of them another one than was planted, or of the other kind" if wrong else "")
        )
    return shares


def main():
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--each", action="store_true", help="a line a case")
    parser.add_argument("--seed", type=int, default=REPORTED)
    parser.add_argument("--plants", type=int, default=50, help="of every kind, and as many healthy runs")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no other case is begun")
    parser.add_argument("--cache", help="folder that keeps programs for the next run")
    parser.add_argument("--only", nargs="*", default=[*FAULTS, "healthy"])
    options = parser.parse_args()
    # Cases of one shape and one set of numbers compile once.
    cache = None if options.cache else tempfile.TemporaryDirectory()
    jax.config.update("jax_compilation_cache_dir", options.cache or cache.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_disable_most_optimizations", options.toy)
    print(machine())
    print(f"bar: 75 % right, 50 % of every kind, 5 % false alarms; seed {options.seed}, {NUM_STEPS} steps a replay\n")
    started = time.perf_counter()
    results = {fault: Survey(fault, options.seed, options.each) for fault in options.only}
    for _ in range(1 if options.toy else options.plants):
        for survey in results.values():
            if time.perf_counter() - started < 60 * options.minutes:
                survey.one_more()
    shares = report(results)
    seconds = [one for survey in results.values() for _, _, one in survey.seen]
    planted = {fault: share for fault, share in shares.items() if fault != "healthy"}
    if planted:
        sizes = [len(results[fault].seen) for fault in planted]
        whole = np.average(list(planted.values()), weights=sizes)
        print(f"\nright of {sum(sizes)} plants: {whole:.0%}; worst kind {min(planted.values()):.0%}")
    if "healthy" in shares:
        print(f"false alarms on {len(results['healthy'].seen)} healthy runs: {1 - shares['healthy']:.0%}")
    print(f"seconds an autopsy: median {np.median(seconds):.1f}, all {time.perf_counter() - started:.0f}")
    if cache is not None:
        cache.cleanup()


if __name__ == "__main__":
    main()
