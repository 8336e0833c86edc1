"""The sweep engine: thousands of runs at once, and a few facts about each."""

from gdx.sweeps.driver import Interrupted, Sweep, sweep
from gdx.sweeps.runs import Runs, Stop, Stopping

__all__ = ["Interrupted", "Runs", "Stop", "Stopping", "Sweep", "sweep"]
