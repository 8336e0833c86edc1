"""A job's stability drawn, written and asked for on the command line; the record is made by hand, nothing is run."""

import base64
import html.parser
import itertools
import json
import math
import re

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from typer.testing import CliRunner

import gdx
from gdx import plots, reports
from gdx.cli import app
from gdx.cli.console import show
from gdx.edges import Bracket
from gdx.plots.scales import log_ticks, spread_out
from gdx.studies.stability import Cause, Curve, Margin, RangeTest, Reached, Stability, StepVerdict, Trust
from gdx.verdicts import TrainingVerdict

SETTINGS = {
    "problem": "mine:net<b>",
    "optimizer": "adamw",
    "hyperparameters": {"b1": 0.9, "weight_decay": 1e-4},
    "num_steps": 200,
    "repeats": 3,
    "seed": 0,
    "precision": "float32",
    "scale": None,
    "batch_size": 64,
    "replacement": False,
    "step_size": 1.0,
    "budget": 60.0,
}
NAN = math.nan
TRAINED, SLOW, DEAD, BLOWN_UP = (TrainingVerdict[name] for name in ("TRAINED", "TOO_SLOW", "DEAD", "BLOWN_UP"))


def cause(name, factor, saves=False, upper=None, note=""):
    edge = Bracket(0.3 * factor, 0.42 * factor if upper is None else upper)
    return Cause(name, factor, edge, saves, 0.1, 21, note)


def made(**changes):
    """What was found of a net that trains from 0.001 to 0.3, is asked for at 1, and blows up at 10."""
    step_sizes = np.array([1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.42, 1.0, 10.0])
    middle = np.array([2.2, 1.0, 0.2, 0.03, 0.5, 1.4, 3.0, NAN])
    codes = np.array([SLOW, TRAINED, TRAINED, TRAINED, TRAINED, DEAD, DEAD, BLOWN_UP], np.int8)
    losses = middle[:, None] * np.array([0.9, 1.0, 1.1])
    losses[-2, 2] = 1e5
    steps = np.arange(0, 200, 5)
    found = Stability(
        step_size=1.0,
        largest_step=Bracket(0.3, 0.42),
        spread=1.4,
        none_beyond=1.0,
        verdict=StepVerdict.BEYOND,
        headroom=0.3,
        best=0.1,
        best_loss=0.03,
        good=Bracket(0.1, 0.1),
        too_slow_below=1e-3,
        dead_loss=3.0,
        blows_up_from=10.0,
        margin=Margin(1.0, steps, 30.0 / (1 + steps), 2 + steps, 1.0 / (1 + steps), {"dense": 0.9, "head": 0.1}, ""),
        causes=(
            cause("half the step in ['params']['head']", 4.0, True, math.inf),
            cause("warm-up of 10 steps", 1.4),
            cause("batches of half the size", 0.5),
            cause("eps 0.0001", NAN, note="no time was left"),
        ),
        advice=("Use a step size of 0.1; 1 is beyond the edge.", "Of what was changed, half the step saves it."),
        curve=Curve(step_sizes, losses, np.repeat(codes[:, None], 3, axis=1), 2.5, 2.3, 1.17),
        range_test=RangeTest(
            np.geomspace(1e-7, 1, 50),
            np.linspace(2.5, 1.5, 50),
            {"steepest": 0.2, "valley": 0.0016, "minimum / 10": NAN},
            {"steepest": (0.02, 0.2), "valley": (0.001, 0.0016), "minimum / 10": (NAN, NAN)},
        ),
        trust=Trust(9, 8, (0.1, 0.3, 0.42), ""),
        reached=Reached.FULL_RUNS,
        runs=None,
        horizon=200,
        num_steps=200,
        num_trainings=300,
        seconds=12.0,
    )
    return found._replace(**changes)


