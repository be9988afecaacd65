"""Who says what, how: every utterance of the corpus, drawn from one seed before any audio is made."""

import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from espnet2_secap.data.conf import read_yaml
from espnet2_secap.data.distort import distortions
from espnet2_secap.data.text_file import read_text
from espnet2_secap.errors import SecError
from espnet2_secap.values import Count, check_conf

LOCAL = Path(__file__).resolve().parent
# espeak-ng's variants of the Mandarin voice. All have a neutral pitch between 155 and 230 Hz: a filterbank with windows
# of 25 ms shows the harmonics of such voices, and so their pitch, but not those of the much lower male ones.
VOICES = ("aunty", "f1", "f3", "f5", "grandma", "linda", "shelby", "steph")
TEST_VOICES = ("f2", "f4")  # heard in the test set only

# Speaking rate in espeak-ng's words per minute, level of the speech in dBFS. Between two classes there is a gap.
# Mandarin characters per second as rendered: slow 2.3 to 3.8, normal 3.8 to 6.0, fast 6.0 to 9.6.
RATES = {"slow": (125, 143), "normal": (190, 213), "fast": (288, 325)}
LEVELS = {"quiet": (-47.5, -45.0), "normal": (-36.5, -34.0), "loud": (-25.5, -23.0)}

NEUTRAL_PITCH, NEUTRAL_RANGE = 56.0, 50.0  # espeak-ng's 0 to 100; 50 is the voice's own
PITCH_JITTER, RANGE_JITTER = 4.0, 6.0  # half width of a uniform distribution
# How far an emotion moves pitch and range is scaled by its intensity; None: no caption speaks of it.
INTENSITIES = {"weak": (0.78, 0.86), None: (0.95, 1.05), "strong": (1.14, 1.22)}
PITCHES = {"low": (0, 41), "normal": (51, 61), "high": (66, 99)}


CLEAN = "clean"


@dataclass(frozen=True)
class Emotion:
    """A region of prosody: shares of the rate and volume classes, moves of pitch and pitch range."""

    rate: dict[str, float]
    volume: dict[str, float]
    pitch: float
    pitch_range: float


EMOTIONS = {
    "happy": Emotion({"fast": 0.8, "normal": 0.2}, {"normal": 0.7, "loud": 0.3}, 24, 30),
    "angry": Emotion({"fast": 0.75, "normal": 0.25}, {"loud": 0.85, "normal": 0.15}, -26, 30),
    "sad": Emotion({"slow": 0.8, "normal": 0.2}, {"quiet": 0.75, "normal": 0.25}, -28, -34),
    "calm": Emotion({"normal": 0.8, "slow": 0.2}, {"normal": 0.8, "quiet": 0.2}, 0, 0),
    "surprised": Emotion({"normal": 0.75, "slow": 0.25}, {"loud": 0.8, "normal": 0.2}, 42, 42),
    "afraid": Emotion({"fast": 0.7, "normal": 0.3}, {"quiet": 0.8, "normal": 0.2}, 36, -40),
}


@dataclass(frozen=True)
class Utterance:
    """One utterance to render: what the labels say and the numbers that make it so."""

    utt_id: str
    speaker: str
    sentence: str
    emotion: str
    rate: str
    volume: str
    pitch: str
    intensity: str | None
    wpm: int  # espeak-ng's rate
    level: float  # dBFS of the speech, pauses aside
    pitch_value: int  # 0 to 100
    range_value: int  # 0 to 100
    kind: str = "neutral"  # of the sentence: neutral, or it fits the emotion, or contradicts it
    language: str = "cmn"  # espeak-ng's name
    condition: str = CLEAN  # or what happens to the recording, as --augment of sec_perturb_audio has it


