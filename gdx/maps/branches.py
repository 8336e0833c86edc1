"""Edges followed from one value of a parameter to the next, on both branches where there are two."""

from __future__ import annotations

import bisect
import math
from typing import Any

import numpy as np

from gdx.edges import Bracket, Edge, critical_step_size
from gdx.edges.edge import NAMES_OF_FAILURE
from gdx.exploring import hyperparams_at
from gdx.maps.programs import Programs
from gdx.verdicts import Answer, answers

STEP_SIZE = "step_size"
NEAR = 2.0
"""Factor around a neighbour's edge within which one is looked for at first."""
MARGIN = 0.25
"""Of the range of step sizes that succeed at a neighbour, in logarithms, by which both ends of it are passed."""
NARROW = 0.2
"""Width of that range, in logarithms, below which it may vanish before the next point, and is looked at closely."""
DEEP, DEEP_POINTS = 1e3, 10
"""Factor below an edge down to which failures are looked for, and at how many step sizes."""
SHARPER, POINTS = 3, 15
"""Times that the place where success begins is looked at more closely, and at how many step sizes each."""
BISECTIONS = 12
"""Of an interval of the parameter within which the edge turns back."""


class Following:
    """Edges that were found along a parameter so far.

    Attributes
    ----------
    positions, edges, begins
        Ascending in position, of equal length; where success begins, a `Bracket` or None.
    num_runs : int
        That were made.
    """

    def __init__(self, programs: Programs, name: str, keys: Any, wanted: dict[str, Any]):
        self.run, self.varied, self.name, self.keys = programs(()), programs.varied, name, keys
        self.wanted, self.num_runs = wanted, 0
        self.positions: list[float] = []
        self.edges: list[Edge] = []
        self.begins: list[Bracket | None] = []

    def add(self, position: float) -> Edge:
        """Find the edge at a value of the parameter, beginning at its nearest neighbour's.

        Parameters
        ----------
        position
            The value.

        Returns
        -------
        Edge
        """
        edge = self._find(position)
        self.num_runs += edge.answers.size
        begins = self._begins(position, edge)
        index = bisect.bisect(self.positions, position)
        self.positions.insert(index, position)
        self.edges.insert(index, edge)
        self.begins.insert(index, begins)
        if self.wanted["criterion"] is None:
            self.wanted["criterion"] = edge.criterion
        return edge

    def turn(self) -> tuple[Bracket, ...]:
        """Bisect the parameter wherever success ends between two branches that come together.

        Returns
        -------
        tuple of Bracket
            Values of the parameter.
        """
        meets = [_succeeds(edge) for edge in self.edges]
        pairs = [at for at in range(len(meets) - 1) if meets[at] != meets[at + 1]]
        ends = [(self.positions[at], self.positions[at + 1], meets[at]) for at in pairs]
        found = []
        for low, high, is_low in ends:
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                if _succeeds(self.add(middle)) == is_low:
                    low = middle
                else:
                    high = middle
            found.append(Bracket(low, high))
        return tuple(found)

    def _find(self, position):
        options = self.wanted | {"run": self.run, "keys": self.keys, "along": self._line(position)}
        nearby, edge = self._nearby(position), None
        for bracket in nearby:
            edge = critical_step_size(**options, bracket=bracket)
            if is_found(edge):
                return edge
        return edge if edge is not None and _may_vanish(nearby[0]) else critical_step_size(**options)

    def _line(self, position):
        return lambda step_size: {STEP_SIZE: step_size, self.name: position, **self.varied}

    def _nearby(self, position):
        """Where to look: around what succeeds at the nearest neighbour at which anything does."""
        known = [at for at, edge in enumerate(self.edges) if is_found(edge)]
        if not known:
            return []
        nearest = min(known, key=lambda at: abs(self.positions[at] - position))
        high, begins = self.edges[nearest].last_success.lower, self.begins[nearest]
        if begins is None:
            return [(high / NEAR, high * NEAR)]
        # A range that narrows is looked at as closely as it is narrow, then with room on both sides.
        room = (high / begins.lower) ** MARGIN
        return [(begins.lower / room, high * room), (begins.lower / NEAR, high * NEAR)]

    def _begins(self, position, edge):
        """Where success begins, if smaller step sizes fail, which the runs around an edge may be too near to see."""
        if not is_found(edge) or edge.criterion not in NAMES_OF_FAILURE:
            return None
        tested = edge.step_sizes, edge.answers
        if _first_success(*tested) is None:
            low = float(edge.step_sizes[0])
            deep = np.geomspace(min(low, edge.last_success.lower / DEEP), low, DEEP_POINTS)
            tested = self._more(position, edge, tested, deep)
        for _ in range(SHARPER):
            pair = _first_success(*tested)
            if pair is None:
                return None
            tested = self._more(position, edge, tested, np.geomspace(*pair, POINTS + 2))
        return _first_success(*tested)

    def _more(self, position, edge, tested, step_sizes):
        """Step sizes and answers there, with more of them."""
        new = np.setdiff1d(step_sizes, tested[0])
        if new.size == 0:
            return tested
        self.num_runs += new.size * edge.repeats
        runs = self.run(hyperparams_at(self._line(position), new), self.keys, progress=False)
        found = np.asarray(answers(runs, edge.criterion, edge.tolerance))
        sizes, codes = np.concatenate([tested[0], new]), np.concatenate([tested[1], found])
        order = np.argsort(sizes)
        return sizes[order], codes[order]


def _succeeds(edge):
    return bool(np.any(edge.answers == Answer.MET))


def is_found(edge: Edge) -> bool:
    """Whether the scan saw some success and, beyond the last of them, a failure."""
    return edge.last_success.lower > 0 and math.isfinite(edge.last_success.upper)


def _may_vanish(bracket):
    """Whether what succeeds at the neighbour is so narrow that at the next value of the parameter nothing may."""
    return math.log(bracket[1] / bracket[0]) < NARROW * (1 + 2 * MARGIN)


def _first_success(sizes, codes):
    """Between the last step size at which all fail before the first at which any succeeds, and that."""
    meets, fails = np.any(codes == Answer.MET, axis=1), np.all(codes == Answer.FAILED, axis=1)
    first = int(np.argmax(meets))
    below = np.flatnonzero(fails[:first])
    return Bracket(float(sizes[below[-1]]), float(sizes[first])) if below.size else None
