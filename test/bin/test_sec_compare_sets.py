"""sec_compare_sets, as stage 2 calls it."""

import pytest
import soundfile as sf

from espnet2_secap.bin.sec_compare_sets import main


def test_it_prints_and_writes_what_sets_share(tmp_path, capsys):
    sf.write(tmp_path / "a.wav", [0.1, 0.2, 0.3], 16000)
    for name in ("train", "valid", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "wav.scp").write_text(f"{name} {tmp_path}/a.wav\n")
        (tmp_path / name / "utt2num_samples").write_text(f"{name} 3\n")
    args = [f"--{name}={tmp_path / name}" for name in ("train", "valid")]
    args += ["--tests", str(tmp_path / "test"), str(tmp_path / "test"), "--output", str(tmp_path / "overlap.tsv")]
    main(args)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "1 of 1 recordings of test are in train too (test is train)" in lines[1]
    assert len((tmp_path / "overlap.tsv").read_text().splitlines()) == 4
    (tmp_path / "test" / "wav.scp").unlink()
    with pytest.raises(SystemExit):
        main(args)
    assert "test/wav.scp: does not exist" in capsys.readouterr().err
