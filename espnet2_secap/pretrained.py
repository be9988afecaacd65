"""Loading of pretrained transformers parts, by folder or hub name, with errors that say what to do."""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from espnet2_secap.errors import SecError, listed
from espnet2_secap.lora import from_folder, with_lora
from espnet2_secap.model_folder import check_config, check_model_folder, check_tokenizer_folder
from espnet2_secap.safe_load import tensors_only

# Tensors beside a model's own that some folders have: buffers that transformers once saved and now computes, ...
COMPUTED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|causal_mask|sin_cached|cos_cached|_extra_state"
    r"|(attn|attention)\.bias|embed_positions\.weights)$"
)
# ... heads of other tasks beside the LM's own, ...
FURTHER_HEADS = re.compile(r"^(v_head|multiple_choice_head)\.")
# ... and the heads of other tasks, of a model that is loaded without a head.
HEADS = re.compile(
    r"^(cls|head|lm_head|lm_loss|classifier|classification_head|qa_outputs|qa_classifier|(\w+\.)?pooler|score|linear|dense"
    r"|predictions|lm_predictions|mask_predictions|discriminator_predictions|generator_predictions|generator_lm_head"
    r"|sop_classifier|pred_layer|vocab_(transform|layer_norm|projector)|pre_classifier|entity_predictions|embed_out"
    r"|logits_proj|sequence_summary|final_logits_bias|v_head|decoder\.(bias|weight)$|quantizer|project_q|project_hid"
    r"|projector|layer_weights|final_proj|label_embs_concat|tdnn|objective|feature_extractor\.(bias|weight)$)(\.|$)"
)
# Tensors that a folder may lack since nobody here asks for them: BERT's pooler, HuBERT's mask in training.
UNUSED = re.compile(r"^((\w+\.)?pooler\..*|masked_spec_embed)$")
WITHOUT_SWITCH = ("gpt_neox", "gpt_neox_japanese", "trocr")  # causal, whatever is_decoder says
# Tensors with a row for each position.
TABLE = re.compile(r"(^|\.)(wpe|pos_encoding|positions_embed|embed_positions|position_embeddings?)(\.weight)?$")


def load_pretrained(auto_class: str, path: str, what: str, **kwargs):
    """`transformers.<auto_class>.from_pretrained(path)`, every tensor of it from the folder.

    Args:
        auto_class: name of a class of transformers, such as "AutoModelForCausalLM".
        path: local folder, or name on the model hub.
        what: the option that named it, for the error.
        kwargs: passed on.

    Raises:
        SecError: nothing there, not of this kind, an incomplete download, or weights that are not the model's.
    """
    import transformers

    if not Path(path).exists() and not is_hub_name(path):
        raise SecError(f"{what}: {path}: no such folder; make it, or give the right path or a name on the model hub")
    if Path(path).is_dir() and auto_class == "AutoTokenizer":
        check_tokenizer_folder(Path(path), what)
    elif Path(path).is_dir() and auto_class == "AutoConfig":
        check_config(Path(path), what)
    elif Path(path).is_dir():
        check_model_folder(Path(path), what)
    try:
        # Neither code of a model's own, nor the question whether to run it; weights are read as tensors.
        with tensors_only(), complete_weights():
            made = getattr(transformers, auto_class).from_pretrained(path, trust_remote_code=False, **kwargs)
        if auto_class == "AutoTokenizer":
            check_words(made, path, what)
        return made
    except SecError:
        raise
    except (torch.cuda.OutOfMemoryError, MemoryError):
        raise
    except Exception as err:  # of transformers, tokenizers, safetensors and packages for quantised weights: any kind
        if "os error" in str(err):  # of a full or unreadable disk, which `errors.cli` explains
            raise
        if Path(path).is_dir():
            raise SecError(f"{path}: not a transformers folder that {auto_class} can load ({_short(err)})") from err
        raise SecError(
            f"{what}: {path!r} is neither a folder here nor a model that could be fetched from the hub ({_short(err)})"
        ) from err


def check_words(tokenizer, path: str, what: str) -> None:
    """See that a tokenizer of transformers has more than special tokens; it makes an empty one of the wrong files.

    Raises:
        SecError: it has no vocabulary.
    """
    if not set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
        raise SecError(
            f"{what}: {path}: {type(tokenizer).__name__} has no vocabulary in it; add the right tokenizer_class, such"
            " as BertTokenizer for a vocab.txt, to tokenizer_config.json"
        )


