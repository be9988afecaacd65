"""Cutting a long recording into pieces at its pauses, by energy."""

import numpy as np

FRAME = 0.01  # seconds
SMOOTH = 20  # frames over which energy is averaged for the level of speech: a click is shorter
MARGIN = 0.2  # seconds of silence kept before and after speech
QUIET = 60.0  # dB below the loudest 0.2 s, where silence ends at the latest
LEAST_RANGE = 6.0  # dB between silence and speech; where there is less, all is taken for speech
LEAST_SPEECH = 0.1  # seconds of speech in a piece: a click is no speech
EARLIEST = 0.4  # of the longest piece: no cut before


def cut_at_silence(samples: np.ndarray, fs: int, longest: float, shortest: float = 0.3) -> list[tuple[int, int]]:
    """Cut a recording into pieces of at most `longest` seconds, each cut in the longest pause within reach.

    Silence is what lies less than 30% of the way (in dB) from the quiet tenth of the frames up to the loudest 0.2 s.
    Silence around a piece is dropped but for 0.2 s; so is a piece that is shorter than `shortest` then, or has less
    than 0.1 s of speech. A recording that is not longer than `longest` stays whole. The same samples always give the
    same pieces.

    Args:
        samples: (samples,) int16 or float.
        fs: sampling rate in Hz.
        longest: seconds a piece may have.
        shortest: seconds it must have.

    Returns:
        start and end of each piece, in samples; none where no piece is left.
    """
    most = int(min(longest * fs, len(samples)))
    if len(samples) <= most:
        return [(0, len(samples))]
    hop = max(1, round(FRAME * fs))
    level, threshold = frame_levels(samples, hop)
    speech = level > threshold
    pieces, end = [], len(speech)
    frames, margin = max(1, most // hop), round(MARGIN / FRAME)
    start = 0
    while (start := _next(speech, start)) < end:
        begin = max(start - margin, pieces[-1][1] if pieces else 0)
        stop = end
        if end - begin > frames:
            stop = _best_cut(level, threshold, begin + int(frames * EARLIEST), begin + frames)
        last = start + int(np.flatnonzero(speech[start:stop])[-1]) + 1
        if speech[start:stop].sum() * FRAME >= LEAST_SPEECH:
            pieces.append((begin, min(last + margin, stop)))
        start = stop
    bounds = [(begin * hop, min(stop * hop, len(samples))) for begin, stop in pieces]
    return [(begin, stop) for begin, stop in bounds if stop - begin >= shortest * fs]


def frame_levels(samples: np.ndarray, hop: int) -> tuple[np.ndarray, float]:
    """Level in dB of each frame of `hop` samples, (frames,), the last one filled with zeros; level above which it is
    speech."""
    count = -(-len(samples) // hop)
    power = np.empty(count)
    scale = 2**15 if samples.dtype == np.int16 else 1.0
    step = 2**14  # frames at a time: float64 of hours of speech would fill the memory
    for at in range(0, count, step):
        block = samples[at * hop : (at + step) * hop].astype(np.float64) / scale
        padded = np.pad(block, (0, -len(block) % hop)).reshape(-1, hop)
        power[at : at + len(padded)] = np.square(padded).mean(axis=1)
    window = min(SMOOTH, count)
    loudest = 10 * np.log10(np.convolve(power, np.ones(window) / window, "valid").max() + 1e-20)
    level = np.maximum(10 * np.log10(power + 1e-20), loudest - QUIET)  # dB
    floor = np.percentile(level, 10)
    if loudest - floor < LEAST_RANGE:
        return level, -np.inf
    return level, floor + 0.3 * (loudest - floor)


def _next(speech: np.ndarray, start: int) -> int:
    """The first frame of speech from `start` on, or the number of frames."""
    found = np.flatnonzero(speech[start:])
    return start + int(found[0]) if len(found) else len(speech)


def _best_cut(level: np.ndarray, threshold: float, low: int, high: int) -> int:
    """The middle of the longest pause between two frames, the later of equals; the quietest frame if none pauses."""
    quiet = np.concatenate([[False], level[low:high] <= threshold, [False]])
    edges = np.flatnonzero(quiet[1:] != quiet[:-1]).reshape(-1, 2)  # start and end of each pause
    if not len(edges):
        return low + 1 + int(level[low:high].argmin()) if low + 1 < high else high
    lengths = edges[:, 1] - edges[:, 0]
    first, last = edges[len(lengths) - 1 - int(lengths[::-1].argmax())]
    return low + int(first + last + 1) // 2
