"""egs2/mini_zeroshot: sets of the same programs as mini_emospeech, with nothing of its training set."""

import dataclasses
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
from tiny_corpus import checksums

from espnet2_secap.data.distort import distortions
from espnet2_secap.data.io import read_captions, read_kaldi
from espnet2_secap.data.overlap import shared_speakers
from espnet2_secap.data.validate import validate_data_dir
from espnet2_secap.errors import SecError
from espnet2_secap.metric.words import load_words, named

FOLDER = Path(__file__).resolve().parents[2] / "egs2" / "mini_zeroshot" / "sec1"
SETS = ("new_voices", "male", "noisy", "english")
SIZE = 12


def make(folder, *options):
    command = ["local/data.sh", "--data", folder, "--nj", "1", *options]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The four sets at a small size."""
    folder = tmp_path_factory.mktemp("zeroshot") / "data"
    done = make(folder, "--size", str(SIZE))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def plans(local, monkeypatch):
    """The choices of the four sets at their own size, and what is drawn of them."""
    monkeypatch.chdir(FOLDER)
    plan = local("plan")
    plans = plan.read_sets("conf/sets.yaml")
    return plans, {name: plan.draw_planned(name, one, seed=0) for name, one in plans.items()}


def test_no_voice_and_no_sentence_is_of_training(plans, full):
    chosen, drawn = plans
    assert tuple(chosen) == SETS and {len(one) for one in drawn.values()} == {400}
    of_training = [one for name in ("train", "valid") for one in full[name]]
    for attribute in ("speaker", "sentence"):
        theirs = {getattr(one, attribute) for one in of_training}
        for some in (*drawn.values(), full["test"]):
            assert bool(theirs & {getattr(one, attribute) for one in some}) == (some is full["test"])
    assert not {one.sentence for one in full["test"]} & {one.sentence for some in drawn.values() for one in some}
    assert not {one.speaker for one in drawn["male"]} & {one.speaker for one in drawn["new_voices"]}


def test_nor_of_the_emotional_sentences(plans, local):
    emotional = {
        text for name in ("train", "test") for some in local("plan").read_emotional(name).values() for text in some
    }
    assert not emotional & {one.sentence for some in plans[1].values() for one in some}


def test_each_set_is_what_its_name_says(plans):
    drawn = plans[1]
    for name, some in drawn.items():
        assert {one.language for one in some} == {"en-us" if name == "english" else "cmn"}
        pattern = "[A-Za-z ]{20,60}" if name == "english" else "[\u4e00-\u9fff]{7,18}"
        assert all(re.fullmatch(pattern, one.sentence) for one in some)
        assert set(Counter(one.emotion for one in some).values()) == {66, 67}
        assert len({one.utt_id for one in some}) == 400 and len({one.sentence for one in some}) == 30
    assert Counter(one.condition for one in drawn["noisy"]) == {"reverb+noise=5,15": 200, "telephone": 200}
    assert {one.condition for name in SETS if name != "noisy" for one in drawn[name]} == {"clean"}
    emotions = {(one.emotion, one.condition): 0 for one in drawn["noisy"]}
    assert len(emotions) == 12  # each emotion is heard in each condition


def test_voices_follow_rate_and_pitch(local, plans):
    """Not all of espeak-ng's do: Andrea and anika speak Mandarin faster at 134 words per minute than at 306."""
    espeak, pitch, plan = local("espeak"), local("pretrain_targets").pitch, local("plan")
    rates = {"slow": 134, "normal": 201, "fast": 306}
    text = "请把行李箱放在后备箱里"

    def speak(voice, wpm, height):
        with espeak.Espeak() as synthesiser:
            samples = synthesiser.render(text, f"cmn+{voice}", wpm, height, 50)
        return torch.from_numpy(soxr.resample(samples, synthesiser.sample_rate, 16000)).float()

    def seconds(wave):
        first, last, _ = local("synthesize").find_speech(wave.numpy(), 16000)
        return (last - first) / 16000

    for voice in {*plans[0]["new_voices"].voices, *plans[0]["male"].voices}:
        spoken = {name: len(text) / seconds(speak(voice, wpm, 50)) for name, wpm in rates.items()}
        assert 2.2 < spoken["slow"] < 3.6 and 3.8 < spoken["normal"] < 5.6 and 5.8 < spoken["fast"] < 9.6, voice
        medians = []
        for low, high in plan.PITCHES.values():
            height, voiced = pitch(speak(voice, 200, (low + high) // 2)).T
            medians.append((height / voiced.clamp(min=1e-3))[voiced > 2].median().item())
        assert medians[0] < medians[1] < medians[2], voice


def test_male_voices_are_lower(local, plans):
    espeak, pitch = local("espeak"), local("pretrain_targets").pitch

    def height(voice):
        with espeak.Espeak() as synthesiser:
            samples = synthesiser.render("门票可以在手机上预约", f"cmn+{voice}", 200, 50, 50)
        tones, voiced = pitch(torch.from_numpy(soxr.resample(samples, synthesiser.sample_rate, 16000)).float()).T
        return (tones / voiced.clamp(min=1e-3))[voiced > 2].median().item()

    training = [height(voice) for voice in local("plan").VOICES]
    assert max(height(voice) for voice in plans[0]["male"].voices) < min(training) - 0.25  # units of 3 semitones


def test_data_directories_are_good_and_true(sets):
    words = load_words(FOLDER / "conf" / "words.json")
    for name in SETS:
        assert validate_data_dir(sets / name, require=["captions", "text", "utt2emo", "emo2utt", "spk2utt"]) == []
        truth = {a: read_kaldi(sets / name / f"utt2{a}") for a in ("rate", "volume", "pitch")}
        truth["emotion"] = read_kaldi(sets / name / "utt2emo")
        captions = read_captions(sets / name / "captions")
        assert len(captions) == SIZE and (sets / name / "utt2condition").exists() == (name == "noisy")
        for utt_id, some in captions.items():
            for attribute, table in truth.items():
                assert all(named(one, words[attribute]) in ([], [table[utt_id]]) for one in some)
            assert all(named(one, words["emotion"]) for one in some)
        for path in read_kaldi(sets / name / "wav.scp").values():
            info = sf.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16") and 0.8 < info.duration < 8


def test_no_recording_is_of_training(sets, corpus):
    training = set(checksums(corpus / "wav").values())
    made = checksums(sets / "wav")
    assert len(set(made.values())) == 4 * SIZE and not set(made.values()) & training
    for name in SETS:
        assert not shared_speakers(corpus / "train", sets / name)


def test_distorted_recordings_are_what_their_condition_says(sets, local, monkeypatch):
    monkeypatch.chdir(FOLDER)
    plan, synthesize = local("plan"), local("synthesize")
    drawn = plan.draw_planned("noisy", dataclasses.replace(plan.read_sets("conf/sets.yaml")["noisy"], size=SIZE), 0)
    conditions, wavs = (read_kaldi(sets / "noisy" / name) for name in ("utt2condition", "wav.scp"))
    assert set(conditions.values()) == {"reverb+noise=5,15", "telephone"}
    for one in drawn:
        clean, _ = synthesize.render(dataclasses.replace(one, condition="clean"), 0)
        heard, _ = sf.read(wavs[one.utt_id])
        (how,) = distortions([conditions[one.utt_id]])
        wanted = how.apply(clean / 32768, 16000, f"0 {one.utt_id}")
        # `clean` is rounded to 16 bits before, which the 8 bits of the telephone may make audible here and there
        assert np.sum((heard - wanted) ** 2) < 1e-3 * np.sum(wanted**2)
        assert np.sum((heard - clean / 32768) ** 2) > 1e-2 * np.sum(wanted**2)


@pytest.mark.slow(8)
def test_same_bytes_each_time(sets, tmp_path):
    done = make(tmp_path / "again", "--size", str(SIZE), "--nj", "2")
    assert done.returncode == 0, done.stderr
    assert checksums(tmp_path / "again" / "wav") == checksums(sets / "wav")
    for name in ("captions", "text", "utt2condition"):
        assert (tmp_path / "again/noisy" / name).read_bytes() == (sets / "noisy" / name).read_bytes()
    other = make(tmp_path / "again", "--size", "6", "--seed", "1")
    assert other.returncode == 0 and len(checksums(tmp_path / "again" / "wav")) == 24  # nothing is left of before


SENTENCES = FOLDER / "local" / "sentences_zh.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no sets"),
        ("a: {size: 2, voices: [m1]}", "a: 'sentences' is missing"),
        ("a: {size: 0, voices: [m1], sentences: FILE}", "a: size 0: must be at least 1"),
        ("a: {size: 2, voices: [], sentences: FILE}", "a: no voices"),
        ("a: {size: 2, voices: [m1], sentences: none.txt}", "none.txt: does not exist"),
        ("a: {size: 2, voices: [m1], sentences: FILE, conditions: [cave]}", "a: conditions cave: 'cave' is not one of"),
        ("a: {size: 2, voices: [m1], sentences: FILE, speed: 2}", "a: unknown key 'speed'"),
        ("a b: {size: 2, voices: [m1], sentences: FILE}", "a b: the name of a set may hold"),
        ("a: {size: 2, voices: [nobody], sentences: FILE}", "a: espeak-ng has no voice cmn[+]nobody"),
        ("a: {size: 2, voices: [m1], sentences: FILE, language: xx}", "a: espeak-ng has no voice xx[+]m1"),
    ],
)
def test_bad_choices_are_one_line(tmp_path, text, message):
    (tmp_path / "sets.yaml").write_text(text.replace("FILE", str(SENTENCES)))
    done = make(tmp_path / "data", "--sets", tmp_path / "sets.yaml")
    assert done.returncode == 1 and re.search(message, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "data").exists()


def test_options_that_do_not_belong_together(local, tmp_path):
    parse, plan_sets = local("synthesize").get_parser().parse_args, local("synthesize").plan_sets
    with pytest.raises(SecError, match="--size 3: is for the sets of --sets FILE"):
        plan_sets(parse(["--size", "3"]))
    with pytest.raises(SecError, match="--emotional_sentences 0.5: is not for the sets of --sets"):
        plan_sets(parse(["--sets", "x.yaml", "--emotional_sentences", "0.5"]))


def test_the_folder_holds_choices_only():
    """The programs are mini_emospeech's, by links that a fresh clone has too."""
    links = {str(path.relative_to(FOLDER)): os.readlink(path) for path in FOLDER.rglob("*") if path.is_symlink()}
    theirs = "../../../mini_emospeech/sec1"
    programs = {
        f"local/{name}.py": f"{theirs}/local/{name}.py" for name in ("annotate", "espeak", "plan", "synthesize")
    }
    assert links == programs | {
        "conf/words.json": f"{theirs}/conf/words.json",
        "path.sh": "../../TEMPLATE/sec1/path.sh",
        "utils": "../../../utils",
    }
    assert {path.name for path in (FOLDER / "local").glob("*.py")} == {Path(name).name for name in programs}
