"""egs2/emospeech/sec1/published.sh with a checkpoint of the released code at tiny size: all of it but the weights."""

import json
import os
import shutil
import subprocess

import pytest
from recipe import recipe_folder

CAPTIONS = ["语速较快，情绪中带着愤怒", "声音低沉，情绪悲伤", "语气平静", "心情快乐舒畅"]


@pytest.fixture
def place(repo, tmp_path):
    """A recipe folder, and a corpus in EMOSpeech's layout: twelve recordings, of which three differ."""
    folder = tmp_path / "recipe"
    folder.mkdir()
    recipe_folder(repo, "emospeech", folder)
    shutil.copy(repo / "egs2" / "emospeech" / "sec1" / "published.sh", folder)
    dataset = tmp_path / "corpus" / "dataset"
    (dataset / "wav").mkdir(parents=True)
    wavs = sorted((repo / "test" / "fixtures" / "secap_tiny_synthetic" / "wav").glob("*.wav"))
    ids = [f"tx_emotion_0030{1 + i % 3}0000{10 + i}" for i in range(12)]
    for number, utt in enumerate(ids):
        shutil.copy(wavs[number % len(wavs)], dataset / "wav" / f"{utt}.wav")
    captions = {utt: CAPTIONS[number % 4] for number, utt in enumerate(ids)}
    (dataset / "fid2captions.json").write_text(json.dumps(captions, ensure_ascii=False), encoding="utf-8")
    (dataset / "text.txt").write_text("".join(f"{utt} 今天下午三点\n" for utt in ids), encoding="utf-8")
    blocks = [f"file: {utt}.wav\norigin: {text}\nresult: {text}\nresult2: 语气平静\n" for utt, text in captions.items()]
    (folder / "result.txt").write_text("\n".join(blocks), encoding="utf-8")
    return folder, tmp_path / "corpus"


def run(folder, corpus, *options):
    environment = {**os.environ, "EMOSPEECH": str(corpus)}
    return subprocess.run(
        ["./published.sh", *options], cwd=folder, capture_output=True, text=True, env=environment, timeout=600
    )


def weights_of(repo) -> list[str]:
    tiny = repo / "test" / "fixtures" / "secap_tiny_synthetic"
    names = {"weights": tiny, "hubert": tiny / "weights/hubert", "llm": tiny / "weights/llama"}
    names["text_encoder"] = tiny / "weights/text2vec"
    return [str(part) for name, path in names.items() for part in (f"--{name}", path)]


@pytest.mark.needs("espnet")
@pytest.mark.slow(60)
def test_import_decode_score_and_report_in_one_command(repo, place):
    folder, corpus = place
    small = ["--sec_args", "--nj 1 --inference_nj 1", "--result_txt", "result.txt"]
    done = run(folder, corpus, *weights_of(repo), *small)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = json.loads((folder / "exp_published" / "results.json").read_text())
    assert set(results) == {
        "sec_secap_published/decode_secap",
        "sec_secap_published/decode_secap_shuffled_audio",
        "sec_secap_published/decode_secap_nearest_caption",
        "secap_released_captions",
        "random_caption",
        "frequent_caption",
    }
    assert all(list(sets) == ["test_public"] for sets in results.values())
    # The first of the released captions is the reference, the second a caption of a fourth of the recordings.
    released = results["secap_released_captions"]["test_public"]
    assert 0 < released["bleu_1"]["mean"] < 100 and released["bleu_1"]["std"] > 0
    report = (folder / "exp_published" / "RESULTS.md").read_text(encoding="utf-8")
    assert "SECap #6 (Q-Embedding)" in report and "36.08" in report
    decoded = folder / "exp_published" / "sec_secap_published" / "decode_secap" / "test_public"
    lines = (decoded / "candidates.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12
    header = json.loads(lines[0])["header"]
    published = dict(num_candidates=8, beam_size=5, top_k=10, top_p=0.95, repetition_penalty=10.0, keep=5)
    assert {name: header[name] for name in published} == published
    captions = [json.loads(line.split(" ", 1)[1]) for line in (decoded / "captions").read_text("utf-8").splitlines()]
    assert [len(kept) for kept in captions] == [5] * 12
    model = folder / "exp_published" / "sec_secap_published" / "valid.loss.best.pth"
    before = model.stat().st_mtime_ns, (decoded / "captions").read_bytes()
    again = run(folder, corpus, *weights_of(repo), *small)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert (model.stat().st_mtime_ns, (decoded / "captions").read_bytes()) == before


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "--weights is missing: give the folder that holds model.ckpt"),
        (["--weights", "nowhere"], "--weights nowhere: has no model.ckpt; get it from yaoxunxu/SECaps"),
        (["--nj", "2"], "unknown option --nj"),
        (["--weights", "w", "--result_txt", "none"], "--result_txt none: no such file"),
        (["--weights", "w"], "no dataset/fid2captions.json in it"),
    ],
)
def test_what_is_missing_is_one_line(place, tmp_path, options, message):
    folder, _ = place
    (folder / "w").mkdir()
    (folder / "w" / "model.ckpt").write_bytes(b"")
    done = run(folder, tmp_path / "nothing", *options)
    said = [line for line in done.stderr.splitlines() if "error: " in line]
    assert done.returncode == 1 and len(said) == 1 and message in said[0], done.stderr
    assert not (folder / "exp_published").exists()
