"""Signals that make a training save and stop: TERM, and USR1, Slurm's warning before the time limit."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

REQUEUE = 99  # exit status: state is saved, run again (utils/slurm.pl, Slurm's RequeueExit)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupt:
    """Remembers the first signal during training. Before training, TERM ends the program with status REQUEUE.

    USR1 before the first step is remembered, too: a job with a short time limit still does that step before it is
    requeued, and so makes progress. A process that only waits for others forwards the signal.
    """

    def __init__(self):
        self.training = False
        self.name: str | None = None  # of the signal
        self.children: list[int] = []  # process ids

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within the block; in the main thread only."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        self.__init__()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame) -> None:
        name = signal.Signals(number).name
        if self.children:
            for pid in self.children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        elif self.training or number == signal.SIGUSR1:
            self.name = self.name or name
        else:
            print(f"sec_train: stopped by {name}; repeat the command to resume", file=sys.stderr)
            sys.exit(REQUEUE)


interrupt = Interrupt()  # signals belong to a process, so there is one instance
