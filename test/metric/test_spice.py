import json
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from wrappers import alive

from espnet2_secap.metric import spice as module
from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.java import JavaProcess
from espnet2_secap.metric.ngram import cider
from espnet2_secap.metric.segment import SEGMENTERS
from espnet2_secap.metric.spice import BEGINNING, Spice, spice, spider

WORD = Context(SEGMENTERS["word"])
CHAR = Context(SEGMENTERS["char"], shared=WORD.shared)  # one program for most tests: it takes 5 s to read its models


def needs_spice(test):
    """A test that starts SPICE's program, which reads its models for 5 s."""
    return pytest.mark.slow(3)(pytest.mark.needs("spice")(test))


@pytest.fixture(scope="module")
def english():
    return spice(WORD)


@needs_spice
@pytest.mark.parametrize(
    "references, caption, value",
    [
        # (girl) (girl, young) on both sides
        (["a young girl"], "a young girl", 1),
        # (girl) of (girl) (girl, young): precision 1, recall 1/2
        (["a young girl"], "a girl", 2 / 3),
        # (man) (voice) (man, with, voice) and not (voice, loud): precision and recall 3/4
        (["a man with a calm voice"], "a man with a loud voice", 3 / 4),
        # references together (girl) (girl, young) (girl, sing): precision 1, recall 2/3
        (["a young girl", "a girl sings"], "a young girl", 4 / 5),
        # one synset of WordNet
        (["a red car"], "a red automobile", 1),
        (["a red car"], "a red voice", 0),
        # no noun, no tuple
        (["very sadly"], "very sadly", 0),
    ],
)
def test_by_hand(english, references, caption, value):
    corpus, each = english({"a": references}, {"a": caption})
    assert corpus == pytest.approx(100 * value) and each == {"a": pytest.approx(100 * value)}


@needs_spice
def test_corpus_is_the_mean_and_ids_stay_over_several_requests(english):
    utts = [f"u{at}" for at in range(2 * module.BATCH + 1)]
    random.Random(0).shuffle(utts)
    good = set(utts[::3])
    references = {utt: ["a young girl"] for utt in sorted(utts)}
    corpus, each = english(references, {utt: "a young girl" if utt in good else "a car" for utt in utts})
    assert each == {utt: 100 if utt in good else 0 for utt in utts}
    assert corpus == pytest.approx(100 * len(good) / len(utts))


