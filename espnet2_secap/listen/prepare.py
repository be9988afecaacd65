"""What a listening test is made of: recordings of a data directory and captions of systems."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espnet2_secap.data.audio import BadAudio
from espnet2_secap.data.io import is_visible, read_kaldi
from espnet2_secap.data.recordings import check_recording, read_recording
from espnet2_secap.data.sources import Recording, find_recordings
from espnet2_secap.devices import cpu_cores
from espnet2_secap.errors import SecError, few, shorten
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.report.audio import RATE, data_address

FORMATS = ("flac", "mp3")
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz


def read_systems(given: Sequence[str]) -> dict[str, dict[str, str]]:
    """System -> utterance -> caption, the first one where there are several.

    Args:
        given: NAME=FILE; FILE of any format of `sec_score`.

    Raises:
        SecError: no such form, a name twice, a file that cannot be read, an empty caption.
    """
    systems: dict[str, dict[str, str]] = {}
    for one in given:
        name, equals, path = one.partition("=")
        name = name.strip()
        if not equals or not path or not name or not name.isprintable():
            raise SecError(f"--systems {shorten(one)}: must be NAME=CAPTIONS_FILE")
        if name in systems:
            raise SecError(f"--systems {shorten(one)}: the name {name!r} occurs twice; choose another one")
        systems[name] = {utt: texts[0] for utt, texts in read_caption_file(path, system=True).items()}
        empty = [utt for utt, text in systems[name].items() if not is_visible(text)]
        for utt in empty:
            del systems[name][utt]
        if empty and not systems[name]:
            raise SecError(f"{path}: all captions are empty")
    return systems


def read_recordings(data_dir: str | Path) -> dict[str, Recording]:
    """Utterance -> recording, by the wav.scp of a data directory or of dump/raw/<set>.

    Raises:
        SecError: no such folder or wav.scp, commands in it, segments.
    """
    if not (Path(data_dir) / "wav.scp").is_file():
        raise SecError(f"{Path(data_dir) / 'wav.scp'}: does not exist; give a data directory as --data_dir")
    return {one.id: one for one in find_recordings([str(data_dir)])[0]}


def read_seconds(recordings: dict[str, Recording]) -> tuple[dict[str, float], list[str]]:
    """Length of each recording in seconds, and a line on those that cannot be read, which are not drawn."""
    seconds, bad = {}, []
    with ThreadPoolExecutor(cpu_cores()) as pool:
        for utt, length in zip(recordings, pool.map(_seconds, recordings.values()), strict=True):
            if isinstance(length, float):
                seconds[utt] = length
            else:
                bad.append(f"{utt}: {length}")
    if not seconds and bad:
        raise SecError(f"no recording can be read: {bad[0]}")
    return seconds, [f"{len(bad)} recordings cannot be read and are not drawn: {few(bad)}"] if bad else []


def _seconds(recording: Recording) -> float | str:
    try:
        header = check_recording(recording.path)
        return header.seconds if header else len(read_recording(recording.path, RATE)) / RATE
    except BadAudio as err:
        return str(err)


def read_emotions(data_dir: str | Path) -> dict[str, str]:
    """Utterance -> label of utt2emo, or {} without that file."""
    path = Path(data_dir) / "utt2emo"
    return read_kaldi(path) if path.is_file() else {}


def encode(recordings: Iterable[Recording], form: str) -> dict[str, str]:
    """Utterance -> its recording as a data: address, at its own sampling rate.

    Args:
        recordings: to encode.
        form: flac (lossless: nothing that tells of emotion is lost) or mp3 (about a fifth of the size).

    Raises:
        SecError: a recording cannot be decoded or encoded.
    """

    def one(recording: Recording) -> str:
        import soundfile

        try:
            header = check_recording(recording.path)
            rate = header.rate if header else RATE
            if form == "mp3" and rate not in MP3_RATES:
                rate = min((other for other in MP3_RATES if other > rate), default=MP3_RATES[-1])
            return data_address(read_recording(recording.path, rate), rate, form.upper())
        except (BadAudio, soundfile.SoundFileError, TypeError) as err:
            raise SecError(f"{recording.id}: {recording.path}: {err}; leave it out of wav.scp, or fix it") from None

    recordings = list(recordings)
    with ThreadPoolExecutor(cpu_cores()) as pool:
        return {recording.id: address for recording, address in zip(recordings, pool.map(one, recordings), strict=True)}
