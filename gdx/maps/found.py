"""What a map is: answers everywhere, and what is known of the runs of the cells that were computed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from gdx.maps.arriving import ARRIVAL
from gdx.maps.attractors import attractors
from gdx.maps.auditing import Audit
from gdx.maps.axes import Line
from gdx.records import record
from gdx.verdicts import Answer, TrainingVerdict, Verdict
from gdx.wording import aligned, counted

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Int8

    from gdx.sweeps import Runs

TOLD = ("verdict", "intensity", "steps", "share", "answer")
"""What `PhaseMap.of` knows beside facts and what observers saw."""
ATTRACTOR = "attractor"
"""Name of the observer, and of the colour, by which attractors are told apart."""


@record
class PhaseMap(NamedTuple):
    """Where runs meet a criterion, over two hyperparameters.

    Examples
    --------
    Continues the example of `gdx.phase_map`.

    >>> isinstance(found, gdx.PhaseMap), found.answers.shape, bool(found.num_runs == found.computed.sum())
    (True, (64, 64), True)
    >>> found.of("verdict").shape, sorted(found.facts)[:2]
    ((64, 64), ['best_loss', 'first_bad_step'])
    """

    across: Line
    """The axis x with its cells."""
    down: Line
    """The axis y with its cells."""
    answers: Int8[np.ndarray, "Y X"]
    """`Answer` codes over all keys: MET where all succeed, FAILED where none does and some run fails, else UNDECIDED:
    where keys disagree or all runs are merely unfinished, and where an interrupted map knows nothing."""
    share: Float[np.ndarray, "Y X"]
    """Share of the keys that succeed; in a cell that was filled in, that of the nearest with its answer; NaN where
    nothing is known."""
    verdict: Int8[np.ndarray, "Y X"]
    """`Verdict` codes, `TrainingVerdict` codes where the criterion is "trains": the commonest of the cell's runs. In a
    cell that was filled in it is audited where `follow="verdicts"`, and else that of the nearest cell with its answer;
    -1 where nothing is known."""
    computed: Bool[np.ndarray, "Y X"]
    """Which cells were run, the others were filled in from their neighbours."""
    audit: Audit
    """How many of those filled in were checked, and the bound on the share of the map that is wrong."""
    criterion: str
    """Its name."""
    chosen_because: str
    """Why it is this criterion, where none was asked for."""
    tolerance: float
    """Of convergence, relative to the first gradient norm."""
    horizon: int
    """Steps of every run, T."""
    at: dict[str, Any]
    """Further hyperparameters, the same in all cells."""
    starts: list[Any]
    """Data of the keys, [R]."""
    cells: Int[np.ndarray, " C"]
    """Cells that were run, `y * X + x`, ascending."""
    run_answers: Int8[np.ndarray, "C R"]
    """`Answer` codes of their runs."""
    verdicts: Int8[np.ndarray, "C R"]
    """Codes of their runs, as in `verdict`."""
    follow: str
    """What boundaries are of, "answers" or "verdicts"."""
    facts: dict[str, np.ndarray]
    """Facts of their runs by name, [C, R], as in `gdx.Runs`."""
    observed: dict[str, Any]
    """Observers' summaries by name, leaves [C, R, ...]; "arrival" is a map's own, see `gdx.maps.arrival`."""
    num_runs: int
    """That were made for it."""
    reused: int
    """Cells that were taken over from former maps."""
    seconds: float
    """Of it all."""
    compile_seconds: float
    """Of these, spent compiling."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""
    runs: Runs | None = None
    """All facts of the cells that were run, leaves [C, R], where the criterion holds runs against each other ("trains",
    one of your own); else None."""

    @property
    def x(self) -> Float[np.ndarray, " X"]:
        """Where cells stand along x."""
        return self.across.positions

    @property
    def y(self) -> Float[np.ndarray, " Y"]:
        """Where cells stand along y."""
        return self.down.positions

    @property
    def known(self) -> Bool[np.ndarray, "Y X"]:
        """Which cells were run or filled in: all, but for a map that was interrupted."""
        return self.verdict >= 0

    @property
    def names(self) -> tuple[str, str]:
        """Hyperparameters along x and y."""
        return self.across.axis.name, self.down.axis.name

    @property
    def verdict_names(self) -> type[Verdict] | type[TrainingVerdict]:
        """What the codes of `verdict` mean."""
        return TrainingVerdict if self.criterion == "trains" else Verdict

    @property
    def colours(self) -> tuple[str, ...]:
        """Everything that `of` knows."""
        ends = (ATTRACTOR,) if ATTRACTOR in self.observed else ()
        return tuple(dict.fromkeys((*TOLD, *ends, *self.facts, *_parts(self.observed))))

    def of(self, what: str) -> Float[np.ndarray, "Y X"]:
        """Lay what is known of the runs out as a map.

        Parameters
        ----------
        what
            "verdict": the commonest of the cell's runs. "steps": how many it took to converge, or to blow up.
            "intensity": how fast, 1 over these steps; of other runs the log of their last loss over the first.
            "answer", "share". "attractor": the number of the one that the first start ends in, as
            `gdx.maps.attractors` counts them, where an observer of that name is `gdx.observers.attractor()`; NaN where
            the run neither came to rest nor cycles. Or the name of a fact or an observer, `name.part` where its
            summary has several; numbers are means over the cell's runs.

        Returns
        -------
        array
            [Y, X], NaN in cells that were not computed, and where there is nothing to tell.

        Raises
        ------
        ValueError
            If nothing is called so, with the list of what is.
        """
        values = np.full(self.answers.shape, np.nan)
        if what in ("answer", "share"):
            return np.where(self.computed, self.answers if what == "answer" else self.share, np.nan)
        if what == ATTRACTOR and ATTRACTOR in self.observed:
            return self._attractors()
        values.flat[self.cells] = self._of_cells(what)
        return values

    def _attractors(self):
        leaves = [np.asarray(leaf)[:, 0] for leaf in jax.tree.leaves(self.observed[ATTRACTOR])]
        ends = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
        points = np.full((*self.answers.shape, ends.shape[1]), np.nan)
        points.reshape(-1, ends.shape[1])[self.cells] = ends
        is_there = np.zeros(self.answers.shape, bool)
        is_there.flat[self.cells] = np.isin(self.verdicts[:, 0], (Verdict.CONVERGED, Verdict.CYCLING))
        labels = attractors(points, is_there)
        return np.where(labels >= 0, labels, np.nan)

    def _of_cells(self, what):
        if what == "verdict":
            return self.verdict.flat[self.cells]
        if what in ("steps", "intensity"):
            return _mean(_steps(self) if what == "steps" else _intensity(self))
        if what in self.facts:
            return _mean(self.facts[what])
        parts = _parts(self.observed)
        if what in parts:
            return _mean(parts[what])
        raise ValueError(f"colour: {what!r} is unknown; choose from {', '.join(self.colours)}")

    def __str__(self) -> str:
        """Say in a few lines what was mapped and how well."""
        across, down = self.names
        judged = f"{self.criterion} within {counted(self.horizon, 'step')}"
        known = self.answers[self.known]
        parts = [f"{np.mean(known == code):.1%} {code.name.lower()}" for code in Answer] if known.size else ["none"]
        rows = [
            ("x", repr(self.across.axis)),
            ("y", repr(self.down.axis)),
            ("answers", ", ".join(parts)),
            ("computed", f"{np.mean(self.computed):.2%} of the cells, in {self.seconds:.3g} s"),
            ("audit", "interrupted" if self.interrupted else str(self.audit)),
        ]
        if self.at:
            rows.insert(2, ("at", ", ".join(f"{name} {value:g}" for name, value in self.at.items())))
        if self.reused:
            rows.append(("reused", f"{counted(self.reused, 'cell')} of former maps"))
        if self.chosen_because:
            rows.append(("criterion", f"{self.criterion}, since {self.chosen_because}"))
        shape = f"{self.x.size} x {self.y.size}, {counted(self.run_answers.shape[1], 'start')}"
        return f"PhaseMap of {across} and {down}: {judged}, {shape}\n{aligned(rows)}"


