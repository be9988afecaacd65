import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ref").write_text('a ["语气很高兴", "开心"]\nb ["语速较快，悲伤"]\n', encoding="utf-8")
    (tmp_path / "hyp").write_text('a ["开心", "高兴"]\nb ["语速快", ""]\n', encoding="utf-8")
    return tmp_path


def run(files, *args, output="out/score.json", hyp="hyp", path=None):
    command = [
        sys.executable,
        "-m",
        "espnet2_secap.bin.sec_score",
        "--ref",
        "ref",
        "--hyp",
        hyp,
        "--output",
        output,
    ]
    env = os.environ | ({"PATH": str(path)} if path else {})
    return subprocess.run([*command, *args], cwd=files, env=env, capture_output=True, text=True, timeout=120)


def test_scores_and_meta(files):
    done = run(
        files, "--metrics", "bleu_1", "emotion_recall", "rate_recall", "pitch_recall", "--zero_shot", "../o/data"
    )
    assert done.returncode == 0, done.stderr
    score = json.loads((files / "out" / "score.json").read_text())
    assert list(score) == ["bleu_1", "emotion_recall", "rate_recall", "pitch_recall"]
    # emotions: happy of a named twice, sad of b never; rate is known of b alone and named by its first candidate
    assert score["emotion_recall"] == {"mean": 50, "std": 0, "n": 2, "values": [50, 50]}
    assert score["rate_recall"] == {"mean": 50, "std": 50, "n": 2, "values": [100, 0]}
    assert score["pitch_recall"]["mean"] is None and "names its pitch" in score["pitch_recall"]["reason"]
    assert "pitch_recall     n/a: " in done.stdout and "rate_recall      50.00 ±50.00" in done.stdout
    meta = json.loads((files / "out" / "score_meta.json").read_text())
    assert meta["command"].startswith("sec_score --ref ref --hyp hyp") and meta["segment"] == "char"
    assert meta["zero_shot"] == "../o/data"
    assert (files / "out" / "scores.tsv").read_text().startswith("id\tcandidate\tbleu_1\temotion_recall\trate_recall\n")


def test_without_java_meteor_is_not_available_and_the_rest_is(files):
    done = run(files, path=files)
    assert done.returncode == 0, done.stderr
    score = json.loads((files / "out" / "score.json").read_text())
    assert [name for name, value in score.items() if value["mean"] is None] == ["meteor", "volume_recall"]
    assert "meteor           n/a: needs Java" in done.stdout


def test_kind_12_no_metric_at_all_is_an_error_with_the_reasons(files):
    done = run(files, "--metrics", "meteor", "volume_recall", path=files)
    assert done.returncode == 1 and done.stdout == "" and not (files / "out").exists()
    assert "none of meteor, volume_recall could be computed: needs Java" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "does not exist"),
        ("", "is empty"),
        ('a ["x"]\nb 高兴\n', "b: is not a list of captions"),
        ('a ["x"]\n', "1 of the 2 utterances in ref have no candidate (b)"),
        ('a ["x"]\nb ["x"]\nc ["x"]\n', "1 of its ids are not in ref (c)"),
        ('a ["x"]\na ["x"]\n', "twice"),
    ],
)
def test_bad_captions_are_one_line_and_earlier_scores_stay(files, content, message):
    (files / "out").mkdir()
    (files / "out" / "score.json").write_text("{}")
    if content is not None:
        (files / "bad").write_text(content, encoding="utf-8")
    done = run(files, hyp="bad")
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "error: bad:" in done.stderr
    assert message in done.stderr
    assert [path.name for path in (files / "out").iterdir()] == ["score.json"]
    assert (files / "out" / "score.json").read_text() == "{}"


@pytest.mark.parametrize(
    "args, message",
    [
        (["--metrics", "blue"], "no metric 'blue'"),
        (["--words", "none.json"], "none.json: no such words file"),
        (["--truth_dir", "nowhere"], "nowhere: no such folder"),
        (["--device", "gpu"], "--device gpu: cannot be used here"),
    ],
)
def test_bad_options(files, args, message):
    done = run(files, *args)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (files / "out").exists()


def test_output_that_cannot_be_written(files):
    done = run(files, "--metrics", "bleu_1", output="hyp/score.json")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "hyp" in done.stderr.splitlines()[-1]


def test_different_numbers_of_candidates_are_told(files):
    (files / "hyp").write_text('a ["开心", "高兴"]\nb ["语速快"]\n', encoding="utf-8")
    done = run(files, "--metrics", "bleu_1")
    assert done.returncode == 0 and "1 of 2 utterances have more than 1 candidates (a)" in done.stderr
    assert json.loads((files / "out" / "score.json").read_text())["bleu_1"]["n"] == 1


