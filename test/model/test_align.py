import inspect

import pytest
import torch

from espnet2_secap.bridge.linear import LinearBridge
from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.encoder.stored import StoredEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.loss.estimator import standardise
from espnet2_secap.loss.sccl import sccl_loss
from espnet2_secap.loss.vclub import gaussian_log_likelihood, vclub_bound
from espnet2_secap.model.align import AlignModel
from espnet2_secap.text.text_encoder import BertTextEncoder, TokenEmbedding

SIZES = dict(num_queries=4, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, encoder_width=24)


def build(llama, **options) -> AlignModel:
    torch.manual_seed(0)
    bridge = QFormer(10, **SIZES, dropout=0.0)
    return AlignModel(StoredEncoder(10), bridge, TokenEmbedding(llama, 32), estimator_size=16, **options)


def batch(size=6):
    torch.manual_seed(1)
    lengths = torch.randint(4, 9, (3, size))
    lengths[:, 0] = 8
    return dict(
        speech=torch.randn(size, 8, 10),
        speech_lengths=lengths[0],
        caption=torch.randint(3, 300, (size, 8)),
        caption_lengths=lengths[1],
        text=torch.randint(3, 300, (size, 8)),
        text_lengths=lengths[2],
        emotion=torch.arange(size)[:, None] // 2,
    )


def gradients(model, loss) -> dict[str, float]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.abs().sum().item() for name, p in model.named_parameters() if p.grad is not None}


def test_bound_moves_the_speech_side_only_and_fit_the_estimator_only(tiny_llama):
    model = build(tiny_llama, sccl_weight=0.0)
    inputs = batch()
    query = model.q_embedding(inputs["speech"], inputs["speech_lengths"])[0].mean(1)
    said = model.embed_text(inputs["text"], inputs["text_lengths"])
    bound, fit = model._mutual_information(said.detach(), query)
    assert not any(name.startswith("estimator") for name in gradients(model, bound))
    moved = gradients(model, fit)
    assert moved and all(name.startswith("estimator") for name in moved)


def test_loss_is_eq_6_in_the_statistics(tiny_llama):
    model = build(tiny_llama, mi_weight=0.3, sccl_weight=2.0, sccl_weights=(1.0, 0.5, 2.0))
    _, stats, weight = model(**batch())
    sccl = stats["sccl_own"] + 0.5 * stats["sccl_same"] + 2.0 * stats["sccl_other"]
    assert stats["sccl"].item() == pytest.approx(sccl.item(), rel=1e-5)
    assert stats["loss"].item() == pytest.approx(0.3 * stats["mi"].item() + 2.0 * sccl.item(), rel=1e-5)
    assert weight == 6


def test_each_term_can_be_switched_off(tiny_llama):
    inputs = batch()
    _, stats, _ = build(tiny_llama, mi_weight=0.0)(**{k: v for k, v in inputs.items() if not k.startswith("text")})
    assert "mi" not in stats and "sccl" in stats
    _, stats, _ = build(tiny_llama, sccl_weight=0.0)(**inputs)
    assert "sccl" not in stats and "mi" in stats
    with pytest.raises(ValueError, match="both 0"):
        build(tiny_llama, mi_weight=0.0, sccl_weight=0.0)


@pytest.mark.slow(6)
def test_stmil_removes_what_the_text_tells(tiny_llama):
    """Speech is sentence + emotion + noise; STMIL alone takes the sentence out of the embeddings, and not the rest."""
    torch.manual_seed(0)
    sentences, said, emotion = torch.randint(3, 300, (4, 6)), torch.randn(4, 10), torch.randn(2, 10)
    bridge = QFormer(10, **SIZES, dropout=0.0, initializer_range=0.1)
    model = AlignModel(StoredEncoder(10), bridge, TokenEmbedding(tiny_llama, 32), sccl_weight=0.0, estimator_size=64)
    estimator = [p for name, p in model.named_parameters() if name.startswith("estimator.")]
    others = [p for name, p in model.named_parameters() if not name.startswith("estimator.")]
    # The estimator has to keep up with embeddings that move: a learning rate ten times theirs.
    optimizer = torch.optim.Adam([{"params": others, "lr": 1e-3}, {"params": estimator, "lr": 1e-2}])

    def speak(s, e):
        clean = (said[s] + emotion[e])[:, None] + torch.randn(len(s), 1, 10)
        return clean + 0.1 * torch.randn(len(s), 5, 10), torch.full((len(s),), 5)

    def explained_by_sentence() -> float:
        """Share of the embeddings' variance between the sentences' means."""
        torch.manual_seed(5)
        s, e = torch.arange(4).repeat_interleave(64), torch.arange(2).repeat(128)
        with torch.no_grad():
            query = standardise(model.q_embedding(*speak(s, e))[0].mean(1))
        return torch.stack([query[s == i].mean(0) for i in range(4)]).pow(2).mean().item()

    before = explained_by_sentence()
    for step in range(200):
        torch.manual_seed(100 + step)
        s, e = torch.randint(4, (32,)), torch.randint(2, (32,))
        loss, _, _ = model(*speak(s, e), text=sentences[s], text_lengths=torch.full((32,), 6))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before > 0.2 and explained_by_sentence() < 0.25 * before


