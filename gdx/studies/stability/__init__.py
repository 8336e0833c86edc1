"""How large the step of one job may be, how close it is, why it blows up, and what would help.

Every answer is a run that was made. The largest step size that trains is a bracket on whose ends the sweep and a
plain jitted optax loop agree; where they do not, there is no number but the reason. Causes are the same sweep with
one thing changed, beside a control with nothing changed. What the budget does not pay for is left out, and said to
be. `gdx stability my_module:problem --step-size 0.03` says it on the command line; `gdx.plots.stability(found)` draws
it, with loss against step size as a finder shows it.
"""

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
