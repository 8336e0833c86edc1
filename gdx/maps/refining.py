"""Which cells of a map to compute, given the labels so far: from coarse to fine along boundaries, then an audit.

NumPy alone, with any `evaluate(cells) -> labels`; nothing here knows what a run is.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.maps.auditing import Audit, bound_of_map, error_of_round, planned_checks
from gdx.records import record

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

COARSE = 32
"""Cells along an axis that a map begins with."""
DENSE_ABOVE = 0.3
"""Share of flagged blocks from which the whole level is computed: it is hardly dearer, and misses nothing."""
UNKNOWN = -1
"""Label of a cell that is neither computed nor filled in."""
EXPECTED = 0.05
"""Wrong cells that a map is thought to have before its first audit, as a share of those allowed."""
CURED = 0.5
"""Share of what an audit found wrong that is thought to be left after refining around it."""
WORTHWHILE = 0.25
"""Share of the filled-in cells that an audit may cost; where it would take more, finer blocks are looked at first."""


@record
class Refined(NamedTuple):
    """Labels of a whole map, and which of them were computed.

    Examples
    --------
    Continues the example of `gdx.maps.refine`.

    >>> isinstance(refined, gdx.maps.Refined), refined.labels.dtype
    (True, dtype('int64'))
    """

    labels: Int[np.ndarray, "Y X"]
    """As `evaluate` gave them, or filled in; -1 where an interrupted map knows nothing."""
    computed: Bool[np.ndarray, "Y X"]
    """Which ones `evaluate` gave."""
    audit: Audit
    """What is proved about the rest."""
    interrupted: bool = False
    """Whether `evaluate` gave up."""


class StoppedError(Exception):
    """`evaluate` gave up."""


def refine(
    shape: tuple[int, int],
    evaluate: Callable[[Int[np.ndarray, " N"]], Any],
    *,
    max_wrong: float = 1e-3,
    dense: bool = False,
    seed: int = 0,
    known: Int[np.ndarray, "Y X"] | None = None,
    revised: Callable[[], Any] | None = None,
) -> Refined:
    """Compute a map of labels where it has boundaries, fill in the rest, and prove how little of that is wrong.

    A coarse grid first; then blocks with different labels in them, and their neighbours, are halved, level by level. A
    level of which over 30 % are to be halved is computed whole. At last cells among those filled in are drawn at random
    and computed. Where that does not prove what is asked for, blocks with a wrong cell in them are refined as well, if
    need be on a finer coarse grid, and other cells are drawn; until it does, or the map is dense.

    Parameters
    ----------
    shape
        Y and X, at least 2 each.
    evaluate
        `cells [N] -> labels [N]`, whole numbers of at least 0; cells are numbered along rows, `y * X + x`. A label
        below 0 says that it was interrupted there.
    max_wrong
        Share of the map that may be wrong; the bound holds in 95 of 100 maps, all rounds taken together.
    dense
        Whether to compute every cell.
    seed
        Of the audit's draws.
    known
        Labels that are known before, -1 elsewhere.
    revised
        `() -> labels [Y, X]` of what was computed so far, where labels depend on those of other cells; called after
        each `evaluate`.

    Returns
    -------
    Refined

    Raises
    ------
    ValueError
        If an axis has fewer than two cells, `max_wrong` is no share, or `evaluate` does not give a label a cell.

    Notes
    -----
    An audit proves something of how the cells were filled in that it was drawn from. What is refined after the last one
    only ever computes more of them, and changes none that stays filled in.

    Examples
    --------
    >>> import numpy as np, gdx
    >>> def inside(cells):
    ...     y, x = np.divmod(cells, 256)
    ...     return (np.hypot(x - 100, y - 120) < 80).astype(int)
    >>> refined = gdx.maps.refine((256, 256), inside, max_wrong=1e-2)
    >>> bool(np.mean(refined.computed) < 0.15), refined.audit.bound < 1e-2
    (True, True)
    >>> int(np.sum(refined.labels.ravel() != inside(np.arange(256**2))))
    0
    """
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(f"shape: {shape!r} is no map; pass (Y, X), at least 2 cells each")
    if not 0 < max_wrong < 1:
        raise ValueError(f"max_wrong: {max_wrong!r} is no number in (0, 1); pass the share that may be wrong, as 1e-3")
    canvas = Canvas(shape, evaluate, known, revised)
    try:
        if dense:
            canvas.add(np.ones(shape, bool))
            audit = Audit.of_dense()
        else:
            canvas.settle()
            audit = _certified(canvas, max_wrong, np.random.default_rng(seed))
    except StoppedError:
        nothing = Audit(0, 0, int(np.sum(~canvas.computed)), np.nan)
        return Refined(canvas.filled(), canvas.computed, nothing, interrupted=True)
    return Refined(canvas.filled(), canvas.computed, audit)


def _certified(canvas, max_wrong, rng):
    """Draw, compute and look, until what was asked for is proved."""
    total, rounds, expected = canvas.computed.size, [], EXPECTED * max_wrong
    for number in itertools.count():
        cells, error = np.flatnonzero(~canvas.computed), error_of_round(number)
        num_checks = planned_checks(expected, cells.size, total, max_wrong, error)
        while num_checks > WORTHWHILE * cells.size and canvas.level > 0:
            canvas.look_closer()
            cells, expected = np.flatnonzero(~canvas.computed), EXPECTED * max_wrong
            num_checks = planned_checks(expected, cells.size, total, max_wrong, error)
        if num_checks >= cells.size:
            canvas.add(np.ones(canvas.computed.shape, bool))
            return Audit.of_dense(tuple(rounds))
        drawn = np.zeros(canvas.computed.shape, bool)
        drawn.flat[rng.choice(cells, num_checks, replace=False)] = True
        canvas.add(drawn)
        # As it would be filled in without them, with all labels as they are now.
        filled = canvas.filled(canvas.computed & ~drawn)
        wrong = int(np.sum(filled[drawn] != canvas.labels[drawn]))
        rounds.append((num_checks, wrong))
        bound = bound_of_map(wrong, num_checks, cells.size, total, error)
        if bound < max_wrong:
            canvas.keep(filled)
            return Audit(num_checks, wrong, cells.size, bound, tuple(rounds))
        canvas.settle()
        expected = CURED * wrong / num_checks
    raise AssertionError


class Canvas:
    """Labels of a map while it grows.

    Attributes
    ----------
    labels, computed
        [Y, X]; labels count where they were computed.
    level : int
        Of the coarse grid: how many times its blocks can be halved. An axis of few cells is not halved at first.
    """

    def __init__(self, shape: tuple[int, int], evaluate: Any, known: Any = None, revised: Any = None):
        self.labels = np.full(shape, UNKNOWN) if known is None else np.array(known, int)
        self.computed = self.labels >= 0
        self.evaluate, self.revised = evaluate, revised
        self.kept: np.ndarray | None = None
        self.level = max(level_of(size) for size in shape)

    def add(self, wanted: Bool[np.ndarray, "Y X"]) -> bool:
        """Compute cells.

        Parameters
        ----------
        wanted
            Which; those that were computed before are left out.

        Returns
        -------
        bool
            Whether there were any.

        Raises
        ------
        StoppedError
            If it was interrupted.
        """
        cells = np.flatnonzero(wanted & ~self.computed)
        if cells.size == 0:
            return False
        found = np.asarray(self.evaluate(cells))
        if found.shape != cells.shape or found.dtype.kind not in "iub":
            raise ValueError(
                f"evaluate: it gives {found.dtype}{list(found.shape)} for {cells.size} cells; give a whole number each"
            )
        done = cells[found >= 0]
        self.labels.flat[done] = found[found >= 0]
        self.computed.flat[done] = True
        if self.revised is not None:
            self.labels = np.where(self.computed, self.revised(), UNKNOWN)
        if done.size < cells.size:
            raise StoppedError
        return True

    def spacings(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Give the spacings of every level from coarse to fine, down and across, and those of the next one."""
        for level in range(self.level, 0, -1):
            yield spacing_at(self.computed.shape, level), spacing_at(self.computed.shape, level - 1)

    def settle(self) -> None:
        """Halve blocks that are mixed and their neighbours, until none is left to halve."""
        shape = self.computed.shape
        self.add(on_lattice(shape, spacing_at(shape, self.level)))
        while sum(self._halve(*pair) for pair in self.spacings()):
            pass

    def look_closer(self) -> None:
        """Settle on a coarse grid of half the spacing."""
        self.level -= 1
        self.settle()

    def keep(self, filled: Int[np.ndarray, "Y X"]) -> None:
        """Settle, and compute whatever would be filled in otherwise than before, so that nothing filled in changes.

        Parameters
        ----------
        filled
            Labels as they are to stay where nothing is computed.
        """
        self.settle()
        while self.add(self.filled() != filled):
            self.settle()

    def _halve(self, spacing, half):
        shape, computed = self.computed.shape, self.computed
        low, high = block_ranges(self.labels, computed, spacing)
        flagged = grown(low < high)
        if np.mean(flagged) > DENSE_ABOVE:
            flagged[:] = True
        return bool(flagged.any()) and self.add(spread(flagged, shape, spacing) & on_lattice(shape, half))

    def filled(self, computed: Bool[np.ndarray, "Y X"] | None = None) -> Int[np.ndarray, "Y X"]:
        """Labels of all cells: of a block without a boundary those of its corners.

        Parameters
        ----------
        computed
            Which labels to go by; by default all that were computed.

        Returns
        -------
        array
            [Y, X], -1 where nothing is known.
        """
        computed = self.computed if computed is None else computed
        shape, labels = computed.shape, np.full(computed.shape, UNKNOWN)
        for spacing, _ in self.spacings():
            low, high = block_ranges(self.labels, computed, spacing)
            rows, columns = (lattice(*pair) for pair in zip(shape, spacing, strict=True))
            corners = computed[np.ix_(rows, columns)]
            is_plain = (low == high) & corners[1:, 1:] & corners[1:, :-1] & corners[:-1, 1:] & corners[:-1, :-1]
            inside = spread(is_plain, shape, spacing)
            own = np.pad(by_cells(np.where(is_plain, low, UNKNOWN), shape, spacing), ((0, 1), (0, 1)), mode="edge")
            # A block's own right and lower ends stand with the next one, which may be none or not plain.
            for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
                shifted = np.full(shape, UNKNOWN)
                shifted[down:, across:] = own[: shape[0] - down, : shape[1] - across]
                labels = np.where(inside & (shifted >= 0), shifted, labels)
        return np.where(computed, self.labels, labels)


