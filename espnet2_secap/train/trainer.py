"""ESPnet's training steps in a loop that can be interrupted or killed at any time and resumed."""

import dataclasses
import datetime
import functools
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import humanfriendly
import torch
from espnet2.schedulers.abs_scheduler import AbsEpochStepScheduler, AbsValEpochStepScheduler
from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
from espnet2.train.reporter import Reporter
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass
from torch.cuda.amp import GradScaler  # the class that ESPnet's type checks require
from torch.optim.lr_scheduler import OneCycleLR

from espnet2_secap.data.io import atomic_write
from espnet2_secap.errors import SecError
from espnet2_secap.model.checkpoint import not_finite
from espnet2_secap.train.batches import Batches, epoch_of
from espnet2_secap.train.divergence import WAY_OUT, Watch, lowers_scale
from espnet2_secap.train.interrupt import interrupt
from espnet2_secap.train.nbest import average, ranked, update_links, write_untrained
from espnet2_secap.train.saver import Saver
from espnet2_secap.train.state import NAME, TrainingState, place, save_tensors

UNUSED = (
    "use_deepspeed",
    "sharded_ddp",
    "use_adapter",
    "create_graph_in_tensorboard",
    "multiple_iterator",
    "multi_task_dataset",
    "no_forward_run",
    "pretrain_path",
    "ddp_comm_hook",
)


@dataclasses.dataclass
class SECTrainerOptions(TrainerOptions):
    """ESPnet's options, and the seconds between two checkpoints within an epoch."""

    checkpoint_interval: float = 600.0


def check_options(args) -> None:
    """Refuse options of ESPnet's trainer that this one does not have.

    Raises:
        SecError: which one.
    """
    for name in UNUSED:
        if getattr(args, name, False):
            raise SecError(f"--{name} {getattr(args, name)}: is not supported here; leave it out")


class SECTrainer(Trainer):
    """ESPnet's train_one_epoch, validate_one_epoch and reporter in our own loop, which differs from ESPnet's:

    - checkpoint.pth is written after each epoch, every `checkpoint_interval` seconds within an epoch, and on TERM or
      USR1 (exit status 99); a resumed training ends with the same numbers as an uninterrupted one;
    - files are written atomically; the previous checkpoint is kept (train/state.py);
    - no code from files is run;
    - `curves.tsv` has the values of every epoch, for the report;
    - the validation of the first stage reports the retrieval rate speech -> own caption;
    - a training that diverges ends with an error (train/divergence.py);
    - gradients left over by --accum_grad at the end of an epoch are dropped.
    """

    @classmethod
    def build_options(cls, args) -> SECTrainerOptions:
        """From the task's arguments."""
        return build_dataclass(SECTrainerOptions, args)

    @classmethod
    def run(
        cls,
        model,
        optimizers,
        schedulers,
        train_iter_factory,
        valid_iter_factory,
        plot_attention_iter_factory,
        trainer_options,
        distributed_option,
    ) -> None:
        """Train until max_epoch or early stopping; arguments as for ESPnet's Trainer.run (attention is not plotted)."""
        if trains_nothing(model):
            if not distributed_option.distributed or distributed_option.dist_rank == 0:
                logging.warning("this model trains nothing: its files are written without a step")
                write_untrained(Path(trainer_options.output_dir), model, trainer_options.best_model_criterion)
            return
        interrupt.training = True
        training = _Training(cls, model, optimizers, schedulers, trainer_options, distributed_option)
        training.resume()
        training.run(train_iter_factory, valid_iter_factory)
        interrupt.training = False  # the rest is short and can be repeated
        training.finish()

    @classmethod
    def validate_one_epoch(cls, model, iterator, reporter, options, distributed_option) -> None:
        """Validate, with the retrieval rate over the whole validation set if the model has one."""
        plain = getattr(model, "module", model)
        retrieval = hasattr(plain, "start_retrieval")
        if retrieval:
            plain.start_retrieval()
        super().validate_one_epoch(model, iterator, reporter, options, distributed_option)
        rate = plain.retrieval_rate() if retrieval else None
        if rate is not None:
            reporter.register({"retrieval": rate})
            reporter.next()


