"""A job's stability: one JSON object, lines for a terminal, and a page that stands alone."""

from __future__ import annotations

import base64
import enum
import math
import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from gdx.edges import Bracket
from gdx.reports.transition import title
from gdx.reports.values import bracket, versions
from gdx.studies.stability.found import StepVerdict
from gdx.studies.stability.words import WIDTH, lines, rows, size
from gdx.verdicts import TrainingVerdict
from gdx.wording import span

if TYPE_CHECKING:
    from gdx.studies.stability import Cause, Stability

# Colours are the reader's own, light or dark; the picture brings its white along.
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.advice { border-left: 4px solid #009E73; padding-left: 1rem; font-size: 1.1rem; }
img { max-width: 100%; height: auto; background: white; }
table { border-collapse: collapse; } caption { text-align: left; opacity: .8; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #8886; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
""".strip()
CAUSES = "change", "edge moves by", "largest step size", "best loss", "runs", ""
NUMBERS = (1, 2, 3, 4)
"""Columns of the causes that are numbers."""


def stability_json(found: Stability, settings: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """Put everything about a job into one dict, but for the runs step by step.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.
    files
        Paths written.

    Returns
    -------
    dict
        Fields as in `gdx.Stability`, those of records inside it as dicts; an upper end of a bracket that is infinite
        (null in JSON) is where the scan ended.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> from gdx.reports import stability_json
    >>> stability_json(found, {}, [])["verdict"]
    'safe'
    """
    values = {name: _plain(value) for name, value in found._asdict().items() if name != "runs"}
    values["curve"]["verdicts"] = [
        [TrainingVerdict(code).name.lower() for code in starts] for starts in values["curve"].pop("codes").tolist()
    ]
    return {**settings, **values, "versions": versions(), "files": list(files)}


def stability_tables(found: Stability, settings: Mapping[str, Any]) -> list[Any]:
    """Lay a job's stability out for a terminal of 80 columns, or a pipe.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.

    Returns
    -------
    list
        Things that rich prints.

    Examples
    --------
    Continues the example of `gdx.reports.stability_html`.

    >>> from gdx.reports import stability_tables
    >>> len(stability_tables(found, settings)) > 0
    True
    """
    # Names of parameters may have brackets, which rich would take for its own.
    from rich.text import Text

    heading = textwrap.fill(f"{title(settings)}, {settings['precision']}", WIDTH)
    advice = "\n".join(textwrap.fill(sentence, WIDTH) for sentence in found.advice)
    return [Text(heading, style="bold"), Text(f"\n{lines(found)}\n\n{advice}\n")]


def stability_html(found: Stability, settings: Mapping[str, Any], figure: bytes | str | pathlib.Path) -> str:
    """Write a page that stands alone: picture, lines, causes and settings, and nothing from a network.

    Parameters
    ----------
    found
        The study's values.
    settings
        What was asked for.
    figure
        The picture as PNG, its bytes or its path; see `gdx.plots.stability`.

    Returns
    -------
    str
        HTML.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> from gdx.reports import stability_html
    >>> settings = {"problem": "digits", "optimizer": "adam", "scale": None, "batch_size": 64, "replacement": False}
    >>> settings |= {"hyperparameters": {}, "repeats": 3, "num_steps": 100, "precision": "float32"}
    >>> page = stability_html(found, settings, b"the bytes of a PNG")
    >>> page.startswith("<!")
    True
    """
    image = figure if isinstance(figure, bytes) else pathlib.Path(figure).read_bytes()
    heading, advice = title(settings), " ".join(found.advice)
    found_rows = [(name, "; ".join(part for part in (value, text) if part)) for name, value, text in rows(found)]
    settings_rows = [(name, _told(value)) for name, value in settings.items()]
    parts = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="advice">{escape(advice)}</p>' if advice else "",
        f'<img alt="{escape(advice or heading)}" src="data:image/png;base64,{base64.b64encode(image).decode()}">',
        "<h2>What was found</h2>",
        _table((), found_rows),
        "<h2>What moves the edge</h2>",
        _causes(found),
        "<h2>What was asked for, and what answered</h2>",
        _table((), [*settings_rows, *versions().items()]),
    ]
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(part for part in parts if part) + "\n</body>\n</html>\n"


def _plain(value):
    """What JSON knows; arrays stay."""
    if isinstance(value, Bracket):
        return bracket(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _causes(found):
    if not found.causes:
        return "<p>Nothing was changed.</p>"
    caption = "Every row is the same runs with one thing changed; the factor is over runs beside them without a change."
    return _table(CAUSES, [_cause_row(cause, found) for cause in found.causes], NUMBERS, caption)


def _cause_row(cause: Cause, found):
    saves = cause.saves and found.verdict is StepVerdict.BEYOND
    is_measured = math.isfinite(cause.factor)
    bound = " or more" if math.isinf(cause.largest_step.upper) else ""
    return (
        cause.name,
        f"{size(cause.factor)}x{bound}" if is_measured else "",
        span(cause.largest_step) if is_measured else "",
        size(cause.best_loss) if math.isfinite(cause.best_loss) else "",
        str(cause.num_runs),
        cause.note or (f"saves {size(found.step_size)}" if saves else ""),
    )


def _told(value):
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "none"
    return "none" if value is None else str(value)


def _table(heading, body, numbers=(), caption=""):
    """HTML of rows of text, the first column of which names them."""
    made = [f"<caption>{escape(caption)}</caption>"] if caption else []
    if heading:
        made.append("<tr>" + "".join(f'<th scope="col">{escape(name)}</th>' for name in heading) + "</tr>")
    for first, *rest in body:
        cells = [
            f'<td class="number">{escape(cell)}</td>' if i in numbers else f"<td>{escape(cell)}</td>"
            for i, cell in enumerate(rest, 1)
        ]
        made.append(f'<tr><th scope="row">{escape(first)}</th>{"".join(cells)}</tr>')
    return "<table>\n" + "\n".join(made) + "\n</table>"
