"""utils/parse_options.sh: what reaches a script's variables, and what is refused."""

import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

SCRIPT = r"""
set -euo pipefail
stage=1
train_set=train
flag=false
empty=
declare later
help_message='Usage: 100% $(touch evil) "x"
  --stage N'
. "$PARSE_OPTIONS"
printf '%s\0' "$stage" "$train_set" "$flag" "$empty" "${later-unset}" "$@"
"""


@pytest.fixture
def script(tmp_path):
    """Run the script with options; -> (exit status, [stage, train_set, flag, empty, later, the rest ...], stderr)."""
    path = tmp_path / "script.sh"
    path.write_text(SCRIPT, encoding="utf-8")

    def run(*options, env=None):
        environment = {"PATH": "/usr/bin:/bin", "PARSE_OPTIONS": str(REPO / "utils/parse_options.sh"), **(env or {})}
        done = subprocess.run(
            ["bash", "script.sh", *options], cwd=tmp_path, env=environment, capture_output=True, timeout=60
        )
        assert not (tmp_path / "evil").exists(), "a value was evaluated"
        values = done.stdout.decode().split("\0")[:-1]
        return done.returncode, values, done.stderr.decode()

    return run


def refused(script, *options) -> str:
    """Return the one line on stderr."""
    code, values, stderr = script(*options)
    assert code == 1 and values == []
    assert stderr.startswith("script.sh: error: ") and stderr.count("\n") == 1, stderr
    return stderr


def test_defaults_stay(script):
    assert script() == (0, ["1", "train", "false", "", "unset"], "")


def test_dashes_and_underscores(script):
    assert script("--train-set", "a", "--stage", "3")[1][:2] == ["3", "a"]
    assert script("--train_set", "b")[1][1] == "b"


def test_last_value_wins_and_the_rest_stays(script):
    code, values, _ = script("--stage", "2", "--stage", "4", "one", "two words", "--flag")
    assert code == 0
    assert values == ["4", "train", "false", "", "unset", "one", "two words", "--flag"]


def test_two_dashes_end_the_options(script):
    assert script("--stage", "2", "--", "--stage", "3")[1] == ["2", "train", "false", "", "unset", "--stage", "3"]


@pytest.mark.parametrize(
    "value",
    [
        "two words",
        " a leading space",
        "it's",
        'say "x"',
        "$(touch evil)",
        "`touch evil`",
        "$HOME ${HOME} $$",
        "; touch evil",
        "a\nb\n",
        "back\\slash \\n \\$x",
        "*",
        "语速较快，声音高亢 情绪",
        "--max_epoch 5 --x $(touch evil)",
        " --one_word",
        "-1",
        "",
        "%s %d",
        "x=y",
    ],
)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_values_to_the_letter(script, value, locale):
    code, values, stderr = script("--empty", value, "--train-set", "after", env={"LC_ALL": locale})
    assert (code, stderr) == (0, "")
    assert values[3] == value and values[1] == "after"


def test_variable_that_is_declared_only(script):
    assert script("--later", "now")[1][4] == "now"


def test_help_is_printed_as_it_is(script):
    code, _, _ = script("--stage", "2", "--help")
    assert code == 0
    done = script("-h")
    assert done[0] == 0 and done[2] == ""


def test_help_text(tmp_path):
    (tmp_path / "s.sh").write_text(SCRIPT, encoding="utf-8")
    for option in ("--help", "-h"):
        done = subprocess.run(
            ["bash", "s.sh", option],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PARSE_OPTIONS": str(REPO / "utils/parse_options.sh")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0
        assert done.stdout == 'Usage: 100% $(touch evil) "x"\n  --stage N\n'
    assert not (tmp_path / "evil").exists()


def test_unknown_option(script):
    assert "--stagee" in refused(script, "--stagee", "3")
    assert "--no" in refused(script, "--no", "3")


def test_environment_and_specials_are_no_options(script):
    assert "--PATH" in refused(script, "--PATH", "/nowhere")
    assert "--help_message" in refused(script, "--help_message", "x")
    assert "--BASH_ENV" in refused(script, "--BASH_ENV", "x")


def test_name_is_never_evaluated(script):
    refused(script, "--a[$(touch evil)]", "1")
    refused(script, "--stage;touch evil", "1")


def test_equals_sign(script):
    message = refused(script, "--stage=3")
    assert "--stage VALUE" in message and "--stage=VALUE" in message


def test_single_dash(script):
    assert "-stage" in refused(script, "-stage", "3")


def test_missing_value(script):
    assert "--stage needs a value" in refused(script, "--stage")
    message = refused(script, "--stage", "--train_set", "x")
    assert "--stage needs a value" in message and "--train_set" in message


def test_boolean(script):
    assert script("--flag", "true")[1][2] == "true"
    for value in ("yes", "1", "", "True", "a b"):
        assert "--flag must be true or false" in refused(script, "--flag", value)


def test_config_file_is_read_first(script, tmp_path):
    (tmp_path / "decode.conf").write_text("# a comment\nstage=7\ntrain_set='from file'\nflag=true\n", encoding="utf-8")
    code, values, _ = script("--stage", "9", "--config", "decode.conf", "rest")
    assert code == 0
    assert values == ["9", "from file", "true", "", "unset", "rest"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stag=3\n", "sets 'stag'"),
        ("flag=perhaps\n", "flag must be true or false"),
        ("if\n", "syntax error"),
        ("false\n", "ended with an error"),
        ("\ufeffstage=7\n", "has a byte order mark or CRLF"),
        ("stage=7\r\nflag=true\r\n", "has a byte order mark or CRLF"),
    ],
)
def test_bad_config_file(script, tmp_path, content, said):
    (tmp_path / "x.conf").write_text(content, encoding="utf-8")
    message = refused(script, "--config", "x.conf")
    assert said in message and "x.conf" in message


def test_missing_config_file(script):
    assert "nowhere.conf" in refused(script, "--config", "nowhere.conf")
    assert "--config needs a value" in refused(script, "--config")


def test_integer_variable_is_no_option(tmp_path):
    """Bash evaluates what is assigned to such a variable, so it must not be settable."""
    (tmp_path / "s.sh").write_text('declare -i n=3; . "$P"; echo "$n"', encoding="utf-8")
    done = subprocess.run(
        ["bash", "s.sh", "--n", "a[$(touch evil)]"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "P": str(REPO / "utils/parse_options.sh")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "--n" in done.stderr and not (tmp_path / "evil").exists()


def test_callers_without_strict_mode(tmp_path):
    (tmp_path / "s.sh").write_text('a=1; . "$P"; echo "$a $? $#"; compgen -v _po; compgen -A function')
    done = subprocess.run(
        ["bash", "s.sh", "--a", "2", "x"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "P": str(REPO / "utils/parse_options.sh")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "2 0 1\n", "value, status and arguments; nothing of its own is left behind"
