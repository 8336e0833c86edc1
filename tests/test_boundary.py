"""How rough a boundary is: intervals that hold known dimensions, and verdicts beside controls."""

import math

import boundaries
import matplotlib.pyplot as plt
import numpy as np
import pytest
from boundaries import FAMILIES, WINDOWS, map_of

import gdx
from gdx.maps import (
    Roughness,
    basin_entropy,
    boundary_statistics,
    box_dimension,
    change_counts,
    line_dimension,
    power_law,
    uncertainty_exponent,
)

DISTANCES = 2.0 ** (-np.arange(30, 9, -1) / 2)
"""Down to 3e-5, where a displaced graph still has halvings left."""


def in_unit_square(labels_of):
    window = np.array(WINDOWS[labels_of], float)
    return lambda points: labels_of(window[:, 0] + points * (window[:, 1] - window[:, 0]))


def holds(dimension, known):
    return dimension.lower <= known <= dimension.upper


@pytest.mark.parametrize("family", FAMILIES)
def test_intervals_hold_the_dimension_of_a_few_boundaries(family):
    found = []
    for seed in range(3):
        known, labels_of = FAMILIES[family](np.random.default_rng(seed))
        labels = map_of(labels_of, 256)
        pairs = uncertainty_exponent(labels_of=labels_of, distances=DISTANCES[:14], max_pairs=8_192, seed=seed)
        found += [(known, road) for road in (box_dimension(labels), uncertainty_exponent(labels), pairs)]
    told = [(known, road) for known, road in found if not road.note]
    assert len(told) >= 3
    missed = [(known, road.value, road.error) for known, road in told if not holds(road, known)]
    assert len(missed) <= 1, missed


@pytest.mark.slow
@pytest.mark.parametrize("road", ["boxes of a map", "pairs of a map", "pairs of a function"])
def test_95_of_100_intervals_hold_the_dimension(road):
    told, missed = 0, []
    for name, family in FAMILIES.items():
        for seed in range(500, 530):
            known, labels_of = family(np.random.default_rng(seed))
            if road == "pairs of a function":
                found = uncertainty_exponent(labels_of=labels_of, distances=DISTANCES, seed=seed)
            else:
                measure = box_dimension if road == "boxes of a map" else uncertainty_exponent
                found = measure(map_of(labels_of, 512))
            told += not found.note
            if not (found.note or holds(found, known)):
                missed.append((name, seed, known, found.value, found.error))
    for seed in range(500, 515):
        known, labels = boundaries.koch(np.random.default_rng(seed), 512)
        if road != "pairs of a function":
            found = box_dimension(labels) if road == "boxes of a map" else uncertainty_exponent(labels)
            told += not found.note
            if not (found.note or holds(found, known)):
                missed.append(("koch", seed, known, found.value, found.error))
    assert told >= 150
    assert len(missed) <= 0.05 * told, missed


@pytest.mark.slow
def test_few_intervals_are_so_wide_that_they_say_nothing():
    for family in ("line", "wave", "disks"):
        errors = []
        for seed in range(10):
            labels = map_of(FAMILIES[family](np.random.default_rng(seed))[1], 512)
            errors.append(min(box_dimension(labels).error, uncertainty_exponent(labels).error))
        assert np.median(errors) < 0.07, family


def test_newtons_method_has_the_known_dimension_by_both_roads():
    labels = map_of(in_unit_square(boundaries.newton), 512)
    boxes, pairs = box_dimension(labels), uncertainty_exponent(labels)
    assert holds(boxes, 1.42)
    assert boxes.error < 0.1
    assert pairs.exponent + pairs.error >= 0.55
    assert pairs.exponent - pairs.error <= 0.65
    assert pairs.error < 0.05


@pytest.mark.slow
def test_newtons_method_is_fractal_down_to_a_hundred_thousandth_of_the_window():
    found = boundary_statistics(
        labels_of=boundaries.newton, window=WINDOWS[boundaries.newton], resolution=1024, horizon=60
    )
    assert found.verdict is Roughness.FRACTAL
    assert holds(found.box, 1.42)
    assert 0.55 - found.uncertainty.error <= found.uncertainty.exponent <= 0.65
    assert found.uncertainty.scales[0] < 1e-4
    assert found.entropy.is_fractal
    assert {control.verdict for control in found.controls.values()} == {Roughness.SMOOTH}


