"""Networks in three parameterisations: what their factors are, and what is said of step sizes against width."""

import functools
import json
import math
import re

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from typer.testing import CliRunner

import gdx
from gdx import plots, reports
from gdx.cli import app
from gdx.cli.console import show
from gdx.edges import Bracket
from gdx.studies.stability import Curve, Trust
from gdx.studies.transfer import Cell, LinearCell, Transfer
from gdx.studies.transfer.linear import is_gradient_descent, linear_network, measure_linear, predicted_edge
from gdx.studies.transfer.slopes import law_of, laws_of, linear_laws_of
from gdx.studies.transfer.study import optimizer_of
from gdx.verdicts import TrainingVerdict

ALL = gdx.problems.PARAMETERISATIONS
SETTINGS = {
    "problem": "digits network",
    "optimizer": "sgd",
    "hyperparameters": {"momentum": None},
    "num_steps": 100,
    "repeats": 3,
    "seed": 0,
    "precision": "float32",
    "scale": None,
    "batch_size": 64,
    "replacement": False,
}


@pytest.fixture(autouse=True)
def _precision_stays_as_it_is():
    yield
    jax.config.update("jax_enable_x64", True)


def random_examples(number=12, features=5):
    drawn = jax.random.normal(jax.random.key(7), (number, features))
    return np.asarray(drawn), np.arange(number) % 3


def trained(problem, transformation, num_steps, key):
    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda params: problem.loss(params, (), None)[0])(params)
        updates, state = transformation.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params, _ = problem.init(key)
    state = transformation.init(params)
    for _ in range(num_steps):
        params, state = step(params, state)
    return params


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_at_the_base_width_all_parameterisations_are_one_network(optimizer):
    starts = []
    for name in ALL:
        scales = gdx.problems.layer_scales((5, 8, 8, 3), name, optimizer=optimizer, base_width=8)
        assert scales.weights == scales.biases == (1.0, 1.0, 1.0)
        problem = gdx.problems.mlp(
            random_examples(), width=8, depth=2, parameterisation=name, optimizer=optimizer, base_width=8
        )
        starts.append(problem.init(jax.random.key(0))[0])
    for other in starts[1:]:
        jax.tree.map(np.testing.assert_array_equal, starts[0], other)


@pytest.mark.parametrize("ratio", [4, 9])
def test_effective_spreads_and_step_sizes_of_mup_are_those_of_its_table(ratio):
    # Tensor Programs V, Table 3, beside the base width: variances 1/fan_in, 1/fan_in, 1/fan_in^2; step sizes fan_out,
    # 1, 1/fan_in under SGD and 1, 1/fan_in, 1/fan_in under Adam, which scale with the square of a factor and with it.
    wanted = {"sgd": (ratio, 1, 1 / ratio), "adam": (1, 1 / ratio, 1 / ratio)}
    for optimizer, power in (("sgd", 2), ("adam", 1)):
        scales = gdx.problems.layer_scales((5, 4 * ratio, 4 * ratio, 3), "mup", optimizer=optimizer, base_width=4)
        np.testing.assert_allclose(np.array(scales.weights) ** power, wanted[optimizer])
        variances = (np.array(scales.weights) * np.array(scales.spreads)) ** 2
        np.testing.assert_allclose(variances, [1 / 5, 1 / (4 * ratio), 1 / (4 * ratio**2)])


