"""A fmt chunk that contradicts itself."""

import struct

import pytest

from espnet2_secap.data.wav_format import RATE, SPEED, WIDTH, repaired, sizes


def fmt(tag=1, channels=1, rate=16000, per_second=32000, block=2, bits=16):
    return struct.pack("<HHIIHH", tag, channels, rate, per_second, block, bits)


@pytest.mark.parametrize(
    ("given", "mended", "note"),
    [
        (fmt(), fmt(), []),
        (fmt(rate=0), fmt(), [RATE]),
        (fmt(rate=0, per_second=0), fmt(rate=0, per_second=0), []),
        (fmt(rate=0, per_second=20), fmt(rate=0, per_second=20), []),  # 10 Hz is none
        (fmt(bits=8), fmt(), [WIDTH]),  # two of three say 16 bits
        (fmt(bits=0), fmt(), [WIDTH]),
        (fmt(block=4), fmt(block=4), [WIDTH]),  # libsndfile does not look at it
        (fmt(per_second=16000), fmt(per_second=16000), [SPEED]),
        (fmt(per_second=0), fmt(per_second=0), []),
        (fmt(bits=12), fmt(bits=12), []),  # of two bytes
        (fmt(tag=17, bits=4, block=256, per_second=8110), fmt(tag=17, bits=4, block=256, per_second=8110), []),
        (b"short", b"short", []),
    ],
)
def test_what_is_said_twice_is_compared(given, mended, note):
    assert repaired(given) == (mended, note)
    assert repaired(given + b"more") == (mended + b"more", note) or len(given) < 16


def test_sizes_follow_from_width_and_channels():
    assert sizes(fmt(channels=2, bits=24, block=1, per_second=1)) == (6, 96000)
    assert sizes(fmt(tag=17, bits=4, block=256, per_second=8110)) == (256, 8110)
    assert sizes(b"") == (1, 0.0)