@pytest.mark.slow
def test_grebogis_map_has_the_known_exponent_and_entropies():
    found = boundary_statistics(
        labels_of=boundaries.grebogi, window=WINDOWS[boundaries.grebogi], resolution=200, horizon=100
    )
    assert found.verdict is Roughness.FRACTAL
    # Published to one digit, .2.
    assert round(found.uncertainty.exponent, 1) == 0.2
    assert found.uncertainty.exponent + 2 * found.uncertainty.error >= 0.2
    entropy = found.entropy
    assert entropy.value + entropy.error >= 0.40
    assert entropy.value - entropy.error <= 0.42
    assert entropy.boundary + entropy.boundary_error >= 0.60
    assert entropy.boundary - entropy.boundary_error <= 0.61
    # The boundary fills the boxes of any map, so that both roads are of a function.
    assert found.box.scales[0] < 1e-4
    assert abs(found.box.value - found.uncertainty.value) <= found.box.error + found.uncertainty.error
    assert "fills the window" in box_dimension(map_of(in_unit_square(boundaries.grebogi), 512)).note


@pytest.mark.slow
def test_henons_basin_is_smooth():
    labels = map_of(in_unit_square(boundaries.henon), 1024)
    assert boundary_statistics(labels, horizon=100).verdict is Roughness.SMOOTH


@pytest.mark.slow
def test_no_smooth_boundary_is_called_fractal_nor_the_other_way_round():
    for seed in range(700, 720):
        for name, family in FAMILIES.items():
            known, labels_of = family(np.random.default_rng(seed))
            verdict = boundary_statistics(map_of(labels_of, 512), horizon=200).verdict
            wrong = Roughness.FRACTAL if known == 1 else Roughness.SMOOTH
            if known > 1.25 or known == 1:
                assert verdict is not wrong, (name, seed, known)


def test_one_boundary_through_the_whole_pipeline_is_smooth_and_drawn_beside_its_controls():
    disk = map_of(lambda points: (np.hypot(*(points - 0.52).T) < 0.34).astype(int), 256)
    found = boundary_statistics(disk, horizon=100)
    assert found.verdict is Roughness.SMOOTH, found.note
    assert abs(found.dimension - 1) <= found.error
    assert set(found.controls) == {"quadratic", "ellipse"}
    assert all(control.resolution == (256, 256) and control.horizon == 100 for control in found.controls.values())
    boxes, pairs = gdx.plots.boundary(found, title="a disk")
    for panel in (boxes, pairs):
        texts = [text.get_text() for text in panel.get_legend().get_texts()]
        assert [text.split(":")[0] for text in texts] == [
            "this boundary", "quadratic", "ellipse", "slope of a smooth one"
        ]  # fmt: skip
    assert "smooth" in boxes.figure.get_suptitle()
    plt.close(boxes.figure)


def test_a_verdict_needs_controls_that_come_out_smooth():
    rough = gdx.maps.Control(in_unit_square(boundaries.newton), ((0, 1), (0, 1)))
    disk = map_of(lambda points: (np.hypot(*(points - 0.52).T) < 0.34).astype(int), 256)
    found = boundary_statistics(disk, controls={"rough": rough})
    assert found.verdict is Roughness.UNDECIDED
    assert "'rough'" in found.note


def test_roads_that_disagree_give_no_dimension_but_a_reason():
    disk = map_of(lambda points: (np.hypot(*(points - 0.52).T) < 0.34).astype(int), 256)
    boxes = box_dimension(disk)
    pairs = uncertainty_exponent(map_of(in_unit_square(boundaries.newton), 256))
    from gdx.maps.boundaries.statistics import _agreed

    found = _agreed(boxes, pairs, basin_entropy(disk), (256, 256), None)
    assert math.isnan(found.dimension)
    assert found.note.startswith("two roads disagree")


