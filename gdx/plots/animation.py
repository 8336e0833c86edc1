"""Paths as they come about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.plots.paths import TITLE, draw, headline, new_axes
from gdx.studies import Comparison

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

INTERVAL = 100
"""Milliseconds a frame."""


def animate(found: Comparison, *, title: str | None = None, num_frames: int = 50, hold: int = 10) -> FuncAnimation:
    """Draw the picture of `trajectories` as it comes about; all optimizers step at one pace.

    Parameters
    ----------
    found
        As `gdx.studies.compare` gives it.
    title
        Above the paths, before the number of the step; by default the landscape, the number of steps and the start.
    num_frames
        Frames from the start to the last step; fewer where there are fewer steps.
    hold
        How many times the last frame is repeated.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        `.save("paths.gif", writer="pillow")` writes it.

    Examples
    --------
    Continues the example of `gdx.studies.compare`.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "paths.gif")
    >>> gdx.plots.animate(found, num_frames=2, hold=0).save(path)
    >>> path.exists()
    True
    """
    from matplotlib.animation import FuncAnimation

    left, right = new_axes()
    drawn = draw(left, right, found)
    caption = left.set_title(_caption(found, title, found.num_steps), **TITLE)
    figure: Any = left.figure
    figure.draw_without_rendering()
    # Laid out once: a picture that shifts from frame to frame cannot be watched.
    figure.set_layout_engine("none")
    steps = np.unique(np.linspace(0, found.num_steps, num_frames + 1).round().astype(int)).tolist()

    def show(step):
        for one in drawn:
            _show_until(one, step)
        caption.set_text(_caption(found, title, step))
        return []

    return FuncAnimation(figure, show, frames=steps + [steps[-1]] * hold, interval=INTERVAL, blit=False)


def _caption(found, title, step):
    return f"{headline(found) if title is None else title}, step {step}"


def _show_until(one, step):
    rows = one.route.points[: 3 * step]
    one.line.set_data(rows[:, 0], rows[:, 1])
    # A marker beyond the end of the line would be an error.
    one.line.set_markevery(one.marked[one.marked < len(rows)].tolist())
    last = rows[-1] if step else one.path.params[0]
    one.head.set_data(last[:1], last[1:])
    for mark, at in zip(one.exits, one.route.exit_steps, strict=True):
        mark.set_visible(bool(at < step))
    one.curve.set_data(np.arange(step + 1), one.heights[: step + 1])
