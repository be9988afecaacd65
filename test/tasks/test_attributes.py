import json

import kaldiio
import numpy as np
import pytest
from tiny_training import CAPTION, SPEECH, caption_conf, command, make_corpus
from tiny_training import write as write_conf

from espnet2_secap.bin import sec_train
from espnet2_secap.errors import SecError
from espnet2_secap.metric.words import load_words
from espnet2_secap.model.attributes import AttributeHead
from espnet2_secap.tasks.attributes import as_in_start, attribute_targets, count_attributes, named_shares
from espnet2_secap.tasks.sec import SECTask

CAPTIONS = {"a": ["悲伤，语速快", "悲伤又愤怒"], "b": ["愤怒，语速慢"], "c": ["声音有点远"]}


def write(path, captions):
    path.write_text("".join(f"{utt} {json.dumps(some)}\n" for utt, some in captions.items()))
    return str(path)


@pytest.fixture
def words(tmp_path):
    groups = {
        "valence": {"negative": ["sad", "angry"], "positive": ["happy"]},
        "known": {"dark": ["sad"], "hot": ["angry"]},
    }
    content = {
        "emotion": {"sad": ["悲伤"], "angry": ["愤怒"], "happy": ["高兴"]},
        "rate": {"fast": ["快"], "slow": ["慢"]},
        "_groups": {"emotion": groups},
    }
    (tmp_path / "words.json").write_text(json.dumps(content))
    return str(tmp_path / "words.json")


def test_shares_and_counts_by_hand(tmp_path, words):
    """Only one category of emotion_valence is named, so it is left out."""
    assert named_shares(CAPTIONS["a"], load_words(words)["emotion"]) == {"sad": 2 / 3, "angry": 1 / 3}
    counts = count_attributes(write(tmp_path / "captions", CAPTIONS), words)
    assert counts["emotion"] == pytest.approx({"sad": 2 / 3, "angry": 4 / 3}, abs=1e-5)
    assert counts["emotion_known"] == pytest.approx({"dark": 2 / 3, "hot": 4 / 3}, abs=1e-5)
    assert counts["rate"] == {"fast": 1, "slow": 1} and set(counts) == {"emotion", "emotion_known", "rate"}


def test_some_attributes_only(tmp_path, words):
    path = write(tmp_path / "captions", CAPTIONS)
    assert set(count_attributes(path, words, ["rate"])) == {"rate"}
    with pytest.raises(SecError, match="attributes_only: .*no attribute 'speed'; they have emotion, rate, emo"):
        count_attributes(path, words, ["speed"])


def test_targets_are_distributions_or_zeros(tmp_path, words):
    counts = count_attributes(write(tmp_path / "captions", CAPTIONS), words, ["emotion", "rate"])
    targets = attribute_targets(counts, words)  # angry, sad, fast, slow
    assert targets(CAPTIONS["a"]).tolist() == pytest.approx([1 / 3, 2 / 3, 1, 0])
    assert targets(CAPTIONS["c"]).tolist() == [0, 0, 0, 0]
    assert targets(["高兴", "悲伤"]).tolist() == [0, 1, 0, 0]  # training never says happy


def test_a_start_with_a_head_says_which_categories_there_are(tmp_path, words, caplog):
    """Of the same number or not: what the head has learned is of its own categories, in its own order."""
    there = {"rate": {"fast": 3.0, "slow": 1.0}, "emotion": {"angry": 2.0, "happy": 2.0}}
    (tmp_path / "config.yaml").write_text(json.dumps({"attributes": there}))
    counts = {"emotion": {"angry": 1.5, "sad": 0.5}}
    source = str(tmp_path / "model.pth")
    found = as_in_start(counts, ["elsewhere/model.pth", f"{source}:attributes,bridge"], words)
    assert found == {"rate": {"fast": 0.0, "slow": 0.0}, "emotion": {"angry": 1.5, "happy": 0.0}}
    assert "will not learn: emotion: sad" in caplog.text
    assert as_in_start(counts, [f"{source}:bridge", "elsewhere/model.pth"], words) == counts
    head = AttributeHead(found, 4, balanced=True)
    assert head.weights.tolist() == [0.5, 1, 1, 1]
    (tmp_path / "config.yaml").write_text(json.dumps({"attributes": {"emotion": {"proud": 1.0}}}))
    with pytest.raises(SecError, match="its head tells emotion: proud, which the words .* do not have"):
        as_in_start(counts, [source], words)


def test_captions_that_tell_nothing_apart_are_one_line(tmp_path):
    path = write(tmp_path / "captions", {"a": ["悲伤"], "b": ["悲伤"]})
    with pytest.raises(SecError, match="name no two categories of any attribute of the words zh; give"):
        count_attributes(path, "zh")
    with pytest.raises(SecError, match="no such words file"):
        count_attributes(path, "no/such.json")


@pytest.mark.slow(6)
def test_a_training_learns_reports_and_keeps_its_classes(tmp_path, tiny_llama, capsys):
    """Two kinds of features, two kinds of captions; the trained model needs no words file and no captions."""
    corpus = make_corpus(tmp_path)
    feats = {f"u{i}": np.full((5 + i, 6), 2.0 * (i % 2) - 1, np.float32) for i in range(8)}
    kaldiio.save_ark(str(corpus / "feats.ark"), feats, scp=str(corpus / "feats.scp"))
    write(corpus / "captions", {f"u{i}": ["很愤怒" if i % 2 else "很悲伤"] for i in range(8)})
    (corpus / "words.json").write_text('{"emotion": {"angry": ["愤怒"], "sad": ["悲伤"]}}')
    options = {"attributes_weight": 1.0, "attributes_prompt": True, "attributes_words": f"{corpus}/words.json"}
    conf = caption_conf(tiny_llama) | {"model_conf": options, "optim_conf": {"lr": 1e-2}, "max_epoch": 12}
    conf["best_model_criterion"] = [["valid", "accuracy_emotion", "max"]]
    output = tmp_path / "exp"
    arguments = command(corpus, output, write_conf(tmp_path / "caption.yaml", conf), [SPEECH, CAPTION])
    sec_train.main(arguments)
    assert "12\tvalid\taccuracy\t1" in (output / "curves.tsv").read_text().splitlines()
    (corpus / "words.json").rename(corpus / "moved.json")
    model, args = SECTask.build_model_from_file(model_file=output / "valid.accuracy_emotion.best.pth")
    assert args.attributes == {"emotion": {"angry": 4.0, "sad": 4.0}} and model.attributes.sizes == [2]
    (corpus / "words.json").write_text('{"emotion": {"angry": ["愤怒"], "sad": ["悲伤", "难过"]}}')
    with pytest.raises(SystemExit):
        sec_train.main([*arguments, "--max_epoch", "13"])
    assert "attributes_words: other content than then" in capsys.readouterr().err
