"""Largest and best step sizes of networks of many widths, and which parameterisation carries them over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import check_count, own_rules
from gdx.edges.scanning import Search, find_edge
from gdx.edges.starting import SPACING, first_scan
from gdx.exploring import Exploration, explore, hyperparams_at
from gdx.problems import Problem, layer_scales, mlp
from gdx.progress import shows_progress
from gdx.stepping import Family
from gdx.studies.stability.answering import good_range
from gdx.studies.stability.clock import Clock
from gdx.studies.stability.confirming import confirm
from gdx.studies.stability.found import Curve
from gdx.studies.stability.plain import losses_of
from gdx.studies.stability.scanning import RTOL, Reading, around_best, read
from gdx.studies.transfer.found import Cell, Transfer
from gdx.studies.transfer.linear import is_gradient_descent, measure_linear, updates_of
from gdx.studies.transfer.slopes import laws_of, linear_laws_of
from gdx.sweeps import Stop, Sweep, sweep
from gdx.sweeps.inputs import check_keys
from gdx.verdicts import TrainingVerdict

if TYPE_CHECKING:
    import chex

NUM_STARTS = 3
AROUND = (-2, 1)
"""First and last of the points to begin with, in spacings of a growing scan about the edge at the width before."""
POINTS = 24
"""Step sizes that a network takes, about."""
SMALL, LARGER = 5e-3, 40.0
"""Size of a gradient, above eps, and the factor by which another one is larger, still below what anybody clips."""
CLOSE = 0.01


class _Job(NamedTuple):
    """What is asked about."""

    network: dict[str, Any]
    """Keywords of `mlp` that are the same everywhere."""
    parameterisations: tuple[str, ...]
    optimizer: str
    base_width: int
    family: Family
    keys: Any
    num_steps: int
    clock: Clock
    progress: Any


@own_rules()
@shows_progress()
def transfer(
    widths: Sequence[int] = (32, 64, 128, 256),
    *,
    depths: Sequence[int] = (2,),
    parameterisations: Sequence[str] = ("standard", "ntk", "mup"),
    family: Family = optax.sgd,
    optimizer: str | None = None,
    data: Any = "digits",
    activation: str = "tanh",
    loss: str = "square",
    batch_size: int | None = 64,
    base_width: int | None = None,
    keys: chex.PRNGKey | None = None,
    num_steps: int = 200,
    progress: Any = None,
) -> Transfer:
    """Measure which parameterisations carry a step size from one width, or depth, to another.

    Parameters
    ----------
    widths, depths
        Of the networks, see `gdx.problems.mlp`; every width is run at every depth. Three make a law.
    parameterisations
        Some of "standard", "ntk", "mup".
    family
        `step_size -> optax transformation`.
    optimizer
        Which table of muP suits the family, "sgd" or "adam". By default it is measured: updates that are proportional
        to the gradient, or that do not change if any entry of it is multiplied by a number.
    data, activation, loss, batch_size
        As in `gdx.problems.mlp`.
    base_width
        Width at which all parameterisations are one and the same network; by default the smallest.
    keys
        Typed random keys [R], one a start and order of batches; three by default.
    num_steps
        The horizon T, steps.
    progress
        Called as `progress(stage, finished, total)`; by default a bar, as in `Sweep.__call__`, False for none.

    Returns
    -------
    Transfer
        After Ctrl-C with the networks that were finished, and `interrupted` set.

    Raises
    ------
    ValueError
        If an argument is out of range, or the optimizer suits neither table and none is named.

    Notes
    -----
    The loss is the square by default. Under cross-entropy a linear model of classes that separate learns at any step
    size, and networks close to one have no clear edge: on the digits that of NTK's was measured to rise as about
    width^0.7.

    A network's edge, best step size and range of good ones are those of `gdx.stability`: a run trains where the mean
    loss of its last tenth is nearer to the best of its scan than to what a run that learns nothing reaches, and the
    bracket is what is left where runs at its ends and at the best step size, made again in a plain optax loop, come to
    the same. Beside them, where the family is gradient descent, stand two-layer linear networks of the same widths
    and parameterisations, whose edge has a closed form for every start; see `LinearCell`.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.transfer((4, 8, 16), depths=(1,), parameterisations=["mup"], num_steps=20)
    >>> law = found.law("mup")
    >>> law.of, law.axis, law.num_points, law.error > 0
    ('edge', 'width', 3, True)
    """
    widths = _counts("widths", widths)
    keys = check_keys(jax.random.split(jax.random.key(0), NUM_STARTS) if keys is None else keys)
    job = _Job(
        {"data": data, "activation": activation, "loss": loss, "batch_size": batch_size},
        tuple(dict.fromkeys(parameterisations)),
        optimizer_of(family) if optimizer is None else optimizer,
        base_width=check_count("base_width", base_width or min(widths), "pass a width"),
        family=family,
        keys=keys,
        num_steps=check_count("num_steps", num_steps, "pass the horizon in steps"),
        clock=Clock(math.inf),
        progress=progress,
    )
    if not job.parameterisations:
        raise ValueError('parameterisations: there is none; choose among "standard", "ntk", "mup"')
    shapes = [(width, depth) for depth in _counts("depths", depths) for width in widths]
    for name in job.parameterisations:
        # What is refused is refused before anything is run.
        for width, depth in shapes:
            _problem(job, width, depth, name)
    return _measured(job, shapes, widths)


def optimizer_of(family: Family) -> str:
    """Say which table of muP suits an optimizer, from what its first two updates make of a gradient.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    str
        "sgd" or "adam".

    Raises
    ------
    ValueError
        If it is neither proportional to the gradient nor the same whatever any entry is multiplied by.
    """
    params = {"w": jnp.zeros((2, 3))}
    gradient = {"w": SMALL * jnp.array([[1.0, -2.0, 1.5], [2.0, 1.5, -1.0]])}
    single = {"w": gradient["w"].at[0, 1].multiply(LARGER)}
    once, all_larger, one_larger = (
        jnp.stack([update["w"] for update in updates_of(family, [each, each], params)])
        for each in (gradient, jax.tree.map(lambda leaf: LARGER * leaf, gradient), single)
    )
    if np.allclose(all_larger, LARGER * once, rtol=CLOSE, atol=0):
        return "sgd"
    if np.allclose(all_larger, once, rtol=CLOSE, atol=0) and np.allclose(one_larger, once, rtol=CLOSE, atol=0):
        return "adam"
    raise ValueError(
        "optimizer: the family's updates are neither proportional to the gradient nor the same for any multiple of "
        'each entry; say which table of muP is meant, optimizer="sgd" or "adam"'
    )


def _counts(name, values):
    counts = [check_count(name, value, "pass whole numbers of at least 1") for value in np.atleast_1d(values).tolist()]
    if not counts:
        raise ValueError(f"{name}: there is none; pass at least one")
    return tuple(sorted(set(counts)))


def _measured(job, shapes, widths):
    """Everything, as far as it comes before Ctrl-C."""
    cells, linear, made, note = [], [], 0, ""
    if not is_gradient_descent(job.family):
        note = "the closed form is that of plain gradient descent"
    try:
        edges: dict[str, float] = {}
        for width, depth in shapes:
            run = _sweep(job, width, depth)
            for name in job.parameterisations:
                cell, trainings = _cell(job, run, width, depth, name, edges.get(name))
                cells.append(cell)
                made += trainings
                edges[name] = cell.edge.lower if math.isfinite(cell.edge.lower) else edges.get(name, math.nan)
        if not note:
            names, others = job.parameterisations, (job.optimizer, job.base_width, job.family, job.keys)
            for found in measure_linear(widths, names, *others, job.clock.watching(job.progress, "linear networks")):
                linear += found
    except KeyboardInterrupt:
        job.clock.stop()
    return Transfer(
        cells=tuple(cells),
        laws=laws_of(cells) if cells else (),
        linear=tuple(linear),
        linear_laws=linear_laws_of(linear),
        linear_note=note or ("" if linear else "interrupted before"),
        optimizer=job.optimizer,
        base_width=job.base_width,
        repeats=job.keys.shape[0],
        num_steps=job.num_steps,
        num_trainings=made,
        seconds=job.clock.seconds,
        interrupted=job.clock.was_stopped,
    )


def _problem(job, width, depth, name, scales=None) -> Problem:
    made = mlp(
        width=width,
        depth=depth,
        parameterisation=name,
        optimizer=job.optimizer,
        base_width=job.base_width,
        scales=scales,
        **job.network,
    )
    # Runs are judged by the loss that is trained on.
    return made._replace(full_loss=None)


def _scales(job, problem, width, depth, name):
    layers = jax.eval_shape(problem.init, job.keys[0])[0]
    ends = layers[0]["weights"].shape[0], layers[-1]["weights"].shape[1]
    widths = (ends[0], *[width] * depth, ends[1])
    return layer_scales(widths, name, optimizer=job.optimizer, base_width=job.base_width)


def _sweep(job, width, depth) -> Sweep:
    """One program for all parameterisations: their factors and spreads are numbers like the step size."""
    return sweep(
        lambda h: _problem(job, width, depth, "standard", h["scales"]),
        lambda h: job.family(h["step_size"]),
        num_steps=job.num_steps,
        num_runs=POINTS * job.keys.shape[0],
        facts=("gradient",),
    )


def _cell(job, run, width, depth, name, before):
    """One network: a scan, the answers that are read off it, and the second road."""
    problem = _problem(job, width, depth, name)
    scales = _scales(job, problem, width, depth, name)

    def along(position):
        return {"step_size": position, "scales": scales}

    explored = Exploration(run, job.keys, along)
    run.check(hyperparams_at(along, np.ones(1)), job.keys)
    points = first_scan(run, job.keys, along)
    if before is not None and math.isfinite(before):
        points = before * SPACING ** np.arange(AROUND[0], AROUND[1] + 1.0)
    progress = job.clock.watching(job.progress, f"{name}, width {width}, depth {depth}")
    find_edge(explored, points, Search("trains", 1e-6, RTOL, grows=True), progress=progress)
    explore(explored, around_best, progress)
    found = read(explored)
    confirmed = confirm(losses_of(problem, job.family, job.num_steps), job.keys, found, job.clock)
    assert explored.runs is not None
    made = int(np.count_nonzero(np.asarray(explored.runs.stopped) != Stop.UNFINISHED)) + confirmed.trust.num_runs
    return _answer(explored, found._replace(best=confirmed.best), confirmed, (name, width, depth)), made


def _answer(explored, found: Reading, confirmed, names):
    runs, best = explored.runs, found.best
    has_best = best >= 0
    with np.errstate(all="ignore"):
        middle = np.median(found.losses, axis=1)
    start = float(np.median(np.asarray(runs.first_training_loss)))
    return Cell(
        *names,
        edge=confirmed.largest_step,
        spread=found.spread,
        best=float(found.step_sizes[best]) if has_best else math.nan,
        bests=_own_bests(found),
        best_loss=float(middle[best]) if has_best else math.nan,
        good=good_range(found, confirmed.largest_step),
        curve=Curve(
            found.step_sizes, found.losses, found.codes, start, float(found.level.chance), float(found.level.halfway)
        ),
        trust=confirmed.trust,
    )


def _own_bests(found):
    """Step sizes at which each start by itself reaches its lowest loss; NaN for one that never trains."""
    trained = (found.codes == TrainingVerdict.TRAINED) & np.isfinite(found.losses)
    own = found.step_sizes[np.argmin(np.where(trained, found.losses, np.inf), axis=0)]
    return np.where(trained.any(axis=0), own, np.nan)
