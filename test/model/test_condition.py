import pytest
import torch
from tiny_models import build

from espnet2_secap.bridge.linear import LinearBridge
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.errors import SecError
from espnet2_secap.model.condition import check_fits, ids_segment, make_segments


def test_ids_behind_the_end_are_masked_and_no_longer_negative():
    segment = ids_segment(torch.tensor([[5, 0, 7], [9, -1, -1]]), torch.tensor([3, 1]))
    assert segment.content.tolist() == [[5, 0, 7], [9, 0, 0]] and segment.is_ids
    assert segment.mask.tolist() == [[True, True, True], [True, False, False]]


def test_a_segment_for_each_role_of_vectors_or_of_ids():
    vectors, mask = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [True, True, False, False]])
    batch = {
        "instruction": torch.tensor([[5, 6], [7, -1]]),
        "instruction_lengths": torch.tensor([2, 1]),
        "queries": torch.zeros(2, 1),  # vectors of the role come first
        "caption": torch.zeros(2, 1),  # of no use here
    }
    made = make_segments(("queries", "instruction"), batch, {"queries": (vectors, mask)})
    assert list(made) == ["queries", "instruction"]
    assert made["queries"].content is vectors and made["queries"].mask is mask
    assert made["instruction"].content.tolist() == [[5, 6], [7, 0]]
    assert made["instruction"].mask.tolist() == [[True, True], [True, False]]


CONDITIONS = [
    ["queries"],
    ["transcript"],
    ["text_queries"],
    ["transcript", "queries"],
    ["text_queries", "queries"],
    ["queries", "text_queries", "transcript"],
]
ROWS = [(9, 4, 5, 5, 7), (4, 0, 1, 8, 3), (12, 7, 3, 2, 5)]  # frames, words, words, instruction and caption in tokens
NAMES = ("speech", "transcript", "text_queries", "instruction", "caption")


def batch_of(rows=ROWS, pad=-1):
    """A padded batch; the utterance of a row is the same whatever the others are."""
    made = {name: [] for name in NAMES}
    for row in rows:
        generator = torch.Generator().manual_seed(sum(row))
        for name, n in zip(NAMES, row, strict=True):
            one = torch.randn(n, 10, generator=generator)
            made[name].append(one if name == "speech" else torch.randint(3, 300, (n,), generator=generator))
    batch = {}
    for name, some in made.items():
        batch[name] = torch.nn.utils.rnn.pad_sequence(some, True, 7.0 if name == "speech" else pad)
        batch[f"{name}_lengths"] = torch.tensor([len(one) for one in some])
    return batch


@pytest.mark.parametrize("template", ["plain", "secap"])
@pytest.mark.parametrize("condition", CONDITIONS, ids="-".join)
def test_a_batch_gives_the_loss_of_its_utterances_one_by_one(tiny_llama, condition, template):
    """An utterance without words among them: its transcript is no vector at all."""
    model = build(tiny_llama, model={"condition": condition}, template=template)
    alone = [model(**batch_of([row])) for row in ROWS]
    loss, _, tokens = model(**batch_of())
    assert tokens == 15
    assert loss.item() == pytest.approx(sum(one.item() * count.item() for one, _, count in alone) / 15, rel=1e-5)


@pytest.mark.parametrize("condition", CONDITIONS, ids="-".join)
def test_the_decoder_reads_what_the_condition_says_and_nothing_else(tiny_llama, condition):
    model = build(tiny_llama, model={"condition": condition})
    assert [item for item in model.template.order if isinstance(item, str)] == [*condition, "instruction"]
    batch = batch_of()
    loss = model(**batch)[0]
    for name in NAMES[:3]:
        other = {**batch, name: batch[name].flip(1).roll(1, 0), f"{name}_lengths": batch[f"{name}_lengths"].roll(1, 0)}
        role = "queries" if name == "speech" else name
        assert (model(**other)[0] != loss) == (role in condition), name
    without = [name for name in NAMES[:3] if ("queries" if name == "speech" else name) not in condition]
    assert model(**{key: value for key, value in batch.items() if not key.startswith(tuple(without))})[0] == loss


