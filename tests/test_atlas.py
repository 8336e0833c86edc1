"""The atlas: its brackets hold what closed forms say, and no number stands where two roads did not reach it."""

import csv
import importlib
import io
import itertools
import json
import math

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import gdx
from gdx import reports
from gdx.edges import Bracket
from gdx.problems.transformers import _logits
from gdx.studies import ATLAS_PROBLEMS, AtlasProblem
from gdx.studies.atlas import Atlas, Cell, Row
from gdx.studies.atlas.measuring import RTOL, Measured, agreement, reconciled
from gdx.studies.stability.scanning import Reading
from gdx.verdicts.training import TrainingLevel

pytestmark = pytest.mark.usefixtures("quick_compilation")

second_road = importlib.import_module("gdx.studies.atlas.again")
KEYS = jax.random.split(jax.random.key(3), 2)


def bowl(claimed=10.0):
    problem = gdx.problems.quadratic(jnp.array([1.0, 10.0]))
    return AtlasProblem(
        lambda: problem._replace(known=problem.known._replace(min_sharpness=claimed)), "a bowl", 500, "converged", True
    )


@pytest.fixture(scope="module")
def small():
    return gdx.studies.atlas({"bowl": bowl(), "lie": bowl(20.0)}, ["momentum"], keys=KEYS, progress=False)


def test_a_bracket_of_the_atlas_holds_the_closed_form_and_is_of_step_sizes_that_were_run(small):
    cell = small.rows[0].cells[0]
    assert cell.predicted == pytest.approx(0.38)
    assert cell.agrees
    for pair in (cell.first_failure, cell.last_success):
        assert pair.upper / pair.lower <= 1 + RTOL + 1e-9
    assert cell.first_failure.lower / 1.02 <= 0.38 <= cell.last_success.upper * 1.02
    assert cell.trains_from <= cell.good.lower <= cell.best_step
    assert cell.good.upper <= cell.trains_up_to.lower / 1.5 * (1 + 1e-9)
    assert cell.width == cell.good.upper / cell.good.lower > 2


def test_a_prediction_that_the_runs_contradict_is_told(small):
    cell = small.rows[0].cells[1]
    assert cell.predicted == pytest.approx(0.19)
    assert small.disagreements == (cell,)
    line = next(line for line in reports.summary_lines(small) if line.startswith("Disagreement: momentum on lie"))
    assert "predicted 0.19" in line
    assert "2 of 2 plain runs end below their first loss" in line


def test_a_stable_method_that_rises_beyond_the_bound_first_is_explained():
    ema = gdx.optimizers.family("ema-momentum-debiased")
    problem = bowl().make()
    cell = Cell("ema-momentum-debiased", "bowl", predicted=3.8, agrees=False)
    found = second_road.explain(cell, problem, ema, KEYS, 2000)
    assert "at 3.72 2 of 2 plain runs end below their first loss, after up to" in found.edge_note
    assert float(found.edge_note.split()[-3]) > 1e12


def test_passing_the_blow_up_bound_with_the_first_step_is_no_edge():
    problem, adam = bowl().make(), gdx.optimizers.family("amsgrad")
    cell = Cell("amsgrad", "bowl", "converged", best_step=0.5, first_failure=Bracket(6e5, 7e5))
    found = second_road.explain(cell, problem, adam, KEYS, 2000)
    assert math.isnan(found.first_failure.upper)
    assert "blow-up bound alone" in found.edge_note
    sgd = cell._replace(best_step=1e-4, first_failure=Bracket(0.19, 0.21))
    assert second_road.explain(sgd, problem, gdx.optimizers.family("sgd"), KEYS, 500) == sgd


def test_off_quadratics_theory_is_contradicted_by_successes_beyond_it_alone():
    cell = Cell("mine", "net", predicted=1.0, first_failure=Bracket(0.4, 0.5), last_success=Bracket(0.6, 0.7))
    assert [agreement(cell, is_quadratic) for is_quadratic in (True, False)] == [False, True]
    assert agreement(cell._replace(last_success=Bracket(1.1, 1.2)), False) is False
    assert agreement(cell._replace(predicted=math.nan), False) is None


