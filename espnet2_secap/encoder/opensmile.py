"""Feature sets of openSMILE: GeMAPS, eGeMAPS and ComParE. The package is an extra with a licence of its own."""

from functools import cache
from typing import Literal

import numpy as np

from espnet2_secap.encoder.descriptors import HOP, DescriptorEncoder, FrameShift


class OpenSmileEncoder(DescriptorEncoder):
    """Functionals per utterance and low-level descriptors per 10 ms of openSMILE (Eyben et al., ACM MM 2010).

    Values, units and names are openSMILE's, in its order: eGeMAPSv02 has 88 functionals and 25 low-level descriptors
    (Eyben et al., 2016), GeMAPSv01b 62 and 18, ComParE_2016 6373 and 65. openSMILE has no frame where its windows of
    60 ms do not fit: at both ends its first and last frames are repeated. It gives finite values for unvoiced and
    silent recordings too: 0 for F0, -201 for the levels of formants.

    Args:
        feature_set: openSMILE's name of it.
        level: "functionals": repeated at every frame; "lld": low-level descriptors; "both": side by side, the low-level
            descriptors first.
        compression: "log": sign(x) log(1 + |x|) of every value, since sizes differ by up to eleven orders of magnitude.
        frame_shift: samples from one frame of the output to the next, a multiple of 160; see `DescriptorEncoder`.

    Raises:
        SecError: opensmile is not installed; a frame shift that is no multiple of 160.
    """

    min_samples = 960  # 60 ms; openSMILE gives NaN below
    package_name = "opensmile"
    how_to_install = (
        "install it: pip install opensmile (its licence, the audEERING Research License Agreement, allows research and"
        " teaching, and no commercial use), or take --encoder acoustic"
    )

    def __init__(
        self,
        feature_set: Literal["eGeMAPSv02", "GeMAPSv01b", "ComParE_2016"] = "eGeMAPSv02",
        level: Literal["functionals", "lld", "both"] = "functionals",
        compression: Literal["none", "log"] = "none",
        frame_shift: FrameShift = HOP,
    ):
        super().__init__(level != "functionals", level != "lld", frame_shift)
        self.feature_set, self.compression = feature_set, compression

    def frame_names(self) -> list[str]:
        """Names of the low-level descriptors."""
        return list(_smile(self.feature_set, "LowLevelDescriptors").feature_names)

    def utterance_names(self) -> list[str]:
        """Names of the functionals."""
        return list(_smile(self.feature_set, "Functionals").feature_names)

    def describe(self, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Low-level descriptors (samples // 160, D) and functionals (D,) of a waveform (samples,)."""
        frames = vector = np.empty(0)
        if self.frames:
            frames = self._values("LowLevelDescriptors", wave)  # (T of openSMILE, D)
            lack = len(wave) // HOP - len(frames)
            before = max(lack, 0) // 2
            frames = np.pad(frames[: len(wave) // HOP], ((before, max(lack, 0) - before), (0, 0)), mode="edge")
        if self.utterance:
            vector = self._values("Functionals", wave)[0]
        return frames, vector

    def _values(self, level: str, wave: np.ndarray) -> np.ndarray:
        values = _smile(self.feature_set, level).process_signal(wave, self.sampling_rate).to_numpy(np.float64)
        return np.sign(values) * np.log1p(np.abs(values)) if self.compression == "log" else values


@cache
def _smile(feature_set: str, level: str):
    """openSMILE with a feature set at a level."""
    import opensmile

    return opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[level])
