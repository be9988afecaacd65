"""The task as sec_train runs it: tiny, in this process where it can, for real all the same."""

import numpy as np
import pytest
import tiny_training
import torch
import yaml
from tiny_training import ALL, BRIDGE, CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_train
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.tasks.sec import SECTask


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def align_conf(tiny_llama, tmp_path_factory):
    return write(tmp_path_factory.mktemp("conf") / "align.yaml", tiny_training.align_conf(tiny_llama))


@pytest.fixture(scope="module")
def caption_conf(tiny_llama, tmp_path_factory):
    return write(tmp_path_factory.mktemp("conf") / "caption.yaml", tiny_training.caption_conf(tiny_llama))


@pytest.fixture(scope="module")
def aligned(corpus, align_conf, tmp_path_factory):
    output = tmp_path_factory.mktemp("exp") / "align"
    sec_train.main(command(corpus, output, align_conf, ALL))
    return output


@pytest.fixture(scope="module")
def captioned(corpus, caption_conf, aligned, tmp_path_factory):
    output = tmp_path_factory.mktemp("exp") / "caption"
    args = command(corpus, output, caption_conf, [SPEECH, CAPTION])
    sec_train.main([*args, "--init_model", str(aligned / "valid.loss.best.pth")])
    return output


def test_first_stage_reports_each_term_and_the_retrieval_rate(aligned):
    rows = [line.split("\t") for line in (aligned / "curves.tsv").read_text().splitlines()[1:]]
    values = {(epoch, split, key): float(value) for epoch, split, key, value in rows}
    for key in ("loss", "sccl", "sccl_own", "sccl_same", "sccl_other", "mi", "mi_log_likelihood"):
        assert ("2", "train", key) in values and ("2", "valid", key) in values
    assert 0 <= values[("2", "valid", "retrieval")] <= 1


def test_second_stage_starts_from_the_first(aligned, captioned):
    config = yaml.safe_load((captioned / "config.yaml").read_text())
    assert config["init_model"] == [str(aligned / "valid.loss.best.pth")]
    assert config["template_conf"] == {"order": [[1], "queries", "instruction"], "end": 2, "ends": [2]}
    first = torch.load(aligned / "valid.loss.best.pth", weights_only=True)
    second = torch.load(captioned / "valid.loss.best.pth", weights_only=True)
    shared = [key for key in second if key.startswith("bridge.")]
    assert shared and all(second[key].shape == first[key].shape for key in shared)
    changed = max((second[key] - first[key]).abs().max().item() for key in shared)
    assert changed < 0.1, "two epochs at a small learning rate stay near where they started"
    assert not any(key.startswith(("decoder.", "encoder.")) for key in second)


def test_a_model_is_built_again_from_its_files(captioned):
    model, args = SECTask.build_model_from_file(None, captioned / "valid.loss.best.pth")
    assert not model.training and args.model == "caption"
    assert args.encoder_conf["input_size"] == 6


def test_normalised_features(corpus, caption_conf, tmp_path, capsys):
    args = [*command(corpus, tmp_path / "exp", caption_conf, [SPEECH, CAPTION]), "--max_epoch", "1"]
    normalize = ["--normalize", "global_mvn", "--normalize_conf", f"stats_file={tmp_path}/stats.npz"]
    assert f"{tmp_path}/stats.npz: no such file; run stage 4" in failure(capsys, [*args, *normalize])
    np.savez(tmp_path / "stats.npz", count=10, sum=np.full(6, 30.0), sum_square=np.full(6, 130.0))  # mean 3, variance 4
    sec_train.main([*args, *normalize])
    model, _ = SECTask.build_model_from_file(None, tmp_path / "exp" / "valid.loss.best.pth")
    heard = []
    model.bridge.register_forward_pre_hook(lambda module, args: heard.append(args[0]))
    model.q_embedding(torch.full((2, 4, 6), 5.0), torch.tensor([4, 2]))
    assert torch.equal(heard[0][0], torch.ones(4, 6)), "(5 - 3) / 2"
    assert not heard[0][1, 2:].any(), "padding stays zero"