def test_a_failure_below_the_best_step_size_is_no_edge():
    cell = Cell("mine", "bowl", best_step=1.0, first_failure=Bracket(0.001, 0.003), last_success=Bracket(1.5, 1.6))
    found = reconciled(cell)
    assert math.isnan(found.first_failure.upper)
    assert "from 0.003 on" in found.edge_note
    assert reconciled(cell._replace(first_failure=Bracket(1.4, 1.6))) == cell._replace(first_failure=Bracket(1.4, 1.6))
    assert "neither succeed nor fail" in reconciled(cell._replace(first_failure=Bracket(90.0, 99.0))).edge_note


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quadratic", "ravine"])
def test_thresholds_over_sharpness_lie_within_the_brackets_of_the_atlas(name):
    optimizers = ["sgd", "momentum", "nesterov", "ema-momentum", "ema-momentum-debiased", "optimistic-gradient"]
    found = gdx.studies.atlas([name], optimizers, progress=False)
    # Corrected for its start at 0, the mean is all of the gradient at first: runs rise beyond the blow-up bound before
    # they would come back, and the atlas says so.
    assert [cell.optimizer for cell in found.cells if not cell.agrees] == ["ema-momentum-debiased"]
    assert "3 of 3 plain runs end below their first loss" in found.disagreements[0].edge_note


def test_interrupting_an_atlas_keeps_what_was_done(monkeypatch):
    study = importlib.import_module("gdx.studies.atlas.study")
    monkeypatch.setattr(study, "measure", lambda cell, *_: Measured(cell._replace(num_runs=7), None))

    def stop(stage, finished, total):
        if stage != "thresholds" and finished == 2:
            raise KeyboardInterrupt

    found = gdx.studies.atlas(["quadratic", "ravine"], ["sign-sgd", "wolfe"], keys=KEYS, progress=stop)
    assert found.interrupted
    done = [cell for cell in found.cells if cell.num_runs == 7]
    assert [(cell.optimizer, cell.problem) for cell in done] == [("sign-sgd", "quadratic"), ("wolfe", "quadratic")]
    assert all("interrupted" in cell.edge_note for cell in found.cells if cell not in done)


@pytest.mark.parametrize(
    ("problems", "optimizers", "words"),
    [(["ravin"], None, "did you mean ravine"), (None, ["adamv"], "adam"), ([], None, "there are none")],
)
def test_what_is_not_there_is_refused_in_one_sentence(problems, optimizers, words):
    with pytest.raises(ValueError, match=words):
        gdx.studies.atlas(problems, optimizers)


def reading():
    """What runs at three step sizes say, of which the first two train."""
    losses = np.array([[0.2, 0.2], [0.1, 0.1], [3.0, 3.0]])
    codes = np.array([[0, 0], [0, 0], [2, 2]], np.int8)
    sizes = np.array([0.1, 0.2, 0.4])
    return Reading(sizes, codes, losses, np.array([True, True, False]), TrainingLevel(2.0, 0.1, 1.05), 1)


@pytest.mark.parametrize(
    ("plain_loss", "fields"),
    [
        (lambda step_size: 0.1 if step_size < 0.3 else 3.0, ()),
        (lambda step_size: 3.0, ("best_step", "best_loss", "width", "trains_from")),
        (lambda step_size: 0.1, ("spread",)),
    ],
)
def test_a_cell_whose_runs_come_out_otherwise_in_a_plain_loop_has_no_number_but_a_note(monkeypatch, plain_loss, fields):
    numbers = {"best_step": 0.2, "best_loss": 0.1, "trains_from": 0.1, "spread": 1.0, "good": Bracket(0.1, 0.2)}
    edge = {"trains_up_to": Bracket(0.2, 0.4), "first_failure": Bracket(0.2, 0.4), "last_success": Bracket(0.2, 0.4)}
    cell = Cell("sgd", "mine", "trains", **numbers, **edge)
    monkeypatch.setattr(second_road, "losses_of", lambda *_: lambda step_size, key: np.full(20, plain_loss(step_size)))
    found = second_road.again(Measured(cell, reading()), None, None, KEYS, 20, np.random.default_rng(0))
    gone = {
        name
        for name in ("best_step", "best_loss", "width", "trains_from", "spread")
        if math.isnan(getattr(found, name))
    }
    assert found.num_again >= 3
    assert set(fields) <= gone
    if not fields:
        assert (gone, found.num_same) == (set(), found.num_again)
    else:
        assert found.num_same < found.num_again
        assert "say otherwise" in found.edge_note + found.good_note
        assert "spread" not in gone or math.isnan(found.first_failure.upper)


