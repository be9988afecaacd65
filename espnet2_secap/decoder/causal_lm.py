"""LLaMA or any other causal LM of transformers as the decoder (SECap, Model Architecture)."""

import torch

from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.beam_sample import beam_sample
from espnet2_secap.errors import SecError
from espnet2_secap.masks import positions
from espnet2_secap.pretrained import Frozen, load_pretrained
from espnet2_secap.text.tokenizer import build_tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class CausalLMDecoder(AbsDecoder):
    """A causal LM, frozen by default, that reads BOS | speech vectors | prompt | caption | EOS as embeddings.

    Args:
        path: folder or hub name of the LM with its tokenizer.
        dtype: float32, bfloat16 or float16, of the weights; what is trained should be float32 (with AMP, if need be).
        lora: options of peft.LoraConfig, such as {r: 8, target_modules: [q_proj, v_proj]}; no LoRA if none.
        freeze: False trains the whole LM, and checkpoints then hold it.
    """

    def __init__(self, path: str, dtype: str = "float32", lora: dict | None = None, freeze: bool = True):
        super().__init__()
        if dtype not in DTYPES:
            raise ValueError(f"decoder_conf: dtype={dtype!r}, expected one of {', '.join(DTYPES)}")
        if not freeze and (lora is not None or dtype != "float32"):
            raise ValueError("decoder_conf: freeze: false trains the whole LM, without lora and in float32 only")
        lm = load_pretrained("AutoModelForCausalLM", path, "decoder_conf path", dtype=DTYPES[dtype])
        self.tokenizer = build_tokenizer(path)
        if self.tokenizer.bos_id is None or self.tokenizer.eos_id is None:
            raise SecError(f"{path}: its tokenizer has no BOS or no EOS token, which captions need; choose another LM")
        self.lm = Frozen(lm)
        if lora is not None:
            self.lm.module = _with_lora(lm, lora)
        elif not freeze:
            lm.requires_grad_(True)

    def embedding_size(self) -> int:
        """Width of the LM's input embeddings."""
        return self.lm.module.get_input_embeddings().weight.size(1)

    def _embed(self, speech, speech_mask, prompt, prompt_mask):
        """BOS | speech | prompt as embeddings (B, 1+N+P, H) with mask; the last prompt token stands last."""
        embed = self.lm.module.get_input_embeddings()
        # The prompt's padding goes to its left, so that the caption follows on the last real token.
        order = prompt_mask.long().argsort(dim=1, stable=True)
        prompt, prompt_mask = prompt.gather(1, order), prompt_mask.gather(1, order)
        bos = torch.full_like(prompt[:, :1], self.tokenizer.bos_id)
        dtype = embed.weight.dtype
        embeddings = torch.cat([embed(bos), speech.to(dtype), embed(prompt.clamp(min=0))], dim=1)
        mask = torch.cat([torch.ones_like(bos, dtype=torch.bool), speech_mask, prompt_mask], dim=1)
        return embeddings, mask

    def forward(self, speech, speech_mask, prompt, prompt_mask, caption, caption_mask) -> torch.Tensor:
        """See AbsDecoder."""
        prefix, prefix_mask = self._embed(speech, speech_mask, prompt, prompt_mask)
        caption = caption.clamp(min=0)
        embeddings = torch.cat([prefix, self.lm.module.get_input_embeddings()(caption)], dim=1)
        mask = torch.cat([prefix_mask, caption_mask], dim=1)
        length = caption.size(1)
        logits = self.lm.module(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            position_ids=positions(mask),
            logits_to_keep=length + 1,
            use_cache=False,
        ).logits  # (B, L + 1, vocabulary): from the prompt's last token on
        log_probs = logits[:, :-1].float().log_softmax(-1)
        return log_probs.gather(2, caption[..., None]).squeeze(2) * caption_mask

    @torch.no_grad()
    def generate(
        self,
        speech,
        speech_mask,
        prompt,
        prompt_mask,
        num_candidates: int = 1,
        beam_size: int = 1,
        sampling: bool = False,
        min_length: int = 1,
        max_length: int = 50,
        top_k: int = 0,
        top_p: float = 1.0,
        temperature: float = 1.0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        length_penalty: float = 1.0,
    ):
        """Greedy (beam_size 1), beam search, or sampling (each candidate by its own beams where beam_size > 1).

        Args:
            speech, speech_mask, prompt, prompt_mask: see AbsDecoder.
            num_candidates: candidates per utterance; at most beam_size without sampling.
            min_length, max_length: bounds of the caption, in tokens.
            beam_size, sampling, top_k, top_p, temperature, repetition_penalty, no_repeat_ngram_size, length_penalty:
                as in transformers' GenerationConfig; top_k 0 keeps all tokens.
        """
        if not sampling and num_candidates > beam_size:
            raise SecError(
                f"decoding: {num_candidates} candidates of beam_size {beam_size}; "
                "set beam_size to at least that number, or sampling: true"
            )
        embeddings, mask = self._embed(speech, speech_mask, prompt, prompt_mask)
        eos = self.tokenizer.eos_id
        if sampling and beam_size > 1:
            lm = self.lm.module
            if getattr(lm, "_is_stateful", False):
                raise SecError(f"decoding: {type(lm).__name__} cannot be sampled within beams; set beam_size to 1")
            tokens, scores = beam_sample(
                lm,
                embeddings,
                mask,
                searches=num_candidates,
                beam_size=beam_size,
                eos=eos,
                min_length=min_length,
                max_length=max_length,
                top_k=top_k,
                top_p=top_p,
                temperature=temperature,
                repetition_penalty=repetition_penalty,
                no_repeat_ngram_size=no_repeat_ngram_size,
                length_penalty=length_penalty,
            )
            return _ranked([_until(row, eos) for row in tokens.tolist()], scores.tolist(), num_candidates)
        options = dict(top_k=top_k, top_p=top_p, temperature=temperature) if sampling else {}
        if beam_size > 1:
            options["length_penalty"] = length_penalty
        output = self.lm.module.generate(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            do_sample=sampling,
            num_beams=beam_size,
            num_return_sequences=num_candidates,
            min_new_tokens=min_length,
            max_new_tokens=max_length,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            bos_token_id=self.tokenizer.bos_id,
            eos_token_id=eos,
            pad_token_id=eos,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
        sequences = [_until(row, eos) for row in output.sequences.tolist()]
        return _ranked(sequences, self._scores(output, sequences, beam_size), num_candidates)

    def _scores(self, output, sequences, beam_size: int) -> list[float]:
        """Beam search's own score, else the mean log-probability of the tokens (EOS included)."""
        if beam_size > 1:
            return output.sequences_scores.tolist()
        steps = self.lm.module.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
        scores = []
        for row, sequence in zip(steps.tolist(), sequences, strict=True):
            taken = row[: len(sequence) + 1]
            scores.append(sum(taken) / max(len(taken), 1))
        return scores


def _ranked(sequences: list, scores: list[float], each: int) -> tuple[list[list], list[list[float]]]:
    """`each` neighbouring candidates to an utterance, the best first."""
    candidates, values = [], []
    for start in range(0, len(sequences), each):
        rows = sorted(range(start, start + each), key=lambda i: -scores[i])
        candidates.append([sequences[i] for i in rows])
        values.append([scores[i] for i in rows])
    return candidates, values


def _until(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos)] if eos in ids else ids


def _with_lora(lm, options: dict):
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as err:
        raise SecError("decoder_conf: lora needs the package peft: pip install 'espnet2_secap[lora]'") from err
    try:
        config = LoraConfig(task_type="CAUSAL_LM", **options)
    except TypeError as err:
        raise SecError(f"decoder_conf: lora: {err}; see peft's LoraConfig for the options") from err
    return get_peft_model(lm, config)
