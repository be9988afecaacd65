"""CLAP similarity: cosine of a caption with the recording itself, or with the references, in CLAP's space.

The audio form needs no references: it asks whether the caption fits what is heard. A CLAP learns from sounds and their
descriptions; how well it knows emotions is a matter of the model.
"""

from pathlib import Path

from espnet2_secap.errors import SecError, few
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
from espnet2_secap.metric.similarity import to_references
from espnet2_secap.progress import progress

BATCH = 32


class Clap:
    """A CLAP model of transformers.

    Args:
        path: folder or hub name, such as laion/clap-htsat-unfused.
        device: cpu, cuda or cuda:N.

    Raises:
        SecError: no CLAP with both parts.
    """

    def __init__(self, path: str, device: str = "cpu"):
        from espnet2_secap.pretrained import load_pretrained

        config = load_pretrained("AutoConfig", path, "--clap")
        if config.model_type != "clap":
            raise SecError(
                f"--clap {path}: is {config.model_type}; give a CLAP with audio and text, as laion/clap-htsat-unfused"
            )
        self.model = load_pretrained("ClapModel", path, "--clap").to(device).eval()
        self.tokenizer = load_pretrained("AutoTokenizer", path, "--clap")
        self.front_end = load_pretrained("AutoFeatureExtractor", path, "--clap")
        self.device, self._audio = device, {}

    def texts(self, texts: list[str]):
        """Unit vectors (n, H) of texts."""
        import torch

        longest = self.model.config.text_config.max_position_embeddings - 2  # positions begin after padding's
        vectors = []
        with torch.no_grad():
            for start in range(0, len(texts), BATCH):
                inputs = self.tokenizer(
                    texts[start : start + BATCH], padding=True, truncation=True, max_length=longest, return_tensors="pt"
                )
                inputs = {key: value.to(self.device) for key, value in inputs.items()}
                vectors.append(_vectors(self.model.get_text_features(**inputs)).cpu())
        return torch.cat(vectors)

    def recordings(self, paths: dict[str, str]) -> dict:
        """Id -> unit vector (H,) of a recording; of a long one the first seconds that the model takes (10)."""
        import torch

        from espnet2_secap.data.recordings import load_recording

        fs = self.front_end.sampling_rate
        new = {utt: path for utt, path in paths.items() if utt not in self._audio}
        for utt, path in progress(new.items(), desc="embedding recordings") if new else ():
            wave = load_recording(path, fs)[: round(self.front_end.max_length_s * fs)]
            inputs = self.front_end(wave, sampling_rate=fs, return_tensors="pt")
            inputs = {key: value.to(self.device) for key, value in inputs.items()}
            with torch.no_grad():
                self._audio[utt] = _vectors(self.model.get_audio_features(**inputs))[0].cpu()
        return {utt: self._audio[utt] for utt in paths}


def _vectors(output):
    """Unit vectors of what transformers returns, whose form depends on its version."""
    import torch

    return torch.nn.functional.normalize(getattr(output, "pooler_output", output).float(), dim=-1)


def _clap(context: Context) -> Clap:
    return context.loaded("clap", Clap, "CLAP")


def clap_text(context: Context) -> ScoreFunction:
    """Mean cosine of a caption with its references; 0 for a caption that says nothing."""
    return to_references(_clap(context).texts, "mean")


def clap_audio(context: Context) -> ScoreFunction:
    """Cosine of a caption with its recording; 0 for a caption that says nothing."""
    clap = _clap(context)
    if "audio_dir" not in context.models:
        raise MetricUnavailable("no recordings given; choose them with --audio_dir DATA_DIR")
    from espnet2_secap.data.sources import find_recordings

    file = Path(context.models["audio_dir"]) / "wav.scp"
    paths = {recording.id: recording.path for recording in find_recordings([str(file)])[0]}

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        missing = [utt for utt in hypotheses if utt not in paths]
        if missing:
            raise SecError(
                f"{file}: lacks {len(missing)} of the utterances ({few(missing)}); give their data directory"
            )
        audio = clap.recordings({utt: paths[utt] for utt in hypotheses})
        texts = sorted(set(hypotheses.values()))
        vectors = dict(zip(texts, clap.texts(texts), strict=True))
        each = {
            utt: 100 * float(vectors[caption] @ audio[utt]) if says_something(caption) else 0.0
            for utt, caption in hypotheses.items()
        }
        return sum(each.values()) / len(each), each

    return score


METRICS = [Metric("clap_text", "CLAP text", clap_text), Metric("clap_audio", "CLAP audio", clap_audio)]
