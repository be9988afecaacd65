import shutil

import pytest

from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.ptb import ptb_tokens

needs_java = pytest.mark.needs("java")


@needs_java
def test_tokens_in_lower_case_without_punctuation():
    captions = ["The speaker isn't happy, she's SAD.", "(loud)", "", "a\nb\x00c", "语气很 高兴。"]
    assert ptb_tokens(captions) == [
        "the speaker is n't happy she 's sad",
        "-lrb- loud -rrb-",
        "",
        "a b c",
        "语气很 高兴 。",  # the coco tools remove English punctuation only
    ]


def test_no_java(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricUnavailable, match="needs Java"):
        ptb_tokens(["x"])


@pytest.mark.parametrize(
    "script, reason", [("echo no heap >&2; exit 1", "failed: no heap"), ("echo one line too few", "failed: no output")]
)
def test_a_program_that_fails_is_a_reason(tmp_path, monkeypatch, script, reason):
    (tmp_path / "java").write_text(f"#!{shutil.which('sh')}\n{script}\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetricUnavailable, match=f"the PTB tokenizer {reason}"):
        ptb_tokens(["x", "y"])
