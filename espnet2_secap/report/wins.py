"""How often the caption of one system is better than that of another: by what is true, and by a language model.

By truth: fewer attributes named wrongly (metric/facts.py), then more attributes named, then the higher similarity to
the references; else a tie. By judge: the caption that is closer to the references in both orders of the question
(metric/judged.py). Either way A against B is the mirror image of B against A.
"""

from dataclasses import asdict, dataclass

import numpy as np

from espnet2_secap.errors import few
from espnet2_secap.metric.abs_metric import ATTRIBUTES, MetricUnavailable
from espnet2_secap.metric.judge import Judge, choice
from espnet2_secap.metric.judged import chances, preferred
from espnet2_secap.metric.normalize import compared, normalizer, spoken
from espnet2_secap.report.collect import Score, read_examples
from espnet2_secap.report.resample import Addends, Utterances, bootstrap, interval, p_value
from espnet2_secap.report.table import Cell, Table
from espnet2_secap.report.tables import p_cell

SIMILARITY = ("cider", "rouge_l", "bertscore", "sim1", "sim2", "sbert_sim")  # the first that both systems have
HOW = (
    "Win rate of A: wins and half of the ties, 95% interval by the same resamples, p against 50. By truth: the caption "
    "with fewer wrong attributes wins, then the one with more attributes, then the one more similar to the references. "
    "By judge: the caption that the language model takes for closer to the references in both orders; where the orders "
    "disagree it is a tie."
)


@dataclass(frozen=True)
class Wins:
    """Results of A against B on one set, in per cent of the utterances that have one.

    Args:
        by: truth or judge.
        win, tie, loss: shares of the utterances; candidates count as parts of an utterance.
        rate: win + tie / 2, with its 95% interval `low` to `high`, and `p` of a rate of 50.
        utterances: number of those that have a result.
    """

    by: str
    win: float
    tie: float
    loss: float
    rate: float
    low: float
    high: float
    p: float
    utterances: int

    def numbers(self) -> dict:
        """The content for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "by"}


def wins_table(wins: list[Wins]) -> Table:
    """One row for each way of judging."""
    rows = []
    for one in wins:
        numbers = [f"{value:.2f}" for value in (one.win, one.tie, one.loss, one.rate)]
        p = p_cell(one.p)
        rows.append([Cell(one.by), *map(Cell, [*numbers, f"{one.low:.2f} to {one.high:.2f}"]), p])
    return Table(["by", "A wins", "ties", "B wins", "win rate of A", "95%", "p"], rows, set(range(1, 7)))


def wins_by_truth(first: Utterances, second: Utterances) -> tuple[Wins, str]:
    """Compare the i-th candidates, as many as both systems have; and a note on what decides equal facts.

    Raises:
        MetricUnavailable: captions, words or labels no longer exist, or the systems were scored about other attributes.
    """
    about = [set(one.score.meta.get("hallucination_attributes", ATTRIBUTES)) for one in (first, second)]
    if about[0] != about[1]:
        raise MetricUnavailable("needs scores with the same --hallucination_attributes")
    facts = [one.facts() for one in (first, second)]
    n = min(len(one) for one in facts)
    (a, b) = (one[:n] for one in facts)
    name = next((name for name in SIMILARITY if name in first.values and name in second.values), None)
    # rows of differences in favour of A; the first that is not 0 decides
    better = [b[..., 0] - a[..., 0], a[..., 1] - b[..., 1]]
    if name:
        better.append(np.nan_to_num(np.round(first.values[name][:n] - second.values[name][:n], 4)))
    sign = np.zeros(a.shape[:2])
    for difference in better:
        sign = np.where(sign == 0, np.sign(difference), sign)
    last = f"by {name}" if name else "a tie: no similarity to the references was scored for both"
    return _wins("truth", sign), f"win rate by truth: where attributes do not decide, {last}"


def wins_by_judge(first: Score, second: Score, ids: list[str], judge: Judge) -> tuple[Wins, str]:
    """Compare the first candidates by a language model; and a note on what it did not answer, or "".

    Raises:
        MetricUnavailable: captions no longer exist, or the LM answers for less than half of the utterances.
    """
    read = [read_examples(score) for score in (first, second)]
    if not all(read) or any(not set(ids) <= part.keys() for pair in read for part in pair):
        raise MetricUnavailable("needs the scored captions, which no longer exist")
    normalize = normalizer(first.meta.get("normalize", "none"))
    references = {utt: compared(read[0][0][utt], normalize) for utt in ids}
    own, others = ({utt: spoken(found[1][utt][0], normalize) for utt in ids} for found in read)
    question = choice(first.meta.get("lang", "zh"))
    found = {utt: preferred(pairs) for utt, pairs in chances(judge, question, references, own, others).items()}
    without = [utt for utt, value in found.items() if value is None]
    said = f"the judge gives no answer for {len(without)} of {len(ids)} utterances"
    if 2 * len(without) >= len(ids):
        raise MetricUnavailable(f"has too few answers: {said}; take another LM")
    values = np.array([[np.nan if found[utt] is None else found[utt] - 50 for utt in ids]])
    note = f"win rate by judge: {said} ({few(without)}): left out" if without else ""
    return _wins("judge", np.sign(values)), note


def _wins(by: str, sign: np.ndarray) -> Wins:
    """From 1 (A wins), 0 or -1 of (candidates, utterances); NaN: no result."""
    known = np.isfinite(sign)
    numbers = np.stack([np.where(known, 50 + 50 * np.nan_to_num(sign), 0), known], -1)
    addends = Addends(numbers, lambda sums: sums[..., 0] / sums[..., 1])
    drawn = np.round(bootstrap([addends])[0], 9)
    shares = [100 * float((sign == value).sum() / known.sum()) for value in (1, 0, -1)]
    rate = shares[0] + shares[1] / 2
    return Wins(by, *shares, rate, *interval(drawn), p_value(drawn - 50), int(known.any(0).sum()))
