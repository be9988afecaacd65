"""What a decoder reads of an utterance, by name: the roles of its segments, and model_conf's `condition`.

No library is imported here: sec.sh's checks read it too.
"""

from collections.abc import Iterable, Mapping, Sequence

from espnet2_secap.errors import SecError

ROLES = ("bos", "transcript", "text_queries", "queries", "clues", "instruction")
QUERIES, TEXT_QUERIES, TRANSCRIPT, CLUES = "queries", "text_queries", "transcript", "clues"
# SECap, Table 2: Q-Embedding, raw transcription, T-Embedding; AlignCap: emotional clues
CONDITIONS = (QUERIES, TRANSCRIPT, TEXT_QUERIES, CLUES)
OF_TEXT = (TRANSCRIPT, TEXT_QUERIES)  # made of the transcription
MAY_BE_EMPTY = (*OF_TEXT, CLUES)  # of an utterance without words, or without clues
OF_BRIDGE = (QUERIES, TEXT_QUERIES)  # made by the bridge
DEFAULT = (QUERIES,)
TEACHERS = (TRANSCRIPT, CLUES)  # what the teacher of a distillation may read
TEACHER = "teacher_"  # before a role: read by the teacher of a distillation


def condition_of(conf: Mapping | None) -> tuple[str, ...]:
    """`condition` of a model_conf: what the decoder reads of an utterance, in this order.

    Raises:
        SecError: it is no list, empty, or names something unknown or twice.
    """
    return checked_condition((conf or {}).get("condition", DEFAULT))


def checked_condition(condition: Sequence[str]) -> tuple[str, ...]:
    """The same of the value of `condition`."""
    return _checked("condition", condition, CONDITIONS, "[text_queries, queries]")


def _checked(name: str, value: Sequence[str], known: Sequence[str], example: str) -> tuple[str, ...]:
    where, known_here = f"model_conf {name} {value!r}", ", ".join(known)
    if not isinstance(value, (list, tuple)):
        raise SecError(f"{where}: must be a list, such as {example}; it may hold {known_here}")
    where = f"model_conf {name} [{', '.join(map(str, value))}]"
    if not value:
        reader = "teacher" if name == "teacher" else "decoder"
        raise SecError(f"{where}: the {reader} would read nothing of an utterance; give one or more of {known_here}")
    for at, one in enumerate(value):
        if one not in known:
            raise SecError(f"{where}: {one!r} is unknown; expected one or more of {known_here}")
        if one in value[:at]:
            raise SecError(f"{where}: {one!r} stands there twice; leave one out")
    return tuple(value)


def source_of(role: str) -> str:
    """The name of the data that a role's ids are made of."""
    return "text" if role.removeprefix(TEACHER) in OF_TEXT else role.removeprefix(TEACHER)


def reads_text(condition: Iterable[str]) -> bool:
    """Whether the decoder, or its teacher, reads the transcription in some form."""
    return any(source_of(one) == "text" for one in condition)


def reads_clues(condition: Iterable[str]) -> bool:
    """Whether the decoder, or its teacher, reads clues."""
    return any(source_of(one) == CLUES for one in condition)


def has_bridge(condition: Sequence[str]) -> bool:
    """Whether a bridge makes something of what it reads: else the first stage trains nothing of use."""
    return any(one in OF_BRIDGE for one in condition)


def teacher_of(conf: Mapping | None) -> tuple[str, ...]:
    """`teacher` of a model_conf: what the teacher of a distillation reads of an utterance, in this order.

    Raises:
        SecError: it is no list, empty, or names something unknown or twice.
    """
    return checked_teacher((conf or {}).get("teacher", TEACHERS))


def checked_teacher(teacher: Sequence[str]) -> tuple[str, ...]:
    """The same of the value of `teacher`."""
    return _checked("teacher", teacher, TEACHERS, "[transcript, clues]")
