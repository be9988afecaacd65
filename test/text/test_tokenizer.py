"""Kind: a tokenizer's special tokens and a model's limits of length are not taken for granted."""

import logging
import shutil
from pathlib import Path

import pytest
from tiny import make_qwen
from transformers import BertConfig, BertTokenizer, GPT2Config, XLMRobertaConfig, XLNetConfig

from espnet2_secap.errors import SecError
from espnet2_secap.text.tokenizer import (
    SentencePieceTokenizer,
    TransformersTokenizer,
    build_tokenizer,
    check_vocabulary,
    join_words,
    text_limit,
)


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


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wordpiece")
    words = "slow sad ##ly very fast high - pitched , . ' s the speaker 30 안 ##녕 음성 ? ， 。 、 “ ” … 《 》 !"
    words += " き ##い アク ##セント " + " ".join("语速较快情绪中愤怒岁声大が")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False, strip_accents=False).save_pretrained(folder)
    return build_tokenizer(str(folder))


@pytest.mark.parametrize(
    "text",
    [
        "语速较快，情绪中愤怒。",
        "“语速较快”…情绪、愤怒",
        "30岁，语速较快",
        "《语速》较快!",
        "声が大きい、アクセント。",
        "very slow, sadly.",
        "the speaker's high-pitched",
        "안녕 음성",
        "very fast 语速 very slow",
    ],
)
def test_captions_of_a_wordpiece_tokenizer_are_as_people_write_them(wordpiece, text):
    assert wordpiece.decode(wordpiece.encode(text)) == text


def test_blanks_of_the_lm_itself_stay(tiny_llama, tmp_path):
    """Where a tokenizer has tokens for blanks, the LM wrote them."""
    for tokenizer in (build_tokenizer(tiny_llama), build_tokenizer(str(make_qwen(tmp_path)))):
        assert tokenizer.decode(tokenizer.encode("语速 较快 情绪")) == "语速 较快 情绪"


def test_text_without_cjk_keeps_its_blanks():
    assert join_words("a b ， c 。 d") == "a b ， c 。 d"
    assert join_words("快 ， b 。 c") == "快，b。c"


def test_bytes_that_are_no_whole_character_are_left_out_and_said(tiny_llama, tmp_path, caplog):
    llama, qwen = build_tokenizer(tiny_llama), build_tokenizer(str(make_qwen(tmp_path)))
    with caplog.at_level(logging.WARNING):
        for tokenizer in (llama, qwen):
            ids = tokenizer.encode("快🙂ok")
            assert tokenizer.decode(ids) == "快🙂ok" and not caplog.records
            cut = len(tokenizer.encode("快🙂")) - 1
            assert tokenizer.decode(ids[:cut]) == tokenizer.decode(ids[: cut - 1]) == "快"
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            caplog.clear()


def test_an_unknown_token_says_nothing(tiny_llama):
    tokenizer = build_tokenizer(tiny_llama)
    assert tokenizer.decode([tokenizer.sp.unk_id(), *tokenizer.encode("语速"), -1]) == "语速"


def test_a_text_is_cut_to_what_fits_beside_the_special_tokens(tiny_llama, tiny_bert):
    for path in (tiny_llama, tiny_bert):
        tokenizer = build_tokenizer(path)
        for length in (3, 4, 9):
            assert len(tokenizer.encode_whole("语速较快，声音高亢，情绪", length)) == length
        for length in (0, 1, 2):
            with pytest.raises(SecError, match=f"max_length={length}: leaves no room beside 2 special tokens"):
                tokenizer.encode_whole("语速", length)


def test_longest_texts_of_text_encoders(tiny_bert):
    """Roberta's positions begin behind that of padding; some models name no limit, some tokenizers 1e30."""
    tokenizer = build_tokenizer(tiny_bert).tokenizer
    assert tokenizer.model_max_length > 10**9
    assert text_limit(BertConfig(max_position_embeddings=40), tokenizer) == 40
    assert text_limit(XLMRobertaConfig(max_position_embeddings=514, pad_token_id=1), None) == 512
    assert text_limit(XLNetConfig(), None) == 512
    tokenizer.model_max_length = 30
    assert text_limit(BertConfig(max_position_embeddings=40), tokenizer) == 30


def test_a_token_without_a_row_in_the_embedding_is_named(tiny_llama, tiny_bert, tmp_path):
    for path in (tiny_llama, tiny_bert, str(make_qwen(tmp_path))):
        tokenizer = build_tokenizer(path)
        check_vocabulary(tokenizer, tokenizer.vocab_size + 5, path, "x")
        check_vocabulary(tokenizer, tokenizer.vocab_size, path, "x")
        with pytest.raises(SecError, match=f"x: {path}: its tokenizer has the token .* with number"):
            check_vocabulary(tokenizer, tokenizer.vocab_size - 1, path, "x")


def test_tokens_that_no_text_becomes_need_no_row(tiny_bert, tmp_path):
    """A [PAD] that a fine-tuning added to an LM's tokenizer, and a blank line at the end of vocab.txt."""
    tokenizer = build_tokenizer(str(make_qwen(tmp_path / "qwen")))
    rows = tokenizer.vocab_size
    tokenizer.tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    check_vocabulary(tokenizer, rows, "qwen", "x", special=False)
    with pytest.raises(SecError, match=r"its tokenizer has the token '\[PAD\]'"):
        check_vocabulary(tokenizer, rows, "qwen", "x")
    bert = shutil.copytree(tiny_bert, tmp_path / "bert")
    vocabulary = (bert / "vocab.txt").read_text(encoding="utf-8")
    (bert / "vocab.txt").write_text(vocabulary + "\n", encoding="utf-8")
    check_vocabulary(build_tokenizer(str(bert)), vocabulary.count("\n"), "bert", "x")


def test_a_broken_sentencepiece_model_is_named(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk")
    with pytest.raises(SecError, match="tokenizer.model: is no sentencepiece model, or cut short"):
        build_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    with pytest.raises(SecError, match="tiktoken's format"):
        build_tokenizer(str(tmp_path))


def test_a_tokenizer_that_did_not_read_its_vocabulary_is_refused(tiny_bert, tmp_path):
    """Of a Chinese GPT-2 without tokenizer_config.json transformers makes GPT-2's own, which knows no vocab.txt."""
    shutil.copy(Path(tiny_bert) / "vocab.txt", tmp_path)
    GPT2Config(vocab_size=99).save_pretrained(tmp_path)
    with pytest.raises(SecError, match="GPT2Tokenizer has no vocabulary .*tokenizer_class"):
        build_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert len(build_tokenizer(str(tmp_path)).encode("语速")) == 2
