import json

import pytest
import torch

from espnet2_secap.inference.consensus import consensus_of
from espnet2_secap.text.sentence import SentenceEncoder, cosine


@pytest.fixture(scope="module")
def meta(secap_tiny):
    return json.loads((secap_tiny / "meta.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def encoder(secap_tiny):
    return SentenceEncoder(str(secap_tiny / "weights" / "text2vec"), batch_size=7)


def test_similarity_of_the_released_code(meta, encoder):
    pairs = meta["sim"]["pairs"]
    left, right = (encoder([pair[i] for pair in pairs]) for i in (0, 1))
    ours = cosine(left, right).diagonal()
    assert (ours - torch.tensor(meta["sim"]["values"])).abs().max() <= 1e-5


def test_what_the_released_code_keeps(meta, encoder):
    candidates = meta["rerank"]["candidates"]
    vectors = encoder(candidates)
    similarity = cosine(vectors, vectors)
    assert (similarity - torch.tensor(meta["rerank"]["similarity"])).abs().max() <= 1e-5
    order, _ = consensus_of(similarity.numpy())
    assert [text for i, text in enumerate(candidates) if i in order[:5]] == meta["rerank"]["kept"]


def test_of_equals_argsort_drops_the_earlier():
    similarity = torch.tensor([[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]).numpy()
    assert consensus_of(similarity)[0] == [2, 1, 0]
