import pytest
import torch

from espnet2_secap.text.text_encoder import BertTextEncoder, TokenEmbedding


def test_a_text_stands_between_the_special_tokens_that_the_bert_knows(tiny_bert):
    ids = BertTextEncoder.tokenize(path=tiny_bert)("语速较快")
    assert ids[0] == 2 and ids[-1] == 3 and len(ids) == 6, "[CLS], four characters, [SEP]"


def test_long_texts_are_cut_to_the_positions_of_the_bert(tiny_bert, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(tiny_bert, tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 10}
    (folder / "config.json").write_text(json.dumps(config))
    ids = BertTextEncoder.tokenize(path=str(folder))("语" * 50)
    assert len(ids) == 10 and ids[-1] == 3


def test_a_tokenizer_without_special_tokens_puts_none_among_the_ids(tmp_path):
    """GPT-2's tokenizer and others have neither [CLS] nor BOS."""
    from tiny import make_qwen
    from transformers import AutoConfig

    folder = str(make_qwen(tmp_path))
    assert AutoConfig.from_pretrained(folder).max_position_embeddings > 512
    ids = BertTextEncoder.tokenize(path=folder)("语速较快" * 300)
    assert all(isinstance(one, int) for one in ids) and len(ids) > 512


@pytest.mark.parametrize("encoder", ["bert", "embedding"])
def test_shapes_and_padding(encoder, tiny_bert, tiny_llama):
    torch.manual_seed(0)
    made = BertTextEncoder(tiny_bert) if encoder == "bert" else TokenEmbedding(tiny_llama, 24)
    ids, mask = torch.randint(5, 20, (2, 6)), torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    output = made(ids, mask)
    assert output.shape == (2, 6, made.output_size())
    ids[1, 4:] = 3
    torch.testing.assert_close(made(ids, mask)[mask], output[mask])


def test_trained_embeddings_are_cut_at_their_longest(tiny_llama):
    assert len(TokenEmbedding.tokenize(path=tiny_llama, max_length=5)("今天下午三点我们在图书馆门口见面")) == 5


@pytest.mark.parametrize("words", ["", "  "])
def test_a_text_without_words_is_one_token_and_finite(words, tiny_bert, tiny_llama, tmp_path):
    """An utterance of laughter has an empty transcription, which takes STMIL from no other."""
    from tiny import make_qwen

    for encoder, conf in (
        (BertTextEncoder, {"path": tiny_bert}),
        (BertTextEncoder, {"path": str(make_qwen(tmp_path))}),
        (TokenEmbedding, {"path": tiny_llama}),
    ):
        ids = encoder.tokenize(**conf)(words)
        assert len(ids) >= 1
        if encoder is TokenEmbedding or conf["path"] == tiny_bert:
            ids = torch.tensor([ids])
            assert encoder(**conf)(ids, torch.ones_like(ids, dtype=torch.bool)).isfinite().all()
