"""The parts of gpu_check.sh, each run in a process of its own by gpu_check.py."""

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from benchmark_measure import Bounds, Clock, TrainingSteps, decoding_bounds, peak_memory, reset_peak
from benchmark_parts import (
    SIZES,
    build_model,
    end_id,
    generate,
    generate_one_by_one,
    language_model,
    make_batch,
    make_small_parts,
    prefix_embeddings,
)

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "egs2" / "emospeech" / "sec1" / "conf" / "decode_secap.yaml"
NOT_DECODER = ("keep", "similarity_model", "batch_size")  # keys of it that are sec_inference's own
RANGES = {  # what is measured: utterances of a step, steps, tokens of a caption, seconds of audio in a batch
    "full": {"batch": 64, "few": 16, "steps": 10, "tokens": 50, "audio": 240},
    "tiny": {"batch": 4, "few": 2, "steps": 2, "tokens": 6, "audio": 10},
}


def run(args, emit: Callable) -> None:
    """Run the part that `args.part` names; `emit` takes each result as keywords."""
    cuda = args.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        sys.exit(f"gpu_check: --device {args.device}: no CUDA device here; --device cpu --size tiny tries the program")
    if cuda:
        torch.cuda.set_device(args.device if ":" in args.device else "cuda:0")
    name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    emit(
        machine={"device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "system": platform.platform()}
    )
    part = {"parity": parity, "mini": mini}.get(args.part, speed)
    part(args, Emit(emit, args.device))


class Emit:
    """Hands results on; what fails is a result too.

    Args:
        emit: takes a result as keywords.
        device: cpu, cuda or cuda:N.
    """

    def __init__(self, emit: Callable, device: str):
        self.emit, self.device = emit, device

    def __call__(self, what: str, measure: Callable[[], dict]) -> dict | None:
        """Measure, and hand on what came of it; None where it failed."""
        reset_peak(self.device)
        try:
            row = measure()
        except Exception as err:  # the other measurements go on
            said = (str(err).strip().splitlines() or [""])[0]
            self.emit(what=what, error=f"{type(err).__name__}: {said[:300]}")
            return None
        self.emit(what=what, **row)
        return row

    def goal(self, name: str, value: float) -> None:
        """Hand on the value of a goal."""
        self.emit(what=name, goal=name, value=value, said=f"{value:.4g}")


# ---- CPU and GPU


def parity(args, emit: Emit) -> None:
    """The same losses, gradients, features and greedy captions on CPU and GPU, in float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    folder = Path(args.work) / "tiny"
    make_small_parts(folder, "tiny", "cpu")
    batch = make_batch("tiny", [1.0, 2.5, 4.0, 3.2], "cpu")
    losses = [emit(f"{model} on CPU and GPU", lambda model=model: _losses(args, folder, model, batch))
              for model in ("align", "caption")]  # fmt: skip
    if None not in losses:
        emit.goal("losses, largest difference of CPU and GPU", max(row["difference"] for row in losses))
    captions = emit("greedy captions on CPU and GPU", lambda: _captions(args, folder, batch))
    if captions:
        emit.goal("greedy captions that differ on CPU and GPU", captions["different"])
    emit("features on CPU and GPU", lambda: _features_parity(args, folder))


def _losses(args, folder: Path, name: str, batch: dict) -> dict:
    torch.manual_seed(0)
    model = build_model(folder, "tiny", name, "cpu").eval()  # no dropout
    found = []
    for device in ("cpu", args.device):
        model.to(device).zero_grad()
        loss, *_ = model(**{key: value.to(device) for key, value in batch.items()})
        loss.sum().backward()
        norms = [p.grad.double().norm().cpu() for p in model.parameters() if p.grad is not None]
        found.append((loss.sum().item(), torch.stack(norms).norm().item()))
    (cpu, cpu_norm), (other, other_norm) = found
    difference = abs(cpu - other)
    said = f"loss {cpu:.6f} and {other:.6f}, gradient's norm {cpu_norm:.6f} and {other_norm:.6f}"
    return {"difference": difference, "said": said}


def _captions(args, folder: Path, batch: dict) -> dict:
    torch.manual_seed(0)
    model = build_model(folder, "tiny", "caption", "cpu").eval()
    found = []
    for device in ("cpu", args.device):
        model.to(device)
        moved = {key: value.to(device) for key, value in batch.items()}
        found.append(generate(model, moved, beam_size=1, min_length=3, max_length=20))
    different = sum(a != b for a, b in zip(*found, strict=True))
    return {"different": different, "said": f"{different} of {len(found[0])} differ"}


def _features_parity(args, folder: Path) -> dict:
    from espnet2_secap.encoder.s3prl import S3PRLEncoder

    encoder = S3PRLEncoder("hf_hubert_custom", path=str(folder / "hubert"))
    wavs = torch.randn(3, 48000, generator=torch.Generator().manual_seed(0)) * 0.1
    lengths = torch.tensor([48000, 31111, 16000])
    found = [encoder.to(device)(wavs.to(device), lengths.to(device))[0].cpu() for device in ("cpu", args.device)]
    difference = (found[0] - found[1]).abs().max().item()
    return {"difference": difference, "said": f"largest difference {difference:.1e}"}


# ---- speed


def speed(args, emit: Emit) -> None:
    """Training steps, decoding and feature extraction at one size."""
    size, ranges = args.part, RANGES[args.size]
    folder = Path(args.work) / size
    device = args.device
    bounds = Bounds(device)
    dtype = torch.bfloat16 if device.startswith("cuda") else getattr(torch, SIZES[size]["dtype"])

    def made() -> dict:
        with Clock(device) as clock:
            make_small_parts(folder, size, device)
        return {"said": f"made in {clock.seconds:.0f} s"}

    if emit("random weights", made) is None:
        return
    for kind in {dtype, torch.float32}:
        name = _dtype_name(kind)
        emit(f"matrix product, {name}", lambda kind=kind: {"said": f"{bounds.products(kind) / 1e12:.1f} TFLOP/s"})
        emit(f"copy, {name}", lambda kind=kind: {"said": f"{bounds.copies(kind) / 1e9:.0f} GB/s read and written"})
    row = emit("stage 3: HuBERT, features", lambda: _features(args, folder, ranges, bounds))
    if row:
        emit("stage 3: features", lambda: {"said": f"{row['hours_per_minute']:.3g} hours of speech a minute"})
    emit(f"stage 5: training step, batch {ranges['batch']}", lambda: _training(args, folder, "align", bounds)[1])
    kept = []

    def caption() -> dict:
        model, row = _training(args, folder, "caption", bounds)
        kept.append(model)
        return row

    row = emit(f"stage 6: training step, batch {ranges['batch']}", caption)
    if row and size != "small":
        emit.goal("stage 6 step, share of the matrix-product bound", row["products"] / row["seconds"])
    model = (kept.pop() if kept else build_model(folder, size, "caption", device, _dtype_name(dtype))).eval()
    if device.startswith("cuda"):  # as in decoding: all weights in 16 bits
        language_model(model).to(dtype)
    _decoding(args, emit, model, bounds)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _seconds(count: int) -> list[float]:
    """Lengths of utterances from 2 to 8 s, always the same."""
    noise = torch.Generator().manual_seed(0)
    return (2 + 6 * torch.rand(count, generator=noise)).tolist()


def _training(args, folder: Path, name: str, bounds: Bounds) -> tuple[torch.nn.Module, dict]:
    size, ranges = args.part, RANGES[args.size]
    torch.manual_seed(0)
    dtype = "bfloat16" if args.device.startswith("cuda") else None
    model = build_model(folder, size, name, args.device, dtype).train()
    batch = make_batch(size, _seconds(ranges["batch"]), args.device)
    step = TrainingSteps(model, args.device, language_model(model).dtype if name == "caption" else torch.float32)
    counts = step.counted(batch)
    step(batch)
    reset_peak(args.device)
    with Clock(args.device) as clock:
        for _ in range(ranges["steps"]):
            step(batch)
    memory, steps = peak_memory(args.device), ranges["steps"]
    step.optimizer.zero_grad()
    return model, {
        "seconds": clock.seconds,
        "steps": steps,
        "tokens": steps * int(batch["caption_lengths"].sum()),
        "utterances": steps * ranges["batch"],
        "memory": memory,
        "products": steps * step.product_seconds(counts, bounds),
        "bandwidth": steps * step.memory_seconds(bounds),
    }


def _decoding(args, emit: Emit, model, bounds: Bounds) -> None:
    size, ranges = args.part, RANGES[args.size]
    tokens = ranges["tokens"]
    options = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    options = {key: value for key, value in options.items() if key not in NOT_DECODER}
    ways = {
        "greedy": (ranges["batch"], {}),
        "5 beams": (ranges["few"], {"beam_size": 5}),
        "as published": (ranges["few"], options),
    }
    found = {}
    for name, (count, chosen) in ways.items():
        chosen = chosen | {"min_length": tokens, "max_length": tokens}  # random weights end captions at random
        found[name] = emit(
            f"stage 7: decoding, {name}, batch {count}",
            lambda count=count, chosen=chosen: _generate(args, model, count, chosen, bounds),
        )
    if found["greedy"] and size != "small":
        share = found["greedy"]["bandwidth"] / found["greedy"]["seconds"]
        emit.goal("greedy decoding, batch 64, share of the memory-bandwidth bound", share)
    if size == "small":
        return
    way = emit("stage 7: the published way, one by one", lambda: _published(args, model, options, tokens))
    ours = found["as published"]
    if way and ours:
        times = ours["utterances"] / ours["seconds"] / (way["utterances"] / way["seconds"])
        emit.goal("decoding as published, times as fast as the published way", times)


def _generate(args, model, count: int, options: dict, bounds: Bounds) -> dict:
    batch = make_batch(args.part, _seconds(count), args.device)
    with torch.no_grad():
        torch.manual_seed(0)
        generate(model, batch, **options)  # warm up
        reset_peak(args.device)
        with Clock(args.device) as clock:
            generate(model, batch, **options)
    memory, steps = peak_memory(args.device), options["max_length"]
    candidates = options.get("num_candidates", 1)
    with torch.no_grad():
        prefix = prefix_embeddings(model, batch)[0].size(1)
    rows = count * candidates * options.get("beam_size", 1)
    products, bandwidth = decoding_bounds(language_model(model), prefix, count, rows, steps, bounds)
    row = {"seconds": clock.seconds, "steps": steps, "tokens": count * candidates * steps, "utterances": count}
    return row | {"memory": memory, "products": products, "bandwidth": bandwidth}


def _published(args, model, options: dict, tokens: int) -> dict:
    """Generations one by one for single utterances, without the similarity model, as ours is measured."""
    own = {key: value for key, value in options.items() if key in ("top_k", "top_p", "repetition_penalty")}
    own |= {"no_repeat_ngram_size": options["no_repeat_ngram_size"], "min_new_tokens": tokens, "max_new_tokens": tokens}
    own |= {"beam_size": options["beam_size"], "eos": end_id(model)}
    batches = [make_batch(args.part, [seconds], args.device) for seconds in _seconds(2)]
    with torch.no_grad():
        torch.manual_seed(0)
        generate_one_by_one(model, batches[0], 1, **own | {"min_new_tokens": 2, "max_new_tokens": 2})
        with Clock(args.device) as clock:
            for batch in batches:
                generate_one_by_one(model, batch, options["num_candidates"], **own)
    steps = len(batches) * options["num_candidates"] * tokens
    return {"seconds": clock.seconds, "steps": steps, "tokens": steps, "utterances": len(batches)}


def _features(args, folder: Path, ranges: dict, bounds: Bounds) -> dict:
    from torch.utils.flop_counter import FlopCounterMode

    from espnet2_secap.encoder.s3prl import S3PRLEncoder

    encoder = S3PRLEncoder("hf_hubert_custom", path=str(folder / "hubert")).to(args.device).eval()
    seconds = [ranges["audio"] / 10 * (1 - at / 40) for at in range(10)]
    lengths = torch.tensor([int(16000 * s) for s in seconds], device=args.device)
    wavs = torch.randn(10, int(lengths.max()), device=args.device) * 0.1
    encoder(wavs[:1, :16000], torch.tensor([16000], device=args.device))
    with FlopCounterMode(display=False) as counter:  # warms up as well
        encoder(wavs, lengths)
    reset_peak(args.device)
    with Clock(args.device) as clock:
        for _ in range(ranges["steps"]):
            encoder(wavs, lengths)
    hours = ranges["steps"] * lengths.sum().item() / 16000 / 3600 / (clock.seconds / 60)
    row = {"seconds": clock.seconds, "steps": ranges["steps"], "utterances": ranges["steps"] * len(lengths)}
    row |= {"memory": peak_memory(args.device), "hours_per_minute": hours}
    if not args.device.startswith("cuda"):  # there cuDNN's convolutions run in TF32: no bound in float32
        row["products"] = ranges["steps"] * counter.get_total_flops() / bounds.products(torch.float32)
    return row


# ---- mini_emospeech


def mini(args, emit: Emit) -> None:
    """Stages 1 to 4 of mini_emospeech on the CPU with a small corpus, then stages 5 to 7 on the device."""
    try:
        import espeakng_loader  # noqa: F401
    except ImportError:
        emit(
            "mini_emospeech",
            lambda: {"said": "skipped: the package espeakng-loader, which makes the corpus, is missing"},
        )
        return
    from espnet2_secap.devices import cpu_cores

    recipe = _recipe(Path(args.work) / "mini", args.size)
    threads = str(min(cpu_cores(), 8))
    sizes = {"full": (240, 48, 24), "tiny": (36, 12, 12)}[args.size]
    corpus = " ".join(f"--n_{name} {n}" for name, n in zip(("train", "valid", "test"), sizes, strict=True))
    common = ["--nj", "2", "--train_threads", threads, "--upstream", "fbank", "--upstream_path", ""]
    common += ["--feats_tag", "fbank", "--shuffled_audio", "false", "--local_data_opts", f"{corpus} --nj {threads}"]
    if args.device.startswith("cuda"):
        common += ["--ngpu", "1", "--gpu_inference", "true"]
        common += ["--align_args", "--use_amp true", "--caption_args", "--use_amp true"]
    # filterbanks are made on the CPU: S3PRL's start on a GPU costs more than they do
    if (
        emit("mini_emospeech, stages 1 to 4", lambda: _stages(recipe, 1, 4, [*common, "--gpu_inference", "false"]))
        is None
    ):
        return
    for stage, folder in ((5, "exp/sec_align_fbank"), (6, "exp/sec_caption_fbank")):
        done = emit(
            f"mini_emospeech, stage {stage}",
            lambda stage=stage, folder=folder: _stages(recipe, stage, stage, common) | _curve(recipe / folder),
        )
        if done is None:
            return
    emit("mini_emospeech, stage 7", lambda: _stages(recipe, 7, 7, common) | _first_caption(recipe))


def _recipe(folder: Path, size: str) -> Path:
    """A copy of the recipe in a repository of links, whose tools/venv is the Python that runs here."""
    recipe = folder / "egs2" / "mini_emospeech" / "sec1"
    shutil.rmtree(folder, ignore_errors=True)
    made = shutil.ignore_patterns("data", "dump", "exp", "pretrained", ".lock")
    shutil.copytree(ROOT / "egs2" / "mini_emospeech" / "sec1", recipe, ignore=made)
    for name in ("espnet2_secap", "utils"):
        (folder / name).symlink_to(ROOT / name)
    programs = folder / "tools" / "venv" / "bin"
    programs.mkdir(parents=True)
    commands = {
        path.stem: f"-m espnet2_secap.bin.{path.stem}" for path in (ROOT / "espnet2_secap/bin").glob("sec_*.py")
    }
    for name, options in ({"python3": "", "python": ""} | commands).items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        (programs / name).chmod(0o755)
    changes = {
        "align": {"max_epoch": 3},
        "caption": {"max_epoch": 4},
        "decode": {"num_candidates": 4, "batch_size": 12},
        "pretrain": {"hubert": {"hidden_size": 32, "num_hidden_layers": 2, "steps": 2}, "llm": {"steps": 150}},
    }
    if size == "tiny":
        small = dict(num_queries=2, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, encoder_width=32)
        changes["align"] |= {"bridge_conf": small, "text_encoder_conf": {"embedding_size": 32}}
        changes["align"]["sampler_conf"] = {"num_categories": 2, "per_category": 4}
        changes["caption"]["bridge_conf"] = small
        changes["pretrain"]["llm"] = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "steps": 2}
    for name, change in changes.items():
        path = recipe / "conf" / f"{name}.yaml"
        conf = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in change.items():
            conf[key] = {**conf[key], **value} if isinstance(value, dict) and key in conf else value
        path.write_text(yaml.safe_dump(conf), encoding="utf-8")
    return recipe


def _stages(recipe: Path, first: int, last: int, options: list[str]) -> dict:
    """Run stages of the recipe; the seconds that they took."""
    start = time.perf_counter()
    command = ["./run.sh", "--stage", str(first), "--stop-stage", str(last), *options]
    done = subprocess.run(command, cwd=recipe, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return {"took": time.perf_counter() - start, "said": f"{time.perf_counter() - start:.0f} s"}


def _curve(folder: Path) -> dict:
    """The losses of the first and the last epoch."""
    rows = [line.split("\t") for line in (folder / "curves.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    losses = [float(value) for _, split, key, value in rows if (split, key) == ("valid", "loss")]
    if losses[-1] > losses[0]:
        raise RuntimeError(f"the validation loss rose from {losses[0]:.3f} to {losses[-1]:.3f}")
    return {"losses": losses, "said": f"validation loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} epochs"}


def _first_caption(recipe: Path) -> dict:
    """How many captions there are, and one of them."""
    lines = next(recipe.glob("exp/sec_caption_*/decode/*/captions")).read_text(encoding="utf-8").splitlines()
    return {"said": f"{len(lines)} utterances captioned; {lines[0]}"}
