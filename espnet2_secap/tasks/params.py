"""How many parameters a configuration has, part by part, on torch's meta device: nothing is downloaded or allocated."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.errors import SecError
from espnet2_secap.loss.estimator import GaussianEstimator

ARCHITECTURES = Path(__file__).parent.parent / "architectures"


@dataclass
class Part:
    """One row: name, parameters, whether they are trained, and whether the paper counts them."""

    name: str
    count: int
    trained: bool
    in_paper: bool = True


def architecture(name: str):
    """The transformers configuration of a local folder, or of a hub model that this package knows the sizes of."""
    from transformers import AutoConfig

    folder, file = Path(name), ARCHITECTURES / f"{name.replace('/', '--')}.json"
    if (folder / "config.json").is_file():
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if file.is_file():
        return AutoConfig.from_pretrained(file)
    known = ", ".join(sorted(path.stem.replace("--", "/") for path in ARCHITECTURES.glob("*.json")))
    raise SecError(f"{name}: neither a folder with config.json nor one of the known models ({known})")


def size(module: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


def parts_of(args: argparse.Namespace, upstream: str, text_encoder: str) -> list[Part]:
    """The parts of a training stage.

    Args:
        args: configuration as SECTask reads it.
        upstream: speech encoder, where the configuration takes stored features of it.
        text_encoder: text BERT, where the configuration has none; the paper's total counts it in both stages.
    """
    from transformers import AutoModel, AutoModelForCausalLM

    from espnet2_secap.tasks.sec import bridge_choices  # imports ESPnet

    align = args.model == "align"
    conf = {key: value for key, value in args.bridge_conf.items() if key != "init"}
    speech = architecture(args.encoder_conf.get("path") or upstream)
    # Trained token embeddings of mini parts have a tokenizer and no configuration.
    text_path = args.text_encoder_conf.get("path", text_encoder) if args.text_encoder == "bert" else None
    with torch.device("meta"):
        output = [Part("speech encoder", size(AutoModel.from_config(speech)), trained=False)]
        bridge_class = bridge_choices.get_class(args.bridge)
        bridge = bridge_class(speech.hidden_size, **conf)
        if bridge_class is QFormer:
            linear = size(bridge.input_projection)
            output.append(Part("linear to the Q-Former", linear, trained=True))
            output.append(Part("Q-Former and queries", size(bridge) - linear, trained=True))
        else:
            output.append(Part(f"bridge {args.bridge}", size(bridge), trained=True))
        if text_path:
            name = "text encoder" if align else "text encoder (of the first stage)"
            text = AutoModel.from_config(architecture(text_path))
            pooler = getattr(text, "pooler", None)  # nobody asks for it
            output.append(Part(name, size(text) - (size(pooler) if pooler is not None else 0), trained=False))
        if align and args.model_conf.get("mi_weight", 1.0):
            width = bridge.output_size()
            estimator = GaussianEstimator(width, width, args.model_conf.get("estimator_size", 512))
            output.append(Part("estimator of the mutual information", size(estimator), trained=True, in_paper=False))
        if not align:
            config = architecture(args.decoder_conf["path"])
            projection = torch.nn.Linear(bridge.output_size(), config.hidden_size)
            output.append(Part("linear to the decoder", size(projection), trained=True))
            lm = AutoModelForCausalLM.from_config(config)
            output.append(Part("decoder", size(lm), trained=not args.decoder_conf.get("freeze", True)))
    return output


def table(parts: list[Part]) -> str:
    """Rows of name, trained, total; sums with and without what the paper does not count."""
    rows = [(part.name, part.count if part.trained else 0, part.count) for part in parts]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    if not all(part.in_paper for part in parts):
        counted = [part for part in parts if part.in_paper]
        trained = sum(part.count for part in counted if part.trained)
        rows.append(("all that Table 1 counts", trained, sum(part.count for part in counted)))
    width = max(len(row[0]) for row in rows)
    lines = [f"{'part':{width}}  {'trained':>14}  {'total':>14}"]
    lines += [f"{name:{width}}  {_short(trained):>14}  {_short(total):>14}" for name, trained, total in rows]
    return "\n".join(lines)


def _short(count: int) -> str:
    if not count:
        return "-"
    return f"{count / 1e9:.3f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"
