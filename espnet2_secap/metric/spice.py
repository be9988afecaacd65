"""SPICE and SPIDEr, by SPICE's own classes (in pycocoevalcap) and their parser (`make -C tools spice`).

SPICE (Anderson et al., ECCV 2016) parses captions into tuples, (voice), (voice, low), (speaker, have, voice), matches
them with WordNet synonyms, and computes F1 of a caption's tuples against those of all its references together. The
parser knows English only. Like the other metrics of the coco tools it reads the tokens of the chosen segmentation,
separated by spaces, whatever the language. For Chinese the value therefore reflects which tokens the captions share
and which of them are adjacent, not what they mean.
"""

import json
import os
import re
from itertools import islice
from pathlib import Path

from espnet2_secap.devices import cpu_cores
from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.java import JavaProcess, coco_jar, find_java
from espnet2_secap.metric.ngram import cider

JARS = ["stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar", "rhino-1.7.15.jar"]
MEMORY = "4G"
THREADS = 4  # maximum: each needs memory for the sentence that it parses
BATCH = 32  # utterances per request
TIMEOUT = 60.0  # seconds for one request, which includes loading the models, ...
TIMEOUT_PER_TOKEN = 0.5  # ... plus this for each token: most captions take 1% of it, the slowest a third
# Parsing time grows with the cube of the sentence length (10 s for 80 tokens), so longer captions are truncated. These
# tokens approximate the parser's: words of letters and digits, all other characters singly.
MAX_TOKENS = 80
TOKEN = r"(?:[^\W\u2e80-\U0010ffff]{1,100}|\S)"
BEGINNING = re.compile(rf"(?:\s*{TOKEN}){{0,{MAX_TOKENS}}}")


class Spice:
    """SPICE's program, which is started at the first request and restarted after a failure."""

    def __init__(self):
        self._process: JavaProcess | None = None

    def f_values(self, pairs: list[tuple[list[str], str]]) -> list[float]:
        """F1, 0 to 1, of each pair of references and caption; 0 if one of the two has no tuple.

        Each text is parsed once. The first MAX_TOKENS tokens of a text count.

        Raises:
            MetricUnavailable: no Java, no models, or the program died or did not answer in time.
        """
        pairs = [([_beginning(text) for text in texts], _beginning(caption)) for texts, caption in pairs]
        tokens = sum(len(re.findall(TOKEN, text)) for texts, caption in pairs for text in (*texts, caption))
        self._process = self._process or JavaProcess(_command(), MEMORY, TIMEOUT)
        try:
            # JSON in ASCII keeps a request on one line, whatever a caption contains
            (answer,) = self._process.ask(json.dumps(pairs), timeout=TIMEOUT + TIMEOUT_PER_TOKEN * tokens)
            values = json.loads(answer)
        except ValueError:
            self._process, failed = None, self._process
            raise MetricUnavailable(failed.reason(answer)) from None
        except BaseException:  # the answer of an interrupted request would be taken for that of the next one
            self._process = None
            raise
        return values


def _command() -> list[str]:
    """Java's arguments, the driver last."""
    find_java()
    folder = Path(os.environ.get("SEC_SPICE") or Path(__file__).resolve().parents[2] / "tools" / "spice")
    missing = [jar for jar in JARS if not (folder / jar).is_file()]
    if missing:
        raise MetricUnavailable(f"needs its parser, but {folder / missing[0]} is missing; run `make -C tools spice`")
    jar = coco_jar("spice/spice-*.jar")
    path = [str(jar), str(jar.parent / "lib" / "*"), *(str(folder / name) for name in JARS)]
    threads = min(THREADS, cpu_cores())
    arguments = [f"-XX:ActiveProcessorCount={threads}", "-cp", os.pathsep.join(path)]
    return [*arguments, "org.mozilla.javascript.tools.shell.Main", str(Path(__file__).with_name("spice.js"))]


def _beginning(text: str) -> str:
    return BEGINNING.match(text)[0]


def spice(context: Context) -> ScoreFunction:
    """F1 over the tuples of a caption; the corpus value is the mean over the utterances."""
    program = context.shared.setdefault("spice", Spice())

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        if not hypotheses:
            raise MetricUnavailable("no utterances to score")
        each = {}
        left = iter(hypotheses)
        while utts := list(islice(left, BATCH)):
            pairs = [
                ([context.segment(text) for text in references[utt]], context.segment(hypotheses[utt])) for utt in utts
            ]
            try:
                values = program.f_values(pairs)
            except MetricUnavailable as err:
                raise MetricUnavailable(f"{err} (utterances {utts[0]} to {utts[-1]})" if each else str(err)) from None
            said = [bool(caption) for _, caption in pairs]
            each |= {utt: 100 * v if says else 0.0 for utt, v, says in zip(utts, values, said, strict=True)}
        return sum(each.values()) / len(each), each

    return score


def spider(context: Context) -> ScoreFunction:
    """SPIDEr (Liu et al., ICCV 2017): the mean of SPICE and CIDEr, per utterance and of the corpus."""
    parts = [spice(context), cider(context)]

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        (corpus, each), (cider_corpus, cider_each) = (part(references, hypotheses) for part in parts)
        return (corpus + cider_corpus) / 2, {utt: (value + cider_each[utt]) / 2 for utt, value in each.items()}

    return score


METRICS = [Metric("spice", "SPICE", spice), Metric("spider", "SPIDEr", spider)]
