"""ESPnet's trainer with safe checkpoints, the retrieval rate, and the training curves as a table."""

import contextlib
import datetime
import logging
import os
import pickle
from pathlib import Path

import torch
from espnet2.train.trainer import Trainer

from espnet2_secap.data.io import atomic_write
from espnet2_secap.errors import SecError


class SECTrainer(Trainer):
    """What ESPnet's trainer does, and:

    - model files and checkpoint.pth are written beside and renamed: a kill leaves the last whole ones;
    - resuming runs no code from the file;
    - `curves.tsv` holds every epoch's values, for the report;
    - the first stage's validation tells the retrieval rate speech -> own caption.
    """

    @staticmethod
    def resume(checkpoint, model, reporter, optimizers, schedulers, scaler, ngpu=0, strict=True):
        """Go on from checkpoint.pth, which holds trained tensors only."""
        try:
            states = _load(checkpoint)
            model.load_state_dict(states["model"], strict=strict)
            for optimizer, state in zip(optimizers, states["optimizers"], strict=True):
                optimizer.load_state_dict(state)
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as err:
            raise SecError(
                f"{checkpoint}: cannot resume from it ({' '.join(str(err).split())[:300]}); if the configuration was"
                " changed, train under another --sec_tag, or remove the folder to start anew"
            ) from err
        reporter.load_state_dict(states["reporter"])
        for scheduler, state in zip(schedulers, states["schedulers"], strict=True):
            if scheduler is not None:
                scheduler.load_state_dict(state)
        if scaler is not None and states["scaler"] is not None:
            scaler.load_state_dict(states["scaler"])
        logging.info(f"The training was resumed using {checkpoint}")

    @classmethod
    def run(cls, model, optimizers, schedulers, trainer_options, distributed_option, **kwargs) -> None:
        """Train; see ESPnet's Trainer.run."""
        with _atomic_torch_save():
            super().run(
                model=model,
                optimizers=optimizers,
                schedulers=schedulers,
                trainer_options=trainer_options,
                distributed_option=distributed_option,
                **kwargs,
            )
        if not distributed_option.distributed or distributed_option.dist_rank == 0:
            write_curves(Path(trainer_options.output_dir))

    @classmethod
    def validate_one_epoch(cls, model, iterator, reporter, options, distributed_option) -> None:
        """Validate; with the retrieval rate over the whole validation set where the model has one."""
        plain = getattr(model, "module", model)
        retrieval = hasattr(plain, "start_retrieval") and not distributed_option.distributed
        if retrieval:
            plain.start_retrieval()
        super().validate_one_epoch(model, iterator, reporter, options, distributed_option)
        rate = plain.retrieval_rate() if retrieval else None
        if rate is not None:
            reporter.register({"retrieval": rate})
            reporter.next()


def write_curves(exp_dir: Path) -> None:
    """exp_dir/checkpoint.pth -> exp_dir/curves.tsv with rows epoch, split, key, value."""
    stats = _load(exp_dir / "checkpoint.pth")["reporter"]["stats"]
    with atomic_write(exp_dir / "curves.tsv") as file:
        print("epoch", "split", "key", "value", sep="\t", file=file)
        for epoch in sorted(stats):
            for split, values in sorted(stats[epoch].items()):
                for key, value in sorted(values.items()):
                    if isinstance(value, datetime.timedelta):
                        value = value.total_seconds()
                    print(epoch, split, key, f"{float(value):.6g}", sep="\t", file=file)


def _load(checkpoint):
    with torch.serialization.safe_globals([datetime.timedelta, *_NUMPY]):
        return torch.load(checkpoint, map_location="cpu", weights_only=True)


def _numpy_globals() -> list:
    """What numpy scalars in the reporter's statistics need to be read; they hold numbers only."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    return [scalar, np.dtype, *{type(np.dtype(name)) for name in ("float64", "float32", "int64", "bool")}]


_NUMPY = _numpy_globals()


@contextlib.contextmanager
def _atomic_torch_save():
    """Within it, torch.save to a path writes beside and renames; ESPnet's trainer writes in place."""
    plain = torch.save

    def save(obj, f, *args, **kwargs):
        if not isinstance(f, (str, os.PathLike)):
            return plain(obj, f, *args, **kwargs)
        with atomic_write(f, mode="wb") as file:
            return plain(obj, file, *args, **kwargs)

    torch.save = save
    try:
        yield
    finally:
        torch.save = plain
