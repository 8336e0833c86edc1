"""How large the step of one job may be, how close it is, why it blows up, and what would help."""

from gdx.studies.stability.found import Cause, Curve, Margin, RangeTest, Reached, Stability, StepVerdict, Trust
from gdx.studies.stability.study import stability

__all__ = [
    "Cause",
    "Curve",
    "Margin",
    "RangeTest",
    "Reached",
    "Stability",
    "StepVerdict",
    "Trust",
    "stability",
]
