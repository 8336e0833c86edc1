"""Where a linear feedback loop begins to grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


def smallest_real_gain(response: Float[np.ndarray, " J"]) -> float:
    """Find the smallest positive real value of (1 - z) / R(z) on the unit circle without z = 1.

    Parameters
    ----------
    response
        r_0, r_1, ..., of which R(z) = sum_j r_j z^-j, [J].

    Returns
    -------
    float
        Infinite where there is none.
    """
    powers = np.arange(len(response))

    def gain(angle):
        z = np.exp(1j * angle)
        transfer = np.sum(response * np.exp(-1j * angle * powers))
        return np.inf if transfer == 0 else (1 - z) / transfer

    size = max(1 << 14, 1 << (4 * len(response) - 1).bit_length())
    angles = 2 * np.pi * np.arange(1, size // 2 + 1) / size
    transfer = np.fft.rfft(response, size)[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (1 - np.exp(1j * angles)) / transfer
    candidates = [values[-1].real] if abs(transfer[-1]) > 1e-12 * np.max(np.abs(transfer)) else []
    # The last angle is pi itself, where the gain is real up to rounding: not a crossing but a candidate.
    imaginary = values.imag[:-1]
    for i in np.flatnonzero(np.sign(imaginary[1:]) * np.sign(imaginary[:-1]) < 0):
        low, high = angles[i], angles[i + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            if np.sign(gain(middle).imag) == np.sign(gain(low).imag):
                low = middle
            else:
                high = middle
        # Through a zero of R the sign changes too, by way of infinity.
        if abs(gain(low) - gain(high)) <= 1e-6 * abs(gain(low)):
            candidates.append(gain(low).real)
    positive = [value for value in candidates if np.isfinite(value) and value > 0]
    return float(min(positive, default=np.inf))
