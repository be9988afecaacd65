import json
import subprocess
import sys

import pytest
from listening import prepare, save, simulate

from espnet2_secap.bin import sec_listen
from espnet2_secap.listen.store import Store

MEANS = {"human": 4.2, "ours": 3.4, "label": 2.2}


@pytest.fixture
def made(tmp_path, capsys):
    design = prepare(tmp_path, per_utterance=1, catch=1)
    capsys.readouterr()
    return tmp_path / "test", design


def fails(capsys, *words):
    with pytest.raises(SystemExit) as caught:
        sec_listen.main(list(map(str, words)))
    err = capsys.readouterr().err
    assert caught.value.code == 1 and "Traceback" not in err
    return err.splitlines()


def test_answers_cut_short_doubled_and_from_another_page(made, tmp_path, capsys):
    """One line each; the rest is used."""
    folder, design = made
    files = [save(simulate(design, at, MEANS), design, tmp_path / f"{at}.json") for at in range(6)]
    (tmp_path / "cut.json").write_bytes(files[0].read_bytes()[:-40])
    (tmp_path / "twice.json").write_bytes(files[1].read_bytes())
    other = prepare(tmp_path / "other", per_utterance=1, seed=5)
    files.append(save(simulate(other, 0, MEANS), other, tmp_path / "other.json"))
    short = simulate(design, 7, MEANS)
    short.answers = dict(list(short.answers.items())[:1])
    files += [save(short, design, tmp_path / "short.json"), tmp_path / "cut.json", tmp_path / "twice.json"]
    files += [tmp_path / "none.json"]
    capsys.readouterr()
    sec_listen.main(["analyse", "--folder", str(folder), "--answers", *map(str, files)])
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert len(lines) == 5 and all(line.startswith("sec_listen: warning: ") for line in lines)
    for name, what in {
        "cut.json": "is cut short or not JSON",
        "twice.json": "is from the same browser session",
        "other.json": "is from another page",
        "short.json": "has given 1 of 7 answers; left out",
        "none.json": "does not exist",
    }.items():
        assert sum(name in line and what in line for line in lines) == 1, (name, lines)
    assert "Mean opinion scores, all listeners" in out
    found = json.loads((folder / "LISTENING.json").read_text())
    assert found["all_listeners"]["listeners"] == 6
    assert found["all_listeners"]["mos"]["human"]["ratings"] == 6 * 2
    for ending in ("md", "tex", "png", "tsv"):
        assert (folder / f"LISTENING.{ending}").stat().st_size > 100


def test_the_database_is_the_default(made, capsys):
    folder, design = made
    lines = fails(capsys, "analyse", "--folder", folder)
    assert len(lines) == 1 and "answers.sqlite: does not exist; run sec_listen serve, or give files" in lines[0]
    store = Store(folder / "answers.sqlite", design, make=True)
    for _, group, token in store.add_listeners(3):
        store.put(token, list(simulate(design, group - 1, MEANS).answers.values()))
    store.close()
    sec_listen.main(["analyse", "--folder", str(folder), "--listeners", str(tokens(folder))])
    assert "3 listeners; " in (folder / "LISTENING.md").read_text()


def tokens(folder):
    sec_listen.main(
        ["serve", "--folder", str(folder), "--listeners", "3", "--tokens_only", "--url", "https://a.example/"]
    )
    return folder / "tokens.tsv"


def test_links_are_for_the_listeners_alone(made, capsys):
    folder, _ = made
    path = tokens(folder)
    lines = path.read_text().splitlines()
    assert len(lines) == 4 and lines[1].split("\t")[2].startswith("https://a.example/t/")
    assert path.stat().st_mode & 0o077 == 0
    sec_listen.main(
        ["serve", "--folder", str(folder), "--listeners", "5", "--tokens_only", "--url", "https://a.example"]
    )
    assert path.read_text().splitlines()[:4] == lines


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["serve", "--folder", "{}"], "--listeners 0: nobody has a link yet"),
        (["serve", "--folder", "{}", "--port", "70000"], "must be between 0 and 65535"),
        (["serve", "--folder", "{}/none", "--listeners", "1"], "design.json: does not exist"),
        (["analyse", "--folder", "{}", "--output", "x.tex"], "must be the Markdown file"),
        (["analyse", "--folder", "{}", "--answers", "x.sqlite"], "x.sqlite: does not exist"),
        (["analyse", "--folder", "{}", "--min_answers", "2"], "must be between 0 and 1"),
        (["analyse", "--folder", "{}", "--listeners", "none.tsv"], "none.tsv: does not exist"),
        (["prepare", "--data_dir", "{}", "--systems", "a=b", "--output", "x"], "b: does not exist"),
        (["prepare", "--systems", "a=b", "--output", "x"], "--data_dir"),
        (["listen"], "invalid choice"),
    ],
)
def test_bad_input_is_one_line(made, capsys, words, why):
    lines = fails(capsys, *(word.format(made[0]) for word in words))
    assert len(lines) == 1 and why in lines[0], lines


def test_it_starts_without_torch_and_server():
    code = (
        "import sys\nfrom espnet2_secap.bin import sec_listen\n"
        "print(*(name for name in ('torch', 'uvicorn', 'starlette', 'scipy', 'transformers') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
