#!/usr/bin/env python3
"""Train a mini LLaMA and its sentencepiece tokenizer on the captions of a training set.

The result is an ordinary transformers folder that has tokenizer.model and no tokenizer.json, as the LLaMA has that
SECap uses. It is trained on two kinds of sequences, so that it can do what larger models have learned elsewhere:
  <s> caption </s> caption </s> instruction caption </s> ...     all captions of one utterance, in random order
  <s> hints instruction caption </s>
where the hints are words of the caption or of another one of the same utterance, in random order, some left out. The
instruction may be missing. A model trained on single captions would never have had a reason to look at what stands
before the instruction - and there the audio will be.
"""

import argparse
import dataclasses
import io
import json
from pathlib import Path

import sentencepiece
from pretrain_common import begin_folder, config_of, finish_folder, is_made, parser_of, read_config, record_of

from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.errors import cli
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.values import Amount, Count, Natural, Positive, Seed, Share

SPECIAL = 3 + 256  # <unk> <s> </s> and one piece per byte


@dataclasses.dataclass(frozen=True)
class LLMConfig:
    """Sizes and training of the mini LLaMA."""

    merges: Natural = 300  # pieces of the vocabulary beyond single characters
    hidden_size: Count = 256
    intermediate_size: Count = 512
    num_hidden_layers: Count = 4
    num_attention_heads: Count = 4
    max_position_embeddings: Count = 512
    tie_word_embeddings: bool = False
    steps: Natural = 400  # 0: random weights, which stage 6 trains
    batch_tokens: Count = 700
    lr: Positive = 1.5e-3
    hinted: Share = 0.4  # share of sequences with hints
    own_hints: Share = 0.3  # share of these whose hints are of the very caption that is to be said
    max_hints: Natural = 16
    hint_noise: Amount = 0.5  # noise on the hints, in standard deviations of the embeddings
    instructed: Share = 0.7  # share of sequences with an instruction
    transcribed: Share = 0.0  # share of sequences that say a transcription instead: more text, where captions are few
    seed: Seed = 0
    threads: Count = 1


def get_parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "llm", "captions and text")
    parser.add_argument(
        "--like",
        type=Path,
        metavar="FOLDER",
        help="sizes, steps and seed of this mini LLaMA, instead of --config and --seed",
    )
    parser.add_argument(
        "--prompts", default="", help="instructions, one per line; zh, en, ja: those of the package; empty: zh"
    )
    return parser


def train_tokenizer(sentences: list[str], merges: int) -> bytes:
    """Fit LLaMA's kind of tokenizer (byte-pair merges, bytes for the unknown, text taken as it is).

    Returns:
        a sentencepiece model with <unk> 0, <s> 1, </s> 2.
    """
    model = io.BytesIO()
    characters = len(set("".join(sentences).replace(" ", "▁")) | {"▁"})
    options = {
        "model_type": "bpe",
        "byte_fallback": True,
        "character_coverage": 1.0,
        "max_sentencepiece_length": 2,  # words, not half sentences: what varies shall be a piece of its own
        "user_defined_symbols": ["▁"],  # the blank, also where no caption has one
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "unk_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": -1,
        "minloglevel": 2,
    }
    while True:
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=model,
                vocab_size=SPECIAL + characters + merges,
                num_threads=1,
                **options,
            )
            return model.getvalue()
        except RuntimeError:  # fewer merges than that are possible
            if merges == 0:
                raise
            merges //= 2


@cli
def main(argv: list[str] | None = None) -> None:
    args = get_parser().parse_args(argv)
    config = config_of(args.like, LLMConfig) if args.like else read_config(args.config, "llm", LLMConfig(), args.seed)
    captions = read_captions(args.train_set / "captions")
    text = args.train_set / "text"
    transcriptions = read_kaldi(text, may_be_empty=True) if text.is_file() else {}
    transcriptions = {utt_id: words for utt_id, words in transcriptions.items() if words}
    prompts = read_prompts(args.prompts or "zh")
    record = record_of(config, [json.dumps([captions, transcriptions, prompts], ensure_ascii=False)])
    if is_made(args.output, record):
        print(f"{args.output}: is there already, made from the same captions; kept")
        return
    from pretrain_optimizer import start  # with torch, which takes 2 s, and each fold of a cross-validation asks often
    from pretrain_sequences import Sequences, train

    rng = start(config.seed)
    sentences = [one for several in captions.values() for one in several]
    model_file = train_tokenizer(sentences + sorted(set(transcriptions.values())) + prompts, config.merges)
    sp = sentencepiece.SentencePieceProcessor(model_proto=model_file)
    sequences = Sequences(
        [[sp.encode(one) for one in several] for several in captions.values()],
        [sp.encode(one) for one in transcriptions.values()],
        [sp.encode(prompt) for prompt in prompts],
        sp.bos_id(),
        sp.eos_id(),
        config,
    )
    model = train(sequences, sp.vocab_size(), config, rng)
    beside = begin_folder(args.output)
    model.save_pretrained(beside)
    (beside / "tokenizer.model").write_bytes(model_file)
    tokenizer_config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "model_max_length": config.max_position_embeddings,
    }
    (beside / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n", encoding="utf-8")
    finish_folder(beside, args.output, record)
    print(f"{args.output}: made")


if __name__ == "__main__":
    main()
