import random
import shutil
import time
from pathlib import Path

import pytest

from espnet2_secap.metric.abs_metric import Context, MetricUnavailable
from espnet2_secap.metric.meteor import MeteorProcess, _needs_english, meteor
from espnet2_secap.metric.segment import SEGMENTERS

CHAR, WORD = Context(SEGMENTERS["char"]), Context(SEGMENTERS["word"])
needs_java = pytest.mark.needs("java")


@pytest.fixture(scope="module")
def chinese():
    return meteor(CHAR)


@pytest.fixture(scope="module")
def english():
    return meteor(WORD)  # one program for all tests: it takes 10 s to read its paraphrases


def with_tables(english, references, hypotheses) -> dict[str, float]:
    """Values of the utterances where one more needs the tables."""
    _, each = english({"english": ["a word"]} | references, {"english": "a word"} | hypotheses)
    del each["english"]
    return each


@needs_java
def test_by_hand(chinese):
    # 悲 伤 河 match: precision 3/4, recall 3/6, two chunks; alpha 0.85, beta 0.2, gamma 0.6
    mean = 3 / 4 * 3 / 6 / (0.85 * 3 / 4 + 0.15 * 3 / 6)
    value = 100 * mean * (1 - 0.6 * (2 / 3) ** 0.2)
    corpus, each = chinese({"a": ["悲伤逆流成河"]}, {"a": "悲伤伤河"})
    assert corpus == pytest.approx(value) and each == {"a": pytest.approx(value)}


@needs_java
def test_best_reference_counts_and_ids_stay(chinese):
    references = {"b": ["很悲伤"], "a": ["语气平静", "高兴极了"]}
    _, each = chinese(references, {"a": "高兴极了", "b": "不知道"})
    assert each == {"a": pytest.approx(100), "b": 0}


@needs_java
@pytest.mark.slow(15)
def test_english_matches_stems_and_synonyms(english):
    _, each = english({"a": ["he sounds glad"], "b": ["he sounds glad"]}, {"a": "he sounded happy", "b": "x y z"})
    assert each["a"] > 50 and each["b"] == 0


@needs_java
@pytest.mark.slow(15)
def test_the_tables_are_read_when_they_are_needed_for_the_first_time():
    score = meteor(WORD)
    assert score({"a": ["很 高兴"]}, {"a": "高兴 glad"})[1]["a"] > 0
    assert score({"a": ["he sounds glad"]}, {"a": "he sounded happy"})[1]["a"] > 50


def test_no_utterances_is_a_reason():
    with pytest.raises(MetricUnavailable, match="no utterances"):
        meteor(CHAR)({}, {})


@needs_java
@pytest.mark.slow(15)
def test_reading_no_english_tables_changes_no_chinese_score(chinese, english):
    rng = random.Random(0)
    draw = lambda: "".join(rng.choice("语气很高兴悲伤，。、（）；的") for _ in range(rng.randint(1, 15)))  # noqa: E731
    references = {f"u{at}": [draw(), draw()] for at in range(200)}
    hypotheses = {utt: draw() for utt in references}
    tokens = SEGMENTERS["char"]
    split = {utt: [tokens(one) for one in captions] for utt, captions in references.items()}
    expected = with_tables(english, split, {utt: tokens(one) for utt, one in hypotheses.items()})
    assert chinese(references, hypotheses)[1] == expected and len(set(expected.values())) > 20


@needs_java
@pytest.mark.slow(15)
def test_nor_a_score_between_chinese_and_english(english):
    """A caption with a stray Latin word needs no tables where its references have none, nor the other way round."""
    rng = random.Random(1)
    words = "he sounds glad happy and the two 2 B n2 ok , . ; ? ! ... 's of very \\".split()
    pools = [list("语气很高兴悲伤，。、（）；的"), words + list("语气很高兴")]
    draw = lambda pool: " ".join(rng.choice(pool) for _ in range(rng.randint(1, 12)))  # noqa: E731
    references = {f"u{at}": [draw(pools[at % 2]), draw(pools[at % 2])] for at in range(400)}
    hypotheses = {utt: draw(pools[at % 2 == 0]) for at, utt in enumerate(references)}
    expected = with_tables(english, references, hypotheses)
    assert meteor(WORD)(references, hypotheses)[1] == expected and len(set(expected.values())) > 20


