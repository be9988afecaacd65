"""A pretrained model of speech emotion recognition (SER): which label it gives a recording (SECap, Figure 4)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from espnet2_secap.data.recordings import load_recording
from espnet2_secap.errors import SecError, listed
from espnet2_secap.pretrained import complete_weights, load_pretrained
from espnet2_secap.progress import progress
from espnet2_secap.safe_load import tensors_only

LONGEST = 30.0  # seconds that go through the model at once


class SpeechClassifier:
    """An audio classification model of transformers, by folder or hub name.

    Besides transformers' own classes there is the head of xmj2002/hubert-base-ch-speech-emotion-recognition and its
    like: the mean of the last hidden states, a linear layer, tanh, another linear layer. It is taken where config.json
    has `num_class`.

    Args:
        path: folder or hub name.
        labels: names of the classes in the order of their numbers, instead of those in config.json.
        seconds: cut or pad every recording with zeros to this length, as the released code of the model above does
            with 6; None: recordings are classified whole, those of more than 30 s in equal windows.
        device: cpu, cuda or cuda:N.

    Raises:
        SecError: no such model, or not the right number of labels.
    """

    def __init__(self, path: str, labels: Sequence[str] = (), seconds: float | None = None, device: str = "cpu"):
        config = load_pretrained("AutoConfig", path, "--model")
        if hasattr(config, "num_class"):
            model = _mean_pooled(path, config)
            size = config.num_class
        else:
            model = load_pretrained("AutoModelForAudioClassification", path, "--model")
            size = config.num_labels
        self.front_end = load_pretrained("AutoFeatureExtractor", path, "--model")
        self.model, self.device, self.seconds = model.to(device).eval(), device, seconds
        known = {int(number): name for number, name in config.id2label.items()}
        self.labels = list(labels) or [known.get(number, f"LABEL_{number}") for number in range(size)]
        if len(self.labels) != size or len(set(self.labels)) != size:
            raise SecError(
                f"--labels {' '.join(self.labels)}: the model has {size} classes; name each once, in their order"
            )

    @property
    def fs(self) -> int:
        """Sampling rate of what it takes, in Hz."""
        return self.front_end.sampling_rate

    @torch.no_grad()
    def probabilities(self, wave: np.ndarray) -> np.ndarray:
        """Of a waveform (samples,) at `fs` Hz the probability of each class, (C,)."""
        if self.seconds is not None:
            size = round(self.seconds * self.fs)
            if type(self.front_end).__name__ == "Wav2Vec2FeatureExtractor":
                # It knows whether zeros that it adds count where it normalises the level
                logits = self._logits(wave, padding="max_length", truncation=True, max_length=size)
                return logits.softmax(-1).cpu().numpy()
            wave = np.pad(wave[:size], (0, max(0, size - len(wave))))
        count = -(-len(wave) // round(LONGEST * self.fs))
        logits = [self._logits(part) * len(part) for part in np.array_split(wave, count)]
        return (torch.stack(logits).sum(0) / len(wave)).softmax(-1).cpu().numpy()

    def _logits(self, wave: np.ndarray, **padding) -> torch.Tensor:
        inputs = self.front_end(wave, sampling_rate=self.fs, return_tensors="pt", **padding)
        found = self.model(**{key: value.to(self.device) for key, value in inputs.items()})
        return getattr(found, "logits", found)[0].float()

    def classify(self, paths: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
        """Utterance and its probabilities (C,), one recording after the other: none is padded by others.

        Raises:
            SecError: a recording that cannot be read or is too short, with its id.
        """
        for utt, path in progress(paths.items(), total=len(paths), desc="classifying recordings"):
            wave = load_recording(path, self.fs)
            try:
                yield utt, self.probabilities(wave)
            except RuntimeError as err:  # of a convolution that is longer than the recording
                if isinstance(err, torch.OutOfMemoryError):
                    raise
                seconds = len(wave) / self.fs
                raise SecError(f"{path}: {utt}: the model cannot read its {seconds:.3f} s; leave it out") from err


def _mean_pooled(path: str, config):
    """The model with the other head, every tensor of it from the folder."""
    from transformers import AutoModel

    inner = type(AutoModel.from_config(config))
    parents = [one for one in inner.__mro__ if one.__name__.endswith("PreTrainedModel") and one is not inner]
    prefix = inner.base_model_prefix

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(config.hidden_size, config.hidden_size)
            self.out_proj = torch.nn.Linear(config.hidden_size, config.num_class)

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.out_proj(self.dense(states).tanh())

    class MeanPooled(parents[0]):
        def __init__(self, config):
            super().__init__(config)
            setattr(self, prefix, inner(config))
            self.classifier = Head()
            self.post_init()

        def forward(self, input_values: torch.Tensor, **_) -> torch.Tensor:
            return self.classifier(getattr(self, prefix)(input_values).last_hidden_state.mean(1))

    try:
        with tensors_only(), complete_weights():
            return MeanPooled.from_pretrained(path, config=config)
    except SecError:
        raise
    except Exception as err:  # of transformers and safetensors: any kind
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
        raise SecError(f"--model {path}: cannot be loaded as an audio classifier ({reason})") from err


def mapped(labels: Sequence[str], categories: Mapping[str, str], path: str) -> dict[str, str]:
    """Label of the model -> category of the corpus.

    Args:
        labels: of the model.
        categories: label -> category, of `--label_map`.
        path: of that file, for the message.

    Raises:
        SecError: labels that it lacks, all of them.
    """
    missing = [label for label in labels if label not in categories]
    if missing:
        raise SecError(
            f"--label_map {path}: has no line for {listed(missing, most=50)}; add `label category` for each label"
            " of the model"
        )
    return {label: categories[label] for label in labels}