def trains_nothing(model: torch.nn.Module) -> bool:
    """Whether a model is made of frozen pretrained parts alone: no parameter is trained, and none is ours."""
    return not any(p.requires_grad for p in model.parameters()) and not model.state_dict()


class _Training:
    """One training between start or resume and its end; arguments as for SECTrainer.run."""

    def __init__(self, trainer, model, optimizers, schedulers, options, distributed_option):
        self.trainer, self.model, self.options = trainer, model, options
        self.optimizers, self.schedulers = optimizers, schedulers
        self.distributed_option = distributed_option
        self.first = not distributed_option.distributed or distributed_option.dist_rank == 0
        self.folder = Path(options.output_dir)
        self.criteria = options.best_model_criterion
        counts = options.keep_nbest_models
        self.counts = [counts] if isinstance(counts, int) else list(counts) or [1]
        self.reporter = Reporter()
        self.remarked = False
        self.scaler = GradScaler() if options.use_amp else None
        self.state = TrainingState(model, optimizers, schedulers, self.scaler, self.reporter)
        self.steps: dict | None = None  # of an interrupted epoch
        self.parallel = _parallel(model, options, distributed_option)
        self.writers = _Writers(options, self.folder) if self.first else None

    def resume(self) -> None:
        """Resume from the checkpoint, if there is one."""
        if not (self.options.resume and (self.folder / NAME).exists()):
            return
        self.steps = self.state.load(self.folder)
        logging.info(f"The training was resumed from {self.folder / NAME}, {place(self.reporter, self.steps)}")
        self.check_resumed()
        if self.first and self.reporter.get_epoch():  # a kill may have prevented this before
            update_links(self.folder, self.reporter, self.criteria, max(self.counts))

    def check_resumed(self) -> None:
        """Raise a SecError if the training had diverged before: an earlier version of this package went on."""
        epoch, bad = self.reporter.get_epoch(), not_finite(self.model.state_dict())
        stats = self.reporter.stats.get(epoch, {})
        norm = 0.0 if not epoch or lowers_scale(self.scaler) else stats.get("train", {}).get("grad_norm", math.nan)
        values = {("train", "grad_norm"): norm}
        values |= {("valid", "loss"): stats.get("valid", {}).get("loss", 0.0)}
        faults = [
            f"{split} {key} of epoch {epoch} is {v:g}" for (split, key), v in values.items() if not math.isfinite(v)
        ]
        if ranked(self.reporter, "valid", "loss", "min"):
            faults = [fault for fault in faults if not fault.startswith("valid")]
        if bad or faults:
            what = "; ".join([*faults, *([f"weights are not finite: {bad}"] if bad else [])])
            raise SecError(f"{self.folder}: the training in this folder has diverged ({what}); {WAY_OUT}")

    def run(self, train_iter_factory, valid_iter_factory) -> None:
        """Train the remaining epochs."""
        last = self.options.max_epoch
        start, start_epoch = time.perf_counter(), self.reporter.get_epoch() + 1
        if start_epoch > last:
            logging.warning(f"The training has already reached at max_epoch: {last}")
        if start_epoch > 1 and self.steps is None and self.ends(start_epoch - 1):
            return
        for epoch in range(start_epoch, last + 1):
            left = (time.perf_counter() - start) / max(epoch - start_epoch, 1) * (last - epoch + 1)
            estimate = f". Estimated time to finish: {humanfriendly.format_timespan(left)}"
            logging.info(f"{epoch}/{last}epoch started{estimate if epoch > start_epoch else ''}")
            saver = self.one_epoch(epoch, train_iter_factory, valid_iter_factory)
            for scheduler in self.schedulers:
                if isinstance(scheduler, AbsValEpochStepScheduler):
                    value = self.value("val_scheduler_criterion")
                    if math.isfinite(value):
                        scheduler.step(value)
                elif isinstance(scheduler, AbsEpochStepScheduler):
                    scheduler.step()
            if self.first:
                self.save(epoch)
            if self.ends(epoch):
                return
            if epoch < last:
                saver.after_epoch()
        logging.info(f"The training was finished at {last} epochs")

    def one_epoch(self, epoch: int, train_iter_factory, valid_iter_factory) -> Saver:
        """Train and validate one epoch."""
        shared = {"options": self.options, "distributed_option": self.distributed_option}
        set_all_random_seed(self.options.seed + epoch)
        self.reporter.set_epoch(epoch)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with self.reporter.observe("train") as sub:
            saver = Saver(self.state, sub, self.folder, **shared)
            watch = Watch(
                self.folder, sub, self.optimizers, self.options, self.distributed_option.distributed, self.scaler
            )
            batches = Batches(epoch_of(train_iter_factory, epoch), both(watch.after_step, saver.after_step))
            if self.steps is not None:
                batches.go_on(self.steps, sub, self.distributed_option.dist_rank or 0)
                self.steps = None
            self.check_steps(batches, epoch)
            try:
                self.trainer.train_one_epoch(
                    model=self.parallel,
                    optimizers=self.optimizers,
                    schedulers=self.schedulers,
                    iterator=batches,
                    reporter=sub,
                    scaler=self.scaler,
                    summary_writer=self.writers and self.writers.train,
                    **shared,
                )
            except ValueError as err:  # epochs of --iterator_type task differ in length
                if not str(err).startswith("Tried to step"):
                    raise
                raise _schedule_ends(self.schedulers[0].total_steps, f"{self.options.max_epoch} needs more") from err
            watch.after_training(batches.done // self.options.accum_grad)
            saver.train_ended(batches.done)
        with self.reporter.observe("valid") as sub:
            look = functools.partial(watch.after_valid_step, sub=sub)
            batches = Batches(epoch_of(valid_iter_factory, epoch), both(look, saver.after_valid_step))
            self.trainer.validate_one_epoch(model=self.parallel, iterator=batches, reporter=sub, **shared)
        saver.valid_ended()
        earlier = [one for one in ranked(self.reporter, "valid", "loss", "min") if one != epoch]
        stats = self.reporter.stats[epoch]["valid"]
        watch.after_validation(stats, bool(earlier))
        if (said := self.model.remark(stats)) and not self.remarked:
            logging.warning(f"epoch {epoch}: {said}")
            self.remarked = True
        watch.check_weights(self.model.state_dict())
        return saver

    def check_steps(self, batches: Batches, epoch: int) -> None:
        """Raise a SecError if an epoch of so many batches is not what the options need."""
        now, later = (len(part) // self.options.accum_grad for part in (batches, batches.loader))
        if not later:
            raise SecError(
                f"--accum_grad {self.options.accum_grad}: an epoch has {len(batches.loader)} batches only, so nothing"
                " would be trained; lower it, or the batch size"
            )
        for scheduler in self.schedulers:
            if isinstance(scheduler, OneCycleLR):
                needed = scheduler.last_epoch + now + later * (self.options.max_epoch - epoch)
                if needed > scheduler.total_steps:
                    raise _schedule_ends(scheduler.total_steps, f"{self.options.max_epoch} needs {needed}")

    def value(self, option: str) -> float:
        """The last epoch's value of a criterion.

        Raises:
            SecError: there is no such value.
        """
        split, key = getattr(self.options, option)[:2]
        if not self.reporter.has(split, key):
            keys = ", ".join(f"{split}.{key}" for split, key in self.reporter.get_all_keys() if "time" not in key)
            raise SecError(f"--{option} {split} {key}: there is no such value; there are {keys}")
        return self.reporter.get_value(split, key)

    def save(self, epoch: int) -> None:
        """Write all files of an epoch."""
        logging.info(self.reporter.log_message())
        # The model file is written first: if a checkpoint says that an epoch is finished, its model file exists.
        save_tensors(self.folder / f"{epoch}epoch.pth", self.model.state_dict())
        self.state.save(self.folder)
        improved = update_links(self.folder, self.reporter, self.criteria, max(self.counts))
        message = f"The best model has been updated: {', '.join(improved)}" if improved else "There are no improvements"
        logging.info(f"{message} in this epoch")
        self.writers.write(self.reporter)
        interval = self.options.nbest_averaging_interval
        if interval and epoch % interval == 0:
            average(self.folder, self.reporter, self.criteria, self.counts, f"till{epoch}epoch.")

    def ends(self, epoch: int) -> bool:
        """Whether the training ends before max_epoch."""
        patience, criterion = self.options.patience, self.options.early_stopping_criterion
        if patience is None:
            return False
        self.value("early_stopping_criterion")
        best = ranked(self.reporter, *criterion)
        if best and epoch - best[0] > patience:
            logging.info(f"Early stopping at epoch {epoch}: {'.'.join(criterion[:2])} was best in epoch {best[0]}")
            return True
        return False

    def finish(self) -> None:
        """Write what follows the last epoch: averaged models and curves."""
        if self.first:
            average(self.folder, self.reporter, self.criteria, self.counts)
            write_curves(self.folder, self.reporter)
        if self.distributed_option.distributed:
            torch.distributed.barrier()  # nobody leaves while another still has something to send


def _schedule_ends(total: int, what: str) -> SecError:
    return SecError(
        f"scheduler_conf: onecyclelr ends after {total} steps, and --max_epoch {what}; lower --max_epoch, or set"
        f" total_steps to what it needs: where training has begun, {WAY_OUT}"
    )


def both(first: Callable, second: Callable) -> Callable:
    """A function of one argument that calls two."""

    def call(argument) -> None:
        first(argument)
        second(argument)

    return call


class _Writers:
    """ESPnet's outputs after each epoch: TensorBoard, images, Weights & Biases."""

    def __init__(self, options, folder: Path):
        self.options, self.folder = options, folder
        self.train = self.valid = None
        if options.use_tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.train, self.valid = (SummaryWriter(str(folder / "tensorboard" / name)) for name in ("train", "valid"))

    def write(self, reporter: Reporter) -> None:
        """Write them after an epoch."""
        if self.options.use_matplotlib:
            reporter.matplotlib_plot(self.folder / "images")
        if self.train is not None:
            reporter.tensorboard_add_scalar(self.train, key1="train")
            reporter.tensorboard_add_scalar(self.valid, key1="valid")
        if self.options.use_wandb:
            reporter.wandb_log()


def _parallel(model, options, distributed_option):
    if distributed_option.distributed:
        one_gpu = [torch.cuda.current_device()] if distributed_option.ngpu == 1 else None
        return torch.nn.parallel.DistributedDataParallel(
            model,
            device_ids=one_gpu,
            find_unused_parameters=options.unused_parameters,
            gradient_as_bucket_view=options.gradient_as_bucket_view,
        )
    if distributed_option.ngpu > 1:
        raise SecError(f"--ngpu {distributed_option.ngpu}: needs --multiprocessing_distributed true")
    return model


def write_curves(folder: Path, reporter: Reporter) -> None:
    """Write folder/curves.tsv with columns epoch, split, key, value."""
    with atomic_write(folder / "curves.tsv") as file:
        print("epoch", "split", "key", "value", sep="\t", file=file)
        for epoch in sorted(reporter.stats):
            for split, values in sorted(reporter.stats[epoch].items()):
                for key, value in sorted(values.items()):
                    if isinstance(value, datetime.timedelta):
                        value = value.total_seconds()
                    print(epoch, split, key, f"{float(value):.6g}", sep="\t", file=file)
