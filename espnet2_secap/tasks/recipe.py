"""The options of sec.sh, and what each stage reads and writes under them."""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from yaml import YAMLError

from espnet2_secap.data.conf import parse_yaml, read_extended
from espnet2_secap.data.io import read_yaml
from espnet2_secap.errors import SecError
from espnet2_secap.process import made
from espnet2_secap.tasks.experiment import model_files, named_files
from espnet2_secap.text.roles import DEFAULT, condition_of, has_bridge, reads_text

STAGES = range(1, 9)
NO_BRIDGE = "model_conf condition [transcript]"  # leaves out stage 5
WORD_END = "\x1f"
NAMED = re.compile(r"(?:([^/=]+)=)?(.+)")  # a set of --zero_shot_sets


@dataclass
class Recipe:
    """The options of a run.

    Args:
        options: name -> value, all as text; those that sec.sh derives too: feats_dir, feats_scp, decode_dir.
    """

    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, words: Iterable[str]) -> "Recipe":
        """From words NAME=VALUE."""
        return cls(dict(word.partition("=")[::2] for word in words))

    def __getattr__(self, name: str) -> str:
        try:
            return vars(self)["options"][name]
        except KeyError:
            if name.startswith("__"):
                raise AttributeError(name) from None
            raise SecError(f"{name}=VALUE is missing; give all options of sec.sh") from None

    def arguments(self, name: str) -> list[str]:
        """The words of an option that holds options of a program; sec.sh parts them by WORD_END."""
        value = getattr(self, name)
        return value.split(WORD_END) if value else []

    def numbers(self, name: str) -> list[float]:
        """The numbers of an option that holds some.

        Raises:
            SecError: a word of it is no number.
        """
        try:
            return [float(word) for word in getattr(self, name).split()]
        except ValueError:
            raise SecError(f"--{name} '{getattr(self, name)}': must be numbers with blanks between them") from None

    def true(self, name: str) -> bool:
        """Whether an option that is true or false is true."""
        return getattr(self, name) == "true"

    @property
    def zero_shot(self) -> list[tuple[str, str]]:
        """Name and data directory of each set of another corpus (--zero_shot_sets "FOLDER NAME=FOLDER")."""
        matches = map(NAMED.fullmatch, self.options.get("zero_shot_sets", "").split())
        return [(match[1] or Path(match[2]).name, match[2]) for match in matches]

    @property
    def tests(self) -> list[str]:
        """The test sets, with those of other corpora."""
        return list(dict.fromkeys([*self.test_sets.split(), *dict(self.zero_shot)]))

    def data_dir(self, dset: str) -> str:
        """Where stage 2 reads a set."""
        return dict(self.zero_shot).get(dset, f"data/{dset}")

    @property
    def sets(self) -> list[str]:
        """All sets, each once."""
        return list(dict.fromkeys([self.train_set, self.valid_set, *self.tests]))

    @property
    def trained(self) -> str:
        """The training set, with the copies of --speed_perturb, --noise_snr, --augment where they are asked for."""
        return self.options.get("trained_set") or self.train_set

    @property
    def copies(self) -> str:
        """What the name of a set with such copies ends with; nothing where there are none."""
        return self.trained.removeprefix(self.train_set)

    @property
    def fed(self) -> list[str]:
        """The sets that stage 3 makes features of, each once; with --folds each is trained on in some fold."""
        if self.folds:
            return [dset + self.copies for dset in self.sets]
        return list(dict.fromkeys([self.trained, self.valid_set, *self.tests]))

    @property
    def raw(self) -> bool:
        """Whether the encoder runs in training."""
        return self.feats_type == "raw"

    @property
    def text_file(self) -> str:
        """Transcriptions for decoding, instead of those of the data directories; "" if none."""
        return self.options.get("text_file", "")

    @property
    def train_text_file(self) -> str:
        """The same for training and validation."""
        return self.options.get("train_text_file", "")

    def left_out(self, stage: int) -> str | None:
        """The option by which a stage is left out, if there is one."""
        skips = {range(1, 5): "skip_data_prep", range(5, 7): "skip_train", range(7, 9): "skip_eval"}
        for stages, name in skips.items():
            if stage in stages and self.true(name):
                return f"--{name} true"
        if stage == 3 and self.raw:
            return "--feats_type raw"
        if stage == 5 and self.true("skip_align"):
            return "--skip_align true"
        if stage == 5 and self.pretrained_model:
            return "--pretrained_model"
        if stage == 5 and not has_bridge(self.condition()):
            return NO_BRIDGE
        return None

    def condition(self, trained: bool = False) -> tuple[str, ...]:
        """What the decoder reads of an utterance: by --caption_args and --caption_config, as stage 6 trains it.

        Args:
            trained: by the experiment's config.yaml where it is there, as stages 7 and 8 use it.
        """
        try:
            if trained and os.path.isfile(config := f"{self.sec_exp}/config.yaml"):
                return condition_of(read_yaml(config).get("model_conf"))
            conf = dict(read_extended(self.caption_config).get("model_conf") or {})
            words = self.arguments("caption_args")
            for word, value in zip(words, [*words[1:], ""], strict=False):
                value = value if word == "--model_conf" else word.removeprefix("--model_conf=")
                if word.startswith("--model_conf"):
                    key, equals, given = value.partition("=")
                    if not equals:
                        conf |= parse_yaml(value)
                    elif key == "condition":
                        conf[key] = parse_yaml(given)
            return condition_of(conf)
        except (OSError, SecError, TypeError, ValueError, YAMLError):
            return DEFAULT  # sec_check says what is wrong with it

    def align_file(self) -> str:
        """The model file that stage 6 starts from."""
        return self.pretrained_model or f"{self.align_exp}/{self.align_model}"

    def decoding_option(self, name: str) -> object:
        """What --inference_args, else --inference_config, gives as an option of sec_inference; None if neither does."""
        words = self.arguments("inference_args")
        given = [value for word, value in zip(words, words[1:], strict=False) if word == f"--{name}"]
        try:
            return given[-1] if given else read_extended(self.inference_config).get(name)
        except (OSError, SecError):
            return None  # sec_check says what is wrong with it

    def candidates(self) -> list[str]:
        """The captions file that stage 7 chooses from, if one is given by --candidates and is not the training's own,
        which cannot change without the model."""
        name = self.decoding_option("candidates")
        return [name] if isinstance(name, str) and name not in ("training", "none") else []

    def clues(self) -> list[str]:
        """The clues file that stage 7 reads, if one is given by --clues."""
        name = self.decoding_option("clues")
        return [name] if isinstance(name, str) and os.path.isfile(name) else []

    def agreed_words(self) -> list[str]:
        """The words file by which stage 7 chooses, if --agreement asks for it and it is a file."""
        weight = str(self.decoding_option("agreement") or 0)
        return [self.words] if weight.strip("0.") and os.path.isfile(self.words) else []

    def folders(self, stage: int) -> dict[str, tuple[list[str], list[str]]]:
        """Of stages 2 to 7: output folder -> the files that later stages read, and the files it is made from."""
        if self.folds and stage > 3:
            return {}  # the folds have them
        raw, tables = f"{self.dumpdir}/raw", ("captions", "text", "utt2emo")
        scp, lengths = self.feats_scp, "utt2num_samples" if self.raw else "utt2num_frames"

        def feats(dset: str) -> list[str]:
            folder = f"{self.feats_dir}/{dset}"
            shards = sorted(glob.glob(f"{glob.escape(folder)}/data/feats.*.json"))
            return [f"{folder}/{scp}", f"{folder}/{lengths}", *shards]

        def training() -> list[str]:
            both = dict.fromkeys((self.trained, self.valid_set))
            shapes = [f"{self.sec_stats_dir}/{dset}/speech_shape" for dset in both]
            said = self.train_text_file
            files = [said if said and t == "text" else f"{raw}/{d}/{t}" for d in both for t in tables]
            return [*shapes, *(f for d in both for f in feats(d)), *dict.fromkeys(files)]

        if stage == 2:
            names = ("wav.scp", "segments", *tables)
            sources = {d: [f"{self.data_dir(d)}/{name}" for name in names] for d in self.sets}
            return {f"{raw}/{d}": ([f"{raw}/{d}/wav.scp"], sources[d]) for d in self.sets}
        if stage == 3:
            return {
                f"{self.feats_dir}/{d}": (
                    [f"{self.feats_dir}/{d}/feats.scp"],
                    [f"{raw}/{d}/wav.scp", f"{raw}/{d}/utt2num_samples", *weights([self.upstream_path])],
                )
                for d in self.fed
            }
        if stage == 4:
            folder = self.sec_stats_dir
            return {f"{folder}/{d}": ([f"{folder}/{d}/speech_shape"], feats(d)) for d in (self.trained, self.valid_set)}
        if stage == 5:
            return {self.align_exp: ([f"{self.align_exp}/{self.align_model}"], training() + named(self.align_config))}
        if stage == 6:
            alone = self.true("skip_align") or (not self.pretrained_model and not has_bridge(self.condition()))
            start = [] if alone else [self.align_file().rpartition(":")[0] or self.align_file()]
            return {
                self.sec_exp: (
                    [f"{self.sec_exp}/{self.inference_model}"],
                    training() + named(self.caption_config) + start,
                )
            }
        if stage == 7:
            model = [f"{self.sec_exp}/{self.inference_model}", self.inference_config]
            model += self.candidates() + self.agreed_words() + self.clues()
            if reads_text(self.condition(trained=True)):
                said = {d: [self.text_file or f"{raw}/{d}/text"] for d in self.tests}
                return {
                    f"{self.decode_dir}/{d}": ([f"{self.decode_dir}/{d}/captions"], model + feats(d) + said[d])
                    for d in self.tests
                }
            return {
                f"{self.decode_dir}/{d}": ([f"{self.decode_dir}/{d}/captions"], model + feats(d)) for d in self.tests
            }
        return {}

    def begins(self, stage: int) -> None:
        """Note what a stage is about to make its outputs from.

        Raises:
            OSError, SecError: a folder cannot be written.
        """
        for folder, (_, inputs) in self.folders(stage).items():
            made.begin(folder, inputs)

    def has_ended(self, stage: int) -> None:
        """Note that a stage has ended well."""
        for folder in self.folders(stage):
            made.end(folder)


def named(config: str) -> list[str]:
    """The files of the pretrained parts that a training's configuration names; none where it cannot be read."""
    try:
        return weights(named_files(read_extended(config)))
    except (OSError, SecError):
        return []


def weights(paths: Iterable[str]) -> list[str]:
    """Those of the paths that are files, and the weights, configurations and tokenizers in those that are folders."""
    paths = list(paths)
    files = [path for path in paths if os.path.isfile(path)]
    return files + [file for path in paths if os.path.isdir(path) for file in model_files(path)]
