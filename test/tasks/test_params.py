import pytest
import torch

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.params import Part, architecture, size, table


def test_sums_with_and_without_what_the_paper_does_not_count():
    rows = table([Part("a", 2_000_000, True), Part("b", 3_000_000_000, False), Part("c", 1_000_000, True, False)])
    lines = [line.split("  ") for line in rows.splitlines()]
    found = {line[0].strip(): [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert found["all"] == ["3.0 M", "3.003 B"] and found["all that Table 1 counts"] == ["2.0 M", "3.002 B"]
    assert found["b"] == ["-", "3.000 B"]


def test_known_hub_models_need_no_network():
    assert architecture("TencentGameMate/chinese-hubert-large").hidden_size == 1024
    with pytest.raises(SecError, match="no/such: neither a folder with config.json nor one of the known models"):
        architecture("no/such")


def test_size_counts_every_parameter():
    assert size(torch.nn.Linear(3, 4)) == 16
