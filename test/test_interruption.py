"""What the tests of interruptions compare: that they would see a difference, and what they leave out."""

from pathlib import Path

import pytest
import torch
from interruption import differences, outputs, stage_of, stage_seconds


@pytest.mark.parametrize(
    "stage, path",
    [
        (2, "dump/raw/train/data/format.1/u1.wav"), (2, "dump/raw/train/.jobs/format.1of4.jsonl"),
        (3, "dump/fb/train/feats.scp"),
        (4, "exp/sec_stats_hubert/train/speech_shape"), (5, "exp/sec_align_hubert/checkpoint.pth"),
        (8, "exp/sec_align_hubert/probe.json"), (6, "exp/sec_caption_x/1epoch.pth"), (6, "exp/sec_caption_x/images/a"),
        (7, "exp/sec_caption_x/decode_a/test/captions"), (7, "exp/sec_caption_x/decode/test/.jobs/decoded.1of1.jsonl"),
        (8, "exp/sec_caption_x/decode_a/test/score.json"), (8, "exp/random_caption/test/captions"),
        (8, "exp/sec_caption_x/decode_nearest_caption/test/captions"),
        (8, "exp/RESULTS.md"), (8, "exp/images/training_curves.png"), (2, "dump/raw/train/wav.scp.tmp.12"),
        (None, "dump/raw/train/logs/format.1.log"), (None, "exp/sec_align_hubert/train.log"), (None, "data/train/text"),
        (None, "exp/sec_caption_x/tensorboard/train/events"),
    ],
)  # fmt: skip
def test_the_stage_that_makes_a_file(stage, path):
    assert stage_of(Path(path)) == stage


def test_differences_are_seen(tmp_path):
    exp = tmp_path / "exp" / "sec_align_x"
    exp.mkdir(parents=True)
    state = {"bridge.weight": torch.ones(2, 3)}

    def write(state, loss, time, extra=()):
        for name in ("1epoch.pth", "checkpoint.pth", "checkpoint.prev.pth", *extra):
            torch.save(state, exp / name)
        lines = ["epoch\tsplit\tkey\tvalue", f"1\ttrain\tloss\t{loss}", f"1\ttrain\titer_time\t{time}"]
        (exp / "curves.tsv").write_text("\n".join(lines) + "\n")
        return outputs(tmp_path, 5)

    first = write(state, 0.1, 7)
    assert sorted(first) == ["exp/sec_align_x/1epoch.pth", "exp/sec_align_x/curves.tsv"]
    assert differences(first, write(state, 0.1, 8)) == []
    assert differences(first, write(state, 0.1 + 1e-16, 8)) == ["exp/sec_align_x/curves.tsv: differs"]
    other = {"bridge.weight": torch.ones(2, 3) + 1e-7}
    assert differences(first, write(other, 0.1, 8, ["2epoch.pth"])) == [
        "exp/sec_align_x/1epoch.pth: differs", "exp/sec_align_x/2epoch.pth: too much",
    ]  # fmt: skip
    assert differences(first, {}) == [f"{name}: missing" for name in sorted(first)]


def test_seconds_of_the_stages():
    printed = "23:59:50 Stage 2: x\ndata/train: good\n23:59:50 Stage 3: y\n00:00:07 Done: stages 2 to 3\n"
    assert stage_seconds(printed) == {2: 1.0, 3: 17.0}
