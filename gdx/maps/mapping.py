"""`phase_map`: which cells to run, window by window, and what came of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.checks import check_count, check_number, own_rules
from gdx.maps.axes import OFFSETS, Axis, Line, cells_of, check_axis, check_resolution, windowed
from gdx.maps.evaluating import Cells, refuse_traced
from gdx.maps.filling import filled_in
from gdx.maps.found import PhaseMap, nothing_known
from gdx.maps.programs import Programs, check_at
from gdx.maps.refining import Refined, level_of, on_lattice, refine, spacing_at
from gdx.maps.reusing import take_over
from gdx.problems.base import Problem
from gdx.progress import Progress, shows_progress
from gdx.stepping import Family
from gdx.sweeps import Runs, Sweep
from gdx.sweeps.inputs import check_keys
from gdx.trees import rows
from gdx.verdicts import check_criterion, criterion_name

if TYPE_CHECKING:
    import chex

FOLLOWED = ("answers", "verdicts")
Window = tuple[tuple[float, float], tuple[float, float]]


@own_rules()
@shows_progress("map")
def phase_map(
    problem: Problem | Callable[[Any], Problem] | None = None,
    family: Family | None = None,
    *,
    x: Axis,
    y: Axis,
    keys: chex.PRNGKey,
    num_steps: int | None = None,
    resolution: int | tuple[int, int] = 256,
    at: Mapping[str, float] | None = None,
    criterion: str | Callable[[Runs], Any] | None = None,
    tolerance: float | None = None,
    max_wrong: float = 1e-3,
    dense: bool = False,
    window: Window | Sequence[Window] | None = None,
    former: PhaseMap | Sequence[PhaseMap] = (),
    follow: str = "answers",
    seed: int = 0,
    run: Sweep | None = None,
    progress: Progress = None,
    **options: Any,
) -> PhaseMap:
    """Map where runs meet a criterion, over two hyperparameters: boundaries are computed, the rest is filled in.

    Coarse cells are run first, then those along boundaries, level by level. Then cells among those filled in are drawn
    at random and run, and the map is refined further until they prove that it is right, see `max_wrong`.

    Parameters
    ----------
    problem, family
        As in `gdx.sweep`. Both get the hyperparameters of a cell, `{x.name: x, y.name: y, **at}`: the problem where it
        is a callable of them, the family as a dict, or as a bare step size where an axis is called "step_size" and that
        is what it takes, as `optax.sgd` does. With `run`, those of the run, or None.
    x, y
        `gdx.Axis` each; one that changes shapes is `static` and compiles a program a value.
    keys
        Typed random keys [R], one a start.
    num_steps
        The horizon T, steps; may be left out with `run`.
    resolution
        Cells along an axis, or (X, Y). A cell is computed at an irrational share of its width, the same for all.
    at
        Further hyperparameters, the same in all cells. Without `run` they are handed over as they are, so that whole
        numbers may be shapes.
    criterion
        As in `gdx.answers`; by default what suits the problem and the first runs, as in `gdx.critical_step_size`. One
        that holds runs against each other ("trains", one of your own) is asked of all runs so far, again and again.
    tolerance
        Of convergence, relative to the first gradient norm; by default 1e-6, or that of `run`.
    max_wrong
        Share of the map that may be wrong: refining goes on until an audit bounds it at 95 %, or all is computed.
    dense
        Whether to run every cell.
    window
        ((x0, x1), (y0, y1)), a part of the axes to map alone, at the same resolution; or several of them, each of which
        takes over what it can from those before.
    former
        Maps of the same runs, whose cells are taken over where they coincide. Those of a zoom do where its cells go a
        whole number of times into theirs; `PhaseMap.reused` says how many, 0 where none do.
    follow
        What boundaries are computed and audited: those of "answers", or of "verdicts" as well, so that regions of
        cycles and of divergence, say, have sharp borders too.
    seed
        Of the audit's draws.
    run
        A sweep that takes a dict of all hyperparameters, compiled or not.
    progress
        As in `Sweep.__call__`, for one level at a time; a bar by default, False for none.
    **options
        Of `gdx.sweep`: `tail`, `facts`, `stopping`, `observers`, `slots` and so on.

    Returns
    -------
    PhaseMap
        Or a tuple of them where there are several windows. After Ctrl-C with what was run, and `interrupted` set.

    Raises
    ------
    ValueError
        If an argument is out of range, or nobody asks for a hyperparameter that an axis is called by.
    KeyboardInterrupt
        On Ctrl-C before any run was finished.

    Notes
    -----
    The bound is on answers that cells of this very grid would have; nothing is said of what lies between them.
    Memory is that of the sweep, some 100 bytes a run, and all facts of every run (400 bytes) where runs are compared.

    Examples
    --------
    Heavy ball on curvature 1: stable up to step sizes of 2 (1 + momentum).

    >>> import jax, optax, gdx
    >>> bowl, keys = gdx.problems.quadratic([1.0], start=[1.0]), jax.random.split(jax.random.key(0), 1)
    >>> found = gdx.phase_map(
    ...     bowl,
    ...     lambda h: optax.sgd(h["step_size"], momentum=h["momentum"]),
    ...     x=gdx.Axis("momentum", 0.0, 0.5),
    ...     y=gdx.Axis("step_size", 1.0, 4.0, "log"),
    ...     keys=keys,
    ...     num_steps=300,
    ...     resolution=64,
    ...     criterion="bounded",
    ...     max_wrong=1e-2,
    ... )
    >>> fails = found.answers == gdx.Answer.FAILED
    >>> bool((fails[found.y < 1.9] == 0).all()), bool(fails[found.y > 3.1].all())
    (True, True)
    >>> found.audit.bound < 1e-2, bool(found.computed.mean() < 0.5)
    (True, True)
    """
    started = time.perf_counter()
    x, y = check_axis("x", x), check_axis("y", y)
    if x.name == y.name:
        raise ValueError(f"y: it is called {y.name!r} as x is; pass two hyperparameters")
    if criterion is not None:
        check_criterion(criterion)
    check_number("max_wrong", max_wrong, 0, 1, "pass the share of the map that may be wrong, as 1e-3")
    if follow not in FOLLOWED:
        raise ValueError(f"follow: {follow!r} is unknown; pass {' or '.join(FOLLOWED)}")
    keys, size, seed = check_keys(keys), check_resolution(resolution), check_count("seed", seed, "pass 0, say", 0)
    refuse_traced(keys)
    fixed = check_at(at, (x.name, y.name))
    programs = Programs(problem, family, (x, y), fixed, num_steps, tolerance, run, options)
    judged_at = None if tolerance is None else check_number("tolerance", tolerance, 0, math.inf, "leave it out")
    formers, found = _checked_former(former), []
    for axes in _windows(x, y, window):
        lines = _lines(axes, size, formers)
        cells = Cells(programs, lines, programs.varied, keys, criterion, judged_at, progress, follow)
        _check_first(programs, cells, keys)
        before = programs.compile_seconds
        mapped, reused = _mapped(cells, formers, _same(programs, cells, fixed), max_wrong, dense, seed)
        seconds = time.perf_counter() - started, programs.compile_seconds - before
        described = _described(cells, mapped, _same(programs, cells, fixed), reused, seconds)
        found.append(described)
        formers.insert(0, described)
        started = time.perf_counter()
        if described.interrupted:
            break
    several: Any = tuple(found)
    return several if np.ndim(window or ()) == 3 else found[0]


def _check_first(programs, cells, keys):
    """Refuse what cannot be run before anything is."""
    static = next(cells.groups(np.zeros(1, int)))[0]
    programs(static).check(cells.hyperparams(np.zeros(1, int)), keys)


def _windows(x, y, window):
    """The axes of every window."""
    if window is None:
        return [(x, y)]
    try:
        depth = np.ndim(window)
    except ValueError:
        depth = 0
    if depth not in (2, 3) or np.shape(window)[-2:] != (2, 2) or len(window) == 0:
        raise ValueError(f"window: {window!r} is not ((x0, x1), (y0, y1)); pass that, or a list of such")
    each = window if depth == 3 else [window]
    return [(windowed(x, "window: x", one[0]), windowed(y, "window: y", one[1])) for one in each]


def _lines(axes, size, formers) -> tuple[Line, Line]:
    """Cells along both axes, on those of the first former map that they fit on."""
    names = tuple(axis.name for axis in axes)
    known = [(one.across, one.down) for one in formers if one.names == names]
    across, down = (
        cells_of(axis, number, offset, [pair[at] for pair in known])
        for at, (axis, number, offset) in enumerate(zip(axes, size, OFFSETS, strict=True))
    )
    for which, line in (("x", across), ("y", down)):
        _check_distinct(which, line)
    return across, down


def _check_distinct(which, line):
    """Refuse cells that the precision in use cannot tell apart."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    if not line.axis.static and np.any(np.diff(line.positions.astype(dtype)) <= 0):
        wide = dtype == np.float64
        remedy = "pass a wider window, or fewer cells" + (
            "" if wide else ', or jax.config.update("jax_enable_x64", True)'
        )
        raise ValueError(f"{which}: cells of {line.axis} are closer than {dtype} tells apart; {remedy}")


