"""fix_data_dir.sh and validate_data_dir.sh on small data directories."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[2] / "utils"

FILES = {
    "wav.scp": "a /x/a 1.wav\nb /x/b.wav\nc /x/c.wav\n",
    "utt2spk": "a s2\nb s1\nc s2\n",
    "spk2utt": "s1 b\ns2 a c\n",
    "captions": 'a ["高兴 的 声音", "it\'s glad"]\nb ["悲伤"]\nc ["平静"]\n',
    "text": "a 你好\nb 再见 吧\nc 好\n",
    "utt2emo": "a happy\nb sad\nc calm\n",
    "emo2utt": "calm c\nhappy a\nsad b\n",
    "utt2rate": "a fast\nb slow\nc normal\n",
    "utt2volume": "a loud\nb quiet\nc normal\n",
    "utt2pitch": "a high\nb low\nc normal\n",
}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data set/训练"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def run(program, *args):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [UTILS / program, *map(str, args)], capture_output=True, text=True, encoding="utf-8", env=env, timeout=60
    )


def contents(folder):
    return {p.name: p.read_text(encoding="utf-8") for p in folder.iterdir() if p.is_file()}


def test_nothing_to_fix(data):
    done = run("fix_data_dir.sh", data)
    assert done.returncode == 0 and "nothing to fix, 3 utterances" in done.stdout
    assert contents(data) == FILES and not (data / ".backup").exists()


def test_intersection_over_all_files(data):
    (data / "utt2pitch").write_text("a high\nc normal\nz low\n")
    done = run("fix_data_dir.sh", data)
    assert done.returncode == 0
    assert "2 utterances kept, 2 dropped, 0 bad or repeated lines" in done.stdout
    assert "b: not in utt2pitch" in done.stdout and "z: not in wav.scp, utt2spk, " in done.stdout
    for name in set(FILES) - {"spk2utt", "emo2utt"}:
        ids = [line.split()[0] for line in (data / name).read_text(encoding="utf-8").splitlines()]
        assert ids == ["a", "c"], name
    assert (data / "wav.scp").read_text() == "a /x/a 1.wav\nc /x/c.wav\n"
    assert (data / "spk2utt").read_text() == "s2 a c\n"
    assert (data / "emo2utt").read_text() == "calm c\nhappy a\n"
    backup = contents(data / ".backup")
    assert backup["captions"] == FILES["captions"] and backup["emo2utt"] == FILES["emo2utt"]
    assert backup["dropped.tsv"].splitlines()[0] == "b\tnot in utt2pitch"
    assert "nothing to fix, 2 utterances" in run("fix_data_dir.sh", data).stdout


def test_order_bom_crlf_and_empty_lines(data):
    (data / "wav.scp").write_bytes(b"\xef\xbb\xbfc /x/c.wav\r\n\r\na /x/a 1.wav\r\nb  /x/b.wav")
    done = run("fix_data_dir.sh", data)
    for said in ("byte order mark removed", "3 lines with CRLF", "1 empty lines", "was not sorted"):
        assert f"wav.scp: {said}" in done.stdout
    assert contents(data) == FILES
    assert (data / ".backup/wav.scp").read_bytes().startswith(b"\xef\xbb\xbfc")


def test_duplicates_and_missing_values_are_reported(data):
    (data / "utt2emo").write_text("a happy\na happy\nb sad\nb happy\nc\n")
    done = run("fix_data_dir.sh", data)
    assert "2 utterances kept, 1 dropped, 3 bad or repeated lines" in done.stdout
    assert (data / ".backup/dropped.tsv").read_text().splitlines() == [
        "a\tutt2emo: the same line again",
        "b\tutt2emo: another line for this id, the first is kept",
        "c\tutt2emo: no value",
        "c\tnot in utt2emo",
    ]
    assert (data / "utt2emo").read_text() == "a happy\nb sad\n"


def test_long_lists_are_cut_on_the_screen_only(data):
    (data / "text").write_text("".join(f"x{i:03d} w\n" for i in range(50)) + "a w\n")
    done = run("fix_data_dir.sh", data)
    assert "... and 32 more in" in done.stdout
    assert len((data / ".backup/dropped.tsv").read_text().splitlines()) == 52


def test_older_backups_are_kept(data):
    (data / "text").write_text("b x\na x\nc x\n")
    run("fix_data_dir.sh", data)
    (data / "text").write_text("c y\nb y\na y\n")
    run("fix_data_dir.sh", data)
    backup = contents(data / ".backup")
    assert backup["text.1"] == "b x\na x\nc x\n" and backup["text"] == "c y\nb y\na y\n"


def test_missing_inverted_maps_are_made(data):
    (data / "spk2utt").unlink()
    (data / "emo2utt").unlink()
    assert run("fix_data_dir.sh", data).returncode == 0
    assert {k: v for k, v in contents(data).items() if k in FILES} == FILES


@pytest.mark.parametrize(("name", "content"), [("text", ""), ("captions", 'x ["y"]\n')])
def test_nothing_in_common_changes_nothing(data, name, content):
    (data / name).write_text(content)
    before = contents(data)
    done = run("fix_data_dir.sh", data)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "nothing was changed" in done.stderr and name in done.stderr
    assert contents(data) == before


def test_bad_calls(data, tmp_path):
    for args in ([], [data, data], [tmp_path / "nowhere"]):
        done = run("fix_data_dir.sh", *args)
        assert done.returncode == 1 and done.stderr.startswith("fix_data_dir.sh: error: ")
    (data / "wav.scp").unlink()
    done = run("fix_data_dir.sh", data)
    assert done.returncode == 1 and "wav.scp' is missing" in done.stderr


def test_validate_then_fix_then_validate(data, tmp_path):
    good = run("validate_data_dir.sh", data, "--require", "captions", "utt2emo")
    assert good.returncode == 0, good.stderr
    (data / "text").write_text("b x\na x\na x\n")
    bad = run("validate_data_dir.sh", data)
    assert bad.returncode == 1 and "text" in bad.stderr + bad.stdout
    assert run("fix_data_dir.sh", data).returncode == 0
    good = run("validate_data_dir.sh", data)
    assert good.returncode == 0, good.stderr


def test_validate_from_a_recipe_s_link(data, tmp_path):
    (tmp_path / "utils").symlink_to(UTILS)
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(
        ["utils/validate_data_dir.sh", data], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "options", [["--no-feats", "--no-text"], ["--no-feats", "--non-print", "--no-spk-sort"], ["--no_feats", "--no_wav"]]
)
def test_validate_takes_the_options_that_kaldi_s_local_data_sh_gives(data, options):
    if "--no-text" in options:
        (data / "text").write_text("nobody spoke\n")
    if "--no_wav" in options:
        (data / "wav.scp").unlink()
    done = run("validate_data_dir.sh", *options, "--require", "captions", "utt2emo", data)  # the folder comes last
    assert done.returncode == 0, done.stderr
    assert run("validate_data_dir.sh", data).returncode == ("--no-text" in options or "--no_wav" in options)


def test_fix_with_segments(data):
    """The ids of wav.scp are those of recordings."""
    (data / "wav.scp").write_text("r2 /y.wav\nr1 /x.wav\nr3 /z.wav\n")
    (data / "segments").write_text("a r1 0 1\nb r1 1 2\nc r9 0 1\n")
    done = run("fix_data_dir.sh", data)
    assert done.returncode == 0 and "2 utterances kept, 1 dropped" in done.stdout, done.stderr
    assert (data / "wav.scp").read_text() == "r1 /x.wav\n" and (data / "segments").read_text() == "a r1 0 1\nb r1 1 2\n"
    dropped = (data / ".backup/dropped.tsv").read_text().splitlines()
    assert "c\tsegments: its recording is not in wav.scp" in dropped and "r2\twav.scp: no segment needs it" in dropped
    assert run("validate_data_dir.sh", data).returncode == 0
    assert "nothing to fix, 2 utterances" in run("fix_data_dir.sh", data).stdout


@pytest.mark.parametrize(
    "style", ["--utt_extra_files {} --spk-extra-files {}", "--utt-extra-files={} --spk_extra_files={}"]
)
def test_kind_17_extra_files_lose_the_lines_of_others_and_need_not_have_all(data, style):
    more = {"text.en": "b bye\nx who\n", "spk2age": "s1 30\ns9 40\n", "spk2gender": "s1 f\ns2 m\ns9 m\n"}
    for name, content in more.items():
        (data / name).write_text(content)
    words = style.replace("{}", "text.en@none", 1).replace("{}", "spk2age").split()
    done = run("fix_data_dir.sh", *(word.replace("@", " ") for word in words), data)
    assert done.returncode == 0 and "3 utterances kept, 0 dropped" in done.stdout, done.stderr
    wanted = {"text.en": "b bye\n", "spk2age": "s1 30\n", "spk2gender": "s1 f\ns2 m\n"}
    assert contents(data) == FILES | wanted
    assert "x: text.en: not in the other files" in done.stdout
    assert run("fix_data_dir.sh", "--utt_extra", data).returncode == 1


def test_kind_17_lists_may_be_pipes_and_copies_take_kaldis_options(data):
    made = data.parent / "made"
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    program = UTILS / "subset_data_dir.sh"
    command = 'exec "$0" --utt-list <(echo a; echo c) "$1" "$2"'
    done = subprocess.run(["bash", "-c", command, program, data, made], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and (made / "utt2emo").read_text() == "a happy\nc calm\n", done.stderr
    done = run("copy_data_dir.sh", "--extra-files", "utt2uniq", "--validate_opts", "--non-print", data, made)
    assert done.returncode == 0 and "made: good" in done.stdout, done.stderr
