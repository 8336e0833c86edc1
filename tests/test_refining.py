"""Which cells of a map are computed, how the rest is filled in, and whether its audit says the truth."""

import numpy as np
import pytest
from label_maps import KINDS, circle, specks, waves
from scipy.special import bdtr

from gdx.maps import Audit, refine
from gdx.maps.auditing import bound_of_map, error_of_round, upper_bound
from gdx.maps.refining import Canvas, grown, lattice


class Known:
    """A map that is known everywhere, and what was asked of it."""

    def __init__(self, labels):
        self.labels, self.asked = labels, []

    def __call__(self, cells):
        self.asked.append(np.asarray(cells))
        return self.labels.flat[cells]


def refined(labels, **options):
    known = Known(labels)
    found = refine(labels.shape, known, **options)
    cells = np.concatenate(known.asked)
    assert len(np.unique(cells)) == len(cells), "a cell was computed twice"
    assert np.array_equal(np.sort(cells), np.flatnonzero(found.computed))
    assert np.array_equal(found.labels[found.computed], labels[found.computed])
    return found


def wrong_share(found, labels):
    return float(np.mean(found.labels != labels))


def test_the_bound_covers_the_truth_on_random_maps_of_every_kind():
    """Islands and fractals among them, which a coarse grid misses; 120 maps."""
    covered = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        labels = KINDS[seed % len(KINDS)](80, rng)
        found = refined(labels, max_wrong=1e-2, seed=seed)
        assert found.audit.bound < 1e-2
        covered.append(wrong_share(found, labels) <= found.audit.bound)
    assert np.mean(covered) >= 0.95


def test_the_bound_covers_the_truth_where_many_audits_fail_before_one_succeeds():
    """As many specks as are just too many: each further round is another chance to succeed by luck."""
    covered, rounds = [], []
    for seed in range(100):
        labels = specks(96, np.random.default_rng(seed))
        found = refined(labels, max_wrong=1e-2, seed=seed + 1)
        covered.append(wrong_share(found, labels) <= found.audit.bound)
        rounds.append(len(found.audit.rounds))
    assert np.mean(rounds) > 2.5
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize("kind", [circle, pytest.param(waves, marks=pytest.mark.slow)])
def test_smooth_boundaries_cost_under_a_twentieth_of_a_large_map(kind):
    labels = kind(1024, np.random.default_rng(3))
    found = refined(labels)
    assert np.mean(found.computed) < 0.05
    assert wrong_share(found, labels) < 1e-4
    assert found.audit.bound < 1e-3


def test_a_dense_map_is_all_computed_and_proved():
    labels = waves(40, np.random.default_rng(0))
    found = refined(labels, dense=True)
    assert found.computed.all()
    assert found.audit == Audit.of_dense()
    assert str(found.audit) == "every cell was computed"


def test_a_boundary_everywhere_makes_the_map_dense():
    labels = np.random.default_rng(0).integers(0, 2, (70, 90))
    found = refined(labels)
    assert found.computed.all()
    assert found.audit.bound == 0


def test_a_map_of_one_label_costs_its_coarse_grid_and_its_audit():
    found = refined(np.ones((512, 512), int))
    coarse = len(lattice(512, 16)) ** 2
    assert np.sum(found.computed) == coarse + found.audit.checked
    assert found.audit.wrong == 0
    assert 3_000 < found.audit.checked < 4_000


@pytest.mark.parametrize("shape", [(2, 2), (2, 300), (300, 3), (65, 64), (129, 511)])
def test_maps_of_any_shape_are_filled_in(shape):
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    labels = (3 * y / shape[0] + 2 * x / shape[1] > 2).astype(int).reshape(shape)
    found = refined(labels, max_wrong=5e-2)
    assert np.all(found.labels >= 0)
    assert wrong_share(found, labels) < 1e-2


def test_an_axis_of_few_cells_costs_the_other_one_nothing():
    labels = (np.arange(512)[:, None] > np.array([100, 110, 130])).astype(int)
    found = refined(labels, max_wrong=0.05)
    assert np.array_equal(found.labels, labels)
    assert np.mean(found.computed) < 0.4


def test_an_island_that_the_audit_meets_is_found_whole():
    """Nine cells wide, between points 16 apart: unseen by the coarse grid, 4e-4 of the map."""
    labels = np.zeros((512, 512), int)
    labels[261:270, 261:270] = 1
    found = [refined(labels, max_wrong=4e-4, seed=seed) for seed in range(3)]
    assert any(wrong_share(one, labels) == 0 for one in found)
    assert all(one.audit.bound < 4e-4 and wrong_share(one, labels) in (0, 81 / 512**2) for one in found)