def _checked_former(former):
    formers = list(former) if type(former) in (list, tuple) else [former]
    for one in formers:
        if not isinstance(one, PhaseMap):
            raise ValueError(f"former: {type(one).__name__} is no gdx.PhaseMap; pass what phase_map gave")
    return formers


def _same(programs, cells, fixed) -> dict[str, Any]:
    """What is said of a map, and must be the same of one that cells are taken over from."""
    one = next(iter(programs.made.values()), programs.run)
    return {
        "names": tuple(line.axis.name for line in cells.lines),
        "starts": np.asarray(jax.random.key_data(cells.keys)).tolist(),
        "tolerance": one.tolerance if cells.tolerance is None else cells.tolerance,
        "horizon": one.num_steps,
        "at": dict(fixed),
    }


def _mapped(cells, formers, same, max_wrong, dense, seed) -> tuple[Refined, int]:
    """Choose a criterion, take over what is known, and refine."""
    shape = cells.lines[1].num_cells, cells.lines[0].num_cells
    if cells.criterion is None:
        spacing = spacing_at(shape, max(level_of(size) for size in shape))
        cells(np.flatnonzero(on_lattice(shape, spacing)))
        if cells.criterion is None or cells.interrupted is not None:
            known = cells.revised()
            return Refined(known, known >= 0, nothing_known(), interrupted=True), 0
    reused = take_over(cells, formers, same)
    revised = cells.revised if cells.compares else None
    options = {"max_wrong": max_wrong, "dense": dense, "seed": seed, "known": cells.revised()}
    return refine(shape, cells, revised=revised, **options), reused


def _described(cells, mapped, same, reused, seconds) -> PhaseMap:
    """Put together what is said of a map."""
    if not cells.order:
        raise cells.interrupted
    order = np.argsort(cells.cells, kind="stable")
    kept = rows(cells.summary(), order)
    codes, share, verdict = filled_in(mapped.labels, mapped.computed, cells.cells[order], kept, cells.follow)
    told = {name: value for name, value in same.items() if name != "names"}
    return PhaseMap(
        across=cells.lines[0],
        down=cells.lines[1],
        answers=codes,
        share=share,
        verdict=verdict,
        follow=cells.follow,
        computed=mapped.computed,
        audit=mapped.audit,
        criterion=criterion_name(cells.criterion),
        chosen_because=cells.reason,
        cells=cells.cells[order],
        run_answers=kept.answers,
        verdicts=kept.verdicts,
        facts=kept.facts,
        observed=kept.observed,
        num_runs=cells.num_runs,
        reused=reused,
        seconds=seconds[0],
        compile_seconds=seconds[1],
        interrupted=mapped.interrupted,
        runs=rows(cells.all_runs(), order) if cells.compares else None,
        **told,
    )
