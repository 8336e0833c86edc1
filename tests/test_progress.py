"""A bar where somebody watches and waits, and nowhere else."""

import contextlib
import io
import os
import subprocess
import sys
import threading

import jax
import numpy as np
import optax
import pytest
from cases import keys

import gdx
from gdx import progress
from gdx.cli import console

pytestmark = pytest.mark.usefixtures("quick_compilation")
STEP_SIZES = np.linspace(0.1, 1.0, 4)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def run():
    return gdx.sweep(gdx.problems.quartic(), optax.sgd, num_steps=20, tail=5, slots=2)


@pytest.fixture
def terminal(monkeypatch):
    """Somebody who watches and does not wait."""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    monkeypatch.setattr(console, "is_watched", lambda: True)


@pytest.fixture
def bars(monkeypatch):
    """Bars that were started."""
    found = []
    start = progress._start
    monkeypatch.setattr(progress, "_start", lambda: found.append(start()) or found[-1])
    return found


def test_a_sweep_on_a_terminal_shows_a_bar_and_wipes_it_off(run, bars, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with contextlib.redirect_stderr(Terminal()) as shown:
        run(STEP_SIZES, keys(2))
    (bar,) = bars
    assert (bar.tasks[0].completed, bar.tasks[0].total) == (8, 8)
    assert "8/8 runs" in shown.getvalue()
    assert not bar.live.is_started


@pytest.mark.usefixtures("terminal")
def test_false_shows_nothing_and_a_function_is_called_instead(run, bars):
    run(STEP_SIZES, keys(2), progress=False)
    said = []
    run(STEP_SIZES, keys(2), progress=lambda *counts: said.append(counts))
    assert said[-1] == (8, 8)
    assert bars == []


def test_no_terminal_no_bar(run, monkeypatch, bars):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        run(STEP_SIZES, keys(2))
    assert bars == []


@pytest.mark.usefixtures("terminal")
def test_what_is_quick_shows_no_bar(run, bars, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 60.0)
    run(STEP_SIZES, keys(2))
    assert bars == []


@pytest.mark.usefixtures("terminal")
def test_a_search_of_many_sweeps_shows_one_bar(run, bars):
    gdx.critical_step_size(keys=keys(1), run=run, bracket=(0.1, 3.0), rtol=0.1, estimate=False, criterion="bounded")
    (bar,) = bars
    assert [task.description for task in bar.tasks] == ["edges"]
    gdx.critical_step_size(
        keys=keys(1), run=run, bracket=(0.1, 3.0), rtol=0.1, estimate=False, criterion="bounded", progress=False
    )
    assert len(bars) == 1


@pytest.mark.usefixtures("terminal")
def test_a_trace_shows_nothing(run, bars):
    jax.jit(lambda step_sizes: run(step_sizes, keys(2)).steps)(STEP_SIZES)
    assert bars == []


@pytest.mark.usefixtures("terminal")
def test_the_command_lines_bar_is_the_only_one(run, bars):
    with console.progress_bar(False) as told:
        run(STEP_SIZES, keys(2), progress=lambda *counts: told("sweep", *counts))
    assert [task.description for task in bars[0].tasks] == ["sweep"]
    with console.progress_bar(True) as told:
        run(STEP_SIZES, keys(2), progress=told)
    assert len(bars) == 1


@pytest.mark.usefixtures("terminal")
def test_two_threads_do_not_draw_over_each_other(bars):
    def one():
        with progress.shown(None, "mine") as told:
            meet.wait()
            if told is not None:
                told(1, 2)
            meet.wait()

    meet = threading.Barrier(2)
    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bars) == 1
    meet = threading.Barrier(1)
    one()
    assert len(bars) == 2


@pytest.mark.usefixtures("terminal")
def test_an_error_leaves_no_bar_behind(bars):
    def fail():
        with progress.shown(None, "mine") as told:
            told(1, 2)
            raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            fail()
    assert [bar.live.is_started for bar in bars] == [False, False]


@pytest.mark.usefixtures("terminal")
def test_without_rich_there_is_no_bar_and_no_error(run, bars, monkeypatch):
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    run(STEP_SIZES, keys(2))
    assert bars == []


def test_what_is_no_function_is_refused(run):
    with pytest.raises(ValueError, match=r"progress: str is no function; .* pass False"):
        run(STEP_SIZES, keys(2), progress="yes")


LONG = """
import _thread, threading
import jax, jax.numpy as jnp, optax, gdx

run = gdx.sweep(gdx.problems.quartic(), optax.adam, num_steps=20_000_000, slots=8)
timer = threading.Timer(9.0, _thread.interrupt_main)
timer.daemon = True
timer.start()
try:
    run(jnp.linspace(1e-3, 1e-2, 16), jax.random.split(jax.random.key(0), 2))
except KeyboardInterrupt:
    pass
"""


def _read_all(reader, read):
    """Until there is nothing more to come, which Linux calls an error."""
    while True:
        try:
            some = os.read(reader, 1 << 16)
        except OSError:
            return
        if not some:
            return
        read.append(some)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_a_long_sweep_shows_a_bar_on_a_real_terminal_and_none_in_a_pipe():
    command = [sys.executable, "-c", LONG]
    reader, writer = os.openpty()
    # Who never reads a terminal stops whoever writes to it, once some pages are full.
    read: list[bytes] = []
    eye = threading.Thread(target=_read_all, args=(reader, read), daemon=True)
    eye.start()
    done = subprocess.run(
        command, stderr=writer, stdout=subprocess.PIPE, env=os.environ | {"TERM": "xterm"}, check=False
    )
    os.close(writer)
    eye.join(10)
    os.close(reader)
    shown = b"".join(read)
    assert b"/32 runs" in shown
    assert (done.returncode, done.stdout) == (0, b"")
    piped = subprocess.run(command, capture_output=True, check=False)
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, b"", b"")