def made_up():
    """An atlas of all optimizers with cells of every kind, without a run."""
    full = {
        "predicted": 0.3, "last_success": Bracket(0.3, 0.35), "first_failure": Bracket(0.28, 0.31), "agrees": True,
        "trains_up_to": Bracket(0.25, 0.31), "trains_from": 1e-4, "best_step": 0.1, "best_loss": 0.02,
        "best_losses": (0.01, 0.03), "good": Bracket(0.01, 0.15), "spread": 1.2, "num_runs": 93,
    }  # fmt: skip
    endless = full | {
        "good": Bracket(1e-10, 1e10),
        "is_open": (True, True),
        "first_failure": Bracket(math.nan, math.nan),
    }
    nothing = {"edge_note": "no start trains at any step size from 1e-06 to 1e+03", "good_note": "no run learned | it"}
    kinds = itertools.cycle([full, endless | {"edge_note": "no failure up to 1e+10", "predicted": math.nan}, nothing])
    rows = []
    for name, entry in gdx.optimizers.catalogue().items():
        cells = tuple(Cell(name, problem, "trains", **next(kinds)) for problem in ATLAS_PROBLEMS)
        rows.append(Row(name, entry.group, math.nan, False, "it searches, so no threshold holds", cells))
    return Atlas(dict(ATLAS_PROBLEMS), tuple(rows), dict.fromkeys(ATLAS_PROBLEMS, 200), 3, False, 1.0)


def test_the_tables_of_an_atlas_say_why_wherever_a_number_is_missing():
    found = made_up()
    page = reports.atlas_markdown(found, {"seed": 0})
    assert "nan" not in page.lower().split("what the columns mean")[0].replace("nan.", "")
    tables = [part for part in page.split("\n\n") if part.startswith("| optimizer")]
    assert len(tables) == 1 + len(ATLAS_PROBLEMS)
    for table in tables:
        lines = table.splitlines()
        assert len(lines) == 2 + len(found.rows)
        assert {line.count("|") for line in lines} == {lines[0].count("|")}
    for line in tables[1].splitlines()[2:]:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert "none" not in cells[2:4] or cells[-1], line
    for name in gdx.optimizers.catalogue():
        assert f"| {name} |" in page
    lines = reports.atlas_table(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 3 + len(found.rows)


def test_the_csv_and_the_json_of_an_atlas_hold_a_row_a_pair():
    found = made_up()
    lines = list(csv.DictReader(io.StringIO(reports.atlas_csv(found))))
    assert [(line["optimizer"], line["problem"]) for line in lines] == [(c.optimizer, c.problem) for c in found.cells]
    assert lines[0]["good_upper"] == "0.15"
    assert (lines[2]["good_upper"], lines[2]["best_loss"]) == ("", "")
    assert lines[2]["good_note"]
    whole = json.loads(reports.to_json(reports.atlas_json(found, {}, [])))
    assert whole["rows"][0]["cells"][0]["width"] == pytest.approx(15)
    assert whole["rows"][0]["cells"][2]["width"] is None


def test_the_picture_of_an_atlas_has_a_row_an_optimizer_and_draws_no_end_of_the_scan_as_an_edge():
    found = made_up()
    axes = gdx.plots.atlas(found, title="all")
    assert [axis.get_title() for axis in axes] == list(ATLAS_PROBLEMS)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == [row.optimizer for row in found.rows]
    edges = sum(line.get_marker() == "|" and len(line.get_xdata()) for axis in axes for line in axis.lines)
    assert edges == sum(math.isfinite(cell.first_failure.upper) for cell in found.cells)
    plt.close("all")


def test_the_transformer_starts_at_chance_and_never_looks_ahead():
    problem = gdx.problems.character_transformer(batch_size=4)

    @jax.jit
    def look(key):
        params, state = problem.init(key)
        batch = problem.batches(key, jnp.int32(0))
        letters = params["out"]["bias"].size
        weights = jax.random.normal(key, params["out"]["weights"].shape)
        tokens = batch[0][0][None, :-1]
        changed = tokens.at[0, 9].set((tokens[0, 9] + 1) % letters)
        told = params | {"out": params["out"] | {"weights": weights}}
        difference = jnp.abs(_logits(told, tokens, 2) - _logits(told, changed, 2)).max(axis=(0, 2))
        return problem.loss(params, state, batch)[0], letters, difference

    loss, letters, difference = look(jax.random.key(0))
    assert float(loss) == pytest.approx(math.log(letters))
    assert problem.known.chance < math.log(letters)
    assert np.all(difference[:9] == 0)
    assert np.all(difference[9:] > 0)


@pytest.mark.parametrize("options", [{"width": 15}, {"heads": 0}, {"context": 0}, {"batch_size": 0}])
def test_sizes_of_the_transformer_that_are_none_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options)) + "|width"):
        gdx.problems.character_transformer(**options)
