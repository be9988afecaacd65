import inspect

import pytest
import torch
from transformers import AutoModel, Blip2QFormerModel

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.errors import SecError
from espnet2_secap.masks import masked_statistics

SIZES = dict(num_queries=4, hidden_size=32, num_layers=3, num_heads=4, intermediate_size=64, encoder_width=24)


def build(**changes) -> QFormer:
    torch.manual_seed(0)
    return QFormer(**{"input_size": 20, **SIZES, **changes}).eval()


def test_equals_transformers_qformer():
    ours = build()
    theirs = Blip2QFormerModel(ours.qformer.config).eval()
    theirs.load_state_dict(ours.qformer.state_dict())
    feats = torch.randn(2, 9, 20)
    expected = theirs(
        query_embeds=ours.queries.expand(2, -1, -1), encoder_hidden_states=ours.input_projection(feats)
    ).last_hidden_state
    output, mask = ours(feats, torch.tensor([9, 9]))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)
    assert mask.all() and mask.shape == (2, 4)


def test_padding_of_speech_changes_nothing():
    bridge = build()
    long, short = torch.randn(1, 11, 20), torch.randn(1, 6, 20)
    batch = torch.full((2, 11, 20), 1e3)
    batch[0], batch[1, :6] = long[0], short[0]
    output, _ = bridge(batch, torch.tensor([11, 6]))
    torch.testing.assert_close(output[1:], bridge(short, torch.tensor([6]))[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(output[:1], bridge(long, torch.tensor([11]))[0], rtol=0, atol=1e-5)


def test_stride_reads_the_mean_of_every_few_frames():
    feats, lengths = torch.randn(2, 7, 20), torch.tensor([7, 4])
    means = torch.stack([feats[:, :3].mean(1), torch.cat([feats[:1, 3:6].mean(1), feats[1:, 3]]), feats[:, 6]], dim=1)
    output, mask = build(stride=3)(feats, lengths)
    torch.testing.assert_close(output, build()(means, torch.tensor([3, 2]))[0], rtol=0, atol=1e-5)
    assert mask.shape == (2, 4)
    with pytest.raises(ValueError, match="stride=0"):
        build(stride=0)


def test_text_branch_is_the_same_layers_without_cross_attention():
    bridge = build()
    text = torch.randn(1, 5, 32)
    before = bridge.forward_text(text, torch.ones(1, 5, dtype=torch.bool))
    with torch.no_grad():  # cross-attention must not matter, the self-attention must
        for layer in bridge.qformer.encoder.layer[::2]:
            for parameter in layer.crossattention.parameters():
                parameter.fill_(3.0)
    torch.testing.assert_close(bridge.forward_text(text, torch.ones(1, 5, dtype=torch.bool)), before)
    with torch.no_grad():
        bridge.qformer.encoder.layer[1].attention.attention.value.weight.mul_(2.0)
    assert not torch.allclose(bridge.forward_text(text, torch.ones(1, 5, dtype=torch.bool)), before)


def test_padding_of_text_changes_nothing():
    bridge = build(text_size=12)
    text = torch.randn(1, 5, 12)
    padded = torch.cat([text, torch.full((1, 3, 12), 50.0)], dim=1)
    mask = torch.tensor([[True] * 5 + [False] * 3])
    output = bridge.forward_text(padded, mask)[:, :5]
    torch.testing.assert_close(output, bridge.forward_text(text, mask[:, :5]), rtol=0, atol=1e-5)


def test_cross_attention_frequency():
    layers = build(num_layers=6, cross_attention_frequency=3).qformer.encoder.layer
    assert [layer.has_cross_attention for layer in layers] == [True, False, False, True, False, False]


def test_starts_from_bert(tiny_bert):
    bridge = build(num_layers=2, init=tiny_bert)
    bert = AutoModel.from_pretrained(tiny_bert)
    layer, theirs = bridge.qformer.encoder.layer[1], bert.encoder.layer[1]
    torch.testing.assert_close(layer.attention.attention.query.weight, theirs.attention.self.query.weight)
    torch.testing.assert_close(layer.output_query.dense.bias, theirs.output.dense.bias)
    torch.testing.assert_close(bridge.qformer.layernorm.weight, bert.embeddings.LayerNorm.weight)
    # Without cross-attention the text branch is then BERT's encoder itself.
    ids = torch.tensor([[2, 7, 8, 3]])
    embeddings = bert.embeddings.word_embeddings(ids) + bert.embeddings.position_embeddings.weight[:4]
    embeddings = embeddings + bert.embeddings.token_type_embeddings.weight[0]
    expected = bert.eval()(input_ids=ids).last_hidden_state
    output = bridge.forward_text(embeddings, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_bad_arguments_are_named(tiny_bert):
    with pytest.raises(ValueError, match="num_heads=5"):
        build(num_heads=5)
    with pytest.raises(SecError, match=r"intermediate.dense.weight should be \(48, 32\)"):
        build(num_layers=2, intermediate_size=48, init=tiny_bert)
    with pytest.raises(SecError, match="neither a folder here"):
        build(init="no/such-bert")


def test_sizes_are_those_of_the_paper_by_default():
    """32 queries of 768; as BERT's: 12 layers, 12 heads, 3072; speech in every second layer, at 768 wide."""
    parameters = inspect.signature(QFormer).parameters
    defaults = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
    assert defaults == dict(
        num_queries=32, hidden_size=768, num_layers=12, num_heads=12, intermediate_size=3072,
        cross_attention_frequency=2, encoder_width=768, dropout=0.1, initializer_range=0.02, stride=1, statistics=False,
        text_size=None, init=None,
    )  # fmt: skip


def test_random_weights_have_the_scale_that_is_asked_for():
    for scale in (0.02, 0.07):
        bridge = build(hidden_size=64, intermediate_size=256, encoder_width=64, initializer_range=scale)
        for name, weight in bridge.qformer.named_parameters():
            if name.endswith("weight") and weight.dim() == 2:
                assert weight.std().item() == pytest.approx(scale, rel=0.1), name
    assert build(num_queries=64, hidden_size=64).queries.std().item() == pytest.approx(0.02, rel=0.1)


def test_dropout_in_training_only():
    bridge, feats, lengths = build(dropout=0.5), torch.randn(1, 9, 20), torch.tensor([9])
    assert torch.equal(bridge(feats, lengths)[0], bridge(feats, lengths)[0])
    bridge.train()
    assert not torch.allclose(bridge(feats, lengths)[0], bridge(feats, lengths)[0])
    text, mask = torch.randn(1, 5, 32), torch.ones(1, 5, dtype=torch.bool)
    assert not torch.allclose(bridge.forward_text(text, mask), bridge.forward_text(text, mask))
    dropouts = [one.p for one in bridge.modules() if isinstance(one, torch.nn.Dropout)]
    assert dropouts and set(dropouts) == {0.5}


def test_a_projection_of_text_only_where_widths_differ():
    assert isinstance(build(text_size=32).text_projection, torch.nn.Identity)
    assert isinstance(build().text_projection, torch.nn.Identity)
    assert build(text_size=12).text_projection.weight.shape == (32, 12)
    assert build().output_size() == 32


def test_statistics_are_one_more_key_and_part_of_every_query():
    """Those of all real frames, whatever the stride; the same in a batch as alone."""
    bridge, plain = build(statistics=True, stride=3), build(stride=3)
    feats, lengths = torch.randn(2, 7, 20), torch.tensor([7, 4])
    feats[1, 4:] = 1e3
    real = [feats[0], feats[1, :4]]
    of_all = torch.stack([torch.cat([one.mean(0), one.std(0, correction=0)]) for one in real])
    seen = {}
    bridge.qformer.register_forward_pre_hook(lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True)
    output, _ = bridge(feats, lengths)
    torch.testing.assert_close(seen["query_embeds"], bridge.queries + bridge.statistics["queries"](of_all)[:, None])
    torch.testing.assert_close(seen["encoder_hidden_states"][:, -1], bridge.statistics["key"](of_all))
    assert seen["encoder_attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 1]]
    torch.testing.assert_close(output[1:], bridge(feats[1:, :4], lengths[1:])[0], rtol=0, atol=1e-5)
    assert not torch.allclose(output, plain(feats, lengths)[0])
    ours, theirs = bridge.state_dict(), plain.state_dict()
    more = {f"statistics.{part}.{name}" for part in ("key", "queries") for name in ("weight", "bias")}
    assert set(ours) - set(theirs) == more and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_statistics_begin_at_the_scale_of_the_queries_and_are_trained():
    bridge = build(input_size=200, hidden_size=64, statistics=True)
    feats = torch.randn(30, 50, 200)
    added = bridge.statistics["queries"](masked_statistics(feats, torch.ones(30, 50, dtype=torch.bool)))
    assert 0.005 < added.std().item() < 0.04
    bridge(torch.zeros(2, 5, 200), torch.tensor([5, 3]))[0].sum().backward()  # of no deviation
    for parameter in bridge.statistics.parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any()
