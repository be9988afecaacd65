"""An encoder-decoder through the whole task: training, resuming, checkpoints, and every kind of decoding of a set."""

import pytest
import torch
from tiny_decoding import decode
from tiny_training import ALL, caption_conf, command, make_corpus, write

from espnet2_secap.bin import sec_train
from espnet2_secap.inference.speech2caption import Speech2Caption

LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
WAYS = {
    "greedy": [],
    "beams": ["--beam_size", "3", "--num_candidates", "3", "--early_stopping", "true", "--forced_end", "true"],
    "consensus of samples and beams": [
        *("--sampling", "true", "--beam_size", "2", "--num_candidates", "3", "--beams", "2", "--keep", "2"),
    ],
    "consensus by probability": [
        *("--sampling", "true", "--num_candidates", "4", "--keep", "1", "--weights", "probability"),
    ],
    "training captions by probability": ["--candidates", "training", "--keep", "1"],
}


@pytest.mark.parametrize("conf", [{}, {"freeze": False, "attention_dropout": 0.1}, {"lora": LORA, "dropout": 0.1}])
def test_it_is_trained_resumed_and_decoded(tiny_bart, tmp_path, conf):
    corpus, output = make_corpus(tmp_path), tmp_path / "exp"
    whole = caption_conf(tiny_bart) | {"decoder": "seq2seq", "model_conf": {"label_smoothing": 0.1}}
    whole["decoder_conf"] = {"path": tiny_bart, "gradient_checkpointing": bool(conf), **conf}
    args = command(corpus, output, write(tmp_path / "caption.yaml", whole), ALL)
    sec_train.main([*args, "--max_epoch", "1"])
    first = torch.load((output / "latest.pth").resolve(), weights_only=True)
    sec_train.main(args)  # two epochs
    second = torch.load((output / "latest.pth").resolve(), weights_only=True)
    of_decoder = {key for key in second if key.startswith("decoder.")}
    if "lora" in conf:
        assert of_decoder and all("lora_" in key for key in of_decoder)
    else:
        assert bool(of_decoder) == (conf.get("freeze") is False)
    trained = {key for key in second if key in first and not torch.equal(first[key], second[key])}
    assert "projection.weight" in trained and (not of_decoder or trained & of_decoder)
    model = Speech2Caption(output / "latest.pth").model
    state = model.state_dict()
    assert state.keys() == second.keys() and all(torch.equal(state[key], second[key]) for key in state)
    (corpus / "utt2num_frames").write_text("".join(f"u{i} {5 + i}\n" for i in range(8)))
    for way, options in WAYS.items() if not conf else [("greedy", [])]:
        found = decode(output / "latest.pth", corpus, tmp_path / way.replace(" ", "_"), *options)
        assert len(found) == 8 and all(row["candidates"] for row in found), way
    if not conf:
        chosen = {one["text"] for row in found for one in row["candidates"]}
        assert chosen <= {"语速较快，声音高亢", "说话人语气平静"}, "captions of the training set"


@pytest.mark.parametrize("condition", [["transcript", "queries"], ["text_queries"]])
def test_it_reads_transcriptions_and_needs_no_instruction(tiny_bart, tiny_llama, tmp_path, condition):
    corpus, output = make_corpus(tmp_path), tmp_path / "exp"
    conf = caption_conf(tiny_bart) | {"decoder": "seq2seq", "model_conf": {"condition": condition}, "max_epoch": 1}
    conf |= {"text_encoder": "embedding", "text_encoder_conf": {"path": tiny_llama, "embedding_size": 16}}
    conf |= {"template_conf": {"order": [*condition, [3]]}}
    sec_train.main(command(corpus, output, write(tmp_path / "caption.yaml", conf), ALL))
    (corpus / "utt2num_frames").write_text("".join(f"u{i} {5 + i}\n" for i in range(8)))
    found = decode(output / "latest.pth", corpus, tmp_path / "decode", "--text_file", str(corpus / "text"))
    assert len(found) == 8 and all(row["candidates"] for row in found)
