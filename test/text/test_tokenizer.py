from espnet2_secap.text.tokenizer import SentencePieceTokenizer, TransformersTokenizer, build_tokenizer


def test_a_folder_with_a_sentencepiece_model_is_cut_by_sentencepiece(tiny_llama):
    tokenizer = build_tokenizer(tiny_llama)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    text = "语速较快，声音高亢。"
    ids = tokenizer.encode(text)
    assert ids == tokenizer.sp.encode(text) and 1 not in ids and 2 not in ids
    assert tokenizer.decode([1, *ids, 2, 10**6]) == tokenizer.sp.decode(ids)


def test_bert_folder(tiny_bert):
    tokenizer = build_tokenizer(tiny_bert)
    assert isinstance(tokenizer, TransformersTokenizer)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (2, 3)
    assert len(tokenizer.encode("语速较快")) == 4


def test_released_prompt_ids(secap_tiny):
    import json

    folder = secap_tiny
    meta = json.loads((folder / "meta.json").read_text())
    tokenizer = build_tokenizer(str(folder / "weights" / "llama"))
    for utt in meta["utts"].values():
        assert [tokenizer.bos_id, *tokenizer.encode(meta["prompt"])] == utt["prompt_ids"]
