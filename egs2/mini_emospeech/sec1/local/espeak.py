"""espeak-ng, the library inside the wheel espeakng-loader, through ctypes."""

import _ctypes
import ctypes
import os

import espeakng_loader
import numpy as np

_SYNCHRONOUS, _UTF8, _BY_CHARACTER = 2, 1, 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The synthesiser. It keeps state between utterances: for the same bytes each time, a fresh one per utterance.

    `with Espeak() as espeak:` unloads the library in the end, and with it its state. A process for each utterance would
    do that too, at more than three times the cost.

    Attributes:
        sample_rate: of what `render` returns, in Hz.
    """

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate: int = self._lib.espeak_Initialize(
            _SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0
        )
        assert self.sample_rate > 0, "espeak-ng does not start"
        self._blocks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library calls it later
        self._lib.espeak_SetSynthCallback(self._callback)
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(1))  # breathy voices draw noise; by default from the clock

    def __enter__(self) -> "Espeak":
        return self

    def __exit__(self, *_exception) -> None:
        self._lib.espeak_Terminate()
        path, handle = self._lib._name, self._lib._handle
        del self._lib
        _ctypes.dlclose(handle)
        try:
            ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
        except OSError:  # it is gone
            return
        raise RuntimeError(f"{path}: stays loaded, so that one utterance would change the next")

    def _receive(self, samples, count: int, _events) -> int:
        if samples and count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float64) / 32768)
        return 0

    def has_voice(self, voice: str) -> bool:
        """Whether there are a language and a variant of these names, such as `cmn+f2`."""
        variant = voice.partition("+")[2]
        folder = os.path.join(espeakng_loader.get_data_path(), "voices", "!v")
        return os.path.isfile(os.path.join(folder, variant)) and self._lib.espeak_SetVoiceByName(voice.encode()) == 0

    def render(self, text: str, voice: str, wpm: int, pitch: int, pitch_range: int, volume: int = 60) -> np.ndarray:
        """Speak `text`.

        Args:
            text: what to say.
            voice: language and variant, such as `cmn+f2`.
            wpm: rate in words per minute, 80 to 450.
            pitch, pitch_range: 0 to 100, where 50 is the voice's own.
            volume: 0 to 200; above 60 some voices clip.

        Returns:
            samples (n,) between -1 and 1 at `sample_rate`.
        """
        self._blocks.clear()
        status = self._lib.espeak_SetVoiceByName(voice.encode())
        assert status == 0, f"espeak-ng has no voice {voice}"
        for parameter, value in ((_RATE, wpm), (_VOLUME, volume), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        status = self._lib.espeak_Synth(data, len(data) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
        assert status == 0 and self._lib.espeak_Synchronize() == 0, f"espeak-ng could not say {text}"
        return np.concatenate(self._blocks)
