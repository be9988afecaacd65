import pytest
import yaml
from tiny_training import make_corpus

from espnet2_secap.errors import SecError
from espnet2_secap.inference.training_speech import TrainingSpeech, named_in_training


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = make_corpus(tmp_path_factory.mktemp("corpus"))
    lengths = (line.replace(",", " ").split() for line in (folder / "shape").read_text().splitlines())
    (folder / "utt2num_frames").write_text("".join(f"{utt} {length}\n" for utt, length, _ in lengths))
    return folder


def config(tmp_path, *data):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"train_data_path_and_name_and_type": [list(one) for one in data]}))
    return path


def test_files_of_the_training_by_name(tmp_path):
    path = config(tmp_path, ("a/captions", "caption", "text"), ("a/feats.scp", "speech", "kaldi_ark"))
    file, kind = named_in_training("caption", path)
    assert str(file) == "a/captions" and kind == "text" and named_in_training("text", path) is None


def test_utterances_evenly_spaced(corpus, tmp_path):
    path = config(tmp_path, (f"{corpus}/feats.scp", "speech", "kaldi_ark"), (f"{corpus}/text", "text", "text"))
    assert TrainingSpeech("--option 4", 4, path).ids == ["u0", "u2", "u4", "u6"]
    speech = TrainingSpeech("--option", None, path)
    assert len(speech.ids) == 8 and speech.folder == corpus and set(speech.texts("error")) == set(speech.ids)
    with pytest.raises(SecError, match="--option 9: .*feats.scp has 8 utterances"):
        TrainingSpeech("--option 9", 9, path)
    with pytest.raises(SecError, match="--option 1: .*config.yaml names no speech of the training; give --option 0"):
        TrainingSpeech("--option 1", 1, config(tmp_path))
