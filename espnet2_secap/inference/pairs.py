"""Preference pairs from a decoding of the training set: candidates ranked by what is known of each utterance.

Utterances are worked on in pieces, which jobs share and a journal keeps: a job that was killed goes on with the next
piece, and the pairs do not depend on the number of jobs. Candidates are read piece by piece.
"""

import random
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from espnet2_secap import __version__
from espnet2_secap.cli_types import check_fields, option
from espnet2_secap.data.candidates import CandidateFile, Row, decoded_file, forbidden_ids, ids_of
from espnet2_secap.data.io import make_dir, read_kaldi, write_captions, write_json
from espnet2_secap.data.preferences import TYPES, Expected, Pair, essence, write_pairs
from espnet2_secap.errors import SecError, few, listed
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.metric.facts import ATTRIBUTES
from espnet2_secap.metric.faithfulness import HumanCaptions
from espnet2_secap.metric.language import language
from espnet2_secap.metric.ranking import FACTS, Candidate, Known, Ranking, judge_similarity
from espnet2_secap.metric.rule_pairs import Corpus, check_rules, rule_pairs
from espnet2_secap.metric.score import read_truth, truth_file
from espnet2_secap.metric.words import WORDS_DIR, load_words, word_languages
from espnet2_secap.process.jobs import Journal, file_digest, fingerprint, gather, share
from espnet2_secap.progress import progress
from espnet2_secap.text.prompts import read_prompts
from espnet2_secap.values import Amount, Count, Natural, Place, Range, Seed

NAME, STAGE, PIECE = "pairs", 9, 200  # of the journals; of a recipe; utterances that are ranked together
PAIRS, BEST, META = "pairs.jsonl", "captions", "pairs_meta.json"
REJECTED = ("random", "worst", "closest")


@dataclass(frozen=True)
class PairOptions:
    """How candidates are ranked and which pairs are made: options of sec_pairs make.

    Raises:
        SecError: a value out of range, or an unknown rule or language.
    """

    lang: str = option("language of the captions: what --words is by default, and in which script captions are", "zh")
    words: Place | None = option(
        "words that name emotions ...: zh, en, ja, or a JSON file; those of --lang if none", None
    )
    attributes: str = option("attributes of the words file that count, in one argument", " ".join(ATTRIBUTES))
    facts: str = option(
        "what decides whether a caption names an attribute wrongly: labels (utt2emo, utt2rate, ...), what references"
        " name, both (wrong if both contradict it), or none: captions are ranked by similarity alone",
        "both",
        choices=FACTS,
    )
    judge: Place | None = option(
        "folder or hub name of a causal LM: its closeness takes the place of the similarity of n-grams", None
    )
    judge_prompt: Place | None = option("for --judge: text file of a prompt with {first} and {second}", None)
    judge_cache: Place | None = option("for --judge: file that keeps the answers", None)
    device: str = option("for --judge: cpu, cuda or cuda:N", "cpu")
    per_utterance: Natural = option("sampled pairs of an utterance at most; 0: none", 2)
    min_margin: Amount = option("least difference of the scores of chosen and rejected", 0.05)
    max_wrong: Annotated[int, Range(least=0, most=100)] = option(
        "errors that the chosen candidate may have; an utterance whose best one has more gives no sampled pair", 0
    )
    rejected: str = option("which candidates are rejected, of those below the best one", "random", choices=REJECTED)
    types: str = option("types of sampled pairs, in one argument", " ".join(TYPES))
    same_coverage: bool = option("reject only candidates that name as many attributes as the chosen one", False)
    rules: str = option(
        "rules that make pairs, in one argument: swap, other, transcript, instruction, cut, double, or all", ""
    )
    rules_per_utterance: Count = option("for --rules: pairs of an utterance at most, each by another rule", 2)
    seed: Seed = option("of all draws, which depend on it and the utterance's id alone", 0)

    def __post_init__(self):
        check_fields(self)
        language(self.lang)
        check_rules(self.rules.split())
        for name in self.types.split():
            if name not in TYPES:
                raise SecError(f"--types {name}: must be some of {', '.join(TYPES)}")
        if not self.attributes.split() and self.facts != "none":
            raise SecError("--attributes: is empty; give attributes of --words, or --facts none")
        if self.judge is None and (self.judge_prompt or self.judge_cache):
            raise SecError("--judge_prompt, --judge_cache: are for --judge FOLDER_OR_HUB_NAME; give it, or neither")

    @property
    def words_file(self) -> str:
        """What `load_words` takes."""
        return self.words or language(self.lang).words


