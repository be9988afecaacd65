import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import make_qwen
from tiny_segments import alone, random_batch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from espnet2_secap.decoder import lm as lm_module
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.text.template import Segment, build_template

EOS = 2
SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)


@pytest.fixture(scope="module")
def decoder(tiny_llama):
    return CausalLMDecoder(tiny_llama).eval()


def embedded(decoder, segments):
    """One utterance's segments as transformers takes them, (P, H)."""
    embed = decoder.lm.module.get_input_embeddings()
    return torch.cat([embed(one.content[0]) if one.is_ids else one.content[0] for one in segments])


def check_log_probs(decoder, lm):
    segments, caption = random_batch(decoder)
    output = decoder.log_probs(segments, caption)
    for i in range(len(output)):
        own = caption.content[i, caption.mask[i]]
        sequence = torch.cat([embedded(decoder, alone(segments, i)), lm.get_input_embeddings()(own)])
        log_probs = lm(inputs_embeds=sequence[None]).logits[0].log_softmax(-1)
        start = len(sequence) - len(own) - 1
        expected = [log_probs[start + k, token].item() for k, token in enumerate(own)]
        assert output[i, caption.mask[i]].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert (output[i, ~caption.mask[i]] == 0).all()


def test_log_probabilities_equal_transformers(decoder, tiny_llama):
    check_log_probs(decoder, AutoModelForCausalLM.from_pretrained(tiny_llama).eval())


def test_log_probabilities_in_blocks(decoder, monkeypatch):
    """With room for few logits in float32 at once: the same values and gradients."""
    segments, caption = random_batch(decoder)
    segments[1].content.requires_grad_(True)
    whole = decoder.log_probs(segments, caption)
    (wanted,) = torch.autograd.grad(whole.sum(), segments[1].content)
    monkeypatch.setattr(lm_module, "BLOCK", 2 * 400 * 2)  # two utterances, two positions
    heads = []
    head = decoder.lm.module.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, args, output: heads.append(output.size(1)))
    parts = decoder.log_probs(segments, caption)
    (found,) = torch.autograd.grad(parts.sum(), segments[1].content)
    hook.remove()
    assert max(heads) == 2 and len(heads) == 6, "three blocks, computed again in the backward pass"
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(found, wanted)


def test_logits_in_blocks_are_what_the_log_probabilities_come_from(decoder):
    segments, caption = random_batch(decoder)
    blocks = list(decoder.logits(segments, caption, block=2))
    assert [part.size(1) for part in blocks] == [2, 2, 1]
    logits = torch.cat(blocks, dim=1)
    torch.testing.assert_close(logits, next(decoder.logits(segments, caption)))
    log_probs = logits.log_softmax(-1).gather(2, caption.content[..., None]).squeeze(2) * caption.mask
    torch.testing.assert_close(log_probs, decoder.log_probs(segments, caption))


