import json

import numpy as np
import pytest
import soundfile
import torch
from tiny_hubert import CLASSIFIER
from transformers import HubertConfig, HubertForSequenceClassification, Wav2Vec2FeatureExtractor

from espnet2_secap.bin import sec_baseline, sec_classify, sec_score

FS = 16000


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("ser"))
    torch.manual_seed(0)
    names = ["anger", "fear", "joy", "neutral"]
    HubertForSequenceClassification(
        HubertConfig(**CLASSIFIER, num_labels=4, id2label=dict(enumerate(names)))
    ).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=FS).save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        soundfile.write(folder / f"u{i}.wav", 0.1 * rng.normal(size=FS // 2 + 1000 * i), FS)
    (folder / "wav.scp").write_text("".join(f"u{i} {folder}/u{i}.wav\n" for i in range(6)))
    (folder / "utt2emo").write_text("".join(f"u{i} {('angry', 'happy', 'calm')[i % 3]}\n" for i in range(6)))
    (tmp_path / "map").write_text("anger angry\nfear afraid\njoy happy\nneutral calm\n")
    return folder


def test_recordings_and_captions_are_classified_and_compared(model, data, tmp_path, capsys):
    command = ["--data_dir", str(data), "--label_map", str(tmp_path / "map")]
    sec_classify.main(["--model", model, *command, "--output", str(tmp_path / "ser")])
    labels = dict(line.split() for line in (tmp_path / "ser" / "utt2emo").read_text().splitlines())
    assert len(labels) == 6 and set(labels.values()) <= {"angry", "afraid", "happy", "calm"}
    header, *rows = (tmp_path / "ser" / "probabilities.tsv").read_text().splitlines()
    assert header == "id\tanger\tfear\tjoy\tneutral" and len(rows) == 6
    assert sum(map(float, rows[0].split("\t")[1:])) == pytest.approx(1, abs=1e-4)
    true = dict(line.split() for line in (data / "utt2emo").read_text().splitlines())
    share = 100 * sum(labels[utt] == true[utt] for utt in true) / 6
    assert json.loads((tmp_path / "ser" / "classes.json").read_text())["WA"]["value"] == pytest.approx(share)
    assert f"WA        {share:.2f}" in capsys.readouterr().out

    (tmp_path / "captions").write_text(
        'u0 ["愤怒"]\nu1 ["很高兴"]\nu2 ["平静"]\nu3 ["悲伤"]\nu4 ["语速快"]\nu5 ["平静"]\n'
    )
    sec_classify.main(["--captions", str(tmp_path / "captions"), *command, "--output", str(tmp_path / "said")])
    found = json.loads((tmp_path / "said" / "classes.json").read_text())
    assert found["WA"]["value"] == pytest.approx(100 * 4 / 6) and found["confusion"]["predicted"][-1] == "(none)"
    assert "u4" not in (tmp_path / "said" / "utt2emo").read_text()

    beside = ["--beside", str(tmp_path / "ser" / "classes.json"), "--output", str(tmp_path / "both")]
    sec_classify.main(["--captions", str(tmp_path / "captions"), *command, *beside])
    table = (tmp_path / "both" / "RESULTS.md").read_text().split("\n\n")[0].splitlines()
    assert len(table) == 4 and f"{100 * 4 / 6:.2f}" in table[2] and f"{share:.2f}" in table[3]


def test_labels_become_a_system_that_is_scored(data, tmp_path):
    """Figure 4: the human label as a sentence, scored as any other system."""
    references = {f"u{i}": [text] for i, text in enumerate(["愤怒", "高兴", "平静", "生气", "开心", "悲伤"])}
    (tmp_path / "ref").write_text(json.dumps(references, ensure_ascii=False))
    folder = tmp_path / "human_label" / "test"
    sec_baseline.main(["--kind", "label", "--ids", str(data / "utt2emo"), "--output", str(folder)])
    files = ["--ref", str(tmp_path / "ref"), "--hyp", str(folder / "captions"), "--output", str(folder / "score.json")]
    sec_score.main([*files, "--metrics", "emotion_recall", "bleu_1"])
    assert json.loads((folder / "score.json").read_text())["emotion_recall"]["mean"] == pytest.approx(100 * 5 / 6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--label_map", "short"], "has no line for fear, joy, neutral"),
        (["--label_map", "foreign"], "--label_map foreign: bliss, worry: no emotion of --words zh"),
        (["--words", "en_few.json"], "labels: fear, neutral: no emotion of --words en_few.json or of utt2emo; give --"),
        (["--beside", "short"], "short: is not JSON"),
        (["--words", "none"], "has no attribute emotion"),
        (["--labels", "a", "b"], "the model has 4 classes"),
        (["--data_dir", "nothing"], "wav.scp"),
        (["--device", "cuda:99"], "cuda"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(model, data, tmp_path, monkeypatch, capsys, change, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("anger angry\n")
    (tmp_path / "foreign").write_text("anger angry\nfear worry\njoy bliss\nneutral calm\n")
    (tmp_path / "en_few.json").write_text('{"emotion": {"angry": ["anger"], "happy": ["joy"]}}')
    with pytest.raises(SystemExit):
        sec_classify.main(["--model", model, "--data_dir", str(data), "--output", "out", *change])
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1] and error[-1].startswith("sec_classify: error:") and not (tmp_path / "out").exists()


def test_labels_of_other_utterances(data, tmp_path, capsys):
    (tmp_path / "captions").write_text('x ["愤怒"]\n')
    with pytest.raises(SystemExit):
        sec_classify.main(
            ["--captions", str(tmp_path / "captions"), "--data_dir", str(data), "--output", str(tmp_path)]
        )
    assert "has none of the utterances (x)" in capsys.readouterr().err


def test_labels_that_no_caption_can_name_are_told(data, tmp_path, capsys):
    """They count as wrong, unless the map says what they mean."""
    with open(data / "utt2emo", "a", encoding="utf-8") as file:
        file.write("u6 frustrated\n")
    (tmp_path / "captions").write_text('u0 ["愤怒"]\nu6 ["愤怒"]\n')
    command = ["--captions", str(tmp_path / "captions"), "--data_dir", str(data)]
    sec_classify.main([*command, "--output", str(tmp_path / "a")])
    assert "utt2emo: frustrated: no emotion of --words zh" in capsys.readouterr().out
    (tmp_path / "map").write_text("frustrated angry\n")
    sec_classify.main([*command, "--label_map", str(tmp_path / "map"), "--output", str(tmp_path / "b")])
    assert "frustrated" not in capsys.readouterr().out
    found = [json.loads((tmp_path / name / "classes.json").read_text())["WA"]["value"] for name in "ab"]
    assert found == [50, 100]