def test_a_step_size_a_layer_trains_the_same_network_as_factors_do():
    width, base, step_size = 12, 3, 0.05
    scales = gdx.problems.layer_scales((5, width, width, 3), "mup", base_width=base)
    factored = gdx.problems.mlp(random_examples(), width=width, parameterisation="mup", base_width=base)
    plain = gdx.problems.mlp(
        random_examples(), width=width, scales=type(scales)((1.0,) * 3, scales.spreads, (1.0,) * 3)
    )
    start, _ = factored.init(jax.random.key(1))

    def effective(layers):
        pairs = zip(layers, scales.weights, scales.biases, strict=True)
        return tuple({"weights": c * layer["weights"], "bias": b * layer["bias"]} for layer, c, b in pairs)

    after = effective(trained(factored, optax.sgd(step_size), 4, jax.random.key(1)))
    params, slope = effective(start), jax.jit(jax.grad(lambda params: plain.loss(params, (), None)[0]))
    for _ in range(4):
        gradient = slope(params)
        rates = [{"weights": c**2, "bias": b**2} for c, b in zip(scales.weights, scales.biases, strict=True)]
        params = jax.tree.map(lambda p, g, r: p - step_size * r * g, params, gradient, tuple(rates))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), after, params)


def moved(width, name, optimizer, family, step_size, seeds=2):
    """Root mean square change of both hidden layers and the outputs after five steps."""
    scales = gdx.problems.layer_scales((64, width, width, 10), name, optimizer=optimizer, base_width=64)
    problem = gdx.problems.mlp(width=width, parameterisation=name, optimizer=optimizer, batch_size=64)
    features = gdx.problems.data.bundled("digits").features
    inputs = jnp.asarray(gdx.problems.data.scale_features(features, "standard")[:64])

    def signals(layers):
        signal, found = inputs, []
        for at, (layer, c, b) in enumerate(zip(layers, scales.weights, scales.biases, strict=True)):
            signal = (jnp.tanh(signal) if at else signal) @ (c * layer["weights"]) + b * layer["bias"][None]
            found.append(signal)
        return found

    @jax.jit
    def change(key):
        before, _ = problem.init(key)
        transformation = family(step_size)
        params, state = before, transformation.init(before)
        for count in range(5):
            batch = problem.batches(key, count)
            gradient = jax.grad(lambda params, batch=batch: problem.loss(params, (), batch)[0])(params)
            updates, state = transformation.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        pairs = zip(signals(before), signals(params), strict=True)
        return jnp.stack([jnp.sqrt(jnp.mean((new - old) ** 2)) for old, new in pairs])

    return np.mean([change(jax.random.key(seed)) for seed in range(seeds)], axis=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "family", "step_size"),
    [("sgd", optax.sgd, 0.05), ("adam", functools.partial(optax.adam, eps=1e-20), 0.002)],
)
def test_in_mup_every_layer_moves_by_as_much_at_any_width(optimizer, family, step_size):
    narrow, wide = (moved(width, "mup", optimizer, family, step_size) for width in (64, 512))
    exponents = np.log(wide / narrow) / math.log(8)
    assert np.all(np.abs(exponents) < 0.05)
    # In NTK's the hidden layers stand still as width grows, with the steps that its outputs allow.
    slower = step_size if optimizer == "sgd" else step_size / math.sqrt(8)
    wide = moved(512, "ntk", optimizer, family, slower)
    assert np.all(np.log(wide / narrow)[:1] / math.log(8) < -0.4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameterisation": "mupp"}, "standard, ntk, mup"),
        ({"optimizer": "adamw"}, "sgd or adam"),
        ({"activation": "tan"}, "tanh, relu"),
        ({"width": 0}, "at least 1"),
        ({"data": "diabetes"}, "digits or breast-cancer"),
        ({"loss": "hinge"}, "cross-entropy for classes, or square"),
        ({"data": (np.ones((3, 2)), np.ones(3)), "loss": "cross-entropy"}, "does not suit float64"),
        ({"data": (np.ones((3, 2)), np.ones(4))}, "do not belong together"),
        ({"scales": gdx.problems.layer_scales((64, 64, 10))}, "of 3 layers"),
    ],
)
def test_what_is_no_network_is_refused_in_one_sentence(changes, words):
    with pytest.raises(ValueError, match=words) as refused:
        gdx.problems.mlp(**changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("loss", ["cross-entropy", "square"])
def test_chance_is_the_loss_of_the_best_constant_outputs(loss):
    problem = gdx.problems.mlp(random_examples(), width=4, depth=1, loss=loss, activation="identity")
    params, _ = problem.init(jax.random.key(0))
    shares = np.full(3, 1 / 3)
    constant = np.log(shares) if loss == "cross-entropy" else shares
    last = {"weights": 0 * params[-1]["weights"], "bias": jnp.asarray(constant)}
    found, _ = problem.loss((*params[:-1], last), (), None)
    assert float(found) == pytest.approx(problem.known.chance, rel=1e-9)


def test_the_table_that_suits_an_optimizer_is_measured():
    assert optimizer_of(functools.partial(optax.sgd, momentum=0.9, nesterov=True)) == "sgd"
    assert optimizer_of(lambda h: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(h))) == "sgd"
    for family in (optax.adam, optax.lion, optax.rmsprop):
        assert optimizer_of(family) == "adam"
    for family in (optax.adagrad, lambda h: optax.chain(optax.normalize_by_update_norm(), optax.sgd(h))):
        with pytest.raises(ValueError, match='optimizer="sgd" or "adam"'):
            optimizer_of(family)


