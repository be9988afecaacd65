"""Penn Treebank tokens as the coco tools count them: Stanford's tokenizer, lower case, punctuation left out.

Brackets stay, as -lrb- and -rrb-: the coco tools look for them in upper case.
"""

import subprocess
from collections.abc import Sequence

from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.java import OPTIONS, coco_jar, find_java

MEMORY = "1G"
START, PER_CAPTION = 60.0, 0.01  # seconds allowed: it needs 1 s, then 0.0001 s for a caption


def ptb_tokens(captions: Sequence[str]) -> list[str]:
    """Captions -> their tokens with blanks between, by one run of the Java program that comes with pycocoevalcap.

    Raises:
        MetricUnavailable: no Java, or it failed or took too long.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    jar = coco_jar("tokenizer/stanford-corenlp-*.jar")
    command = [find_java(), f"-Xmx{MEMORY}", *OPTIONS, "-cp", str(jar)]
    command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = [_one_line(caption) for caption in captions]
    limit = START + PER_CAPTION * len(lines) + 1e-4 * sum(map(len, lines))
    try:
        done = subprocess.run(
            command,
            input="".join(f"{line}\n" for line in lines).encode("utf-8", "replace"),
            capture_output=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        raise MetricUnavailable(f"the PTB tokenizer gave no answer within {limit:.0f} s") from None
    output = done.stdout.decode("utf-8", "replace").split("\n")
    if done.returncode or len(output) != len(lines) + 1:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no output"]
        raise MetricUnavailable(f"the PTB tokenizer failed: {said[0][:200]}")
    dropped = set(PUNCTUATIONS)
    return [" ".join(token for token in line.split() if token not in dropped) for line in output[:-1]]


def _one_line(caption: str) -> str:
    """Without what the program may take for the end of a line or the input."""
    return " ".join("".join(char if char.isprintable() else " " for char in caption).split())
