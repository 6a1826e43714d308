"""Numbers spoken by a small synthesiser: `tones:digits` (one word a row), `tones:numbers` (one to three words).

It is no speech: a buzz or a hiss shaped by the resonances that tell vowels and consonants apart, with another voice
and another haste in each row. It shows that sound goes the whole way, and nothing of how well people are understood.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from evergreen.core.errors import DataError, suggest
from evergreen.data import sources

RATE, ROWS, VERSION = 8000, 600, 1
NOISE = 0.05  # of the loudest sample
SETS = {"digits": (1, 1), "numbers": (1, 3)}  # least and most words of a row
TYPE = pa.struct([("samples", pa.list_(pa.float32())), ("rate", pa.int32())])
WORDS = {
    "zero": "z i r o", "one": "w u n", "two": "t U", "three": "f r I", "four": "f O r",
    "five": "f a I v", "six": "s i k s", "seven": "s e v u n", "eight": "e I t", "nine": "n a I n",
}  # fmt: skip
SOUNDS = {  # a voice's share, the resonances in Hz (Peterson and Barney 1952, rounded), seconds
    "a": (1.0, (730, 1090, 2440), 0.10), "e": (1.0, (530, 1840, 2480), 0.09), "i": (1.0, (390, 1990, 2550), 0.08),
    "I": (1.0, (270, 2290, 3010), 0.10), "o": (1.0, (450, 800, 2400), 0.12), "O": (1.0, (570, 840, 2410), 0.11),
    "u": (1.0, (640, 1190, 2390), 0.09), "U": (1.0, (300, 870, 2240), 0.12), "r": (0.9, (420, 1300, 1600), 0.07),
    "w": (0.8, (290, 610, 2150), 0.06), "n": (0.7, (250, 1450, 2300), 0.07), "v": (0.4, (220, 1100, 2080), 0.05),
    "z": (0.3, (240, 1600, 3500), 0.07), "s": (0.0, (3300, 3600, 3800), 0.09), "f": (0.0, (1100, 2100, 2600), 0.07),
    "t": (0.0, (2600, 3000, 3700), 0.03), "k": (0.0, (1500, 1900, 2600), 0.04),
}  # fmt: skip


class TonesSource(sources.Source):
    def read(self) -> Iterator[pa.RecordBatch]:
        least, most = self._words()
        random = np.random.default_rng([VERSION, most])
        sounds, texts = [], []
        for _ in range(ROWS):
            words = [str(word) for word in random.choice(list(WORDS), random.integers(least, most + 1))]
            sounds.append({"samples": synthesize(words, random), "rate": RATE})
            texts.append(" ".join(words))
        table = pa.table({"audio": pa.array(sounds, TYPE), "text" if most > 1 else "word": pa.array(texts)})
        yield from sources.with_origin(table, f"tones:{self.name}").combine_chunks().to_batches()

    def fingerprint(self) -> str:
        self._words()
        return f"tones {self.name} {VERSION}"

    def _words(self) -> tuple[int, int]:
        if self.name not in SETS:
            fix = suggest(self.name, SETS)
            raise DataError(f"there are no tones called '{self.name}'", place=f"tones:{self.name}", fix=fix)
        return SETS[self.name]


def synthesize(words: list[str], random: np.random.Generator) -> np.ndarray:
    """Return (N,) float32 samples of words, spoken by a random voice with some noise around it."""
    pitch, tract, haste = random.uniform(90, 240), random.uniform(0.85, 1.15), random.uniform(0.8, 1.25)
    parts = [_silence(random.uniform(0.02, 0.4))]
    for word in words:
        for name in WORDS[word].split():
            parts.append(_sound(name, pitch * random.uniform(0.95, 1.05), tract, haste, random))
        parts.append(_silence(random.uniform(0.05, 0.15)))
    samples = np.concatenate(parts)
    noise = random.normal(0, NOISE * np.abs(samples).max(), len(samples))
    loudness: np.ndarray = 0.8 * random.uniform(0.3, 1) * (samples + noise) / np.abs(samples + noise).max()
    return loudness.astype(np.float32)


def _sound(name: str, pitch: float, tract: float, haste: float, random: np.random.Generator) -> np.ndarray:
    """Return a buzz at the pitch and a hiss, in the shares of this sound, through its three resonances."""
    share, resonances, seconds = SOUNDS[name]
    count = round(seconds * haste * random.uniform(0.85, 1.15) * RATE)
    buzz = np.cumsum(np.full(count, pitch / RATE)) % 1 - 0.5
    source = share * buzz + (1 - share) * 0.4 * random.normal(0, 1, count)
    tones = np.fft.rfftfreq(count, 1 / RATE)
    centres = np.array(resonances) * tract * random.uniform(0.97, 1.03, 3)
    width = 0.05 * centres + 60
    gain = (np.array([1, 0.6, 0.35])[:, None] / (1 + ((tones - centres[:, None]) / width[:, None]) ** 2)).sum(axis=0)
    shaped = np.fft.irfft(np.fft.rfft(source) * gain, count)
    edge = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.008 * RATE))
    return np.asarray(shaped * edge / (np.sqrt((shaped**2).mean()) + 1e-9) * (0.4 + 0.6 * share))


def _silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))