def test_the_closed_form_is_of_plain_gradient_descent_alone():
    assert is_gradient_descent(optax.sgd)

    def decayed(h):
        return optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(h))

    for family in (functools.partial(optax.sgd, momentum=0.5), optax.adam, decayed):
        assert not is_gradient_descent(family)


@pytest.mark.parametrize("name", ALL)
def test_the_closed_form_tells_convergence_of_every_start_in_a_plain_loop(name):
    scales = gdx.problems.layer_scales((1, 24, 1), name, base_width=8)
    problem = linear_network(24, scales)

    @jax.jit
    def last_gradient(key, step_size):
        def step(params, _):
            gradient = jax.grad(lambda params: problem.loss(params, (), None)[0])(params)
            return jax.tree.map(lambda p, g: p - step_size * g, params, gradient), optax.tree.norm(gradient)

        return jax.lax.scan(step, problem.init(key)[0], None, length=2000)[1][-1]

    for seed in range(3):
        key = jax.random.key(seed)
        edge = predicted_edge(problem.init(key)[0], scales)
        assert last_gradient(key, 0.995 * edge) < 1e-8
        assert not last_gradient(key, 1.005 * edge) < 1e-3


def test_the_closed_form_is_no_larger_than_the_flattest_minimum_allows():
    scales = gdx.problems.layer_scales((1, 2, 1), "standard", base_width=2)
    small = tuple({"weights": 0.01 * jnp.ones(shape)} for shape in ((1, 2), (2, 1)))
    assert predicted_edge(small, scales) == 1.0


@pytest.mark.slow
def test_measured_edges_of_linear_networks_are_those_of_the_closed_form():
    keys = jax.random.split(jax.random.key(3), 2)
    cells = [one for found in measure_linear((16, 48), ALL, "sgd", 16, optax.sgd, keys, False) for one in found]
    assert [(cell.parameterisation, cell.width) for cell in cells] == [(n, w) for w in (16, 48) for n in ALL]
    assert all(cell.deviation < 1e-3 for cell in cells)


@pytest.mark.slow
def test_in_float32_they_are_that_as_well():
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(0), 2)
        (cells,) = measure_linear((4,), ["standard"], "sgd", 4, optax.sgd, keys, False)
    assert cells[0].deviation < 1e-3


