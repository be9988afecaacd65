"""split_scp.pl, filter_scp.pl, utt2spk_to_spk2utt.pl and spk2utt_to_utt2spk.pl."""

import os
import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).resolve().parents[2] / "utils"


def run(program, cwd, *args, stdin=""):
    return subprocess.run(
        [UTILS / program, *map(str, args)], cwd=cwd, input=stdin.encode(), capture_output=True, timeout=60
    )


def refused(done, program) -> str:
    message = done.stderr.decode()
    assert done.returncode == 1 and message.startswith(f"{program}: error: ") and message.count("\n") == 1, message
    return message


# ---- split_scp.pl


@pytest.mark.parametrize(("lines", "parts"), [(7, 3), (6, 3), (3, 3), (10, 1), (101, 8)])
def test_split_is_contiguous_and_near_equal(tmp_path, lines, parts):
    content = [f"utt{i:03d} /音/{i}.wav\n" for i in range(lines)]
    (tmp_path / "wav.scp").write_text("".join(content), encoding="utf-8")
    names = [f"p.{i}" for i in range(parts)]
    assert run("split_scp.pl", tmp_path, "wav.scp", *names).returncode == 0
    pieces = [(tmp_path / name).read_text(encoding="utf-8").splitlines(True) for name in names]
    assert sum(pieces, []) == content
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "wav.scp"])


def test_split_without_last_newline_from_stdin(tmp_path):
    assert run("split_scp.pl", tmp_path, "-", "a", "b", stdin="1\n2\n3").returncode == 0
    assert (tmp_path / "a").read_text() == "1\n2\n" and (tmp_path / "b").read_text() == "3\n"


def test_split_more_parts_than_lines(tmp_path):
    (tmp_path / "s").write_text("1\n2\n")
    message = refused(run("split_scp.pl", tmp_path, "s", "a", "b", "c"), "split_scp.pl")
    assert "'s' has 2 lines" in message and "3 parts" in message
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_split_bad_calls(tmp_path):
    (tmp_path / "empty").write_text("")
    assert "'empty' is empty" in refused(run("split_scp.pl", tmp_path, "empty", "a"), "split_scp.pl")
    assert "'nowhere'" in refused(run("split_scp.pl", tmp_path, "nowhere", "a"), "split_scp.pl")
    assert "'a'" in refused(run("split_scp.pl", tmp_path, "-", "a", "a", stdin="1\n2\n"), "split_scp.pl")
    refused(run("split_scp.pl", tmp_path, "empty"), "split_scp.pl")


# ---- filter_scp.pl


def filtered(tmp_path, *options, ids="b\nc x\n", lines="a 1\nb 2  two\nc\tb\n"):
    (tmp_path / "ids").write_text(ids, encoding="utf-8")
    (tmp_path / "scp").write_text(lines, encoding="utf-8")
    return run("filter_scp.pl", tmp_path, *options, "ids", "scp")


def test_filter(tmp_path):
    assert filtered(tmp_path).stdout == b"b 2  two\nc\tb\n"
    assert filtered(tmp_path, "--exclude").stdout == b"a 1\n"
    assert filtered(tmp_path, "-f", "2").stdout == b"c\tb\n"
    assert filtered(tmp_path, ids="", lines="a 1\n").stdout == b""


def test_filter_stdin_and_last_line(tmp_path):
    (tmp_path / "ids").write_text("句b\n", encoding="utf-8")
    done = run("filter_scp.pl", tmp_path, "ids", stdin="句a 1\n句b 2")
    assert done.stdout.decode() == "句b 2\n"


def test_filter_bad_input(tmp_path):
    assert "'nowhere'" in refused(run("filter_scp.pl", tmp_path, "nowhere"), "filter_scp.pl")
    assert "ids:2" in refused(filtered(tmp_path, ids="a\n\n"), "filter_scp.pl")
    assert "scp:1" in refused(filtered(tmp_path, "-f", "3"), "filter_scp.pl")
    assert "--nope" in refused(filtered(tmp_path, "--nope"), "filter_scp.pl")


# ---- utt2spk_to_spk2utt.pl and back


def test_spk2utt_is_sorted_by_bytes_and_comes_back(tmp_path):
    utt2spk = "u1 说\nu2 b\nu3 B\nu4 说\n"
    spk2utt = run("utt2spk_to_spk2utt.pl", tmp_path, stdin=utt2spk).stdout.decode()
    assert spk2utt == "B u3\nb u2\n说 u1 u4\n"
    (tmp_path / "spk2utt").write_text(spk2utt, encoding="utf-8")
    assert run("spk2utt_to_utt2spk.pl", tmp_path, "spk2utt").stdout.decode() == utt2spk


def test_spk2utt_bad_input(tmp_path):
    program = "utt2spk_to_spk2utt.pl"
    assert "-:2" in refused(run(program, tmp_path, stdin="u1 a\nu2 b c\n"), program)
    assert "-:1" in refused(run(program, tmp_path, stdin="u1\n"), program)
    assert "u1" in refused(run(program, tmp_path, stdin="u1 a\nu1 b\n"), program)
    assert "'nowhere'" in refused(run(program, tmp_path, "nowhere"), program)
    program = "spk2utt_to_utt2spk.pl"
    assert "-:1" in refused(run(program, tmp_path, stdin="a\n"), program)
    assert "u1" in refused(run(program, tmp_path, stdin="a u1\nb u1\n"), program)


@pytest.mark.parametrize("program", sorted(p.name for p in UTILS.glob("*.pl") if os.access(p, os.X_OK)))
def test_help(tmp_path, program):
    done = run(program, tmp_path, "--help")
    assert done.returncode == 0 and done.stdout.startswith(b"Usage: ")


# ---- byte order marks and CRLF


def test_a_list_of_ids_from_windows(tmp_path):
    assert filtered(tmp_path, ids="\ufeffb\r\nc\r\n").stdout == b"b 2  two\nc\tb\n"


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path):
    message = refused(filtered(tmp_path, lines="\ufeffa 1\nb 2\n"), "filter_scp.pl")
    assert "scp:1: begins with a byte order mark" in message
    (tmp_path / "utt2spk").write_text("\ufeffa s\nb s\n", encoding="utf-8")
    assert run("utt2spk_to_spk2utt.pl", tmp_path, "utt2spk").stdout == b"s a b\n"
    (tmp_path / "spk2utt").write_text("\ufeffs a b\n", encoding="utf-8")
    assert run("spk2utt_to_utt2spk.pl", tmp_path, "spk2utt").stdout == b"a s\nb s\n"