def test_retrieval_rate_by_hand(tiny_llama):
    model = build(tiny_llama)
    model.start_retrieval()
    speech = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    caption = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.5, 0.5]])  # own nearest: yes, no, yes
    model.retrieval = [(speech[:2], caption[:2]), (speech[2:], caption[2:])]
    assert model.retrieval_rate() == pytest.approx(2 / 3)
    assert model.retrieval_rate() is None


def test_bert_text_encoder_is_frozen_and_left_out_of_the_state(tiny_bert):
    model = AlignModel(StoredEncoder(10), QFormer(10, **SIZES), BertTextEncoder(tiny_bert))
    inputs = batch()
    for name in ("caption", "text"):
        inputs[name] = inputs[name] % 30
    model(**inputs)[0].backward()
    assert not any(key.startswith("text_encoder") for key in model.state_dict())
    assert all(p.grad is None for p in model.text_encoder.parameters())


def test_a_bridge_without_text_branch_is_refused_when_the_model_is_built(tiny_llama):
    with pytest.raises(SecError, match="LinearBridge has no text branch.*use bridge: qformer"):
        AlignModel(StoredEncoder(10), LinearBridge(10, 32), TokenEmbedding(tiny_llama, 32))


def test_the_estimator_has_a_group_and_a_learning_rate_of_its_own(tiny_llama):
    others, estimator = build(tiny_llama, estimator_lr=0.5).parameter_groups()
    assert "lr" not in others and estimator["lr"] == 0.5
    model = build(tiny_llama, mi_weight=0.0)
    (group,) = model.parameter_groups()
    assert len(group["params"]) == sum(1 for p in model.parameters() if p.requires_grad)


def test_under_autocast_both_losses_are_in_float32(tiny_llama):
    """In bfloat16 a cosine near 1 moves in steps of 0.004."""
    model = build(tiny_llama)
    inputs = batch()
    wanted = model(**inputs)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, stats, _ = model(**inputs)
    assert loss.dtype == torch.float32 and all(stats[key].dtype == torch.float32 for key in ("sccl", "mi"))
    for key in ("sccl", "mi_log_likelihood"):
        assert stats[key].item() == pytest.approx(wanted[key].item(), rel=0.1)
    query = torch.nn.functional.normalize(torch.randn(6, 32), dim=-1).to(torch.bfloat16)
    near = query.float() + 1e-2 * torch.randn(6, 32)  # so near that bfloat16 fails, and float32 does not
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, terms = sccl_loss(query, near, inputs["emotion"].view(-1), margin=0.9999)
    exact = 1 - torch.nn.functional.cosine_similarity(query.double(), near.double())
    assert terms["own"].item() == pytest.approx(exact.sum().item(), rel=1e-3)


def test_a_text_is_the_mean_over_its_tokens_and_speech_the_mean_over_the_queries(tiny_llama):
    """The paper compares sequences of different lengths and does not say how."""
    model, inputs = build(tiny_llama, mi_weight=0.0), batch(2)
    lengths = inputs["caption_lengths"] = torch.tensor([8, 3])
    texts = []
    for ids, length in zip(inputs["caption"], lengths, strict=True):
        mask = torch.ones(1, length, dtype=torch.bool)
        texts.append(model.bridge.forward_text(model.text_encoder(ids[None, :length], mask), mask)[0].sum(0) / length)
    torch.testing.assert_close(model.embed_text(inputs["caption"], lengths), torch.stack(texts))
    padded = torch.where(torch.arange(8) < lengths[:, None], inputs["caption"], -1)
    torch.testing.assert_close(model.embed_text(padded, lengths), torch.stack(texts))
    queries = model.q_embedding(inputs["speech"], inputs["speech_lengths"])[0]
    assert queries.shape == (2, 4, 32)
    wanted, _ = sccl_loss(queries.sum(1) / 4, torch.stack(texts), inputs["emotion"][:, 0], margin=0.2, reduction="mean")
    assert model(**inputs)[1]["sccl"].item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"margin": -0.3, "sccl_reduction": "sum", "sccl_center": True}])
