"""The report of preference pairs, counted by hand."""

from espnet2_secap.data.preferences import Pair
from espnet2_secap.metric.words import Categories
from espnet2_secap.report.pairs import LEAST, pairs_report

WORDS = {
    "emotion": Categories({"angry": ["愤怒"], "sad": ["悲伤"]}),
    "rate": Categories({"fast": ["快"], "slow": ["慢"]}),
    "emotion_two": Categories({"bad": ["愤怒", "悲伤"]}, parent="emotion"),
}


def pair(utt, chosen, rejected, kind="factuality", source="sampled", margin=1.0) -> Pair:
    return Pair(utt, "p", chosen, rejected, kind, source, margin)


def test_counts_lengths_margins_and_attributes():
    pairs = [
        pair("u1", "愤怒，快", "悲伤，快", margin=1.0),  # emotion differs
        pair("u1", "愤怒，快", "悲伤", margin=2.0),  # emotion differs; chosen alone names a rate; longer
        pair("u2", "快", "愤怒，慢慢", "quality", margin=0.5),  # rate differs; rejected alone names an emotion; shorter
        pair("u3", "愤怒", "今天", "faithfulness", "rule", 0.0),  # chosen alone names an emotion
    ]
    lines = pairs_report(pairs, WORDS)
    assert "4 pairs of 3 utterances: 1.33 of an utterance, 2 at most; 1 instruction(s)." in lines
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    rows = {(row[0], len(row)): row[1:] for row in table}
    assert rows["type", 4] == ["sampled", "rule", "all"]
    assert rows["factuality", 4] == ["2", "0", "2"] and rows["faithfulness", 4] == ["0", "1", "1"]
    # characters: chosen 4, 4, 1, 2; rejected 4, 2, 5, 2
    assert rows["all", 5] == ["2.8", "3.2", "25.0%", "50.0%"]
    assert rows["factuality, sampled", 5] == ["4.0", "3.0", "50.0%", "50.0%"]
    assert rows["all", 7] == ["3", "0.50", "0.75", "1.00", "1.50", "2.00"]
    assert rows["faithfulness, rule", 7] == ["0", *["-"] * 5]
    assert rows["emotion", 5] == ["100.0%", "50.0%", "25.0%", "25.0%"]
    assert rows["rate", 5] == ["50.0%", "25.0%", "25.0%", "0.0%"]
    assert not any("emotion_two" in line or line.startswith("Note") for line in lines)


def test_a_note_where_the_length_tells_which_is_preferred():
    longer = [pair(f"u{at}", "愤怒，快", "悲伤") for at in range(LEAST)]
    assert any(
        line.startswith("Note: the chosen caption is the longer one in 100.0%") for line in pairs_report(longer, WORDS)
    )
    shorter = [pair(f"u{at}", "愤怒", "悲伤，快") for at in range(LEAST)]
    assert "is the shorter one" in pairs_report(shorter, WORDS)[-1]
    assert not any(line.startswith("Note") for line in pairs_report([*longer, *shorter], WORDS))


def test_no_words():
    lines = pairs_report([pair("u1", "x", "yy")], {})
    assert lines[-1] == "No words of the language: attributes are not counted."
