"""Preference optimisation of a captioning model (PO-Regularization of AlignCap, EMNLP 2024, after its abstract)."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from espnet2.torch_utils.device_funcs import force_gatherable
from torch.utils.checkpoint import checkpoint

from espnet2_secap.errors import SecError
from espnet2_secap.loss import dpo
from espnet2_secap.model.abs_model import AbsSECModel, Need
from espnet2_secap.model.caption import CaptionModel, Vectors
from espnet2_secap.text.roles import CLUES, QUERIES, condition_of
from espnet2_secap.values import Amount, Positive, Range

DRAWS = ("caption_dropout", "mixup", "clues_dropout")
STATISTICS = (
    "loss", "dpo_loss", "sft_loss", "rewards_chosen", "rewards_rejected", "margin", "accuracy", "chosen_log_prob",
    "rejected_log_prob", "kl", "length_chosen", "length_rejected",
)  # fmt: skip


def sequence_log_probs(
    model: CaptionModel, embedding: Vectors, batch: Mapping[str, torch.Tensor], name: str
) -> torch.Tensor:
    """Log-probabilities (B,) in nats of the captions `name` of a batch, summed over their tokens and the end.

    Policy and reference are both asked here.

    Args:
        model: in evaluation mode, or a PreferModel.
        embedding: what its `embeddings` gave.
        batch: ids (B, L) with `<name>_lengths` (B,), and the other ids that the decoder reads.
        name: "chosen" or "rejected".
    """
    captions = {"caption": batch[name], "caption_lengths": batch[f"{name}_lengths"]}
    return model._log_probs(embedding, {**batch, **captions})[0].sum(1)


class PreferModel(CaptionModel):
    """CaptionModel that is trained to prefer one caption to another: DPO (Rafailov et al., NeurIPS 2023) and variants.

    The reference is the model that the training starts from. Its log-probabilities come with the pairs, so frozen
    encoder and LM are there once. Nothing draws: dropout is off, as it was in the reference.

    Args:
        encoder, bridge, decoder, template, captioning: see CaptionModel.
        preference_loss: of loss/dpo.py: sigmoid (DPO), ipo, hinge, robust, sigmoid_norm (length-normalised DPO).
        beta: of that loss: the higher, the nearer the policy stays to the reference.
        label_smoothing: of `robust`: the share of pairs that are believed to be the wrong way round.
        sft_weight: of the cross entropy per token of the chosen caption, which is added.
        recompute: compute the pass over rejected captions again in the backward pass instead of keeping its
            activations: memory of a captioning step, for a quarter more time.

    Raises:
        SecError: options of captioning that draw, or that are not of this training, and what CaptionModel raises.
    """

    measures = (*STATISTICS, "attributes_loss", "attributes_accuracy", "accuracy_*")
    measured_with = dict.fromkeys(("attributes_loss", "attributes_accuracy", "accuracy_*"), "attributes_weight")

    def __init__(
        self,
        encoder,
        bridge,
        decoder,
        template,
        preference_loss: Literal["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"] = "sigmoid",
        beta: Positive = 0.1,
        label_smoothing: Annotated[float, Range(least=0, below=0.5)] = 0.0,
        sft_weight: Amount = 0.0,
        recompute: bool = True,
        **captioning,
    ):
        for name in (*DRAWS, "listening"):
            if captioning.get(name):
                why = "policy and reference draw nothing" if name in DRAWS else "it measures captioning"
                raise SecError(f"model_conf of model: prefer: {name}: {why}; leave it out")
        if label_smoothing and preference_loss != "robust":
            raise SecError(
                f"model_conf of model: prefer: label_smoothing {label_smoothing:g}: is of preference_loss: robust;"
                " leave it out, or choose that loss"
            )
        super().__init__(encoder, bridge, decoder, template, **captioning)
        if self.specaug is not None:
            raise SecError("--specaug: with model: prefer policy and reference draw nothing; leave it out")
        self.preference = {"loss": preference_loss, "beta": beta, "label_smoothing": label_smoothing}
        self.sft_weight, self.recompute = sft_weight, recompute

    @classmethod
    def needs(cls, conf: Mapping) -> dict[str, Need]:
        """Pairs; what the condition reads; and captions for the second task, where there is one.

        Clues come from a file: those of a caption that is drawn would be other ones in the reference.
        """
        needs = super().needs(conf)
        if not conf.get("attributes_weight"):
            needs.pop("caption")
        if CLUES in condition_of(conf):
            needs["clues"] = Need("clues", made_by="sec_clues")
        return {"pairs": Need("pairs", made_by="sec_reference")} | needs

    def train(self, mode: bool = True) -> "PreferModel":
        """All parts stay in evaluation mode, in which the reference was computed."""
        super().train(mode)
        for part in self.children():
            part.eval()
        return self

    def set_reference(self, reference: AbsSECModel) -> None:
        """See AbsSECModel: the reference of pairs comes with them, and nothing else is compared with."""
        AbsSECModel.set_reference(self, reference)

    def forward(self, **batch):
        """Preference loss of each pair, and the weighted cross entropy of its chosen caption.

        Args:
            chosen, rejected: (B, L) token ids with the end token, with chosen_lengths, rejected_lengths (B,).
            pair_reference: (B, 2) log-probabilities of both by the reference, in nats.
            instruction: (B, P) token ids of the pair's prompt, with instruction_lengths (B,).
            speech, transcript, text_queries, attributes: see CaptionModel.

        Returns:
            Mean loss per pair; statistics, which are means over pairs; the number of pairs as weight. `kl` is the mean
            of log pi - log ref of chosen captions, `accuracy` the share of pairs whose chosen caption has the greater
            reward, `margin` the mean difference of the rewards. Log-probabilities are in nats, lengths in tokens.
        """
        embedding = self.embeddings(batch)
        # Rejected captions come first: the backward pass begins with the last and has freed it when it comes to them.
        rejected = self._rejected(embedding, batch)
        chosen = sequence_log_probs(self, embedding, batch, "chosen")
        lengths = batch["chosen_lengths"], batch["rejected_lengths"]
        reference = batch["pair_reference"].to(chosen.dtype)
        losses, *rewards = dpo.preference_loss(
            chosen, rejected, reference[:, 0], reference[:, 1], *lengths, **self.preference
        )
        sft = -chosen / lengths[0]
        values = {
            "dpo_loss": losses,
            "sft_loss": sft,
            "rewards_chosen": rewards[0],
            "rewards_rejected": rewards[1],
            "margin": rewards[0] - rewards[1],
            "accuracy": rewards[0] > rewards[1],
            "chosen_log_prob": chosen,
            "rejected_log_prob": rejected,
            "kl": chosen - reference[:, 0],
            "length_chosen": lengths[0],
            "length_rejected": lengths[1],
        }
        loss = (losses + self.sft_weight * sft).mean()
        stats = {"loss": loss.detach()} | {name: one.detach().float().mean() for name, one in values.items()}
        if self.attributes is not None:
            second, more = self.attributes.loss(self._attributes(embedding[QUERIES]), batch["attributes"])
            loss = loss + self.attributes_weight * second
            stats |= {"attributes_accuracy": more.pop("accuracy")} | more
        return force_gatherable((loss, stats, loss.new_tensor(len(chosen))), loss.device)

    def _rejected(self, embedding: Vectors, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return sequence_log_probs(self, embedding, batch, "rejected")
        return checkpoint(sequence_log_probs, self, embedding, batch, "rejected", use_reentrant=False)