def test_an_lm_that_caps_its_logits(tmp_path, tiny_llama):
    """Gemma 2's logits are not its output embedding of its states: no part of the LM may be passed over."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    shutil.copy(Path(tiny_llama) / "tokenizer.model", tmp_path)
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=8)
    config = Gemma2Config(vocab_size=400, num_key_value_heads=2, final_logit_softcapping=0.5, **sizes)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    decoder = CausalLMDecoder(str(tmp_path)).eval()
    check_log_probs(decoder, decoder.lm.module)
    assert decoder.splits is False


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_batch_decodes_as_its_utterances_one_by_one(decoder, beam_size):
    segments, _ = random_batch(decoder, ((3, 4, 1), (1, 2, 1), (2, 4, 1)))
    options = DecodingOptions(beam_size=beam_size, num_candidates=beam_size, min_length=3, max_length=9)
    together, scores = decoder.generate(segments, options, (EOS,))
    for i in range(3):
        own, own_scores = decoder.generate(alone(segments, i), options, (EOS,))
        assert together[i] == own[0]
        assert scores[i] == pytest.approx(own_scores[0], rel=1e-3)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_the_last_segment_may_be_vectors_with_padding(decoder, beam_size):
    segments, _ = random_batch(decoder, ((3, 4, 1), (1, 2, 1)))
    segments = [segments[0], segments[2], segments[1]]
    options = DecodingOptions(beam_size=beam_size, max_length=6)
    together, _ = decoder.generate(segments, options, (EOS,))
    assert together == [decoder.generate(alone(segments, i), options, (EOS,))[0][0] for i in range(2)]


@pytest.mark.parametrize("sampling, beam_size", [(False, 1), (False, 2), (True, 1), (True, 2)])
def test_any_of_several_ids_ends_a_caption(decoder, sampling, beam_size):
    segments, _ = random_batch(decoder)
    torch.manual_seed(0)
    options = DecodingOptions(sampling=sampling, beam_size=beam_size, min_length=2, max_length=12)
    ends = list(range(3, 200))
    candidates, _ = decoder.generate(segments, options, ends)
    for (ids,) in candidates:
        assert 2 <= len(ids) <= 12 and not set(ids) & set(ends)
    assert any(len(ids) < 12 for (ids,) in candidates)


def test_greedy_score_is_the_mean_log_probability(decoder):
    segments, _ = random_batch(decoder)
    plain = DecodingOptions(min_length=0, max_length=6)
    first, score = (part[0][0] for part in decoder.generate(segments, plain, (EOS,)))
    tokens = torch.tensor([first + ([EOS] if len(first) < 6 else [])])
    log_probs = decoder.log_probs(alone(segments, 0), Segment(tokens, torch.ones_like(tokens, dtype=torch.bool)))
    assert score == pytest.approx(log_probs.mean().item(), rel=1e-4)


def test_candidates_of_sampling_and_their_number(decoder):
    segments, _ = random_batch(decoder)
    torch.manual_seed(0)
    options = DecodingOptions(sampling=True, num_candidates=4, max_length=6)
    candidates, scores = decoder.generate(segments, options, (EOS,))
    assert [len(one) for one in candidates] == [4, 4]
    assert all(one == sorted(one, reverse=True) for one in scores)
    assert len({tuple(ids) for ids in candidates[0]}) > 1


def test_an_lm_without_bos_is_a_decoder(tmp_path):
    decoder = CausalLMDecoder(str(make_qwen(tmp_path))).eval()
    assert decoder.tokenizer.bos_id is None and decoder.end_ids == [1, 0]
    template = build_template("plain", {}, decoder.tokenizer, ("queries", "instruction"), decoder.end_ids)
    assert template.order == ("queries", "instruction") and template.ends == (1, 0)
    check_log_probs_of_template(decoder, template)


OF_THE_LM = {  # what an LM's folder may say of decoding
    "do_sample": True, "temperature": 9.0, "top_k": 1, "top_p": 0.1, "min_p": 0.5, "typical_p": 0.3, "num_beams": 4,
    "repetition_penalty": 50.0, "no_repeat_ngram_size": 1, "length_penalty": 9.0, "early_stopping": True,
    "max_length": 3, "min_new_tokens": 5, "max_new_tokens": 2, "num_return_sequences": 3,
    "suppress_tokens": list(range(9, 99)),
    "begin_suppress_tokens": list(range(100, 300)), "forced_eos_token_id": 5, "bad_words_ids": [[7], [8]],
    "exponential_decay_length_penalty": [1, 2.0], "renormalize_logits": True, "use_cache": False, "guidance_scale": 3.0,
}  # fmt: skip


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_the_lms_own_decoding_settings_do_not_count(file, tmp_path):
    """In no way of decoding; Qwen's generation_config.json, for one, asks for sampling with a repetition penalty."""
    folder = make_qwen(tmp_path)
    segments, found = [Segment(torch.randn(2, 3, 32), torch.ones(2, 3, dtype=torch.bool))], []
    for change in ({}, OF_THE_LM):
        conf = json.loads((folder / file).read_text()) | change
        (folder / file).write_text(json.dumps(conf))
        decoder = CausalLMDecoder(str(folder)).eval()
        for sampling, beam_size in ((False, 1), (False, 3), (True, 1), (True, 3)):
            torch.manual_seed(0)
            options = DecodingOptions(sampling=sampling, beam_size=beam_size, max_length=8)
            found.append(decoder.generate(segments, options, (1,)))
    assert found[:4] == found[4:]


