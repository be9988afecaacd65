"""sec_pairs: every verb from the command line, on pairs that it makes itself."""

import json

import pytest
import yaml

from espnet2_secap.bin import sec_pairs
from espnet2_secap.data.io import read_captions, write_captions, write_kaldi
from espnet2_secap.data.preferences import read_pairs

LABELS = {"u1": "angry", "u2": "sad", "u3": "angry"}
TEXTS = {"angry": "情绪愤怒", "sad": "情绪悲伤"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_kaldi("data/wav.scp", {utt: f"{utt}.wav" for utt in LABELS})
    write_kaldi("data/utt2emo", LABELS)
    write_captions("data/captions", {utt: [TEXTS[label]] for utt, label in LABELS.items()})
    with open("candidates.jsonl", "w", encoding="utf-8") as stream:
        for utt in LABELS:
            rows = [{"text": text, "score": 0.0} for text in TEXTS.values()]
            print(json.dumps({"id": utt, "prompt": "描述。", "candidates": rows}, ensure_ascii=False), file=stream)
    return tmp_path


def run(line: str) -> None:
    sec_pairs.main(line.split())


def fails(line: str, capsys) -> list[str]:
    with pytest.raises(SystemExit) as err:
        run(line)
    assert err.value.code == 1
    return [one for one in capsys.readouterr().err.splitlines() if one.startswith("sec_pairs")]


def test_from_candidates_to_a_report(folder, capsys):
    run("make --candidates . --data_dir data --output_dir out --rules double")
    assert (
        "out/pairs.jsonl: 6 pairs; 3 utterances gave pairs\nout/captions: the best candidates"
        in capsys.readouterr().out
    )
    assert read_captions("out/captions") == {utt: [TEXTS[label]] for utt, label in LABELS.items()}
    sampled = [pair for pair in read_pairs("out/pairs.jsonl") if pair.source == "sampled"]
    assert [(pair.id, pair.chosen, pair.type) for pair in sampled] == [
        (utt, TEXTS[label], "factuality") for utt, label in LABELS.items()
    ]
    run("check --pairs out/pairs.jsonl --data_dir data --lang zh")
    assert capsys.readouterr().out == "6 pairs are good\n"
    run("report --pairs out/pairs.jsonl --output report.md")
    said = capsys.readouterr().out
    assert said == (folder / "report.md").read_text() and "| faithfulness | 0 | 3 | 3 |" in said


def test_jobs_are_combined(folder, capsys):
    line = "make --candidates candidates.jsonl --data_dir data --output_dir out"
    run(f"{line} --nj 2 --job 1")
    said = fails(f"{line} --nj 2 --combine true", capsys)
    assert said == [
        "sec_pairs: error: out: job(s) 2 of 2: not finished; run them again (stage 9), finished work is kept"
    ]
    run(f"{line} --nj 2 --job 2")
    run(f"{line} --nj 2 --combine true")
    assert "3 pairs" in capsys.readouterr().out and not (folder / "out/.jobs").exists()


def test_a_configuration_and_its_faults(folder, repo, capsys):
    conf = repo / "egs2/TEMPLATE/sec1/conf/pairs.yaml"
    line = "make --candidates . --data_dir data --output_dir out"
    run(f"{line} --config {conf} --rules_per_utterance 2")
    options = json.loads((folder / "out/pairs_meta.json").read_text())["options"]
    assert {name: options[name] for name in yaml.safe_load(conf.read_text())} == {
        **yaml.safe_load(conf.read_text()),
        "rules_per_utterance": 2,
    }
    for text, fault in (("rule: all", "unknown key rule"), ("min_margin: x", "min_margin 'x': must be a number")):
        (folder / "bad.yaml").write_text(text)
        capsys.readouterr()
        assert fails(f"{line} --config bad.yaml", capsys) == [
            f"sec_pairs: error: bad.yaml: {fault}"
            + ("; see --help for the options" if "unknown" in fault else ", at least 0")
        ]


@pytest.mark.parametrize("layout", ["trl", "ms_swift", "llama_factory_sharegpt", "emoprefer"])
def test_export_and_import(folder, layout, capsys):
    run("make --candidates . --data_dir data --output_dir out")
    run(f"export --pairs out/pairs.jsonl --output other --format {layout} --audio_dir data")
    run("import --input other --output again.jsonl --data_dir data")
    before, after = read_pairs("out/pairs.jsonl"), read_pairs("again.jsonl")
    assert [(one.id, one.chosen, one.rejected) for one in after] == [
        (one.id, one.chosen, one.rejected) for one in before
    ]
    assert {one.source for one in after} == {"file"}
    assert f"again.jsonl: 3 pairs from {'llama_factory' if 'factory' in layout else layout}" in capsys.readouterr().out


def test_check_lists_every_bad_line(folder, capsys):
    run("make --candidates . --data_dir data --output_dir out")
    lines = (folder / "out/pairs.jsonl").read_text().splitlines()
    bad = [lines[0].replace("u1", "x1"), lines[1].replace("悲伤", ""), "{", lines[2]]
    (folder / "bad.jsonl").write_text("\n".join(bad) + "\n")
    capsys.readouterr()
    assert fails("check --pairs bad.jsonl out/pairs.jsonl --data_dir data --not_in data", capsys)[-1].endswith(
        "7 problem(s), listed above; 0 pairs are good"
    )
    said = fails("check --pairs bad.jsonl out/pairs.jsonl --data_dir data", capsys)
    assert [one.split(": ")[1] for one in said] == ["bad.jsonl:1", "bad.jsonl:3", "error"]
    assert said[-1].endswith("2 problem(s), listed above; 5 pairs are good")


def test_a_bad_row_stops_an_import(folder, capsys):
    rows = [{"id": "u1", "prompt": "p", "chosen": "好", "rejected": "坏"}, {"id": "u2", "chosen": "好"}]
    (folder / "in").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = fails("import --input in --output out.jsonl", capsys)
    assert said == [
        "sec_pairs: in:2: lacks rejected (fields: id, chosen); add it",
        "sec_pairs: error: 1 problem(s), listed above; correct or remove these rows, then import again",
    ]
    assert not (folder / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("make --data_dir data --output_dir out", "--candidates: is missing; give candidates.jsonl"),
        ("make --candidates . --data_dir data --output_dir out --not_in data", "3 of 3 utterances are in data too"),
        ("make --candidates . --data_dir data --output_dir out --nj 2 --job 3", "--job 3: must be between 1 and 2"),
        ("make --candidates . --data_dir data --output_dir out --per_utterance 0", "no pairs: "),
        ("make --candidates . --data_dir data --output_dir out --rejected best", "invalid choice: 'best'"),
        ("check --pairs none.jsonl", "1 problem(s), listed above; 0 pairs are good"),
        ("report --pairs none.jsonl", "none.jsonl: does not exist; make it with sec_pairs make or import"),
        ("export --pairs none.jsonl --output x", "none.jsonl: does not exist"),
        ("import --input none --output x", "none: does not exist; make it, or check the path"),
        ("check --pairs candidates.jsonl", "3 problem(s)"),
        ("report --pairs none.jsonl --lang english", "--lang 'english': must be a code"),
    ],
)  # fmt: skip
def test_bad_calls(folder, capsys, line, fault):
    said = fails(line, capsys)
    assert fault in said[-1] and "error: " in said[-1] and sum("error: " in one for one in said) == 1
