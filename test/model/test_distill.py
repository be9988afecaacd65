import pytest
import torch
from tiny_models import batch, build

from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.errors import SecError
from espnet2_secap.loss.distill import divergence
from espnet2_secap.model.condition import ids_segment
from espnet2_secap.model.distill import DistillModel
from espnet2_secap.text.template import Segment

LENGTHS = [(9, 5, 7), (4, 8, 3), (12, 2, 5)]
TAUGHT = [4, 1, 6]  # tokens that the teacher reads


def taught(roles=("transcript",), lengths=LENGTHS, pad=-1):
    """A batch with what the teacher reads of each utterance."""
    generator = torch.Generator().manual_seed(2)
    found = batch(lengths, pad)
    for role in roles:
        ids = [torch.randint(3, 300, (n,), generator=generator) for n in TAUGHT]
        found[f"teacher_{role}"] = torch.nn.utils.rnn.pad_sequence(ids, True, pad)
        found[f"teacher_{role}_lengths"] = torch.tensor(TAUGHT)
    return found


def of(llama, **conf):
    return build(llama, model={"teacher": ["transcript"], **conf}, kind=DistillModel)


def one_by_one(model, whole):
    """Mean cross entropy and mean divergence of a token, of utterances without padding, by the decoder's logits."""
    decoder, total = model.decoder, [0.0, 0.0, 0.0]
    bos = decoder.tokenizer.bos_id
    for i, (frames, prompt, caption) in enumerate(LENGTHS):
        student = model.segments(
            **{key: whole[key][i : i + 1, :size] for key, size in (("speech", frames), ("instruction", prompt))},
            speech_lengths=torch.tensor([frames]),
            instruction_lengths=torch.tensor([prompt]),
        )
        said = [whole[f"teacher_{role}"][i, : TAUGHT[i]].tolist() for role in ("transcript",)]
        ids = [bos, *(one for each in said for one in each), *whole["instruction"][i, :prompt].tolist()]
        target = ids_segment(whole["caption"][i : i + 1, :caption], torch.tensor([caption]))
        teacher = [Segment.constant(ids, 1, target.content.device)]
        logits = [torch.cat(list(decoder.logits(one, target)), dim=1) for one in (student, teacher)]
        for at, one in enumerate(logits):
            total[at] -= one.log_softmax(-1).gather(2, target.content[..., None]).sum().item()
        total[2] += divergence(*logits, temperature=2.0).sum().item()
    return [one / sum(caption for _, _, caption in LENGTHS) for one in total]


def test_a_teacher_that_predicts_no_better_is_told(tiny_llama):
    model = of(tiny_llama)
    assert model.remark({"loss": 0.66, "teacher_loss": 0.64}) == model.remark({"loss": 0.66}) == ""
    said = model.remark({"loss": 3.72, "teacher_loss": 4.115})
    assert said.startswith("the teacher's loss of 4.12 nats per token in validation is not below the student's, 3.72: ")


def test_a_batch_is_its_utterances_one_by_one(tiny_llama):
    """Teacher and student differ in what they read, and so in length; padding counts for nothing."""
    model, whole = of(tiny_llama, kd_weight=3.0, ce_weight=0.5), taught()
    loss, stats, weight = model(**whole)
    student, teacher, kd = one_by_one(model, whole)
    assert weight == 15
    assert stats["loss"].item() == pytest.approx(student, rel=1e-5)
    assert stats["teacher_loss"].item() == pytest.approx(teacher, rel=1e-5)
    assert stats["kd_loss"].item() == pytest.approx(kd, rel=1e-4)
    assert loss.item() == pytest.approx(0.5 * student + 3 * kd, rel=1e-5)


def test_without_weight_it_is_captioning(tiny_llama):
    """To the last digit, and no teacher is asked for."""
    plain, model = build(tiny_llama), of(tiny_llama, kd_weight=0)
    model.load_state_dict(plain.state_dict())
    assert torch.equal(plain(**batch(LENGTHS))[0], model(**batch(LENGTHS))[0])
    conf = {"kd_weight": 0}
    assert not any(
        name.startswith("teacher") for name in DistillModel.texts_of(conf)
    ) and "text" not in DistillModel.needs(conf)


def test_checkpoints_are_those_of_captioning(tiny_llama):
    """So that either starts from the other, and decoding needs no teacher."""
    assert of(tiny_llama).state_dict().keys() == build(tiny_llama).state_dict().keys()


def test_what_a_step_trains(tiny_llama):
    """Bridge and projection by the divergence alone; the LM, its own teacher, has no gradient."""
    model = of(tiny_llama, ce_weight=0).train()
    model(**taught())[0].backward()
    assert model.projection.weight.grad.abs().sum() > 0
    assert all(one.grad is None for one in model.decoder.parameters())


def test_the_divergence_falls_in_training(tiny_llama):
    model, whole = of(tiny_llama, ce_weight=0).train(), taught()
    optimizer, found = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(30):
        loss = model(**whole)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < 0.5 * found[0]


def test_what_is_read_is_declared(tiny_llama):
    assert DistillModel.texts_of({}).items() >= {"teacher_transcript": "decoder", "teacher_clues": "decoder"}.items()
    assert DistillModel.needs({})["text"].file == "text"
    assert "text" not in DistillModel.needs({"teacher": ["clues"]})
    assert DistillModel.makes_of({}) == ("queries", "instruction")


@pytest.mark.parametrize(
    "conf, said",
    [
        ({"teacher": []}, r"teacher \[\]: the teacher would read nothing of an utterance"),
        ({"teacher": ["speech"]}, "'speech' is unknown; expected one or more of transcript, clues"),
        ({"teacher": ["transcript", "transcript"]}, "stands there twice"),
        ({"ce_weight": 0, "kd_weight": 0}, "nothing would be trained"),
        ({"mixup": 0.2}, "a mixture of two utterances has no teacher"),
    ],
)
def test_options_that_make_no_sense(tiny_llama, conf, said):
    with pytest.raises(SecError, match=said):
        of(tiny_llama, **conf)


def test_an_lm_that_is_trained_is_taught_by_a_copy(tiny_llama, monkeypatch):
    """Which stays as it was, has no gradient, and is in no checkpoint."""
    monkeypatch.setattr("tiny_models.CausalLMDecoder", lambda path: CausalLMDecoder(path, freeze=False))
    model, whole = of(tiny_llama), taught()
    before, names = model(**whole), set(model.state_dict())
    assert names == {name for name, _ in model.named_parameters()} | {
        name for name, _ in model.named_buffers() if name in names
    }
    before[0].backward()
    with torch.no_grad():
        for one in model.decoder.lm.parameters():
            assert one.requires_grad and one.grad is not None
            one += 0.1 * torch.randn_like(one)
    after = model(**whole)
    assert torch.equal(before[1]["teacher_loss"], after[1]["teacher_loss"]) and before[1]["loss"] != after[1]["loss"]


def test_lora_learns_and_its_teacher_does_not(tiny_llama, monkeypatch):
    monkeypatch.setattr("tiny_models.CausalLMDecoder", lambda path: CausalLMDecoder(path, lora={"r": 2}))
    model, whole = of(tiny_llama), taught()
    before = model(**whole)[1]
    for name, one in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.5)
    after = model(**whole)[1]
    assert torch.equal(before["teacher_loss"], after["teacher_loss"]) and before["loss"] != after["loss"]
