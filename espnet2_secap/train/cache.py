"""Cache of arrays in memory, for --max_cache_size."""

from collections.abc import Iterator, Mapping

import numpy as np
from espnet2.utils.sized_dict import SizedDict


class Unread(Mapping):
    """A loader of ESPnet's dataset for speech that no part of the model looks at: one zero each, nothing is read.

    Args:
        loader: id -> array.
    """

    def __init__(self, loader: Mapping[str, np.ndarray]):
        self.loader = loader

    def __getitem__(self, utt: str) -> np.ndarray:
        if utt not in self.loader:
            raise KeyError(utt)
        return np.zeros(1, dtype=np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


class CachedLoader(Mapping):
    """A loader of ESPnet's dataset that reads each array from the disk once.

    ESPnet's own cache stores an utterance after preprocessing: its caption and prompt would be drawn once for all
    epochs, and again after an interruption.

    Args:
        loader: id -> array.
        max_size: bytes to store.
        shared: share the cache between the data loader's worker processes, which end after each epoch.
    """

    def __init__(self, loader: Mapping[str, np.ndarray], max_size: float, shared: bool):
        self.loader = loader
        self.max_size = max_size
        self.kept = SizedDict(shared=shared)

    def __getitem__(self, utt: str) -> np.ndarray:
        if utt in self.kept:
            return self.kept[utt]
        value = np.array(self.loader[utt])  # a copy, since a view does not know its size in memory
        if self.kept.size < self.max_size:
            self.kept[utt] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    def __contains__(self, utt: object) -> bool:
        return utt in self.loader
