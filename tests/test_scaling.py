import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from gdx.problems.data import bundled, scale_features
from gdx.problems.scaling import SCALINGS, min_max, robust, standardise

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(5)
TRAIN = RNG.normal(size=(41, 4)) * [1.0, 100.0, 1e-4, 3.0] + [5.0, -30.0, 0.0, 1e3]
TEST = 2.0 * RNG.normal(size=(7, 4)) + [5.0, -30.0, 0.0, 1e3]
PEERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}
EVERY_SCALING = pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)


@pytest.mark.parametrize("name", SCALINGS)
def test_training_and_test_data_are_scaled_by_the_training_fit_as_in_scikit_learn(name):
    scaling, peer = SCALINGS[name], PEERS[name]().fit(TRAIN)
    state = scaling.fit(TRAIN)
    for features in (TRAIN, TEST):
        expected = peer.transform(features)
        np.testing.assert_allclose(scaling.apply(state, features), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(scaling.invert(state, expected), features, rtol=1e-12)


@pytest.mark.parametrize("name", SCALINGS)
def test_real_data_with_blank_pixels_are_scaled_as_in_scikit_learn(name):
    for data in ("digits", "diabetes"):
        features = bundled(data).features
        first, third = np.quantile(features, [0.25, 0.75], axis=0)
        # Where scikit-learn's robust scaler keeps a column's own unit, gdx divides by the range.
        same = (first < third) | (np.ptp(features, axis=0) == 0) | (name != "robust")
        expected = PEERS[name]().fit_transform(features)[:, same]
        np.testing.assert_allclose(scale_features(features, name)[:, same], expected, rtol=1e-12, atol=1e-12)


def test_each_scaling_puts_its_own_measure_at_zero_and_one():
    scaled = {name: scale_features(TRAIN, name) for name in SCALINGS}
    np.testing.assert_allclose(scaled["standard"].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled["standard"].std(axis=0), 1, rtol=1e-12)
    np.testing.assert_array_equal([scaled["minmax"].min(axis=0), scaled["minmax"].max(axis=0)], [[0] * 4, [1] * 4])
    np.testing.assert_array_equal(np.median(scaled["robust"], axis=0), 0)
    first, third = np.quantile(scaled["robust"], [0.25, 0.75], axis=0)
    np.testing.assert_allclose(third - first, 1, rtol=1e-12)


def test_an_outlier_moves_every_scaling_but_the_robust_one():
    wild = TRAIN.copy()
    wild[wild.argmax(axis=0), np.arange(4)] *= np.where(wild.max(axis=0) > 0, 1e3, -1e3)
    moved = {name: np.any(scaling.fit(wild).spread != scaling.fit(TRAIN).spread) for name, scaling in SCALINGS.items()}
    assert moved == {"standard": True, "minmax": True, "robust": False}


def test_a_rare_indicator_is_divided_by_its_range_where_its_quartiles_coincide():
    indicator = np.zeros((40, 1))
    indicator[:3] = 8.0
    state = robust.fit(indicator)
    assert (state.offset, state.spread) == (0.0, 8.0)
    np.testing.assert_array_equal(robust.apply(state, indicator), indicator / 8)


MATRICES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        hnp.arrays(float, st.tuples(st.integers(1, 8), st.just(width)), elements=st.floats(-1e6, 1e6)),
        hnp.arrays(float, st.tuples(st.integers(1, 4), st.just(width)), elements=st.floats(-1e6, 1e6)),
    )
)


@EVERY_SCALING
@settings(max_examples=30, deadline=None, derandomize=True)
@given(matrices=MATRICES)
def test_inverting_undoes_applying_on_data_of_the_fit_and_on_others(scaling, matrices):
    train, other = matrices
    state = scaling.fit(train, constant="zero")
    for features in (train, other):
        back = scaling.invert(state, scaling.apply(state, features))
        rounding = 8 * np.finfo(float).eps * np.maximum(abs(features), abs(state.offset))
        # Products below the smallest normal number lose digits, in proportion to the spread.
        assert np.all(abs(back - features) <= rounding + np.finfo(float).tiny * (1 + state.spread))


