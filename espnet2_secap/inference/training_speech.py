"""What a model was trained on, as its config.yaml names it: files of the training set, and its speech."""

from pathlib import Path

from espnet2_secap.data.io import read_yaml
from espnet2_secap.data.transcripts import read_transcripts
from espnet2_secap.data.utterances import Utterances
from espnet2_secap.errors import SecError


def named_in_training(name: str, train_config: str | Path) -> tuple[Path, str] | None:
    """File and type of what a model's config.yaml calls `name` among the data of its training; None if nothing."""
    listed = read_yaml(train_config).get("train_data_path_and_name_and_type") or []
    found = [one for one in listed if isinstance(one, (list, tuple)) and len(one) == 3 and one[1] == name]
    return (Path(found[0][0]), found[0][2]) if found else None


class TrainingSpeech:
    """K utterances of a model's training set, evenly spaced in the order of their ids.

    Args:
        option: that asks for them, for messages.
        number: K; all if none.
        train_config: config.yaml of the model, which names the features or audio of its training.

    Attributes:
        folder: of the training set.
        utterances: its reader.
        ids: of the K utterances.

    Raises:
        SecError: config.yaml names none, they are not there, or fewer than K.
    """

    def __init__(self, option: str, number: int | None, train_config: str | Path):
        path, kind = named_in_training("speech", train_config) or (None, None)
        if path is None:
            raise SecError(f"{option}: {train_config} names no speech of the training; give {option.split()[0]} 0")
        if not path.is_file():
            raise SecError(f"{option}: {path}: no such file; it is the training's, by {train_config}")
        self.folder, self.train_config = path.parent, train_config
        self.utterances = Utterances(self.folder, raw=kind == "sound")
        there = self.utterances.ids
        number = len(there) if number is None else number
        if number > len(there):
            raise SecError(f"{option}: {path} has {len(there)} utterances; give at most that number")
        self.ids = [there[i * len(there) // number] for i in range(number)]

    def texts(self, missing_text: str) -> dict[str, str]:
        """Their transcriptions, of the file that config.yaml names; see `read_transcripts`."""
        path, _ = named_in_training("text", self.train_config) or (None, None)
        return read_transcripts(path, self.ids, missing_text, "training set")

    def made_from(self) -> list:
        """What tells the K utterances from others."""
        return [[utt, self.utterances.paths[utt], self.utterances.lengths[utt]] for utt in self.ids]
