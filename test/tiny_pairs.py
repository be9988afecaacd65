"""Preference pairs on the corpus of tiny_training, a start model, and the programs as tests call them."""

import json

import tiny_training
from tiny_training import SPEECH, make_corpus, write

from espnet2_secap.bin import sec_reference, sec_train
from espnet2_secap.data.preferences import Pair, write_pairs

PROMPT = "请用一句中文描述说话人的情感。"
GOOD, BAD = "语速较快，声音高亢", ("声音低沉，语速缓慢", "说话人语气平静，音量适中")


def make_pairs(path, utts, each: int = 2) -> str:
    """`each` pairs of an utterance: the same caption is chosen, others are rejected."""
    rule = dict(prompt=PROMPT, chosen=GOOD, type="factuality", source="rule", margin=1.0)
    write_pairs(path, [Pair(id=utt, rejected=bad, **rule) for utt in utts for bad in BAD[:each]])
    return str(path)


def prepare(folder, llama: str, conf: dict | None = None, captions: list[str] | None = None):
    """A corpus, a captioning model trained on it for an epoch, and pairs of its first six utterances."""
    corpus = make_corpus(folder)
    if captions:
        line = json.dumps(captions, ensure_ascii=False)
        (corpus / "captions").write_text("".join(f"u{i} {line}\n" for i in range(8)), encoding="utf-8")
    (corpus / "utt2num_frames").write_text("".join(f"u{i} {5 + i}\n" for i in range(8)))
    conf = tiny_training.caption_conf(llama) | {"max_epoch": 1} | (conf or {})
    files = tiny_training.command(corpus, folder / "start", write(folder / "caption.yaml", conf), tiny_training.ALL)
    sec_train.main(files)
    make_pairs(folder / "pairs.jsonl", [f"u{i}" for i in range(6)])
    return corpus


def prefer_conf(llama: str, **model) -> dict:
    """Preference optimisation; three batches of 2 an epoch."""
    conf = dict(tiny_training.TRAINING, model="prefer", decoder_conf={"path": llama}, batch_type="sorted", batch_size=2)
    return conf | {"model_conf": model, "valid_batch_size": 2}


def refer(folder, *options) -> None:
    """sec_reference of the folder's pairs by its start model; options come last."""
    files = ["--pairs", str(folder / "pairs.jsonl"), "--data_dir", str(folder)]
    files += ["--sec_model_file", str(folder / "start" / "valid.loss.best.pth")]
    sec_reference.main([*files, "--output_dir", str(folder / "reference"), *options])


def command(folder, output, conf, *options, valid: str = "train", names=()) -> list[str]:
    """Arguments of sec_train on the folder's references."""
    args = ["--config", conf, "--output_dir", str(output), "--resume", "true"]
    args += ["--init_model", str(folder / "start" / "valid.loss.best.pth")]
    for split, of in (("train", "train"), ("valid", valid)):
        args += [f"--{split}_shape_file", f"{folder}/reference/shape.{of}"]
        data = [SPEECH, ("pairs", f"reference/pairs.{of}", "text"), *names]
        for name, file, kind in data:
            args += [f"--{split}_data_path_and_name_and_type", f"{folder}/{file},{name},{kind}"]
    return [*args, *options]


def curves(output) -> dict[tuple[int, str, str], float]:
    """curves.tsv: epoch, split, key -> value."""
    rows = [line.split("\t") for line in (output / "curves.tsv").read_text().splitlines()[1:]]
    return {(int(epoch), split, key): float(value) for epoch, split, key, value in rows}


def rows_of(path) -> dict[str, list[dict]]:
    """A file of pairs with references."""
    lines = (line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return {utt: json.loads(value) for utt, value in lines}