def test_the_terms_are_of_the_captions_and_of_the_transcriptions(tiny_llama, options):
    """SCCL compares speech with captions, STMIL with what was said; both go to the losses with the model's options."""
    model, inputs = build(tiny_llama, **options), batch()
    query = model.q_embedding(inputs["speech"], inputs["speech_lengths"])[0].mean(1)
    captions = model.embed_text(inputs["caption"], inputs["caption_lengths"])
    said = model.embed_text(inputs["text"], inputs["text_lengths"])
    sccl, _ = sccl_loss(
        query,
        captions,
        inputs["emotion"][:, 0],
        margin=options.get("margin", 0.2),
        reduction=options.get("sccl_reduction", "mean"),
        center=options.get("sccl_center", False),
    )
    bound, fit = model._mutual_information(said, query)
    loss, stats, _ = model(**inputs)
    for name, wanted in (("sccl", sccl), ("mi", bound), ("mi_log_likelihood", fit), ("loss", sccl + bound)):
        assert stats[name].item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6), name
    assert loss.item() == pytest.approx((sccl + bound - fit).item(), rel=1e-4)


def test_stmil_standardises_both_embeddings(tiny_llama):
    """The bound is vCLUB of values of zero mean and unit variance: shift and scale of either side change nothing."""
    model = build(tiny_llama)
    said, query = torch.randn(6, 32), torch.randn(6, 32)
    bound, fit = model._mutual_information(said, query)
    for x, y in ((5 * said + 3, query), (said, 10 * query - 7)):
        for value, wanted in zip(model._mutual_information(x, y), (bound, fit), strict=True):
            assert value.item() == pytest.approx(wanted.item(), rel=1e-2)
    x, y = standardise(said), standardise(query)
    mean, log_var = model.estimator(x)
    assert bound.item() == pytest.approx(vclub_bound(mean, log_var, y).item(), rel=1e-5)
    assert fit.item() == pytest.approx(gaussian_log_likelihood(mean, log_var, y).mean().item(), rel=1e-5)


def test_the_bound_moves_the_text_side_only_if_told_to(tiny_llama):
    """What the text branch learns from STMIL alone; the estimator learns in both cases, from its own loss."""
    for options, moves in (({}, False), ({"mi_detach_text": False}, True)):
        model = build(tiny_llama, sccl_weight=0.0, **options)
        inputs = batch()
        calls = []
        model.text_encoder.register_forward_hook(lambda module, args, output, calls=calls: calls.append(output))
        loss, _, _ = model(**inputs)
        (grad,) = torch.autograd.grad(loss, calls, allow_unused=True, retain_graph=True)
        assert (grad is not None and grad.abs().sum() > 0) == moves
        moved = gradients(model, loss)
        assert any(name.startswith("estimator.") and size > 0 for name, size in moved.items())
        assert moved["bridge.queries"] > 0


def test_what_passes_in_validation_is_kept_for_the_retrieval_rate(tiny_llama):
    model, inputs = build(tiny_llama, mi_weight=0.0), batch()
    model(**inputs)
    assert model.retrieval is None and model.retrieval_rate() is None, "nobody asked"
    model.start_retrieval()
    model(**inputs)
    model(**inputs)
    query = model.q_embedding(inputs["speech"], inputs["speech_lengths"])[0].mean(1)
    captions = model.embed_text(inputs["caption"], inputs["caption_lengths"])
    assert len(model.retrieval) == 2
    for kept in model.retrieval:
        torch.testing.assert_close(kept, (query.detach(), captions.detach()))
        assert not any(one.requires_grad for one in kept)


def test_retrieval_rate_is_centred_where_the_loss_is(tiny_llama):
    """Speech (3, 1) and (1, 1), captions (1, 1) and (0, 1): to both the first is nearer, 4 : 1 and 2 : 1 in products,
    0.89 : 0.32 and 1 : 0.71 in cosines. Centred they are (1, 0) and (-1, 0), (0.5, 0) and (-0.5, 0)."""
    speech, caption = torch.tensor([[3.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    for options, rate in (({}, 0.5), ({"sccl_center": True}, 1.0)):
        model = build(tiny_llama, **options)
        model.retrieval = [(speech, caption)]
        assert model.retrieval_rate() == rate


def test_what_the_options_are_by_default(tiny_llama):
    parameters = inspect.signature(AlignModel).parameters
    defaults = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
    assert defaults == dict(
        mi_weight=1.0, sccl_weight=1.0, sccl_weights=(1.0, 1.0, 1.0), margin=0.2, sccl_reduction="mean",
        sccl_center=False, estimator_size=512, estimator_lr=None, mi_detach_text=True, normalize=None, specaug=None,
    )  # fmt: skip
    assert set(AlignModel.needs({})) == {"caption", "emotion", "text"}
    assert set(AlignModel.needs({"mi_weight": 0})) == {"caption", "emotion"}
    needs = AlignModel.needs({"sccl_weight": 0.0})
    assert set(needs) == {"text"} and needs["text"].file == "text" and needs["text"].switch == "mi_weight"
    assert AlignModel.needs({})["emotion"].file == "utt2emo" and AlignModel.needs({})["caption"].file == "captions"
