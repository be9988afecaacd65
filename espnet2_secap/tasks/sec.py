"""The ESPnet task of speech emotion captioning: both training stages, told apart by `--model`."""

import argparse
import inspect
import logging
import sys
from pathlib import Path

import espnet
import humanfriendly
from espnet.utils.cli_utils import get_commandline_args
from espnet2.asr.specaug.abs_specaug import AbsSpecAug
from espnet2.asr.specaug.specaug import SpecAug
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.layers.abs_normalize import AbsNormalize
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN
from espnet2.tasks.abs_task import AbsTask, optim_classes
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.class_choices import ClassChoices
from espnet2.train.collate_fn import CommonCollateFn
from espnet2.utils.nested_dict_action import NestedDictAction
from espnet2.utils.types import str2bool, str_or_none

from espnet2_secap.augment.noise import FeatsNoise
from espnet2_secap.bridge.abs_bridge import AbsBridge
from espnet2_secap.bridge.linear import LinearBridge
from espnet2_secap.bridge.qformer import QFormer
from espnet2_secap.data.io import read_kaldi, read_yaml
from espnet2_secap.data.scp import check_training_data
from espnet2_secap.decoder.abs_decoder import AbsDecoder
from espnet2_secap.decoder.causal_lm import CausalLMDecoder
from espnet2_secap.encoder.abs_encoder import AbsEncoder
from espnet2_secap.encoder.s3prl import S3PRLEncoder
from espnet2_secap.encoder.stored import FeatsEncoder
from espnet2_secap.errors import SecError
from espnet2_secap.model.align import AlignModel
from espnet2_secap.model.caption import CaptionModel
from espnet2_secap.model.checkpoint import init_from_align, load_state
from espnet2_secap.safe_load import tensors_only
from espnet2_secap.sampler.iter_factory import NKIterFactory
from espnet2_secap.sampler.nk import NKSampler
from espnet2_secap.text.preprocessor import SECPreprocessor, encode_prompt, read_prompts
from espnet2_secap.text.text_encoder import AbsTextEncoder, BertTextEncoder, TokenEmbedding
from espnet2_secap.text.tokenizer import build_tokenizer
from espnet2_secap.train.cache import CachedLoader
from espnet2_secap.train.config_file import written_whole
from espnet2_secap.train.parallel import name_init_file, processes_per_node, run_processes
from espnet2_secap.train.trainer import SECTrainer

encoder_choices = ClassChoices(
    "encoder", {"s3prl": S3PRLEncoder, "feats": FeatsEncoder}, type_check=AbsEncoder, default="feats"
)
normalize_choices = ClassChoices(
    "normalize",
    {"global_mvn": GlobalMVN, "utterance_mvn": UtteranceMVN},
    type_check=AbsNormalize,
    default=None,
    optional=True,
)
specaug_choices = ClassChoices(
    "specaug", {"specaug": SpecAug, "noise": FeatsNoise}, type_check=AbsSpecAug, default=None, optional=True
)
bridge_choices = ClassChoices(
    "bridge", {"qformer": QFormer, "linear": LinearBridge}, type_check=AbsBridge, default="qformer"
)
decoder_choices = ClassChoices("decoder", {"causal_lm": CausalLMDecoder}, type_check=AbsDecoder, default="causal_lm")
text_encoder_choices = ClassChoices(
    "text_encoder",
    {"bert": BertTextEncoder, "embedding": TokenEmbedding},
    type_check=AbsTextEncoder,
    default="embedding",
)
model_choices = ClassChoices(
    "model", {"align": AlignModel, "caption": CaptionModel}, type_check=AbsESPnetModel, default="caption"
)
# Constructor arguments that the task gives; a configuration cannot.
GIVEN = {
    "encoder": set(),
    "normalize": set(),
    "specaug": set(),
    "bridge": {"input_size", "text_size"},
    "decoder": set(),
    "text_encoder": set(),
    "model": {"encoder", "normalize", "specaug", "bridge", "decoder", "text_encoder"},
}