@needs_spice
def test_the_same_as_spice_s_own_program(english, tmp_path):
    rng = random.Random(0)
    adjectives, nouns = "two young sad happy calm loud low".split(), "speaker voice girl man woman boys tone".split()
    verbs = "speaks shouts holds has uses with in".split()

    def draw():
        return " ".join(rng.choice(words) for words in (adjectives, nouns, verbs, adjectives, adjectives, nouns))

    references = {f"u{at}": [draw() for _ in range(rng.randint(1, 3))] for at in range(25)}
    hypotheses = {utt: draw() for utt in references}
    items = [{"image_id": utt, "test": hypotheses[utt], "refs": texts} for utt, texts in references.items()]
    (tmp_path / "input.json").write_text(json.dumps(items))
    (tmp_path / "run.js").write_text(
        """
        function open(name, types, values) {
          var constructor = java.lang.Class.forName("edu.anu.spice." + name).getDeclaredConstructor(types);
          constructor.setAccessible(true);
          return constructor.newInstance(values);
        }
        var options = java.lang.reflect.Array.newInstance(java.lang.String, 2);
        options[0] = "input.json";
        options[1] = "-silent";
        var scorer = open("SpiceScorer", [], []);
        scorer.scoreBatch(open("SpiceArguments", [options.getClass()], [options]));
        print("VALUES" + scorer.stats.toJSONString());
        """
    )
    command = ["java", "-Xmx4G", "-Dfile.encoding=UTF-8", *module._command()[:-1], "run.js"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "VALUES" in done.stdout, done.stderr[-1000:]
    own = {item["image_id"]: 100 * item["scores"]["All"]["f"] for item in json.loads(done.stdout.split("VALUES")[1])}
    assert english(references, hypotheses)[1] == own and len(set(own.values())) > 10


@needs_spice
@pytest.mark.parametrize(
    "odd",
    [
        "",
        " \t\n",
        "。，！",
        "?!.,;:-()[]{}<>",
        "a|||b",
        "\"'`\\",
        "😀😀",
        "\ud83d",
        "一\n二\r\n三\u2028",
        "\x00\x07\x1b",
        "语气很高兴",
        "x" * 10000,
        "." * 10000,
        "loud voice. " * 5000,
    ],
)
def test_odd_captions_get_a_score(english, odd):
    references = {"a": ["a young girl"], "b": ["a young girl", odd], "c": ["a young girl"]}
    corpus, each = english(references, {"a": odd, "b": "a young girl", "c": "a young girl"})
    assert each["a"] == 0 and each["c"] == 100
    assert 0 < each["b"] <= 100 and 30 < corpus < 100


@needs_spice
def test_chinese_by_characters():
    values = spice(CHAR)({"a": ["语气很悲伤"], "b": ["语气很悲伤"]}, {"a": "语气很悲伤", "b": "高兴"})[1]
    assert values == {"a": pytest.approx(100), "b": 0}


@needs_spice
def test_what_is_behind_the_80th_token_does_not_count(english):
    assert english({"a": ["a young girl"]}, {"a": "a young girl" + " ." * 77 + " a loud voice" * 3000})[0] == 100
    assert english({"a": ["a young girl"]}, {"a": "a young girl" + " ." * 70 + " a loud voice"})[0] < 100


@pytest.mark.parametrize(
    "text, kept",
    [
        ("", ""),
        ("a 语气 b", "a 语气 b"),
        ("语" * 100, "语" * 80),
        ("a b " * 100, "a b " * 39 + "a b"),
        ("ab'" * 100, "ab'" * 40),
        ("é" * 10000, "é" * 8000),
        ("\ud83d" * 100, "\ud83d" * 80),
    ],
)
def test_beginning_that_counts(text, kept):
    assert BEGINNING.match(text)[0] == kept


@needs_spice
def test_spider_by_hand_with_the_program_of_spice():
    # The same words: SPICE 1, CIDEr-D 10. Other words: 0 and 0.
    references = {"a": ["the man has a calm voice"], "b": ["one girl sings"]}
    hypotheses = {"a": "the man has a calm voice", "b": "blue cars drive"}
    assert spice(WORD)(references, hypotheses) == (50, {"a": 100, "b": 0})
    program = WORD.shared["spice"]._process
    assert cider(WORD)(references, hypotheses)[1] == {"a": pytest.approx(1000), "b": 0}
    corpus, each = spider(WORD)(references, hypotheses)
    assert corpus == pytest.approx(275) and each == {"a": pytest.approx(550), "b": 0}
    assert WORD.shared["spice"]._process is program


@needs_spice
def test_too_late_is_a_reason_and_the_program_is_gone(monkeypatch):
    program = Spice()
    pair = (["a young girl"], "a young girl")
    assert program.f_values([pair]) == [1]
    pid = program._process._process.pid
    with monkeypatch.context() as patch:
        patch.setattr(module, "TIMEOUT", 0.5)
        patch.setattr(module, "TIMEOUT_PER_TOKEN", 0.0)
        with pytest.raises(MetricUnavailable, match="no answer within 0.5 s"):
            program.f_values([(["loud voice " * 40], "sad " * 80)])
    assert not alive(pid)
    assert program.f_values([pair]) == [1]  # starts anew


@needs_spice
def test_out_of_memory_is_a_reason(monkeypatch):
    monkeypatch.setattr(module, "MEMORY", "100M")
    with pytest.raises(MetricUnavailable, match="ran out of memory"):
        spice(Context(SEGMENTERS["word"]))({"a": ["a young girl"]}, {"a": "a girl"})


@needs_spice
@pytest.mark.parametrize(
    "request_line, reason", [("no JSON", "failed: .*SyntaxError"), ('[["a", "b"]]', "failed: js: ")]
)
def test_error_in_the_program_is_a_reason(request_line, reason):
    with pytest.raises(MetricUnavailable, match=reason):
        JavaProcess(module._command(), "4G", 60).ask(request_line)


@needs_spice
def test_killed_program_is_a_reason():
    program = JavaProcess(module._command(), "4G", 60)
    program._process.kill()
    with pytest.raises(MetricUnavailable, match="failed: killed by signal 9"):
        program.ask("[]")


@needs_spice
def test_two_at_once(english):
    results = {}

    def run(at: int) -> None:
        results[at] = Spice().f_values([(["a young girl"], "a girl"), (["a calm voice"], "a voice")] * (at + 1))

    threads = [threading.Thread(target=run, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {at: [pytest.approx(2 / 3)] * (2 * at + 2) for at in range(2)}


@needs_spice
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_program_ends_with_us(number):
    code = """
import json, threading
from espnet2_secap.metric.spice import Spice
program = Spice()
program.f_values([(["a girl"], "a girl")])
threading.Timer(1, lambda: print(program._process._process.pid, flush=True)).start()
program.f_values([(["loud voice " * 40], "sad " * 80)] * 20)
"""
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731, of tests in the background it is ignored
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code], preexec_fn=heard, **pipes) as python:
        pid = int(python.stdout.readline())
        assert alive(pid)
        python.send_signal(number)
        assert python.wait(60) != 0
    give_up = time.monotonic() + 60
    while alive(pid) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not alive(pid)


def test_no_parser(monkeypatch, tmp_path):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SEC_SPICE", str(tmp_path / "none"))
    for make in (spice, spider):
        with pytest.raises(
            MetricUnavailable, match="none/stanford-corenlp-3.6.0.jar is missing; run `make -C tools spice`"
        ):
            make(Context(SEGMENTERS["char"]))({"a": ["高兴"]}, {"a": "高兴"})


def test_no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricUnavailable, match="needs Java"):
        spice(Context(SEGMENTERS["char"]))({"a": ["高兴"]}, {"a": "高兴"})


@pytest.mark.parametrize(
    "script, reason",
    [
        ("sleep 60", "no answer within 3 s"),
        ("echo INFO >&2; echo 'java.lang.NoSuchFieldError: x' >&2; exit 1", "failed: java.lang.NoSuchFieldError: x"),
        ("while read line; do echo sorry; done", "failed: sorry"),
    ],
)
def test_broken_java_is_a_reason(monkeypatch, tmp_path, script, reason):
    for jar in module.JARS:
        (tmp_path / jar).touch()
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SEC_SPICE", str(tmp_path))
    monkeypatch.setattr(module, "TIMEOUT", 1.0 if "sleep" in script else 30.0)  # and half a second for each of 4 tokens
    with pytest.raises(MetricUnavailable, match=reason):
        spice(Context(SEGMENTERS["char"]))({"a": ["高兴"]}, {"a": "高兴"})