def test_a_power_with_its_bar_is_a_verdict_and_a_wide_one_is_none():
    widths = np.array([32, 64, 128, 256])
    fit = functools.partial(law_of, "mup", "edge", "width", 2, widths)
    falling = fit(3.0 / widths, np.full(4, 0.05))
    assert falling.slope == pytest.approx(-1)
    assert falling.verdict == "falls as width^-1.00"
    # Of independent errors u at x the slope's is u / sqrt(sum of (x - mean)^2).
    away = np.log(widths) - np.log(widths).mean()
    assert falling.error == pytest.approx(0.05 / math.sqrt(np.sum(away**2)))
    assert fit(np.full(4, 0.3), np.full(4, 0.05)).verdict == "transfers"
    vague = fit(np.full(4, 0.3), np.full(4, 0.5))
    assert (vague.verdict, vague.note[:5]) == ("", "open:")
    # What scatters about its line is no law, however narrow its brackets.
    assert fit(np.array([1.0, 3.0, 0.5, 1.2]), np.full(4, 0.01)).verdict == ""
    # Neither clearly 0 nor clearly something else.
    assert fit(3.0 * widths**-0.2, np.full(4, 0.17)).verdict == ""
    assert law_of("mup", "edge", "width", 2, widths[:2], [1.0, 1.0], [0.01, 0.01]).verdict == ""
    missing = fit([1.0, math.nan, math.nan, math.nan], np.full(4, 0.01))
    assert math.isnan(missing.slope)
    assert missing.note == "there is a number at 1 of 4 widths"


def cell(name, width, edge, depth=2, note=""):
    """A network whose best step size is half of its edge."""
    step_sizes = edge * 2.0 ** (np.arange(-6, 3) / 2)
    heights = np.array([2.0, 1.0, 0.2, 0.4, 0.6, 0.9, 1.0, 2.3, np.nan])
    codes = np.array([TrainingVerdict.TOO_SLOW] + [TrainingVerdict.TRAINED] * 6 + [TrainingVerdict.DEAD] * 2, np.int8)
    curve = Curve(step_sizes, heights[:, None] * [0.99, 1.0, 1.01], np.repeat(codes[:, None], 3, 1), 2.5, 2.3, 1.25)
    best = edge / 2
    bracket = Bracket(edge, 1.2 * edge) if not note else Bracket(math.nan, math.nan)
    return Cell(
        name,
        width,
        depth,
        bracket,
        1.1,
        best,
        0.2,
        np.full(3, best),
        Bracket(best / 2, best),
        curve,
        Trust(7, 7, (), note),
    )


def found_by_hand(depths=(2,), interrupted=False):
    powers = {"standard": -1.0, "ntk": 0.0, "mup": 0.0}
    widths = (32, 64, 128, 256)
    cells = tuple(
        cell(name, width, 0.5 * (width / 32) ** power, depth)
        for depth in depths
        for width in widths
        for name, power in powers.items()
    )
    linear = tuple(
        LinearCell(name, width, np.array([edge, 1.1 * edge, 1.2 * edge]), (Bracket(edge, edge),) * 3, 1e-4)
        for width in widths
        for name, edge in (("standard", 4 / width), ("ntk", 0.125), ("mup", 0.125))
    )
    return Transfer(
        cells, laws_of(cells), linear, linear_laws_of(linear), "", "sgd", 32, 3, 100, 900, 50.0, interrupted
    )


def test_laws_are_fitted_against_width_and_against_depth():
    laws = laws_of(found_by_hand().cells)
    assert {(law.axis, law.at) for law in laws} == {("width", 2)}
    verdicts = {(law.parameterisation, law.of): law.verdict for law in laws}
    assert verdicts["standard", "edge"] == verdicts["standard", "best"] == "falls as width^-1.00"
    assert verdicts["mup", "edge"] == verdicts["ntk", "best"] == "transfers"
    assert laws_of([cell("mup", 32, 0.5)]) == ()
    deeper = found_by_hand((1, 2, 4))
    assert deeper.law("mup", "edge", "depth").verdict == "transfers"
    assert {law.at for law in deeper.laws if law.axis == "depth"} == {32, 64, 128, 256}


def test_a_network_without_a_number_leaves_the_law_to_the_others():
    cells = [cell("mup", width, 0.5, note="the roads disagree" if width == 64 else "") for width in (32, 64, 128, 256)]
    law = next(law for law in laws_of(cells) if law.of == "edge")
    assert (law.num_points, law.verdict) == (3, "transfers")


def printed(parts, capsys):
    show(*parts)
    return capsys.readouterr().out