@dataclass(frozen=True)
class PairFiles:
    """What pairs are made from.

    Args:
        candidates: candidates.jsonl of sec_inference, or its folder; None: pairs by rule only.
        data_dir: training set: ids, labels, `text`.
        captions: its captions; if None those of data_dir, if it has some.
        not_in: folders of validation and test sets.
    """

    candidates: str | None
    data_dir: str
    captions: str | None = None
    not_in: Sequence[str] = ()

    @property
    def candidates_file(self) -> Path | None:
        """The file itself."""
        return decoded_file(self.candidates) if self.candidates else None

    @property
    def captions_file(self) -> Path | None:
        """Where the captions are; None if there are none."""
        there = Path(self.data_dir) / "captions"
        return Path(self.captions) if self.captions else there if there.is_file() else None


class PairMaker:
    """Ranks candidates and makes pairs of pieces of the training set.

    Args:
        files, options: see there.

    Raises:
        SecError: a file that is missing or wrong, ids that are unknown or of a validation or test set.
    """

    def __init__(self, files: PairFiles, options: PairOptions):
        self.files, self.options, self.rules = files, options, check_rules(options.rules.split())
        self.words = load_words(options.words_file)
        attributes = options.attributes.split()
        for name in attributes if options.attributes != " ".join(ATTRIBUTES) else ():
            if name not in self.words:
                raise SecError(
                    f"--attributes {name}: {options.words_file} has no such attribute; it has: "
                    f"{', '.join(self.words) or 'none'}"
                )
        self.candidates = CandidateFile(files.candidates_file) if files.candidates_file else None
        known, forbidden = dict.fromkeys(ids_of(files.data_dir)), forbidden_ids(files.not_in)
        self.captions = self._captions(known)
        self.ids = self.candidates.ids if self.candidates else sorted(self.captions)
        self.expected = Expected(known, files.data_dir, forbidden, options.lang)
        self._check_ids(known, forbidden)
        self.truth = {}
        if options.facts in ("both", "labels"):
            counted = {name: self.words[name] for name in attributes if name in self.words}
            self.truth, self.notes = read_truth(files.data_dir, counted, known)
        text = Path(files.data_dir) / "text"
        self.transcripts = read_kaldi(text, may_be_empty=True) if text.is_file() else {}
        self.prompt = read_prompts(language(options.lang).prompts)[0]
        self._prompts: dict[str, str] = {}
        self._ranking: Ranking | None = None

    def _captions(self, known: Mapping[str, None]) -> dict[str, list[str]]:
        path = self.files.captions_file
        if path is None:
            if not self.candidates:
                raise SecError(f"{self.files.data_dir}: has no captions; give --captions FILE, or --candidates FILE")
            return {}
        return {utt: texts for utt, texts in read_caption_file(path, system=False).items() if utt in known}

    def _check_ids(self, known: Mapping[str, None], forbidden: Mapping[str, str]) -> None:
        where = self.files.candidates_file or self.files.captions_file
        if unknown := [utt for utt in self.ids if utt not in known]:
            raise SecError(
                f"{where}: {len(unknown)} of {len(self.ids)} utterances are not in {self.files.data_dir} "
                f"({few(unknown)}); decode the training set that --data_dir names"
            )
        if bad := [utt for utt in self.ids if utt in forbidden]:
            raise SecError(
                f"{where}: {len(bad)} of {len(self.ids)} utterances are in {forbidden[bad[0]]} too "
                f"({few(bad)}), which may not be trained on; decode the training set"
            )

    def made_from(self) -> dict:
        """All that the pairs depend on, but for the number of jobs."""
        folder = Path(self.files.data_dir)
        read = [self.files.candidates_file, self.files.captions_file, folder / "text"]
        read += [folder / truth_file(name) for name in self.truth]
        read += [
            WORDS_DIR / f"{one}.json" if one in word_languages() else Path(one) for one in [self.options.words_file]
        ]
        read += [Path(self.options.judge_prompt)] if self.options.judge_prompt else []
        options = asdict(self.options) | {"device": self.options.device.split(":")[0], "judge_cache": None}
        content = {path.name: file_digest(path) for path in read if path is not None and path.is_file()}
        forbidden = fingerprint(sorted(self.expected.forbidden))
        return {"options": options, "files": content, "not_in": forbidden, "version": __version__}

    @property
    def ranking(self) -> Ranking:
        """The ranking; its judge is loaded when it is needed first."""
        if self._ranking is None:
            one, similar = self.options, None
            if one.judge:
                from espnet2_secap.devices import check_device
                from espnet2_secap.metric.judge import Judge, closeness

                check_device(one.device)
                judge = Judge(one.judge, one.judge_cache, one.device)
                similar = judge_similarity(judge, closeness(one.lang, one.judge_prompt))
            human = HumanCaptions(
                (text for texts in self.captions.values() for text in texts),
                (word for categories in self.words.values() for some in categories.values() for word in some),
            )
            self._ranking = Ranking(self.words, one.facts, one.attributes.split(), one.lang, human, similar)
            self.corpus = Corpus(self.captions, self.known, self._ranking)
        return self._ranking

    def known(self, utt: str) -> Known:
        """What is known of an utterance; its instruction is that of the candidates, else the first of the language."""
        truth = {name: categories[utt] for name, categories in self.truth.items() if categories[utt]}
        return Known(
            self.captions.get(utt, ()), truth, self.transcripts.get(utt, ""), self._prompts.get(utt, self.prompt)
        )

    def work(self, ids: Sequence[str]) -> dict:
        """Pairs of some utterances, the best candidate of each, and counts, as JSON holds them."""
        rows = list(self.candidates.rows(ids)) if self.candidates else [Row(utt, self.prompt, []) for utt in ids]
        self._prompts = {row.id: row.prompt for row in rows}
        known = [self.known(row.id) for row in rows]
        found = self.ranking.rank([(row.texts, one) for row, one in zip(rows, known, strict=True)])
        captions = self.ranking.rank([(one.references, one) for one in known]) if self.rules else [[]] * len(rows)
        output = {"pairs": [], "best": {}, "counts": Counter()}
        for row, ranked, references in zip(rows, found, captions, strict=True):
            pairs, outcome = sampled_pairs(row, ranked, self.options)
            output["counts"][outcome] += bool(self.candidates)
            if ranked and ranked[0].errors <= self.options.max_wrong:
                output["best"][row.id] = ranked[0].text
            if self.rules:
                good = [one.text for one in references if not one.errors]
                good = good or [one.text for one in ranked[:1] if not one.errors]
                most, seed = self.options.rules_per_utterance, self.options.seed
                pairs += rule_pairs(row.id, good, self.corpus, self.rules, most, seed)
            for pair in pairs:
                misfit = self.expected.fault(pair)
                output["counts"]["misfit"] += misfit is not None
                output["pairs"] += [] if misfit else [list(asdict(pair).values())]
        return output


