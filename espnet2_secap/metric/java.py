"""A Java program that answers each line with lines (METEOR, SPICE); it cannot hang, nor outlive this process."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from espnet2_secap.metric.abs_metric import MetricUnavailable

OPTIONS = [
    "-XX:+IgnoreUnrecognizedVMOptions",  # Java 8 to 21 accept different options
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",  # a program that continues after it would give other scores
    "-XX:-UsePerfData",  # would leave a file in the temporary folder when the program is killed
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",  # some locales write decimal commas
    "-Duser.country=US",
]


class JavaProcess:
    """The running Java program.

    Args:
        arguments: arguments after Java's own options.
        memory: limit of the heap, in Java's notation.
        timeout: seconds to wait for an answer; then the program is killed.
        folder: its working directory (default: the current one).

    Raises:
        MetricUnavailable: (also from `ask`) there is no Java, or the program died or did not answer in time.
    """

    def __init__(self, arguments: list[str], memory: str, timeout: float, folder: Path | None = None):
        java = find_java()
        self.timeout = timeout
        self._late = 0.0
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [java, f"-Xmx{memory}", *OPTIONS, *arguments],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # `java` may be a script: its children are killed with it
            )
        except OSError as err:
            raise MetricUnavailable(f"{java} does not start: {err.strerror}") from None
        self._finalizer = weakref.finalize(self, _stop, self._process)  # also when Python exits

    def close(self) -> None:
        """End the program; `ask` cannot be called afterwards."""
        self._finalizer()

    def ask(self, request: str, answers: int = 1, timeout: float | None = None) -> list[str]:
        """Send a line, return the lines that answer it.

        Args:
            timeout: seconds, if this request needs another limit.
        """
        with self._in_time(self.timeout if timeout is None else timeout):
            try:
                self._process.stdin.write(request.encode("utf-8", "replace") + b"\n")
                self._process.stdin.flush()
            except OSError:
                raise MetricUnavailable(self.reason()) from None
            lines = [self._process.stdout.readline().decode("utf-8", "replace") for _ in range(answers)]
        if not all(lines):  # the program has ended
            raise MetricUnavailable(self.reason("".join(lines).strip()))
        return [line.strip() for line in lines]

    @contextmanager
    def _in_time(self, timeout: float) -> Iterator[None]:
        """Kill the program if the block takes too long, so that reads and writes on its pipes return."""

        def give_up() -> None:
            self._late = timeout
            _kill(self._process)

        timer = threading.Timer(timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def reason(self, answer: str = "") -> str:
        """Why there is no score: a timeout, or the output of the program (`answer`, else its standard error)."""
        if self._late:
            return f"gave no answer within {self._late:g} s"
        if not answer:
            try:
                killed_by = -self._process.wait(10)
            except subprocess.TimeoutExpired:
                killed_by = 0
                _kill(self._process)
            self._errors.seek(0)
            lines = self._errors.read().decode("utf-8", "replace").splitlines()
            lines = [line for line in lines if line.strip() and not line.startswith("Picked up")]
            wrong = [line for line in lines if re.search(r"Exception|\wError", line)]
            if killed_by > 0:  # for instance by the system when memory runs out
                wrong.append(f"killed by signal {killed_by}")
            answer = (wrong or lines or ["no output"])[0]
        if "OutOfMemoryError" in answer:
            return "ran out of memory"
        return f"failed: {answer[:200]}"


def _kill(process: subprocess.Popen) -> None:
    if process.poll() is None:  # otherwise its process id may have been reused
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _stop(process: subprocess.Popen) -> None:
    _kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # data that the dead program did not read
            pipe.close()


def find_java() -> str:
    """The program `java`, or MetricUnavailable."""
    java = shutil.which("java")
    if java is None:
        raise MetricUnavailable("needs Java, but there is no `java` on the PATH")
    return java


def coco_jar(pattern: str) -> Path:
    """A Java archive that comes with pycocoevalcap (`pattern` as for glob), or MetricUnavailable."""
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in spec.submodule_search_locations if spec else ():
        for jar in sorted(Path(folder).glob(pattern)):
            return jar
    raise MetricUnavailable("needs the Java program that comes with pycocoevalcap, which is not installed")
