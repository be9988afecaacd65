"""FENSE and SPIDEr-FL: similarity with a penalty for captions that are no fluent sentence.

FENSE (Zhou et al., ICASSP 2022) multiplies the mean cosine of sentence embeddings by 0.1 where a classifier sees an
error; SPIDEr-FL (DCASE 2023) does the same to SPIDEr. The values are those of the package aac-metrics.
"""

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from espnet2_secap.errors import SecError, listed
from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.normalize import says_something
from espnet2_secap.metric.similarity import sentence_transformer, to_references
from espnet2_secap.metric.spice import spider

if TYPE_CHECKING:
    import torch

THRESHOLD, PENALTY = 0.9, 0.9  # FENSE's
LONGEST = 64  # tokens that the classifier reads
BATCH = 32


class FluencyDetector:
    """A classifier of sentences with errors.

    Args:
        path: a checkpoint of FENSE (echecker_clotho_audiocaps_base.ckpt), whose BERT's configuration and tokenizer are
            found by the name that it holds, or in FOLDER for FILE@FOLDER; or a transformers folder or hub name of a
            sequence classifier, of whose labels the one called `error` counts, else the last.
        device: cpu, cuda or cuda:N.

    Raises:
        SecError: none of these, or tensors that do not fit.
    """

    def __init__(self, path: str, device: str = "cpu"):
        from espnet2_secap.pretrained import load_pretrained

        file, _, folder = path.rpartition("@") if Path(path.rpartition("@")[0]).is_file() else (path, "", "")
        self.device, self.released = device, Path(file).is_file()
        if self.released:
            self.model, self.tokenizer = _released(file, folder)
            self.label = -1
        else:
            self.model = load_pretrained("AutoModelForSequenceClassification", path, "--fluency")
            self.tokenizer = load_pretrained("AutoTokenizer", path, "--fluency")
            names = [str(self.model.config.id2label[i]).lower() for i in range(self.model.config.num_labels)]
            self.label = names.index("error") if "error" in names else -1
        self.model = self.model.to(device).eval()

    def probabilities(self, texts: list[str]) -> list[float]:
        """Of each text the probability of an error."""
        import torch

        found = []
        with torch.no_grad():
            for start in range(0, len(texts), BATCH):
                batch = texts[start : start + BATCH]
                if self.released:  # as in FENSE
                    batch = [re.sub(r"[^\w\s]", "", text).lower() for text in batch]
                inputs = self.tokenizer(batch, truncation=True, padding=True, max_length=LONGEST, return_tensors="pt")
                found += self._errors({key: value.to(self.device) for key, value in inputs.items()}).tolist()
        return found

    def _errors(self, inputs: dict) -> "torch.Tensor":
        if self.released:
            encoder, classifier = self.model
            return classifier(encoder(**inputs).last_hidden_state[:, 0]).sigmoid()[:, self.label]
        logits = self.model(**inputs).logits
        exclusive = logits.size(1) == 2 or self.model.config.problem_type == "single_label_classification"
        return (logits.softmax(1) if exclusive and logits.size(1) > 1 else logits.sigmoid())[:, self.label]


def _released(file: str, folder: str):
    """Encoder and classifier of a checkpoint of FENSE, and the tokenizer."""
    import torch
    from transformers import AutoModel

    from espnet2_secap.pretrained import load_pretrained
    from espnet2_secap.safe_load import tensors_only

    with tensors_only():
        state = torch.load(file, map_location="cpu")
    if not isinstance(state, dict) or not {"model_type", "num_classes", "state_dict"} <= state.keys():
        raise SecError(f"--fluency {file}: is no checkpoint of FENSE: expected model_type, num_classes and state_dict")
    name = folder or str(state["model_type"])
    encoder = AutoModel.from_config(load_pretrained("AutoConfig", name, "--fluency"))
    classifier = torch.nn.Linear(encoder.config.hidden_size, int(state["num_classes"]))
    both = torch.nn.ModuleDict({"encoder": encoder, "clf": classifier})
    given = {key: value for key, value in state["state_dict"].items() if not key.endswith("position_ids")}
    wanted = both.state_dict()
    wrong = sorted(key for key in given.keys() ^ wanted.keys())
    wrong += sorted(key for key in given.keys() & wanted.keys() if given[key].shape != wanted[key].shape)
    if wrong:
        raise SecError(
            f"--fluency {file}: does not fit the BERT {name}: {listed(wrong)}; give FILE@FOLDER with its own"
        )
    both.load_state_dict(given)
    return torch.nn.ModuleList([encoder, classifier]), load_pretrained("AutoTokenizer", name, "--fluency")


def fluency_errors(context: Context) -> ScoreFunction:
    """FER: 100 for a caption with an error, else 0. A caption that says nothing has one."""
    detector = context.loaded("fluency", FluencyDetector, "error detector", "FILE_OR_FOLDER")

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        utts = [utt for utt, caption in hypotheses.items() if says_something(caption)]
        found = dict(zip(utts, detector.probabilities([hypotheses[utt] for utt in utts]), strict=True))
        each = {utt: 100.0 * (found.get(utt, 1.0) > THRESHOLD) for utt in hypotheses}
        return sum(each.values()) / len(each), each

    return score


def sentence_similarity(context: Context) -> ScoreFunction:
    """Mean cosine to the references, by a sentence-transformers model; 0 for a caption that says nothing."""
    load = partial(sentence_transformer, option="--sbert")
    return to_references(context.loaded("sbert", load, "sentence encoder"), "mean")


def _penalised(metric, context: Context) -> ScoreFunction:
    """A metric whose value of an utterance is multiplied by 0.1 where its caption has an error."""
    parts = fluency_errors(context), metric(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        (_, errors), (_, values) = (part(references, hypotheses) for part in parts)
        each = {utt: value * (1 - PENALTY * errors[utt] / 100) for utt, value in values.items()}
        return sum(each.values()) / len(each), each

    return score


METRICS = [
    Metric("fer", "fluency errors", fluency_errors, lower_is_better=True, text_only=True),
    Metric("sbert_sim", "SBERT", sentence_similarity),
    Metric("fense", "FENSE", lambda context: _penalised(sentence_similarity, context)),
    Metric("spider_fl", "SPIDEr-FL", lambda context: _penalised(spider, context)),
]
