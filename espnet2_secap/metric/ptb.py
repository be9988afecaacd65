"""Penn Treebank tokens as in the coco tools: Stanford's tokenizer, lower case, punctuation removed.

Brackets are kept, as -lrb- and -rrb-, because the coco tools remove them in upper case only.
"""

import subprocess
from collections.abc import Sequence

from espnet2_secap.metric.abs_metric import MetricUnavailable
from espnet2_secap.metric.java import OPTIONS, coco_jar, find_java

MEMORY = "1G"
START, PER_CAPTION = 60.0, 0.01  # time limit in seconds; it needs 1 s and 0.0001 s per caption


def ptb_tokens(captions: Sequence[str]) -> list[str]:
    """Captions -> their tokens, separated by spaces, by one run of the Java program that comes with pycocoevalcap.

    Raises:
        MetricUnavailable: there is no Java, or the program failed or took too long.
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
        message = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no output"]
        raise MetricUnavailable(f"the PTB tokenizer failed: {message[0][:200]}")
    dropped = set(PUNCTUATIONS)
    return [" ".join(token for token in line.split() if token not in dropped) for line in output[:-1]]


def _one_line(caption: str) -> str:
    """The caption without characters that the program may take for the end of the line or of the input."""
    return " ".join("".join(char if char.isprintable() else " " for char in caption).split())
