"""METEOR 1.5 for captions: the Java program that comes with pycocoevalcap, driven so that it cannot hang.

The program reads one request per line and answers each with a line: SCORE ||| reference ||| ... ||| hypothesis gives
statistics, EVAL ||| statistics ||| statistics ... gives a value for each of them and then one for all.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)

MEMORY = "2G"
TIMEOUT = 120.0  # seconds for one answer; the first one waits for 60 MB of English paraphrases
# Chinese, its punctuation, kana: no English stem, synonym or paraphrase can match there, and the 10 s in which
# the program reads its tables of them can be saved.
NO_ENGLISH = re.compile(r"[\s\u3001-\u9fff\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]*")


class MeteorProcess:
    """The Java program, running.

    Args:
        english: match English stems, synonyms and paraphrases too, not words alone.
        memory: its heap's limit, as Java writes it.
        timeout: seconds after which an answer no longer comes.

    Raises:
        MetricUnavailable: (also from `ask`) no Java, no METEOR, it died, or gave no answer in time.
    """

    def __init__(self, english: bool, memory: str, timeout: float):
        java = shutil.which("java")
        if java is None:
            raise MetricUnavailable("needs Java, and there is no `java` on the PATH")
        jar = _jar()
        command = [java, f"-Xmx{memory}", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8"]
        command += ["-Duser.language=en", "-Duser.country=US"]  # else a locale may want decimal commas
        command += ["-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
        command += [] if english else ["-m", "exact", "-w", "1.0"]
        self.english = english
        self.timeout = timeout
        self._late = False
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                command,
                cwd=jar.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        except OSError as err:
            raise MetricUnavailable(f"{java} does not start: {err.strerror}") from None
        self._finalizer = weakref.finalize(self, _stop, self._process)

    def close(self) -> None:
        """End the program; `ask` cannot be called any more."""
        self._finalizer()

    def ask(self, request: str, answers: int = 1) -> list[list[float]]:
        """Send a line, return the numbers of each of the lines that answer it."""
        with self._in_time():
            try:
                self._process.stdin.write(request.encode("utf-8", "replace") + b"\n")
                self._process.stdin.flush()
            except OSError:
                raise MetricUnavailable(self._reason()) from None
            lines = [self._process.stdout.readline().decode("utf-8", "replace") for _ in range(answers)]
        try:
            numbers = [[float(number) for number in line.split()] for line in lines]
        except ValueError:
            raise MetricUnavailable(self._reason("; ".join(line.strip() for line in lines))) from None
        if not all(numbers):  # an empty line: the program has ended
            raise MetricUnavailable(self._reason())
        return numbers

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Kill the program when the block takes too long: then reads and writes of its pipes end."""

        def give_up() -> None:
            self._late = True
            self._process.kill()

        timer = threading.Timer(self.timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _reason(self, answer: str = "") -> str:
        if self._late:
            return f"gave no answer within {self.timeout:g} s"
        if not answer:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._errors.seek(0)
            lines = self._errors.read().decode("utf-8", "replace").splitlines()
            lines = [line for line in lines if line.strip() and not line.startswith("Picked up")]
            answer = lines[0] if lines else "no output"
        if "OutOfMemoryError" in answer:
            return "ran out of memory"
        return f"failed: {answer[:200]}"


def _stop(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        try:
            pipe.close()
        except OSError:
            pass  # what a dead program did not read


def _jar() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in spec.submodule_search_locations if spec else ():
        for jar in sorted((Path(folder) / "meteor").glob("meteor-*.jar")):
            return jar
    raise MetricUnavailable("its Java program comes with pycocoevalcap, which is not installed")


def _needs_english(captions: Iterable[str]) -> bool:
    return not all(NO_ENGLISH.fullmatch(caption) for caption in captions)


def meteor(context: Context) -> ScoreFunction:
    """METEOR with the parameters for English, as the coco tools call it for every language."""
    running: list[MeteorProcess] = []

    def program(english: bool) -> MeteorProcess:
        if not running or english > running[0].english:
            for process in running:
                process.close()
            running[:] = [MeteorProcess(english, MEMORY, TIMEOUT)]
        return running[0]

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        if not hypotheses:
            raise MetricUnavailable("there is no utterance to score")
        captions = {utt: [*references[utt], caption] for utt, caption in hypotheses.items()}
        process = program(_needs_english(text for texts in captions.values() for text in texts))
        statistics = []
        for utt, texts in captions.items():
            # three bars separate the fields of a request
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
        return corpus, dict(zip(captions, each, strict=True))

    return score


METRICS = [Metric("meteor", "METEOR", meteor)]
