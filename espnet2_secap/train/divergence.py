"""Tells when a training has diverged: losses, gradients or weights that are not finite."""

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from espnet2.train.reporter import SubReporter, WeightedAverage

from espnet2_secap.errors import SecError, listed, shorten
from espnet2_secap.model.checkpoint import not_finite

LIMIT = 30  # steps in a row without an update; the loss scale of mixed precision is found in fewer
TOLD = 3  # skipped steps of an epoch that are told one by one
WAY_OUT = "train with another --sec_tag, or remove the folder to start again"


def lowers_scale(scaler) -> bool:
    """Whether mixed precision may still find its loss scale: it halves it at each step whose gradients overflow, and an
    epoch of few steps can end before one fits."""
    return scaler is not None and scaler.get_scale() > 1


class Watch:
    """Looks at each step of an epoch's training and validation; one instance per epoch.

    ESPnet leaves out the update of a step whose gradients are not finite, and its means leave out values that are not
    finite: both would hide a training that has diverged. With several processes all come to the same conclusion at the
    same step, since losses and gradients are those of all of them.

    Args:
        folder: of the experiment, for messages.
        train: ESPnet's reporter of the epoch's training.
        optimizers: for their learning rates.
        options: SECTrainerOptions.
        distributed: whether there are several processes.
        scaler: of mixed precision, or None.
    """

    def __init__(self, folder, train: SubReporter, optimizers: Sequence, options, distributed: bool, scaler=None):
        self.scaler = scaler
        self.folder, self.sub, self.optimizers, self.options = folder, train, optimizers, options
        self.distributed = distributed
        self.skipped = self.in_a_row = self.valid_steps = self.valid_bad = 0
        self.first = self.valid_first = ""  # what was seen in the first bad step

    def after_step(self, batches) -> None:
        """A training step has ended.

        Raises:
            SecError: `LIMIT` steps in a row had no finite gradients.
        """
        if batches.done % self.options.accum_grad:
            return
        norms = self.sub.stats.get("grad_norm")
        if norms and math.isfinite(norms[-1].value):
            self.in_a_row = 0
            return
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == 1 or self.skipped <= TOLD:
            seen = self._seen(batches, self.sub, self.options.accum_grad)
            self.first = seen if self.in_a_row == 1 else self.first
            if self.skipped <= TOLD:
                logging.warning(f"no update: the gradients are not finite in {seen}")
        if self.in_a_row >= LIMIT:
            raise self._diverged(self.first, f"no finite gradients in {LIMIT} steps in a row since then")

    def after_training(self, updates: int) -> None:
        """The training of the epoch has ended.

        Args:
            updates: that the epoch should have had, those before an interruption included.

        Raises:
            SecError: not one step had finite gradients, and the scale of mixed precision is not the reason.
        """
        norms = [value.value for value in self.sub.stats.get("grad_norm", ())]
        if self.skipped and not any(map(math.isfinite, norms)) and not lowers_scale(self.scaler):
            raise self._diverged(self.first, f"no finite gradients in any of the {updates} steps of this epoch")
        if self.skipped > TOLD:
            logging.warning(f"no update in {self.skipped} of {updates} steps of epoch {self.sub.epoch}")

    def after_valid_step(self, batches, sub: SubReporter) -> None:
        """A validation step has ended."""
        self.valid_steps += 1
        losses = sub.stats.get("loss")
        if losses and not math.isfinite(losses[-1].value):
            self.valid_bad += 1
            self.valid_first = self.valid_first or self._seen(batches, sub, 1, "validation step")

    def after_validation(self, stats: dict, finite_before: bool) -> None:
        """The validation has ended: a mean without its bad steps would be too good, so it becomes NaN.

        Args:
            stats: of the epoch's validation; its values become NaN where a step was not finite.
            finite_before: whether an earlier epoch had a finite validation loss.

        Raises:
            SecError: the validation loss is not finite, and it never was, or in no step.
        """
        if not self.valid_bad:
            return
        if self.valid_bad == self.valid_steps or not finite_before:
            raise self._diverged(
                self.valid_first, f"the validation loss is not finite in {self.valid_bad} of {self.valid_steps} steps"
            )
        for key, value in stats.items():
            if isinstance(value, float) and not key.startswith("gpu_"):
                stats[key] = math.nan
        logging.warning(
            f"epoch {self.sub.epoch} is never the best: the validation loss is not finite in {self.valid_bad} of"
            f" {self.valid_steps} steps, the first: {self.valid_first}"
        )

    def check_weights(self, state: Mapping[str, torch.Tensor]) -> None:
        """Raise a SecError if a weight of the epoch's model is not finite."""
        bad = not_finite(state)
        if bad:
            raise self._diverged(f"epoch {self.sub.epoch}", f"weights are not finite: {bad}")

    def _seen(self, batches, sub: SubReporter, steps: int, step: str = "step") -> str:
        terms = []
        for key, values in sub.stats.items():
            if isinstance(values[-1], WeightedAverage):
                last = [value.value for value in values[-steps:]]
                value = next((value for value in last if not math.isfinite(value)), last[-1])
                terms.append((key != "loss", f"{key} {value:.4g}"))
        rates = dict.fromkeys(f"{g['lr']:.4g}" for optimizer in self.optimizers for g in optimizer.param_groups)
        utts = list(batches.utts)
        if self.distributed:
            shares = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(shares, utts)
            utts = sorted(utt for share in shares for utt in share)
        names = shorten(listed(utts, between=" "), 200)
        return (
            f"epoch {sub.epoch}, {step} {batches.done} of {batches.done + len(batches)}"
            f" ({', '.join(text for _, text in sorted(terms, key=lambda term: term[0]))};"
            f" learning rate {', '.join(rates)}; utterances {names})"
        )

    def _diverged(self, where: str, what: str) -> SecError:
        return SecError(
            f"{self.folder}: the training has diverged in {where}: {what}; lower the learning rate (optim_conf lr),"
            f" clip gradients lower (--grad_clip, now {self.options.grad_clip:g}), train in float32 (--use_amp false,"
            " dtype float32), or look at the data of the utterances that are named"
        )
