"""The released SECap checkpoint (github thuhcsi/SECap, model.ckpt) as an experiment of ours."""

import re
import shutil
from pathlib import Path

import torch

from espnet2_secap.data.conf import dump_yaml
from espnet2_secap.data.io import atomic_write, make_dir
from espnet2_secap.encoder.upstream import FS
from espnet2_secap.errors import SecError
from espnet2_secap.model.checkpoint import read_tensors
from espnet2_secap.pretrained import load_causal_lm, load_pretrained
from espnet2_secap.tasks.experiment import portable
from espnet2_secap.tasks.sec import SECTask

COMPANIONS = ("token", "preprocessor", "vocab", "special", "merges")  # in names of files that a model needs beside it
PROMPT = "请用一句中文简述音频里说话者的情感表现："
FROZEN = {"hubert_model.": "AutoModel", "llama_model.": "AutoModelForCausalLM", "text2vec_model.": "AutoModel"}
# Names of what is trained: theirs and ours; the longer ones first.
PREFIXES = [
    ("audio_query_tokens", "bridge.queries"),
    ("audio_project.", "bridge.input_projection."),
    ("audio_llama_project.", "projection."),
    ("audio_Qformer.bert.embeddings.LayerNorm.", "bridge.qformer.layernorm."),
    ("audio_Qformer.bert.", "bridge.qformer."),
]
INSIDE = [(".attention.self.", ".attention.attention."), (".crossattention.self.", ".crossattention.attention.")]
# Buffers that transformers once saved and now computes.
COMPUTED = re.compile(r"(^|\.)(position_ids|rotary_emb\.inv_freq)$")


def our_name(key: str) -> str:
    """A trained tensor's name in the released checkpoint -> its name in ours."""
    return _renamed(key, PREFIXES, INSIDE)


def their_name(key: str) -> str:
    """The way back."""
    return _renamed(key, [pair[::-1] for pair in PREFIXES], [pair[::-1] for pair in INSIDE])


def _renamed(key: str, prefixes: list[tuple[str, str]], inside: list[tuple[str, str]]) -> str:
    """The first prefix that fits is replaced, and all that stands inside."""
    for old, new in prefixes:
        if key.startswith(old):
            key = new + key[len(old) :]
            break
    for old, new in inside:
        key = key.replace(old, new)
    return key


