"""The model as a function: speech in, captions out."""

import dataclasses
import math
import numbers
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.audio import SHORTEST
from espnet2_secap.data.recordings import as_mono, as_waveform, check_rate, load_recording
from espnet2_secap.data.utterances import FS
from espnet2_secap.decoder.options import ClueOptions, DecodingOptions, SetOptions
from espnet2_secap.devices import check_device
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.inference.clues import CluePlan
from espnet2_secap.masks import masked_mean
from espnet2_secap.model.condition import padded_ids
from espnet2_secap.tasks.clues import clue_ids, clues_of
from espnet2_secap.tasks.experiment import absolute, find_model
from espnet2_secap.tasks.front_end import FrontEnd
from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.clues import typed_clues
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.text.roles import CLUES, OF_TEXT, QUERIES, reads_clues
from espnet2_secap.text.template import Segment

Clued = Sequence[Sequence[str]] | Callable[[torch.Tensor | None], list[list[str]]]  # see Speech2Caption.segments
Captions = list[list[tuple[str, float]]]  # per utterance the candidates with their scores, best first


class Speech2Caption:
    """A trained captioning model.

    >>> speech2caption = Speech2Caption.from_pretrained("exp/sec_caption_hubert", beam_size=3)
    >>> speech2caption("a.wav")
    [("语速较快，声音高亢，情绪中带着愤怒", -0.31)]
    >>> speech2caption(samples, 44100)  # (samples,) or (samples, channels), int16 or float, numpy or torch
    >>> speech2caption(["a.wav", "b.flac"])  # together: a list of such lists
    >>> speech2caption("a.wav", text="今天下午三点")  # a model that reads the transcription (model_conf condition)
    >>> speech2caption("a.wav", clues="愤怒，语速快")  # a model that reads clues

    All that is wrong with the arguments is said here, before the model is loaded. The paths that config.yaml names are
    found from any working directory, see tasks/experiment.py.

    Args:
        model_file: model file of the second stage.
        train_config: its config.yaml; beside it if none.
        device: cpu, cuda or cuda:N.
        dtype: of the decoder's weights, "float32", "bfloat16" or "float16"; as config.yaml has it if none.
        prompt: instruction; the first of the training prompts if none.
        options: of decoding; or its fields by name.
        clues: of a model that reads clues, where those of a call are not given: "predicted", "retrieved", or words;
            none if None.

    Raises:
        SecError: no such model or device; an unknown option, or a value of the wrong type or out of range.
    """

    def __init__(
        self,
        model_file: str | Path,
        train_config: str | Path | None = None,
        device: str = "cpu",
        dtype: str | None = None,
        prompt: str | None = None,
        options: DecodingOptions | None = None,
        clues: str | ClueOptions | None = None,
        **fields,
    ):
        known = {field.name for field in dataclasses.fields(DecodingOptions)}
        for name in fields:
            if name not in known:
                raise SecError(f"Speech2Caption: unknown option {name!r}; decoding has {', '.join(sorted(known))}")
        if not isinstance(options, DecodingOptions | None):
            raise SecError(f"Speech2Caption: options {shorten(repr(options))}: must be DecodingOptions")
        self.options = dataclasses.replace(options or DecodingOptions(), **fields)
        SetOptions(dtype=dtype, prompt=prompt)  # their types and choices
        if prompt is not None and not prompt.strip():
            raise SecError("Speech2Caption: prompt '': is empty; leave it out for the first of the training prompts")
        model_file, train_config = _path(model_file), None if train_config is None else _path(train_config)
        clues = clues if isinstance(clues, ClueOptions) else ClueOptions(clues=clues)
        plan = CluePlan(clues, train_config or model_file.parent / "config.yaml")
        device = str(device)  # or torch.device
        check_device(device)
        self.model, self.train_args = SECTask.build_model_from_file(train_config, model_file, device, dtype)
        if not self.model.makes:
            raise SecError(
                f"{model_file}: is a model of --model {self.train_args.model}, which writes no captions; give one of"
                " the second stage (exp/sec_caption_*)"
            )
        self.model.decoder.check_options(self.options)
        self.where = model_file.parent
        self.device = device
        if prompt is not None and "instruction" not in self.model.template.order:
            raise SecError(
                f"--prompt: {model_file} reads no instruction (template_conf in its config.yaml); leave it out"
            )
        self.prompt = prompt or read_prompts(self.train_args.prompts)[0]
        self.tokenizer = self.model.decoder.tokenizer
        functions = SECTask.text_functions(self.train_args)
        self._reads = {role: functions[role] for role in OF_TEXT if role in functions}
        self._clue_ids = None
        if reads_clues(self.model.makes_of(self.train_args.model_conf)):
            self._clue_ids = clue_ids(clues_of(self.train_args.model_conf), functions[CLUES])
        self.instruction = torch.tensor([self.tokenizer.encode(self.prompt)], device=device)
        self._front_end_conf = absolute(self.train_args.front_end)  # built later, maybe from another folder
        self._front_end: FrontEnd | None = None
        self._clue_source = plan.source(self)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options) -> "Speech2Caption":
        """The model of an experiment's folder, or one of its model files; `options` as the constructor's.

        Raises:
            SecError: the folder lacks its config.yaml or a model file, or another version made it.
        """
        config, model_file = find_model(_path(path))
        return cls(model_file, config, **options)

    @property
    def hears(self) -> bool:
        """Whether the model takes speech; if not, none is encoded, or read."""
        return self.model.hears

    @property
    def reads_text(self) -> bool:
        """Whether the model takes the transcription."""
        return bool(self._reads)

    @property
    def reads_clues(self) -> bool:
        """Whether the model takes clues."""
        return self._clue_ids is not None

    @property
    def front_end(self) -> FrontEnd:
        """From waveforms to what the model takes; built when it is first asked for."""
        if self._front_end is None:
            self._front_end = FrontEnd(self._front_end_conf, self.model.encoder, self.where, self.device)
        return self._front_end

    @property
    def fs(self) -> int:
        """Sampling rate of the waveforms that `caption` takes, in Hz."""
        return self.front_end.sampling_rate if self.hears else FS

    @property
    def min_samples(self) -> int:
        """Samples of the shortest waveform that can be captioned."""
        return self.front_end.min_samples if self.hears else 1

    @property
    def max_seconds(self) -> float | None:
        """Length of the longest training utterance in seconds, if it is known; any where it is not heard."""
        return self.front_end.max_seconds if self.hears else math.inf

    def __call__(
        self,
        audio,
        rate: float | Sequence[float] | None = None,
        text: str | Sequence[str] | None = None,
        clues: str | Sequence[str | Sequence[str]] | None = None,
    ) -> list[tuple[str, float]] | Captions:
        """Caption one recording, or a list of recordings together.

        Args:
            audio: path of a file; or samples, see `as_waveform`; or a pair (samples, rate), as soundfile.read and
                torchaudio.load return it; or a list of these, of any lengths and sampling rates.
            rate: sampling rate of samples in Hz, or a list with that of each recording. Of files it is that of their
                header: they are refused if it is given and another one.
            text: the transcription, or a list with that of each recording; of a model that reads it.
            clues: of a model that reads them: "sad, slow", or a list of these; of several recordings a list with those
                of each. As the constructor said if none.

        Recordings are captioned whole; sec_caption cuts those of more than `max_seconds` at silence.

        Returns:
            The candidates (caption, score), best first: `num_candidates` of them; of a list a list of these lists, one
            for each recording in the order given.

        Raises:
            SecError: the file cannot be read; samples of a wrong shape, type, scale or rate; an empty list. Of a list
                with the number of the recording, from 1. Transcriptions that are missing, or that the model does not
                read.
        """
        if not isinstance(audio, (list, tuple)) or _is_samples(audio) or _is_pair(audio):
            given = None if clues is None else [clues]
            return self.caption([self._wave(audio, rate)], [text] if isinstance(text, str) else text, given)[0]
        rates = rate if isinstance(rate, (list, tuple, np.ndarray)) else [rate] * len(audio)
        if len(rates) != len(audio):
            raise SecError(f"rate: {len(rates)} sampling rates for {len(audio)} recordings; give one for each, or one")
        waves = []
        for number, (one, its_rate) in enumerate(zip(audio, rates, strict=True), 1):
            try:
                waves.append(self._wave(one, its_rate))
            except SecError as err:
                raise SecError(f"recording {number} of {len(audio)}: {err}") from err
        return self.caption(waves, text, clues)

    def _wave(self, audio, rate: float | None) -> np.ndarray:
        """One recording as (samples,) float32 at `fs` Hz."""
        if isinstance(audio, (str, os.PathLike)):
            path = _path(audio)
            wave = load_recording(path, self.fs)
            if rate is not None:
                check_rate(path, rate)
        else:
            if _is_pair(audio):
                if rate is not None:
                    raise SecError(f"sampling rate {rate!r}: is given twice; leave it out for pairs (samples, rate)")
                audio, rate = audio
            wave = as_waveform(audio, rate, self.fs)
        least = max(self.min_samples, round(SHORTEST * self.fs))
        if len(wave) < least:
            raise SecError(f"audio is too short: {len(wave) / self.fs:.4f} s, the model needs {least / self.fs:g} s")
        return wave

    def caption(
        self,
        waves: Sequence[np.ndarray],
        texts: Sequence[str] | None = None,
        clues: Sequence[str | Sequence[str]] | None = None,
    ) -> Captions:
        """Caption waveforms at `fs` Hz together, each (samples,) or as `as_mono` takes it: int16 or float, ...

        Args:
            texts: their transcriptions, of a model that reads them.
            clues: their clues, of a model that reads them.

        Raises:
            SecError: no waveforms, or one of a wrong shape, type or scale, with NaN, or too short.
        """
        return self.caption_inputs(self.inputs(waves), texts, clues)

    def inputs(self, waves: Sequence[np.ndarray]) -> list[np.ndarray | torch.Tensor]:
        """What the model itself takes, of waveforms as `caption` takes them."""
        waves = [as_mono(wave) for wave in _several(waves, "waveforms (samples,)")]
        return self.front_end(waves) if self.hears else [None] * len(waves)

    def caption_inputs(
        self,
        speech: Sequence[np.ndarray | torch.Tensor | None],
        texts: Sequence[str] | None = None,
        clues: Clued | None = None,
    ) -> Captions:
        """Caption what the model itself takes, waveforms (samples,) or stored features (T, D), together.

        Scores: beam search's own, else the mean log-probability of a token in nats.

        Raises:
            SecError: nothing to caption, or something of another shape or type, or with NaN.
        """
        return self.generate(self.segments(speech, texts, clues))

    @torch.no_grad()
    def segments(
        self,
        speech: Sequence[np.ndarray | torch.Tensor | None],
        texts: Sequence[str] | None = None,
        clues: Clued | None = None,
    ) -> list[Segment]:
        """What the decoder reads before the captions, for several ways of decoding.

        Args:
            speech: as `caption_inputs`; of a model that does not hear anything of that length, such as a list of None.
            texts: their transcriptions, "" where nothing is said; None of a model that reads none.
            clues: those of each, or a function that makes them of the mean Q-Embedding (B, H), None of a model that
                does not hear; as the constructor said if None.
        """
        batch = (self._heard(speech) if self.hears else {}) | padded_ids(self._read(texts, len(speech)), self.device)
        instruction = self.instruction.expand(len(speech), -1)
        lengths = torch.full((len(speech),), instruction.size(1), device=self.device)
        batch |= {"instruction": instruction, "instruction_lengths": lengths}
        if not self.reads_clues:
            if clues is not None:
                condition = ", ".join(getattr(self.model, "condition", ()))
                raise SecError(f"clues: are given, and the model reads none (condition {condition}); leave them out")
            return self.model.segments(**batch)
        embeddings = self.model.embeddings(batch)
        mean = masked_mean(*embeddings[QUERIES]) if self.hears else None
        batch |= padded_ids(
            {CLUES: [self._clue_ids(one) for one in self._clues(clues, mean, len(speech))]}, self.device
        )
        return self.model.segments(**batch, embeddings=embeddings)

    @torch.no_grad()
    def mean_embedding(self, speech: Sequence[np.ndarray | torch.Tensor]) -> torch.Tensor:
        """Mean Q-Embedding (B, H) of what the model itself takes, of a model that hears."""
        return masked_mean(*self.model.embeddings(self._heard(speech))[QUERIES])

    def _clues(self, clues: Clued | None, mean: torch.Tensor | None, number: int) -> list[list[str]]:
        if clues is None and self._clue_source is not None:
            nobody = [None] * number
            return self._clue_source(nobody, nobody, mean)
        found = [[]] * number if clues is None else clues(mean) if callable(clues) else clues
        if isinstance(found, str) or len(found) != number:
            raise SecError(f"clues {shorten(repr(found))}: must be {number} list(s) of words, one for each recording")
        return [typed_clues(one) if isinstance(one, str) else typed_clues(",".join(one)) for one in found]

    def _heard(self, speech: Sequence[np.ndarray | torch.Tensor]) -> dict[str, torch.Tensor]:
        axes, what = (2, "features (T, D)") if self.model.encoder.sampling_rate is None else (1, "waveforms (samples,)")
        speech = [_input(one, axes, what) for one in _several(speech, what)]
        lengths = torch.tensor([len(one) for one in speech], device=self.device)
        padded = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True).to(self.device)
        return {"speech": padded, "speech_lengths": lengths}

    def _read(self, texts: Sequence[str] | None, number: int) -> dict[str, list[list[int]]]:
        """Of each role that is made of the transcription the token ids of each utterance."""
        condition = ", ".join(getattr(self.model, "condition", ()))
        if not self._reads:
            if texts is not None:
                raise SecError(
                    f"text: is given, and the model reads no transcription (condition {condition}); leave it out"
                )
            return {}
        if texts is None:
            raise SecError(
                f"text: the model reads the transcription (condition {condition}), and none is given; give text= (in"
                " Python), or --text_file FILE"
            )
        if isinstance(texts, str) or len(texts) != number or not all(isinstance(one, str) for one in texts):
            raise SecError(
                f"text {shorten(repr(texts))}: must be {number} transcription(s), text, one for each recording"
            )
        return {role: [encode(one) for one in texts] for role, encode in self._reads.items()}

    @torch.no_grad()
    def generate(self, segments: Sequence[Segment], options: DecodingOptions | None = None) -> Captions:
        """Captions of what `segments` gave, by the options given or this object's own; see `caption_inputs`."""
        candidates, scores = self.model.generate_from(segments, options or self.options)
        return [
            [(self.tokenizer.decode(ids).strip(), score) for ids, score in zip(*pair, strict=True)]
            for pair in zip(candidates, scores, strict=True)
        ]


