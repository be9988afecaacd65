"""First stage: speech and text meet in the Q-Former, STMIL + SCCL (SECap, Eq. 4 to 6)."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.torch_utils.device_funcs import force_gatherable
from torch.func import functional_call

from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.loss.estimator import GaussianEstimator, standardise
from espnet2_secap.loss.gather import gather_rows
from espnet2_secap.loss.precision import single
from espnet2_secap.loss.sccl import sccl_loss
from espnet2_secap.loss.vclub import gaussian_log_likelihood, vclub_bound
from espnet2_secap.masks import masked_mean
from espnet2_secap.model.abs_model import AbsSECModel, Need
from espnet2_secap.model.checkpoint import leave_out_frozen
from espnet2_secap.text.text_encoder import AbsTextEncoder
from espnet2_secap.values import Amount, Count, Positive, Range


class AlignModel(AbsSECModel):
    """Pulls speech embeddings towards their captions (SCCL) and removes what was spoken (STMIL).

    L = mi_weight * U + sccl_weight * L_SCCL (Eq. 6), and besides it the estimator's own loss -log q(y|x) on detached
    embeddings. The bound U does not move the estimator, the estimator's loss moves nothing else.

    Args:
        encoder, bridge, text_encoder: the built parts; the bridge must have a text branch.
        mi_weight: w_T1; 0 switches STMIL off.
        sccl_weight: w_T2; 0 switches SCCL off.
        sccl_weights: w1, w2, w3 of Eq. 5; a 0 switches that term off.
        margin: m of Eq. 5.
        sccl_reduction: "sum" (Eq. 5) or "mean" (Eq. 5 divided by the batch size).
        sccl_center: take the batch's means off the embeddings before Eq. 5; see `sccl_loss`.
        estimator_size: hidden width of the estimator's networks.
        estimator_lr: the estimator's learning rate, which must be higher than the bridge's; that of optim_conf if none.
        mi_detach_text: let the bound move the speech side only.
        normalize, specaug: see AbsSECModel.

    Raises:
        SecError: a bridge without a text branch; both weights 0.
    """

    parts = ("encoder", "text_encoder", "bridge")
    texts = {"caption": "text_encoder", "text": "text_encoder"}
    measures = ("loss", "retrieval", "sccl", "sccl_own", "sccl_same", "sccl_other", "mi", "mi_log_likelihood")

    def __init__(
        self,
        encoder: AbsEncoder,
        bridge: AbsBridge,
        text_encoder: AbsTextEncoder,
        mi_weight: Amount = 1.0,
        sccl_weight: Amount = 1.0,
        sccl_weights: tuple[Amount, Amount, Amount] = (1.0, 1.0, 1.0),
        margin: Annotated[float, Range(least=0, most=2)] = 0.2,
        sccl_reduction: Literal["sum", "mean"] = "mean",
        sccl_center: bool = False,
        estimator_size: Count = 512,
        estimator_lr: Positive | None = None,
        mi_detach_text: bool = True,
        normalize: AbsNormalize | None = None,
        specaug: AbsSpecAug | None = None,
    ):
        super().__init__(encoder, bridge, normalize, specaug)
        if mi_weight == 0 and sccl_weight == 0:
            raise SecError("model_conf: mi_weight and sccl_weight are both 0, so nothing would be trained")
        if not bridge.has_text_branch:
            raise SecError(
                f"bridge {type(bridge).__name__} has no text branch, which model: align needs; use bridge: qformer"
            )
        self.text_encoder = text_encoder
        self.mi_weight = mi_weight
        self.sccl_weight = sccl_weight
        self.sccl_weights = tuple(sccl_weights)
        self.margin = margin
        self.sccl_reduction = sccl_reduction
        self.sccl_center = sccl_center
        self.mi_detach_text = mi_detach_text
        self.estimator_lr = estimator_lr
        size = bridge.output_size()
        self.estimator = GaussianEstimator(size, size, estimator_size) if mi_weight else None
        self.retrieval: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        leave_out_frozen(self)

    @classmethod
    def needs(cls, conf: Mapping) -> dict[str, Need]:
        """Captions and emotions for SCCL, the transcription for STMIL."""
        needs = {}
        if conf.get("sccl_weight", 1.0):
            needs |= {"caption": Need("captions", "sccl_weight"), "emotion": Need("utt2emo", "sccl_weight")}
        if conf.get("mi_weight", 1.0):
            needs["text"] = Need("text", "mi_weight")
        return needs

    def parameter_groups(self) -> list[dict]:
        """The estimator has a group of its own."""
        groups = {"others": [], "estimator": []}
        for name, p in self.named_parameters():
            if p.requires_grad:
                groups["estimator" if name.startswith("estimator.") else "others"].append(p)
        if not groups["estimator"]:
            return [{"params": groups["others"]}]
        own = {} if self.estimator_lr is None else {"lr": self.estimator_lr}
        return [{"params": groups["others"]}, {"params": groups["estimator"], **own}]

    def embed_text(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Token ids (B, L), lengths (B,) -> mean of the C- or T-Embedding, (B, H)."""
        return masked_mean(*self.text_embedding(ids, lengths))

    def forward(
        self,
        speech,
        speech_lengths,
        caption=None,
        caption_lengths=None,
        text=None,
        text_lengths=None,
        emotion=None,
        **kwargs,
    ):
        """The loss of one batch of N categories x K utterances.

        Args:
            speech: (B, samples) or (B, T, D), with speech_lengths (B,).
            caption: (B, L) token ids of the text encoder, with caption_lengths (B,); for SCCL.
            text: (B, L) token ids of the transcription, with text_lengths (B,); for STMIL.
            emotion: (B, 1) category numbers; for SCCL.

        Returns:
            Loss, statistics, batch size.
        """
        query = masked_mean(*self.q_embedding(speech, speech_lengths))  # (B, H)
        size = float(len(query))
        embeddings = [query]
        if self.sccl_weight:
            embeddings.append(self.embed_text(caption, caption_lengths))
        if self.mi_weight:
            embeddings.append(self.embed_text(text, text_lengths))
        # Both terms compare utterances with each other, so they are taken over the batches of all processes.
        # In float32, whatever autocast has made of them: in 16 bits a cosine near 1 moves in steps of 0.004.
        query, *texts = gather_rows(single(torch.cat(embeddings, dim=1))).chunk(len(embeddings), dim=1)
        stats = {}
        loss = query.new_zeros(())
        if self.sccl_weight:
            captions = texts.pop(0)
            sccl, terms = sccl_loss(
                query,
                captions,
                gather_rows(emotion.view(-1, 1)).view(-1),
                weights=self.sccl_weights,
                margin=self.margin,
                reduction=self.sccl_reduction,
                center=self.sccl_center,
            )
            loss = loss + self.sccl_weight * sccl
            stats |= {"sccl": sccl.detach()} | {f"sccl_{name}": term.detach() for name, term in terms.items()}
            if self.retrieval is not None:
                self.retrieval.append((query.detach(), captions.detach()))
        if self.mi_weight:
            transcripts = texts.pop(0)
            bound, fit = self._mutual_information(transcripts.detach() if self.mi_detach_text else transcripts, query)
            loss = loss + self.mi_weight * bound
            stats |= {"mi": bound.detach(), "mi_log_likelihood": fit.detach()}
        stats["loss"] = loss.detach()
        if self.mi_weight:
            loss = loss - fit  # after the statistics: what is minimised by the embeddings is Eq. 6 alone
        return force_gatherable((loss, stats, size), loss.device)

    def _mutual_information(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """U(x; y) that moves x and y only, and mean log q(y_i|x_i) that moves the estimator only."""
        # Mutual information does not change with shift and scale; standardised, the Gaussian's range fits at once.
        with torch.autocast(x.device.type, enabled=False):
            x, y = standardise(x), standardise(y)
            fixed = {name: p.detach() for name, p in self.estimator.named_parameters()}
            bound = vclub_bound(*functional_call(self.estimator, fixed, (x,)), y)
            fit = gaussian_log_likelihood(*self.estimator(x.detach()), y.detach()).mean()
        return bound, fit

    def start_retrieval(self) -> None:
        """Begin to keep the embeddings of what passes through, for `retrieval_rate`."""
        self.retrieval = []

    def retrieval_rate(self) -> float | None:
        """Share of utterances whose own caption is the nearest by cosine among all kept; ends the keeping."""
        kept, self.retrieval = self.retrieval, None
        if not kept:
            return None
        speech, caption = (torch.cat(part) for part in zip(*kept, strict=True))
        if self.sccl_center:
            speech, caption = speech - speech.mean(0), caption - caption.mean(0)
        speech, caption = (torch.nn.functional.normalize(part, dim=-1) for part in (speech, caption))
        nearest = (speech @ caption.T).argmax(1)
        return (nearest == torch.arange(len(speech), device=speech.device)).float().mean().item()
