import kaldiio
import numpy as np
import pytest
import torch
from espnet2.layers.global_mvn import GlobalMVN

from espnet2_secap.bin.sec_collect_stats import main
from espnet2_secap.errors import SecError
from espnet2_secap.feats.stats import write_feats_stats


@pytest.fixture
def feats(tmp_path):
    rng = np.random.default_rng(0)
    feats = {utt: (rng.normal(3, 2, (n, 4)) * [1, 10, 0.1, 1]).astype(np.float32) for utt, n in (("a", 30), ("b", 50))}
    kaldiio.save_ark(str(tmp_path / "feats.ark"), feats, scp=str(tmp_path / "feats.scp"))
    (tmp_path / "utt2num_frames").write_text("a 30\nb 50\n")
    (tmp_path / "config.json").write_text('{"num_layers": 1, "dim": 4}')
    return feats


def test_global_mvn_makes_the_training_frames_standard(feats, tmp_path):
    output = tmp_path / "stats" / "feats_stats.npz"
    assert write_feats_stats(tmp_path, output) == 80
    frames = torch.from_numpy(np.concatenate([feats["a"], feats["b"]]))
    normal, _ = GlobalMVN(str(output))(frames[None].double())
    assert normal[0].mean(0).abs().max() < 1e-6
    assert (normal[0].std(0, correction=0) - 1).abs().max() < 1e-6


def test_sec_collect_stats_writes_them_where_asked_for(feats, tmp_path, capsys):
    args = ["--dir", str(tmp_path), "--output", str(tmp_path / "shape")]
    main(args)
    assert not (tmp_path / "feats_stats.npz").exists()
    main([*args, "--feats_stats", str(tmp_path / "feats_stats.npz")])
    assert "feats_stats.npz: 80 frames" in capsys.readouterr().out
    assert np.load(tmp_path / "feats_stats.npz")["count"] == 80


def test_audio_has_none(tmp_path):
    (tmp_path / "wav.scp").write_text("a a.wav\n")
    (tmp_path / "utt2num_samples").write_text("a 16000\n")
    with pytest.raises(SecError, match="holds audio"):
        write_feats_stats(tmp_path, tmp_path / "feats_stats.npz")


def test_an_unreadable_ark_leaves_earlier_statistics_whole(feats, tmp_path):
    output = tmp_path / "feats_stats.npz"
    write_feats_stats(tmp_path, output)
    before = output.read_bytes()
    (tmp_path / "feats.ark").unlink()
    with pytest.raises(SecError, match="feats.ark:2: a: cannot be read .No such file or directory.; run stage 3 again"):
        write_feats_stats(tmp_path, output)
    assert output.read_bytes() == before