def trained_tensors(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All of a released checkpoint but the frozen parts and what transformers computes, under our names."""
    left_out = tuple(FROZEN)
    return {
        our_name(key): value
        for key, value in state.items()
        if not key.startswith(left_out) and not COMPUTED.search(key)
    }


def read_sizes(trained: dict[str, torch.Tensor], path: str | Path) -> dict[str, int]:
    """Sizes of the Q-Former as its tensors have them: `bridge_conf` but for the number of heads, and `input_size`.

    Raises:
        SecError: a tensor that tells a size is absent, or cross-attention is not in every n-th layer from the first.
    """
    layer = "bridge.qformer.encoder.layer."
    try:
        layers = {int(key[len(layer) :].split(".")[0]) for key in trained if key.startswith(layer)}
        count = next(n for n in range(len(layers) + 1) if n not in layers)  # what lies beyond a gap is left over
        crossed = sorted({int(key[len(layer) :].split(".")[0]) for key in trained if ".crossattention." in key})
        sizes = {
            "num_queries": trained["bridge.queries"].shape[1],
            "hidden_size": trained["bridge.queries"].shape[2],
            "num_layers": count,
            "intermediate_size": trained[f"{layer}0.intermediate_query.dense.weight"].shape[0],
            "encoder_width": trained["bridge.input_projection.weight"].shape[0],
            "input_size": trained["bridge.input_projection.weight"].shape[1],
        }
    except (KeyError, IndexError) as err:
        raise SecError(
            f"{path}: not a released SECap checkpoint: {their_name(str(err.args[0]))} is absent or has another form"
        ) from err
    sizes["cross_attention_frequency"] = crossed[1] if len(crossed) > 1 else max(count, 1)
    if crossed != list(range(0, count, sizes["cross_attention_frequency"])):
        raise SecError(f"{path}: cross-attention in the layers {crossed}: expected every n-th layer from layer 0")
    return sizes


def faults(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> list[str]:
    """What keeps `found` from being loaded where `wanted` is: missing, left-over and misfitting keys."""
    output = [f"{key} is missing" for key in wanted if key not in found]
    output += [f"{key} is left over" for key in found if key not in wanted]
    output += [
        f"{key} is {tuple(found[key].shape)}, expected {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in found and found[key].shape != value.shape
    ]
    return output


def frozen_part(state: dict[str, torch.Tensor], prefix: str, folder: str) -> tuple[torch.nn.Module, list[str], bool]:
    """The model of `folder` with the checkpoint's weights for it.

    Returns:
        the model; its faults (see `faults`); whether the folder's own weights were others than the checkpoint's.
    """
    given = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    dtype = next((value.dtype for value in given.values() if value.is_floating_point()), torch.float32)
    what = f"weights for {prefix[:-1]}"
    if FROZEN[prefix] == "AutoModelForCausalLM":
        model = load_causal_lm(folder, what, dtype=dtype)
    else:
        model = load_pretrained(FROZEN[prefix], folder, what, dtype=dtype)
    wanted = model.state_dict()
    found = {}
    for key, value in given.items():
        # torch has renamed the two parts of a weight norm (HuBERT's positional convolution).
        key = re.sub(r"\.weight_g$", ".parametrizations.weight.original0", key) if key not in wanted else key
        key = re.sub(r"\.weight_v$", ".parametrizations.weight.original1", key) if key not in wanted else key
        if key in wanted or not (COMPUTED.search(key) or key.startswith("pooler.")):
            found[key] = value
    wanted = {key: value for key, value in wanted.items() if not (key.startswith("pooler.") and key not in found)}
    wrong = [prefix + fault for fault in faults(found, wanted)]
    differs = not wrong and any(not torch.equal(found[key].to(value), value) for key, value in wanted.items())
    if differs:
        model.load_state_dict(found, strict=False)
    return model, wrong, differs


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """The state of a released checkpoint; also as a trainer wraps it, under "state_dict"."""
    state = read_tensors(path, "checkpoint")
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise SecError(f"{path}: not a released SECap checkpoint: expected a state_dict of tensors")
    return state


def import_published(
    checkpoint: str | Path, hubert: str, llm: str, text_encoder: str, output: str | Path, num_heads: int | None = None
) -> dict[str, int]:
    """Write an experiment folder of the second stage from a released checkpoint.

    The folder gets config.yaml (raw audio through HuBERT; `sec_inference` and `sec_train` take it), the trained tensors
    as valid.loss.best.pth, and prompts.txt with the published prompt. Where the checkpoint has other weights for HuBERT
    or the LM than their folders, folders with the checkpoint's are written too, and named in config.yaml.

    Args:
        checkpoint: model.ckpt.
        hubert, llm, text_encoder: transformers folders or hub names of the frozen parts.
        output: folder to make.
        num_heads: attention heads of the Q-Former, which a checkpoint does not tell; the text encoder's if none.

    Returns:
        sizes of the Q-Former.

    Raises:
        SecError: missing, left-over or misfitting keys, all of them listed; nothing is written then.
    """
    from espnet2_secap.bridge.qformer import QFormer

    state = read_checkpoint(checkpoint)
    trained = trained_tensors(state)
    sizes = read_sizes(trained, checkpoint)
    input_size = sizes.pop("input_size")
    folders = {"hubert_model.": hubert, "llama_model.": llm, "text2vec_model.": text_encoder}
    wrong, rewritten = [], {}
    for prefix, folder in folders.items():
        model, found, differs = frozen_part(state, prefix, folder)
        wrong += found
        width = model.config.hidden_size
        if prefix == "hubert_model." and width != input_size:
            wrong.append(f"audio_project.weight takes {input_size} features, {folder} gives {width}")
        if prefix == "llama_model.":
            llm_size = width
        if prefix == "text2vec_model.":
            heads = num_heads or getattr(model.config, "num_attention_heads", None)
        elif differs:
            rewritten[prefix] = model
    if not heads or sizes["hidden_size"] % heads:
        raise SecError(
            f"--num_heads {heads}: does not divide the Q-Former's width {sizes['hidden_size']};"
            " give the heads of the BERT that it was made from"
        )
    sizes["num_heads"] = heads
    with torch.device("meta"):
        bridge = QFormer(input_size, **sizes)
        projection = torch.nn.Linear(sizes["hidden_size"], llm_size)
    wanted = {f"bridge.{key}": value for key, value in bridge.state_dict().items()}
    wanted |= {f"projection.{key}": value for key, value in projection.state_dict().items()}
    wrong += [their_name(fault) for fault in faults(trained, wanted)]
    if wrong:
        raise SecError(f"{checkpoint}: does not fit: {'; '.join(wrong)}")
    _write(Path(output), trained, sizes, folders, rewritten)
    return sizes


def _write(output: Path, trained: dict, sizes: dict, folders: dict, rewritten: dict) -> None:
    """The experiment folder; what names it as one, config.yaml, comes last."""
    make_dir(output)
    for prefix, model in rewritten.items():
        name = {"hubert_model.": "hubert", "llama_model.": "llm"}[prefix]
        model.save_pretrained(output / name)
        for file in companions(folders[prefix]):
            shutil.copy(file, output / name / file.name)
        folders[prefix] = str(output / name)
    with atomic_write(output / "valid.loss.best.pth", "wb") as file:
        torch.save({key: value.float().clone() for key, value in trained.items()}, file)
    with atomic_write(output / "prompts.txt") as file:
        file.write(PROMPT + "\n")
    encoder = {"upstream": "hf_hubert_custom", "path": folders["hubert_model."]}
    config = {
        "model": "caption",
        "encoder": "s3prl",
        "encoder_conf": encoder,
        "front_end": {"encoder": "s3prl", "encoder_conf": encoder, "sampling_rate": FS, "dtype": "float32"},
        "bridge": "qformer",
        "bridge_conf": sizes,
        "decoder": "causal_lm",
        "decoder_conf": {"path": folders["llama_model."]},
        "prompts": str(output / "prompts.txt"),
        "template": "secap",
    }
    args = SECTask.defaults() | config
    args.pop("config", None)
    with atomic_write(output / "config.yaml") as file:
        dump_yaml(portable(args, output), file)


def companions(source: str) -> list[Path]:
    """The files of tokenizer and preprocessor of a transformers folder, or of a hub model's local copy.

    Raises:
        SecError: the hub model has no local copy, and none can be fetched.
    """
    if Path(source).is_dir():
        folder = Path(source)
    else:
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(source, allow_patterns=[f"*{word}*" for word in COMPANIONS]))
        except Exception as err:  # the hub's client raises many kinds
            raise SecError(
                f"{source}: its tokenizer and preprocessor could not be fetched ({err}); give a folder"
            ) from err
    return sorted(file for file in folder.iterdir() if any(word in file.name for word in COMPANIONS))