def test_starts_without_heavy_imports():
    code = "import sys, espnet2_secap.bin.sec_score as s; s.get_parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not {"torch", "espnet2", "transformers", "numpy"} & set(done.stdout.split())


def test_the_unicode_form_is_an_option_and_named_in_the_tables(files):
    (files / "ref").write_text('a ["高兴，开心"]\nb ["悲伤，难过"]\n', encoding="utf-8")
    (files / "hyp").write_text('a ["高兴,开心"]\nb ["悲伤，难过"]\n', encoding="utf-8")
    output = ["--metrics", "bleu_1"]
    done = run(files, *output, output="exp/plain/test/score.json")
    assert "1 of 3 captions differ under NFKC" in done.stderr and "--score_args '--normalize nfkc'" in done.stderr
    assert "bleu_1           90.00" in done.stdout, "one of ten characters differs"
    done = run(files, *output, "--normalize", "nfkc", output="exp/nfkc/test/score.json")
    assert "bleu_1           100.00" in done.stdout and "captions in NFKC" in done.stdout and "NFKC" not in done.stderr
    meta = [json.loads((files / f"exp/{name}/test/score_meta.json").read_text()) for name in ("plain", "nfkc")]
    assert [one["normalize"] for one in meta] == ["nfc", "nfkc"]
    report = [sys.executable, "-m", "espnet2_secap.bin.sec_report", "--expdir", "exp"]
    assert subprocess.run(report, cwd=files, capture_output=True, timeout=120).returncode == 0
    text = (files / "exp" / "RESULTS.md").read_text(encoding="utf-8")
    assert "char, captions in NFKC (nfkc); char (plain)" in text or "char (plain)" in text and "in NFKC (nfkc)" in text
    assert "1 of 3 captions differ under NFKC" in text


def test_training_captions_add_two_metrics(files):
    (files / "train").write_text('x ["语速较快，悲伤", "开心"]\ny ["语速较快，悲伤"]\n', encoding="utf-8")
    done = run(files, "--train_captions", "train", path=files)
    assert done.returncode == 0, done.stderr
    score = json.loads((files / "out" / "score.json").read_text())
    assert score["copies"]["values"] == [50, 0]  # 开心 of the first candidates
    rows = [line.split("\t") for line in (files / "out" / "scores.tsv").read_text().splitlines()]
    whole, unseen = rows[0].index("cider"), rows[0].index("cider_unseen")
    assert [row[unseen] for row in rows[1:]] == [rows[1][whole], rows[2][whole], "", ""]  # b's reference is a stock one
    meta = json.loads((files / "out" / "score_meta.json").read_text())
    assert meta["train_captions"] == "train" and set(meta["made_from"]) == {"ref", "hyp", "train_captions"}


def test_training_captions_of_the_fold_that_tests_an_utterance(files):
    """What fold 1 has trained on counts for a, which it tests, and not for b."""
    of_folds = [("a", ["开心", "开心"]), ("b", ["语气很高兴", "语速快", "开心"])]
    for fold, (tested, train) in enumerate(of_folds, 1):
        for dset, utt, texts in (("test", tested, ["x"]), ("train", "t", train)):
            folder = files / f"folds/{fold}/dump/raw/{dset}"
            folder.mkdir(parents=True)
            (folder / "captions").write_text(f"{utt} {json.dumps(texts, ensure_ascii=False)}\n", encoding="utf-8")
    done = run(files, "--train_captions", "folds", "--metrics", "copies", "cider", "cider_unseen", path=files)
    assert done.returncode == 0, done.stderr
    assert json.loads((files / "out" / "score.json").read_text())["copies"]["values"] == [100, 0]
    rows = [line.split("\t") for line in (files / "out" / "scores.tsv").read_text().splitlines()]
    whole, unseen = rows[0].index("cider"), rows[0].index("cider_unseen")
    assert [row[unseen] for row in rows[1:]] == ["", "", rows[3][whole], rows[4][whole]]
    done = run(files, "--train_captions", "folds/1", path=files)
    assert done.returncode == 1 and "folds/1: does not hold folds 1, 2, ..." in done.stderr


def test_training_captions_are_asked_for(files):
    done = run(files, "--metrics", "copies", "bleu_1")
    assert done.returncode == 0 and "n/a: needs the training captions (--train_captions)" in done.stdout
    done = run(files, "--train_captions", "gone")
    assert done.returncode == 1 and "gone" in done.stderr and len(done.stderr.splitlines()) == 1


def test_coarse_emotions_are_scored_where_the_words_file_has_them(files):
    (files / "words.json").write_text('{"emotion": {"happy": ["开心"]}}', encoding="utf-8")
    for words, there in (("zh", True), ("words.json", False)):
        done = run(files, "--words", words, path=files)
        assert done.returncode == 0, done.stderr
        score = json.loads((files / "out" / "score.json").read_text())
        assert ("emotion_quadrant_accuracy" in score) is ("emotion_ser6_recall" in score) is there


