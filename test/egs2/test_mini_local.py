"""Stage 1 of egs2/mini_emospeech: the synthetic corpus."""

import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
import yaml
from scipy.stats import chi2_contingency
from tiny_corpus import RECIPE, SIZES, TINY, checksums, synthesize, table

from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.metric.words import load_words, named


def test_same_bytes_each_time_however_many_processes(corpus, tmp_path):
    done = synthesize(tmp_path / "again", "--nj", "3")
    assert done.returncode == 0, done.stderr
    first = checksums(corpus / "wav")
    assert len(first) == sum(SIZES.values()) == len(set(first.values()))
    assert checksums(tmp_path / "again" / "wav") == first
    for name in ("train/captions", "test/text", "valid/utt2rate", "wav/train.tsv"):
        assert (tmp_path / "again" / name).read_bytes() == (corpus / name).read_bytes()


def test_same_bytes_in_another_order(corpus, local, tmp_path):
    utterances = local("plan").draw_set("test", SIZES["test"], seed=0)[::-1]
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'local'); import plan, synthesize;"
        f" utterances = plan.draw_set('test', {SIZES['test']}, 0)[::-1];"
        " synthesize.make_audio(utterances, Path(sys.argv[1]), 0, 1)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "test"], cwd=RECIPE, check=True, capture_output=True)
    assert len(utterances) == SIZES["test"]
    assert checksums(tmp_path / "test") == checksums(corpus / "wav" / "test")


def test_another_seed_is_another_corpus(local):
    draw_set = local("plan").draw_set
    assert draw_set("valid", 10, seed=0) == draw_set("valid", 10, seed=0) != draw_set("valid", 10, seed=1)


def test_data_directories_are_good(corpus):
    for name, size in SIZES.items():
        assert validate_data_dir(corpus / name, require=["captions", "text", "utt2emo", "emo2utt"]) == []
        for file in ("wav.scp", "text", "captions", "utt2spk", "utt2emo", "utt2rate", "utt2volume", "utt2pitch"):
            assert len(read_kaldi(corpus / name / file)) == size
        for path in read_kaldi(corpus / name / "wav.scp").values():
            info = sf.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            assert 0.8 < info.duration < 8
        assert min(Counter(read_kaldi(corpus / name / "utt2emo").values()).values()) == size // 6


def test_a_second_run_mends_and_touches_nothing_else(tmp_path):
    options = ("--n_train", "6", "--n_valid", "1", "--n_test", "1")
    assert synthesize(tmp_path, *options).returncode == 0
    before, times = checksums(tmp_path / "wav"), {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    broken = sorted(times)[0]
    broken.write_bytes(broken.read_bytes()[:1000])
    assert synthesize(tmp_path, *options).returncode == 0
    assert checksums(tmp_path / "wav") == before
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [broken]


def test_sizes_can_shrink(corpus, tmp_path):
    for sizes in (("6", "1", "2"), ("3", "1", "1")):
        options = [word for name, n in zip(SIZES, sizes, strict=True) for word in (f"--n_{name}", n)]
        assert synthesize(tmp_path, *options).returncode == 0
        assert len(checksums(tmp_path / "wav")) == sum(map(int, sizes))  # nothing is left of the larger one


def test_no_utterances_is_an_error_and_leaves_the_corpus(corpus, tmp_path):
    done = synthesize(tmp_path / "none", "--n_train", "0")
    assert done.returncode == 1
    assert "--n_train 0" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("*.wav"))


def test_captions_are_true(corpus):
    words = load_words(RECIPE / "conf" / "words.json")
    said = Counter()
    for name in SIZES:
        truth = {a: read_kaldi(corpus / name / f"utt2{a}") for a in ("rate", "volume", "pitch")}
        truth["emotion"] = read_kaldi(corpus / name / "utt2emo")
        intensity = {row["utt_id"]: row["intensity"] for row in table(corpus, name)}
        for utt_id, captions in read_captions(corpus / name / "captions").items():
            assert 3 <= len(captions) <= 5 and len(set(captions)) == len(captions)
            for caption in captions:
                said["captions"] += 1
                assert named(caption, words["emotion"]) == [truth["emotion"][utt_id]]
                for attribute in ("rate", "volume", "pitch"):
                    found = named(caption, words[attribute])
                    assert found in ([], [truth[attribute][utt_id]]), caption
                    said[attribute] += bool(found)
                assert named(caption, words["intensity"]) in ([], [intensity[utt_id]]), caption
                said["intensity"] += bool(named(caption, words["intensity"]))
    assert all(0.9 < said[attribute] / said["captions"] < 1 for attribute in ("rate", "volume"))
    assert 0.2 < said["pitch"] / said["captions"] and 0.1 < said["intensity"] / said["captions"]