def test_what_is_known_before_is_not_computed_again():
    labels = circle(128, np.random.default_rng(1))
    before = np.where(np.arange(128) % 2, labels, -1)
    known = Known(labels)
    found = refine((128, 128), known, known=before, max_wrong=1e-2)
    assert not np.any(before.flat[np.concatenate(known.asked)] >= 0)
    assert found.computed[:, 1::2].all()
    assert wrong_share(found, labels) == 0


def test_labels_may_change_while_others_come_in():
    """A run may train only until a better one is seen."""
    values = np.add.outer(np.arange(100.0), np.arange(120.0))
    seen = np.zeros(values.shape, bool)

    def revised():
        return (values < 0.5 * values[seen].max()).astype(int)

    def evaluate(cells):
        seen.flat[cells] = True
        return revised().flat[cells]

    found = refine(values.shape, evaluate, revised=revised, max_wrong=1e-2)
    assert np.mean(found.computed) < 0.5
    assert np.array_equal(found.labels, values < 0.5 * values.max())


@pytest.mark.parametrize("calls", [1, 3])
def test_an_interrupted_map_keeps_what_was_computed(calls):
    labels, made = circle(128, np.random.default_rng(1)), []

    def evaluate(cells):
        made.append(cells)
        half = np.arange(len(cells)) < len(cells) // 2
        return np.where(half | (len(made) < calls), labels.flat[cells], -1)

    found = refine((128, 128), evaluate)
    assert found.interrupted
    assert np.isnan(found.audit.bound)
    assert str(found.audit) == "not audited"
    assert np.array_equal(found.labels[found.computed], labels[found.computed])
    assert 0 < np.sum(found.computed) < 128**2


def test_refining_after_an_audit_changes_nothing_that_stays_filled_in():
    """Else the audit would be of another map."""
    labels = np.zeros((512, 512), int)
    labels[20:23, 8:23] = 1
    canvas = Canvas(labels.shape, Known(labels))
    canvas.settle()
    before = canvas.filled()
    canvas.add(np.arange(512 * 512).reshape(512, 512) == 21 * 512 + 10)
    canvas.keep(before)
    after = canvas.filled()
    assert np.array_equal(after[~canvas.computed], before[~canvas.computed])
    assert np.sum(after != labels) < np.sum(before != labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (1, 8)}, "shape: .* is no map"),
        ({"max_wrong": 0.0}, r"max_wrong: 0.0 is no number in \(0, 1\)"),
        ({"evaluate": lambda cells: np.zeros(3, int)}, r"evaluate: it gives int64\[3\] for 64 cells"),
        ({"evaluate": lambda cells: cells / 2}, r"evaluate: it gives float64\[64\]"),
    ],
)
def test_what_is_no_map_of_labels_is_refused(change, message):
    whole = {"shape": (8, 8), "evaluate": lambda cells: cells % 2, "max_wrong": 1e-3} | change
    with pytest.raises(ValueError, match=message):
        refine(**whole)


def test_a_block_next_to_a_mixed_one_is_halved_too():
    flags = np.zeros((5, 6), bool)
    flags[0, 2] = True
    expected = np.zeros((5, 6), bool)
    expected[:2, 1:4] = True
    assert np.array_equal(grown(flags), expected)


def test_the_bound_of_a_share_is_the_textbooks():
    """The share at which so few would be wrong with the error's own probability."""
    for wrong, checked in ((0, 3_000), (1, 50), (7, 900)):
        assert bdtr(wrong, checked, upper_bound(wrong, checked, 0.05)) == pytest.approx(0.05, rel=1e-9)
    assert upper_bound(0, 3_000, 0.05) == pytest.approx(1 - 0.05 ** (1 / 3_000), rel=1e-9)
    assert upper_bound(5, 5, 0.05) == upper_bound(0, 0, 0.05) == 1


def test_all_rounds_together_spend_no_more_than_a_twentieth():
    assert sum(error_of_round(number) for number in range(1_000)) <= 0.05 + 1e-12


def test_what_an_audit_drew_no_longer_counts_as_filled_in():
    assert bound_of_map(0, 100, 100, 1_000, 0.05) == 0
    assert bound_of_map(3, 100, 1_000, 2_000, 0.05) == pytest.approx(
        (1_000 * upper_bound(3, 100, 0.05) - 3) / 2_000, rel=1e-12
    )
