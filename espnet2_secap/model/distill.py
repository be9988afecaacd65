"""Captioning under KD-Regularization (AlignCap): the LM shall say of speech what it would say of the text."""

from collections.abc import Mapping
from functools import partial

import torch

from espnet2_secap.decoder.lm import LMDecoder
from espnet2_secap.errors import SecError
from espnet2_secap.loss.distill import Direction, divergence
from espnet2_secap.model.abs_model import Need
from espnet2_secap.model.caption import CaptionModel, Vectors
from espnet2_secap.model.condition import ids_segment, make_segments
from espnet2_secap.text.roles import TEACHER, TEACHERS, checked_teacher, source_of, teacher_of
from espnet2_secap.values import Amount, Natural, Positive, Share


class DistillModel(CaptionModel):
    """CaptionModel whose LM, as its folder gives it, is its own teacher. An LM that is trained as a whole (decoder_conf
    freeze: false) is there a second time.

    L = ce_weight L_CE + kd_weight mean_k D(T_k || S_k) over the caption's tokens and the end, with the student
    S = LM(BOS | speech | instruction | caption) and the teacher T = LM(BOS | transcription | clues | instruction |
    caption) without gradient, LoRA and dropout: AlignCap (EMNLP 2024), after its abstract; see docs/aligncap.md.

    Args:
        encoder, bridge, decoder, template, captioning: see CaptionModel.
        teacher: what the teacher reads of an utterance in the place of speech: transcript, clues, or both.
        ce_weight: of the captions' cross entropy; 0: KD alone.
        kd_weight: of the divergence; 0: no teacher, and captioning as by CaptionModel.
        kd_direction: forward: KL(teacher || student); reverse: KL(student || teacher); jsd: Jensen-Shannon.
        kd_temperature: by which both logits are divided.
        kd_squared: multiply the divergence by kd_temperature^2 (Hinton et al., 2015).
        kd_top_k: the teacher's k most probable tokens, and the rest as one; 0: the whole vocabulary.
        kd_beta: of jsd, the teacher's share of the mixture.

    Raises:
        SecError: options that exclude each other, and what CaptionModel raises.
    """

    texts = CaptionModel.texts | {TEACHER + role: "decoder" for role in TEACHERS}
    measures = (*CaptionModel.measures, "kd_loss", "teacher_loss")

    def __init__(
        self,
        encoder,
        bridge,
        decoder,
        template,
        teacher: list[str] = ("transcript", "clues"),
        ce_weight: Amount = 1.0,
        kd_weight: Amount = 1.0,
        kd_direction: Direction = "forward",
        kd_temperature: Positive = 2.0,
        kd_squared: bool = False,
        kd_top_k: Natural = 0,
        kd_beta: Share = 0.5,
        **captioning,
    ):
        super().__init__(encoder, bridge, decoder, template, **captioning)
        self.teacher = [TEACHER + role for role in checked_teacher(teacher)]
        self.ce_weight, self.kd_weight = ce_weight, kd_weight
        if not (ce_weight or kd_weight):
            raise SecError("model_conf: ce_weight 0 and kd_weight 0: nothing would be trained; give one of them")
        if self.mixup:
            raise SecError("model_conf: mixup: a mixture of two utterances has no teacher; give mixup: 0")
        if kd_weight and isinstance(decoder, LMDecoder):
            decoder.keep_pretrained()
        self.divergence = partial(
            divergence,
            direction=kd_direction,
            temperature=kd_temperature,
            squared=kd_squared,
            top_k=kd_top_k,
            beta=kd_beta,
        )
        self.teacher_template = template.with_condition(self.teacher)

    @classmethod
    def needs(cls, conf: Mapping) -> dict[str, Need]:
        """What captioning needs, and the transcription where the teacher reads it."""
        reads = any(source_of(role) == "text" for role in _taught_by(conf))
        return super().needs(conf) | ({"text": Need("text", "kd_weight")} if reads else {})

    @classmethod
    def texts_of(cls, conf: Mapping) -> Mapping[str, str]:
        """With what the teacher reads."""
        taught = {TEACHER + role for role in _taught_by(conf)}
        texts = super().texts_of(conf)
        return {name: part for name, part in texts.items() if name in taught or not name.startswith(TEACHER)}

    def remark(self, stats: Mapping[str, float]) -> str:
        """A teacher that predicts captions no better than its student has nothing to teach."""
        teacher, student = stats.get("teacher_loss", 0.0), stats["loss"]
        if teacher < student:
            return ""
        return (
            f"the teacher's loss of {teacher:.3g} nats per token in validation is not below the student's,"
            f" {student:.3g}: it has nothing to teach; set model_conf kd_weight: 0, or take"
            " an LM that has learned to answer to text"
        )

    def _to_minimise(self, embedding: Vectors, batch: Mapping[str, torch.Tensor]):
        """See CaptionModel; `kd_loss` is the mean divergence of a token, `teacher_loss` the teacher's own cross entropy
        on the captions."""
        if not self.kd_weight:
            return super()._to_minimise(embedding, batch)
        target, segments = ids_segment(batch["caption"], batch["caption_lengths"]), self._segments(embedding, batch)
        teacher = self.teacher_template.arrange(make_segments((*self.teacher, "instruction"), batch, {}))
        for one in (segments, teacher):
            self.decoder.check_length(one, target.mask)
        options, tokens = self._training_options(target), target.mask.sum()
        found = self.decoder.distilled(segments, teacher, target, self.divergence, **options)
        log_probs, kd, taught = (one.sum() / tokens for one in found)
        stats = {"kd_loss": kd.detach(), "teacher_loss": -taught.detach()}
        return -log_probs, tokens, self.ce_weight * -log_probs + self.kd_weight * kd, stats


def _taught_by(conf: Mapping) -> tuple[str, ...]:
    """What the teacher reads; nothing where there is none."""
    return teacher_of(conf) if conf.get("kd_weight", 1) else ()
