"""`--upstream acoustic+hf_hubert_custom`: which encoders the names stand for, and the configuration of each."""

from collections.abc import Mapping

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.parts import CHOICES
from espnet2_secap.values import parameters_of

DEFAULT = "hf_hubert_custom"
NO_UPSTREAMS = ("s3prl", "stored", "joined")  # encoders that --upstream does not name


def encoder_of(upstream: str | None, path: str | None, layer: str | None, conf: Mapping) -> tuple[str, dict]:
    """The encoder, by its name in tasks/parts.py, and its encoder_conf.

    Args:
        upstream: names with + between them, each an encoder of tasks/parts.py or, where none has the name, an upstream
            of S3PRL; `upstream` of `conf`, else hf_hubert_custom, if None.
        path: of the one encoder of them that is loaded from a path: S3PRL's upstream, or a clap whose path `conf` does
            not give.
        layer: of each of S3PRL's upstreams.
        conf: further arguments; with several names, NAME.KEY or NAME: {KEY: ...}.

    Raises:
        SecError: an empty name, or one that is there twice; an argument that does not say whose it is; a path that
            several upstreams would share.
    """
    conf = dict(conf)
    given = str(conf.pop("upstream", DEFAULT))
    upstream = upstream or given
    names = upstream.split("+")
    if "" in names or len(set(names)) < len(names):
        raise SecError(f"--upstream {upstream}: must be different names with + between them, as acoustic+{DEFAULT}")
    own = [name for name in names if name in CHOICES["encoder"].targets and name not in NO_UPSTREAMS]
    theirs = [name for name in names if name not in own]
    confs = _by_name(names, conf)
    loaded = [name for name in own if "path" in parameters_of(CHOICES["encoder"].get_class(name))]
    takers = theirs + [name for name in loaded if "path" not in confs[name]]
    if path is not None and len(takers) > 1:
        each = " ".join(f"--encoder_conf {name}.path=DIR" for name in takers)
        raise SecError(f"--upstream_path {path}: {' and '.join(takers)} would share it; give {each}")
    for name in theirs:
        common = {"upstream": name, "path": path, "layer": layer}
        confs[name] = {"encoder": "s3prl"} | confs[name] | {k: v for k, v in common.items() if v is not None}
    for name in takers if path is not None else ():
        confs[name].setdefault("path", path)
    if len(names) > 1:
        return "joined", {"encoders": confs}
    only = confs[names[0]]
    return only.pop("encoder", names[0]), only


def _by_name(names: list[str], conf: Mapping) -> dict[str, dict]:
    """The arguments of each."""
    found: dict[str, dict] = {name: {} for name in names}
    for key, value in conf.items():
        name, dot, rest = str(key).partition(".")
        if name in found and dot:
            found[name][rest] = value
        elif name in found and isinstance(value, Mapping):
            found[name].update(value)
        elif len(names) == 1:
            found[names[0]][key] = value
        else:
            raise SecError(f"--encoder_conf {key}: must say whose it is, such as {names[0]}.{key}")
    return found
