"""The encoder-decoder as decoder: equal to transformers' own forward, batch or single, with every way of decoding."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from tiny import BART, TEXTS, make_bart
from tiny_segments import alone, random_batch

from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.decoder.seq2seq import Seq2SeqDecoder, _embedded, _first_ids
from espnet2_secap.errors import SecError
from espnet2_secap.text.template import Segment

EOS = 2
VOCABULARY = 400
T5 = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, relative_attention_num_buckets=8)
IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=EOS, decoder_start_token_id=EOS)
GEMMA = dict(
    vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, sliding_window=4, pad_token_id=0, bos_token_id=1, eos_token_id=EOS,
)  # fmt: skip
KINDS = {
    "bart": ("bart", BART),
    "bart, scaled embeddings": ("bart", BART | dict(scale_embedding=True)),
    "mbart": ("mbart", BART | dict(scale_embedding=True)),
    "pegasus": ("pegasus", BART | dict(scale_embedding=True)),
    "marian": ("marian", BART | dict(scale_embedding=True, decoder_start_token_id=0)),
    "blenderbot": ("blenderbot", BART),
    "m2m_100": ("m2m_100", BART),
    "plbart": ("plbart", BART),
    "mvp": ("mvp", BART),
    "t5": ("t5", T5 | dict(decoder_start_token_id=0)),
    "t5, untied and gated": ("t5", T5 | dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
    "mt5": ("mt5", T5 | dict(decoder_start_token_id=0)),
    "umt5": ("umt5", T5 | dict(decoder_start_token_id=0)),
    "longt5, local attention": ("longt5", T5 | dict(local_radius=4, decoder_start_token_id=0)),
    "led, windows": (
        "led",
        {key: value for key, value in BART.items() if "position" not in key}
        | dict(max_encoder_position_embeddings=64, max_decoder_position_embeddings=64, attention_window=4),
    ),
    "bigbird_pegasus": ("bigbird_pegasus", BART | dict(attention_type="original_full")),
    "pegasus_x, blocks": ("pegasus_x", BART | dict(scale_embedding=True, block_size=8, num_global_tokens=4)),
    "nllb-moe, experts": (
        "nllb-moe",
        BART | dict(scale_embedding=True, num_experts=2, encoder_sparse_step=2, decoder_sparse_step=2),
    ),
    "switch_transformers, experts": ("switch_transformers", T5 | dict(num_experts=2, num_decoder_layers=2)),
    "t5gemma, a configuration for each side": (
        "t5gemma",
        dict(encoder=GEMMA, decoder=GEMMA | dict(cross_attention_hidden_size=32), decoder_start_token_id=None),
    ),
}
REFUSED = {  # name: model type, what its configuration sets, the reason
    "prophetnet": (
        "prophetnet",
        dict(
            hidden_size=32, encoder_ffn_dim=64, num_encoder_layers=2, num_encoder_attention_heads=4, decoder_ffn_dim=64,
            num_decoder_layers=2, num_decoder_attention_heads=4, max_position_embeddings=64,
        ),
        "a padded batch is not decoded as its rows are alone",
    ),
    "fsmt": (
        "fsmt",
        BART | dict(langs=["en", "de"], src_vocab_size=VOCABULARY, tgt_vocab_size=VOCABULARY),
        "it does not read embeddings",
    ),
}  # fmt: skip
WAYS = {
    "greedy": {},
    "beams": dict(beam_size=3, num_candidates=3),
    "beams, early": dict(beam_size=3, num_candidates=2, early_stopping=True, length_penalty=0.5, forced_end=True),
    "samples": dict(sampling=True, num_candidates=3, top_k=20, temperature=1.5),
    "samples within beams": dict(sampling=True, beam_size=2, num_candidates=2, top_p=0.9),
    "penalties": dict(repetition_penalty=2.0, no_repeat_ngram_size=2),
}


def make(folder: Path, llama: str, kind: str) -> str:
    """A random LM of that kind."""
    model_type, sizes, *_ = (KINDS | REFUSED)[kind]
    return str(make_bart(folder, llama, model_type, **sizes))


def forced(decoder, lm, segments, own):
    """Log-probabilities (L,) of one caption by transformers' own forward, with embeddings that are given."""
    embedded = [_embedded(lm, one.content) if one.is_ids else one.content for one in segments]
    read = torch.tensor([[decoder.start, *decoder.forced, *own[:-1].tolist()]])
    logits = lm(inputs_embeds=torch.cat(embedded, dim=1), decoder_input_ids=read).logits[0]
    return logits[len(decoder.forced) :].log_softmax(-1).gather(1, own[:, None])[:, 0]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_batch_is_what_transformers_says_of_each(kind, tiny_llama, tmp_path):
    decoder = Seq2SeqDecoder(make(tmp_path, tiny_llama, kind)).eval()
    lm = decoder.lm.module
    segments, caption = random_batch(decoder, ((3, 4, 5), (1, 2, 2), (2, 4, 3)))
    output = decoder.log_probs(segments, caption)
    for i in range(len(output)):
        mask = caption.mask[i]
        expected = forced(decoder, lm, alone(segments, i), caption.content[i, mask])
        assert output[i, mask].tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-4)
        assert (output[i, ~mask] == 0).all()
        several = Segment(caption.content.clamp(min=3), caption.mask)
        found = decoder.caption_log_probs(alone(segments, i), several)
        rows = [
            forced(decoder, lm, alone(segments, i), ids[own]).sum()
            for ids, own in zip(several.content, several.mask, strict=True)
        ]
        assert found.tolist() == pytest.approx([one.item() for one in rows], rel=1e-4, abs=1e-4)
    ids = torch.randint(3, 300, (1, 6))
    text = [Segment(ids, torch.ones_like(ids, dtype=torch.bool))]  # text alone is read as the LM reads it
    read = torch.tensor([[decoder.start, *decoder.forced, 7, 8]])
    logits = lm(input_ids=ids, decoder_input_ids=read).logits
    own = torch.cat(list(decoder.logits(text, Segment(torch.tensor([[7, 8, 9]]), torch.ones(1, 3).bool()))), dim=1)
    assert torch.allclose(own, logits[:, len(decoder.forced) :], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_an_lms_code_cannot_do_is_found_out_at_once(kind, tiny_llama, tmp_path):
    with pytest.raises(SecError, match=f"decoder_conf path: .* cannot be the decoder: {REFUSED[kind][2]}"):
        Seq2SeqDecoder(make(tmp_path, tiny_llama, kind))


@pytest.mark.parametrize("kind", ["bart", "mbart", "t5", "marian", "nllb-moe, experts"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_decoding_equals_teacher_forcing(kind, way, tiny_llama, tmp_path):
    decoder = Seq2SeqDecoder(make(tmp_path, tiny_llama, kind)).eval()
    segments, _ = random_batch(decoder, ((3, 4, 5), (1, 2, 2)))
    options = DecodingOptions(min_length=2, max_length=6, **WAYS[way])
    torch.manual_seed(0)
    found, scores = decoder.generate(segments, options, [EOS])
    assert [len(one) for one in found] == [options.num_candidates] * 2
    for i, captions in enumerate(found):
        assert all(2 <= len(ids) <= 6 and EOS not in ids for ids in captions)
        assert scores[i] == sorted(scores[i], reverse=True)
        if options.beam_size == 1:  # the mean log-probability of the tokens, the end included
            for ids, score in zip(captions, scores[i], strict=True):
                own = torch.tensor([*ids, EOS][:6])
                with torch.no_grad():
                    expected = forced(decoder, decoder.lm.module, alone(segments, i), own).mean().item()
                assert score == pytest.approx(expected, rel=1e-4, abs=1e-4)
        if not options.sampling:  # batch or single
            assert decoder.generate(alone(segments, i), options, [EOS])[0][0] == captions


def test_beams_divide_by_the_length_and_forced_ids_count_in_it(tiny_bart):
    decoder = Seq2SeqDecoder(tiny_bart, forced=[5, 6]).eval()
    segments, _ = random_batch(decoder, ((3, 4, 5),))
    options = DecodingOptions(min_length=2, max_length=7, beam_size=4, num_candidates=4, length_penalty=0.7)
    [found], [scores] = decoder.generate(segments, options, [EOS])
    for ids, score in zip(found, scores, strict=True):
        own = torch.tensor([*ids, EOS][:7])
        with torch.no_grad():
            total = forced(decoder, decoder.lm.module, segments, own).sum().item()
        assert score == pytest.approx(total / (len(own) + 2) ** 0.7, rel=1e-4)


def test_penalties_do_not_see_what_stands_before_the_caption(tiny_bart):
    """The start of BART is its end token: a penalty that counted it would keep captions from ending."""
    decoder = Seq2SeqDecoder(tiny_bart, forced=[7]).eval()
    segments, _ = random_batch(decoder, ((3, 4, 5),))
    with torch.no_grad():
        decoder.lm.module.final_logits_bias.zero_()[0, [EOS, 7]] = 50.0  # ends, or says 7, wherever it may
        decoder.lm.module.final_logits_bias[0, 7] = 49.0
    plain = DecodingOptions(min_length=2, max_length=6, no_repeat_ngram_size=1, repetition_penalty=1.2)
    [[ids]], _ = decoder.generate(segments, plain, [EOS])
    assert ids[0] == 7 and len(ids) == 2  # once, although it was forced before; and then the end


def test_a_forced_end(tiny_bart):
    decoder = Seq2SeqDecoder(tiny_bart).eval()
    segments, _ = random_batch(decoder, ((3, 4, 5),))
    with torch.no_grad():
        decoder.lm.module.final_logits_bias[0, EOS] = -50.0
    options = DecodingOptions(min_length=1, max_length=5)
    for end, length in ((False, 5), (True, 4)):
        [[ids]], _ = decoder.generate(segments, dataclasses.replace(options, forced_end=end), [EOS])
        assert len(ids) == length


def test_blocks_and_smoothing(tiny_bart, monkeypatch):
    decoder = Seq2SeqDecoder(tiny_bart).eval()
    segments, caption = random_batch(decoder)
    whole = decoder.log_probs(segments, caption, smoothing=0.1)
    logits = torch.cat(list(decoder.logits(segments, caption)), dim=1).log_softmax(-1)
    own = logits.gather(2, caption.content[..., None])[..., 0]
    assert torch.allclose(whole, (0.9 * own + 0.1 * logits.mean(-1)) * caption.mask, atol=1e-5)
    monkeypatch.setattr("espnet2_secap.decoder.lm.BLOCK", 1)
    assert torch.allclose(decoder.log_probs(segments, caption, smoothing=0.1), whole, atol=1e-6)
    other = caption.content.clone()
    other[:, 0] = 9
    read = decoder.log_probs(segments, caption, read=other)
    assert torch.allclose(read[:, 0], decoder.log_probs(segments, caption)[:, 0]) and not torch.allclose(
        read, decoder.log_probs(segments, caption)
    )


def test_only_the_speech_is_trained_unless_it_is_said(tiny_bart):
    frozen = Seq2SeqDecoder(tiny_bart)
    segments, caption = random_batch(frozen)
    segments[1].content.requires_grad_()
    frozen.train().log_probs(segments, caption).sum().backward()
    assert segments[1].content.grad[segments[1].mask].abs().min() > 0
    assert not any(p.requires_grad for p in frozen.parameters()) and not frozen.lm.module.training
    assert all(p.requires_grad for p in Seq2SeqDecoder(tiny_bart, freeze=False).parameters())


def test_lora(tiny_bart):
    decoder = Seq2SeqDecoder(tiny_bart, lora={"r": 2, "target_modules": ["q_proj", "v_proj"]})
    segments, caption = random_batch(decoder)
    decoder.log_probs(segments, caption).sum().backward()
    trained = [name for name, p in decoder.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    options = DecodingOptions(min_length=1, max_length=4, beam_size=2)
    before = Seq2SeqDecoder(tiny_bart).eval().generate(segments, options, [EOS])
    assert decoder.eval().generate(segments, options, [EOS])[0] == before[0]  # LoRA begins with no change


def test_both_sides_have_a_limit_each(tiny_llama, tmp_path):
    decoder = Seq2SeqDecoder(make(tmp_path, tiny_llama, "bart"))
    assert decoder.hard_limit == 64 and not decoder.reads_caption
    ids = torch.ones(1, 64, dtype=torch.long)
    decoder.check_length([Segment(ids, ids.bool())], 64 - decoder.written)
    with pytest.raises(SecError, match="what the encoder reads has 65 positions, the LM has 64"):
        decoder.check_length([Segment(ids, ids.bool()), Segment(ids[:, :1], ids[:, :1].bool())], 1)
    with pytest.raises(SecError, match="what the decoder writes has 65 positions, the LM has 64"):
        decoder.check_length([Segment(ids, ids.bool())], torch.ones(1, 65 - decoder.written).bool())
    led = dict(max_encoder_position_embeddings=96, max_decoder_position_embeddings=32, attention_window=4)
    sizes = {key: value for key, value in BART.items() if "position" not in key} | led
    decoder = Seq2SeqDecoder(str(make_bart(tmp_path / "led", tiny_llama, "led", **sizes)))
    decoder.check_length([Segment(ids, ids.bool())], 32 - decoder.written)
    with pytest.raises(SecError, match="what the decoder writes has 33 positions, the LM has 32"):
        decoder.check_length([Segment(ids, ids.bool())], 33 - decoder.written)
    with pytest.raises(SecError, match="what the encoder reads has 128 positions, the LM has 96"):
        decoder.check_length([Segment(ids, ids.bool())] * 2, 1)


def with_tokenizer(folder: Path, kind: str, tokenizer, **config) -> str:
    tokenizer.save_pretrained(folder)
    model_type, sizes = KINDS[kind]
    sizes = IDS | sizes | dict(vocab_size=len(tokenizer)) | config
    transformers.AutoModelForSeq2SeqLM.from_config(
        transformers.AutoConfig.for_model(model_type, **sizes)
    ).save_pretrained(folder)
    return str(folder)


def test_a_bert_tokenizer_puts_cls_before_and_sep_behind(tiny_bert, tmp_path):
    """fnlp/bart-base-chinese: the decoder begins with [SEP], then [CLS]; a caption ends with [SEP]."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    decoder = Seq2SeqDecoder(with_tokenizer(tmp_path, "bart", tokenizer, decoder_start_token_id=tokenizer.sep_token_id))
    assert (decoder.start, decoder.forced) == (tokenizer.sep_token_id, (tokenizer.cls_token_id,))
    assert decoder.tokenizer.eos_id == tokenizer.sep_token_id


def multilingual(tmp_path, cls: str):
    """A tokenizer of mBART's classes over a few pieces."""
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁", -2.0), ("b", -3.0)]
    return getattr(transformers, cls)(vocab=pieces, src_lang="en_XX")


@pytest.mark.parametrize("cls", ["MBartTokenizer", "MBart50Tokenizer"])
def test_a_multilingual_tokenizer_needs_a_language(cls, tmp_path):
    tokenizer = multilingual(tmp_path, cls)
    folder = with_tokenizer(tmp_path, "mbart", tokenizer)
    with pytest.raises(SecError, match="multilingual; give lang"):
        Seq2SeqDecoder(folder)
    with pytest.raises(SecError, match="lang='zz': .* has no such language"):
        Seq2SeqDecoder(folder, lang="zz")
    decoder, code = Seq2SeqDecoder(folder, lang="zh_CN"), tokenizer.convert_tokens_to_ids("zh_CN")
    assert (decoder.start, decoder.forced) == ((code, ()) if cls == "MBartTokenizer" else (EOS, (code,)))


def marian_tokenizer(folder: Path, **options):
    """A tokenizer with sentencepiece models of English and of Chinese."""
    import sentencepiece

    pieces = ["</s>", "<unk>"]
    for side, texts in (("source", ["the voice is low and slow", "she is glad"]), ("target", TEXTS)):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts * 20),
            model_prefix=str(folder / side),
            vocab_size=200,
            hard_vocab_limit=False,
            character_coverage=1.0,
            minloglevel=2,
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        pieces += [model.id_to_piece(i) for i in range(3, model.vocab_size())]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, "<pad>"]))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    if options.get("separate_vocabs"):
        options["target_vocab_file"] = str(folder / "vocab.json")
    files = (str(folder / name) for name in ("source.spm", "target.spm", "vocab.json"))
    return transformers.MarianTokenizer(*files, **options)


