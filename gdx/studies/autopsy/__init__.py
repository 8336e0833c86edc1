"""Why a training run blew up: a few of its steps made again with one thing changed, and which change saves them.

A checkpoint from shortly before a spike, and the batches that followed, say what the smallest change is that would
have saved the run: one batch, one layer's step, wider numbers, the schedule, clipping. Of 228 faults planted into
small trainings 96 % were blamed rightly, with 1 false alarm on 57 healthy runs (bench/autopsy.py); that a smaller
step in one layer saves a run does not say that it was set too large by mistake.
"""

from gdx.studies.autopsy.found import Autopsy, Kind, Tried
from gdx.studies.autopsy.study import autopsy

__all__ = ["Autopsy", "Kind", "Tried", "autopsy"]
