"""What stage 2 has to do for a set: which parts of which recordings, and which lines of the other files."""

from dataclasses import dataclass
from pathlib import Path

from espnet2_secap.data.io import invert, only, read_captions, read_kaldi, write_captions, write_kaldi
from espnet2_secap.data.labels import EMOTIONS, read_emotion_map, read_labels, spelling_warnings
from espnet2_secap.data.segments import Segment, read_segments
from espnet2_secap.data.validate import INVERSE, Leniency, require_good_data_dir, utterance_files
from espnet2_secap.errors import SecError, few

OURS = ("wav.scp", "utt2num_samples")  # files of dump/raw/<set> that are not copied


@dataclass
class Task:
    """What a data directory asks for.

    Args:
        sources: utterance -> recording, a path or a command.
        segments: utterance -> its part of the recording; None where utterances are whole recordings.
        wordless: utterances without a transcription, where there is a file text.
        emotions: label of utt2emo (and utt2emo_train) -> label that takes its place.
    """

    sources: dict[str, str]
    segments: dict[str, Segment] | None
    wordless: set[str]
    emotions: dict[str, str]

    def content(self) -> list:
        """All of it, for a fingerprint."""
        segments = {utt_id: vars(segment) for utt_id, segment in (self.segments or {}).items()}
        return [self.sources, segments, sorted(self.wordless), self.emotions]


def read_task(data_dir: str | Path, allow_pipes: bool, missing_text: str, emotion_map: str | None) -> Task:
    """Check a data directory and read what is to be done; the arguments are options of sec_format_audio.

    Raises:
        SecError: the data directory or the emotion map is bad; text has no words at all.
    """
    folder = Path(data_dir)
    require_good_data_dir(folder, allow_pipes=allow_pipes, leniency=Leniency(missing_text=missing_text))
    emotions = read_emotion_map(emotion_map) if emotion_map else {}
    wavs, segments = read_kaldi(folder / "wav.scp"), read_segments(folder)
    sources = wavs if segments is None else {utt_id: wavs[one.recording] for utt_id, one in segments.items()}
    words = read_kaldi(folder / "text", may_be_empty=True) if (folder / "text").is_file() else None
    wordless = set() if words is None else {utt_id for utt_id in sources if not words.get(utt_id)}
    if len(wordless) == len(sources):
        raise SecError(f"{folder / 'text'}: no utterance has words; add the transcriptions, or remove this file")
    return Task(sources, segments, wordless, emotions)


def about_text(task: Task, kept: dict[str, str]) -> list[str]:
    """A line on utterances that are kept without a transcription, if there are any."""
    ids = sorted(task.wordless & kept.keys())
    if not ids:
        return []
    return [
        f"warning: {len(ids)} of {len(kept)} utterances have no transcription ({few(ids)}): kept as nothing said;"
        " --missing_text skip leaves them out of training"
    ]


def about_labels(data_dir: Path, output_dir: Path, task: Task) -> list[str]:
    """Lines on labels in several spellings, and on those that the emotion map names in vain."""
    lines = [f"warning: {line}" for line in spelling_warnings({output_dir.name: read_labels(output_dir)})]
    files = [data_dir / name for name in EMOTIONS if (data_dir / name).is_file()]
    unknown = sorted(task.emotions.keys() - {label for file in files for label in read_kaldi(file).values()})
    if unknown:
        lines.append(f"note: --emotion_map names labels that utt2emo of this set does not have: {', '.join(unknown)}")
    return lines


def copy_tables(data_dir: Path, output_dir: Path, keep: dict[str, str], emotions: dict[str, str]) -> None:
    """Copy every file with a line per utterance, and their inverses; remove those that data_dir lacks.

    Args:
        keep: utterances that are kept; those that text lacks get a line without words.
        emotions: label of utt2emo (and utt2emo_train) -> label that takes its place.
    """
    names = [name for name in utterance_files(data_dir) if name not in OURS]
    inverse = [INVERSE[name] for name in names if name in INVERSE and (data_dir / INVERSE[name]).is_file()]
    for name in utterance_files(output_dir) + list(INVERSE.values()):
        if name not in (*names, *inverse, *OURS):
            (output_dir / name).unlink(missing_ok=True)
    for name in names:
        if name == "captions":
            write_captions(output_dir / name, only(read_captions(data_dir / name), keep))
            continue
        table = read_kaldi(data_dir / name, may_be_empty=name == "text")
        if name == "text":
            table = {utt_id: table.get(utt_id, "") for utt_id in keep}
        table = only(table, keep)
        if name in EMOTIONS:
            table = {utt_id: emotions.get(label, label) for utt_id, label in table.items()}
        write_kaldi(output_dir / name, table, may_be_empty=name == "text")
        if name in INVERSE and INVERSE[name] in inverse:
            write_kaldi(output_dir / INVERSE[name], invert(table))