def _steps(found):
    """Up to convergence or to the first bad step, [C, R]; NaN of runs that neither converged nor blew up."""
    facts, arrival = found.facts, found.observed.get(ARRIVAL)
    bad = facts["first_bad_step"]
    taken = np.where(bad >= 0, bad, np.nan)
    if found.criterion == "trains":
        return taken
    came = facts["steps"] if arrival is None else arrival
    return np.where(found.verdicts == Verdict.CONVERGED, came, taken)


@np.errstate(all="ignore")
def _intensity(found):
    """How fast a run converged or blew up; of the others, how far they came."""
    facts, steps = found.facts, _steps(found)
    end = np.where(np.isfinite(facts["tail_loss"]), facts["tail_loss"], facts["last_loss"])
    fallen = -np.log(np.abs(end) / np.abs(facts["first_loss"]))
    other = np.where(np.isfinite(fallen), fallen, np.nan)
    return np.where(np.isfinite(steps), 1 / np.maximum(steps, 1), other)


def _mean(values):
    """Over a cell's runs, of those that have a number."""
    values = np.asarray(values, float)
    known = np.isfinite(values)
    total = np.sum(np.where(known, values, 0.0), axis=1)
    return np.where(known.any(axis=1), total / np.maximum(np.sum(known, axis=1), 1), np.nan)


def _parts(observed):
    """Summaries of one number a run, by name."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(observed):
        if np.ndim(leaf) == 2:
            found[".".join(str(getattr(part, "key", getattr(part, "name", part))) for part in path)] = leaf
        elif np.ndim(leaf) > 2:
            name = ".".join(str(getattr(part, "key", getattr(part, "name", part))) for part in path)
            flat = np.asarray(leaf).reshape(*np.shape(leaf)[:2], -1)
            found |= {f"{name}.{index}": flat[:, :, index] for index in range(flat.shape[-1])}
    return found


def nothing_known() -> Audit:
    """That of a map which was interrupted."""
    return Audit(0, 0, 0, math.nan)
