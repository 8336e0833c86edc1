"""Colours that mean the same in every picture."""

from gdx.verdicts import TrainingVerdict, Verdict

# Okabe and Ito's palette: told apart by colour-blind eyes and, in this order, by their greys in print.
COLOURS = {
    Verdict.CONVERGED: "#0072B2",
    Verdict.SETTLING: "#56B4E9",
    Verdict.CYCLING: "#E69F00",
    Verdict.APERIODIC: "#CC79A7",
    Verdict.DIVERGED: "#D55E00",
    Verdict.UNDECIDED: "#BBBBBB",
    Verdict.STRANDED: "#F0E442",
    # Aperiodic, and darker.
    Verdict.CHAOTIC: "#7A2E6B",
}
TRAINING_COLOURS = {
    TrainingVerdict.TRAINED: "#0072B2",
    TrainingVerdict.TOO_SLOW: "#56B4E9",
    TrainingVerdict.BURSTING: "#E69F00",
    TrainingVerdict.DEAD: "#CC79A7",
    TrainingVerdict.BLOWN_UP: "#D55E00",
    TrainingVerdict.UNDECIDED: "#BBBBBB",
}
SUCCESS, FAILURE = "#009E73", "#D55E00"
EXPECTED = "#777777"
"""Of what others say, where gdx measured something beside it."""