def test_no_word_is_part_of_another_classs():
    content = json.loads((RECIPE / "conf" / "words.json").read_text(encoding="utf-8"))
    words = [(f"{a}.{c}", word) for a, classes in content.items() for c, some in classes.items() for word in some]
    assert len(words) == len({word for _, word in words})
    for where, word in words:
        assert not [other for elsewhere, other in words if elsewhere != where and word in other]


def test_classes_are_true_of_the_audio(corpus, local):
    synthesize = local("synthesize")
    rates, levels = {}, {}
    for name in SIZES:
        for row in table(corpus, name):
            samples, fs = sf.read(corpus / "wav" / name / f"{row['utt_id']}.wav")
            seconds = len(samples) / fs - 2 * synthesize.MARGIN
            rate = len(read_kaldi(corpus / name / "text")[row["utt_id"]]) / seconds
            assert float(row["characters_per_second"]) == pytest.approx(rate, abs=0.01)
            rates.setdefault(row["rate"], []).append(rate)
            levels.setdefault(row["volume"], []).append(synthesize.find_speech(samples, fs)[2])
    assert max(rates["slow"]) < min(rates["normal"]) and max(rates["normal"]) < min(rates["fast"])
    assert max(levels["quiet"]) + 4 < min(levels["normal"]) and max(levels["normal"]) + 4 < min(levels["loud"])


def test_pitch_is_true_of_the_audio(local):
    espeak, pitch, plan = local("espeak").Espeak, local("pretrain_targets").pitch, local("plan")
    for voice in plan.VOICES + plan.TEST_VOICES:
        medians = []
        for low, high in plan.PITCHES.values():
            with espeak() as synthesiser:  # one that stays loaded would fail the next test of this process
                samples = synthesiser.render("请把空调的温度调到二十六度", f"cmn+{voice}", 200, (low + high) // 2, 50)
            wave = torch.from_numpy(soxr.resample(samples, synthesiser.sample_rate, 16000)).float()
            height, voiced = pitch(wave).T
            medians.append((height / voiced.clamp(min=1e-3))[voiced > 2].median().item())
        assert medians[0] < medians[1] < medians[2], voice


def test_unseen_voices_and_sentences_are_in_the_test_set_only(full):
    voices = {name: {one.speaker for one in utterances} for name, utterances in full.items()}
    sentences = {name: {one.sentence for one in utterances} for name, utterances in full.items()}
    assert len(voices["train"] | voices["test"]) >= 8 and voices["valid"] <= voices["train"]
    assert len(voices["test"] - voices["train"]) == 2
    assert len(sentences["train"] | sentences["test"]) >= 60 and sentences["valid"] <= sentences["train"]
    assert len(sentences["test"] - sentences["train"]) >= 10
    assert all(re.fullmatch("[\u4e00-\u9fff]{7,18}", one) for one in sentences["train"] | sentences["test"])


def test_what_is_said_and_by_whom_tells_nothing_of_the_emotion(full):
    for utterances in full.values():
        assert set(Counter(one.emotion for one in utterances).values()) <= {len(utterances) // 6 + i for i in (0, 1)}
    for attribute in ("sentence", "speaker"):
        counts = Counter((getattr(one, attribute), one.emotion) for one in full["train"])
        rows = sorted({row for row, _ in counts})
        columns = sorted({column for _, column in counts})
        observed = np.array([[counts[row, column] for column in columns] for row in rows])
        assert chi2_contingency(observed).pvalue > 0.01


def test_rate_and_volume_are_more_than_the_emotion(full):
    for attribute in ("rate", "volume"):
        usual = {}
        for one in full["train"]:
            usual.setdefault(one.emotion, Counter())[getattr(one, attribute)] += 1
        guess = {emotion: counts.most_common(1)[0][0] for emotion, counts in usual.items()}
        right = np.mean([guess[one.emotion] == getattr(one, attribute) for one in full["test"]])
        assert 0.4 < right < 0.8


# the pretrained parts


@pytest.mark.slow(15)
def test_data_sh_makes_all(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    options = {"n_train": 12, "n_valid": 2, "n_test": 2, "data": tmp_path / "data", "nj": 1}
    options |= {"pretrained": tmp_path / "pretrained", "pretrain_config": tmp_path / "tiny.yaml"}
    command = ["local/data.sh", *(str(word) for key, value in options.items() for word in (f"--{key}", value))]
    done = subprocess.run([*command, "--mini_hubert", "false"], cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "pretrained").iterdir()] == ["llama"]
    done = subprocess.run(command, cwd=RECIPE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "llama: is there already" in done.stdout
    for part in ("hubert", "llama"):
        assert (tmp_path / "pretrained" / part / "config.json").is_file()
    assert len(read_kaldi(tmp_path / "data" / "train" / "wav.scp")) == 12