@pytest.mark.parametrize("depths", [(2,), (1, 2)])
def test_tables_fit_eighty_columns_and_say_everything(depths, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = found_by_hand(depths)
    out = printed(reports.transfer_tables(found, SETTINGS), capsys)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    for words in ("falls as width^-1.00", "transfers", "standard 256x2", "closed form", "same verdict"):
        assert words in re.sub(r"\s+", " ", out)
    values = json.loads(reports.to_json(reports.transfer_json(found, SETTINGS, ["a.png"])))
    assert values["cells"][0]["edge"] == {"lower": 0.5, "upper": 0.6}
    assert values["laws"][0]["verdict"] == "falls as width^-1.00"


def test_the_picture_has_the_verdicts_and_every_height_says_what_it_is():
    losses, lower = plots.transfer(found_by_hand(), title="digits")
    assert [axis.get_title(loc="left") for axis in losses] == ["standard", "NTK", "muP"]
    edge, best, linear = lower
    for axis, words in ((edge, "largest step size"), (best, "best step size"), (linear, "closed form")):
        assert words in axis.get_title(loc="left")
    labels = [text.get_text() for text in edge.get_legend().get_texts()]
    assert any("falls as width^-1.00" in label for label in labels)
    assert sum("transfers" in label for label in labels) == 2
    assert "loss" in losses[0].get_ylabel()
    plt.close("all")


def test_a_picture_of_one_network_without_a_number_is_drawn():
    cells = (cell("mup", 32, 0.5, note="no number"),)
    found = Transfer(cells, laws_of(cells), (), (), "Adam", "adam", 32, 1, 100, 20, 1.0, True)
    losses, lower = plots.transfer(found)
    assert (len(losses), len(lower)) == (1, 2)
    assert "median of 1 start" in losses[0].get_ylabel()
    alone = plots.transfer(found._replace(cells=(cell("mup", 32, 0.5),)))[1]
    assert [axis.containers[0].lines[0].get_ydata().round(3).tolist() for axis in alone] == [[0.548], [0.25]]
    plt.gcf().canvas.draw()
    plt.close("all")


def test_the_command_refuses_before_it_runs_anything():
    for arguments, words in (
        (["--widths", "32,x"], "--widths=32,64,128"),
        (["--table", "muon"], "sgd or adam"),
        (["--optimizer", "adagrad"], 'optimizer="sgd" or "adam"'),
    ):
        result = CliRunner().invoke(app, ["transfer", *arguments])
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr


@pytest.mark.slow
def test_under_adam_the_best_step_size_transfers_in_mup_and_not_in_standard():
    found = gdx.studies.transfer((32, 128, 512), parameterisations=("standard", "mup"), family=optax.adam, num_steps=60)
    standard, mup = (found.law(name, "best") for name in ("standard", "mup"))
    assert standard.slope + 2 * standard.error < mup.slope
    assert abs(mup.slope) < 0.25
    assert found.linear == ()


@pytest.mark.slow
def test_interrupted_it_keeps_the_networks_that_were_finished():
    finished = []

    def stop(stage, done, total):
        finished.append(stage)
        if "width 16" in stage:
            raise KeyboardInterrupt

    found = gdx.studies.transfer(
        (8, 16), parameterisations=("standard",), data=random_examples(60), batch_size=None, num_steps=40, progress=stop
    )
    assert found.interrupted
    assert [cell.width for cell in found.cells] == [8]


def test_an_interrupted_command_shows_what_it_has_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(gdx.studies, "transfer", lambda **asked: found_by_hand(interrupted=True))
    result = CliRunner().invoke(app, ["transfer", "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert "standard 256x2" in result.stdout
    assert "networks so far" in result.stderr
    assert (tmp_path / "transfer.png").exists()
    nothing = found_by_hand()._replace(cells=(), laws=(), linear=(), linear_laws=(), interrupted=True)
    monkeypatch.setattr(gdx.studies, "transfer", lambda **asked: nothing)
    result = CliRunner().invoke(app, ["transfer", "--out", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (130, "")
    assert "no network was finished" in result.stderr