NOTHING = np.zeros(0)
NO_NUMBER = {
    "largest_step": Bracket(NAN, NAN),
    "good": Bracket(NAN, NAN),
    "best": NAN,
    "best_loss": NAN,
    "headroom": NAN,
    "verdict": StepVerdict.UNKNOWN,
    "too_slow_below": NAN,
    "none_beyond": NAN,
    "causes": (),
    "advice": ("There is no largest step size to go by: nothing trains.",),
    "trust": Trust(0, 0, (), "nothing trains"),
}
NO_MARGIN = {"margin": Margin(1.0, NOTHING.astype(int), NOTHING, NOTHING, NOTHING, {}, "lion has no threshold")}


def many_starts(found):
    curve = found.curve
    return found._replace(
        curve=curve._replace(losses=np.repeat(curve.losses, 40, axis=1), codes=np.repeat(curve.codes, 40, axis=1))
    )


def below_zero(found):
    curve = found.curve
    return found._replace(
        curve=curve._replace(losses=curve.losses - 5, start=-2.5, chance=-2.7, halfway=-3.8),
        range_test=found.range_test._replace(losses=found.range_test.losses - 5),
    )


def one_point(found):
    """What a budget leaves that pays for a single step size."""
    curve, rest = found.curve, {"none_beyond": math.inf, "too_slow_below": NAN, "blows_up_from": math.inf}
    return found._replace(
        curve=curve._replace(step_sizes=curve.step_sizes[3:4], losses=curve.losses[3:4], codes=curve.codes[3:4]),
        largest_step=Bracket(0.1, math.inf),
        range_test=RangeTest(NOTHING, NOTHING, {}, {}),
        **rest,
    )


LONG = [
    *(f"half the step in MultiHeadDotProductAttention_{i}" for i in range(8)),
    *(f"half the step in TransformerDecoderBlock_{i} to TransformerDecoderBlock_{i + 3}" for i in range(0, 32, 4)),
]
CASES = {
    "beyond": made(),
    "many causes with long names": made(
        step_size=0.25,
        verdict=StepVerdict.AT_THE_EDGE,
        causes=(*(cause(name, 1.4) for name in LONG), *(cause(name, NAN) for name in LONG[:6])),
        advice=(f"0.25 is at the edge; {LONG[0]} moves it the most, 1.4x.", "Nothing else that was changed does."),
    ),
    "nobody's step size": made(step_size=None, verdict=StepVerdict.UNKNOWN, headroom=NAN),
    "no number, margin or causes": made(**NO_NUMBER, **NO_MARGIN),
    "many starts": many_starts(made()),
    "losses below zero": below_zero(made()),
    "one step size": one_point(made()),
    "no range test, a narrow edge": made(
        largest_step=Bracket(0.3, 0.3001), range_test=RangeTest(NOTHING, NOTHING, {}, {})
    ),
    "all blown up": made(**NO_NUMBER)._replace(
        curve=Curve(np.array([0.1, 1.0]), np.full((2, 3), NAN), np.full((2, 3), BLOWN_UP, np.int8), NAN, NAN, -math.inf)
    ),
    "nothing was run": made(
        **NO_NUMBER,
        margin=Margin(NAN, NOTHING.astype(int), NOTHING, NOTHING, NOTHING, {}, "no time was left to watch it"),
        curve=Curve(NOTHING, np.zeros((0, 1)), np.zeros((0, 1), np.int8), NAN, NAN, NAN),
        range_test=RangeTest(NOTHING, NOTHING, {}, {}),
        step_size=None,
        blows_up_from=NAN,
        reached=Reached.CURVATURE,
        horizon=0,
    ),
}


@pytest.fixture(autouse=True)
def _clean():
    yield
    plt.close("all")
    jax.config.update("jax_enable_x64", True)