@functools.cache
def lattice(size: int, spacing: int) -> Int[np.ndarray, " L"]:
    """Cells of a grid along one axis, the last one always among them."""
    return np.unique(np.append(np.arange(0, size, spacing), size - 1))


def level_of(size: int) -> int:
    """How many times the blocks of an axis can be halved, of which there are 32 or a few more."""
    return max((size // COARSE).bit_length() - 1, 0)


def spacing_at(shape: tuple[int, ...], level: int) -> tuple[int, int]:
    """Cells between neighbours of a level's grid, down and across."""
    down, across = (1 << min(level, level_of(size)) for size in shape)
    return down, across


def on_lattice(shape: tuple[int, ...], spacing: tuple[int, int]) -> Bool[np.ndarray, "Y X"]:
    """Which cells stand on the grid of a spacing."""
    found = np.zeros(shape, bool)
    found[np.ix_(*(lattice(*pair) for pair in zip(shape, spacing, strict=True)))] = True
    return found


def block_ranges(labels: Any, computed: Any, spacing: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest label computed in each block, its ends included; the other way round where there is none."""
    return (
        _over_blocks(np.minimum, np.where(computed, labels, np.iinfo(int).max), spacing),
        _over_blocks(np.maximum, np.where(computed, labels, UNKNOWN), spacing),
    )


def _over_blocks(operation, values, spacing):
    for axis, apart in enumerate(spacing):
        points = lattice(values.shape[axis], apart)
        ends = np.take(values, points[1:], axis=axis)
        values = operation(operation.reduceat(values, points[:-1], axis=axis), ends)
    return values


def by_cells(blocks: np.ndarray, shape: tuple[int, ...], spacing: tuple[int, int]) -> np.ndarray:
    """What holds of blocks, of their cells but those at their right and lower ends, [Y - 1, X - 1]."""
    for axis, pair in enumerate(zip(shape, spacing, strict=True)):
        blocks = np.repeat(blocks, np.diff(lattice(*pair)), axis=axis)
    return blocks


def spread(
    blocks: Bool[np.ndarray, "J I"], shape: tuple[int, ...], spacing: tuple[int, int]
) -> Bool[np.ndarray, "Y X"]:
    """Which cells lie in blocks, their ends included."""
    inside, found = by_cells(blocks, shape, spacing), np.zeros(shape, bool)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            found[rows, columns] |= inside
    return found


def grown(flags: Bool[np.ndarray, "J I"]) -> Bool[np.ndarray, "J I"]:
    """Flags and all their eight neighbours."""
    for axis in range(2):
        padded = np.pad(flags, [(1, 1) if other == axis else (0, 0) for other in range(2)])
        size = flags.shape[axis]
        flags = functools.reduce(np.logical_or, [np.take(padded, range(at, at + size), axis=axis) for at in range(3)])
    return flags