@EVERY_SCALING
def test_compiled_and_batched_calls_give_what_numpy_gives(scaling):
    @jax.jit
    def compiled(states, features):
        one = jax.tree.map(lambda leaf: leaf[0], states)
        by_matrix = scaling.apply(one, features)
        by_row = jax.vmap(scaling.apply, (None, 0))(one, features)
        by_state = jax.vmap(scaling.apply, (0, None))(states, features)
        back = jax.vmap(scaling.invert, (None, 0))(one, by_matrix), jax.vmap(scaling.invert)(states, by_state)
        return by_matrix, by_row, by_state, scaling.invert(one, by_matrix), back

    states = [scaling.fit(TRAIN), scaling.fit(TRAIN**2)]
    expected = [scaling.apply(state, TEST) for state in states]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    by_matrix, by_row, by_state, inverted, (back, backs) = compiled(stacked, TEST)
    for found, wanted in (
        (by_matrix, expected[0]),
        (by_row, expected[0]),
        (by_state, np.stack(expected)),
        (inverted, TEST),
        (back, TEST),
        (backs, np.stack([TEST, TEST])),
    ):
        chex.assert_trees_all_close(np.asarray(found), wanted, rtol=1e-12, atol=1e-12)


def test_one_example_and_a_batch_of_matrices_are_scaled_as_a_matrix_is():
    state = standardise.fit(TRAIN)
    scaled = standardise.apply(state, TEST)
    np.testing.assert_array_equal(standardise.apply(state, TEST[2]), scaled[2])
    np.testing.assert_array_equal(standardise.apply(state, np.stack([TEST, -TEST]))[0], scaled)
    np.testing.assert_array_equal(standardise.apply(state, TEST.tolist()), scaled)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("module", [np, jnp])
def test_a_floating_dtype_stays_and_is_rounded_once(module, dtype):
    features = module.asarray(TRAIN[:, :2], dtype=dtype)
    state = standardise.fit(features)
    scaled = standardise.apply(state, features)
    assert state.offset.dtype == state.spread.dtype == np.float64
    assert scaled.dtype == standardise.invert(state, scaled).dtype == dtype
    exact = standardise.apply(state, np.asarray(features).astype(float))
    np.testing.assert_array_equal(np.asarray(scaled), exact.astype(dtype))


def test_integers_and_booleans_become_floating():
    features = np.array([[0, 1], [4, 0], [2, 1]])
    for given_as in (features, jnp.asarray(features), features.astype(bool)):
        scaled = min_max.apply(min_max.fit(given_as), given_as)
        np.testing.assert_array_equal(scaled, given_as / np.max(given_as, axis=0)[None])
        assert scaled.dtype == np.float64


@EVERY_SCALING
@pytest.mark.parametrize(
    "column",
    [
        np.full(10_000, 0.1),
        np.where(np.arange(99) % 2, 0.3, 0.1 + 0.2),
        np.where(np.arange(99) % 2, 1e20, np.nextafter(1e20, 0)),
        np.where(np.arange(99) % 2, 1e9, np.nextafter(np.float32(1e9), np.float32(0))).astype(np.float32),
        np.where(np.arange(99) % 2, 0.0, 5e-324),
        np.zeros(1),
    ],
    ids=["repeated", "rounded", "rounded and large", "rounded in float32", "subnormal", "one row"],
)
def test_a_column_that_is_constant_up_to_rounding_is_refused_or_becomes_zero_and_back(scaling, column):
    features = column[:, None]
    with pytest.raises(ValueError, match="column 0 is constant"):
        scaling.fit(features)
    state = scaling.fit(features, constant="zero")
    scaled = scaling.apply(state, features)
    epsilon = np.finfo(features.dtype).eps
    np.testing.assert_allclose(scaled, 0, atol=4 * epsilon)
    np.testing.assert_allclose(scaling.invert(state, scaled), features, rtol=epsilon)


