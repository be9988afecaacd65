"""What a decoder reads of an utterance, by name: the roles of its segments, and model_conf's `condition`.

No library is imported here: sec.sh's checks read it too.
"""

from collections.abc import Mapping, Sequence

from espnet2_secap.errors import SecError

ROLES = ("bos", "transcript", "text_queries", "queries", "clues", "instruction")
QUERIES, TEXT_QUERIES, TRANSCRIPT = "queries", "text_queries", "transcript"
CONDITIONS = (QUERIES, TRANSCRIPT, TEXT_QUERIES)  # SECap, Table 2: Q-Embedding, raw transcription, T-Embedding
OF_TEXT = (TRANSCRIPT, TEXT_QUERIES)  # made of the transcription
OF_BRIDGE = (QUERIES, TEXT_QUERIES)  # made by the bridge
DEFAULT = (QUERIES,)


def condition_of(conf: Mapping | None) -> tuple[str, ...]:
    """`condition` of a model_conf: what the decoder reads of an utterance, in this order.

    Raises:
        SecError: it is no list, empty, or names something unknown or twice.
    """
    return checked_condition((conf or {}).get("condition", DEFAULT))


def checked_condition(condition: Sequence[str]) -> tuple[str, ...]:
    """The same of the value of `condition`."""
    where, known = f"model_conf condition {condition!r}", ", ".join(CONDITIONS)
    if not isinstance(condition, (list, tuple)):
        raise SecError(f"{where}: must be a list, such as [text_queries, queries]; it may hold {known}")
    where = f"model_conf condition [{', '.join(map(str, condition))}]"
    if not condition:
        raise SecError(f"{where}: the decoder would read nothing of an utterance; give one or more of {known}")
    for at, one in enumerate(condition):
        if one not in CONDITIONS:
            raise SecError(f"{where}: {one!r} is unknown; expected one or more of {known}")
        if one in condition[:at]:
            raise SecError(f"{where}: {one!r} stands there twice; leave one out")
    return tuple(condition)


def reads_text(condition: Sequence[str]) -> bool:
    """Whether the decoder reads the transcription in some form."""
    return any(one in OF_TEXT for one in condition)


def has_bridge(condition: Sequence[str]) -> bool:
    """Whether a bridge makes something of what it reads: else the first stage trains nothing of use."""
    return any(one in OF_BRIDGE for one in condition)