@contextlib.contextmanager
def complete_weights() -> Iterator[None]:
    """Within it, transformers loads no model whose folder lacks a tensor or has others, whoever asks for it.

    By itself it draws what is missing at random, and says so in the log only.

    Raises:
        SecError: within it, from `from_pretrained`: which tensors are missing, left over or of another size.
    """
    from transformers import PreTrainedModel
    from transformers.utils import logging

    plain = PreTrainedModel.__dict__["from_pretrained"]

    def strict(cls, path, *args, output_loading_info=False, **kwargs):
        options = {**kwargs, "output_loading_info": True, "ignore_mismatched_sizes": True}
        model, info = plain.__func__(cls, path, *args, **options)
        _check_tensors(path, model, info)
        return (model, info) if output_loading_info else model

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of the same has many lines
    logging.disable_progress_bar()  # of reading weights, in the midst of captions
    PreTrainedModel.from_pretrained = classmethod(strict)
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = plain
        logging.set_verbosity(verbosity)


def _check_tensors(path, model, info: dict) -> None:
    """What transformers found in a folder must be the model, but for what is named above."""
    headless = model.get_output_embeddings() is None
    faults = {
        "missing": [key for key in info["missing_keys"] if not (headless and UNUSED.search(key))],
        "left over": [
            key
            for key in info["unexpected_keys"]
            if not (COMPUTED.search(key) or FURTHER_HEADS.search(key) or (headless and HEADS.search(key)))
        ],
        "of another size": [f"{key} ({_size(a)}, should be {_size(b)})" for key, a, b in info["mismatched_keys"]],
    }
    said = "; ".join(f"{what}: {listed(sorted(keys))}" for what, keys in faults.items() if keys)
    if said:
        raise SecError(
            f"{path}: its weights are not those of {type(model).__name__} with this config.json: {said};"
            " fetch the model again, or give one in transformers' own format"
        )


def _size(shape) -> str:
    return "x".join(map(str, shape))


def load_causal_lm(path: str, what: str, **kwargs):
    """A causal LM of text alone, as far as its configuration tells (decoder/abilities.py tries it out).

    Raises:
        SecError: as `load_pretrained`, or a model of another kind (BERT, encoder-decoder, images or audio).
    """
    config, other = load_pretrained("AutoConfig", path, what), None
    if config.is_encoder_decoder:
        raise SecError(
            f"{what}: {path}: {config.model_type} is an encoder-decoder; use decoder: seq2seq, or give a causal"
            " language model, such as LLaMA or GPT-2"
        )
    if _is_switched_off(config):
        other = "no causal LM: its tokens see those that come after them (is_decoder is false)"
    elif _perceives(config):
        other = f"a model of {_perceives(config)} besides text"
    if other is not None:
        raise SecError(
            f"{what}: {path}: {config.model_type} is {other}; give a causal language model, such as LLaMA or GPT-2"
        )
    return load_pretrained("AutoModelForCausalLM", path, what, **kwargs)


def load_seq2seq_lm(path: str, what: str, **kwargs):
    """An encoder-decoder that reads and writes text.

    Raises:
        SecError: as `load_pretrained`, or a model of another kind.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as OF_TEXT

    config = load_pretrained("AutoConfig", path, what)
    other, model = _perceives(config), None
    if not config.is_encoder_decoder:
        raise SecError(
            f"{what}: {path}: {config.model_type} is no encoder-decoder; use decoder: causal_lm for a causal language"
            " model, or give an encoder-decoder, such as BART or T5"
        )
    if config.model_type not in OF_TEXT:  # Whisper
        other = "something else than text"
    if other is None:
        model = load_pretrained("AutoModelForSeq2SeqLM", path, what, **kwargs)
        other = model.main_input_name if model.main_input_name != "input_ids" else None
    if other is not None:
        raise SecError(
            f"{what}: {path}: {config.model_type} reads {other}; give an encoder-decoder of text, such as BART"
        )
    return model


def _is_switched_off(config) -> bool:
    """Whether a model can be a decoder and is none here; GPT-2's configurations of 2019 say is_decoder: false too."""
    has_switch = hasattr(type(config), "is_decoder") and config.model_type not in WITHOUT_SWITCH
    return has_switch and not config.is_decoder


def load_text_model(path: str, what: str):
    """A model that embeds text, without its head: a BERT, the encoder of an encoder-decoder, or a decoder-only LM.

    Raises:
        SecError: as `load_pretrained`, or a model that does not read text alone.
    """
    config = load_pretrained("AutoConfig", path, what)
    other = _perceives(config)
    if other is None:
        # An encoder that was saved alone is not the model that AutoModel makes of T5's configuration.
        alone = (config.architectures or [""])[0].endswith("EncoderModel")
        model = load_pretrained("AutoModelForTextEncoding" if alone else "AutoModel", path, what)
        other = model.main_input_name if model.main_input_name != "input_ids" else None
    if other is not None:
        raise SecError(
            f"{what}: {path}: {config.model_type} reads {other}, which is not text; give a BERT-like text encoder"
        )
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _perceives(config) -> str | None:
    """What a model reads besides text, by its configuration."""
    kinds = dict.fromkeys(("audio_config", "audio_encoder_config", "speech_config"), "audio")
    kinds |= {"vision_config": "images", "video_config": "video"}
    return next((kind for name, kind in kinds.items() if getattr(config, name, None) is not None), None)


