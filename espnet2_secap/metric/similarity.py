"""SIM1 and SIM2: cosine of a caption's and a reference's sentence embeddings (SECap, Table 2)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from espnet2_secap.errors import SecError
from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.normalize import says_something

if TYPE_CHECKING:
    import torch


Encoder = Callable[[list[str]], "torch.Tensor"]  # n texts -> (n, H)


def mean_pooled(path: str, device: str) -> Encoder:
    """A BERT's hidden states, averaged over the tokens, as released SECap does it for SIM1."""
    from espnet2_secap.text.sentence import SentenceEncoder

    return SentenceEncoder(path, device)


def sentence_transformer(path: str, device: str, option: str = "--sim2") -> Encoder:
    """A sentence-transformers model with its own pooling; mean pooling for a plain BERT."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MetricUnavailable("needs the package sentence-transformers") from None
    from espnet2_secap.pretrained import check_words, complete_weights
    from espnet2_secap.safe_load import tensors_only
    from espnet2_secap.text.sentence import prepare_padding, tell_unknown
    from espnet2_secap.text.tokenizer import check_vocabulary, text_limit

    try:
        with tensors_only(), complete_weights():
            model = SentenceTransformer(path, device=device, trust_remote_code=False)
    except SecError as err:
        raise SecError(f"{option}: {err}") from err
    except (MemoryError, RuntimeError):  # no memory, no such device
        raise
    except Exception as err:  # of transformers, safetensors and tokenizers: any kind
        message = (str(err).strip().splitlines() or [type(err).__name__])[0]
        raise SecError(f"{option} {path}: sentence-transformers cannot load it ({message[:200]})") from err
    inside = getattr(model[0], "auto_model", None)
    if inside is not None and hasattr(model.tokenizer, "get_vocab"):
        check_words(model.tokenizer, path, option)
        prepare_padding(model.tokenizer)
        check_vocabulary(model.tokenizer, inside.get_input_embeddings().weight.size(0), path, option)
        model.max_seq_length = min(model.max_seq_length or 10**9, text_limit(inside.config, model.tokenizer))

    def encode(texts: list[str]):
        if hasattr(model.tokenizer, "get_vocab"):
            tell_unknown(model.tokenizer, texts, path)
        return model.encode(texts, batch_size=64, convert_to_tensor=True, show_progress_bar=False).cpu()

    return encode


def to_references(encoder: Encoder, of_several: Literal["max", "mean"]) -> ScoreFunction:
    """Cosine to the references, the greatest or the mean of them; mean over the utterances.

    A caption that says nothing has 0, not the similarity of an empty text.
    """
    from espnet2_secap.text.sentence import cosine

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        texts = sorted({text for utt in hypotheses for text in [hypotheses[utt], *references[utt]]})
        row = {text: i for i, text in enumerate(texts)}
        vectors, each = encoder(texts), {}
        for utt, caption in hypotheses.items():
            cosines = cosine(vectors[[row[caption]]], vectors[[row[one] for one in references[utt]]])
            value = cosines.max() if of_several == "max" else cosines.mean()
            each[utt] = 100 * float(value) if says_something(caption) else 0.0
        return sum(each.values()) / len(each), each

    return score


def similarity(name: str, load: Callable[[str, str], Encoder]) -> Callable[[Context], ScoreFunction]:
    """Cosine to the most similar reference by the model `context.models[name]`."""
    return lambda context: to_references(context.loaded(name, load, "sentence encoder"), "max")


METRICS = [
    Metric("sim1", "SIM1", similarity("sim1", mean_pooled)),
    Metric("sim2", "SIM2", similarity("sim2", sentence_transformer)),
]