def check_log_probs_of_template(decoder, template):
    ids = Segment(torch.randint(5, 60, (2, 4)), torch.ones(2, 4, dtype=torch.bool))
    vectors = Segment(torch.randn(2, 3, 32), torch.ones(2, 3, dtype=torch.bool))
    segments = template.arrange({"queries": vectors, "instruction": ids})
    assert torch.isfinite(decoder.log_probs(segments, ids)).all()
    candidates, _ = decoder.generate(segments, DecodingOptions(max_length=5), template.ends)
    assert len(candidates) == 2


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_implementation_of_attention_can_be_chosen(tiny_llama, decoder, implementation):
    chosen = CausalLMDecoder(tiny_llama, attn_implementation=implementation).eval()
    assert chosen.lm.module.config._attn_implementation == implementation
    torch.testing.assert_close(
        chosen.log_probs(*random_batch(decoder)), decoder.log_probs(*random_batch(decoder)), rtol=1e-4, atol=1e-4
    )
    with pytest.raises(SecError, match="attn_implementation"):
        CausalLMDecoder(tiny_llama, attn_implementation="no_such")


def test_gradient_checkpointing_computes_a_frozen_lm_again(tiny_llama, decoder):
    saving = CausalLMDecoder(tiny_llama, gradient_checkpointing=True)
    runs = []
    saving.log_probs(*random_batch(decoder))  # the first time it tries the LM out
    saving.lm.module.model.layers[0].self_attn.register_forward_hook(lambda *_: runs.append(1))
    for training in (True, False):  # preference optimisation trains a model in evaluation mode
        runs.clear()
        saving.train(training)
        assert not saving.lm.module.training
        segments, caption = random_batch(decoder)
        segments[1].content.requires_grad_(True)
        log_probs = saving.log_probs(segments, caption)
        log_probs.sum().backward()
        assert len(runs) == 2
        torch.testing.assert_close(log_probs, decoder.log_probs(*random_batch(decoder)))


def test_frozen_keeps_its_dtype_and_mode(tiny_llama):
    decoder = CausalLMDecoder(tiny_llama, dtype="bfloat16").train().to(torch.float32)
    assert {p.dtype for p in decoder.parameters()} == {torch.bfloat16}
    assert not decoder.lm.module.training
    assert not any(p.requires_grad for p in decoder.parameters())


def test_lora_trains_its_own_tensors_only(tiny_llama):
    decoder = CausalLMDecoder(tiny_llama, lora={"r": 2, "target_modules": ["q_proj", "v_proj"]})
    trained = [name for name, p in decoder.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 2 and all("lora_" in name for name in trained)
    output = decoder.log_probs(*random_batch(decoder))
    output.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())
    with pytest.raises(SecError, match="lora: .*rank"):
        CausalLMDecoder(tiny_llama, lora={"rank": 2})


def test_the_whole_lm_is_trained_where_it_is_not_frozen(tiny_llama):
    decoder = CausalLMDecoder(tiny_llama, freeze=False).train()
    assert all(p.requires_grad for p in decoder.parameters()) and decoder.lm.module.training
    decoder.log_probs(*random_batch(decoder)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"lora": {"r": 2}}])
def test_the_whole_lm_is_trained_in_float32_and_without_lora(options):
    with pytest.raises(ValueError, match="freeze: false trains the whole LM"):
        CausalLMDecoder("x", freeze=False, **options)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="dtype='int8'"):
        CausalLMDecoder("x", dtype="int8")
    with pytest.raises(SecError, match="neither a folder here"):
        CausalLMDecoder("no/such-lm")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SecError, match="not a transformers folder"):
        CausalLMDecoder(str(tmp_path))


def test_an_lm_without_an_output_embedding_is_not_taken_apart(decoder, tiny_llama, monkeypatch):
    other = CausalLMDecoder(tiny_llama).eval()
    assert other._is_split()
    other.splits = None
    monkeypatch.setattr(other.lm.module, "get_output_embeddings", lambda: None)
    assert other._is_split() is False and other._is_split() is False, "the second time it is known"


def test_trying_the_lm_out_leaves_its_mode_as_it_was(tiny_llama):
    for freeze, training in ((False, True), (False, False), (True, True)):
        other = CausalLMDecoder(tiny_llama, freeze=freeze).train(training)
        mode = other.lm.module.training
        assert other._is_split() and other.lm.module.training == mode == (training and not freeze)


