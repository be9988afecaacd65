import pytest

from espnet2_secap.bin.sec_collect_stats import main


def test_writes_and_prints(tmp_path, capsys):
    (tmp_path / "utt2num_samples").write_text("a 16000\nb 400\n")
    main(["--dir", str(tmp_path), "--output", str(tmp_path / "stats" / "speech_shape")])
    assert (tmp_path / "stats" / "speech_shape").read_text() == "a 16000\nb 400\n"
    assert "2 utterances, mean length 8200.0, shortest 400, longest 16000" in capsys.readouterr().out


def test_nothing_to_read(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--dir", str(tmp_path), "--output", str(tmp_path / "speech_shape")])
    assert caught.value.code == 1
    assert "sec_collect_stats: error:" in capsys.readouterr().err
    assert not (tmp_path / "speech_shape").exists()
