#!/usr/bin/env python3
"""Speed and memory of the stages on random weights, and decoding as SECap published it against ours.

Each part runs in a process of its own, in rounds (all parts once, then all again), so that a busy machine hits all of
them alike. The published way is written anew here, slow as it is: one utterance after the other, eight generations one
by one, the similarity model loaded for every utterance, its sentences embedded one at a time for each pair.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from benchmark_parts import SIZES, build_model, end_id, generate_one_by_one, language_model, make_batch  # noqa: E402

from espnet2_secap.devices import cpu_cores  # noqa: E402

DECODING = dict(
    sampling=True,
    num_candidates=8,
    beam_size=5,
    top_k=10,
    top_p=0.95,
    repetition_penalty=10.0,
    no_repeat_ngram_size=2,
    min_length=3,
    max_length=50,
)
KEEP = 5
PARTS = ["features", "acoustic", "align", "caption", "distill", "prefer", "published", "ours"]
TITLES = {
    "features": "stage 3, features",
    "acoustic": "stage 3, acoustic, one core",
    "align": "stage 5, a training step",
    "caption": "stage 6, a training step",
    "distill": "KD-Regularization, a step",
    "prefer": "preference optimisation, a step",
    "published": "stage 7, decoding as published",
    "ours": "stage 7, decoding",
}


def get_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="Example: tools/venv/bin/python tools/benchmark.py --work /tmp/benchmark --output benchmark.json",
    )
    parser.add_argument("--work", default="benchmark", help="folder for the random parts; kept (default: benchmark)")
    parser.add_argument(
        "--size",
        choices=SIZES,
        default="small",
        help="small: HuBERT-base, a LLaMA of 60 M parameters and 32,000 tokens, BERT-base; paper: HuBERT-large, a"
        " LLaMA of 7 B in bfloat16 (needs a GPU of 24 GB, and 14 GB of disk); tiny: to try this program",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--utterances", type=int, default=16, help="of 2 to 8 s, the same for all parts (default: 16)")
    parser.add_argument("--batch_size", type=int, default=16, help="utterances at once, but for `published`")
    parser.add_argument("--rounds", type=int, default=1, help="how often all parts are run (default: 1)")
    parser.add_argument("--threads", type=int, default=cpu_cores(), help="CPU threads (default: all)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {PARTS}")
    parser.add_argument("--output", help="JSON file to write too")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # run this one here, print its JSON
    return parser


def audio(count: int) -> list:
    """Noise of 2 to 8 s at 16 kHz, always the same."""
    import numpy as np

    random = np.random.default_rng(0)
    seconds = random.uniform(2, 8, count)
    return [random.standard_normal(int(16000 * s)).astype(np.float32) * 0.1 for s in seconds]


def chunks(items: list, size: int) -> list[list]:
    """Neighbours together, at most `size` of them."""
    return [items[at : at + size] for at in range(0, len(items), size)]


def padded(batch: list):
    """Arrays of different lengths -> tensor (B, longest, ...), lengths (B,)."""
    import torch

    lengths = torch.tensor([len(one) for one in batch])
    return torch.nn.utils.rnn.pad_sequence([torch.as_tensor(one) for one in batch], batch_first=True), lengths


def features(args, work: Path, speech: list) -> dict:
    """The speech encoder on batches of audio."""
    import torch
    from benchmark_measure import Clock

    from espnet2_secap.encoder.s3prl import S3PRLEncoder

    encoder = S3PRLEncoder("hf_hubert_custom", path=str(work / "hubert")).to(args.device).eval()

    def run(batch):
        with torch.no_grad():
            encoder(*(part.to(args.device) for part in padded(batch)))

    run(speech[:1])
    with Clock(args.device) as clock:
        for batch in chunks(sorted(speech, key=len), args.batch_size):
            run(batch)
    return {"seconds": clock.seconds}


def acoustic(args, work: Path, speech: list) -> dict:
    """The acoustic descriptors, in CPU seconds of one thread; the noise gets a voice of 100 to 300 Hz."""
    import numpy as np
    import torch

    from espnet2_secap.encoder.acoustic import AcousticEncoder

    torch.set_num_threads(1)
    encoder, voiced = AcousticEncoder(), []
    for wave, hertz in zip(speech, np.linspace(100, 300, len(speech)), strict=True):
        sawtooth = 2 * (np.arange(len(wave)) * hertz / 16000 % 1) - 1
        voiced.append(wave + 0.3 * sawtooth.astype(np.float32))
    encoder(*padded(voiced[:1]))
    start = time.process_time()
    for batch in chunks(sorted(voiced, key=len), args.batch_size):
        encoder(*padded(batch))
    return {"seconds": time.process_time() - start}


def training(args, work: Path, speech: list) -> dict:
    """Steps of a training stage from stored features."""
    import torch
    from benchmark_measure import Bounds, Clock, TrainingSteps, peak_memory

    torch.manual_seed(0)
    model = build_model(work, args.size, args.part, args.device).train()
    dtype = torch.float32 if args.part == "align" else language_model(model).dtype
    step = TrainingSteps(model, args.device, dtype)
    batches = [
        make_batch(args.size, [len(one) / 16000 for one in batch], args.device)
        for batch in chunks(sorted(speech, key=len), args.batch_size)
    ]
    counts = step.counted(batches[-1])  # the first step warms up as well
    with Clock(args.device) as clock:
        for batch in batches:
            step(batch)
    memory = peak_memory(args.device)  # before the profiler and the bounds take some
    step_memory = step.memory(batches[-1])
    share = len(speech) / len(batches[-1]["speech"])
    bound = share * step.product_seconds(counts, Bounds(args.device))
    captions = 2 if args.part == "prefer" else 1
    row = {"seconds": clock.seconds, "tokens": 20 * captions * len(speech), "memory": memory}
    row["step_memory"] = step_memory
    return row | {"bound": bound, "bound_by": "matrix products"}


def published(args, work: Path, speech: list) -> dict:
    """Decoding as the released code does it, one utterance after the other."""
    import torch
    from benchmark_measure import Clock
    from transformers import AutoModel, AutoTokenizer

    from espnet2_secap.inference.speech2caption import Speech2Caption

    model = Speech2Caption(str(work / "exp" / "valid.loss.best.pth"), device=args.device)
    options = {key: value for key, value in DECODING.items() if key not in ("num_candidates", "beam_size", "sampling")}
    options["min_new_tokens"], options["max_new_tokens"] = options.pop("min_length"), options.pop("max_length")
    options |= {"candidates": DECODING["num_candidates"], "beam_size": DECODING["beam_size"]}
    instruction = model.instruction
    prompt = {
        "instruction": instruction,
        "instruction_lengths": torch.tensor([instruction.size(1)], device=args.device),
    }
    tokens = 0

    def sentence_vector(bert, tokenizer, text):
        inputs = tokenizer([text], padding=True, truncation=True, return_tensors="pt").to(args.device)
        hidden, mask = bert(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        return ((hidden * mask).sum(1) / mask.sum(1)).cpu()

    torch.manual_seed(0)
    with torch.no_grad(), Clock(args.device) as clock:
        for one in speech:
            wav, length = (part.to(args.device) for part in padded([one]))
            batch = {"speech": wav, "speech_lengths": length} | prompt
            found = generate_one_by_one(model.model, batch, eos=end_id(model.model), **options)
            texts = [model.tokenizer.decode(ids) for ids in found]
            tokens += sum(len(model.tokenizer.encode(text)) for text in texts)
            tokenizer = AutoTokenizer.from_pretrained(work / "similarity")
            bert = AutoModel.from_pretrained(work / "similarity").to(args.device).eval()
            similar = [
                [
                    torch.cosine_similarity(sentence_vector(bert, tokenizer, a), sentence_vector(bert, tokenizer, b))
                    for b in texts
                ]
                for a in texts
            ]
            order = torch.tensor(similar).mean(1).argsort()
            assert len([texts[i] for i in order[-KEEP:]]) == KEEP
    return {"seconds": clock.seconds, "tokens": tokens}


def ours(args, work: Path, speech: list) -> dict:
    """Decoding as sec_inference does it; the similarity model is loaded once, within the time that is measured."""
    import torch
    from benchmark_measure import Bounds, Clock, decoding_bounds, peak_memory

    from espnet2_secap.inference.search import ranked
    from espnet2_secap.inference.speech2caption import Speech2Caption
    from espnet2_secap.text.sentence import SentenceEncoder

    model = Speech2Caption(str(work / "exp" / "valid.loss.best.pth"), device=args.device, **DECODING)
    tokens = 0
    torch.manual_seed(0)
    with Clock(args.device) as clock:
        sentences = SentenceEncoder(str(work / "similarity"), args.device)
        for batch in chunks(sorted(speech, key=len), args.batch_size):
            found = model.caption_inputs(batch)
            kept = list(ranked(found, KEEP, sentences))
            assert all(row["kept"] == KEEP for row in kept)
            tokens += sum(len(model.tokenizer.encode(text)) for candidates in found for text, _ in candidates)
    row = {"seconds": clock.seconds, "tokens": tokens, "memory": peak_memory(args.device)}
    lm, utterances = language_model(model.model), min(args.batch_size, len(speech))
    prefix = 1 + SIZES[args.size]["bridge"]["num_queries"] + model.instruction.size(1)
    rows = utterances * DECODING["num_candidates"] * DECODING["beam_size"]
    # random weights never end a caption; a smaller last batch counts for what it is of a full one
    shape = {"prefix": prefix, "utterances": utterances, "rows": rows, "steps": DECODING["max_length"]}
    by_products, by_memory = decoding_bounds(lm, **shape, bounds=Bounds(args.device))
    bounds = {"matrix products": by_products, "memory": by_memory}
    bound_by = max(bounds, key=bounds.get)
    return row | {"bound": bounds[bound_by] * len(speech) / utterances, "bound_by": bound_by}


def measure(args) -> dict:
    """One part in this process, with its peak memory in bytes."""
    import torch
    from benchmark_measure import peak_memory

    torch.set_num_threads(args.threads)
    speech = audio(args.utterances)
    run = {
        "features": features,
        "acoustic": acoustic,
        "align": training,
        "caption": training,
        "distill": training,
        "prefer": training,
        "published": published,
        "ours": ours,
    }
    row = run[args.part](args, Path(args.work) / args.size, speech)
    row["audio_seconds"] = sum(map(len, speech)) / 16000
    row.setdefault("memory", peak_memory(args.device))
    return row | ({"device": torch.cuda.get_device_name()} if args.device.startswith("cuda") else {})


def table(rows: dict[str, list[dict]], utterances: int) -> str:
    """Medians over the rounds, a line per part."""
    lines = [f"{'':32}{'s':>8}{'utt/s':>9}{'RTF':>8}{'tokens/s':>10}{'peak GB':>9}{'step GB':>9}  {'of its bound':>12}"]
    for part, runs in rows.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        one = runs[0]
        tokens = f"{one['tokens'] / seconds:.0f}" if "tokens" in one else "-"
        bound = f"{statistics.median(run['bound'] / run['seconds'] for run in runs):.0%}" if "bound" in one else "-"
        step = f"{max(run['step_memory'] for run in runs) / 1e9:.2f}" if "step_memory" in one else "-"
        lines.append(
            f"{TITLES[part]:32}{seconds:8.1f}{utterances / seconds:9.2f}{seconds / one['audio_seconds']:8.3f}"
            f"{tokens:>10}{max(run['memory'] for run in runs) / 1e9:9.2f}{step:>9}  {bound:>12}"
            + (f" ({one['bound_by']})" if "bound" in one else "")
        )
    return "\n".join(lines)


def main() -> None:
    """All parts, or the one that the hidden option names."""
    args = get_parser().parse_args()
    if args.part:
        print(json.dumps(measure(args)))
        return
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    environment |= {"OMP_NUM_THREADS": str(args.threads), "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    code = "import sys; from pathlib import Path; from benchmark_parts import make_parts; "
    code += "make_parts(Path(sys.argv[1]), sys.argv[2])"
    folder = Path(args.work).resolve() / args.size
    subprocess.run([sys.executable, "-c", code, str(folder), args.size], check=True, cwd=Path(__file__).parent)
    command = [sys.executable, __file__, *sys.argv[1:]]
    rows: dict[str, list[dict]] = {part: [] for part in args.parts}
    for at in range(args.rounds):
        for part in args.parts:
            print(f"round {at + 1} of {args.rounds}: {TITLES[part]}", file=sys.stderr, flush=True)
            done = subprocess.run([*command, "--part", part], stdout=subprocess.PIPE, text=True, env=environment)
            if done.returncode:
                sys.exit(f"benchmark: {part} failed with status {done.returncode}")
            rows[part].append(json.loads(done.stdout.strip().splitlines()[-1]))
    speech = next(iter(rows.values()))[0]["audio_seconds"]
    print(
        f"{rows[args.parts[0]][0].get('device', f'CPU, {args.threads} threads')}; size {args.size}; {args.utterances}"
        f" utterances, {speech:.0f} s of audio, batch {args.batch_size}; median of {args.rounds} round(s)"
    )
    print(table(rows, args.utterances))
    report = {"options": vars(args), "parts": rows}
    if {"published", "ours"} <= rows.keys():
        pairs = zip(rows["published"], rows["ours"], strict=True)
        report["speedup"] = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
        print(f"decoding: {report['speedup']:.1f} times as many utterances per second as published")
    if args.output:
        Path(args.output).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
