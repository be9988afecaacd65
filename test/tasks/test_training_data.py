"""What can be known from a training's data files is known before the first step."""

import json
from types import SimpleNamespace

import pytest
from tiny_training import ALL, align_conf, command, make_corpus, write

from espnet2_secap.bin import sec_train
from espnet2_secap.data.io import read_yaml
from espnet2_secap.errors import SecError
from espnet2_secap.tasks.training_data import check_sets, classes_of

PAIR = dict(prompt="p", chosen="calm", rejected="sad", chosen_reference=-1.0, rejected_reference=-2.0)
PAIR |= dict(chosen_tokens=2, rejected_tokens=2, type="factuality", source="rule", margin=1.0)
GOOD = {"shape": "3,6", "captions": '["calm"]', "text": "yes", "utt2emo": "calm", "pairs": json.dumps([PAIR])}


@pytest.fixture
def sets(tmp_path):
    """Function: changes of the validation set's lines -> arguments of sec_train for three utterances in each set."""

    def make(**changes):
        args = SimpleNamespace()
        for split in ("train", "valid"):
            (tmp_path / split).mkdir()
            for name, value in GOOD.items():
                lines = [f"{split}{i} {value}" for i in range(3)]
                if split == "valid" and name in changes:
                    lines = changes[name](lines)
                (tmp_path / split / name).write_text("".join(line + "\n" for line in lines))
            data = [("captions", "caption"), ("text", "text"), ("utt2emo", "emotion"), ("pairs", "pairs")]
            rows = [(f"{tmp_path}/{split}/{file}", name, "text") for file, name in data]
            setattr(args, f"{split}_data_path_and_name_and_type", rows)
            setattr(args, f"{split}_shape_file", [f"{tmp_path}/{split}/shape"])
        return args

    return make


def test_good_sets(sets):
    check_sets(sets(), {"caption", "emotion", "pairs"}, 3)


@pytest.mark.parametrize(
    "file, change, message",
    [
        (
            "utt2emo",
            lambda lines: [*lines[:2], "valid2 bored"],
            r"valid/utt2emo: category 'bored' \(valid2\) is not one",
        ),
        ("captions", lambda lines: [*lines[:2], "valid2 calm voice"], "valid/captions: valid2: is not JSON"),
        ("captions", lambda lines: [f"{line[:6]} {{" for line in lines], "valid0, valid1, valid2: is not JSON"),
        (
            "text",
            lambda lines: lines[1:],
            "valid/text: has no line for valid0 of the validation set; run stage 2 again",
        ),
        (
            "pairs",
            lambda lines: lines[:2],
            "valid/pairs: has no line for valid2 of the validation set; give the shape file that sec_reference has",
        ),
        (
            "pairs",
            lambda lines: [lines[0], lines[1].replace("chosen_reference", "chosen_ref"), lines[2]],
            "valid/pairs: valid1: has pairs without chosen_reference, the reference's log-probabilities; make the file",
        ),
    ],
)
def test_what_would_end_the_training_later_is_named(sets, file, change, message):
    with pytest.raises(SecError, match=message):
        check_sets(sets(**{file: change}), {"caption", "emotion", "text", "pairs"}, 1)


def test_labels_that_no_loss_needs_are_not_looked_at(sets):
    check_sets(sets(utt2emo=lambda lines: [*lines[:2], "valid2 bored"]), {"caption"}, 1)


def test_lengths_that_are_older_than_the_features(sets, tmp_path):
    args = sets()
    (tmp_path / "valid" / "feats.scp").write_text("".join(f"valid{i} feats.ark:{i}\n" for i in range(3)))
    args.valid_data_path_and_name_and_type.append((f"{tmp_path}/valid/feats.scp", "speech", "kaldi_ark"))
    lengths = tmp_path / "valid" / "utt2num_frames"
    lengths.write_text("".join(f"valid{i} 3\n" for i in range(3)))
    check_sets(args, {"caption"}, 1)
    lengths.write_text("valid0 3\nvalid1 4\nvalid2 3\n")
    with pytest.raises(SecError, match="valid/shape: was made from other data: valid1 of .* run stage 4 again"):
        check_sets(args, {"caption"}, 1)


def test_fewer_utterances_than_processes(sets):
    args = sets(shape=lambda lines: lines[:1])
    check_sets(args, {"caption"}, 1)
    with pytest.raises(SecError, match=r"valid/shape: the validation set has 1 utterance\(s\).* 2 processes"):
        check_sets(args, {"caption"}, 2)


def test_classes_take_the_place_of_emotions(sets, tmp_path):
    """A label that the training set lacks may be of a class that it has."""
    args = sets(utt2emo=lambda lines: [*lines[:2], "valid2 bored"])
    args.emotion_classes = str(tmp_path / "classes")
    (tmp_path / "classes").write_text("calm low\nbored low\n")
    assert classes_of(args) == {"calm": "low", "bored": "low"}
    check_sets(args, {"caption", "emotion"}, 1)
    (tmp_path / "classes").write_text("calm low\nbored high\n")
    with pytest.raises(SecError, match=r"category 'high' \(valid2\) is not one of the training set's \(low\)"):
        check_sets(args, {"caption", "emotion"}, 1)


def test_a_training_takes_its_batches_by_class(tmp_path, tiny_llama, capsys):
    """Both emotions of the corpus become one class, of which no batches of two classes can be drawn."""
    corpus = make_corpus(tmp_path)
    (tmp_path / "classes").write_text("sad low\ncalm low\n")
    conf = write(tmp_path / "align.yaml", align_conf(tiny_llama) | {"emotion_classes": str(tmp_path / "classes")})
    with pytest.raises(SystemExit):
        sec_train.main(command(corpus, tmp_path / "exp", conf, ALL))
    assert "utt2emo has only 1 categories (low)" in capsys.readouterr().err
    (tmp_path / "classes").write_text("sad low\ncalm high\n")
    sec_train.main(command(corpus, tmp_path / "exp", conf, ALL))
    assert read_yaml(tmp_path / "exp" / "config.yaml")["emotions"] == ["high", "low"]
