"""Recordings that a command makes (`sox x.mp3 -t wav - |` in wav.scp), run only with --allow_pipes true."""

import contextlib
import hashlib
import os
import selectors
import signal
import subprocess
import time

from espnet2_secap.data.audio import LONGEST, BadAudio
from espnet2_secap.errors import shorten

MOST = int(LONGEST * 48000 * 2 * 4)  # bytes: the longest recording in stereo, 32 bits, 48 kHz
SAID = 2000  # bytes of a command's stderr that are kept, the last ones


def run_command(entry: str, limit: float) -> bytes:
    """Run the command of an entry of wav.scp in bash and return what it writes to stdout.

    Args:
        entry: `command |` or `| command`. A pipeline fails where any of its parts does (pipefail).
        limit: seconds; a command that takes longer is killed with all that it started.

    Raises:
        BadAudio: the command fails, writes nothing or too much, or takes too long; with the end of its stderr.
    """
    command = entry.strip().removesuffix("|").removeprefix("|").strip()
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        content, said = _read(process, time.monotonic() + limit)
    except BaseException as err:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(err, TimeoutError):
            raise BadAudio(
                f"its command was stopped after {limit:g} s; fix it in wav.scp, or raise --pipe_seconds (in a recipe:"
                ' --format_args "--pipe_seconds 600")'
            ) from None
        raise
    finally:
        process.wait()
        process.stdout.close()
        process.stderr.close()
    told = shorten(" ".join(said.decode("utf-8", "replace").split())[-300:], 300) or "it said nothing"
    if process.returncode != 0:
        raise BadAudio(f"its command failed: exit status {process.returncode}: {told}; fix it in wav.scp")
    if not content:
        raise BadAudio(f"its command wrote nothing: {told}; fix it in wav.scp")
    return content


def _read(process: subprocess.Popen, deadline: float) -> tuple[bytes, bytes]:
    """All of stdout and the end of stderr, when both are closed and the process has ended."""
    content, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, content)
        selector.register(process.stderr, selectors.EVENT_READ, said)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                block = os.read(key.fd, 1 << 16)
                key.data.extend(block)
                if not block:
                    selector.unregister(key.fileobj)
            if len(content) > MOST:
                raise BadAudio(f"its command was stopped: it wrote more than {MOST} bytes; fix it in wav.scp")
            del said[:-SAID]
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(content), bytes(said)


def stamp(entry: str) -> int:
    """A time of change in nanoseconds that stands for a command's text, for audio made by it (`made_samples`)."""
    return int.from_bytes(hashlib.sha256(entry.strip().encode()).digest()[:8], "big") % (2**31 * 10**9)
