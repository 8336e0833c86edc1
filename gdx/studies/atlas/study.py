"""`atlas`: every optimizer on every problem."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx import optimizers as named
from gdx.checks import check_count, own_rules
from gdx.progress import shows_progress
from gdx.responses import measure_response, threshold_of
from gdx.studies.atlas.again import again, explain
from gdx.studies.atlas.found import Atlas, Cell, Row
from gdx.studies.atlas.measuring import measure
from gdx.studies.atlas.problems import ATLAS_PROBLEMS, AtlasProblem
from gdx.sweeps.inputs import check_keys

if TYPE_CHECKING:
    import chex

REPEATS = 3
SECONDS = 240.0
"""After which a pair is given up."""
SHARE = 0.1
"""Of all pairs, some of whose runs are made again in a plain loop."""
KEPT = 16
"""Pairs whose compiled programs are kept in memory."""
NOT_REACHED = "interrupted before it was run"


@own_rules()
@shows_progress()
def atlas(
    problems: Sequence[str] | Mapping[str, AtlasProblem] | None = None,
    optimizers: Sequence[str] | None = None,
    *,
    num_steps: int | None = None,
    keys: chex.PRNGKey | None = None,
    seed: int = 0,
    seconds: float = SECONDS,
    progress: Any = None,
) -> Atlas:
    """Sweep optimizers over problems: where each breaks, how well it does, and how forgiving it is.

    Parameters
    ----------
    problems
        Names of `gdx.studies.ATLAS_PROBLEMS`, or problems of your own by name; all six by default.
    optimizers
        Names of `gdx.optimizers.catalogue()`; all by default, at the defaults of their hyperparameters.
    num_steps
        The horizon; by default that of each problem.
    keys
        Typed random keys [R], one a start and order of batches; three by default.
    seed
        Of which runs are made again in a plain loop.
    seconds
        After which a pair of optimizer and problem is given up, and said to be.
    progress
        Called as `progress(stage, finished, total)` after every pair; by default a bar on a terminal, False for none.

    Returns
    -------
    Atlas
        After Ctrl-C with the cells that were finished, and `interrupted` set.

    Raises
    ------
    ValueError
        If there is no such problem or optimizer, or an argument is out of range.

    Notes
    -----
    One scan a pair, of factors of 2, grows until it has seen both ends of what works; the edge's brackets are refined
    to `RTOL`, and no further, since starts agree no better. Every bracket's end is a step size that was run. The good
    range is that of `gdx.stability`: step sizes in a row at which every start's late loss is within 2 % of the way from
    the best loss to that of learning nothing, no nearer than 1.5 times to where the first start stops training.

    Of a seeded tenth of all pairs some runs are made again in a plain jitted optax loop; where they come out otherwise
    there is no number but a note. So it is where the two ways to judge a run, convergence and the loss that is reached,
    contradict each other, and where runs fail by the blow-up bound alone.

    Every pair is compiled by itself, which takes seconds: all of the catalogue takes an hour on 2 cores. Programs are
    thrown away on the way with `jax.clear_caches`; what the caller had compiled is compiled again when it is called.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.atlas(["quadratic"], ["sgd", "momentum"], num_steps=500)
    >>> cell = found.rows[1].cells[0]
    >>> round(cell.predicted, 6), 0.9 < cell.last_success.lower / cell.predicted < 1
    (0.38, True)
    """
    chosen, families = _problems(problems), {name: named.family(name) for name in _names(optimizers)}
    if num_steps is not None:
        num_steps = check_count("num_steps", num_steps, "leave it out for each problem's own")
    keys = check_keys(jax.random.split(jax.random.key(0), REPEATS) if keys is None else keys)
    began, total = time.perf_counter(), len(chosen) * len(families)
    rows = _rows(families, progress)
    cells = {
        (row.optimizer, name): Cell(row.optimizer, name, what.criterion)
        for row in rows
        for name, what in chosen.items()
    }
    done: set[Any] = set()
    horizons = {name: what.num_steps if num_steps is None else num_steps for name, what in chosen.items()}
    try:
        for problem_name, what in chosen.items():
            problem = what.make()
            for row in rows:
                pair = row.optimizer, problem_name
                draw = np.random.default_rng([seed, *_code(*pair)])
                cell = cells[pair]._replace(predicted=_predicted(row, problem))
                task = problem, families[row.optimizer], keys, horizons[problem_name]
                measured = measure(cell, what, *task, seconds)
                cell = again(measured, *task, draw) if draw.uniform() < SHARE else measured.cell
                cells[pair] = explain(cell, *task)
                done.add(pair)
                if len(done) % KEPT == 0:
                    # JAX would keep every program that it ever compiled, some 50 MB a pair.
                    jax.clear_caches()
                if callable(progress):
                    progress("optimizers x problems", len(done), total)
    except KeyboardInterrupt:
        pass
    for pair in set(cells) - done:
        cells[pair] = cells[pair]._replace(edge_note=NOT_REACHED, good_note=NOT_REACHED)
    rows = tuple(row._replace(cells=tuple(cells[row.optimizer, name] for name in chosen)) for row in rows)
    return Atlas(chosen, rows, horizons, keys.shape[0], len(done) < total, time.perf_counter() - began)


def _rows(families, progress):
    """All optimizers, without cells; to probe some seventy takes a minute."""
    rows = []
    for name, family in families.items():
        rows.append(_row(name, family))
        if callable(progress):
            progress("thresholds", len(rows), len(families))
    return rows


def _row(name, family):
    entry = named.catalogue()[name]
    try:
        response = measure_response(family)
        threshold = threshold_of(response)
    except ValueError as error:
        return Row(name, entry.group, math.nan, False, str(error).removeprefix("family: "), ())
    return Row(name, entry.group, threshold, bool(response.is_preconditioned), "", ())


def _predicted(row, problem):
    sharpness = None if problem.known is None else problem.known.min_sharpness
    if row.is_preconditioned or not sharpness:
        return math.nan
    return row.threshold / sharpness


def _code(*names):
    """Numbers that say which pair it is, whatever else is run."""
    return [int.from_bytes(name.encode(), "little") % (2**32) for name in names]


def _problems(wanted):
    if isinstance(wanted, Mapping):
        return dict(wanted)
    return {
        name: ATLAS_PROBLEMS[name]
        for name in _known("problems", ATLAS_PROBLEMS if wanted is None else wanted, ATLAS_PROBLEMS)
    }


def _names(wanted):
    known = named.catalogue()
    return _known("optimizers", known if wanted is None else wanted, known)


def _known(what, names, known):
    names = list(dict.fromkeys(names))
    if not names:
        raise ValueError(f"{what}: there are none; leave it out for all")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            remedy = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
            raise ValueError(f"{what}: {name!r} is unknown; {remedy}")
    return names
