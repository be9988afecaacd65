import json
import shutil

import pytest
from tiny_decoding import decode, name_data

from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError
from espnet2_secap.inference.nearest import Neighbours, describe
from espnet2_secap.inference.neighbours import NearWeights
from espnet2_secap.inference.speech2caption import Speech2Caption
from espnet2_secap.inference.training_speech import TrainingSpeech
from espnet2_secap.metric.dice import ngrams, similarity

CAPTIONS = {"u0": ["平静"], "u1": ["情绪悲伤", "平静"], "u2": ["语速较快，声音高亢"], "x": ["不在"], "u3": ["情绪悲伤"]}
TEXTS = ["平静", "情绪悲伤", "语速较快，声音高亢", "不在"]


def write(path, captions) -> str:
    path.write_text("".join(f"{utt} {json.dumps(some)}\n" for utt, some in captions.items()), encoding="utf-8")
    return str(path)


@pytest.fixture
def trained(model_file, feats, tmp_path):
    """The model in a folder whose config.yaml names captions and speech of a training."""
    folder = shutil.copytree(model_file.parent, tmp_path / "exp")
    captions = write(tmp_path / "captions", CAPTIONS)
    name_data(folder, [[str(feats / "feats.scp"), "speech", "kaldi_ark"], [captions, "caption", "text"]])
    return folder / model_file.name


def expected_weights(feats, utt) -> dict[str, float]:
    """As nearest_caption weighs them; of the set, "不在" is of no utterance there."""
    reader, ids = Utterances(feats), ["u0", "u1", "u2", "u3"]
    near = Neighbours(CAPTIONS, ids, describe(map(reader.read, ids), ids, feats))
    (weights,) = near.weights(describe(iter([reader.read(utt)]), [utt], feats))
    return dict.fromkeys(TEXTS, 0.0) | dict(zip(near.texts, weights, strict=True))


def test_the_weights_of_nearest_caption_in_the_order_of_the_set(trained, feats):
    speech2caption = Speech2Caption(trained)
    speech = TrainingSpeech("--posterior_neighbours 1", None, trained.parent / "config.yaml")
    reader = Utterances(feats)
    weights = NearWeights(trained.parent.parent / "captions", TEXTS, speech, speech2caption, 2, "cpu")
    for utt, row in zip(("u5", "u2"), weights([reader.read("u5"), reader.read("u2")]), strict=True):
        assert row == pytest.approx(list(expected_weights(feats, utt).values())) and row.sum() == pytest.approx(1)
    assert weights([reader.read("u2")])[0].argmax() == TEXTS.index("语速较快，声音高亢"), "it is its own neighbour"


def test_the_model_and_the_neighbours_have_their_shares(trained, feats, tmp_path):
    options = ["--keep", "1", "--candidates", "training"]
    probabilities = {}
    for share in ("0", "0.25", "1"):
        rows = decode(trained, feats, tmp_path / f"o{share}", *options, "--posterior_neighbours", share)
        for row in rows:
            assert set(TEXTS) >= {one["text"] for one in row["candidates"]}
            found = {one["text"]: one["probability"] for one in row["candidates"]}
            probabilities[row["id"], share] = dict.fromkeys(TEXTS, 0.0) | found
    for utt in ("u0", "u4", "u6"):
        near, model = expected_weights(feats, utt), probabilities[utt, "0"]
        for text in TEXTS:
            assert probabilities[utt, "1"][text] == pytest.approx(near[text], abs=2e-6)
            assert probabilities[utt, "0.25"][text] == pytest.approx(0.75 * model[text] + 0.25 * near[text], abs=2e-6)
    chosen = {row["id"]: row["candidates"][0] for row in rows}
    near = expected_weights(feats, "u4")
    gains = {text: sum(w * similarity(ngrams(text), ngrams(o)) for o, w in near.items()) for text in TEXTS}
    assert chosen["u4"]["text"] == max(gains, key=gains.get)
    assert chosen["u4"]["similarity"] == pytest.approx(max(gains.values()), abs=2e-6)


def test_captions_of_no_training_utterance_are_one_line(trained, tmp_path):
    other = write(tmp_path / "other", {"t0": ["平静"]})
    speech = TrainingSpeech("--posterior_neighbours 1", None, trained.parent / "config.yaml")
    with pytest.raises(SecError, match="--posterior_neighbours: .*other has no captions of the utterances of"):
        NearWeights(other, ["平静"], speech, Speech2Caption(trained), 2, "cpu")
