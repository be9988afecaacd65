"""A corpus of eight utterances and the smallest configurations of both stages, for tests that train for real."""

import json

import kaldiio
import numpy as np
import yaml

BRIDGE = dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16)
TRAINING = dict(
    encoder="stored",
    bridge="qformer",
    bridge_conf=BRIDGE,
    optim="adamw",
    optim_conf={"lr": 1e-3},
    max_epoch=2,
    keep_nbest_models=1,
    best_model_criterion=[["valid", "loss", "min"]],
    num_att_plot=0,
    use_matplotlib=False,
    use_tensorboard=False,
    num_workers=0,
    valid_batch_size=4,
)


def make_corpus(folder):
    """Eight utterances of dumped features with captions, text and emotions, for training and validation alike."""
    rng = np.random.default_rng(0)
    utts = [f"u{i}" for i in range(8)]
    feats = {utt: rng.standard_normal((5 + i, 6)).astype(np.float32) for i, utt in enumerate(utts)}
    kaldiio.save_ark(str(folder / "feats.ark"), feats, scp=str(folder / "feats.scp"))
    captions = json.dumps(["语速较快，声音高亢", "说话人语气平静"], ensure_ascii=False)
    for name, value in (("captions", captions), ("text", "今天下午三点")):
        (folder / name).write_text("".join(f"{utt} {value}\n" for utt in utts), encoding="utf-8")
    (folder / "utt2emo").write_text("".join(f"{utt} {'sad' if i % 2 else 'calm'}\n" for i, utt in enumerate(utts)))
    (folder / "shape").write_text("".join(f"{utt} {len(feats[utt])},6\n" for utt in utts))
    return folder


def write(path, conf) -> str:
    path.write_text(yaml.safe_dump(conf), encoding="utf-8")
    return str(path)


def command(corpus, output, conf, names) -> list[str]:
    args = ["--config", conf, "--output_dir", str(output), "--resume", "true"]
    for split in ("train", "valid"):
        args += [f"--{split}_shape_file", f"{corpus}/shape"]
        for name, file, kind in names:
            args += [f"--{split}_data_path_and_name_and_type", f"{corpus}/{file},{name},{kind}"]
    return args


SPEECH = ("speech", "feats.scp", "kaldi_ark")
CAPTION = ("caption", "captions", "text")
ALL = [SPEECH, CAPTION, ("text", "text", "text"), ("emotion", "utt2emo", "text")]


def align_conf(llama: str) -> dict:
    """First stage; two batches of 2 x 2 an epoch."""
    return dict(
        TRAINING,
        model="align",
        model_conf={"estimator_size": 8},
        text_encoder="embedding",
        text_encoder_conf={"path": llama, "embedding_size": 16},
        iterator_type="task",
        sampler_conf={"num_categories": 2, "per_category": 2},
        valid_iterator_type="sequence",
        valid_batch_type="sorted",
    )


def caption_conf(llama: str) -> dict:
    """Second stage; two batches of 4 an epoch."""
    return dict(TRAINING, model="caption", decoder_conf={"path": llama}, batch_type="sorted", batch_size=4)


def random_model(folder, conf: dict, llama: str):
    """A random second-stage model with the files that training leaves; returns its model file."""
    import torch

    from espnet2_secap.tasks.experiment import portable
    from espnet2_secap.tasks.sec import SECTask

    args = SECTask.get_parser().parse_args(["--output_dir", str(folder), "--num_att_plot", "0"])
    for name, value in ({"model": "caption", "bridge": "qformer", "bridge_conf": BRIDGE} | conf).items():
        setattr(args, name, value)
    args.decoder, args.decoder_conf = "causal_lm", {"path": llama}
    torch.manual_seed(0)
    model = SECTask.build_model(args)
    with torch.no_grad():
        for p in model.bridge.parameters():
            p.mul_(3.0)  # so that captions differ between utterances
    values = {key: value for key, value in vars(args).items() if not callable(value)}
    write(folder / "config.yaml", portable(values, folder))
    torch.save(model.state_dict(), folder / "valid.loss.best.pth")
    return folder / "valid.loss.best.pth"