def test_marian_reads_and_writes_the_language_that_it_writes(tmp_path):
    (tmp_path / "lm").mkdir()
    tokenizer = marian_tokenizer(tmp_path)
    folder = with_tokenizer(tmp_path / "lm", "marian", tokenizer, decoder_start_token_id=tokenizer.pad_token_id)
    decoder = Seq2SeqDecoder(folder)
    assert (decoder.start, decoder.forced) == (tokenizer.pad_token_id, ())
    assert decoder.tokenizer.eos_id == 0
    ids = decoder.tokenizer.encode(TEXTS[0])
    assert tokenizer.unk_token_id not in ids and decoder.tokenizer.decode(ids) == TEXTS[0].replace("，", ",")
    apart = marian_tokenizer(tmp_path, separate_vocabs=True)
    with pytest.raises(SecError, match="has a vocabulary for what is read and another for what is written"):
        _first_ids(SimpleNamespace(tokenizer=apart), 0, None)


def test_what_cannot_be_the_decoder_is_one_line(tiny_bart, tiny_llama, tiny_bert, tmp_path):
    for other in (tiny_llama, tiny_bert):
        with pytest.raises(SecError, match="is no encoder-decoder; use decoder: causal_lm") as err:
            Seq2SeqDecoder(other)
        assert "\n" not in str(err.value)
    whisper = dict(d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)
    config = transformers.WhisperConfig(vocab_size=VOCABULARY, **whisper, **IDS)
    transformers.WhisperForConditionalGeneration(config).save_pretrained(tmp_path / "whisper")
    with pytest.raises(SecError, match="whisper reads something else than text; give an encoder-decoder of text"):
        Seq2SeqDecoder(str(tmp_path / "whisper"))
    with pytest.raises(SecError, match="lang='zh_CN': the tokenizer knows no languages"):
        Seq2SeqDecoder(tiny_bart, lang="zh_CN")
    with pytest.raises(SecError, match="begins with id 400"):
        Seq2SeqDecoder(tiny_bart, forced=[VOCABULARY])
    shutil.copytree(tiny_bart, tmp_path / "bart")
    for name in ("config.json", "generation_config.json"):
        config = json.loads((tmp_path / "bart" / name).read_text())
        (tmp_path / "bart" / name).write_text(json.dumps(config | {"decoder_start_token_id": None}))
    with pytest.raises(SecError, match="has no decoder_start_token_id"):
        Seq2SeqDecoder(str(tmp_path / "bart"))
