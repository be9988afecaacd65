"""Who hears what in a listening test: utterances x systems dealt to groups of listeners by a Latin square.

SECap's Subjective Evaluation: 50 utterances, every kind of text rated from 1 to 5 by 15 listeners. One caption is
rated at a time, so that captions of one utterance are rated independently.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

from espnet2_secap.data.io import write_json
from espnet2_secap.data.text_file import read_json
from espnet2_secap.errors import SecError, few, listed

DATABASE = "answers.sqlite"  # of the answers, in the folder of a test
FORMAT = "sec_listen design 1"
RATED, PRACTICE, CATCH = "rated", "practice", "catch"
NONSENSE = {"zh": "今天的会议在三楼举行。", "en": "The meeting takes place on the third floor."}


@dataclass(frozen=True)
class Item:
    """One caption under one recording, as a group meets it.

    Args:
        id: opaque; it says nothing about the system.
        utt: the utterance.
        system: its name; "" for practice items and catch trials.
        kind: rated, practice or catch.
        caption: the text to rate.
    """

    id: str
    utt: str
    system: str
    kind: str
    caption: str


@dataclass(frozen=True)
class Design:
    """The whole test; design.json. It tells which system wrote what: listeners must not see it.

    Args:
        language: of the pages, zh or en.
        systems: names.
        groups: the items of each group, in the order in which its listeners meet them.
        seconds: utterance -> length of its recording.
        seed: of the draw.
    """

    language: str
    systems: list[str]
    groups: list[list[Item]]
    seconds: dict[str, float]
    seed: int

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits that change with anything in the design; pages and answers carry them."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def utterances(self) -> list[str]:
        """The rated utterances, sorted."""
        return sorted({item.utt for items in self.groups for item in items if item.kind == RATED})

    def items(self, group: int) -> dict[str, Item]:
        """id -> item of group 1, 2, ..."""
        return {item.id: item for item in self.groups[group - 1]}

    def asked(self, group: int) -> dict[str, Item]:
        """The items of a group whose answers count: all but practice."""
        return {name: item for name, item in self.items(group).items() if item.kind != PRACTICE}

    def _content(self) -> dict:
        groups = [[vars(item) for item in items] for items in self.groups]
        return dict(
            language=self.language, systems=self.systems, groups=groups, seconds=self.seconds, seed=self.seed
        )  # fmt: skip

    def write(self, path: str | Path) -> None:
        """Write design.json."""
        write_json(path, {"format": FORMAT, "id": self.id} | self._content())


def read_design(folder: str | Path) -> Design:
    """Read FOLDER/design.json.

    Raises:
        SecError: it is missing, was not written by sec_listen prepare, or has been changed since.
    """
    path = Path(folder) / "design.json"
    if not path.is_file():
        raise SecError(f"{path}: does not exist; give the folder that sec_listen prepare has written")
    content = read_json(path)
    try:
        if content.pop("format") != FORMAT:
            raise ValueError
        design_id = content.pop("id")
        groups = [[Item(**item) for item in items] for items in content.pop("groups")]
        design = Design(groups=groups, **content)
        same = design.id == design_id
    except (AttributeError, KeyError, TypeError, ValueError):
        raise SecError(f"{path}: was not written by sec_listen prepare; run it again") from None
    if not same:
        raise SecError(f"{path}: has been changed since sec_listen prepare wrote it; restore it")
    return design


@dataclass(frozen=True)
class Size:
    """How large the test is.

    Args:
        utterances: rated utterances.
        groups: groups of listeners.
        per_utterance: captions of an utterance that one listener rates, at most the number of systems.
        practice: items before the test whose answers do not count.
        catch: trials whose right answer is known.
    """

    utterances: int
    groups: int
    per_utterance: int
    practice: int = 0
    catch: int = 0


def make_design(
    captions: Mapping[str, Mapping[str, str]],
    seconds: Mapping[str, float],
    size: Size,
    language: str,
    seed: int,
    emotions: Mapping[str, str] | None = None,
) -> Design:
    """Draw the utterances and deal them to the groups.

    Args:
        captions: system -> utterance -> its caption.
        seconds: utterance -> length of its recording; all utterances that can be drawn.
        size: of the test.
        language: zh or en.
        seed: of all draws.
        emotions: utterance -> label, where the corpus has them: every other catch trial shows a caption of an
            utterance of another emotion; the others, and all without labels, show a sentence without emotion.

    Raises:
        SecError: too few utterances have a recording and a caption of every system.
    """
    systems = list(captions)
    common = sorted(set(seconds).intersection(*captions.values()))
    needed = size.utterances + size.practice + size.catch
    if len(common) < needed:
        lack = [f"{name} has {len(set(seconds) & set(texts))}" for name, texts in captions.items()]
        extra = " (practice and catch trials included)" if needed > size.utterances else ""
        what = f"{len(common)} utterances have a recording and a caption of every system ({listed(lack)})"
        raise SecError(f"--utterances {size.utterances}: {what}, {needed} are needed{extra}; give fewer")
    if not 1 <= size.per_utterance <= len(systems):
        raise SecError(f"--per_utterance {size.per_utterance}: must be between 1 and {len(systems)}, the systems")
    draw = random.Random(seed)
    chosen = draw.sample(common, needed)
    rated, rest = chosen[: size.utterances], chosen[size.utterances :]
    others = [
        (PRACTICE, utt, captions[systems[at % len(systems)]][utt]) for at, utt in enumerate(rest[: size.practice])
    ]
    others += [(CATCH, utt, text) for utt, text in _catch(rest[size.practice :], captions, emotions, language, draw)]
    groups = []
    for group in range(size.groups):
        pairs = deal(rated, len(systems), group, size.per_utterance, draw)
        items = [(RATED, utt, captions[systems[at]][utt], systems[at]) for utt, at in pairs]
        for kind, utt, text in others:
            if kind == CATCH:
                items.insert(draw.randint(1, len(items)), (kind, utt, text, ""))
        items = [(kind, utt, text, "") for kind, utt, text in others if kind == PRACTICE] + items
        groups.append(
            [Item(f"{draw.getrandbits(48):012x}", utt, name, kind, text) for kind, utt, text, name in items]
        )  # fmt: skip
    return Design(language, systems, groups, {utt: round(seconds[utt], 3) for utt in sorted(chosen)}, seed)


def deal(
    utts: Sequence[str], systems: int, group: int, per_utterance: int, draw: random.Random
) -> list[tuple[str, int]]:
    """The (utterance, number of its system) of a group, in order.

    Utterance u has system (u + group K + round) mod S, K rounds for K captions of an utterance: each round goes through
    all utterances once, and S / gcd(S, K) groups rate every pair equally often. An order is made of blocks of S
    utterances, in which every system occurs once, in drawn order; groups begin at different blocks, so that an
    utterance is met early by some and late by others.
    """
    order = []
    blocks = [range(start, min(start + systems, len(utts))) for start in range(0, len(utts), systems)]
    for turn in range(per_utterance):
        shift = group * per_utterance + turn
        first = shift * max(1, len(blocks) // systems) % len(blocks)
        for block in blocks[first:] + blocks[:first]:
            pairs = [(utts[at], (at + shift) % systems) for at in block]
            draw.shuffle(pairs)
            order += pairs
    return order


def full_groups(systems: int, per_utterance: int) -> int:
    """The fewest groups that rate every caption equally often."""
    return systems // gcd(systems, per_utterance)


def _rounds(design: Design) -> int:
    return sum(item.kind == RATED for item in design.groups[0]) // len(design.utterances)


def _catch(
    utts: Sequence[str],
    captions: Mapping[str, Mapping[str, str]],
    emotions: Mapping[str, str] | None,
    language: str,
    draw: random.Random,
) -> list[tuple[str, str]]:
    """(utterance, caption) of the catch trials."""
    found, first = [], next(iter(captions.values()))
    for at, utt in enumerate(utts):
        label = (emotions or {}).get(utt)
        other = [one for one in sorted(first) if label and emotions.get(one, label) != label] if at % 2 else []
        found.append((utt, first[draw.choice(other)] if other else NONSENSE[language]))
    return found


def balance(design: Design) -> list[str]:
    """What the design gives, in lines for the experimenter."""
    counts = Counter((item.utt, item.system) for items in design.groups for item in items if item.kind == RATED)
    pairs = [counts[utt, name] for utt in design.utterances for name in design.systems]
    least, most = min(pairs), max(pairs)
    each = sorted({len(design.asked(group)) for group in range(1, len(design.groups) + 1)})
    lines = [
        f"{len(design.utterances)} utterances x {len(design.systems)} systems, {len(design.groups)} groups, "
        f"{' or '.join(map(str, each))} answers of each listener; each caption is rated by "
        f"{least if least == most else f'{least} to {most}'} of the groups"
    ]
    if least != most:
        wanted = full_groups(len(design.systems), _rounds(design))
        unseen = [f"{utt} of {name}" for utt in design.utterances for name in design.systems if not counts[utt, name]]
        told = f"; {len(unseen)} captions are rated by nobody ({few(unseen)})" if unseen else ""
        lines.append(
            f"note: not every caption is rated equally often{told}: give --groups {wanted} or a multiple of it"
        )
    return lines
