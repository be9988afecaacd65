import numpy as np

from espnet2_secap.inference.probe import fit_probe


def test_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    labels = {f"u{i}": "sad" if i % 2 else "calm" for i in range(120)}
    told = {
        utt: np.array([1.0 if label == "sad" else -1.0, 0.0]) + 0.1 * rng.standard_normal(2)
        for utt, label in labels.items()
    }
    noise = {utt: rng.standard_normal(2) for utt in labels}
    split = [f"u{i}" for i in range(80)], [f"u{i}" for i in range(80, 120)]
    results = [fit_probe({u: x[u] for u in split[0]}, {u: x[u] for u in split[1]}, labels) for x in (told, noise)]
    assert results[0] == {"accuracy": 1.0, "chance": 0.5, "n": 40}
    assert results[1]["accuracy"] < 0.75
    unique = {utt: utt for utt in labels}
    assert fit_probe({u: told[u] for u in split[0]}, {u: told[u] for u in split[1]}, unique)["accuracy"] is None