class SECTask(AbsTask):
    """`--model align` is the first stage (STMIL + SCCL), `--model caption` the second (cross entropy)."""

    num_optimizers = 1
    class_choices_list = [
        encoder_choices,
        normalize_choices,
        specaug_choices,
        bridge_choices,
        decoder_choices,
        text_encoder_choices,
        model_choices,
    ]
    trainer = SECTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Options beside ESPnet's own."""
        group = parser.add_argument_group(description="Speech emotion captioning")
        group.add_argument(
            "--align_model",
            type=str_or_none,
            default=None,
            help="Model file of the first stage that the encoder's and the bridge's trained tensors start from",
        )
        group.add_argument("--prompts", default="zh", help="File of instructions, one per line; or zh or en: our own")
        group.add_argument(
            "--prompt_bos",
            type=str2bool,
            default=False,
            help="Begin the prompt with a BOS of its own, as released SECap does",
        )
        group.add_argument(
            "--sampler_conf",
            action=NestedDictAction,
            default={},
            help="First stage, --iterator_type task: num_categories (N) and per_category (K) of a batch",
        )
        group.add_argument(
            "--estimator_lr",
            type=float,
            default=None,
            help="Learning rate of the mutual information estimator; as the others' if none",
        )
        group.add_argument(
            "--checkpoint_interval",
            type=float,
            default=600.0,
            help="Seconds between two checkpoints within an epoch; there is one after each epoch in any case",
        )
        group.add_argument("--train_nproc", type=int, default=1, help="Training processes per node on CPUs (--ngpu 0)")
        group.add_argument("--emotions", nargs="*", default=None, help="Filled in from the training set's utt2emo")
        for choices in cls.class_choices_list:
            choices.add_arguments(group)

    @classmethod
    def get_parser(cls):
        """ESPnet's parser, but an error is one line and not two hundred of usage."""
        parser = super().get_parser()

        def error(message: str):
            raise SecError(f"{message}; see --help for the options")

        parser.error = error
        return parser

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: list[str] | None = None) -> None:
        """Train in this process, or in several on this node and on others."""
        args = args or cls.get_parser().parse_args(cmd)
        check_training_data(args.train_data_path_and_name_and_type + args.valid_data_path_and_name_and_type)
        name_init_file(args)
        nproc = processes_per_node(args)
        if nproc == 1:
            super().main(args=args)
            return
        print(get_commandline_args(), file=sys.stderr)
        args.version = espnet.__version__
        cls.check_required_command_args(args)
        run_processes(cls.main_worker, args, nproc)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """One process of a training; no file that it loads runs code."""
        with tensors_only(), written_whole():
            super().main_worker(args)

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
        return ("caption", "text", "emotion")

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool):
        """Pads speech with 0.0 and token ids with -1; lengths tell what is real."""
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=-1, not_sequence=["emotion"])

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool):
        """Text to token ids; see SECPreprocessor."""
        if args.model == "align":
            text_encoder = text_encoder_choices.get_class(args.text_encoder)
            return SECPreprocessor(
                train, text_encoder.tokenize(**args.text_encoder_conf), args.emotions, seed=args.seed
            )
        tokenizer = build_tokenizer(args.decoder_conf["path"])
        prompts = [encode_prompt(tokenizer, prompt, args.prompt_bos) for prompt in read_prompts(args.prompts)]
        return SECPreprocessor(train, tokenizer.encode, prompts=prompts, eos_id=tokenizer.eos_id, seed=args.seed)

    @classmethod
    def build_dataset(cls, args: argparse.Namespace, iter_options, keys_to_load=None):
        """ESPnet's dataset, but --max_cache_size keeps what is read and not what is drawn from it."""
        size = iter_options.max_cache_size
        size = humanfriendly.parse_size(size) if isinstance(size, str) else size
        iter_options.max_cache_size = 0.0
        dataset = super().build_dataset(args, iter_options, keys_to_load)
        if size > 0:
            loaders = dataset.loader_dict
            loaders["speech"] = CachedLoader(loaders["speech"], size, shared=args.num_workers > 0)
        return dataset

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> AbsESPnetModel:
        """Builds the parts that `args.model` needs, hands them over, and starts them from `args.align_model`."""
        needed = ["encoder", "bridge", "text_encoder" if args.model == "align" else "decoder", "model"]
        optional = [name for name in ("normalize", "specaug") if getattr(args, name) is not None]
        for name in [*needed, *optional]:
            _check_conf(name, getattr(args, name), getattr(args, f"{name}_conf"))
        names = {name for _, name, _ in getattr(args, "train_data_path_and_name_and_type", [])}
        if args.model == "align" and names:
            cls._check_align_data(args, names)
        resumed = args.output_dir and args.resume and (Path(args.output_dir) / "checkpoint.pth").exists()
        _set_feats_size(args)
        parts = {name: cls._build(name, args) for name in ["encoder", *optional]}
        sizes = {"input_size": parts["encoder"].output_size()}
        if args.model == "align":
            parts["text_encoder"] = cls._build("text_encoder", args)
            if args.bridge == "qformer":
                sizes["text_size"] = parts["text_encoder"].output_size()
        else:
            parts["decoder"] = cls._build("decoder", args)
        if "init" in args.bridge_conf and (args.align_model or resumed):
            sizes["init"] = None  # what would be read from there is replaced at once
        parts["bridge"] = cls._build("bridge", args, **sizes)
        model = cls._build("model", args, **parts)
        if args.align_model and not resumed:
            init_from_align(model, args.align_model)
            logging.info(f"The encoder's and the bridge's trained tensors start from {args.align_model}")
        return model

    @classmethod
    def _build(cls, name: str, args: argparse.Namespace, **given):
        choices = next(c for c in cls.class_choices_list if c.name == name)
        try:
            return choices.get_class(getattr(args, name))(**{**getattr(args, f"{name}_conf"), **given})
        except FileNotFoundError as err:  # global_mvn's statistics
            raise SecError(
                f"{name}_conf: {err.filename}: no such file; run stage 4 with --feats_normalize {getattr(args, name)}"
            ) from err
        except ValueError as err:
            raise err if isinstance(err, SecError) else SecError(str(err)) from err

    @classmethod
    def _check_align_data(cls, args: argparse.Namespace, names: set[str]) -> None:
        conf = args.model_conf
        wanted = {"caption": "captions", "emotion": "utt2emo"} if conf.get("sccl_weight", 1.0) else {}
        if conf.get("mi_weight", 1.0):
            wanted["text"] = "text"
        for name, file in wanted.items():
            if name not in names:
                switch = "mi_weight" if name == "text" else "sccl_weight"
                raise SecError(
                    f"the first stage needs {file} of the training and validation sets (data name {name!r});"
                    f" add it to the data directories, or set model_conf {switch}: 0"
                )
        if "emotion" in names:
            path = next(p for p, name, _ in args.train_data_path_and_name_and_type if name == "emotion")
            args.emotions = sorted(set(read_kaldi(path).values()))

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model) -> list:
        """One optimiser over what is trained; the estimator may have its own learning rate."""
        optim_class = optim_classes.get(args.optim)
        if optim_class is None:
            raise SecError(f"optim: {args.optim!r}, expected one of {', '.join(optim_classes)}")
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        estimator = [p for name, p in trained.items() if name.startswith("estimator.")]
        groups = [{"params": [p for name, p in trained.items() if not name.startswith("estimator.")]}]
        if estimator:
            own = {} if args.estimator_lr is None else {"lr": args.estimator_lr}
            groups.append({"params": estimator, **own})
        return [optim_class(groups, **args.optim_conf)]

    @classmethod
    def build_task_iter_factory(cls, args: argparse.Namespace, iter_options, mode: str) -> AbsIterFactory:
        """`--iterator_type task`: batches of N categories x K utterances, for training in the first stage."""
        paths = {name: path for path, name, _ in iter_options.data_path_and_name_and_type}
        if "emotion" not in paths:
            raise SecError("--iterator_type task deals by emotion: give utt2emo as data name 'emotion'")
        _check_keys("sampler_conf", args.sampler_conf, {"num_categories", "per_category"})
        sampler = NKSampler(read_kaldi(paths["emotion"]), seed=args.seed, **args.sampler_conf)
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
        config_file = Path(config_file or Path(model_file).parent / "config.yaml")
        try:
            args = argparse.Namespace(**(cls.defaults() | read_yaml(config_file)))
        except FileNotFoundError as err:
            raise SecError(f"{config_file}: no such file; train the model first (stages 5 and 6)") from err
        args.align_model = None
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


