"""The One Euro filter: points that neither tremble while a face is still nor lag while it moves.

Casiez, Roussel & Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems", CHI
2012: exponential smoothing whose cut-off frequency grows with the speed.
"""

import numpy as np

# Hertz, and hertz per (face's size per second). The size being the unit, a face twice as near is smoothed alike.
CUTOFF, SLOPE, SPEED_CUTOFF = 1.5, 8.0, 1.0


class OneEuro:
    """Smooths float arrays of one shape, a coordinate each for itself, given every frame."""

    def __init__(self, rate: float, cutoff: float = CUTOFF, slope: float = SLOPE, speed_cutoff: float = SPEED_CUTOFF):
        """rate: frames a second."""
        self.rate, self.cutoff, self.slope, self.speed_cutoff = rate, cutoff, slope, speed_cutoff
        self.last = self.speed = None

    def __call__(self, values: np.ndarray, size: float = 1.0) -> np.ndarray:
        """The smoothed values of this frame. size: what a speed of 1 moves by in a second, in the values' unit."""
        if self.last is None:
            self.last, self.speed = np.array(values, np.float64), np.zeros(np.shape(values))
            return self.last
        speed = (values - self.last) * self.rate / size
        self.speed = self.speed + self._share(self.speed_cutoff) * (speed - self.speed)
        self.last = self.last + self._share(self.cutoff + self.slope * np.abs(self.speed)) * (values - self.last)
        return self.last

    def _share(self, cutoff):
        """Of the new value in the mean, 1 / (1 + tau * rate) with the time constant tau = 1 / (2 pi cutoff)."""
        return 1 / (1 + self.rate / (2 * np.pi * cutoff))
