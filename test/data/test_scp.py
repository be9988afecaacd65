"""Entries that Kaldi's readers would run, and arks that kaldiio would unpickle."""

import pickle

import kaldiio
import numpy as np
import pytest
from crafted import Evil

from espnet2_secap.data.io import read_kaldi
from espnet2_secap.data.scp import check_feats_scp, check_training_data, check_wav_scp, is_command, read_matrix
from espnet2_secap.errors import SecError


@pytest.fixture
def dump(tmp_path):
    """Two matrices in Kaldi's format and one of NumPy's in half precision, as stage 3 writes them."""
    feats = {"a": np.arange(6, dtype=np.float32).reshape(3, 2), "b": np.ones((1, 2), np.float32)}
    half = {"c": np.full((2, 2), 0.5, np.float16)}
    kaldiio.save_ark(str(tmp_path / "f.ark"), feats, scp=str(tmp_path / "feats.scp"))
    kaldiio.save_ark(str(tmp_path / "f.ark"), half, scp=str(tmp_path / "half.scp"), append=True, write_function="numpy")
    with open(tmp_path / "feats.scp", "a") as stream:
        stream.write((tmp_path / "half.scp").read_text())
    return tmp_path


def test_what_stage_3_writes_is_read(dump):
    check_feats_scp(dump / "feats.scp")
    entries = read_kaldi(dump / "feats.scp")
    assert read_matrix(entries["a"]).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert read_matrix(entries["b"]).tolist() == [[1, 1]]
    assert read_matrix(entries["c"]).tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_pickles_in_arks(dump, marker):
    (dump / "evil.ark").write_bytes(b"u PKL" + pickle.dumps(Evil(marker)))
    array = dump / "object.npy"
    np.save(array, np.array([[Evil(marker)]], dtype=object))
    content = array.read_bytes()
    (dump / "numpy.ark").write_bytes(b"u NPY\4" + len(content).to_bytes(4, "little") + content)
    with pytest.raises(SecError, match="holds a pickle"):
        read_matrix(f"{dump}/evil.ark:2")
    with pytest.raises(SecError, match="incomplete or broken matrix .*allow_pickle=False"):
        read_matrix(f"{dump}/numpy.ark:2")
    with open(dump / "feats.scp", "a") as stream:
        stream.write(f"d {dump}/evil.ark:2\n")
    with pytest.raises(SecError, match=f"^{dump}/feats.scp:4: d: {dump}/evil.ark:2: holds a pickle"):
        check_feats_scp(dump / "feats.scp")
    # the files are what they are said to be: kaldiio by itself would have run the code
    kaldiio.load_mat(f"{dump}/evil.ark:2")
    assert marker.is_dir()
    marker.rmdir()


@pytest.mark.parametrize("entry", ["mkdir {} |", "| mkdir {}", "mkdir {} |\u3000", "mkdir {}|\x0b", "\u00a0| mkdir {}"])
def test_pipes(dump, marker, entry):
    entry = entry.format(marker)
    assert is_command(entry)
    with pytest.raises(SecError, match="is a command"):
        read_matrix(entry)
    for name, check in (("feats.scp", check_feats_scp), ("wav.scp", check_wav_scp)):
        (dump / name).write_text(f"d {entry}\n", encoding="utf-8")
        with pytest.raises(SecError, match=f"^{dump}/{name}:1: d: .*(is a command|control character)"):
            check(dump / name)


def test_a_line_that_is_two_for_kaldiio(dump, marker):
    (dump / "feats.scp").write_bytes(f"d {dump}/f.ark:2\re mkdir {marker}|\rg {dump}/f.ark:2\n".encode())
    with pytest.raises(SecError, match="feats.scp:1: d: holds a control character"):
        check_feats_scp(dump / "feats.scp")


@pytest.mark.parametrize("blank", ["\u3000", "\u00a0", "\u2028"])
def test_an_id_that_is_id_and_command_for_kaldiio(dump, marker, blank):
    line = f"d{blank}|mkdir {marker} {dump}/f.ark:2\n"
    assert line.split(None, 1)[1].startswith("|mkdir")  # as kaldiio parts it
    for name, check in (("feats.scp", check_feats_scp), ("wav.scp", check_wav_scp)):
        (dump / name).write_text(line, encoding="utf-8")
        with pytest.raises(SecError, match=f"{name}:1: .*an id may not"):
            check(dump / name)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{}/f.ark", "is not FILE:OFFSET"),
        ("{}/f.ark:2[0:1]", "is not FILE:OFFSET"),
        ("-", "is not FILE:OFFSET"),
        ("{}/f.ark:0", "f.ark:0: holds no matrix"),
        ("{}/f.ark:999999", "f.ark:999999: holds no matrix"),
        ("{}/none.ark:2", "none.ark:2: No such file"),
        ("{}:2", "Is a directory"),
        ("/etc/passwd:0", "holds no matrix"),
    ],
)
def test_other_entries(dump, entry, said):
    (dump / "feats.scp").write_text(f"d {entry.format(dump)}\n")
    with pytest.raises(SecError, match=said):
        check_feats_scp(dump / "feats.scp")


def test_an_ark_that_is_cut_short(dump):
    content = (dump / "f.ark").read_bytes()
    (dump / "f.ark").write_bytes(content[:20])
    with pytest.raises(SecError, match="incomplete or broken matrix"):
        read_matrix(f"{dump}/f.ark:2")


def test_training_data(dump, marker):
    (dump / "wav.scp").write_text("a a.wav\n")
    feats = (f"{dump}/feats.scp", "speech", "kaldi_ark")
    check_training_data([feats, (f"{dump}/wav.scp", "speech", "sound"), (f"{dump}/none", "caption", "text")])
    for kind in ("npy", "pipe_wav", "hdf5"):
        with pytest.raises(SecError, match=f"{kind}: expected one of the types kaldi_ark, sound, text"):
            check_training_data([(f"{dump}/feats.scp", "speech", kind)])
    (dump / "wav.scp").write_text(f"a a.wav\nb mkdir {marker} |\n")
    with pytest.raises(SecError, match=r"wav.scp:2: b: is a command"):
        check_training_data([feats, (f"{dump}/wav.scp", "speech", "sound")])


def test_a_matrix_that_is_not_finite_is_refused(tmp_path):
    kaldiio.save_ark(f"{tmp_path}/nan.ark", {"a": np.array([[0.5, np.nan]], dtype=np.float32)})
    with pytest.raises(SecError, match="not finite"):
        read_matrix(f"{tmp_path}/nan.ark:2")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("caption", '\ufeffa ["x"]\n', "text:1: begins with a byte order mark"),
        ("caption", "a ['x']\n", "text:1: a: .* as Python prints it"),
        ("caption", "a \n", "text:1: a: has no value"),
        ("text", "a\u3000b x\n", "text:1: .*U.3000 IDEOGRAPHIC SPACE"),
        ("emotion", "id,emotion\na,sad\n", "text: looks like CSV with a header"),
    ],
)
def test_texts_that_espnet_would_read_otherwise_are_refused_before_training(tmp_path, name, content, said):
    (tmp_path / "text").write_text(content, encoding="utf-8")
    with pytest.raises(SecError, match=said):
        check_training_data([(f"{tmp_path}/text", name, "text")])
    (tmp_path / "text").write_text("a\n" if name == "text" else 'a ["x"]\n')
    check_training_data([(f"{tmp_path}/text", name, "text")])
