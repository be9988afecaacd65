"""The training options of this task beside ESPnet's own, once."""

from dataclasses import dataclass

from espnet2_secap.cli_types import option
from espnet2_secap.data.transcripts import MISSING_TEXT
from espnet2_secap.text.template import NAMES
from espnet2_secap.values import Amount, Count


@dataclass(frozen=True)
class TaskOptions:
    """Options of sec_train; those that hold a list or a dictionary are added in SECTask."""

    reference_model: str | None = option(
        "Model file to compare with, frozen: --model caption then tells its loss in validation", None
    )
    emotion_classes: str | None = option(
        "File of lines `label class`: SCCL and --iterator_type task take these classes in place of labels of utt2emo",
        None,
    )
    missing_text: str = option(
        "Utterances without a transcription, where model_conf condition reads it: error names them, empty takes them as"
        " nothing said",
        "error",
        choices=MISSING_TEXT,
    )
    prompts: str = option("File of instructions, one per line; or zh, en or ja: the package's own", "zh")
    template: str = option(
        "What stands around what the decoder reads of an utterance (model_conf condition): plain (BOS, condition, "
        "instruction), secap (with a second BOS before the instruction), chat (the LM's chat template), auto (chat "
        "where the LM has a chat template, else plain)",
        "auto",
        choices=NAMES,
    )
    checkpoint_interval: Amount = option(
        "Seconds between two checkpoints within an epoch; there is one after each epoch in any case", 600.0
    )
    train_nproc: Count = option("Training processes per node on CPUs (--ngpu 0)", 1)