def _check_conf(name: str, choice: str, conf: dict) -> None:
    """Every key of a part's configuration must be known, and the required ones there, before anything is loaded."""
    choices = next(c for c in SECTask.class_choices_list if c.name == name)
    if choice not in choices.classes:
        raise SecError(f"{name}: {choice!r}, expected one of {', '.join(choices.classes)}")
    parameters = inspect.signature(choices.get_class(choice).__init__).parameters
    known = {key for key in parameters if key != "self"} - GIVEN[name]
    _check_keys(f"{name}_conf of {name}: {choice}", conf, known)
    for key in known - set(conf):
        if parameters[key].default is inspect.Parameter.empty and not (choice == "feats" and key == "input_size"):
            raise SecError(f"{name}_conf of {name}: {choice}: {key!r} is missing")


def _check_keys(where: str, conf: dict, known: set[str]) -> None:
    unknown = sorted(set(conf) - known)
    if unknown:
        raise SecError(f"{where}: unknown key {', '.join(map(repr, unknown))}; known: {', '.join(sorted(known))}")


def _set_feats_size(args: argparse.Namespace) -> None:
    """The width of dumped features, read from the first line of the shape file and kept in config.yaml."""
    if args.encoder == "feats" and "input_size" not in args.encoder_conf:
        if not args.train_shape_file:
            raise SecError("encoder_conf: input_size is missing, and there is no --train_shape_file to read it from")
        with open(args.train_shape_file[0], encoding="utf-8") as file:
            shape = file.readline().split()[1].split(",")
        if len(shape) != 2:
            raise SecError(f"{args.train_shape_file[0]}: shapes of raw audio; encoder: feats needs dumped features")
        args.encoder_conf["input_size"] = int(shape[1])
