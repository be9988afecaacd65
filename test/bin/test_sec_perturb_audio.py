import pytest
import soundfile as sf
from sounds import tone

from espnet2_secap.bin import sec_perturb_audio


@pytest.fixture
def source(tmp_path):
    (tmp_path / "train").mkdir()
    sf.write(tmp_path / "a.wav", tone(0.5), 16000)
    (tmp_path / "train" / "wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    return tmp_path / "train"


def test_writes_the_set_and_says_so(source, tmp_path, capsys):
    command = ["--data_dir", str(source), "--output_dir", str(tmp_path / "more")]
    sec_perturb_audio.main([*command, "--speed_perturb", "0.95", "1.05", "--noise_snr", "20"])
    assert capsys.readouterr().out == f"{tmp_path}/more: 1 utterances and 3 copies (sp0.95, sp1.05, noise20)\n"
    ids = [line.split()[0] for line in (tmp_path / "more" / "wav.scp").read_text().splitlines()]
    assert ids == ["a", "noise20-a", "sp0.95-a", "sp1.05-a"]
    sec_perturb_audio.main([*command, "--augment", "reverb=0.4+noise", "telephone"])
    assert capsys.readouterr().out == f"{tmp_path}/more: 1 utterances and 2 copies (reverb0.4+noise, telephone)\n"


@pytest.mark.parametrize(
    "more, message",
    [
        ([], "--speed_perturb, --noise_snr, --augment: none is given"),
        (["--augment", "noise=5,15", "cave"], "--augment cave: 'cave' is not one of noise, reverb, telephone"),
        (["--speed_perturb", "fast"], "--speed_perturb 'fast': must be a number, between 0.5 and 2"),
        (["--noise_snr", "90"], "--noise_snr 90: must be between -20 and 60"),
    ],
)
def test_bad_options_are_one_line(source, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as end:
        sec_perturb_audio.main(["--data_dir", str(source), "--output_dir", str(tmp_path / "more"), *more])
    error = capsys.readouterr().err
    assert end.value.code == 1 and message in error and error.count("\n") == 1