def sampled_pairs(row: Row, ranked: Sequence[Candidate], options: PairOptions) -> tuple[list[Pair], str]:
    """The best candidate against worse ones, and what became of the utterance (paired, alike, wrong, close)."""
    if len(ranked) < 2:
        return [], "alike"
    best, *rest = ranked
    if best.errors > options.max_wrong:
        return [], "wrong"
    types = options.types.split()
    worse = [
        one
        for one in rest
        if best.score - one.score >= max(options.min_margin, 1e-9)
        and kind_of(best, one) in types
        and (not options.same_coverage or one.coverage == best.coverage)
    ]
    if not worse:
        return [], "close"
    most = min(options.per_utterance, len(worse))
    taken = {
        "worst": lambda: worse[::-1][:most],
        "closest": lambda: worse[:most],
        "random": lambda: random.Random(f"{options.seed} sampled {row.id}").sample(worse, most),
    }[options.rejected]()
    texts = row.id, row.prompt, best.text
    return [Pair(*texts, one.text, kind_of(best, one), "sampled", best.score - one.score) for one in taken], "paired"


def kind_of(chosen: Candidate, rejected: Candidate) -> str:
    """The type of a pair, see data/preferences.py."""
    if rejected.unfaithful and not chosen.unfaithful:
        return "faithfulness"
    return "factuality" if rejected.errors > chosen.errors else "quality"