def test_what_sampling_is_told_reaches_the_lm(decoder):
    """The likeliest token alone is left by top-k 1, by a small top-p, and by a temperature near 0."""
    segments, _ = random_batch(decoder)
    greedy, _ = decoder.generate(segments, DecodingOptions(max_length=6), (EOS,))
    for beam_size in (1, 2):
        for option in ({"top_k": 1}, {"top_p": 1e-4}, {"temperature": 1e-4}):
            options = DecodingOptions(sampling=True, beam_size=beam_size, num_candidates=2, max_length=6, **option)
            found, _ = decoder.generate(segments, options, (EOS,))
            assert [some[0] for some in found] == [some[0] for some in greedy], (beam_size, option)
    torch.manual_seed(0)
    free, _ = decoder.generate(segments, DecodingOptions(sampling=True, num_candidates=2, max_length=6), (EOS,))
    assert free != [2 * some for some in greedy]


@pytest.mark.parametrize("beam_size", [1, 2])
def test_penalties_for_repetition_reach_the_lm(decoder, beam_size):
    segments, _ = random_batch(decoder)

    def different(**options):
        found, _ = decoder.generate(segments, DecodingOptions(beam_size=beam_size, max_length=12, **options), (399,))
        assert all(len(some[0]) == 12 for some in found), "399 is a token that this LM does not say"
        return [len(set(some[0])) for some in found]

    assert different(no_repeat_ngram_size=1) == [12, 12]
    assert sum(different(repetition_penalty=50.0)) > sum(different())


def test_the_beams_score_is_the_sum_over_the_length_to_the_power_of_the_penalty(decoder):
    segments, _ = random_batch(decoder)
    for penalty in (0.0, 1.0, 2.0):
        options = DecodingOptions(beam_size=3, min_length=0, max_length=5, length_penalty=penalty)
        found, scores = decoder.generate(segments, options, (EOS,))
        ids = found[0][0] + ([EOS] if len(found[0][0]) < 5 else [])
        tokens = torch.tensor([ids])
        own = decoder.log_probs(alone(segments, 0), Segment(tokens, torch.ones_like(tokens, dtype=torch.bool)))
        assert scores[0][0] == pytest.approx(own.sum().item() / len(ids) ** penalty, rel=1e-3)


@pytest.mark.parametrize("block", [None, 2 * 400 * 2])
def test_the_cross_entropy_is_in_float32(tiny_llama, monkeypatch, block):
    """Of an LM in 16 bits: its logits are what they are, their softmax is computed from them in float32."""
    if block:
        monkeypatch.setattr(lm_module, "BLOCK", block)
    decoder = CausalLMDecoder(tiny_llama, dtype="bfloat16").eval()
    segments, caption = random_batch(decoder)
    logits = next(decoder.logits(segments, caption))
    assert logits.dtype == torch.bfloat16
    exact = logits.double().log_softmax(-1).gather(2, caption.content[..., None]).squeeze(2) * caption.mask
    found = decoder.log_probs(segments, caption)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows(tiny_llama, tmp_path):
    """Kind: special tokens taken for granted. A token that was added behind has no embedding, and no traceback."""
    folder = make_qwen(tmp_path)
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **SIZES)).save_pretrained(folder)
    with pytest.raises(SecError, match="its tokenizer has the token .* with number 3.., its embedding only 300 rows"):
        CausalLMDecoder(str(folder))


def test_eos_that_is_bos_and_ends_that_are_not_there(tmp_path):
    """GPT-2's <|endoftext|> begins and ends a text; its configuration may name an id of another vocabulary."""
    folder = make_qwen(tmp_path)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [0, 50256]}))
    decoder = CausalLMDecoder(str(folder)).eval()
    assert decoder.tokenizer.bos_id == decoder.tokenizer.eos_id == 0 and decoder.end_ids == [0]
    template = build_template("plain", {}, decoder.tokenizer, ("queries", "instruction"), decoder.end_ids, decoder.rows)
    assert template.order[0] == (0,) and template.ends == (0,)
    check_log_probs_of_template(decoder, template)


def test_the_lm_is_of_the_role(tiny_bert):
    with pytest.raises(SecError, match="decoder_conf path: .*bert is no causal LM"):
        CausalLMDecoder(tiny_bert)
