import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from listening import answer, design_of, simulate

from espnet2_secap.errors import SecError
from espnet2_secap.listen.store import VERSIONS, Refused, Store


@pytest.fixture
def design():
    return design_of(8, groups=3, per_utterance=1)


@pytest.fixture
def store(design, tmp_path):
    made = Store(tmp_path / "answers.sqlite", design, make=True)
    yield made
    made.close()


def test_listeners_are_dealt_evenly_and_keep_their_tokens(store):
    first = store.add_listeners(4)
    assert [(name, group) for name, group, _ in first] == [
        ("listener_001", 1), ("listener_002", 2), ("listener_003", 3), ("listener_004", 1),
    ]  # fmt: skip
    assert len({token for *_, token in first}) == 4 and all(len(token) >= 24 for *_, token in first)
    more = store.add_listeners(15)
    assert more[:4] == first and sorted(group for _, group, _ in more) == [1] * 5 + [2] * 5 + [3] * 5
    assert store.add_listeners(3) == more
    assert store.listener(first[1][2]) == ("listener_002", 2)
    for other in ("", "' OR '1'='1", first[0][2] + "x", "\x00"):
        assert store.listener(other) is None


def test_the_same_answer_is_stored_once_and_a_changed_one_is_a_new_version(store, tmp_path):
    token = store.add_listeners(1)[0][2]
    assert store.put(token, [answer("a", 3), answer("b", 1)]) == 2
    assert store.put(token, [answer("a", 3), answer("b", 1)]) == 0
    assert store.put(token, [answer("a", 3, seconds=50), answer("b", 2)]) == 1
    assert store.answers(token) == [answer("a", 3), answer("b", 2)]
    rows = sqlite3.connect(tmp_path / "answers.sqlite").execute(
        "SELECT item, version, score FROM answers ORDER BY 1, 2"
    )
    assert rows.fetchall() == [("a", 1, 3), ("b", 1, 1), ("b", 2, 2)]


def test_an_answer_cannot_be_changed_for_ever(store):
    token = store.add_listeners(1)[0][2]
    for at in range(VERSIONS):
        store.put(token, [answer("a", 3 + at % 2)])
    with pytest.raises(Refused, match=f"changed {VERSIONS} times"):
        store.put(token, [answer("b", 1), answer("a", 5)])
    assert store.answers(token) == [answer("a", 4)]  # all of a request or none
    assert (VERSIONS - 1) % 2 == 1


def test_text_is_never_part_of_a_statement(store):
    token = store.add_listeners(1)[0][2]
    hostile = "'); DROP TABLE answers; --"
    assert store.put(token, [answer(hostile, 3)]) == 1
    assert [one.item for one in store.answers(token)] == [hostile]
    assert store.put(token, []) == 0


def test_many_at_once(store, design):
    listeners = store.add_listeners(50)
    means = {"human": 4.0, "ours": 3.0, "label": 2.0}

    def vote(at):
        name, group, token = listeners[at % 50]
        items = list(design.asked(group))
        return sum(store.put(token, [answer(item, 3)]) for item in items)

    with ThreadPoolExecutor(20) as pool:
        stored = list(pool.map(vote, range(100)))  # everybody twice
    assert sum(stored) == 50 * 8
    sheets = store.sheets()
    assert len(sheets) == 50 and all(len(sheet.answers) == 8 for sheet in sheets)
    assert {sheet.listener for sheet in sheets} == {name for name, *_ in listeners}
    assert simulate(design, 0, means).answers.keys() == sheets[0].answers.keys()


def test_what_is_no_database_of_this_test(design, tmp_path, store):
    with pytest.raises(SecError, match="is of another design"):
        Store(tmp_path / "answers.sqlite", design_of(9, groups=3, per_utterance=1))
    with pytest.raises(SecError, match="does not exist; run sec_listen serve"):
        Store(tmp_path / "none.sqlite", design)
    (tmp_path / "text.sqlite").write_text("no database at all, only text " * 50)
    with pytest.raises(SecError, match="text.sqlite: file is not a database"):
        Store(tmp_path / "text.sqlite", design)
    assert os.stat(tmp_path / "answers.sqlite").st_mode & 0o077 == 0


WRITER = """
import sys
sys.path[:0] = sys.argv[3:]
from listening import answer, design_of
from espnet2_secap.listen.store import Store
store = Store(sys.argv[1], design_of(8, groups=3, per_utterance=1))
for at in range(100000):
    store.put(sys.argv[2], [answer(f"item {at}", 3)])
    print(at, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(store, design, tmp_path, repo):
    token = store.add_listeners(1)[0][2]
    for _ in range(3):
        before = len(store.answers(token))
        argv = [sys.executable, "-c", WRITER, str(store.path), token, str(repo), str(repo / "test")]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            done = -1
            while done < before + 20:
                done = int(process.stdout.readline())
            time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            done = max([done, *map(int, process.stdout.read().split("\n")[:-1])])
        found = {one.item for one in store.answers(token)}
        assert {f"item {at}" for at in range(done + 1)} <= found and len(found) <= done + 2
