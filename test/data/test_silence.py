"""Long recordings are cut at their pauses."""

import numpy as np
import pytest

from espnet2_secap.data.silence import cut_at_silence

FS = 8000


def recording(*parts: tuple[str, float], floor=1e-4) -> np.ndarray:
    """("speech" or "pause", seconds), ...: noise of two levels, speech modulated as syllables are; int16."""
    rng = np.random.default_rng(0)
    out = []
    for kind, seconds in parts:
        x = rng.standard_normal(round(seconds * FS))
        syllables = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * np.arange(len(x)) / FS)
        out.append(x * (0.1 * syllables if kind == "speech" else floor))
    return np.rint(np.concatenate(out) * 32767).astype(np.int16)


def seconds(pieces) -> list[tuple[float, float]]:
    return [(round(start / FS, 2), round(end / FS, 2)) for start, end in pieces]


def test_a_short_recording_stays_whole():
    samples = recording(("pause", 1), ("speech", 2), ("pause", 1))
    assert cut_at_silence(samples, FS, 4.0) == [(0, len(samples))]


def test_cuts_lie_in_the_longest_pauses():
    samples = recording(
        ("speech", 3), ("pause", 0.3), ("speech", 2), ("pause", 0.6), ("speech", 4), ("pause", 2), ("speech", 3)
    )
    found = seconds(cut_at_silence(samples, FS, 8.0))
    # Pauses: 3.0-3.3, 5.3-5.9, 9.9-11.9. The first piece may end from 3.2 to 8 s, the second from 8.8 to 13.6 s.
    expected = [(0, 5.5), (5.7, 10.1), (11.7, 14.9)]
    np.testing.assert_allclose(found, expected, atol=0.12)


@pytest.mark.parametrize("floor", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_all_speech_is_in_a_piece_and_none_is_too_long(floor, dtype):
    rng = np.random.default_rng(1)
    parts, at, spoken = [], 0.0, []
    for _ in range(40):
        talk, pause = rng.uniform(0.5, 6), rng.uniform(0.1, 3)
        spoken.append((at, at + talk))
        parts += [("speech", talk), ("pause", pause)]
        at += talk + pause
    samples = recording(*parts, floor=floor)
    samples = samples if dtype is np.int16 else samples.astype(np.float32) / 32768
    pieces = cut_at_silence(samples, FS, 10.0)
    assert pieces == cut_at_silence(samples.copy(), FS, 10.0)
    assert all(0 < end - start <= 10 * FS for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in zip(pieces, pieces[1:], strict=False))
    inside = np.zeros(len(samples), bool)
    for start, end in pieces:
        inside[start:end] = True
    outside = sum(np.sum(~inside[round(a * FS) : round(b * FS)]) for a, b in spoken)
    assert outside < 0.01 * inside.sum()
    assert inside.mean() < 0.99  # long pauses are left out


def test_long_silence_gives_no_piece():
    found = seconds(cut_at_silence(recording(("speech", 1), ("pause", 100), ("speech", 1), ("pause", 50)), FS, 10.0))
    np.testing.assert_allclose(found, [(0, 1.2), (100.8, 102.2)], atol=0.03)


def test_speech_without_pauses_is_cut_where_it_is_quietest():
    samples = recording(("speech", 25))
    samples[round(6.0 * FS) : round(6.1 * FS)] //= 4
    pieces = cut_at_silence(samples, FS, 10.0)
    assert all(end - start <= 10 * FS for start, end in pieces)
    assert sum(end - start for start, end in pieces) == len(samples)
    assert 5.9 <= pieces[0][1] / FS <= 6.2


def test_a_click_is_no_piece():
    samples = recording(("speech", 3), ("pause", 30), ("speech", 3))
    samples[20 * FS : 20 * FS + 40] = 20000
    found = seconds(cut_at_silence(samples, FS, 8.0))
    np.testing.assert_allclose(found, [(0, 3.2), (32.8, 36)], atol=0.03)


def test_constant_noise_is_cut_into_pieces_of_the_limit():
    noise = np.random.default_rng(0).normal(0, 1000, 25 * FS).astype(np.int16)
    pieces = cut_at_silence(noise, FS, 10.0)
    assert sum(end - start for start, end in pieces) == len(noise) and max(b - a for a, b in pieces) <= 10 * FS


def test_pieces_below_the_minimum_are_dropped():
    samples = recording(("speech", 3), ("pause", 30), ("speech", 0.2), ("pause", 20))
    assert len(cut_at_silence(samples, FS, 8.0, shortest=0.3)) == 2
    assert len(cut_at_silence(samples, FS, 8.0, shortest=1.0)) == 1
