"""What a set of preference pairs is made of: counts, lengths, margins, and the attributes by which pairs differ."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from espnet2_secap.data.preferences import SOURCES, TYPES, Pair
from espnet2_secap.metric.words import Categories, named, without_groups

LONGER = 0.6  # share of pairs from which a note says that the longer caption is mostly preferred
LEAST = 20  # pairs, below which no share is noted


def pairs_report(pairs: Sequence[Pair], words: Mapping[str, Categories]) -> list[str]:
    """Lines of Markdown.

    Args:
        pairs: at least one.
        words: of `load_words`.
    """
    per_utterance = Counter(pair.id for pair in pairs)
    most = max(per_utterance.values())
    mean = len(pairs) / len(per_utterance)
    lines = [
        "# Preference pairs",
        "",
        f"{len(pairs)} pairs of {len(per_utterance)} utterances: {mean:.2f} of an"
        f" utterance, {most} at most; {len({pair.prompt for pair in pairs})} instruction(s).",
        "",
    ]
    lines += [*_counts(pairs), "", *_lengths(pairs), "", *_margins(pairs), "", *_attributes(pairs, words)]
    return lines + [line for note in _notes(pairs) for line in ("", f"Note: {note}.")]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    right = "|---|" + "---:|" * (len(head) - 1)
    return [f"| {' | '.join(head)} |", right, *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def _counts(pairs: Sequence[Pair]) -> list[str]:
    count = Counter((pair.type, pair.source) for pair in pairs)
    sources = [one for one in SOURCES if any(pair.source == one for pair in pairs)]
    rows = [[kind, *(count[kind, one] for one in sources), sum(count[kind, one] for one in sources)] for kind in TYPES]
    return _table(["type", *sources, "all"], [row for row in rows if row[-1]])


def _groups(pairs: Sequence[Pair]) -> list[tuple[str, list[Pair]]]:
    """All pairs, and those of each type with each source."""
    found = [
        (f"{kind}, {source}", [one for one in pairs if (one.type, one.source) == (kind, source)])
        for kind in TYPES
        for source in SOURCES
    ]
    return [("all", list(pairs)), *(group for group in found if group[1])]


def _lengths(pairs: Sequence[Pair]) -> list[str]:
    rows = []
    for name, some in _groups(pairs):
        chosen, rejected = (
            statistics.fmean(len(getattr(one, side)) for one in some) for side in ("chosen", "rejected")
        )
        longer = sum(len(one.chosen) > len(one.rejected) for one in some)
        equal = sum(len(one.chosen) == len(one.rejected) for one in some)
        rows.append([name, f"{chosen:.1f}", f"{rejected:.1f}", _share(longer, some), _share(equal, some)])
    return _table(["characters, mean", "chosen", "rejected", "chosen is longer", "equally long"], rows)


def _share(count: int, of: Sequence) -> str:
    return f"{100 * count / len(of):.1f}%"


def _margins(pairs: Sequence[Pair]) -> list[str]:
    rows = []
    for name, some in _groups(pairs):
        known = sorted(one.margin for one in some if one.margin)
        cut = statistics.quantiles(known, n=4, method="inclusive") if len(known) > 1 else known * 3
        values = [f"{one:.2f}" for one in (known[0], *cut, known[-1])] if known else ["-"] * 5
        rows.append([name, len(known), *values])
    return _table(["margin", "known", "least", "quarter", "median", "three quarters", "most"], rows)


def _attributes(pairs: Sequence[Pair], words: Mapping[str, Categories]) -> list[str]:
    """How often chosen and rejected name different categories of an attribute, and who names more of them."""
    plain = without_groups(words)
    if not plain:
        return ["No words of the language: attributes are not counted."]
    rows, seen = [], {name: {} for name in plain}
    for name, categories in plain.items():
        found = seen[name]
        sides = []
        for pair in pairs:
            for text in (pair.chosen, pair.rejected):
                if text not in found:
                    found[text] = frozenset(named(text, categories))
            sides.append((found[pair.chosen], found[pair.rejected]))
        differ = sum(chosen != rejected for chosen, rejected in sides)
        other = sum(bool(chosen and rejected and not chosen & rejected) for chosen, rejected in sides)
        only = [sum(bool(a) and not b for a, b in sides), sum(bool(b) and not a for a, b in sides)]
        rows.append([name, _share(differ, pairs), _share(other, pairs), *(_share(one, pairs) for one in only)])
    return _table(["attribute", "differs", "another category", "only chosen names it", "only rejected"], rows)


def _notes(pairs: Sequence[Pair]) -> list[str]:
    notes = []
    longer, shorter = (sum(sign * (len(one.chosen) - len(one.rejected)) > 0 for one in pairs) for sign in (1, -1))
    for count, word in ((longer, "longer"), (shorter, "shorter")):
        if len(pairs) >= LEAST and count > LONGER * len(pairs):
            notes.append(
                f"the chosen caption is the {word} one in {_share(count, pairs)} of the pairs: the length alone"
                " tells which is preferred"
            )
    return notes
