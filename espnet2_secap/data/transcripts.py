"""Transcriptions by utterance, for models that read them: a data directory's `text`, or a speech recogniser's."""

from collections.abc import Sequence
from pathlib import Path

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.errors import SecError, few

MISSING_TEXT = ("error", "empty")  # what becomes of an utterance without a transcription


def read_transcripts(path: str | Path | None, ids: Sequence[str], missing_text: str, what: str) -> dict[str, str]:
    """The transcription of each utterance; "" where there is none and `missing_text` is "empty".

    Args:
        path: file of lines `id text`, as Kaldi's `text`; ids that are not asked for are not looked at. None: there is
            none.
        ids: of the utterances.
        missing_text: of MISSING_TEXT.
        what: whose they are, for messages: "test set".

    Raises:
        SecError: no such file, one that cannot be read; how many utterances have no line or no words in it, the first
            ids, and what to do.
    """
    if path is None or not Path(path).is_file():
        where = f"{path}: no such file" if path else "no transcriptions are given"
        raise SecError(
            f"{where}, and the model reads the transcription (model_conf condition); give --text_file FILE, lines"
            " `id text`, of a speech recogniser for instance, or the data directory's text"
        )
    table = read_kaldi(path, may_be_empty=True)
    check_transcripts(path, table, ids, missing_text, what)
    return {utt: table.get(utt, "").strip() for utt in ids}


def check_transcripts(
    path: str | Path, table: dict[str, str], ids: Sequence[str], missing_text: str, what: str, skip: bool = False
) -> None:
    """See that utterances have a transcription; see `read_transcripts`.

    Args:
        table: id -> transcription, what `path` holds.
        skip: whether --missing_text skip would leave them out of this set.
    """
    if missing_text == "empty":
        return
    absent, silent = [utt for utt in ids if utt not in table], [utt for utt in ids if not table.get(utt, "x").strip()]
    if absent or silent:
        kinds = {"line": absent, "words": silent}
        said = " and ".join(f"no {kind} for {len(utts)} ({few(utts)})" for kind, utts in kinds.items() if utts)
        left_out = ", or --missing_text skip, which leaves them out (stage 2)" if skip else ""
        raise SecError(
            f"{path}: has {said} of {len(ids)} utterances of the {what}, and the model reads the transcription"
            f" (model_conf condition); add them, or give --missing_text empty, which takes them as nothing said"
            f"{left_out}"
        )