def test_resuming_goes_on_as_if_nothing_had_happened(corpus, caption_conf, captioned, aligned, tmp_path):
    start = ["--init_model", str(aligned / "valid.loss.best.pth")]
    args = [*command(corpus, tmp_path / "exp", caption_conf, [SPEECH, CAPTION]), *start]
    sec_train.main([*args, "--max_epoch", "1"])
    sec_train.main([*args, "--max_epoch", "2"])
    once = torch.load(captioned / "2epoch.pth", weights_only=True)
    twice = torch.load(tmp_path / "exp" / "2epoch.pth", weights_only=True)
    assert once.keys() == twice.keys() and all(torch.equal(once[key], twice[key]) for key in once)


def failure(capsys, args) -> str:
    with pytest.raises(SystemExit) as end:
        sec_train.main(args)
    assert end.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"modle": "caption"}, "unknown key modle"),
        ({"bridge_conf": {**BRIDGE, "num_querys": 4}}, "unknown key 'num_querys'"),
        ({"decoder_conf": {}}, "'path' is missing"),
        ({"decoder_conf": {"path": "no/such-llama"}}, "no/such-llama"),
        ({"bridge_conf": {**BRIDGE, "num_heads": 5}}, "num_heads=5"),
        ({"bridge": "qformers"}, "qformers"),
        ({"use_deepspeed": True}, "--use_deepspeed True: is not supported"),
        ({"template_conf": {"order": ["bos", "queries", "clues"]}}, "nothing makes 'clues'"),
        ({"template": "chat"}, "no chat template"),
        ({"template": "secab"}, "template 'secab': must be one of"),
        ({"optim_conf": {"lrr": 1}}, "optim_conf of optim: adamw"),
        ({"reference_model": "no/such.pth"}, "no/such.pth"),
        ({"freeze_param": ["brigde"]}, "--freeze_param brigde: the model has no such part; it has bridge"),
        ({"dist_world_size": 2}, "--dist_launcher, --dist_*: --dist_rank or RANK must be set"),
    ],
)
def test_bad_configurations(corpus, caption_conf, tmp_path, capsys, change, message):
    conf = {**yaml.safe_load(open(caption_conf)), **change}
    path = write(tmp_path / "bad.yaml", conf)
    assert message in failure(capsys, command(corpus, tmp_path / "exp", path, [SPEECH, CAPTION]))
    assert not (tmp_path / "exp" / "checkpoint.pth").exists()


def test_not_a_yaml_file(corpus, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("model: [caption\n")
    args = command(corpus, tmp_path / "exp", str(tmp_path / "bad.yaml"), [SPEECH, CAPTION])
    assert "not a YAML file" in failure(capsys, args)


def test_first_stage_that_does_not_fit_the_second(corpus, caption_conf, aligned, tmp_path, capsys):
    conf = yaml.safe_load(open(caption_conf))
    conf["bridge_conf"]["num_queries"] = 3
    args = command(corpus, tmp_path / "exp", write(tmp_path / "c.yaml", conf), [SPEECH, CAPTION])
    line = failure(capsys, [*args, "--init_model", str(aligned / "valid.loss.best.pth")])
    assert "bridge.queries is (1, 2, 16) there and (1, 3, 16) here" in line and str(aligned) in line


def test_first_stage_without_emotions_or_text(corpus, align_conf, tmp_path, capsys):
    line = failure(capsys, command(corpus, tmp_path / "exp", align_conf, [SPEECH, CAPTION]))
    assert "utt2emo and text of the train set" in line or "text and utt2emo of the train set" in line
    assert "sccl_weight: 0" in line and "mi_weight: 0" in line
    line = failure(capsys, command(corpus, tmp_path / "exp", align_conf, [SPEECH, CAPTION, ALL[3]]))
    assert "needs text" in line and "mi_weight: 0" in line


def test_a_validation_set_without_emotions_is_named_before_the_first_step(corpus, align_conf, tmp_path, capsys):
    args = command(corpus, tmp_path / "exp", align_conf, ALL)
    assert args[-1].endswith("utt2emo,emotion,text") and args[-2].startswith("--valid")
    assert "needs utt2emo of the valid set" in failure(capsys, args[:-2])
    assert not (tmp_path / "exp" / "1epoch.pth").exists()


def test_too_many_categories(corpus, align_conf, tmp_path, capsys):
    conf = yaml.safe_load(open(align_conf))
    conf["sampler_conf"]["num_categories"] = 3
    args = command(corpus, tmp_path / "exp", write(tmp_path / "a.yaml", conf), ALL)
    assert "has only 2 categories" in failure(capsys, args)


def test_two_processes_share_every_batch(corpus):
    from espnet2_secap.sampler.iter_factory import NKIterFactory
    from espnet2_secap.sampler.nk import NKSampler

    sampler = NKSampler({f"u{i}": "sad" if i % 2 else "calm" for i in range(8)}, 2, 2)
    factory = NKIterFactory(dataset=None, sampler=sampler)
    shares = [factory.batches(3, rank, 2) for rank in range(2)]
    whole = sampler.epoch(3)
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole]
    assert all(len(share) == 2 for part in shares for share in part)


