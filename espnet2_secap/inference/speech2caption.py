"""The model as a function: speech in, captions out."""

from collections.abc import Sequence

import numpy as np
import torch

from espnet2_secap.tasks.sec import SECTask
from espnet2_secap.text.preprocessor import encode_prompt, read_prompts

DECODING = (
    "num_candidates", "beam_size", "sampling", "min_length", "max_length", "top_k", "top_p", "temperature",
    "repetition_penalty", "no_repeat_ngram_size", "length_penalty",
)  # fmt: skip


class Speech2Caption:
    """A trained captioning model.

    >>> speech2caption = Speech2Caption("exp/sec_caption/valid.loss.best.pth", beam_size=3)
    >>> speech2caption([waveform])  # 16 kHz for encoder: s3prl; (T, D) features for encoder: feats
    [[("语速较快，声音高亢，情绪中带着愤怒", -0.31)]]

    Args:
        model_file: model file of the second stage.
        train_config: its config.yaml; beside it if none.
        device: cpu, cuda or cuda:N.
        dtype: of the decoder's weights, "float32", "bfloat16" or "float16"; as config.yaml has it if none.
        prompt: instruction; the first of the training prompts if none.
        options: of `CausalLMDecoder.generate`.
    """

    def __init__(
        self,
        model_file,
        train_config=None,
        device: str = "cpu",
        dtype: str | None = None,
        prompt: str | None = None,
        **options,
    ):
        self.model, self.train_args = SECTask.build_model_from_file(train_config, model_file, device, dtype)
        self.device = device
        self.prompt = prompt or read_prompts(self.train_args.prompts)[0]
        self.tokenizer = self.model.decoder.tokenizer
        self.prompt_ids = encode_prompt(self.tokenizer, self.prompt, self.train_args.prompt_bos)
        self.options = options

    @torch.no_grad()
    def __call__(self, speech: Sequence[np.ndarray]) -> list[list[tuple[str, float]]]:
        """Caption a batch.

        Args:
            speech: utterances (samples,) or (T, D), float.

        Returns:
            Per utterance the candidates (caption, score), best first. Scores: beam search's own, else the mean
            log-probability of a token in nats.
        """
        lengths = torch.tensor([len(one) for one in speech])
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.as_tensor(np.asarray(one), dtype=torch.float32) for one in speech], batch_first=True
        )
        prompt = torch.tensor([self.prompt_ids]).expand(len(speech), -1)
        batch = (padded, lengths, prompt, torch.full((len(speech),), prompt.size(1)))
        candidates, scores = self.model.generate(*(part.to(self.device) for part in batch), **self.options)
        return [
            [(self.tokenizer.decode(ids).strip(), score) for ids, score in zip(*pair, strict=True)]
            for pair in zip(candidates, scores, strict=True)
        ]