def read_sentences(name: str) -> list[str]:
    """The sentences of `sentences_<name>.txt`, one per line, of neutral content."""
    return read_lines(LOCAL / f"sentences_{name}.txt")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        SecError: no such file, or it is no text.
    """
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_emotional(name: str) -> dict[str, list[str]]:
    """Emotion -> sentences that fit it, of `sentences_emotional_<name>.txt`, lines "emotion sentence"."""
    found: dict[str, list[str]] = {emotion: [] for emotion in EMOTIONS}
    for line in (LOCAL / f"sentences_emotional_{name}.txt").read_text(encoding="utf-8").split("\n"):
        if line.strip():
            emotion, sentence = line.split()
            found[emotion].append(sentence)
    return found


@dataclass(frozen=True)
class SetPlan:
    """A set of its own choices (synthesize.py --sets).

    Args:
        size: number of utterances.
        voices: espeak-ng's variants.
        sentences: file of sentences, one per line, of neutral content.
        language: espeak-ng's name of their language.
        conditions: what happens to the recordings, each to as many: `telephone`, `reverb+noise=5,15`; see
            espnet2_secap/data/distort.py. None: nothing.
    """

    size: Count
    voices: list[str]
    sentences: str
    language: str = "cmn"
    conditions: list[str] = field(default_factory=list)


def read_sets(path: str | Path) -> dict[str, SetPlan]:
    """name -> choices, from YAML.

    Raises:
        SecError: an unknown or missing key, a wrong value, an empty list, an unknown condition, a name that cannot be.
    """
    sets = {}
    for name, conf in read_yaml(path).items():
        where = f"{path}: {name}"
        if not re.fullmatch(r"\w+", name):
            raise SecError(f"{where}: the name of a set may hold letters, digits and _ only")
        plan = sets[name] = SetPlan(**check_conf(where, SetPlan, conf))
        distortions(plan.conditions, f"{where}: conditions")
        if not plan.voices or not read_lines(plan.sentences):
            raise SecError(f"{where}: no voices, or {plan.sentences} has no sentences; give one at least")
    if not sets:
        raise SecError(f"{path}: has no sets; give one at least")
    return sets


def draw_planned(name: str, plan: SetPlan, seed: int) -> list[Utterance]:
    """Draw the utterances of a set of its own choices, by the rule of `draw_set`; conditions go round as well."""
    rng = random.Random(f"{seed} {name}")
    conditions = _go_round(plan.conditions or [CLEAN], plan.size, random.Random(f"{seed} {name} conditions"))
    drawn = _draw_all(name, plan.size, plan.voices, read_lines(plan.sentences), rng)
    return [replace(one, language=plan.language, condition=how) for one, how in zip(drawn, conditions, strict=True)]


def draw_set(name: str, size: int, seed: int, emotional: float = 0.0) -> list[Utterance]:
    """Draw the utterances of one set.

    Emotions, voices and sentences go round in shuffled order, each independently of the others, so that each
    occurs about equally often. The test set has the training set's voices and sentences too, but a third of it
    is in voices and more than a third of it are sentences that occur nowhere else.

    Args:
        name: `train`, `valid` or `test`.
        size: number of utterances, 1 or more.
        seed: the same seed gives the same utterances.
        emotional: share of the utterances whose sentence fits their emotion. Of the others, one half has neutral
            sentences, the other half such as fit another emotion. 0: all are neutral.

    Raises:
        SecError: `size` is not positive.
    """
    if size < 1:
        raise SecError(f"--n_{name} {size}: a set needs at least one utterance")
    rng = random.Random(f"{seed} {name}")
    voices, sentences = list(VOICES), read_sentences("train")
    if name == "test":
        voices += 2 * TEST_VOICES
        sentences += 3 * read_sentences("test")
    utterances = _draw_all(name, size, voices, sentences, rng)
    # Another generator: voices and prosody are those of the neutral corpus.
    return (
        _speak_of_it(utterances, name, emotional, random.Random(f"{seed} {name} sentences"))
        if emotional
        else utterances
    )


def _draw_all(name: str, size: int, voices: list[str], sentences: list[str], rng: random.Random) -> list[Utterance]:
    columns = [_go_round(pool, size, rng) for pool in (list(EMOTIONS), voices, sentences)]
    rows = enumerate(zip(*columns, strict=True))
    return [_draw(f"{voice}_{name}{i:05d}", voice, text, emotion, rng) for i, (emotion, voice, text) in rows]


def _speak_of_it(utterances: list[Utterance], name: str, share: float, rng: random.Random) -> list[Utterance]:
    """The same utterances, some of them with other sentences. Of each emotion, each kind has its share."""
    sentences = read_emotional("train")
    if name == "test":
        for emotion, more in read_emotional("test").items():
            sentences[emotion] += 2 * more
    output = []
    for at, emotion in enumerate(EMOTIONS):
        own = [one for one in utterances if one.emotion == emotion]
        fitting = round(share * len(own))
        contradicting = (len(own) - fitting + at % 2) // 2  # where it cannot be a half: in turns
        kinds = ["fitting"] * fitting + ["contradicting"] * contradicting
        kinds += ["neutral"] * (len(own) - len(kinds))
        rng.shuffle(kinds)
        others = [other for other in EMOTIONS if other != emotion]
        for one, kind in zip(own, kinds, strict=True):
            said = emotion if kind == "fitting" else rng.choice(others)
            text = one.sentence if kind == "neutral" else rng.choice(sentences[said])
            output.append(replace(one, sentence=text, kind=kind))
    place = {one.utt_id: at for at, one in enumerate(utterances)}
    return sorted(output, key=lambda one: place[one.utt_id])


def _go_round(pool: list[str], size: int, rng: random.Random) -> list[str]:
    """`size` items of `pool`, each as often as the others (plus or minus one), shuffled."""
    drawn: list[str] = []
    while len(drawn) < size:
        drawn += rng.sample(pool, len(pool))
    drawn = drawn[:size]
    rng.shuffle(drawn)
    return drawn


def _draw(utt_id: str, voice: str, sentence: str, emotion: str, rng: random.Random) -> Utterance:
    region = EMOTIONS[emotion]
    rate = rng.choices(list(region.rate), list(region.rate.values()))[0]
    volume = rng.choices(list(region.volume), list(region.volume.values()))[0]
    intensity = None if emotion == "calm" else rng.choice(list(INTENSITIES))
    strength = rng.uniform(*INTENSITIES[intensity])
    pitch = NEUTRAL_PITCH + strength * region.pitch + rng.uniform(-PITCH_JITTER, PITCH_JITTER)
    pitch_range = NEUTRAL_RANGE + strength * region.pitch_range + rng.uniform(-RANGE_JITTER, RANGE_JITTER)
    pitch_value, range_value = (min(99, max(1, round(value))) for value in (pitch, pitch_range))
    pitch_class = next(name for name, (low, high) in PITCHES.items() if low <= pitch_value <= high)
    return Utterance(
        utt_id=utt_id,
        speaker=voice,
        sentence=sentence,
        emotion=emotion,
        rate=rate,
        volume=volume,
        pitch=pitch_class,
        intensity=intensity,
        wpm=rng.randint(*RATES[rate]),
        level=rng.uniform(*LEVELS[volume]),
        pitch_value=pitch_value,
        range_value=range_value,
    )
