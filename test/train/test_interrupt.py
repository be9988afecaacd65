"""Signals to a training; test_trainer.py and test_parallel.py send them to real ones."""

import os
import signal
import subprocess

import pytest

from espnet2_secap.train.interrupt import REQUEUE, Interrupt


@pytest.fixture
def interrupt():
    interrupt = Interrupt()
    with interrupt.listening():
        yield interrupt


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_before_the_training_term_ends_the_program(interrupt, capsys):
    with pytest.raises(SystemExit) as caught:
        send(signal.SIGTERM)
    assert caught.value.code == REQUEUE == 99
    assert capsys.readouterr().err == "sec_train: stopped by SIGTERM; repeat the command to resume\n"


def test_before_the_training_usr1_is_remembered(interrupt):
    send(signal.SIGUSR1)
    assert interrupt.name == "SIGUSR1"


def test_during_the_training_the_first_signal_counts(interrupt):
    interrupt.training = True
    assert interrupt.name is None
    send(signal.SIGTERM)
    send(signal.SIGUSR1)
    assert interrupt.name == "SIGTERM"


def test_a_process_that_waits_for_others_forwards_it(interrupt):
    script = "trap 'exit 7' USR1; echo up; while :; do sleep 0.05; done"
    child = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE)
    child.stdout.readline()
    gone = subprocess.Popen(["true"])
    gone.wait()
    interrupt.children = [gone.pid, child.pid]
    send(signal.SIGUSR1)
    assert child.wait(timeout=30) == 7 and interrupt.name is None
    child.stdout.close()


def test_after_the_block_the_handlers_are_as_before():
    before = signal.getsignal(signal.SIGUSR1)
    interrupt = Interrupt()
    with interrupt.listening():
        assert signal.getsignal(signal.SIGUSR1) != before
        send(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == before and interrupt.name == "SIGUSR1"
    with interrupt.listening():
        assert interrupt.name is None, "an earlier signal is forgotten"
