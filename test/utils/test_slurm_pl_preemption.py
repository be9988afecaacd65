"""utils/slurm.pl on a real Slurm that ends jobs for those of a partition of higher rank (preemption)."""

import re

import pytest
from wrappers import SAVING, SlurmCalls

pytestmark = pytest.mark.slow(15)

PLAIN = 'echo begun ${SLURM_RESTART_COUNT:-0}; [ -n "${SLURM_RESTART_COUNT:-}" ] || sleep 300'


@pytest.fixture(scope="module")
def ended(slurm, tmp_path_factory):
    """Four jobs on one node, of partitions that requeue and cancel, and one of higher rank that wants all of the node.

    Returns:
        log's name -> (exit status and stderr of slurm.pl, what the command said).
    """
    calls = SlurmCalls(slurm, tmp_path_factory.mktemp("preemption"))
    saving, plain = ["python3", "-c", SAVING], ["bash", "-c", PLAIN]
    wrappers = {
        "requeued": calls.start("--partition", "last", "log/requeued.log", *plain),
        "warned": calls.start("--partition", "last_graced", "--warned", "yes", "log/warned.log", *saving),
        "saved": calls.start("--partition", "last_cancelled", "log/saved.log", *saving),
        "cancelled": calls.start("--partition", "last_cancelled", "log/cancelled.log", *plain),
    }
    for name in wrappers:
        calls.running(f"log/{name}.log")
    assert calls.run("--partition", "first", "--num_threads", 4, "log/first.log", "true") == (0, "")
    return {name: (calls.end(wrapper, 90), calls.said(f"log/{name}.log")) for name, wrapper in wrappers.items()}


def test_what_slurm_queues_again_goes_on(ended):
    (status, err), said = ended["requeued"]
    assert status == 0, err
    assert said.replace("Terminated\n", "") == "begun 0\nbegun 1\n"


def test_a_training_saves_at_slurm_s_warning(ended):
    """As --signal=B:USR1 of conf/slurm.conf and preempt_send_user_signal of the cluster ask for it."""
    (status, err), said = ended["warned"]
    assert status == 0, err
    assert re.fullmatch(r"begun 0 \d+\nsaved at SIGUSR1\nbegun 1 \d+\n", said)


def test_a_training_that_slurm_cancels_asks_to_be_queued_again(ended):
    (status, err), said = ended["saved"]
    assert status == 0, err
    assert re.fullmatch(r"begun 0 \d+\nsaved at SIGTERM\nbegun 1 \d+\n", said)


def test_what_has_not_saved_is_named(ended):
    (status, err), _ = ended["cancelled"]
    assert status == 1 and "1 / 1 failed, log is in log/cancelled.log (PREEMPTED, code 143)\n" in err
