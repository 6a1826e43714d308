"""Compute log-mel spectra: the power of each band of tones, step by step, on a logarithmic scale."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

WINDOW = 0.025  # seconds that one spectrum looks at
FLOOR = 1e-6  # of the row's mean power: what is fainter is silence


def log_mel(samples: np.ndarray, state: Mapping[str, Any]) -> np.ndarray:
    """Return (T, M) log power in M bands of (N,) samples, one step of state["step"] seconds a row.

    The bands are triangles, evenly spaced on the mel scale (Stevens, Volkmann and Newman 1937; Davis and
    Mermelstein 1980). The power is relative to the row's mean, so that loudness does not count.
    """
    rate, bands = state["rate"], state["mel"]
    window, step = max(2, round(WINDOW * rate)), max(1, round(state["step"] * rate))
    count = 1 + max(0, -(-(len(samples) - window) // step))
    padded = np.zeros((count - 1) * step + window, np.float32)
    padded[: len(samples)] = samples[: len(padded)]
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step] * np.hanning(window).astype(np.float32)
    size = 1 << (window - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    heard = power @ mel_filters(rate, size, bands).T  # (T, M)
    return np.asarray(np.log(heard / max(float(heard.mean()), 1e-30) + FLOOR))


@cache
def mel_filters(rate: int, size: int, bands: int) -> np.ndarray:
    """Return (M, size // 2 + 1) weights of a spectrum's tones in each band; every band holds at least one tone."""
    edges = mel_to_hz(np.linspace(0, hz_to_mel(rate / 2), bands + 2))
    tones = np.fft.rfftfreq(size, 1 / rate)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (tones - low) / (middle - low), (high - tones) / (high - middle)
    weights: np.ndarray = np.maximum(0, np.minimum(rise, fall))
    empty = weights.sum(axis=1) == 0  # narrower than the distance of two tones
    weights[empty, np.abs(tones - middle).argmin(axis=1)[empty]] = 1
    return weights


def hz_to_mel(frequency: Any) -> Any:
    """Convert hertz to mel (O'Shaughnessy 1987)."""
    return 2595 * np.log10(1 + frequency / 700)


def mel_to_hz(value: Any) -> Any:
    """Convert mel to hertz."""
    return 700 * (10 ** (value / 2595) - 1)


def resample(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """Return a sound with `new` samples a second instead of `old`; tones that do not fit are left out."""
    if old == new:
        return samples
    length = max(1, round(len(samples) * new / old))
    spectrum = np.fft.rfft(samples)
    return np.fft.irfft(spectrum[: length // 2 + 1], length).astype(np.float32) * (length / len(samples))