def _path(path: str | Path) -> Path:
    """A path, ~ being the home folder."""
    if not isinstance(path, (str, os.PathLike)):
        raise SecError(f"path {shorten(repr(path))}: must be text or a Path")
    return Path(path).expanduser()


def _is_number(one) -> bool:
    return isinstance(one, (numbers.Number, np.number)) and not isinstance(one, bool)


def _is_samples(audio: Sequence) -> bool:
    """Whether a list holds the samples of one recording."""
    return len(audio) > 0 and all(_is_number(one) for one in audio)


def _is_pair(audio) -> bool:
    """Whether it is (samples, rate)."""
    return isinstance(audio, tuple) and len(audio) == 2 and not isinstance(audio[0], str) and _is_number(audio[1])


def _several(values: Sequence, what: str) -> Sequence:
    if isinstance(values, (np.ndarray, torch.Tensor)) and values.ndim < 2:
        raise SecError(f"must be a list of {what}, is an array of the shape {tuple(values.shape)}; give [array]")
    if not isinstance(values, (list, tuple, np.ndarray, torch.Tensor)):
        raise SecError(f"must be a list of {what}, is {type(values).__name__}")
    if not len(values):
        raise SecError(f"no recordings are given; give a list of {what}")
    return values


def _input(values, axes: int, what: str) -> torch.Tensor:
    """What the model itself takes, float32."""
    tensor = torch.as_tensor(values)
    shape = tuple(tensor.shape)
    if tensor.dim() != axes or not tensor.numel() or not tensor.is_floating_point():
        raise SecError(f"the model takes {what} of floats, not {tensor.dtype} of the shape {shape}")
    if not tensor.isfinite().all():
        raise SecError(f"the model's input of the shape {shape} has NaN or infinite values; check how it was made")
    return tensor.detach().float().cpu()
