import statistics

import pytest

from espnet2_secap.bin import sec_score
from espnet2_secap.data.io import write_captions
from espnet2_secap.errors import SecError
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.fold_table import fold_table, fold_values

IDS = [f"u{i}" for i in range(6)]
TESTED = [IDS[:2], IDS[2:4], IDS[4:]]


def score_of(folder, hypotheses, references, *metrics):
    write_captions(folder / "ref", references)
    (folder / "exp/sys/test").mkdir(parents=True)
    write_captions(folder / "exp/sys/test/captions", hypotheses)
    argv = ["--ref", folder / "ref", "--hyp", folder / "exp/sys/test/captions"]
    sec_score.main([*map(str, argv), "--output", str(folder / "exp/sys/test/score.json"), "--metrics", *metrics])
    return find_scores(folder / "exp")


@pytest.fixture
def scores(tmp_path):
    """Recall of 100, 50 and 0 in the three folds; one reference in two folds is copied."""
    emotions = ["高兴", "悲伤", "高兴", "悲伤", "高兴", "悲伤"]
    said = ["高兴", "悲伤", "高兴", "高兴", "悲伤", "高兴"]
    references = {utt: [f"声音里带着{emotion}的情绪"] for utt, emotion in zip(IDS, emotions, strict=True)}
    hypotheses = {utt: [f"声音里带着{emotion}的情绪"] for utt, emotion in zip(IDS, said, strict=True)}
    return score_of(tmp_path, hypotheses, references, "bleu_2", "rouge_l", "emotion_recall")


def test_values_of_each_fold(scores, tmp_path):
    values = fold_values(scores[0], TESTED)
    assert values["emotion_recall"] == pytest.approx([100, 50, 0])
    for number, ids in enumerate(TESTED):  # as if the fold were scored alone
        part = tmp_path / str(number)
        part.mkdir()
        refs, hyps = ({u: [captions[u]] for u in ids} for captions in read_both(tmp_path))
        (alone,) = score_of(part, hyps, refs, "bleu_2", "rouge_l")
        for name in ("bleu_2", "rouge_l"):
            assert values[name][number] == pytest.approx(alone.metrics[name]["mean"], abs=1e-3), name


def read_both(folder):
    from espnet2_secap.data.io import read_captions

    files = folder / "ref", folder / "exp/sys/test/captions"
    return [{utt: texts[0] for utt, texts in read_captions(file).items()} for file in files]


def test_table(scores):
    header, *rows = fold_table(scores, TESTED)
    assert header == ["system", "metric", "pooled", "mean", "std", "fold_1", "fold_2", "fold_3"]
    (row,) = [row for row in rows if row[1] == "emotion_recall"]
    spread = statistics.stdev([100, 50, 0])
    assert row == ["sys", "emotion_recall", "50.00", "50.00", f"{spread:.2f}", "100.00", "50.00", "0.00"]


def test_a_recording_that_was_not_scored(scores):
    with pytest.raises(SecError, match="scores.tsv: u9: is missing; run stage 8 again"):
        fold_values(scores[0], [*TESTED, ["u9"]])