def is_causal(model) -> bool:
    """Whether what a model computes for a token stays the same when a later token changes; tried out on two texts."""
    rows = model.get_input_embeddings().weight.size(0)
    ids = torch.arange(8).repeat(2, 1).remainder(rows)
    ids[1, -1] = (ids[1, -1] + 1) % rows
    parameters = inspect.signature(model.forward).parameters
    inputs = {"attention_mask": torch.ones_like(ids), "use_cache": False}  # some take an id for padding by themselves
    output = model(input_ids=ids, **{key: value for key, value in inputs.items() if key in parameters})
    first, second = output[0][:, :-1].float()
    return bool((first - second).abs().max() <= 1e-3 * first.std())


def _runs(model) -> None:
    ids = torch.zeros(1, 2, dtype=torch.long)
    model(input_ids=ids, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}))


def try_out(model, said: str, trial: Callable) -> bool | None:
    """What `trial` finds out of a model by running it; None where that takes the GPU, which it has not reached yet.

    Raises:
        SecError: `said`, and the error of the model's code.
    """
    if model.config._attn_implementation not in (None, "eager", "sdpa"):
        return None
    try:
        with torch.no_grad():
            return trial(model)
    except (torch.cuda.OutOfMemoryError, MemoryError):
        raise
    except Exception as err:  # of a model's code: any kind
        if "not implemented for" in str(err):  # 16 bits on a CPU
            return None
        raise SecError(f"{said} ({_short(err)}); choose another") from err


def position_limit(lm) -> tuple[int | None, bool]:
    """Tokens of the longest sequence that an LM was trained with, if it says so; whether it cannot read a longer one.

    It cannot where its positions are rows of a table (GPT-2, OPT); rotary ones go on, and get worse.
    """
    config = lm.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
    if not isinstance(limit, int) or limit < 1:
        return None, False
    tensors = [*lm.named_parameters(), *lm.named_buffers()]
    table = any(TABLE.search(name) and one.dim() > 1 and one.size(0) >= limit for name, one in tensors)
    return limit, table or config.model_type == "mpt"


def is_hub_name(path: str) -> bool:
    """Whether a path that is not there may be a name on the model hub, such as TencentGameMate/chinese-hubert-large.

    In pretrained/ are the mini parts of a recipe, which stage 1 makes.
    """
    first = path.split("/")[0]
    return bool(re.fullmatch(r"([\w.-]+/)?[\w.-]+", path)) and first != "pretrained" and not Path(first).exists()


def _short(err: Exception) -> str:
    return str(err).strip().splitlines()[0][:200] if str(err).strip() else type(err).__name__


class PretrainedPart(torch.nn.Module):
    """Holds a pretrained module. It begins frozen: no gradients, always in evaluation mode, its own dtype.

    Marked `is_named_pretrained`: checkpoints leave out its tensors that are not trained, since config.yaml names where
    they come from. Parameters that are made to require gradients afterwards (LoRA, or all) are trained and saved.

    Attributes:
        from_folder: names of the tensors that the folder still gives as they are; None: all.
    """

    is_named_pretrained = True

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module.requires_grad_(False).eval()
        self.from_folder: set[str] | None = None

    def add_lora(self, options: Mapping, task: str) -> None:
        """Adapt the module, an LM, by LoRA; see `with_lora`."""
        before = {id(value) for value in self.module.state_dict(keep_vars=True).values()}
        self.module = with_lora(self.module, options, task).eval()
        try_out(self.module, "decoder_conf: lora: the LM does not run with it", _runs)  # OLoRA on GPT-2 does not
        self.from_folder = {f"module.{name}" for name in from_folder(self.module, before, options)}

    def train(self, mode: bool = True) -> "PretrainedPart":
        """Stay in evaluation mode, but for parts with something to train (LoRA's dropout, or all of it)."""
        if all(p.requires_grad for p in self.parameters()):
            return super().train(mode)
        super().train(False)
        for child in self.module.modules():
            own = list(child.parameters(recurse=False))
            if own and all(p.requires_grad for p in own):
                child.train(mode)
        return self

    def _apply(self, fn, recurse: bool = True):
        # A frozen LLaMA keeps its 16 bits when the task converts the rest to float32: only the device may change.
        return super()._apply(lambda t: fn(t).to(t.dtype) if t.is_floating_point() else fn(t), recurse)
