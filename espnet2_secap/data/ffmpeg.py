"""Sound that libsndfile cannot read (m4a, wma, amr, the sound of a video), decoded by ffmpeg where it is installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet2_secap.data.audio import BadAudio
from espnet2_secap.errors import shorten

SECONDS = 900.0  # that decoding of one file may take
ENDINGS = frozenset(
    ".m4a .m4b .aac .wma .amr .awb .3gp .mp4 .m4v .mov .mkv .mka .webm .avi .wmv .flv .mpg .mpeg .ts .ac3 .eac3"
    " .ape .wv .tta .mpc .spx .dsf .qcp .adts".split()
)
# Files that hold their sound themselves: playlists (hls, concat, dash) open what they name, and wait for more.
FORMATS = (
    "mov,mp4,m4a,3gp,matroska,webm,asf,avi,flv,mpeg,mpegts,mpegvideo,aac,amr,amrnb,amrwb,ac3,eac3,ape,wv,tta,mpc,mpc8,"
    "ogg,mp3,flac,wav,w64,aiff,au,caf,dsf,qcp,loas,latm"
)
MISSING = "needs ffmpeg, which is not on PATH; install ffmpeg, or convert the recording to WAV"


def installed() -> bool:
    """Whether ffmpeg is on PATH."""
    return shutil.which("ffmpeg") is not None


@contextmanager
def decoded(path: str | Path, seconds: float = SECONDS) -> Iterator[Path]:
    """Decode the first sound track of a file to 16-bit PCM, with its own sampling rate and channels.

    ffmpeg is run without a shell, may open local files only, reads nothing from the terminal and is ended after the
    time limit.

    Args:
        path: an audio or video file.
        seconds: time limit.

    Yields:
        a Wave64 file in a temporary folder, which is removed after the block.

    Raises:
        BadAudio: ffmpeg is missing, fails or takes too long; with the last line of its stderr.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise BadAudio(MISSING)
    with tempfile.TemporaryDirectory(prefix="sec_ffmpeg.") as folder:
        made = Path(folder) / "sound.w64"
        source = f"file:{os.path.abspath(path)}"  # a name like http:x or -x is a file too
        command = [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file"]
        command += ["-format_whitelist", FORMATS]
        command += ["-i", source, "-map", "0:a:0", "-vn", "-sn", "-dn", "-c:a", "pcm_s16le", "-f", "w64", str(made)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise BadAudio(f"took ffmpeg longer than {seconds:g} s; convert the recording to WAV") from None
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        if any("matches no streams" in line for line in lines):
            raise BadAudio("has no sound track; leave it out")
        if done.returncode != 0:
            said = shorten(lines[-1].replace(source, "").lstrip(": "), 150)
            raise BadAudio(f"cannot be decoded by ffmpeg ({said}); copy it again, or convert it to WAV")
        yield made
