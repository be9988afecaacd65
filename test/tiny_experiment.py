"""A tiny trained-looking experiment that captions audio: random weights, filterbanks in front."""

from pathlib import Path

import torch
import yaml

MAX_SECONDS = 4.0


def make_experiment(folder: Path, llama: str, model_conf: dict | None = None) -> Path:
    """Write config.yaml and valid.loss.best.pth of a model with --encoder s3prl, captions of which differ."""
    from types import SimpleNamespace

    from espnet2_secap.tasks.sec import SECTask

    folder.mkdir(parents=True, exist_ok=True)
    upstream = {"upstream": "fbank_no_cmvn"}
    bridge = dict(num_queries=2, hidden_size=16, num_layers=2, num_heads=2, intermediate_size=32, encoder_width=16)
    args = vars(SECTask.get_parser().parse_args(["--output_dir", str(folder), "--num_att_plot", "0"]))
    args |= dict(model="caption", encoder="s3prl", encoder_conf=upstream, bridge="qformer", bridge_conf=bridge)
    args |= dict(decoder="causal_lm", decoder_conf={"path": llama}, model_conf=model_conf or {})
    args |= dict(text_encoder="embedding", text_encoder_conf={"path": llama, "embedding_size": 16})
    args["front_end"] = {"encoder": "s3prl", "encoder_conf": upstream, "sampling_rate": 16000, "frame_shift": 160}
    args["front_end"] |= {"dtype": "float32", "max_seconds": MAX_SECONDS}
    torch.manual_seed(0)
    model = SECTask.build_model(SimpleNamespace(**args))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith("bridge."):
                p.mul_(3.0)  # so that captions differ between recordings
    config = {k: v for k, v in args.items() if not callable(v)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    torch.save(model.state_dict(), folder / "valid.loss.best.pth")
    return folder
