import numpy as np
import pytest

from espnet2_secap.train.cache import CachedLoader


class Reader(dict):
    """Counts what is read."""

    def __init__(self, *args):
        super().__init__(*args)
        self.read = []

    def __getitem__(self, utt):
        self.read.append(utt)
        return super().__getitem__(utt)


@pytest.mark.parametrize("shared", [False, True])
def test_each_array_is_read_once(shared):
    reader = Reader({"a": np.ones(3), "b": np.zeros((2, 2))})
    loader = CachedLoader(reader, 1e6, shared)
    for _ in range(3):
        assert loader["a"].tolist() == [1, 1, 1] and loader["b"].shape == (2, 2)
    assert reader.read == ["a", "b"]
    assert list(loader) == ["a", "b"] and len(loader) == 2 and "b" in loader and "c" not in loader
    with pytest.raises(KeyError):
        loader["c"]


def test_no_more_than_its_size_is_kept():
    reader = Reader({str(i): np.zeros(1000) for i in range(10)})  # 8,000 bytes each
    loader = CachedLoader(reader, 20000, shared=False)
    for _ in range(2):
        for utt in reader:
            loader[utt]
    assert len(loader.kept) == 3 and len(reader.read) == 10 + 7
