"""METEOR 1.5 for captions, by the Java program that comes with pycocoevalcap.

The program reads one request per line and answers each with lines: SCORE ||| reference ||| ... ||| hypothesis returns
statistics; EVAL ||| statistics ||| statistics ... returns one value for each of them and then one for the corpus.
"""

import re

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.java import JavaProcess, coco_jar

MEMORY = "2G"
TIMEOUT = 120.0  # seconds for one answer; before the first one 60 MB of English paraphrases are loaded
# Chinese, its punctuation, kana: no English stem, synonym or paraphrase can match them, so that the program need not
# load its tables of them, which takes 10 s.
NO_ENGLISH = re.compile(r"[\s\u3001-\u9fff\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]*")


class MeteorProcess(JavaProcess):
    """The running Java program.

    Args:
        english: match English stems, synonyms and paraphrases, too, not exact words only.
        memory: limit of the heap, in Java's notation.
        timeout: seconds to wait for an answer.

    Raises:
        MetricUnavailable: (also from `ask`) no Java, no METEOR, or the program died or did not answer in time.
    """

    def __init__(self, english: bool, memory: str, timeout: float):
        jar = coco_jar("meteor/meteor-*.jar")
        arguments = ["-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
        arguments += [] if english else ["-m", "exact", "-w", "1.0"]
        super().__init__(arguments, memory, timeout, jar.parent)
        self.english = english

    def ask(self, request: str, answers: int = 1) -> list[list[float]]:
        """Send a line, return the numbers of each of the lines that answer it."""
        lines = super().ask(request, answers)
        try:
            numbers = [[float(number) for number in line.split()] for line in lines]
        except ValueError:
            numbers = []
        if not numbers or not all(numbers):
            raise MetricUnavailable(self.reason("; ".join(lines)))
        return numbers


def _needs_english(references: References, hypotheses: Hypotheses) -> bool:
    """Whether a caption and one of its own references both hold what the tables could match."""

    def english(caption: str) -> bool:
        return not NO_ENGLISH.fullmatch(caption)

    return any(english(caption) and any(map(english, references[utt])) for utt, caption in hypotheses.items())


def meteor(context: Context) -> ScoreFunction:
    """METEOR with the parameters for English, which the coco tools use for every language.

    A caption without tokens has 0, and so has a set of such captions.
    """
    running: list[MeteorProcess] = []

    def program(english: bool) -> MeteorProcess:
        if not running or english > running[0].english:
            for process in running:
                process.close()
            running[:] = [MeteorProcess(english, MEMORY, TIMEOUT)]
        return running[0]

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        if not hypotheses:
            raise MetricUnavailable("no utterances to score")
        captions = {utt: [*references[utt], caption] for utt, caption in hypotheses.items()}
        process = program(_needs_english(references, hypotheses))
        statistics = []
        for utt, texts in captions.items():
            # three bars separate the fields of a request, so captions may not contain them
            texts = [re.sub(r"\|{3,}", lambda bars: " ".join(bars[0]), context.segment(text)) for text in texts]
            try:
                statistics.append(process.ask(" ||| ".join(["SCORE", *texts]))[0])
            except MetricUnavailable as err:
                running.clear()
                length = len(texts[-1].split())
                raise MetricUnavailable(f"{err} at utterance {utt} (a caption of {length} tokens)") from None
        request = " ||| ".join(["EVAL", *(" ".join(map(str, numbers)) for numbers in statistics)])
        values = process.ask(request, answers=len(statistics) + 1)
        *each, corpus = [100 * value for (value,) in values]
        said = [bool(context.segment(hypotheses[utt])) for utt in captions]
        each = [value if says else 0.0 for value, says in zip(each, said, strict=True)]
        return corpus if any(said) else 0.0, dict(zip(captions, each, strict=True))

    return score


METRICS = [Metric("meteor", "METEOR", meteor)]
