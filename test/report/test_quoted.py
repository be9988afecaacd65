from espnet2_secap.metric.registry import METRICS
from espnet2_secap.report.quoted import quotable, read_quoted


def test_secap_table_2():
    assert quotable() == ["secap"]
    quoted = read_quoted("secap")
    assert [name.split(" (")[0] for name in quoted.rows] == ["HTSAT-BART #1", *(f"SECap #{at}" for at in range(2, 7))]
    assert quoted.rows["SECap #6 (Q-Embedding)"] == {
        "sim1": "71.95", "sim2": "70.51", "bleu_1": "36.08", "bleu_4": "8.12", "meteor": "19.30", "rouge_l": "28.49",
        "cider": "34.81", "spice": "6.49",
    }  # fmt: skip
    for values in quoted.rows.values():
        assert values.keys() - {"spice"} <= METRICS.keys() and len(values) == 8
        assert all(0 <= float(value) <= 100 for value in values.values())
    assert "Xu et al., AAAI 2024, Table 2" in quoted.note and "not directly comparable" in quoted.note


def test_they_stand_below_test_sets():
    quoted = read_quoted("secap")
    assert quoted.below("test") == quoted.below("test_clean") == quoted.rows and quoted.below("valid") == {}
