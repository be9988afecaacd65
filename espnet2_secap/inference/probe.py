"""Linear probes on frozen Q-Embeddings."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
import torch

from espnet2_secap.data.io import atomic_write, good_lines
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.masks import masked_mean
from espnet2_secap.process.jobs import file_digest
from espnet2_secap.progress import progress


@torch.no_grad()
def embed(
    model, utterances: Utterances, batch_size: int, device: str, folder: str = "", front_end: Mapping | None = None
) -> dict[str, np.ndarray]:
    """Mean of the bridge's output vectors per utterance, (H,).

    Args:
        folder, front_end: of the utterances, and of the model's config.yaml: they must fit, where they are given.

    Raises:
        SecError: the folder holds what the model does not take.
    """
    from espnet2_secap.tasks.front_end import check_input

    if front_end is not None:
        check_input(folder, utterances, model.encoder, front_end)
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
    train: Mapping[Hashable, np.ndarray], test: Mapping[Hashable, np.ndarray], labels: Mapping[Hashable, str]
) -> dict[str, float | int | str | None]:
    """Fit a logistic regression and try it on the test utterances whose label it has seen.

    Args:
        train, test: embeddings (H,) by utterance. Ids are unique within a set only: where sets are joined, the keys
            name the set too.
        labels: label by utterance, of both.

    Returns:
        accuracy and chance (always the most frequent label of training) as shares, n utterances tried; or accuracy
        none with the reason, where there is nothing to try.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not test:
        return {"accuracy": None, "chance": None, "n": 0, "reason": "no test set but the training set"}
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
    """Probe one model and write probe.json beside it; options are those of sec_probe.

    A set that is named twice is tested once; the training set is no test set, and a note says so.
    """
    from espnet2_secap.tasks.sec import SECTask

    if len(args.label_dirs) != 1 + len(args.test_dirs):
        raise SecError("--label_dirs: expected one folder for --train_dir and one for each of --test_dirs")
    pairs = list(zip([args.train_dir, *args.test_dirs], args.label_dirs, strict=True))
    label_dir_of = dict(reversed(pairs))
    test_dirs = _other_dirs(args.train_dir, args.test_dirs)
    model, trained = SECTask.build_model_from_file(None, model_file, args.device)
    sets = {folder: Utterances(folder) for folder in (args.train_dir, *test_dirs)}
    front_end = getattr(trained, "front_end", None)
    train, test = (
        {
            (folder, utt): vector
            for folder in folders
            for utt, vector in embed(model, sets[folder], args.batch_size, args.device, folder, front_end).items()
        }
        for folders in ([args.train_dir], test_dirs)
    )
    exp = Path(model_file).parent
    result = {"system": exp.name, "set": "+".join(Path(folder).name for folder in test_dirs)}
    if Path(model_file).is_file():  # the report sees by it whether the model is still the same
        result |= {"model": Path(model_file).name, "made_from": {"model": file_digest(model_file)}}
    for name, file in (("emotion", "utt2emo"), ("sentence", "text")):
        labels = {
            (folder, utt): label
            for folder in (args.train_dir, *test_dirs)
            if (Path(label_dir_of[folder]) / file).is_file()
            for _, utt, label in good_lines(Path(label_dir_of[folder]) / file, may_be_empty=name == "sentence")
            if label
        }
        result[name] = fit_probe(train, test, labels)
    with atomic_write(exp / args.output_name) as file:
        json.dump(result, file, ensure_ascii=False, indent=1)
    print(f"{exp.name}: " + "; ".join(_say(name, result[name]) for name in ("emotion", "sentence")))
    return result


def _other_dirs(train_dir: str, test_dirs: list[str]) -> list[str]:
    """Each test folder once, without the one that the probes are fitted on."""
    places: dict[str, str] = {}
    for folder in test_dirs:
        places.setdefault(os.path.realpath(folder), folder)
    if places.pop(os.path.realpath(train_dir), None):
        print(f"note: the probes are fitted on {train_dir} and so not tested on it", file=sys.stderr)
    return list(places.values())


def _say(name: str, probe: dict) -> str:
    if probe["accuracy"] is None:
        return f"{name} probe n/a ({probe['reason']})"
    return f"{name} probe {probe['accuracy']:.3f} (chance {probe['chance']:.3f}, n={probe['n']})"
