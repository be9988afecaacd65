"""Linear probes on frozen Q-Embeddings."""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.io import atomic_write, read_kaldi
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.masks import masked_mean
from espnet2_secap.progress import progress


@torch.no_grad()
def embed(model, utterances: Utterances, batch_size: int, device: str) -> dict[str, np.ndarray]:
    """Mean of the bridge's output vectors per utterance, (H,)."""
    output = {}
    batches = list(utterances.batches(utterances.ids, batch_size))
    for batch in progress(batches, desc="embedding for the probes"):
        speech = [torch.from_numpy(utterances.read(utt)) for utt in batch]
        lengths = torch.tensor([len(one) for one in speech])
        padded = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True)
        means = masked_mean(*model.q_embedding(padded.to(device), lengths.to(device)))
        output |= dict(zip(batch, means.float().cpu().numpy(), strict=True))
    return output


def fit_probe(
    train: dict[str, np.ndarray], test: dict[str, np.ndarray], labels: dict[str, str]
) -> dict[str, float | int | str | None]:
    """Fit a logistic regression and try it on the test utterances whose label it has seen.

    Args:
        train, test: embeddings (H,) by utterance.
        labels: label by utterance, of both sets.

    Returns:
        accuracy and chance (always the most frequent label of training) as shares, n utterances tried; or accuracy
        none with the reason, where there is nothing to try.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = Counter(labels[utt] for utt in train if utt in labels)
    tried = [utt for utt in test if labels.get(utt) in known]
    repeated = [label for label, count in known.items() if count > 1]
    if not tried or len(repeated) < 2:
        return {"accuracy": None, "chance": None, "n": 0, "reason": "no label of the test set recurs in training"}
    fitted = [utt for utt in train if utt in labels]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    probe.fit(np.stack([train[utt] for utt in fitted]), [labels[utt] for utt in fitted])
    truth = [labels[utt] for utt in tried]
    right = probe.predict(np.stack([test[utt] for utt in tried])) == np.array(truth)
    frequent = known.most_common(1)[0][0]
    return {
        "accuracy": float(right.mean()),
        "chance": sum(label == frequent for label in truth) / len(truth),
        "n": len(tried),
    }


def probe_model(model_file: str, args: argparse.Namespace) -> dict:
    """Probe one model and write probe.json beside it; options are those of sec_probe."""
    from espnet2_secap.tasks.sec import SECTask

    if len(args.label_dirs) != 1 + len(args.test_dirs):
        raise SecError("--label_dirs: expected one folder for --train_dir and one for each of --test_dirs")
    model, _ = SECTask.build_model_from_file(None, model_file, args.device)
    train = embed(model, Utterances(args.train_dir), args.batch_size, args.device)
    test = {}
    for folder in args.test_dirs:
        test |= embed(model, Utterances(folder), args.batch_size, args.device)
    folder = Path(model_file).parent
    result = {"system": folder.name, "set": "+".join(Path(d).name for d in args.test_dirs)}
    for name, file in (("emotion", "utt2emo"), ("sentence", "text")):
        labels = {}
        for label_dir in args.label_dirs:
            if (Path(label_dir) / file).is_file():
                labels |= read_kaldi(Path(label_dir) / file)
        result[name] = fit_probe(train, test, labels)
    with atomic_write(folder / args.output_name) as file:
        json.dump(result, file, ensure_ascii=False, indent=1)
    print(f"{folder.name}: " + "; ".join(_say(name, result[name]) for name in ("emotion", "sentence")))
    return result


def _say(name: str, probe: dict) -> str:
    if probe["accuracy"] is None:
        return f"{name} probe n/a ({probe['reason']})"
    return f"{name} probe {probe['accuracy']:.3f} (chance {probe['chance']:.3f}, n={probe['n']})"
