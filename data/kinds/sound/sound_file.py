"""Read sound files: WAV by itself, FLAC, OGG and MP3 by the library soundfile, which the extra `audio` installs."""

import io

import numpy as np

from evergreen.core.errors import DataError
from evergreen.data.decode_limits import spend
from evergreen.data.kinds.sound.wav import decode_wav

FRAMES = 1 << 16  # read at once: a header may promise any number
INSTALL = "pip install 'evergreen[audio]', or save it as WAV"


def decode_sound(block: bytes) -> tuple[np.ndarray, int]:
    """Return (N,) float32 samples within −1…1, the mean of all channels, and their rate.

    Raises DataError, without a place, for what is no sound file, holds no sample or needs soundfile where that is not.
    """
    if not block or block[:4] == b"RIFF":
        return decode_wav(block)
    try:
        import soundfile
    except (ImportError, OSError) as error:  # or its C library is not there
        raise DataError("is not a WAV file, and soundfile is not installed", fix=INSTALL) from error
    parts = [np.empty(0, np.float32)]
    try:
        with soundfile.SoundFile(io.BytesIO(block)) as file:
            while len(part := file.read(FRAMES, dtype="float32", always_2d=True)):
                spend("samples", part.size)
                parts.append(part.mean(axis=1, dtype=np.float32))
            rate = file.samplerate
    except soundfile.SoundFileError as error:
        fix = "save it as WAV, FLAC, OGG or MP3"
        raise DataError(f"is not a sound file ({str(error).rpartition(': ')[2]})", fix=fix) from error
    samples = np.concatenate(parts)
    if not len(samples) or not np.isfinite(samples).all():
        problem = "holds NaN or Infinity" if len(samples) else "holds 0 samples"
        raise DataError(problem, fix="record it again, or leave it out")
    return samples, rate
