"""Sound from files and requests to spectra."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
import pyarrow as pa
import pytest

from evergreen.core.errors import DataError
from evergreen.data.kinds import find
from evergreen.data.kinds.sound import mel as spectra
from evergreen.data.kinds.sound import wav
from evergreen.data.sources import open_source
from evergreen.data.sources.tones import TonesSource as Tones
from evergreen.data.sources.tones import synthesize

RATE = 8000
SECOND = np.arange(RATE) / RATE


def tone(hertz: float, count: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * SECOND[:count])).astype(np.float32)


def column(*sounds: np.ndarray, rate: int = RATE) -> pa.Array:
    rows = [{"samples": sound.tolist(), "rate": rate} for sound in sounds]
    return find("audio").validate(pa.array(rows))[0]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_the_standard_library_writes_is_read(width, channels):
    sound = tone(440, 100)
    numbers = np.repeat(np.round(sound * 2 ** (8 * width - 1)).astype(np.int64), channels)
    block = (numbers + 128).astype(np.uint8).tobytes()
    if width > 1:
        block = b"".join(int(one).to_bytes(width, "little", signed=True) for one in numbers)
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((channels, width, RATE, 0, "NONE", ""))
        file.writeframes(block)
    samples, rate = wav.decode_wav(written.getvalue())
    assert rate == RATE
    np.testing.assert_allclose(samples, sound, atol=2.0 ** (1 - 8 * width))


def test_what_is_written_is_read_by_the_standard_library():
    with wave.open(io.BytesIO(wav.encode_wav(tone(440, 100), RATE))) as file:
        assert (file.getframerate(), file.getnframes(), file.getsampwidth()) == (RATE, 100, 2)
    np.testing.assert_allclose(wav.decode_wav(wav.encode_wav(tone(440, 100), RATE))[0], tone(440, 100), atol=1e-4)


def test_floats_are_read_and_odd_chunks_passed_over():
    sound = tone(440, 10).astype("<f4")
    form = b"fmt \x10\0\0\0\x03\0\x01\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x20\0"
    body = b"WAVELIST\x03\0\0\0abc\0" + form + b"data" + (40).to_bytes(4, "little") + sound.tobytes()
    samples, _ = wav.decode_wav(b"RIFF" + len(body).to_bytes(4, "little") + body)
    np.testing.assert_array_equal(samples, sound)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"", "empty"),
        (b"ID3 something else", "not a WAV"),
        (wav.encode_wav(tone(440), RATE)[:30], "cut off"),
        (wav.encode_wav(np.zeros(0), RATE), "0 samples"),
    ],
)
def test_broken_files_say_why(block, why):
    with pytest.raises(DataError, match=why):
        wav.decode_wav(block)


def test_the_power_of_a_pure_tone_lies_in_its_band():
    state = {"rate": RATE, "mel": 30, "step": 0.01}
    edges = spectra.mel_to_hz(np.linspace(0, spectra.hz_to_mel(RATE / 2), 32))
    for hertz in (300, 1000, 2500):
        band = int(spectra.log_mel(tone(hertz), state).mean(axis=0).argmax())
        assert edges[band] <= hertz <= edges[band + 2]


def test_bands_cover_every_tone_and_none_is_empty():
    weights = spectra.mel_filters(RATE, 256, 40)
    assert (weights.sum(axis=1) > 0).all()
    assert (weights.sum(axis=0)[2:-1] > 0).all()


def test_another_rate_is_the_same_sound():
    fast = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / (2 * RATE))
    np.testing.assert_allclose(spectra.resample(fast, 2 * RATE, RATE), tone(440), atol=1e-5)


def test_shorter_rows_end_in_zeros_and_loudness_does_not_count():
    kind = find("audio")
    sounds = column(tone(440), tone(440) / 9, tone(900, 3000))
    field = kind.fit({"sound": sounds}, mel=20, step=0.02)
    assert field.shape == (50, 20)
    values = kind.encode(field, [sounds])
    np.testing.assert_allclose(values[0], values[1], atol=1e-3)
    assert values[2, :15].any()
    assert not values[2, 20:].any()
    assert np.concatenate([values[0], values[1], values[2, :19]]).mean(axis=0) == pytest.approx(0, abs=0.05)


def test_a_waveform_stays_one_whatever_its_loudness():
    kind, sounds = find("audio"), column(tone(440), tone(440) / 9, tone(900, 3000))
    field = kind.fit({"sound": sounds}, form="waveform")
    assert field.shape == (RATE, 1)
    values = kind.encode(field, [sounds])
    np.testing.assert_allclose(values[0, :, 0], tone(440) / tone(440).std(), atol=1e-3)
    np.testing.assert_allclose(values[0], values[1], atol=1e-5)
    assert not values[2, 3000:].any()
    varied = kind.augment(field, values, np.random.default_rng(0))
    assert all(
        0.8 < (after != 0).mean() / (before != 0).mean() <= 1 for after, before in zip(varied, values, strict=True)
    )
    assert kind.fit({"sound": sounds}, form="waveform", seconds=0.1, rate=4000).shape == (400, 1)
    with pytest.raises(DataError, match="'wave' is not a valid form"):
        kind.fit({"sound": sounds}, form="wave")


def test_a_request_may_be_samples_or_a_file():
    kind, sounds = find("audio"), column(tone(440), tone(900))
    field = kind.fit({"sound": sounds})
    sent = [
        tone(440).tolist(),
        base64.b64encode(wav.encode_wav(tone(440), RATE)).decode(),
        kind.to_json(field, 0, sounds[0]),
    ]
    values = kind.encode(field, [kind.to_arrow(field, [kind.from_json(field, 0, one) for one in sent])])
    np.testing.assert_allclose(values, np.repeat(kind.encode(field, [sounds])[:1], 3, axis=0), atol=0.1)
    kind.from_json(field, 0, kind.json_schema(field, 0)["example"])


@pytest.mark.parametrize("wrong", [[], "###", 3, None, [[1.0]], ["a"], [True], [float("nan")], {"samples": [1.0]}])
def test_a_request_that_is_no_sound_is_refused(wrong):
    kind = find("audio")
    field = kind.fit({"sound": column(tone(440))})
    with pytest.raises(DataError) as error:
        kind.from_json(field, 0, wrong)
    assert error.value.fix


def test_empty_rows_are_faults():
    kind = find("audio")
    rows = pa.array([{"samples": [0.1], "rate": RATE}, {"samples": [], "rate": RATE}, None])
    checked, faults = kind.validate(rows)
    assert faults == {1: "holds 0 samples"}
    assert [row.is_valid for row in checked] == [True, False, False]


def test_sound_is_recognised_and_a_series_is_left_alone():
    kind = find("audio")
    assert kind.detect(pa.array([{"samples": [0.0], "rate": 1}])) == 1
    assert kind.detect(pa.array([tone(440).tolist()])) > find("series").detect(pa.array([tone(440).tolist()]))
    assert kind.detect(pa.array([[1.0, 2.0, 3.0]])) == 0


def test_a_folder_of_recordings_with_labels_and_transcripts(tmp_path):
    for name, sound in (("low/a.wav", tone(200, 50)), ("high/b.wav", tone(900, 60))):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(wav.encode_wav(sound, RATE))
    (tmp_path / "high" / "empty.wav").touch()
    (tmp_path / "transcripts.csv").write_text("file,text\nlow/a.wav,mm\nhigh/b.wav,ee\n")
    source = open_source(f"audio:{tmp_path}", tmp_path)
    rows = pa.Table.from_batches(list(source.read())).to_pylist()
    assert [(row["_origin"], row["label"], row["text"], row["_fault"]) for row in rows] == [
        ("high/b.wav", "high", "ee", None),
        ("high/empty.wav", "high", None, "the file is empty"),
        ("low/a.wav", "low", "mm", None),
    ]
    assert len(rows[2]["audio"]["samples"]) == 50
    before = source.fingerprint()
    (tmp_path / "transcripts.csv").write_text("file,text\n")
    assert source.fingerprint() != before


def test_the_synthesiser_says_the_same_every_time(tmp_path):
    one, other = (synthesize(["seven", "two"], np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert RATE / 3 < len(one) < 2 * RATE
    with pytest.raises(DataError, match="digits"):
        Tones("digit", tmp_path).fingerprint()
