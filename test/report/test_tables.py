from espnet2_secap.report.collect import Score, find_probes, find_scores
from espnet2_secap.report.quoted import read_quoted
from espnet2_secap.report.tables import example_table, probe_table, score_table, segmentation, spread


def of_set(exp, dset="test"):
    return [score for score in find_scores(exp) if score.dset == dset]


def test_scores_with_best_bold_spread_and_notes(exp):
    table, notes = score_table(of_set(exp))
    assert table.header == ["system", "n", "BLEU-1", "METEOR", "CIDEr", "emotion recall"]
    rows = [[cell.markdown() for cell in row] for row in table.rows]
    # 30.00 and 30.001 show alike, so both are best
    assert rows == [
        ["`sec_x/decode_y` (1)", "5", "**30.00 ±0.50**", "-", "**50.00 ±1.25**", "**90.00 ±0.00**"],
        ["`sec_x/decode_y_shuffled_audio`", "1", "-", "-", "20.00", "30.00"],
        ["`random_caption`", "1", "**30.00**", "-", "10.00", "-"],
        ["`frequent_caption`", "1", "-", "n/a (2)", "5.00", "-"],
    ]
    assert notes == ["(1) 2 of 3 utterances have more than 5 candidates", "(2) METEOR: no java"]


def test_a_single_row_has_no_best(exp):
    table, _ = score_table(of_set(exp, "dev"))
    assert [cell.markdown() for cell in table.rows[0]] == ["`sec_x/decode_y`", "1", "40.00"]


def test_quoted_rows_stand_below_and_are_never_the_best(exp):
    quoted = read_quoted("secap")
    table, notes = score_table(of_set(exp), quoted)
    assert table.header[2:7] == ["BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"] and table.quoted == 6
    row = [cell.markdown() for cell in table.rows[-1]][:5]
    assert row == ["SECap #6 (Q-Embedding) †", "-", "36.08", "8.12", "19.30"]
    bold = [[cell.text for cell in row if cell.bold] for row in table.rows]
    assert bold == [["30.00 ±0.50", "50.00 ±1.25", "90.00 ±0.00"], [], ["30.00"], [], *[[]] * 6]
    assert notes[-1].startswith("† quoted from Xu et al., AAAI 2024, Table 2")
    table, notes = score_table(of_set(exp, "dev"), quoted)  # no test set
    assert table.quoted == 0 and len(table.rows) == 1 and notes == []


def test_segmentation_is_named():
    scores = [Score(name, "test", {}, {"segment": how}) for name, how in (("a", "char"), ("b", "word"), ("c", "char"))]
    assert segmentation(scores[:1]) == "char"
    assert segmentation(scores) == "char (a, c); word (b)"
    normalised = [Score("d", "test", {}, {"segment": "char", "normalize": "nfkc"})]
    assert segmentation(normalised) == "char, captions in NFKC"
    assert segmentation(scores[:1] + normalised) == "char (a); char, captions in NFKC (d)"


def test_examples_of_the_systems_that_listen(exp):
    table = example_table(of_set(exp), 2)
    assert table.header == ["utterance", "a human caption", "sec_x/decode_y"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["u1", "很高兴", "开心"],
        ["u2", "悲伤|难过", "*难受*"],
    ]
    assert example_table(of_set(exp), 0) is None and example_table(of_set(exp, "dev"), 2) is None


def test_probes(exp):
    (probe,) = find_probes(exp)
    table = probe_table([probe | {"model": "best.pth", "made_from": {"model": "0a1b"}}])
    assert table.header[2:] == ["emotion: accuracy (chance, n)", "sentence: accuracy (chance, n)"]
    assert [cell.text for cell in table.rows[0]] == [
        "sec_align",
        "valid+test",
        "92.1 (25.0, 40)",
        "n/a: no text",
    ]
    assert probe_table([]) is None


def test_neither_a_high_nor_a_low_share_of_copies_is_the_best():
    def scores(metric):
        values = {"mean": 30.0, "std": 0.0, "n": 1}, {"mean": 50.0, "std": 0.0, "n": 1}
        return [Score(system, "test", {metric: value}) for system, value in zip("ab", values, strict=True)]

    for metric, bold in [("copies", [False, False]), ("cider", [False, True]), ("x_hallucination", [True, False])]:
        table, _ = score_table(scores(metric))
        assert [row[2].bold for row in table.rows] == bold


def test_values_over_seeds():
    assert spread([1.0, 3.0]) == "2.00 ±1.41" and spread([2.0]) == "2.00" and spread([]) == "-"
