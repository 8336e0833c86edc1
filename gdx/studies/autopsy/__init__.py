"""Why a training run blew up: a few of its steps made again with one thing changed, and which change saves them."""

from gdx.studies.autopsy.found import Autopsy, Kind, Tried
from gdx.studies.autopsy.study import autopsy

__all__ = ["Autopsy", "Kind", "Tried", "autopsy"]
