"""Shape files of stage 4: the length of each utterance, as ESPnet's samplers read it. No torch here."""

from pathlib import Path

from espnet2_secap.data.io import make_dir, read_lengths, write_kaldi
from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError


def write_shape_file(source_dir: str | Path, output: str | Path) -> dict[str, int]:
    """Write `id frames,values` of a folder of features, or `id samples` of a folder of audio.

    Args:
        source_dir: dump/<tag>/<set> with utt2num_frames and config.json (stage 3), or dump/raw/<set> with
            utt2num_samples (stage 2). If both exist, the features are used.
        output: the shape file; its folder is made.

    Returns:
        length of each utterance, in frames or samples.

    Raises:
        SecError: neither file is there, or one of them is broken.
    """
    source = Path(source_dir)
    feats, raw = source / "utt2num_frames", source / "utt2num_samples"
    if feats.is_file():
        width = f",{_width(source / 'config.json')}"
        path = feats
    elif raw.is_file():
        width, path = "", raw
    else:
        raise SecError(
            f"{source}: neither {feats.name} (stage 3) nor {raw.name} (stage 2) is there; run these stages first"
        )
    lengths = read_lengths(path)
    make_dir(Path(output).parent)
    write_kaldi(output, {utt: f"{length}{width}" for utt, length in lengths.items()})
    return lengths


def _width(path: Path) -> int:
    """Values per frame, from a folder's config.json."""
    try:
        config = read_json(path)
        return int(config["num_layers"]) * int(config["dim"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as err:
        raise SecError(f"{path}: missing or broken; run stage 3 again, it makes this file") from err
