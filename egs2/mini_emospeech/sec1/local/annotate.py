"""Annotators who describe an utterance in Chinese, each in their own manner, and never say what is not true of it."""

import random

from plan import Utterance

Words = dict[str, dict[str, list[str]]]

# Each annotator has some frames. {emotion} may be preceded by {how}, which says how strong it is, or nothing.
# All words that name a class come from conf/words.json. Only the last annotator sometimes leaves rate or volume out,
# and seldom: a decoder that looks for the most probable caption likes short ones.
ANNOTATORS = (
    ("{rate}，{volume}，{pitch}，情绪{how}{emotion}", "{rate}，{volume}，{pitch}，听起来{how}{emotion}"),
    ("说话人{how}{emotion}，{rate}，{volume}", "说话人显得{how}{emotion}，{rate}，{volume}"),
    ("{volume}，{rate}，流露出{emotion}的情绪", "{volume}，{rate}，情绪中带着{emotion}"),
    ("用{emotion}的语气说话，{rate}，{pitch}，{volume}", "用{emotion}的口吻说话，{rate}，{volume}"),
    ("{pitch}，{volume}，{rate}，能听出心情{how}{emotion}", "{pitch}，{rate}，{volume}，似乎{how}{emotion}"),
    ("这段话里透着{emotion}，{volume}，{rate}", "这段话听着{how}{emotion}，{volume}，{rate}"),
    (
        "语气{how}{emotion}，{rate}，{volume}",
        "语气{how}{emotion}，{rate}，{volume}，{pitch}",
        "语气{how}{emotion}，{volume}，{rate}",
        "语气{how}{emotion}，{volume}，{rate}，{pitch}",
        "语气{how}{emotion}，{rate}",
        "语气{how}{emotion}，{volume}",
    ),
)
HABIT = 0.6  # how often an annotator takes the word that this annotator likes best


def captions_for(utterance: Utterance, words: Words, rng: random.Random) -> list[str]:
    """Three to five captions of one utterance, each by another annotator, in random order.

    Args:
        utterance: its classes of emotion, rate, volume, pitch and intensity are what is said.
        words: the words of each class (conf/words.json).
        rng: draws annotators, frames and synonyms.
    """
    chosen = rng.sample(range(len(ANNOTATORS)), rng.randint(3, 5))
    return [_describe(number, utterance, words, rng) for number in chosen]


def _describe(annotator: int, utterance: Utterance, words: Words, rng: random.Random) -> str:
    def choose(synonyms: list[str]) -> str:
        return synonyms[annotator % len(synonyms)] if rng.random() < HABIT else rng.choice(synonyms)

    frame = rng.choice(ANNOTATORS[annotator])
    said = {name: choose(words[name][getattr(utterance, name)]) for name in ("emotion", "rate", "volume", "pitch")}
    how = choose(words["intensity"][utterance.intensity]) if utterance.intensity else ""
    return frame.format(how=how, **said)