@pytest.mark.parametrize(
    "reference, caption, needed",
    [("高兴", "高兴", False), ("高兴", "glad", False), ("glad", "高兴", False), ("glad", "happy", True),
     ("高兴 ok", "高兴 fine", True)],
)  # fmt: skip
def test_english_tables_are_read_only_where_both_sides_could_match(reference, caption, needed):
    references, hypotheses = {"a": ["语气", reference], "b": ["glad"]}, {"a": caption, "b": "语气"}
    assert _needs_english(references, hypotheses) is needed


@needs_java
@pytest.mark.parametrize(
    "odd",
    [
        "",
        " \t\n",
        "。，！",
        "a|||b",
        "|||||| |||",
        "\"'`\\",
        "😀😀",
        "一\n二\r\n三\t",
        "\x00\x07",
        "EVAL ||| 1",
        "\ud800",
    ],
)
def test_odd_captions_get_a_score(english, odd):
    corpus, each = english({"a": ["语气很悲伤"], "b": ["语气很高兴"]}, {"a": odd, "b": "语气很高兴"})
    assert each == {"a": 0, "b": pytest.approx(100)} and 0 < corpus < 100


@needs_java
@pytest.mark.slow(15)
def test_odd_references_and_ten_thousand_tokens(english):
    references = {"a": ["悲 ||| 伤\t\n", "😀"], "b": ["很 高兴"], "c": ["语气 很 高兴"]}
    _, each = english(references, {"a": "悲 ||| 伤", "b": "很 高兴" + " 的" * 10000, "c": "啊" * 10000})
    assert each == {"a": pytest.approx(100), "b": pytest.approx(0, abs=1), "c": 0}


@needs_java
def test_out_of_memory_says_at_which_utterance(monkeypatch):
    monkeypatch.setattr("espnet2_secap.metric.meteor.MEMORY", "40M")
    score = meteor(CHAR)
    references = {"fine": ["高兴"], "huge": ["的" * 40]}
    with pytest.raises(MetricUnavailable, match="out of memory at utterance huge .a caption of 10000 tokens"):
        score(references, {"fine": "高兴", "huge": "的" * 10000})
    assert score({"a": ["高兴"]}, {"a": "高兴"})[0] == pytest.approx(100)  # starts anew


@needs_java
def test_killed_program_is_a_reason_not_a_broken_pipe():
    process = MeteorProcess(False, "1G", 60)
    process.ask("SCORE ||| a ||| a")
    process._process.kill()
    with pytest.raises(MetricUnavailable, match="failed"):
        for _ in range(3):
            process.ask("SCORE ||| a ||| a")


@needs_java
def test_answer_that_is_no_number_is_a_reason():
    with pytest.raises(MetricUnavailable, match="failed: Error: specify"):
        MeteorProcess(False, "1G", 60).ask("SCORE")


def test_no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricUnavailable, match="needs Java"):
        meteor(CHAR)({"a": ["高兴"]}, {"a": "高兴"})


@pytest.mark.parametrize(
    "script, reason",
    [
        ("exec sleep 60", "no answer within 1 s"),
        ("echo 'Error: no such heap' >&2; exit 1", "failed: Error: no such heap"),
        ("exit 0", "failed: no output"),
        ("exec sed -u 's/.*/sorry/'", "failed: sorry"),
    ],
)
def test_broken_java_neither_hangs_nor_raises_anything_else(monkeypatch, tmp_path, script, reason):
    java = tmp_path / "java"
    java.write_text(f"#!{shutil.which('sh')}\n{script}\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(shutil.which('sleep')).parent}")
    monkeypatch.setattr("espnet2_secap.metric.meteor.TIMEOUT", 1.0 if "sleep" in script else 30.0)
    start = time.monotonic()
    with pytest.raises(MetricUnavailable, match=reason):
        meteor(CHAR)({"a": ["高兴" * 100000]}, {"a": "高兴" * 100000})  # more than a pipe holds
    assert time.monotonic() - start < 40