def test_the_segments_of_an_utterance_without_words(tiny_llama):
    model = build(tiny_llama, model={"condition": ["transcript", "text_queries"]})
    bos, transcript, text, instruction = model.segments(**batch_of())
    assert transcript.is_ids and transcript.mask.sum(1).tolist() == [4, 0, 7] and bos.mask.all()
    assert not text.is_ids and text.mask.sum(1).tolist() == [5, 1, 3]
    silent = [(4, 0, 1, 8, 3)] * 2
    assert model.segments(**batch_of(silent))[1].content.shape == (2, 0) and model(**batch_of(silent))[0].isfinite()
    options = DecodingOptions(max_length=5, beam_size=2)
    together, apart = model.generate(options, **batch_of()), model.generate(options, **batch_of(silent))
    assert together[0][1] == apart[0][0] and together[1][1] == pytest.approx(apart[1][0], rel=1e-4)


def trained(model) -> set[str]:
    model.train()(**batch_of())[0].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum()}
    assert moved == {name for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    unused = {name for name, p in model.named_parameters() if p.requires_grad} - moved
    # A bias of keys moves no attention; rows of embeddings apart, all that is trained is reached.
    assert all(name.endswith("key.bias") for name in unused), unused
    return {name.split(".")[0] for name in moved}


def test_gradients_reach_what_is_to_be_trained(tiny_llama):
    def of(*condition, **more):
        return trained(build(tiny_llama, model={"condition": list(condition)}, **more))

    assert of("transcript", "queries") == {"bridge", "projection"}
    assert of("text_queries") == {"bridge", "text_encoder", "text_projection"}
    assert of("text_queries", "queries") == {"bridge", "projection", "text_encoder", "text_projection"}
    assert of("text_queries", "queries", freeze_bridge=True) == {"projection", "text_projection"}
    assert of("text_queries", freeze_bridge=True) == {"text_projection"}
    model = build(tiny_llama, model={"condition": ["transcript"]})
    assert not any(p.requires_grad for p in model.parameters()) and not model.state_dict()


@pytest.mark.parametrize("condition", CONDITIONS, ids="-".join)
def test_a_checkpoint_holds_all_that_a_condition_needs(tiny_llama, condition, tmp_path):
    one, other = (build(tiny_llama, model={"condition": condition}) for _ in range(2))
    with torch.no_grad():
        for parameter in [*one.parameters()]:
            if parameter.requires_grad:
                parameter.add_(0.1)
    torch.save(one.state_dict(), tmp_path / "model.pth")
    other.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))  # strict
    assert other(**batch_of())[0] == one(**batch_of())[0]
    names = {key.split(".")[0] for key in one.state_dict()}
    assert ("text_encoder" in names) == ("text_queries" in condition) and ("projection" in names) == one.hears


@pytest.mark.parametrize(
    "conf, message",
    [
        ({"condition": []}, r"condition \[\]: the decoder would read nothing"),
        ({"condition": ["speech"]}, r"condition \[speech\]: 'speech' is unknown; expected one or more of queries"),
        ({"condition": ["queries", "queries"]}, "'queries' stands there twice"),
        ({"condition": ["transcript"], "listening": True}, "listening works on speech, which is not read"),
        ({"condition": ["text_queries"], "attributes_weight": 1.0}, "attributes_weight works on speech"),
        ({"condition": ["transcript", "queries"], "mixup": 0.2}, "give mixup: 0, or condition: "),
    ],
)
def test_what_does_not_go_together(tiny_llama, conf, message):
    with pytest.raises(SecError, match=message):
        build(tiny_llama, model=conf)


def test_a_bridge_that_is_not_there_or_takes_no_text(tiny_llama):
    with pytest.raises(SecError, match="has no bridge that freeze_bridge could be of; give freeze_bridge: false"):
        build(tiny_llama, freeze_bridge=True, model={"condition": ["transcript"]})
    with pytest.raises(SecError, match="bridge LinearBridge has no text branch, which text_queries goes through"):
        check_fits(["text_queries"], LinearBridge(10), {})


def test_a_reference_that_reads_more(tiny_llama):
    model, more = (build(tiny_llama, model={"condition": one}) for one in (["queries"], ["transcript", "queries"]))
    more.set_reference(model)
    assert more(**batch_of())[1]["reference_loss"] == model(**batch_of())[0]
    with pytest.raises(SecError, match="--reference_model: reads transcript, this model only queries"):
        model.set_reference(more)


def test_listening_shuffles_the_speech_alone(tiny_llama):
    conf = {"condition": ["transcript", "queries"], "listening": True}
    model, batch = build(tiny_llama, model=conf), batch_of()
    others = {name: batch[name].roll(1, 0) for name in ("speech", "speech_lengths")}
    assert model(**batch)[1]["shuffled_loss"].item() == pytest.approx(model(**{**batch, **others})[0].item(), rel=1e-6)