def test_metrics_with_models_of_their_own(files, tiny_llama, tiny_bert):
    """A random LM gives no answer: that metric is null with the reason, the others are there."""
    (files / "vad.json").write_text('{"开心": [0.8, 0.5, 0.4]}', encoding="utf-8")
    names = ["sbert_sim", "emotion_similarity", "emotion_wa", "vocabulary", "vocabulary_references", "judge", "fense"]
    options = ["--sbert", tiny_bert, "--vad", "vad.json", "--judge", tiny_llama, "--judge_cache", "cache/judge.jsonl"]
    done = run(files, "--metrics", *names, *options)
    assert done.returncode == 0, done.stderr
    score = json.loads((files / "out" / "score.json").read_text())
    assert [name for name in names if score[name]["mean"] is None] == ["judge", "fense"]
    assert (
        "gives no answer for 2 of 2 utterances" in score["judge"]["reason"] and "--fluency" in score["fense"]["reason"]
    )
    assert score["emotion_wa"]["values"] == [50, 50] and score["vocabulary"]["values"] == [5, 2]
    meta = json.loads((files / "out" / "score_meta.json").read_text())
    assert meta["models"]["judge"] == tiny_llama and meta["models"]["vad"] == "vad.json"
    # The first candidates: 3 references in 2 orders, of which 开心 and 开心 is one question
    assert len((files / "cache" / "judge.jsonl").read_text(encoding="utf-8").splitlines()) == 5


def test_a_prompt_without_a_place_is_one_line(files, tiny_llama):
    (files / "prompt.txt").write_text("{first}", encoding="utf-8")
    done = run(files, "--metrics", "judge", "--judge", tiny_llama, "--judge_prompt", "prompt.txt")
    assert done.returncode == 1 and "prompt.txt: lacks {second}" in done.stderr and "Traceback" not in done.stderr


def lines_of(files):
    return [json.loads(line) for line in (files / "out" / "hallucinations.jsonl").read_text().splitlines()]


def test_hallucinations_with_coverage_and_by_utterance(files):
    data = files / "data"
    data.mkdir()
    (data / "text").write_text("a 今天天气真好啊\nb 谁让你动我的电脑\n", encoding="utf-8")
    (data / "utt2emo").write_text("a happy\nb sad\n")
    (files / "bad").write_text('a ["愤怒", "今天天气真好啊"]\nb ["语速慢，悲伤", "请说出情感好吗"]\n', encoding="utf-8")
    (files / "prompts").write_text("请说出情感好吗\n", encoding="utf-8")
    names = ["--metrics", "hallucination_factuality", "hallucination_faithfulness"]
    done = run(files, *names, "--truth_dir", "data", "--prompts", "prompts", hyp="bad")
    assert done.returncode == 0 and done.stderr.count("warning") == 0, done.stderr
    score = json.loads((files / "out" / "score.json").read_text())
    assert {name: one["values"] for name, one in score.items()} == {
        "hallucination_factuality": [100, 0], "coverage": [37.5, 0], "hallucination_faithfulness": [0, 100],
    }  # fmt: skip
    assert [(one["id"], one["candidate"], one["what"], one["word"]) for one in lines_of(files)] == [
        ("a", 1, "emotion", "愤怒"),
        ("a", 2, "transcription", "今天天气真好啊"), ("a", 2, "attributes", ""),
        ("b", 1, "rate", "语速慢"),
        ("b", 2, "instruction", "请说出情感好吗"), ("b", 2, "attributes", ""),
    ]  # fmt: skip
    # Without labels and transcriptions the references judge, and the reader is told what is not judged
    done = run(files, *names, "--hallucination_attributes", "rate", hyp="bad")
    assert "transcription is not judged: no transcriptions are given (--text_file)" in done.stderr
    meta = json.loads((files / "out" / "score_meta.json").read_text())
    assert meta["hallucination_attributes"] == ["rate"] and "transcription is not judged" in meta["note"]
    found = [(one["id"], one["what"]) for one in lines_of(files) if one["kind"] == "factuality"]
    assert found == [("b", "rate")]
    run(files, "--metrics", "bleu_1", hyp="bad")  # scores without them have none of an earlier run beside them
    assert not (files / "out" / "hallucinations.jsonl").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--text_file", "nowhere"], "nowhere"),
        (["--text_file", "hyp", "--prompts", "nowhere"], "prompts: cannot be read"),
        (["--text_file", "twice"], "twice"),
    ],
)
def test_bad_inputs_of_hallucination_metrics_are_one_line(files, options, message):
    (files / "twice").write_text("a x\na y\n")
    done = run(files, "--metrics", "hallucination_faithfulness", *options)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and message in done.stderr
    assert not (files / "out").exists()
