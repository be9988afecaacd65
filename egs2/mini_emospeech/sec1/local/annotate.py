"""Annotators who describe an utterance in Chinese, each in their own manner, and never say what is not true of it."""

import random

from plan import Utterance

Words = dict[str, dict[str, list[str]]]

# Each annotator has some frames. {emotion} may be preceded by {how}, which says how strong it is, or nothing.
# All words that name a class come from conf/words.json. The last annotator sometimes leaves one thing out.
ANNOTATORS = (
    ("{rate}，{volume}，{pitch}，情绪{how}{emotion}", "{rate}，{volume}，{pitch}，听起来{how}{emotion}"),
    ("说话人{how}{emotion}，{rate}，{volume}", "说话人显得{how}{emotion}，{rate}，{volume}"),
    ("{volume}，{rate}，流露出{emotion}的情绪", "{volume}，{rate}，情绪中带着{emotion}"),
    ("用{emotion}的语气说话，{rate}，{pitch}，{volume}", "用{emotion}的口吻说话，{rate}，{volume}"),
    ("{pitch}，{volume}，{rate}，能听出心情{how}{emotion}", "{pitch}，{rate}，{volume}，似乎{how}{emotion}"),
    ("这段话里透着{emotion}，{volume}，{rate}", "这段话听着{how}{emotion}，{volume}，{rate}"),
    ("语气{how}{emotion}，{rate}，{volume}", "语气{how}{emotion}，{rate}", "语气{how}{emotion}，{volume}"),
)


def captions_for(utterance: Utterance, words: Words, rng: random.Random) -> list[str]:
    """Three to five captions of one utterance, each by another annotator, in random order.

    Args:
        utterance: its classes of emotion, rate, volume, pitch and intensity are what is said.
        words: the words of each class (conf/words.json).
        rng: draws annotators, frames and synonyms.
    """
    chosen = rng.sample(ANNOTATORS, rng.randint(3, 5))
    return [_fill(rng.choice(frames), utterance, words, rng) for frames in chosen]


def _fill(frame: str, utterance: Utterance, words: Words, rng: random.Random) -> str:
    said = {name: rng.choice(words[name][getattr(utterance, name)]) for name in ("emotion", "rate", "volume", "pitch")}
    how = rng.choice(words["intensity"][utterance.intensity]) if utterance.intensity else ""
    return frame.format(how=how, **said)
