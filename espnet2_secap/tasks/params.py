"""How many parameters a configuration has, part by part, on torch's meta device: nothing is downloaded or allocated."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from espnet2_secap.errors import SecError
from espnet2_secap.lora import with_lora
from espnet2_secap.loss.estimator import GaussianEstimator
from espnet2_secap.metric.words import load_words
from espnet2_secap.model.attributes import AttributeHead
from espnet2_secap.pretrained import load_pretrained
from espnet2_secap.tasks.attributes import DEFAULT_WORDS
from espnet2_secap.tasks.parts import CHOICES
from espnet2_secap.text.roles import OF_BRIDGE

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
        return load_pretrained("AutoConfig", name, "configuration")
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
        args: configuration as SECTask reads it; all that is not there has its default.
        upstream: speech encoder, where the configuration takes stored features of it.
        text_encoder: text BERT, where the configuration has none; the paper's total counts it in both stages.
    """
    from transformers import AutoModel

    model_class = CHOICES["model"].get_class(args.model)
    parts = model_class.parts_of(args.model_conf)
    takes_text = "text_encoder" in parts
    speech = architecture(args.encoder_conf.get("path") or upstream)
    speech = getattr(speech, "audio_config", speech)  # of a CLAP
    # Trained token embeddings of mini parts have a tokenizer and no configuration.
    text_path = args.text_encoder_conf.get("path", text_encoder) if args.text_encoder == "bert" else None
    text = architecture(text_path) if text_path else None
    text_size = text.hidden_size if text else args.text_encoder_conf.get("embedding_size")
    given = {"input_size": speech.hidden_size, "init": None, **({"text_size": text_size} if takes_text else {})}
    if "bridge" not in parts:  # the transcription as tokens
        with torch.device("meta"):
            return _decoder_parts(args, [])
    with torch.device("meta"):
        trained = args.encoder == "clap" and not args.encoder_conf.get("freeze", True)
        output = [Part("speech encoder", size(_speech_model(speech)), trained)]
        bridge = CHOICES["bridge"].build(args.bridge, args.bridge_conf, **given)
        if args.bridge == "qformer":
            linear, text_linear = size(bridge.input_projection), size(bridge.text_projection)
            output.append(Part("linear to the Q-Former", linear, trained=True))
            output.append(Part("Q-Former and queries", size(bridge) - linear - text_linear, trained=True))
            if text_linear:
                output.append(Part("linear from the text encoder", text_linear, trained=True, in_paper=False))
        else:
            output.append(Part(f"bridge {args.bridge}", size(bridge), trained=True))
        if text:
            name = "text encoder" if takes_text else "text encoder (of the first stage)"
            bert = AutoModel.from_config(text)
            pooler = getattr(bert, "pooler", None)  # nobody asks for it
            output.append(Part(name, size(bert) - (size(pooler) if pooler is not None else 0), trained=False))
        if "decoder" not in parts and args.model_conf.get("mi_weight", 1.0):
            width = bridge.output_size()
            estimator = GaussianEstimator(width, width, args.model_conf.get("estimator_size", 512))
            output.append(Part("estimator of the mutual information", size(estimator), trained=True, in_paper=False))
        if "decoder" in parts:
            made = [role for role in model_class.makes_of(args.model_conf) if role in OF_BRIDGE]
            output += _decoder_parts(args, [bridge.output_size()] * len(made))
        if args.model_conf.get("attributes_weight"):
            output.append(_attribute_head(args, bridge.output_size()))
    return output


def _speech_model(config) -> torch.nn.Module:
    from transformers import AutoModel, ClapAudioModel

    return ClapAudioModel(config) if config.model_type == "clap_audio_model" else AutoModel.from_config(config)


def _attribute_head(args: argparse.Namespace, bridge_size: int) -> Part:
    """The second task's head: for an experiment's classes, or for all of the words file, which training may lack."""
    conf, counts = args.model_conf, getattr(args, "attributes", None)
    known = bool(counts)
    if not known:
        words, only = load_words(conf.get("attributes_words", DEFAULT_WORDS)), conf.get("attributes_only")
        counts = {name: dict.fromkeys(categories, 1.0) for name, categories in words.items() if name in (only or words)}
    width = architecture(args.decoder_conf["path"]).hidden_size if conf.get("attributes_prompt") else None
    name = "head of the attributes" if known else "head of the attributes, at most"
    return Part(name, size(AttributeHead(counts, bridge_size, prompt_size=width)), trained=True, in_paper=False)


def _decoder_parts(args: argparse.Namespace, bridge_sizes: Sequence[int]) -> list[Part]:
    """A projection for each kind of vectors, the LM, and what LoRA adds to it."""
    import transformers

    decoder, conf = CHOICES["decoder"].get_class(args.decoder), args.decoder_conf
    lm = getattr(transformers, decoder.auto_class).from_config(architecture(conf["path"]))
    width = lm.get_input_embeddings().weight.size(1)
    projections = [size(torch.nn.Linear(one, width)) for one in bridge_sizes]
    output = [Part("linear to the decoder", one, trained=True) for one in projections]
    whole = size(lm)
    output.append(Part("decoder", whole, trained=not conf.get("freeze", True)))
    if conf.get("lora"):
        output.append(
            Part("LoRA of the decoder", size(with_lora(lm, conf["lora"], decoder.task)) - whole, trained=True)
        )
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
