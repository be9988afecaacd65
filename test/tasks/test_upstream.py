import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.parts import CHOICES, all_within
from espnet2_secap.tasks.upstream import encoder_of

HUBERT = {"encoder": "s3prl", "upstream": "hf_hubert_custom", "path": "dir", "layer": "last"}


def test_one_name():
    assert encoder_of(None, None, None, {}) == ("s3prl", {"upstream": "hf_hubert_custom"})
    assert encoder_of(None, None, None, {"upstream": "fbank"}) == ("s3prl", {"upstream": "fbank"})
    assert encoder_of("fbank", None, "1", {"upstream_args": {"x": 1}}) == (
        "s3prl",
        {"upstream_args": {"x": 1}, "upstream": "fbank", "layer": "1"},
    )
    conf = ("acoustic", {"level": "utterance"})
    for given in ({"level": "utterance"}, {"acoustic.level": "utterance"}, {"acoustic": {"level": "utterance"}}):
        assert encoder_of("acoustic", "dir", "last", given) == conf  # path and layer are of S3PRL's upstreams


def test_several_names():
    name, conf = encoder_of("acoustic+hf_hubert_custom", "dir", "last", {"acoustic.level": "frame"})
    assert (name, conf) == ("joined", {"encoders": {"acoustic": {"level": "frame"}, "hf_hubert_custom": HUBERT}})
    assert CHOICES["encoder"].check(name, conf) == {
        "encoders": {"acoustic": {"level": "frame", "encoder": "acoustic"}, "hf_hubert_custom": HUBERT}
    }
    inner = {key: value for key, value in HUBERT.items() if key != "encoder"}
    assert all_within("encoder", name, conf) == [("acoustic", {"level": "frame"}), ("s3prl", inner)]
    _, conf = encoder_of("fbank+hf_hubert_custom", None, None, {"hf_hubert_custom.path": "dir"})
    assert conf["encoders"]["fbank"] == {"encoder": "s3prl", "upstream": "fbank"}
    assert conf["encoders"]["hf_hubert_custom"]["path"] == "dir"


def test_a_path_is_for_whatever_is_loaded_from_one():
    assert encoder_of("clap", "dir", "last", {}) == ("clap", {"path": "dir"})
    assert encoder_of("clap", "dir", "last", {"path": "other"}) == ("clap", {"path": "other"})
    _, conf = encoder_of("acoustic+clap", "dir", None, {"clap.windows": True})
    assert conf == {"encoders": {"acoustic": {}, "clap": {"windows": True, "path": "dir"}}}
    with pytest.raises(
        SecError, match="hf_hubert_custom and clap would share it; give .* --encoder_conf clap.path=DIR"
    ):
        encoder_of("clap+hf_hubert_custom", "dir", None, {})
    _, conf = encoder_of("clap+hf_hubert_custom", "dir", None, {"clap.path": "c"})
    assert [conf["encoders"][name]["path"] for name in ("clap", "hf_hubert_custom")] == ["c", "dir"]


def test_what_is_refused():
    for args, message in (
        (("acoustic+", None, None, {}), "--upstream acoustic.: must be different names with . between them"),
        (("fbank+fbank", None, None, {}), "must be different names"),
        (
            ("acoustic+fbank", None, None, {"level": "frame"}),
            "--encoder_conf level: must say whose it is, such as acoustic.level",
        ),
        (
            ("fbank+hf_hubert_custom", "dir", None, {}),
            "--upstream_path dir: fbank and hf_hubert_custom would share it; give --encoder_conf fbank.path=DIR",
        ),
    ):
        with pytest.raises(SecError, match=message):
            encoder_of(*args)
    with pytest.raises(
        SecError, match="encoder_conf of encoder: acoustic: level 'word': must be one of frame, utterance"
    ):
        CHOICES["encoder"].check(*encoder_of("acoustic+fbank", None, None, {"acoustic.level": "word"}))
    with pytest.raises(SecError, match="encoder: 'nothing', expected one of s3prl, acoustic"):
        CHOICES["encoder"].check("joined", {"encoders": {"nothing": {}}})
    with pytest.raises(SecError, match="encoder_conf: encoders: acoustic 3: must be `key: value` lines"):
        CHOICES["encoder"].check("joined", {"encoders": {"acoustic": 3}})
    for conf, message in (
        ({"encoders": 3}, "encoders 3: must be `key: value` lines"),
        ({"encoders": {"acoustic": {"encoder": ["x"]}}}, "encoders: acoustic: encoder .*: must be text"),
    ):
        with pytest.raises(SecError, match=message):
            CHOICES["encoder"].check("joined", conf)
        with pytest.raises(SecError, match=message):
            all_within("encoder", "joined", conf)
