"""tools/gradients.py on a trained model: terms whose relation is known."""

import importlib.util

import pytest
import tiny_training
from tiny_training import CAPTION, SPEECH, command, make_corpus, write

from espnet2_secap.bin import sec_train


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("gradients")
    corpus = make_corpus(folder)
    conf = tiny_training.caption_conf(tiny_llama) | {"model": "distill"}
    names = [SPEECH, CAPTION, ("text", "text", "text")]
    sec_train.main(command(corpus, folder / "exp", write(folder / "c.yaml", conf), names))
    return folder / "exp"


@pytest.fixture
def gradients(repo):
    spec = importlib.util.spec_from_file_location("gradients", repo / "tools/gradients.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(exp, *terms):
    return ["--config", str(exp / "config.yaml"), "--model_file", str(exp / "valid.loss.best.pth"), "--terms", *terms]


def test_terms_against_the_first(trained, gradients, capsys):
    weights = {"ce": (1, 0), "kd": (0, 1), "twice": (0, 2), "both": (1, 1)}
    terms = [f"{name}:ce_weight={a},kd_weight={b}" for name, (a, b) in weights.items()]
    # the last names one weight: the other is the experiment's, not that of the term before it
    gradients.main(options(trained, *terms[:-1], "both:ce_weight=1"))
    _, _, *rows = capsys.readouterr().out.splitlines()
    table = {name: list(map(float, values)) for name, *values in (row.split("\t") for row in rows)}
    assert list(table) == list(weights)
    assert table["ce"][1:3] == [1.0, 1.0]
    assert table["twice"][1] == pytest.approx(2 * table["kd"][1], abs=0.01) and table["twice"][2:] == table["kd"][2:]
    loss = {name: values[0] for name, values in table.items()}
    assert loss["both"] == pytest.approx(loss["ce"] + loss["kd"], abs=2e-4) and loss["kd"] > 0
    size, cosine = table["kd"][1:3]  # of a sum, by the law of cosines
    assert table["both"][1] ** 2 == pytest.approx(1 + size**2 + 2 * size * cosine, rel=0.05, abs=0.02)


@pytest.mark.parametrize(
    ("term", "said"),
    [("kd", "must be NAME:WEIGHT=VALUE"), ("kd:kd_weight=x", "must be"), ("kd:po_weight=1", "has no weight po_weight")],
)
def test_terms_that_are_none(trained, gradients, capsys, term, said):
    with pytest.raises(SystemExit):
        gradients.main(options(trained, term))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert said in line