def test_labels_without_a_boundary_or_with_one_spot_of_it_have_no_dimension():
    plain = np.zeros((256, 256), int)
    spot = plain.copy()
    spot[100:104, 100:104] = 1
    tiny = np.eye(64, dtype=int)
    assert boundary_statistics(tiny, controls={}).verdict is Roughness.UNDECIDED
    for labels, why in ((plain, "no boundary"), (spot, "")):
        found = boundary_statistics(labels, controls={})
        assert found.verdict is Roughness.UNDECIDED
        assert math.isnan(found.dimension)
        assert why in found.note
        assert found.note
    assert basin_entropy(plain).value == 0
    assert math.isnan(basin_entropy(plain).boundary)


def test_noise_at_every_point_fills_the_window():
    labels = np.random.default_rng(0).integers(0, 2, (256, 256))
    assert "fills the window" in box_dimension(labels).note
    assert "fills the window" in uncertainty_exponent(labels).note


def test_labels_may_be_any_whole_numbers():
    labels = map_of(FAMILIES["disks"](np.random.default_rng(1))[1], 200)
    named = np.array([7_000_000_000, -3, 12, 40, 5, 6, 9])[labels]
    for measure in (box_dimension, uncertainty_exponent, basin_entropy):
        assert str(measure(labels)) == str(measure(named))


def test_a_map_need_not_be_square():
    known, labels_of = FAMILIES["wave"](np.random.default_rng(3))
    labels = map_of(labels_of, 512)[::2]
    assert holds(box_dimension(labels), known)
    assert holds(uncertainty_exponent(labels), known)


def test_the_entropy_of_straight_lines_and_of_noise_is_that_of_counting():
    def entropy(shares):
        return -sum(share * math.log(share) for share in shares if share)

    lines = np.zeros((500, 500), int)
    places = np.arange(10, 490, 8)
    for place in places:
        lines[:, place:] += 1
    split = [place % 5 for place in places if place % 5]
    known = np.mean([entropy([k / 5, 1 - k / 5]) for k in split])
    assert basin_entropy(lines).boundary == pytest.approx(known, rel=1e-12)
    assert basin_entropy(lines).value == pytest.approx(known * len(split) / 100, rel=1e-12)

    covered, expected = 0, sum(math.comb(25, k) * entropy([k / 25, 1 - k / 25]) for k in range(26)) / 2**25
    for seed in range(40):
        found = basin_entropy(np.random.default_rng(seed).integers(0, 2, (160, 160)))
        covered += abs(found.value - expected) <= found.error
    assert covered >= 36


def test_only_an_entropy_above_ln_2_tells_a_fractal():
    newton = basin_entropy(map_of(in_unit_square(boundaries.newton), 512))
    assert newton.is_fractal
    assert newton.boundary > math.log(2)
    assert not basin_entropy(map_of(FAMILIES["nearest"](np.random.default_rng(0))[1], 512)).is_fractal


def test_changes_along_a_line_are_counted_on_every_halving():
    labels = np.array([0, 1, 1, 0, 0, 0, 2, 0, 1])
    assert change_counts(labels).tolist() == [1, 1, 4, 5]


@pytest.mark.parametrize("ratio", [0.2, 0.3, 1 / 3, 0.4, 0.45])
def test_a_cantor_set_on_a_line_has_its_dimension(ratio):
    x, labels = np.linspace(-0.05, 1.1, 2**15 + 1), np.zeros(2**15 + 1, int)
    inside = (x >= 0) & (x <= 1)
    for k in range(1, 30):
        gap = inside & (x > ratio) & (x < 1 - ratio)
        labels[gap], inside = k % 2, inside & ~gap
        x = np.where(x < 0.5, x / ratio, (x - 1 + ratio) / ratio)
    found = line_dimension(labels)
    assert holds(found, math.log(2) / math.log(1 / ratio)), (found.value, found.error)
    assert found.error < 0.25


def test_points_on_a_line_have_dimension_0():
    found = line_dimension(np.sin(np.linspace(0, 60, 2**14 + 1)) > 0.3)
    assert holds(found, 0)
    assert found.error < 0.05


