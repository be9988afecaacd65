"""Kind: an LM's limit of length is known before training, and kept to in decoding."""

import logging

import pytest
import torch
from tiny import make_gpt2
from tiny_training import CAPTION, SPEECH, caption_conf, command, make_corpus, write

from espnet2_secap.data.reference_pairs import ReferencePair, write_reference_pairs
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.errors import SecError
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.template import Segment


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """40 positions and no more."""
    return str(make_gpt2(tmp_path_factory.mktemp("gpt2"), n_positions=40))


def args_of(tmp_path, llm, prompt, **conf):
    corpus = make_corpus(tmp_path)
    (tmp_path / "prompts").write_text(prompt, encoding="utf-8")
    conf = write(tmp_path / "conf.yaml", caption_conf(llm) | {"prompts": str(tmp_path / "prompts")} | conf)
    args = SECTask.get_parser().parse_args(command(corpus, tmp_path / "exp", conf, [SPEECH, CAPTION]))
    args.encoder_conf = {"input_size": 6}
    return args


def test_a_caption_that_is_too_long_is_named_before_training(gpt2, tiny_llama, tmp_path):
    """[CLS], 2 vectors, 12 of the prompt, 24 or 25 of the caption, [SEP]: 40 or 41."""
    for length in (24, 25):
        args = args_of(tmp_path, gpt2, "语" * 12)
        (tmp_path / "captions").write_text(f'u0 ["语速较快", "{"语" * length}"]\n', encoding="utf-8")
        if length == 24:
            SECTask.build_model(args)
            continue
        with pytest.raises(SecError, match=r"captions: u0: a caption with prompt.*: 41 positions, the LM has 40"):
            SECTask.build_model(args)
    args = args_of(tmp_path, gpt2, "语" * 50)
    with pytest.raises(SecError, match="^prompt, speech and end token: 54 positions, the LM has 40"):
        SECTask.build_model(args)
    assert SECTask.build_model(args_of(tmp_path, tiny_llama, "语" * 300)), "rotary positions have no such limit"


def test_in_decoding_and_at_each_batch(gpt2, tiny_llama, caplog):
    def segments(*lengths):
        ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
        return [Segment(ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])]

    decoder = CausalLMDecoder(gpt2)
    decoder.check_length(segments(30, 10), 10)
    decoder.check_length(segments(10, 30) + segments(5, 5), 5)
    with pytest.raises(SecError, match="up to 41 positions, the LM has 40; lower --max_length"):
        decoder.check_length(segments(31, 10), 10)
    longer = CausalLMDecoder(tiny_llama)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            longer.check_length(segments(250), 10)
    assert caplog.text.count("has up to 260 positions, the LM was trained with 256") == 1


def test_captions_of_preference_pairs_are_looked_at_too(gpt2, tmp_path):
    pair = ReferencePair("p", "语", "语" * 25, -1.0, -2.0, 2, 26, "factuality", "rule", 1.0)
    args = args_of(tmp_path, gpt2, "语" * 12, model="prefer")
    write_reference_pairs(tmp_path / "pairs", {"u1": [pair]})
    args.train_data_path_and_name_and_type.append((f"{tmp_path}/pairs", "pairs", "text"))
    args.valid_data_path_and_name_and_type.append((f"{tmp_path}/pairs", "pairs", "text"))
    with pytest.raises(SecError, match=r"pairs: u1: a caption with prompt.*: 41 positions, the LM has 40"):
        SECTask.build_model(args)
