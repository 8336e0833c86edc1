"""Questions that a person asks, each answered by composing the rest."""

from gdx.studies.trajectory import Trajectory, trajectory

__all__ = ["Trajectory", "trajectory"]
