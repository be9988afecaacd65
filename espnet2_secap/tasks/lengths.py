"""Whether prompt, speech and captions fit into an LM that cannot read beyond its positions, before training begins."""

import argparse
from collections.abc import Iterator

from espnet2_secap.data.io import parse_captions, read_kaldi
from espnet2_secap.errors import SecError
from espnet2_secap.text.prompts import read_prompts


def check_lengths(args: argparse.Namespace, decoder, bridge, template) -> None:
    """See that each training and validation caption can be read behind the longest prompt and the speech.

    Text is cut into tokens only where its bytes, of which a token has one at least, could be too many. What is not
    known before the speech is read (a bridge whose output is as long as the speech) is checked at each batch.

    Args:
        args: of the task.
        decoder, bridge, template: the built parts.

    Raises:
        SecError: which caption is too long, and by how much.
    """
    limit, files = decoder.hard_limit, _caption_files(args)
    if limit is None or not files:
        return
    encode = decoder.tokenizer.encode
    fixed = sum(len(item) for item in template.order if not isinstance(item, str)) + (bridge.num_vectors or 0) + 1
    if "instruction" in template.order:
        fixed += max(len(encode(prompt)) for prompt in read_prompts(args.prompts))
    what = "prompt, speech and end token"
    if fixed >= limit + (not decoder.reads_caption):
        raise _too_long(what, fixed, limit)
    if not decoder.reads_caption:
        what, fixed = "what its decoder begins with", decoder.written
    for file in files:
        for utt, text in _captions(file):
            if fixed + len(text.encode()) + 1 > limit and fixed + len(encode(text)) > limit:
                raise _too_long(f"{file}: {utt}: a caption with {what}", fixed + len(encode(text)), limit)


def _too_long(what: str, length: int, limit: int) -> SecError:
    return SecError(
        f"{what}: {length} positions, the LM has {limit}; shorten captions or prompts, take fewer vectors of speech"
        " (bridge_conf num_queries), or an LM with more"
    )


def _caption_files(args: argparse.Namespace) -> list[str]:
    paths = [getattr(args, f"{split}_data_path_and_name_and_type", None) or [] for split in ("train", "valid")]
    return list(dict.fromkeys(path for each in paths for path, name, _ in each if name == "caption"))


def _captions(file: str) -> Iterator[tuple[str, str]]:
    for utt, line in read_kaldi(file).items():
        try:
            captions = parse_captions(line)
        except ValueError:
            continue  # said where the captions are read for training
        for text in captions:
            yield utt, text
