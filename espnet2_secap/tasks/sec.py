"""The ESPnet task of speech emotion captioning: builds a model from what its class declares (tasks/parts.py)."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import espnet
import humanfriendly
from espnet.utils.cli_utils import get_commandline_args
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.tasks.abs_task import AbsTask
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.collate_fn import CommonCollateFn
from espnet2.train.distributed_utils import get_num_nodes
from espnet2.utils.nested_dict_action import NestedDictAction

from espnet2_secap.cli_types import add_dataclass_arguments
from espnet2_secap.data.labels import read_classes
from espnet2_secap.data.scp import check_training_data
from espnet2_secap.devices import check_device
from espnet2_secap.errors import SecError
from espnet2_secap.model.checkpoint import init_model, load_state
from espnet2_secap.safe_load import tensors_only
from espnet2_secap.sampler.iter_factory import NKIterFactory
from espnet2_secap.sampler.nk import NKSampler
from espnet2_secap.tasks import made_from, reference
from espnet2_secap.tasks.attributes import DEFAULT_WORDS, as_in_start, attribute_targets, count_attributes
from espnet2_secap.tasks.clues import check_clues, clues_of
from espnet2_secap.tasks.experiment import portable, read_config
from espnet2_secap.tasks.front_end import check_start, check_text_start, describe, set_input_size
from espnet2_secap.tasks.lengths import check_lengths
from espnet2_secap.tasks.options import TaskOptions
from espnet2_secap.tasks.parts import CHOICES, check_part, hears, kinds_of, optional_kinds
from espnet2_secap.tasks.training_data import check_sets, classes_of
from espnet2_secap.tasks.training_options import as_ours, check_distributed, check_sampler, check_training
from espnet2_secap.text.pairs import PairEncoder
from espnet2_secap.text.preprocessor import SECPreprocessor
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.text.roles import reads_clues, reads_text
from espnet2_secap.text.template import build_template
from espnet2_secap.train.cache import CachedLoader, Unread
from espnet2_secap.train.config_file import config_written_by
from espnet2_secap.train.optimizer import build_optimizer
from espnet2_secap.train.parallel import name_init_file, processes_per_node, run_processes
from espnet2_secap.train.trainer import SECTrainer, trains_nothing

NOT_SEQUENCE = ("emotion", "attributes", "pair_reference")  # of one size each


class SECTask(AbsTask):
    """`--model align` is the first stage (STMIL + SCCL), `caption` the second; `distill` and `prefer`: AlignCap."""

    num_optimizers = 1
    class_choices_list = list(CHOICES.values())
    trainer = SECTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Options beside ESPnet's own."""
        group = parser.add_argument_group(description="Speech emotion captioning")
        add_dataclass_arguments(group, TaskOptions)
        group.add_argument(
            "--init_model",
            nargs="*",
            default=[],
            metavar="FILE[:part,part]",
            help="Model files of any stage that trained parts start from, such as exp/a/valid.loss.best.pth:bridge; "
            "without parts all that file and model have in common",
        )
        group.add_argument(
            "--template_conf",
            action=NestedDictAction,
            default={},
            help="order: segments in another order; end, ends: ids that end a caption in training, in decoding",
        )
        group.add_argument(
            "--sampler_conf",
            action=NestedDictAction,
            default={},
            help="--iterator_type task: num_categories (N) and per_category (K) of a batch",
        )
        group.add_argument("--emotions", nargs="*", default=None, help="Filled in from the training set's utt2emo")
        group.add_argument("--attributes", action=NestedDictAction, default={}, help="Filled in: counts of categories")
        group.add_argument("--front_end", action=NestedDictAction, default={}, help="Filled in: how speech is encoded")
        for choices in cls.class_choices_list:
            choices.add_arguments(group)

    @classmethod
    def get_parser(cls):
        """ESPnet's parser with our reading of YAML and checked values; an error is one line."""
        return as_ours(super().get_parser())

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: list[str] | None = None) -> None:
        """Train in this process, or in several on this node and on others."""
        args = args or cls.get_parser().parse_args(cmd)
        check_training(args)
        check_training_data(args.train_data_path_and_name_and_type + args.valid_data_path_and_name_and_type)
        name_init_file(args)
        nproc = processes_per_node(args)
        if args.output_dir and not args.print_config:
            cls._check_sets(args, nproc)
            with tensors_only():
                made_from.check(args)
            reference.check(args)
        if nproc == 1:
            check_distributed(args)
            super().main(args=args)
            return
        print(get_commandline_args(), file=sys.stderr)
        args.version = espnet.__version__
        cls.check_required_command_args(args)
        run_processes(cls.main_worker, args, nproc)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """One process of a training; no file that it loads runs code."""
        with tensors_only(), config_written_by(cls._configuration):
            super().main_worker(args)

    @classmethod
    def _configuration(cls, conf: dict, folder: Path) -> dict:
        """What config.yaml is to hold; what the weights are made from is written in the same moment."""
        record = conf.pop("made_from", None)
        if record is not None:
            made_from.write(record, folder)
        return portable(conf, folder)

    @classmethod
    def _check_sets(cls, args: argparse.Namespace, nproc: int) -> None:
        model_class = CHOICES["model"].get_class(args.model)
        texts = model_class.texts_of(args.model_conf)
        needed, processes = (
            {*model_class.needs(args.model_conf), *texts},
            nproc * get_num_nodes(args.dist_world_size, args.dist_launcher),
        )
        check_sets(args, needed, processes, reads_text(texts))

    @classmethod
    def defaults(cls) -> dict:
        """All options' defaults. ESPnet's get_default_config looks at the command line of whatever program runs."""
        return vars(cls.get_parser().parse_args([]))

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Names of the data that every model takes."""
        return ("speech",)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """Names of further data."""
        return ("caption", "text", "emotion", "clues", "pairs")

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool):
        """Pads speech with 0.0 and token ids with -1; lengths tell what is real."""
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=-1, not_sequence=list(NOT_SEQUENCE))

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool):
        """Text to token ids, each by the tokenizer of the part that the model names for it; see SECPreprocessor."""
        encode, instructions = cls.text_functions(args), []
        if "instruction" in encode:
            instructions = [encode["instruction"](prompt) for prompt in read_prompts(args.prompts)]
            del encode["instruction"]
        if "end" in args.template_conf:  # known once the model is built
            encode["caption"] = cls._with_end(args, encode["caption"])
        needs = CHOICES["model"].get_class(args.model).needs(args.model_conf)
        pairs = cls.pair_encoder(args) if "pairs" in needs else None
        attributes = None
        if args.attributes:
            attributes = attribute_targets(args.attributes, args.model_conf.get("attributes_words", DEFAULT_WORDS))
        clues = clues_of(args.model_conf) if reads_clues(encode) else None
        dropout = args.model_conf.get("clues_dropout", 0.0)
        classes = classes_of(args)
        return SECPreprocessor(
            train, encode, instructions, args.emotions, args.seed, attributes, classes, clues, dropout, pairs
        )

    @classmethod
    def pair_encoder(cls, args: argparse.Namespace) -> PairEncoder:
        """Preference pairs to token ids, of a model that is built: in training, and where references are computed."""
        functions = cls.text_functions(args)
        return PairEncoder(cls._with_end(args, functions["caption"]), functions["instruction"])

    @staticmethod
    def _with_end(args: argparse.Namespace, plain: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
        end = args.template_conf["end"]
        return lambda text: [*plain(text), end]

    @classmethod
    def text_functions(cls, args: argparse.Namespace) -> dict[str, Callable[[str], list[int]]]:
        """Of each text that the model takes, the function text -> token ids of the part that it names for it."""
        texts = CHOICES["model"].get_class(args.model).texts_of(args.model_conf)
        tokenize = {
            kind: CHOICES[kind].get_class(getattr(args, kind)).tokenize(**getattr(args, f"{kind}_conf"))
            for kind in dict.fromkeys(texts.values())
        }
        return {name: tokenize[kind] for name, kind in texts.items()}

    @classmethod
    def build_dataset(cls, args: argparse.Namespace, iter_options, keys_to_load=None):
        """ESPnet's dataset, but --max_cache_size keeps what is read and not what is drawn from it."""
        size = iter_options.max_cache_size
        size = humanfriendly.parse_size(size) if isinstance(size, str) else size
        iter_options.max_cache_size = 0.0
        dataset = super().build_dataset(args, iter_options, keys_to_load)
        loaders = dataset.loader_dict
        if hasattr(loaders.get("speech"), "rate"):  # ESPnet refuses recordings of another one
            loaders["speech"].rate = args.front_end.get("sampling_rate")
        if not hears(args):
            loaders["speech"] = Unread(loaders["speech"])
        elif size > 0:
            loaders["speech"] = CachedLoader(loaders["speech"], size, shared=args.num_workers > 0)
        return dataset

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> AbsESPnetModel:
        """Builds the parts that the model declares, hands them over, and starts them from --init_model."""
        model_class = CHOICES["model"].get_class(args.model)
        for kind in kinds_of(args):
            check_part(args, kind)
        cls.check_data(args, model_class)
        kinds = model_class.parts_of(args.model_conf)
        if "encoder" in kinds:
            set_input_size(args)
            kinds = ("encoder", *optional_kinds(args), *kinds)
        resumed = args.output_dir and args.resume and (Path(args.output_dir) / "checkpoint.pth").exists()
        parts, given = dict.fromkeys(model_class.parts), {}
        if "init" in args.bridge_conf and (args.init_model or resumed):
            given["init"] = None  # what would be read from there is replaced at once
        for kind in dict.fromkeys(kinds):
            parts[kind] = CHOICES[kind].build(getattr(args, kind), getattr(args, f"{kind}_conf"), **given)
            if kind == "encoder":
                given["input_size"] = parts[kind].output_size()
                if not args.front_end or args.train_data_path_and_name_and_type:  # a trained model's stays
                    args.front_end = describe(args, parts[kind]) or args.front_end
            elif kind == "text_encoder":
                given["text_size"] = parts[kind].output_size()
        makes = model_class.makes_of(args.model_conf)
        if makes:
            decoder = parts["decoder"]
            template = build_template(
                args.template, args.template_conf, decoder.tokenizer, makes, decoder.end_ids, decoder.rows
            )
            args.template_conf, parts["template"] = template.conf(), template
            check_lengths(args, decoder, parts["bridge"], template, cls.text_functions(args))
        model = CHOICES["model"].build(args.model, args.model_conf, attributes=args.attributes, **parts)
        for source in () if resumed else args.init_model:
            check_start(source, args.front_end)
            check_text_start(source, args)
            loaded = init_model(model, source)
            rest = sorted({key.split(".")[0] for key in model.state_dict()} - set(loaded))
            logging.info(f"{', '.join(loaded)} start from {source}" + (f"; {', '.join(rest)} do not" if rest else ""))
        if args.reference_model:
            cls._add_reference(model, args.reference_model)
        names = [name for name, _ in model.named_parameters()]
        for start in args.freeze_param:
            if not any(name == start or name.startswith(f"{start}.") for name in names):
                raise SecError(f"--freeze_param {start}: the model has no such part; it has {', '.join(_parts(names))}")
        return model

    @classmethod
    def _add_reference(cls, model: AbsESPnetModel, path: str) -> None:
        try:
            model.set_reference(cls.build_model_from_file(None, path)[0])
        except ValueError as err:
            raise err if isinstance(err, SecError) else SecError(str(err)) from err

    @classmethod
    def check_data(cls, args: argparse.Namespace, model_class: type) -> None:
        """See that training and validation set have what the model needs, and read the categories."""
        needs = model_class.needs(args.model_conf)
        for split in ("train", "valid"):
            paths = {name: path for path, name, _ in getattr(args, f"{split}_data_path_and_name_and_type", [])}
            lacking = {name: need for name, need in needs.items() if paths and name not in paths}
            if lacking:
                files = " and ".join(need.file for need in lacking.values())
                names = ", ".join(map(repr, lacking))
                switches = " and ".join(dict.fromkeys(f"{one.switch}: 0" for one in lacking.values() if one.switch))
                made_by = next((need.made_by for need in lacking.values() if need.made_by), None)
                add = "add what is missing to that set's data directory and run stage 2 again"
                add = f"make it with {made_by}" if made_by else add
                raise SecError(
                    f"--model {args.model} needs {files} of the {split} set (data name {names}); {add}"
                    f"{f', or set model_conf {switches}' if switches else ''}"
                )
            if split == "train" and "emotion" in paths and "emotion" in needs:
                args.emotions = sorted(set(read_classes(paths["emotion"], classes_of(args)).values()))
            told = paths.keys() & {"caption", "clues"}
            if split == "train" and told and reads_clues(model_class.texts_of(args.model_conf)):
                args.clue_words = check_clues(args.model_conf, paths)
            if split == "train" and "caption" in paths and args.model_conf.get("attributes_weight"):
                words = args.model_conf.get("attributes_words", DEFAULT_WORDS)
                only = args.model_conf.get("attributes_only", ())
                args.attributes = as_in_start(count_attributes(paths["caption"], words, only), args.init_model, words)

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model) -> list:
        """One optimiser over what is trained, in the groups that the model declares; none where nothing can be."""
        return [] if trains_nothing(model) else [build_optimizer(args, model)]

    @classmethod
    def build_sequence_iter_factory(cls, args: argparse.Namespace, iter_options, mode: str) -> AbsIterFactory:
        """ESPnet's, but a batch that is too small for the processes is one line."""
        try:
            return super().build_sequence_iter_factory(args, iter_options, mode)
        except RuntimeError as err:
            if "world_size" not in str(err):
                raise
            option = "batch_size" if mode == "train" else "valid_batch_size"
            raise SecError(
                f"the {mode} set has a batch of fewer utterances than there are processes ({str(err).split(': ')[-1]});"
                f" raise --{option} (or batch_bins), or train with fewer processes"
            ) from err

    @classmethod
    def build_task_iter_factory(cls, args: argparse.Namespace, iter_options, mode: str) -> AbsIterFactory:
        """`--iterator_type task`: batches of N categories x K utterances, for training in the first stage."""
        paths = {name: path for path, name, _ in iter_options.data_path_and_name_and_type}
        if "emotion" not in paths:
            raise SecError("--iterator_type task makes batches by emotion: give utt2emo as data name 'emotion'")
        classes = read_classes(paths["emotion"], classes_of(args))
        sampler = NKSampler(classes, seed=args.seed, **check_sampler(args.sampler_conf))
        return NKIterFactory(
            dataset=cls.build_dataset(args, iter_options),
            sampler=sampler,
            distributed=iter_options.distributed,
            seed=args.seed,
            num_workers=args.num_workers,
            collate_fn=iter_options.collate_fn,
            pin_memory=args.ngpu > 0,
        )

    @classmethod
    def build_model_from_file(cls, config_file=None, model_file=None, device: str = "cpu", dtype: str | None = None):
        """A trained model in evaluation mode, and its configuration.

        Args:
            config_file: config.yaml of the experiment; beside `model_file` if none.
            model_file: `*epoch.pth`, `valid.*.best.pth` or an average; untrained if none.
            device: "cpu", "cuda" or "cuda:N".
            dtype: of the decoder's weights, instead of the configuration's.
        """
        if model_file is not None and not Path(model_file).is_file():
            raise SecError(f"{model_file}: no such model file; train that stage first")
        check_device(device)
        config_file = Path(config_file or Path(model_file).parent / "config.yaml")
        args = read_config(config_file, cls.defaults())
        args.init_model, args.reference_model, args.output_dir = [], None, None
        for split in ("train", "valid"):  # what it was trained on is not looked at again
            setattr(args, f"{split}_data_path_and_name_and_type", [])
        if dtype is not None:
            args.decoder_conf["dtype"] = dtype
        if model_file is not None:
            args.bridge_conf = {key: value for key, value in args.bridge_conf.items() if key != "init"}
        model = cls.build_model(args)
        if model_file is not None:
            try:
                model.load_state_dict(load_state(model_file))
            except RuntimeError as err:
                raise SecError(
                    f"{model_file}: does not fit {config_file} ({' '.join(str(err).split())[:300]})"
                ) from err
        return model.to(device).eval(), args


def _parts(names: list[str]) -> list[str]:
    return sorted({name.partition(".")[0] for name in names})