@EVERY_SCALING
@pytest.mark.parametrize("factor", [1e-300, 1e-170, 1e170, 1e300])
def test_the_unit_of_a_column_does_not_matter_however_extreme(scaling, factor):
    expected = scaling.apply(scaling.fit(TRAIN), TRAIN)
    found = scaling.apply(scaling.fit(TRAIN * factor), TRAIN * factor)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_features_stay_as_they_are_without_a_scale():
    features = np.column_stack([TRAIN, np.ones(41)])
    np.testing.assert_array_equal(scale_features(features, None, constant="error"), features)


def test_constant_features_become_zero_unless_that_is_an_error():
    features = np.column_stack([TRAIN, np.full(41, 7.0)])
    for name in SCALINGS:
        np.testing.assert_array_equal(scale_features(features, name)[:, 4], 0)
        with pytest.raises(ValueError, match="column 4 is constant"):
            scale_features(features, name, constant="error")


def with_entries(value, *places):
    features = TRAIN.copy()
    for place in places:
        features[place] = value
    return features


CONSTANT_REMEDY = "constant and cannot be scaled; drop {} (the bias does {} work), or pass constant='zero'"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: robust.fit(with_entries(np.nan, (3, 2), (8, 2))),
            "features: column 2 has 2 values that are not finite; impute or drop them first",
        ),
        (
            lambda: robust.fit(with_entries(-np.inf, (3, 2)), constant="zero"),
            "features: column 2 has 1 value that is not finite; impute or drop them first",
        ),
        (
            lambda: scale_features(with_entries(np.nan, (3, 1), (4, 1), (3, 3)), None),
            "features: columns 1, 3 have 3 values that are not finite; impute or drop them first",
        ),
        (
            lambda: standardise.fit(with_entries(7.0, np.s_[:, 1])),
            "features: column 1 is " + CONSTANT_REMEDY.format("it", "its"),
        ),
        (
            lambda: min_max.fit(with_entries(7.0, np.s_[:, 1], np.s_[:, 3])),
            "features: columns 1, 3 are " + CONSTANT_REMEDY.format("them", "their"),
        ),
        (
            lambda: min_max.fit(np.ones((3, 9))),
            "features: columns 0, 1, 2, 3, 4 and 4 more are " + CONSTANT_REMEDY.format("them", "their"),
        ),
        (
            lambda: min_max.fit(np.array([[1.7e308], [-1.7e308]])),
            "features: column 0 is wider than the largest float64; change the unit first",
        ),
        (
            lambda: standardise.fit(TRAIN[0]),
            "features: shape (4,) is not [M, F]; pass a matrix, one row an example",
        ),
        (
            lambda: standardise.fit(TRAIN[:0]),
            "features: shape (0, 4) is not [M, F]; pass a matrix, one row an example",
        ),
        (
            lambda: standardise.fit([["red"], ["blue"]]),
            "features: dtype <U4 is not real numbers; encode them as numbers first",
        ),
        (
            lambda: standardise.fit(TRAIN * 1j),
            "features: dtype complex128 is not real numbers; encode them as numbers first",
        ),
        (
            lambda: jax.eval_shape(standardise.fit, TRAIN),
            "features: a traced array has no values to fit on; fit outside jit and pass the state in",
        ),
        (
            lambda: standardise.apply(standardise.fit(TRAIN), TEST[:, :1]),
            "features: shape (7, 1) does not fit a state of 4 columns; pass [..., F]",
        ),
        (
            lambda: standardise.invert(standardise.fit(TRAIN), 1.0),
            "scaled: shape () does not fit a state of 4 columns; pass [..., F]",
        ),
        (lambda: robust.fit(TRAIN, constant="drop"), "constant: 'drop' is unknown; choose 'error' or 'zero'"),
        (
            lambda: scale_features(TRAIN, "log"),
            "scale: 'log' is unknown; choose 'standard', 'minmax', 'robust' or None",
        ),
    ],
)
def test_what_cannot_be_scaled_is_refused_word_by_word(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
