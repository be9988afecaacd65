"""The released checkpoint at tiny size against what the released code computes from it (conftest's secap_tiny)."""

import json

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet2_secap.bin.sec_import_secap import main
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.model.checkpoint import load_state
from espnet2_secap.tasks.experiment import read_config
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.template import Segment


@pytest.fixture(scope="module")
def tiny(secap_tiny):
    return secap_tiny


def arguments(tiny, output, **changes) -> list[str]:
    weights = tiny / "weights"
    options = {
        "checkpoint": tiny / "model.ckpt", "hubert": weights / "hubert", "llm": weights / "llama",
        "text_encoder": weights / "text2vec", "output": output,
    }  # fmt: skip
    return [str(part) for name, value in (options | changes).items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def imported(tiny, tmp_path_factory):
    output = tmp_path_factory.mktemp("exp") / "sec_secap_published"
    main(arguments(tiny, output))
    return output


@pytest.fixture(scope="module")
def speech2caption(imported):
    return Speech2Caption(imported / "valid.loss.best.pth", min_length=3, max_length=12)


def utterances(tiny):
    meta = json.loads((tiny / "meta.json").read_text(encoding="utf-8"))
    expected = np.load(tiny / "expected.npz")
    for utt, told in meta["utts"].items():
        wav = soundfile.read(tiny / "wav" / f"{utt}.wav", dtype="float32")[0]
        of_utt = {name.split("/")[1]: expected[name] for name in expected if name.startswith(f"{utt}/")}
        yield wav, told, of_utt


def close(ours, theirs):
    """Within 1e-4 of the largest value."""
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@torch.no_grad()
def test_every_tensor_of_the_released_code(tiny, speech2caption):
    model, tokenizer = speech2caption.model, speech2caption.tokenizer
    for wav, told, expected in utterances(tiny):
        speech, lengths = torch.from_numpy(wav)[None], torch.tensor([len(wav)])
        feats, _ = model.encoder(speech, lengths)
        close(feats[0], expected["hubert_last_hidden_state"])
        close(model.bridge.input_projection(feats)[0], expected["audio_project"])
        close(model.q_embedding(speech, lengths)[0][0], expected["q_embedding"])
        instruction = speech2caption.instruction
        assert [tokenizer.bos_id, *instruction[0].tolist()] == told["prompt_ids"]
        segments = model.segments(
            speech, lengths, instruction=instruction, instruction_lengths=torch.tensor([instruction.size(1)])
        )
        embeddings, _ = model.decoder.join(segments)
        close(embeddings[0], expected["llama_inputs_embeds"])
        logits = model.decoder.lm.module(inputs_embeds=embeddings).logits[0, -1]
        close(logits, expected["first_logits"])
        caption = [*tokenizer.encode(told["caption"]), model.template.end]
        assert caption == expected["caption_ids"].tolist()
        ids = torch.tensor([caption])
        close(model.decoder.log_probs(segments, Segment(ids, ids >= 0))[0], expected["caption_logprobs"])


def test_greedy_captions(tiny, speech2caption):
    rows = list(utterances(tiny))
    together = speech2caption.caption([wav for wav, _, _ in rows])
    for (wav, told, expected), ((text, _),) in zip(rows, together, strict=True):
        ids = [i for i in expected["greedy_ids"].tolist() if i != speech2caption.tokenizer.eos_id]
        # The released code leaves a mark for bytes that are no whole character.
        told = told["greedy_text"].replace("\ufffd", "").strip()
        assert text == speech2caption.tokenizer.decode(ids).strip() == told
        assert speech2caption.caption([wav])[0][0][0] == text, "alone as in a batch"


def test_the_folder_is_an_ordinary_experiment(tiny, imported):
    config = yaml.safe_load((imported / "config.yaml").read_text(encoding="utf-8"))
    meta = json.loads((tiny / "meta.json").read_text(encoding="utf-8"))
    heads = json.loads((tiny / "weights" / "text2vec" / "config.json").read_text())["num_attention_heads"]
    assert config["bridge_conf"] == {
        "num_queries": 32, "hidden_size": meta["qformer_hidden"], "num_layers": meta["qformer_layers"],
        "intermediate_size": 2 * meta["qformer_hidden"], "encoder_width": 768,
        "cross_attention_frequency": meta["cross_attention_freq"], "num_heads": heads,
    }  # fmt: skip
    assert config["template_conf"] == {} and config["template"] == "secap"
    assert config["front_end"]["sampling_rate"] == 16000
    assert not (imported / "llm").exists(), "the checkpoint's LM is that of the folder"


def test_further_training_starts_from_the_projection_too(imported):
    """With --init_model all that was trained is taken, without it the projection begins at random."""
    args = read_config(imported / "config.yaml", SECTask.defaults())
    released = load_state(imported / "valid.loss.best.pth")
    for source, equal in (([str(imported / "valid.loss.best.pth")], True), ([], False)):
        args.init_model, args.template_conf, args.output_dir = source, {}, None
        model = SECTask.build_model(args)
        assert torch.equal(model.projection.weight, released["projection.weight"]) == equal
        assert torch.equal(model.bridge.queries, released["bridge.queries"]) == equal


def failure(capsys, args) -> str:
    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 1
    return capsys.readouterr().err


def test_keys_that_do_not_fit_are_listed_and_nothing_is_written(tiny, tmp_path, capsys):
    state = torch.load(tiny / "model.ckpt", weights_only=True)
    state["audio_Qformer.bert.encoder.layer.9.output_query.dense.bias.odd"] = torch.zeros(2)
    del state["audio_project.bias"]
    del state["hubert_model.masked_spec_embed"]
    del state["audio_llama_project.weight"]
    state["audio_llama_project.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "bad.ckpt")
    err = failure(capsys, arguments(tiny, tmp_path / "exp", checkpoint=tmp_path / "bad.ckpt"))
    assert "audio_project.bias is missing" in err
    assert "audio_llama_project.weight is missing" in err
    assert "hubert_model.masked_spec_embed is missing" in err
    assert "layer.9.output_query.dense.bias.odd is left over" in err
    assert "audio_llama_project.bias is (7,), expected (48,)" in err
    assert not (tmp_path / "exp").exists()


def test_bad_input(tiny, tmp_path, capsys):
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.ckpt")
    assert "audio_query_tokens is absent" in failure(
        capsys, arguments(tiny, tmp_path / "exp", checkpoint=tmp_path / "other.ckpt")
    )
    (tmp_path / "cut.ckpt").write_bytes((tiny / "model.ckpt").read_bytes()[:1000])
    assert "cut short" in failure(capsys, arguments(tiny, tmp_path / "exp", checkpoint=tmp_path / "cut.ckpt"))
    assert "--num_heads 5" in failure(capsys, [*arguments(tiny, tmp_path / "exp"), "--num_heads", "5"])
    wrong = arguments(tiny, tmp_path / "exp", llm=tiny / "weights" / "text2vec")
    assert "bert is no causal LM" in failure(capsys, wrong)


def test_other_weights_in_the_checkpoint_than_in_the_folder_count(tiny, tmp_path):
    state = torch.load(tiny / "model.ckpt", weights_only=True)
    state["llama_model.lm_head.weight"] = state["llama_model.lm_head.weight"].flip(0)
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    main(arguments(tiny, tmp_path / "exp", checkpoint=tmp_path / "model.ckpt"))
    speech2caption = Speech2Caption(tmp_path / "exp" / "valid.loss.best.pth")
    head = speech2caption.model.decoder.lm.module.lm_head.weight
    assert torch.equal(head, state["llama_model.lm_head.weight"])
    assert speech2caption.tokenizer.encode("愤怒")


def test_other_sizes_are_read_from_the_checkpoint(tiny, tmp_path):
    from espnet2_secap.bridge.qformer import QFormer
    from espnet2_secap.publish.import_secap import FROZEN, their_name

    sizes = dict(
        num_queries=7, hidden_size=24, num_layers=5, intermediate_size=40, encoder_width=20, cross_attention_frequency=3
    )
    torch.manual_seed(0)
    bridge, projection = QFormer(32, num_heads=6, **sizes).eval(), torch.nn.Linear(24, 48)
    state = {key: value for key, value in torch.load(tiny / "model.ckpt").items() if key.startswith(tuple(FROZEN))}
    state |= {their_name(f"bridge.{key}"): value for key, value in bridge.state_dict().items()}
    state |= {their_name(f"projection.{key}"): value for key, value in projection.state_dict().items()}
    assert "audio_Qformer.bert.encoder.layer.3.crossattention.self.key.bias" in state
    torch.save(state, tmp_path / "model.ckpt")
    main([*arguments(tiny, tmp_path / "exp", checkpoint=tmp_path / "model.ckpt"), "--num_heads", "6"])
    model = Speech2Caption(tmp_path / "exp" / "valid.loss.best.pth").model
    feats, lengths = torch.randn(1, 9, 32), torch.tensor([9])
    with torch.no_grad():
        torch.testing.assert_close(model.bridge(feats, lengths)[0], bridge(feats, lengths)[0])
        assert torch.equal(model.projection.weight, projection.weight)
