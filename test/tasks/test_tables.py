"""The file of systems: read, extended, and every typo one line with file and key."""

import re

import pytest
import yaml
from tiny_tables import CONF, reader

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.tables import read_extended


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return reader(tmp_path)


def test_a_file_as_it_should_be(read):
    file = read(CONF)
    rows = file.rows("2")
    assert rows[0].quoted["sim1"] == "71.95" and rows[1].quoted == {"sim1": "59.62"}
    assert rows[0].missing == "" and rows[1].missing == "this version has no encoder:not_there"
    assert [claim.better for claim in file.claims["2"]] == ["good"]
    assert [step.feats for step in file.steps_of(file.systems["good"])] == ["", "hubert", "hubert"]
    assert file.choose(["2", "2"]) == ["2"]
    with pytest.raises(SecError, match="--tables '5': there is no such name; tables of tables.yaml: 2"):
        file.choose(["5"])


def changed(path, value):
    """CONF with one value changed; None removes it."""
    conf = yaml.safe_load(yaml.safe_dump(CONF))
    *parents, last = path
    place = conf
    for key in parents:
        place = place[key]
    place[last] = value
    return conf


@pytest.mark.parametrize(
    "path, value, told",
    [
        (["sistems"], {}, "tables.yaml: unknown key 'sistems'; known: "),
        (["systems", "good", "titel"], "x", "tables.yaml: systems: good: unknown key 'titel'; known: "),
        (
            ["systems", "good", "feats"],
            "hubrt",
            "tables.yaml: systems: good: feats 'hubrt': there is no such name; feats",
        ),
        (["systems", "good", "align"], "bth", "tables.yaml: systems: good: align 'bth'"),
        (
            ["systems", "poor", "options", "captoin_args"],
            "x",
            "tables.yaml: systems: poor: options: unknown key 'captoin_args'; known: ",
        ),
        (
            ["systems", "poor", "options", "expdir"],
            "x",
            "tables.yaml: systems: poor: options: unknown key 'expdir'; known: ",
        ),
        (["systems", "poor", "options", "nj"], [1], "tables.yaml: systems: poor: options: nj: must be text"),
        (["systems", "other", "align"], "both", "tables.yaml: systems: other: align: both has the features hubert"),
        (["systems", "a b"], {"feats": "hubert"}, "tables.yaml: systems: a b: a name has"),
        (["options"], {"njj": 1}, "tables.yaml: options: unknown key 'njj'; known: "),
        (["feats", "clap", "needs"], ["seq2seq"], "tables.yaml: feats: clap: needs: 'seq2seq': must be KIND:NAME"),
        (["feats", "clap", "parts"], ["bart"], "tables.yaml: feats: clap: parts 'bart'"),
        (["tables", "2", "metrics"], ["sim"], "tables.yaml: tables: 2: metrics: "),
        (["tables", "2", "rows", 0, "system"], "goood", "tables.yaml: tables: 2: row 1: system 'goood'"),
        (
            ["tables", "2", "rows", 0, "cells"],
            ["a", "b"],
            "tables.yaml: tables: 2: row 1: cells: has 2, but the table 1",
        ),
        (["tables", "2", "rows", 1, "quoted"], "SECap #9", "tables.yaml: tables: 2: row 2: quoted 'SECap #9'"),
        (["tables", "2", "rows", 1], "good", "tables.yaml: tables: 2: row 2 'good': must be `key: value` lines"),
        (["claims", 0, "better"], "best", "tables.yaml: claims: number 1: better 'best'"),
        (["claims", 0, "table"], "7", "tables.yaml: claims: number 1: table '7'"),
        (["metric"], "cidr", "tables.yaml: metric: "),
        (["reference"], "gut", "tables.yaml: reference 'gut'"),
        (["quote"], "secp", "tables.yaml: quote 'secp'"),
        (["seconds"], {5: -1}, "tables.yaml: seconds"),
    ],
)
def test_a_typo_is_one_line_with_file_and_key(read, path, value, told):
    conf = changed(path, value)
    if path == ["seconds"]:
        conf["speed"] = 0  # a mapping's values are not checked one by one
        told = "tables.yaml: speed 0: must be above 0"
    with pytest.raises(SecError) as err:
        read(conf)
    assert str(err.value).startswith(told) and "\n" not in str(err.value), err.value


def test_a_file_extends_another(read, tmp_path):
    read(CONF)
    more = {
        "extends": "tables.yaml",
        "metric": "bleu_4",
        "systems": {"mine": {"feats": "hubert"}, "poor": {"title": "Poor"}},
        "claims": [{"claim": "mine", "table": "2", "better": "mine", "worse": "good"}],
    }
    file = read(more, "mine.yaml")
    assert list(file.systems) == ["good", "poor", "other", "mine"] and file.conf.metric == "bleu_4"
    assert file.systems["poor"].title == "Poor" and file.systems["poor"].options == {"caption_args": "--max_epoch 1"}
    assert [claim.better for claim in file.claims["2"]] == ["good", "mine"]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SecError, match="none.yaml"):
        read_extended(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(SecError, match="leads back to itself"):
        read_extended(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("extends: 1\n")
    with pytest.raises(SecError, match="extends: must be the path of a file"):
        read_extended(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "step, said",
    [
        ({"start": "none"}, "start 'none': there is no such name; systems without start: "),
        ({"start": "good", "feats": "hubert"}, "has no feats and align of its own; leave them out"),
        (
            {"start": "good", "options": {"caption_args": "x"}},
            "unknown key 'caption_args'; known: best_of, prefer_args",
        ),
    ],
)
def test_a_start_that_is_wrong(read, tmp_path, step, said):
    (tmp_path / "aligncap.sh").write_text("prefer_args=\nbest_of=8\nhelp_message=\n")
    with pytest.raises(SecError, match=re.escape(said)):
        read({**CONF, "systems": {**CONF["systems"], "po": step}})
