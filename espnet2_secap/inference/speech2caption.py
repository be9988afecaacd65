"""The model as a function: speech in, captions out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.devices import check_device
from espnet2_secap.errors import SecError
from espnet2_secap.tasks.experiment import find_model
from espnet2_secap.tasks.front_end import FrontEnd
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.prompts import read_prompts

Captions = list[list[tuple[str, float]]]  # per utterance the candidates with their scores, best first


class Speech2Caption:
    """A trained captioning model.

    >>> speech2caption = Speech2Caption.from_pretrained("exp/sec_caption_hubert", beam_size=3)
    >>> speech2caption("a.wav")
    [("语速较快，声音高亢，情绪中带着愤怒", -0.31)]
    >>> speech2caption(samples, 44100)  # (samples,) or (samples, channels), int16 or float, numpy or torch

    Args:
        model_file: model file of the second stage.
        train_config: its config.yaml; beside it if none.
        device: cpu, cuda or cuda:N.
        dtype: of the decoder's weights, "float32", "bfloat16" or "float16"; as config.yaml has it if none.
        prompt: instruction; the first of the training prompts if none.
        options: of decoding; or its fields by name.
    """

    def __init__(
        self,
        model_file: str | Path,
        train_config: str | Path | None = None,
        device: str = "cpu",
        dtype: str | None = None,
        prompt: str | None = None,
        options: DecodingOptions | None = None,
        **fields,
    ):
        known = {field.name for field in dataclasses.fields(DecodingOptions)}
        for name in fields:
            if name not in known:
                raise SecError(f"Speech2Caption: unknown option {name!r}; decoding has {', '.join(sorted(known))}")
        self.options = dataclasses.replace(options or DecodingOptions(), **fields)
        check_device(str(device))
        self.model, self.train_args = SECTask.build_model_from_file(train_config, model_file, device, dtype)
        if not self.model.makes:
            raise SecError(
                f"{model_file}: is a model of --model {self.train_args.model}, which writes no captions; give one of"
                " the second stage (exp/sec_caption_*)"
            )
        self.where = Path(model_file).parent
        self.device = device
        self.prompt = prompt or read_prompts(self.train_args.prompts)[0]
        self.tokenizer = self.model.decoder.tokenizer
        self.instruction = torch.tensor([self.tokenizer.encode(self.prompt)], device=device)
        self._front_end: FrontEnd | None = None

    @classmethod
    def from_pretrained(cls, path: str | Path, **options) -> "Speech2Caption":
        """The model of an experiment's folder, or one of its model files; `options` as the constructor's.

        Raises:
            SecError: the folder lacks its config.yaml or a model file, or another version made it.
        """
        config, model_file = find_model(path)
        return cls(model_file, config, **options)

    @property
    def front_end(self) -> FrontEnd:
        """From waveforms to what the model takes; built when it is first asked for."""
        if self._front_end is None:
            self._front_end = FrontEnd(self.train_args.front_end, self.model.encoder, self.where, self.device)
        return self._front_end

    @property
    def fs(self) -> int:
        """Sampling rate of the waveforms that `caption` takes, in Hz."""
        return self.front_end.sampling_rate

    @property
    def min_samples(self) -> int:
        """Samples of the shortest waveform that can be captioned."""
        return self.front_end.min_samples

    @property
    def max_seconds(self) -> float | None:
        """Length of the longest training utterance in seconds, if it is known."""
        return self.front_end.max_seconds

    def __call__(self, audio, rate: int | None = None) -> list[tuple[str, float]] | Captions:
        """Caption one recording, or a list of recordings together.

        Args:
            audio: path of a file; or samples, see `as_waveform`, with their `rate` in Hz; or a list of these.

        Returns:
            The candidates (caption, score), best first; of a list, those of each recording.

        Raises:
            SecError: the file cannot be read; samples of a wrong shape, type or rate.
        """
        from espnet2_secap.data.recordings import as_waveform, load_recording

        many = isinstance(audio, (list, tuple)) and not all(isinstance(one, (int, float)) for one in audio)
        waves = [
            load_recording(one, self.fs) if isinstance(one, (str, Path)) else as_waveform(one, rate, self.fs)
            for one in (audio if many else [audio])
        ]
        captions = self.caption(waves)
        return captions if many else captions[0]

    def caption(self, waves: Sequence[np.ndarray]) -> Captions:
        """Caption waveforms (samples,) at `fs`, float32, mono, together."""
        return self.caption_inputs(self.front_end(waves))

    @torch.no_grad()
    def caption_inputs(self, speech: Sequence[np.ndarray | torch.Tensor]) -> Captions:
        """Caption what the model itself takes, waveforms (samples,) or stored features (T, D), together.

        Scores: beam search's own, else the mean log-probability of a token in nats.
        """
        speech = [torch.as_tensor(one, dtype=torch.float32) for one in speech]
        lengths = torch.tensor([len(one) for one in speech], device=self.device)
        instruction = self.instruction.expand(len(speech), -1)
        candidates, scores = self.model.generate(
            self.options,
            speech=torch.nn.utils.rnn.pad_sequence(speech, batch_first=True).to(self.device),
            speech_lengths=lengths,
            instruction=instruction,
            instruction_lengths=torch.full((len(speech),), instruction.size(1), device=self.device),
        )
        return [
            [(self.tokenizer.decode(ids).strip(), score) for ids, score in zip(*pair, strict=True)]
            for pair in zip(candidates, scores, strict=True)
        ]