def make_pairs(maker: PairMaker, output_dir: str, job: int, nj: int) -> None:
    """Do the pieces of one job; those that its journal has are kept."""
    pieces = {at: maker.ids[at : at + PIECE] for at in range(0, len(maker.ids), PIECE)}
    mine = share({at: len(ids) for at, ids in pieces.items()}, nj, job)
    journal = Journal(output_dir, NAME, job, nj, maker.made_from(), mine)
    todo = journal.todo
    print(
        f"job {job} of {nj}: {len(mine)} pieces of up to {PIECE} utterances, {len(mine) - len(todo)} of them there"
        " already",
        file=sys.stderr,
    )
    for at in progress(todo, desc="preference pairs, pieces"):
        journal.add(at, maker.work(pieces[at]))


def combine_pairs(output_dir: str, nj: int) -> tuple[int, dict[str, int]]:
    """Join the jobs' pieces into pairs.jsonl, captions (the best candidates) and pairs_meta.json.

    Returns:
        number of pairs; counts of utterances by what became of their candidates.

    Raises:
        SecError: a job has not finished, or jobs had other data or options; no pair was made.
    """
    header, jobs = gather(output_dir, NAME, nj, STAGE)
    pieces = [piece for _, piece in sorted((at, one) for done in jobs.values() for at, one in done.items())]
    counts = sum((Counter(piece["counts"]) for piece in pieces), Counter())
    pairs = [Pair(*values) for piece in pieces for values in piece["pairs"]]
    pairs = _once(pairs)
    best = {utt: [text] for piece in pieces for utt, text in piece["best"].items()}
    folder = make_dir(output_dir)
    if not pairs:
        raise SecError(
            f"{output_dir}: no pairs: {told(counts) or 'no rule could be applied'}; sample more candidates"
            " (--num_candidates, --temperature), or give --rules, or lower --min_margin"
        )
    if best:
        write_captions(folder / BEST, best)
    else:
        (folder / BEST).unlink(missing_ok=True)
    write_json(folder / META, header | {"counts": counts, "pairs": len(pairs), "best": len(best)})
    write_pairs(folder / PAIRS, pairs)
    shutil.rmtree(folder / ".jobs")
    return len(pairs), counts


def _once(pairs: Sequence[Pair]) -> list[Pair]:
    """Without pairs that are there already, be it with chosen and rejected the other way round."""
    found: dict[tuple, Pair] = {}
    for pair in pairs:
        found.setdefault((pair.id, frozenset((essence(pair.chosen), essence(pair.rejected)))), pair)
    return list(found.values())


def told(counts: Mapping[str, int]) -> str:
    """What became of the utterances' candidates, in words."""
    said = {
        "paired": "gave pairs",
        "alike": "have fewer than two different candidates",
        "wrong": "have no candidate with so few errors (--max_wrong)",
        "close": "have no candidate to reject (--min_margin, --types, --same_coverage)",
    }
    parts = [f"{counts[name]} utterances {words}" for name, words in said.items() if counts.get(name)]
    parts += [f"{counts['misfit']} pairs were left out: alike, or not in the script"] if counts.get("misfit") else []
    return listed(parts, most=9, between="; ")
