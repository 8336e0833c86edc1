"""Windows of the character corpus that comes with gdx, as a loader gives them."""

import numpy as np

from gdx.problems.corpus import TEXT

CHARACTERS = sorted(set(TEXT))
TOKENS = np.array([CHARACTERS.index(character) for character in TEXT], np.int32)


def windows(length=32, batch_size=16):
    """Batches of consecutive windows, as a loader gives them: [b, length + 1] tokens, endlessly."""
    rng = np.random.default_rng(0)
    while True:
        starts = rng.integers(0, len(TOKENS) - length, batch_size)
        yield np.stack([TOKENS[start : start + length + 1] for start in starts])