def test_a_curve_that_is_straight_nowhere_has_no_exponent():
    scales = 2.0 ** np.arange(8)
    hits = np.tile(100 * np.exp(-((np.log(scales) - 2.5) ** 2)), (16, 1))
    found = power_law(hits, np.full_like(hits, 1e6), scales)
    assert math.isnan(found.exponent)
    assert "bent" in found.note


def test_the_control_of_the_ellipse_is_that_of_theory():
    control = gdx.maps.ellipse_control(500)
    generator = np.random.default_rng(5)
    (left, right), (low, high) = control.window
    points = generator.uniform((left, low), (right, high), (5_000, 2))
    inside = np.sum(points**2, axis=1) - 0.4 * points[:, 0] * points[:, 1] - 9.6
    clear = np.abs(inside) > 1e-3
    assert np.array_equal(control.labels_of(points)[clear], (inside < 0)[clear].astype(int))


@pytest.mark.usefixtures("quick_compilation_here")
def test_the_published_counts_of_the_cosine_come_out_within_4():
    found = gdx.studies.cosine_changes(11)
    assert found.worst <= 4
    assert found.counts.tolist()[:9] == [1, 1, 1, 1, 3, 5, 7, 13, 21]
    counts, line = gdx.plots.cosine_changes(found)
    assert counts.lines[0].get_ydata()[-1] == 57
    assert line.get_legend() is not None
    plt.close(counts.figure)


@pytest.mark.slow
def test_the_slope_of_the_cosine_is_the_published_one():
    assert gdx.studies.cosine_changes(15).worst <= 4
    found = gdx.studies.cosine_changes(18)
    assert abs(found.slope - 0.839) < 0.01
    assert abs(found.slope - 0.839) < found.slope_error < 0.05
    assert found.agrees
    assert holds(found.dimension, 0.839)
    added = gdx.studies.cosine_changes(18, form="added")
    assert abs(added.slope - 1.03) < added.slope_error
    assert added.dimension.note


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: box_dimension(), "labels: give either"),
        (lambda: box_dimension(np.zeros((100, 100))), "labels: type float64"),
        (lambda: box_dimension(np.zeros((10, 100), int)), "labels: shape"),
        (lambda: uncertainty_exponent(labels_of=lambda points: points), "labels_of: shape"),
        (lambda: uncertainty_exponent(labels_of=lambda points: 1 / 0), "labels_of: it raises ZeroDivisionError"),
        (lambda: uncertainty_exponent(labels_of=boundaries.henon, window=((1, 0), (0, 1))), "window:"),
        (lambda: uncertainty_exponent(labels_of=boundaries.henon, distances=[0.1, 0.7]), "distances:"),
        (lambda: box_dimension(labels_of=boundaries.henon, sizes=[-1]), "sizes:"),
        (lambda: uncertainty_exponent(labels_of=boundaries.henon, max_pairs=3), "max_pairs:"),
        (lambda: power_law([[1, 2]], [[3, 3]], [2, 1]), "scales:"),
        (lambda: power_law([[1, 2]], [[3, 3]], [1, 2, 3]), "hits: shape"),
        (lambda: power_law([[1, 4]], [[3, 3]], [1, 2]), "hits: some"),
        (lambda: boundary_statistics(), "labels: neither"),
        (lambda: boundary_statistics(labels_of=boundaries.henon, resolution=3), "resolution:"),
        (lambda: boundary_statistics(np.eye(100, dtype=int), horizon=0), "horizon:"),
        (lambda: basin_entropy(np.eye(100, dtype=int), box=60), "box:"),
        (lambda: change_counts(np.zeros(10, int)), "labels: 10 points"),
        (lambda: line_dimension([0, 1]), "labels: shape"),
        (lambda: gdx.studies.cosine_changes(2), "levels:"),
        (lambda: gdx.studies.cosine_changes(40), "levels:"),
        (lambda: gdx.studies.cosine_changes(form="divided"), "form:"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(call, says):
    with pytest.raises(ValueError, match=f"^{says}") as caught:
        call()
    assert "\n" not in str(caught.value)
