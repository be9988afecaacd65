"""A small file of systems for tests of tables."""

from collections.abc import Callable
from pathlib import Path

import yaml

from espnet2_secap.tasks.tables import TableFile

SEC = "stage=1\nalign_args=\ncaption_args=\ncaption_config=x\nlocal_data_opts=\nexpdir=exp\nnj=4\nhelp_message=$(x)\n"
CONF = {
    "quote": "secap",
    "reference": "good",
    "parts": {"clap": "--mini_clap true"},
    "feats": {"hubert": None, "clap": {"parts": ["clap"], "needs": ["encoder:not_there"]}},
    "aligns": {"both": {"feats": "hubert"}},
    "systems": {
        "good": {"feats": "hubert", "align": "both"},
        "poor": {"feats": "hubert", "options": {"caption_args": "--max_epoch 1"}},
        "other": {"feats": "clap"},
    },
    "tables": {
        "2": {
            "title": "input",
            "columns": ["id"],
            "metrics": ["sim1", "cider"],
            "rows": [
                {"system": "good", "cells": ["#6"], "quoted": "SECap #6 (Q-Embedding)"},
                {"system": "other", "cells": ["#1"], "quoted": {"sim1": 59.62}},
            ],
        }
    },
    "claims": [{"claim": "better", "table": "2", "better": "good", "worse": "poor"}],
}


def reader(folder: Path) -> Callable[..., TableFile]:
    """A function that writes a file of systems in a folder and reads it there."""
    (folder / "sec.sh").write_text(SEC)

    def read(conf: dict, name: str = "tables.yaml") -> TableFile:
        (folder / name).write_text(yaml.safe_dump(conf, allow_unicode=True, sort_keys=False))
        return TableFile(name)

    return read
