"""The fmt chunk of WAV and Wave64: what it says twice is compared, and mended where one of the two cannot be."""

import struct

RATES = range(1000, 400_000)  # Hz that a recording of speech may have
PLAIN = (1, 3, 6, 7, 0xFFFE)  # format tags whose sizes follow from width and channels: PCM, float, A-law, mu-law
RATE = "without a sampling rate in the header, taken from its bytes per second"
WIDTH = "with a header that says two widths of a sample"
SPEED = "with a header that says two sampling rates, of which the bytes per second are ignored"


def repaired(fmt: bytes, order: str = "<") -> tuple[bytes, list[str]]:
    """A fmt chunk that libsndfile reads as it is meant.

    It says the sampling rate and, in bytes per second and per sample of all channels, the same again. A rate of 0 is
    taken from there; so is the number of bits where these two agree with each other and not with it.

    Args:
        fmt: the chunk's body, at least 16 bytes.
        order: "<" or ">", of bytes.

    Returns:
        the chunk, unchanged where libsndfile reads it so anyway; notes on what is wrong with it.
    """
    if len(fmt) < 16:
        return fmt, []
    tag, channels, rate, per_second, block, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    notes = []
    if rate == 0 and block and per_second % block == 0 and per_second // block in RATES:
        rate = per_second // block
        notes.append(RATE)
    if tag in PLAIN and channels and block != channels * -(-bits // 8):
        notes.append(WIDTH)
        if block and per_second == rate * block and block % channels == 0 and block // channels in (1, 2, 3, 4, 8):
            bits = 8 * block // channels
    elif tag in PLAIN and rate and per_second not in (0, rate * block):
        notes.append(SPEED)
    return struct.pack(order + "HHIIHH", tag, channels, rate, per_second, block, bits) + fmt[16:], notes


def sizes(fmt: bytes, order: str = "<") -> tuple[int, float]:
    """Bytes of one sample of all channels, and of one second."""
    if len(fmt) < 16:
        return 1, 0.0
    tag, channels, rate, per_second, block, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    if tag in PLAIN:
        step = max(1, channels * -(-bits // 8))
        return step, step * rate
    return max(1, block), min(per_second, RATES.stop)