def seen_texts(figure):
    """Every text of a figure that is seen, with its place in pixels."""
    figure.draw_without_rendering()
    unseen = set()
    for axes in figure.findobj(plt.Axes):
        for axis, low, high in ((axes.xaxis, *axes.get_xlim()), (axes.yaxis, *sorted(axes.get_ylim()))):
            # Labels of an axis that lie beyond its ends are there, but are not drawn.
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low <= tick.get_loc() <= high:
                    unseen |= {tick.label1, tick.label2}
    texts = [text for text in figure.findobj(plt.Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text not in unseen]


@pytest.mark.parametrize("case", CASES)
def test_no_text_of_the_picture_is_cut_or_lies_upon_another(case):
    losses, *_ = plots.stability(CASES[case], title=reports.title(SETTINGS))
    figure = losses.figure.get_figure(root=True)
    texts = seen_texts(figure)
    assert len(texts) >= 10
    for text, box in texts:
        assert min(box.x0, box.y0) >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
    for (one, first), (other, second) in itertools.combinations(texts, 2):
        assert not first.shrunk(0.95, 0.8).overlaps(second.shrunk(0.95, 0.8)), (one, other)


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def words(axes):
    return " ".join(text.get_text() for text in axes.texts)


def test_the_picture_marks_what_was_measured_and_where_a_finder_points():
    losses, below, margin, causes = plots.stability(made())
    assert labels(below) == [
        "use",
        "best",
        "largest that trains",
        "too slow below",
        "you",
        "range test: steepest",
        "range test: valley",
    ]
    at = {name: list(line.get_xdata()) for name, line in zip(labels(below), below.lines, strict=True)}
    assert at["largest that trains"] == [0.3, 0.42]
    assert (at["you"], at["range test: valley"]) == ([1.0, 1.0], [0.0016, 0.0016])
    assert (losses.get_xscale(), losses.get_yscale()) == ("log", "log")
    assert "start 2.5 chance 2.3 trains below 1.17" in words(losses)
    (one,) = (line for line in margin.lines if list(line.get_ydata()) == [1, 1])
    assert one
    assert labels(causes) == ["half the step in ['params']['head']", "warm-up of 10 steps", "batches of half the size"]
    assert [bar.get_x() + bar.get_width() for bar in causes.patches[:3]] == [4.0, 1.4, 0.5]
    assert "4x or more, saves 1" in words(causes)
    assert "not measured: eps 0.0001" in causes.get_xlabel()


def test_long_names_of_causes_stay_different():
    *_, causes = plots.stability(CASES["many causes with long names"])
    assert len(set(labels(causes))) == len(LONG)
    assert max(map(len, labels(causes))) <= 40


def test_runs_without_a_height_stand_above_all_others_and_are_named():
    losses, *_ = plots.stability(made())
    low, high = losses.get_ylim()
    drawn = [dots for dots in losses.collections if len(dots.get_offsets())]
    in_band = [dots for dots in drawn if dots.get_offset_transform() != losses.transData]
    assert sum(len(dots.get_offsets()) for dots in in_band) == 4
    at_data = [dots for dots in drawn if dots.get_offset_transform() == losses.transData]
    heights = np.concatenate([np.asarray(dots.get_offsets())[:, 1] for dots in at_data])
    lowest_of_band = min(np.asarray(dots.get_offsets())[:, 1].min() for dots in in_band)
    assert np.log(heights.max() / low) / np.log(high / low) < lowest_of_band
    assert "off the scale" in words(losses)
    curve = made().curve
    only = made(curve=curve._replace(losses=np.minimum(curve.losses, 3.0)))
    assert "blown up" in words(plots.stability(only)[0])


def test_what_lies_decades_beyond_all_that_matters_is_left_out():
    curve = made().curve
    step_sizes, nothing = np.append(curve.step_sizes[:-1], 1e6), {"none_beyond": math.inf, "blows_up_from": math.inf}
    losses = np.minimum(curve.losses, 3.0)
    losses[-1] = NAN
    drawn, *_ = plots.stability(made(curve=curve._replace(step_sizes=step_sizes, losses=losses), **nothing))
    assert drawn.get_xlim()[1] < 100
    assert "blown up" not in words(drawn)
    assert "blown up" not in [text.get_text() for text in drawn.get_legend().get_texts()]


def test_what_there_is_none_of_is_said_in_the_picture():
    _, below, margin, causes = plots.stability(made(**NO_NUMBER, **NO_MARGIN))
    assert labels(below)[0] == "you"
    assert "lion has no threshold" in words(margin).replace("\n", " ")
    assert "there is no edge to move" in words(causes).replace("\n", " ")
    _, _, margin, causes = plots.stability(made(causes=()))
    assert "no time was left" in words(causes).replace("\n", " ")


def test_the_end_of_a_scan_is_drawn_as_no_measurement():
    losses, below, _, causes = plots.stability(
        made(largest_step=Bracket(0.3, math.inf), causes=(cause("eps 1", 0.5, upper=math.inf),))
    )
    line = below.lines[labels(below).index("largest that trains")]
    assert (list(line.get_xdata()), line.get_marker()) == ([0.3], ">")
    assert "at or above 0.3" in words(below)
    assert not any("fails" in text.get_text() for text in losses.get_legend().get_texts())
    # That an edge is at or above half of what it was tells nobody anything.
    assert "nothing was changed" in words(causes)


def test_logarithmic_axes_have_from_three_to_nine_labels_whatever_they_span():
    rng = np.random.default_rng(0)
    for _ in range(500):
        low = 10.0 ** rng.uniform(-12, 6)
        high = low * (1 + 10.0 ** rng.uniform(-3, 12))
        ticks = log_ticks(low, high)
        assert 3 <= len(ticks) <= 9, (low, high, ticks)
        assert sorted(set(ticks)) == ticks
        assert low * (1 - 1e-9) <= ticks[0]
        assert ticks[-1] <= high * (1 + 1e-9)


def test_labels_are_pushed_apart_no_further_than_they_must_be():
    rng = np.random.default_rng(0)
    for _ in range(200):
        places = rng.uniform(0, 1, rng.integers(1, 6))
        moved = np.array(spread_out(places, 0.1))
        gaps = np.diff(np.sort(moved))
        assert np.all(gaps > 0.1 - 1e-9)
        assert np.all(np.argsort(moved) == np.argsort(places))
        assert moved.mean() == pytest.approx(places.mean())
    assert spread_out([0.9, 0.1, 0.5], 0.1) == [0.9, 0.1, 0.5]


@pytest.mark.parametrize("case", CASES)
def test_json_holds_every_field_but_the_runs(case):
    found = CASES[case]
    told = json.loads(reports.to_json(reports.stability_json(found, SETTINGS, ["a.png"])))
    assert set(Stability._fields) - {"runs"} <= set(told)
    assert "runs" not in told
    assert told["files"] == ["a.png"]
    assert told["versions"]["gdx"] == gdx.__version__
    for name in ("losses", "verdicts"):
        assert list(map(len, told["curve"][name])) == [found.curve.losses.shape[1]] * len(found.curve.step_sizes)


def test_json_tells_numbers_as_they_are_and_names_instead_of_codes():
    told = json.loads(reports.to_json(reports.stability_json(made(), SETTINGS, [])))
    assert told["largest_step"] == {"lower": 0.3, "upper": 0.42}
    assert (told["verdict"], told["reached"]) == ("beyond", "runs over the whole horizon")
    assert told["curve"]["verdicts"][-1] == ["blown_up"] * 3
    assert told["curve"]["losses"][-1] == [None] * 3
    first, *_, last = told["causes"]
    assert (first["factor"], first["saves"], first["largest_step"]) == (4.0, True, {"lower": 1.2, "upper": None})
    assert (last["factor"], last["largest_step"], last["note"]) == (None, None, "no time was left")
    assert told["margin"]["shares"] == {"dense": 0.9, "head": 0.1}
    assert told["range_test"]["suggestions"] == {"steepest": 0.2, "valley": 0.0016, "minimum / 10": None}
    assert told["trust"]["step_sizes"] == [0.1, 0.3, 0.42]
    assert told["advice"] == list(made().advice)
    nothing = json.loads(reports.to_json(reports.stability_json(made(**NO_NUMBER), SETTINGS, [])))
    assert nothing["largest_step"] is None


@pytest.mark.parametrize("case", CASES)
def test_lines_for_a_terminal_fit_80_columns_and_keep_brackets(case, capsys):
    show(*reports.stability_tables(CASES[case], SETTINGS))
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert "largest step size that trains" in printed
    assert CASES[case].advice[0] in printed.replace("\n", " ")
    if case == "beyond":
        assert "['params']['head']" in printed


class Page(html.parser.HTMLParser):
    """Tags that are open, what refers elsewhere, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.refers, self.tags, self.text = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.refers += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("case", CASES)
def test_the_page_stands_alone_and_is_whole(case, tmp_path):
    image = b"\x89PNG and whatever follows"
    written = reports.stability_html(CASES[case], SETTINGS, image)
    page = Page(written)
    assert page.open == []
    (source,) = page.refers
    kind, _, content = source.partition(",")
    assert (kind, base64.b64decode(content)) == ("data:image/png;base64", image)
    assert not re.search(r"https?:|@import|url\(|//", written.replace(source, ""))
    # A name with a tag in it is text.
    assert not page.tags & {"script", "link", "b"}
    text = " ".join(page.text)
    for said in ("mine:net<b>", *CASES[case].advice, "weight_decay 0.0001", gdx.__version__, jax.__version__):
        assert said in text
    for told in CASES[case].causes:
        assert told.name in text
    (tmp_path / "a.png").write_bytes(image)
    assert reports.stability_html(CASES[case], SETTINGS, tmp_path / "a.png") == written


def invoke(*arguments):
    return CliRunner().invoke(app, ["stability", *arguments])


OWN = """
import jax, jax.numpy as jnp, gdx

x = jnp.array([-1.0, 1.0])

def loss(params):
    return jnp.mean((params["slope"] * x + params["offset"] - 2 * x - 1) ** 2)

line = gdx.problem(lambda key: {"slope": jax.random.normal(key), "offset": jnp.zeros(())}, loss)
"""


@pytest.mark.usefixtures("quick_compilation_here")
def test_the_command_answers_and_leaves_picture_and_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_line.py").write_text(OWN)
    small = ["--optimizer", "sgd", "--step-size", "0.05", "--num-steps", "30", "--repeats", "1", "--budget", "60"]
    result = invoke("own_line:line", *small, "--json", "--out", "made")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told["files"] == ["made/stability.png", "made/stability.html"]
    expected = {"problem": "own_line:line", "precision": "float32", "step_size": 0.05, "budget": 60.0, "horizon": 30}
    assert {name: told[name] for name in expected} == expected
    # The curvature is 2 in both directions, so 1 is where gradient descent stops contracting.
    assert 0.8 < told["largest_step"]["lower"] < 1 < 1.01 * told["largest_step"]["upper"]
    assert told["headroom"] == pytest.approx(told["largest_step"]["lower"] / 0.05)
    picture = (tmp_path / "made/stability.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert base64.b64encode(picture).decode() in (tmp_path / "made/stability.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "problem: 'nonsense' is unknown"),
        (("quartic", "--batch-size", "4"), "batch-size"),
        (("quartic", "--repeats", "0"), "repeats"),
        (("quartic", "--step-size", "-1"), "step_size"),
        (("quartic", "--budget", "0"), "budget"),
        (("quartic", "--num-steps", "0"), "num_steps"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments, words, tmp_path):
    result = invoke(*arguments, "--out", str(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(r"gdx: [^\n]+\n", result.stderr)
    assert words in result.stderr


def test_ctrl_c_is_one_sentence(monkeypatch, tmp_path):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(gdx.studies, "stability", interrupted)
    result = invoke("quartic", "--out", str(tmp_path))
    assert (result.exit_code, result.stdout) == (130, "")
    assert re.fullmatch(r"gdx: interrupted: [^\n]+\n", result.stderr)


def test_a_job_without_a_number_is_told_and_drawn_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(gdx.studies, "stability", lambda *arguments, **options: made(**NO_NUMBER, **NO_MARGIN))
    result = invoke("quartic", "--out", str(tmp_path))
    assert result.exit_code == 0
    assert "There is no largest step size to go by" in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"stability.png", "stability.html"}
