"""What stands before the caption, in which order, and what ends the caption; stored with each experiment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from espnet2_secap.errors import SecError
from espnet2_secap.text.roles import CONDITIONS, MAY_BE_EMPTY, ROLES

# Orders by name. Text, speech and clues stand between BOS and instruction (SECap, Table 2), in the order of the model's
# condition.
PLAIN = ROLES
ORDERS = {
    "plain": PLAIN,
    # The released code leaves the tokenizer's own BOS in front of the instruction.
    "secap": ("bos", "transcript", "text_queries", "queries", "clues", "bos", "instruction"),
}
NAMES = ("auto", *ORDERS, "chat")
CONTENT = ROLES[1:]  # what a chat template wraps
OPTIONAL = ("instruction",)  # what an order of one's own may leave out: BART reads the speech alone
MARKS = ("@USER@", "@CAPTION@")  # stand for the two messages while a chat template is rendered


@dataclass
class Segment:
    """A part of what the decoder reads, for a whole batch.

    Args:
        content: token ids (B, L), any value where `mask` is false, or vectors (B, L, H) of the decoder's width.
        mask: (B, L), true = real. A position that is not real never influences one that is.
    """

    content: torch.Tensor
    mask: torch.Tensor

    @property
    def is_ids(self) -> bool:
        """Whether the decoder has to embed the content."""
        return not self.content.is_floating_point()

    @classmethod
    def constant(cls, ids: Sequence[int], batch_size: int, device: torch.device) -> "Segment":
        """The same ids for every utterance of the batch."""
        content = torch.tensor([list(ids)], device=device).expand(batch_size, -1)
        return cls(content, torch.ones_like(content, dtype=torch.bool))


@dataclass(frozen=True)
class Template:
    """The order of the segments and the ids around a caption.

    Args:
        order: roles of ROLES, and runs of token ids that stand for themselves.
        end: id that follows a caption in training.
        ends: ids that end a caption in decoding, `end` among them.
    """

    order: tuple[str | tuple[int, ...], ...]
    end: int
    ends: tuple[int, ...]

    def arrange(self, made: Mapping[str, Segment]) -> list[Segment]:
        """Put segments, by role, in order.

        Raises:
            SecError: a segment is missing, or one has no place in the order.
        """
        some = next(iter(made.values())).content
        missing = [role for role in self.order if isinstance(role, str) and role not in made]
        lost = [role for role in made if role not in (*self.order, *OPTIONAL)]
        if missing or lost:
            what = f"{missing[0]!r} is in the order, but nothing makes it" if missing else f"{lost[0]!r} has no place"
            raise SecError(f"template: {what}; the order is {self.roles()}, the model makes {', '.join(made)}")
        return [
            made[item] if isinstance(item, str) else Segment.constant(item, len(some), some.device)
            for item in self.order
        ]

    def with_condition(self, roles: Sequence[str]) -> "Template":
        """The same around other roles: these stand where text, speech and clues do, the first of them or all.

        Raises:
            SecError: nothing but them stands in the order.
        """
        at = [place for place, item in enumerate(self.order) if item in CONDITIONS]
        before, after = self.order[: at[0]], [item for item in self.order[at[0] :] if item not in CONDITIONS]
        if not after:
            raise SecError("template: a teacher needs an instruction, or ids, behind what it reads; add instruction")
        return Template((*before, *roles, *after), self.end, self.ends)

    def roles(self) -> str:
        """The order, for a message."""
        return ", ".join(item if isinstance(item, str) else "ids" for item in self.order)

    def conf(self) -> dict:
        """As plain values, for config.yaml; `from_conf` reads them."""
        order = [item if isinstance(item, str) else list(item) for item in self.order]
        return {"order": order, "end": self.end, "ends": list(self.ends)}

    @classmethod
    def from_conf(cls, conf: Mapping) -> "Template":
        """The template that `conf` wrote."""
        order = tuple(item if isinstance(item, str) else tuple(item) for item in conf["order"])
        return cls(order, conf["end"], tuple(conf["ends"]))


def build_template(
    name: str,
    conf: Mapping,
    tokenizer,
    makes: Collection[str],
    lm_ends: Sequence[int] = (),
    rows: int | None = None,
) -> Template:
    """Choose a template for an LM.

    Args:
        name: "plain": BOS, text, speech and clues in the order of `makes`, instruction; "secap": with a second BOS
            before the instruction, as the released code; "chat": the LM's own chat template around them; "auto": chat
            where the tokenizer has a chat template, else plain.
        conf: `order` instead of the named one, which may leave out the instruction; or all that `Template.conf` gives,
            which is then taken as it is.
        tokenizer: of the LM; one without BOS leaves BOS out.
        makes: roles that the model makes a segment of; of text, speech and clues in this order, whatever `name` is. An
            `order` in conf stays as it is.
        lm_ends: ids at which the LM's own configuration ends a text.
        rows: of the LM's embedding; None: not known.

    Raises:
        SecError: unknown name, key or role; a role that nothing makes, or that has no place; no chat template; an id
            that the LM has not.
    """
    template = _template(name, conf, tokenizer, makes, lm_ends)
    ids = [one for item in template.order if not isinstance(item, str) for one in item]
    for one in (*ids, template.end, *template.ends):
        if type(one) is not int or one < 0 or (rows is not None and one >= rows):
            raise SecError(f"template_conf: {one!r} is no token of the LM; expected ids of 0 to {(rows or 1) - 1}")
    return template


def _template(name: str, conf: Mapping, tokenizer, makes: Collection[str], lm_ends: Sequence[int]) -> Template:
    unknown = sorted(set(conf) - {"order", "end", "ends"})
    if unknown:
        raise SecError(f"template_conf: unknown key {unknown[0]!r}; known: order, end, ends")
    if {"order", "end", "ends"} <= set(conf):
        return Template.from_conf(conf)
    if name not in NAMES:
        raise SecError(f"template: {name!r}, expected one of {', '.join(NAMES)}")
    if name == "auto":
        name = "chat" if tokenizer.has_chat_template else "plain"
    end = conf.get("end", tokenizer.eos_id if tokenizer.eos_id is not None else next(iter(lm_ends), None))
    order = ORDERS.get(name)
    if name == "chat":
        before, after, chat_end = _chat(tokenizer)
        order = (before, *CONTENT, after)
        end = conf.get("end", chat_end if chat_end is not None else end)
    if end is None:
        raise SecError("template: the LM's tokenizer has no end-of-sentence token; give template_conf end: ID")
    order = _by_condition(order, makes)
    if "order" in conf:
        order = _checked(conf["order"], makes)
    bos = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
    items = [bos if item == "bos" else item if isinstance(item, str) else tuple(item) for item in order]
    items = [item for item in items if item in makes or (not isinstance(item, str) and item)]
    ends = conf.get("ends") or [one for one in (tokenizer.eos_id, *lm_ends) if one is not None]
    return Template(tuple(items), end, tuple(dict.fromkeys([end, *ends])))


def _by_condition(order: Sequence, makes: Collection[str]) -> Sequence:
    """The order with text, speech and clues, which stand side by side, as `makes` has them."""
    given = iter([role for role in makes if role in CONDITIONS])
    kept = [item for item in order if item not in CONDITIONS or item in makes]
    return [next(given) if item in CONDITIONS else item for item in kept]


def _checked(order: Sequence, makes: Collection[str]) -> Sequence:
    roles = [item for item in order if isinstance(item, str)]
    for role in roles:
        if role not in ROLES:
            raise SecError(f"template_conf order: {role!r}, expected one of {', '.join(ROLES)}, or a list of ids")
        if role != "bos" and role not in makes:
            raise SecError(
                f"template_conf order: nothing makes {role!r}; this model makes {', '.join(makes)}; leave it out"
            )
    lost = [role for role in makes if role not in (*roles, *OPTIONAL)]
    if lost:
        raise SecError(f"template_conf order: {lost[0]!r}, which this model makes, is not in it; add it")
    if order and order[-1] in MAY_BE_EMPTY:
        raise SecError(
            f"template_conf order: {order[-1]!r} is the last, and an utterance without any has nothing there; put"
            " another one, or ids, behind it"
        )
    return order


def _chat(tokenizer) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    """Ids before and after the user's content, and the id that ends the assistant's message."""
    if not tokenizer.has_chat_template:
        raise SecError("template chat: the LM's tokenizer has no chat template; use template: plain")
    user, caption = MARKS
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": caption}]
    asked, answered = tokenizer.render_chat(messages[:1], True), tokenizer.render_chat(messages, False)
    if asked.count(user) != 1 or caption not in answered:
        raise SecError("template chat: the tokenizer's chat template drops or repeats messages; use template: plain")
    before, after = asked.split(user)
    rest = tokenizer.encode_special(answered.split(caption)[1])
    return tuple(tokenizer.encode_special(before)), tuple(tokenizer.encode_special(after)), rest[0] if rest else None
