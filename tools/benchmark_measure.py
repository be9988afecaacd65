"""What the benchmarks measure with: a clock, and what the machine can do at most in the number format that is used."""

import functools
import itertools
import resource
import time
from collections.abc import Callable

import torch


class Clock:
    """Seconds that a device needed, waiting for it to finish."""

    def __init__(self, device: str):
        self.cuda = device.startswith("cuda")

    def __enter__(self):
        self._wait()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *exc):
        self._wait()
        self.seconds = time.perf_counter() - self.start

    def _wait(self):
        if self.cuda:
            torch.cuda.synchronize()


class Bounds:
    """Products and copies per second of a device, each measured once, in the number format that is asked for."""

    def __init__(self, device: str):
        self.device = device
        self.cuda = device.startswith("cuda")

    @functools.cache  # noqa: B019 - one object a process
    def products(self, dtype: torch.dtype) -> float:
        """Floating-point operations per second of a large matrix product; the best of three rounds."""
        n, times = (8192, 20) if self.cuda else (2048, 2)
        a, b = (torch.randn(n, n, device=self.device).to(dtype) for _ in range(2))
        return 2 * n**3 * times / self._best(lambda: a @ b, times)

    @functools.cache  # noqa: B019
    def copies(self, dtype: torch.dtype) -> float:
        """Bytes per second that a copy of a large tensor reads and writes; the best of three rounds."""
        size, times = (2**31, 20) if self.cuda else (2**27, 3)  # bytes
        a = torch.ones(size // dtype.itemsize, dtype=dtype, device=self.device)
        b = torch.empty_like(a)
        return 2 * a.nbytes * times / self._best(lambda: b.copy_(a), times)

    def _best(self, run, times: int) -> float:
        run()
        seconds = []
        for _ in range(3):
            with Clock(self.device) as clock:
                for _ in range(times):
                    run()
            seconds.append(clock.seconds)
        return min(seconds)


def peak_memory(device: str) -> int:
    """Bytes: on a GPU the most since `reset_peak`, else the most that this process ever held."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak(device: str) -> None:
    """Free what is unused, and begin to measure the peak anew."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def memory_of(run: Callable[[], object], device: str) -> int:
    """Bytes that are live at most while something runs, beyond those before it.

    On a CPU by the profiler, exactly: what a process holds beside depends on how its memory is cut into pieces.
    """
    if device.startswith("cuda"):
        reset_peak(device)
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [one for one in profiler.profiler.kineto_results.events() if one.name() == "[memory]"]
    live = itertools.accumulate(one.nbytes() for one in sorted(events, key=lambda one: one.start_ns()))
    return max(live, default=0)


class TrainingSteps:
    """Training steps of a model: forward, backward, AdamW; AMP in bfloat16 on a GPU.

    Args:
        model: in training mode, on `device`.
        device: cpu, cuda or cuda:N.
        frozen_dtype: of the frozen decoder's weights; of the whole model's on a GPU under AMP.
    """

    def __init__(self, model: torch.nn.Module, device: str, frozen_dtype: torch.dtype = torch.float32):
        self.model, self.device = model, device
        self.cuda = device.startswith("cuda")
        self.frozen_dtype = torch.bfloat16 if self.cuda else frozen_dtype
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-5)

    def __call__(self, batch: dict) -> None:
        """One step."""
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.cuda):
            loss, *_ = self.model(**batch)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()

    def memory(self, batch: dict) -> int:
        """Bytes of forward and backward pass at most, beyond weights and optimizer: activations and gradients."""
        self.optimizer.zero_grad()

        def run():
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.cuda):
                self.model(**batch)[0].backward()

        return memory_of(run, self.device)

    def counted(self, batch: dict) -> tuple[int, int]:
        """One step; the operations of its matrix products, inside the frozen decoder and outside."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self(batch)
        counts = counter.get_flop_counts()
        total = sum(counts["Global"].values())
        inside = sum(counts.get(f"{type(self.model).__name__}.decoder", {}).values())
        return inside, total - inside

    def product_seconds(self, counts: tuple[int, int], bounds: Bounds) -> float:
        """The least seconds that these operations take."""
        inside, outside = counts
        other = torch.bfloat16 if self.cuda else torch.float32
        return (inside / bounds.products(self.frozen_dtype) if inside else 0) + outside / bounds.products(other)

    def memory_seconds(self, bounds: Bounds) -> float:
        """The least seconds for reading the weights twice, and for gradients and AdamW's two moments."""
        frozen = sum(p.nbytes for p in self.model.parameters() if not p.requires_grad)
        trained = sum(p.nbytes for p in self.trained)
        # gradient: written, read for its norm, read; weight and both moments: read and written
        return (2 * (frozen + trained) + (3 + 6) * trained) / bounds.copies(self.frozen_dtype)


def decoding_bounds(lm, prefix: int, utterances: int, rows: int, steps: int, bounds: Bounds) -> tuple[float, float]:
    """The least seconds of a decoding by matrix products and by reading weights and keys and values.

    Args:
        lm: transformers' model.
        prefix: positions before the caption.
        utterances: decoded together.
        rows: captions that grow at once (utterances x candidates x beams).
        steps: tokens of each.
        bounds: of the device.

    The prefix counts once per utterance; attention's own products are left out.
    """
    config = lm.config
    weights = lm.get_output_embeddings().weight.numel() + sum(p.numel() for p in lm.get_decoder().layers.parameters())
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    position = 2 * config.num_hidden_layers * heads * head_dim * lm.dtype.itemsize  # bytes of keys and values
    operations = 2 * weights * (utterances * prefix + rows * steps)
    cached = position * (steps * utterances * prefix + rows * steps * (steps - 1) / 2)
    read = (steps + 1) * weights * lm.dtype.itemsize + cached
    return operations / bounds.products(lm.dtype), read / bounds.copies(lm.dtype)
