import json
import math
import shutil

import numpy as np
import pytest
from tiny_decoding import decode, name_data

from espnet2_secap.bin import sec_inference
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.inference.posterior import log_probs_of, tokens_of, utterances_of
from espnet2_secap.inference.prior import log_prior
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.inference.training_speech import TrainingSpeech
from espnet2_secap.metric.dice import ngrams, similarity

TEXTS = {"语速较快，声音高亢": 2, "情绪悲伤": 1, "平静": 3}  # with how often each occurs


@pytest.fixture
def trained(model_file, feats, tmp_path):
    """The model in a folder whose config.yaml names captions and speech of a training."""
    folder = tmp_path / "exp"
    shutil.copytree(model_file.parent, folder)
    lines = (f"t{i} {json.dumps([text] * n, ensure_ascii=False)}\n" for i, (text, n) in enumerate(TEXTS.items()))
    (tmp_path / "captions").write_text("".join(lines), encoding="utf-8")
    data = [[str(feats / "feats.scp"), "speech", "kaldi_ark"], [str(tmp_path / "captions"), "caption", "text"]]
    name_data(folder, data)
    return folder / model_file.name


def log_probs(speech2caption, feats, utt) -> np.ndarray:
    """Of TEXTS, of one utterance by itself."""
    (own,) = utterances_of(speech2caption.segments([Utterances(feats).read(utt)]))
    return log_probs_of(speech2caption.model.decoder, own, tokens_of(speech2caption, list(TEXTS)))


def test_utterances_are_evenly_spaced(trained):
    # of u0 to u6: 0, 7/3, 14/3
    for number, ids in ((3, ["u0", "u2", "u4"]), (1, ["u0"]), (7, [f"u{i}" for i in range(7)])):
        assert TrainingSpeech("--posterior_prior", number, trained.parent / "config.yaml").ids == ids


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_the_mean_of_probabilities(trained, feats, batch_size):
    speech2caption = Speech2Caption(trained)
    speech = TrainingSpeech("--posterior_prior 3", 3, trained.parent / "config.yaml")
    found = log_prior(speech2caption, speech, tokens_of(speech2caption, list(TEXTS)), batch_size)
    each = [log_probs(speech2caption, feats, utt) for utt in ("u0", "u2", "u4")]
    assert found == pytest.approx(np.log(np.exp(each).mean(0)), rel=1e-4)
    assert np.ptp(each, axis=0).min() > 0.01, "what is heard makes a difference"


def test_what_is_kept_is_what_the_speech_tells(trained, feats, tmp_path):
    options = ["--keep", "1", "--candidates", "training", "--posterior_prior", "3", "--posterior_temperature", "1.25"]
    rows = decode(trained, feats, tmp_path / "o", *options)
    assert rows[0]["header"]["posterior_prior"] == 3
    speech2caption = Speech2Caption(trained)
    prior = np.log(np.exp([log_probs(speech2caption, feats, utt) for utt in ("u0", "u2", "u4")]).mean(0))
    for row in rows:
        own = log_probs(speech2caption, feats, row["id"])
        weights = [n * math.exp((a - b) / 1.25) for n, a, b in zip(TEXTS.values(), own, prior, strict=True)]
        weights = dict(zip(TEXTS, np.array(weights) / sum(weights), strict=True))
        assert [one["similarity"] for one in row["candidates"]] == pytest.approx(
            sorted((one["similarity"] for one in row["candidates"]), reverse=True)
        )
        assert {one["text"] for one in row["candidates"]} == set(TEXTS)
        for one in row["candidates"]:
            at = list(TEXTS).index(one["text"])
            expected = sum(w * similarity(ngrams(one["text"]), ngrams(text)) for text, w in weights.items())
            values = [one[name] for name in ("score", "prior", "probability", "similarity")]
            assert values == pytest.approx([own[at], prior[at], weights[one["text"]], expected], rel=1e-3, abs=1e-5)


def test_other_training_speech_is_another_decoding(trained, feats, tmp_path, capsys):
    copy = tmp_path / "train"
    shutil.copytree(feats, copy)
    captions = [str(tmp_path / "captions"), "caption", "text"]
    name_data(trained.parent, [[str(copy / "feats.scp"), "speech", "kaldi_ark"], captions])
    command = ["--sec_model_file", str(trained), "--data_dir", str(feats), "--output_dir", str(tmp_path / "o")]
    command += ["--nj", "1", "--job", "1", "--keep", "1", "--candidates", "training", "--posterior_prior", "2"]
    for there in (0, 1):
        sec_inference.main(command)
        assert f"1 batches of up to 16 utterances, {there} of them there already" in capsys.readouterr().err
    for name in ("feats.scp", "utt2num_frames"):
        lines = (copy / name).read_text().splitlines(keepends=True)
        (copy / name).write_text("".join(lines[1:]))
    sec_inference.main(command)
    assert "1 batches of up to 16 utterances, 0 of them there already" in capsys.readouterr().err


def test_bad_input_is_one_line(trained, feats, tmp_path):
    config = trained.parent / "config.yaml"
    with pytest.raises(SecError, match="--posterior_prior 8: .*feats.scp has 7 utterances; give at most that number"):
        TrainingSpeech("--posterior_prior 8", 8, config)
    for data, message in (
        ([["none/feats.scp", "speech", "kaldi_ark"]], "none/feats.scp: no such file; it is the training's, by"),
        ([["captions", "caption", "text"]], "names no speech of the training; give --posterior_prior 0"),
    ):
        name_data(trained.parent, data)
        with pytest.raises(SecError, match=f"--posterior_prior 2: .*{message}"):
            TrainingSpeech("--posterior_prior 2", 2, config)