def test_raw_audio_of_another_rate_is_never_trained_on(corpus, caption_conf, tmp_path, capsys, monkeypatch):
    """Kind: rates. One recording of eight has another; it is named before the first step, and refused in any case."""
    import soundfile

    rng = np.random.default_rng(0)
    for name in ("captions", "text", "utt2emo"):
        (tmp_path / name).write_bytes((corpus / name).read_bytes())
    utts = [line.split()[0] for line in (corpus / "text").read_text().splitlines()]
    for utt in utts:
        soundfile.write(tmp_path / f"{utt}.wav", 0.1 * rng.standard_normal(4000), 8000 if utt == "u5" else 16000)
    (tmp_path / "wav.scp").write_text("".join(f"{utt} {tmp_path}/{utt}.wav\n" for utt in utts))
    (tmp_path / "shape").write_text("".join(f"{utt} 4000\n" for utt in utts))
    conf = yaml.safe_load(open(caption_conf)) | {"encoder": "s3prl", "encoder_conf": {"upstream": "fbank_no_cmvn"}}
    conf["bridge_conf"] = BRIDGE | {"encoder_width": 16}
    raw = write(tmp_path / "raw.yaml", conf)
    args = command(tmp_path, tmp_path / "exp", raw, [("speech", "wav.scp", "sound"), CAPTION])
    with pytest.raises(SystemExit):
        sec_train.main(args)
    assert "wav.scp: u5: is sampled at 8000 Hz, the encoder takes 16000 Hz" in capsys.readouterr().err
    monkeypatch.setattr("espnet2_secap.tasks.front_end.LOOKED_AT", 1)
    with pytest.raises(RuntimeError, match="Sampling rates are mismatched: 16000 != 8000"):
        sec_train.main(args)


@pytest.mark.slow(8)
def test_encoders_side_by_side_run_in_training_and_caption_audio(corpus, caption_conf, tmp_path):
    """encoder: joined on waveforms; their arguments come from the command line."""
    import soundfile

    rng = np.random.default_rng(0)
    utts = [line.split()[0] for line in (corpus / "text").read_text().splitlines()]
    for utt in utts:
        soundfile.write(tmp_path / f"{utt}.wav", 0.1 * rng.standard_normal(4000), 16000)
    for name in ("captions", "text", "utt2emo"):
        (tmp_path / name).write_bytes((corpus / name).read_bytes())
    (tmp_path / "wav.scp").write_text("".join(f"{utt} {tmp_path}/{utt}.wav\n" for utt in utts))
    (tmp_path / "shape").write_text("".join(f"{utt} 4000\n" for utt in utts))
    encoders = {"fbank": {"encoder": "s3prl", "upstream": "fbank_no_cmvn"}, "acoustic": {"level": "frame"}}
    conf = yaml.safe_load(open(caption_conf)) | {"encoder": "joined", "encoder_conf": {"encoders": encoders}}
    conf["bridge_conf"] = BRIDGE | {"encoder_width": 16}
    raw = write(tmp_path / "raw.yaml", conf)
    level = ["--encoder_conf", "encoders.acoustic.level=utterance", "--max_epoch", "1"]
    sec_train.main([*command(tmp_path, tmp_path / "exp", raw, [("speech", "wav.scp", "sound"), CAPTION]), *level])
    config = yaml.safe_load((tmp_path / "exp" / "config.yaml").read_text())
    assert config["front_end"]["encoder_conf"]["encoders"]["acoustic"]["level"] == "utterance"
    speech2caption = Speech2Caption.from_pretrained(tmp_path / "exp", max_length=5)
    assert speech2caption.model.encoder.output_size() == 60 + 240
    assert isinstance(speech2caption(tmp_path / "u5.wav")[0][0], str)
