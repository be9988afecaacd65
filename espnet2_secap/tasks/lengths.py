"""Whether prompt, speech and captions fit into an LM that cannot read beyond its positions, before training begins."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from espnet2_secap.data.io import parse_captions, read_kaldi
from espnet2_secap.data.reference_pairs import parse_pairs
from espnet2_secap.errors import SecError
from espnet2_secap.tasks.clues import clue_ids, clues_of
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.text.roles import CLUES, OF_TEXT, QUERIES


def check_lengths(
    args: argparse.Namespace, decoder, bridge, template, functions: Mapping[str, Callable] = MappingProxyType({})
) -> None:
    """See that each training and validation caption can be read behind the longest prompt and the speech.

    Text is cut into tokens only where its bytes, of which a token has one at least, could be too many. What is not
    known before the speech is read (a bridge whose output is as long as the speech) is checked at each batch.

    Args:
        args: of the task.
        decoder, bridge, template: the built parts; no bridge where nothing goes through one.
        functions: role of a segment that is made of the transcription, or of clues -> text -> token ids.

    Raises:
        SecError: which caption is too long, and by how much.
    """
    limit, files = decoder.hard_limit, _caption_files(args)
    if limit is None or not files:
        return
    encode = decoder.tokenizer.encode
    fixed = sum(len(item) for item in template.order if not isinstance(item, str)) + 1
    if QUERIES in template.order:
        fixed += bridge.num_vectors or 0
    if "instruction" in template.order:
        fixed += max(len(encode(prompt)) for prompt in read_prompts(args.prompts))
    what = "prompt, speech and end token"
    if fixed >= limit + (not decoder.reads_caption):
        raise _too_long(what, fixed, limit)
    clues = clues_of(args.model_conf) if CLUES in template.order else None
    clued = clue_ids(clues, functions[CLUES]) if clues else None
    ways = [functions[role] for role in OF_TEXT if role in template.order]
    said = _transcripts(args) if ways else {}
    if not decoder.reads_caption:  # the transcription is read by its encoder, the caption by its decoder
        for utt, words in said.items():
            length = fixed - 1 + sum(len(way(words)) for way in ways)
            if length > limit:
                raise _too_long(f"text: {utt}: a transcription with {what}", length, limit)
        ways, what, fixed = [], "what its decoder begins with", decoder.written
    for file, name in files:
        for utt, text in _captions(file, name):
            words = said.get(utt, "")
            most = fixed + len(text.encode()) + len(ways) * (len(words.encode()) + 2)  # 2: [CLS] and [SEP]
            if clues:  # of each word no more than that word, a mark that separates and its form in the dictionary
                most += 4 * len(text.encode()) + len(clues.grammar.prompt.encode())
            if most < limit:
                continue
            length = fixed + len(encode(text)) + sum(len(way(words)) for way in ways)
            length += len(clued(clues.texts(text))) if clues and decoder.reads_caption else 0
            if length > limit:
                both = "a caption with transcription," if ways else "a caption with"
                raise _too_long(f"{file}: {utt}: {both} {what}", length, limit)


def _too_long(what: str, length: int, limit: int) -> SecError:
    return SecError(
        f"{what}: {length} positions, the LM has {limit}; shorten captions or prompts, take fewer vectors of speech"
        " (bridge_conf num_queries), or an LM with more"
    )


def _caption_files(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Files with captions, and the names of their data."""
    paths = [getattr(args, f"{split}_data_path_and_name_and_type", None) or [] for split in ("train", "valid")]
    return list(dict.fromkeys((path, name) for each in paths for path, name, _ in each if name in ("caption", "pairs")))


def _transcripts(args: argparse.Namespace) -> dict[str, str]:
    said = {}
    for split in ("train", "valid"):
        for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type", None) or []:
            if name == "text":
                said |= read_kaldi(path, may_be_empty=True)
    return said


def _captions(file: str, name: str) -> Iterator[tuple[str, str]]:
    for utt, line in read_kaldi(file).items():
        try:
            captions = parse_captions(line) if name == "caption" else _of_pairs(line)
        except ValueError:
            continue  # said where the captions are read for training
        for text in captions:
            yield utt, text


def _of_pairs(line: str) -> list[str]:
    return [text for pair in parse_pairs(line) for text in (pair.chosen, pair.rejected)]
