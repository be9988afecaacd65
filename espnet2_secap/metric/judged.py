"""Metrics by a language model as the judge (judge.py): closeness of emotions, and preference over another system."""

from espnet2_secap.errors import few
from espnet2_secap.metric.abs_metric import (
    Context,
    Hypotheses,
    Metric,
    MetricUnavailable,
    References,
    ScoreFunction,
    Scores,
)
from espnet2_secap.metric.caption_file import read_caption_file
from espnet2_secap.metric.judge import Judge, Question, choice, closeness
from espnet2_secap.metric.normalize import says_something

Chances = dict[str, list[tuple[float, float] | None]]  # utterance -> for each reference, in both orders


def _judge(context: Context) -> Judge:
    cache = context.models.get("judge_cache")
    return context.loaded("judge", lambda path, device: Judge(path, cache, device), "judge")


def _prompt(context: Context, key: str) -> tuple[str, str | None]:
    return context.models.get("judge_lang", "zh"), context.models.get(key)


def _mean(each: dict[str, float | None], context: Context, what: str) -> Scores:
    """The mean of what is known; what the LM did not answer is told.

    Raises:
        MetricUnavailable: it did not answer for more than half of the utterances.
    """
    without = [utt for utt, value in each.items() if value is None]
    said = f"the judge gives no answer for {len(without)} of {len(each)} utterances"
    if 2 * len(without) >= len(each):
        raise MetricUnavailable(f"{said}; take another LM or prompt")
    if without:
        context.notes.append(f"{what}: {said} ({few(sorted(without))}): left out")
    known = [value for value in each.values() if value is not None]
    return sum(known) / len(known), each


def _both_orders(judge: Judge, question, references: References, hypotheses: Hypotheses):
    """Utterance -> for each reference both answers, where there are both; what says nothing is not asked."""
    places = [(utt, one) for utt in hypotheses if says_something(hypotheses[utt]) for one in references[utt]]
    forward = judge.closeness(question, [(one, hypotheses[utt]) for utt, one in places])
    backward = judge.closeness(question, [(hypotheses[utt], one) for utt, one in places])
    found: dict[str, list[tuple[float, float]]] = {utt: [] for utt in hypotheses}
    for (utt, _), a, b in zip(places, forward, backward, strict=True):
        if a is not None and b is not None:
            found[utt].append((a, b))
    return found


def judged(context: Context) -> ScoreFunction:
    """Mean answer of both orders for the closest reference, 1 as 0 and 5 as 100; 0 for a caption that says nothing."""
    judge, question = _judge(context), closeness(*_prompt(context, "judge_prompt"))

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each: dict[str, float | None] = {}
        for utt, pairs in _both_orders(judge, question, references, hypotheses).items():
            closest = max((25 * ((a + b) / 2 - 1) for a, b in pairs), default=None)
            each[utt] = closest if says_something(hypotheses[utt]) else 0.0
        return _mean(each, context, "judge")

    return score


def agreement(context: Context) -> ScoreFunction:
    """How far the two orders agree: 100 minus 25 times the mean difference of their answers."""
    judge, question = _judge(context), closeness(*_prompt(context, "judge_prompt"))

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each: dict[str, float | None] = {}
        for utt, pairs in _both_orders(judge, question, references, hypotheses).items():
            each[utt] = 100 - 25 * sum(abs(a - b) for a, b in pairs) / len(pairs) if pairs else None
        return _known(each)

    return score


def _known(each: dict[str, float | None]) -> Scores:
    known = [value for value in each.values() if value is not None]
    if not known:
        raise MetricUnavailable("the judge was asked nothing, or gives no answer")
    return sum(known) / len(known), each


def _choices(context: Context):
    """Function: references, hypotheses -> utterance -> for each reference how probable the caption is in each order.

    Raises:
        MetricUnavailable: no captions of another system, or not of all utterances.
    """
    judge = _judge(context)
    if "judge_against" not in context.models:
        raise MetricUnavailable("no captions to compare with; choose them with --judge_against FILE")
    file = context.models["judge_against"]
    question = choice(*_prompt(context, "judge_choice_prompt"))
    others = {utt: captions[0] for utt, captions in read_caption_file(file, system=True).items()}

    def asked(references: References, hypotheses: Hypotheses) -> Chances:
        if missing := sorted(hypotheses.keys() - others):
            raise MetricUnavailable(f"{file}: lacks {len(missing)} of the utterances ({few(missing)})")
        return chances(judge, question, references, hypotheses, others)

    return asked


def chances(
    judge: Judge, question: Question, references: References, hypotheses: Hypotheses, others: Hypotheses
) -> Chances:
    """Utterance -> for each reference how probable it is in each order that the caption is closer to it than the other
    one, or None without an answer. The judge is not asked where a caption says nothing, or both are the same."""
    found: Chances = {utt: [] for utt in hypotheses}
    triples = []
    for utt, caption in hypotheses.items():
        if not says_something(caption) or not says_something(others[utt]):
            found[utt] = [(float(says_something(caption)),) * 2]
        elif caption == others[utt]:
            found[utt] = [(0.5, 0.5)]
        else:
            triples += [(utt, (one, caption, others[utt])) for one in references[utt]]
    for (utt, _), pair in zip(triples, judge.choose(question, [one for _, one in triples]), strict=True):
        found[utt].append(pair)
    return found


def preferred(pairs: list[tuple[float, float] | None]) -> float | None:
    """The mean over the references of 100 for a caption that is preferred in both orders, 50 for one order, 0 for none;
    None if there is no answer."""
    known = [50.0 * sum(_step(p) for p in pair) for pair in pairs if pair is not None]
    return sum(known) / len(known) if known else None


def preference(context: Context) -> ScoreFunction:
    """How often a caption is closer to the reference than that of another system: 100 if it is in both orders, 0 if it
    is in none, 50 if the orders disagree; the mean over the references. 50: as good as the other."""
    asked = _choices(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each = {utt: preferred(pairs) for utt, pairs in asked(references, hypotheses).items()}
        return _mean(each, context, "judge_preference")

    return score


def _step(p: float) -> float:
    return 0.5 if p == 0.5 else float(p > 0.5)


def preference_agreement(context: Context) -> ScoreFunction:
    """Share of the questions with the same answer in both orders."""
    asked = _choices(context)

    def score(references: References, hypotheses: Hypotheses) -> Scores:
        each: dict[str, float | None] = {}
        for utt, pairs in asked(references, hypotheses).items():
            same = [100.0 * (_step(pair[0]) == _step(pair[1])) for pair in pairs if pair is not None]
            each[utt] = sum(same) / len(same) if same else None
        return _known(each)

    return score


METRICS = [
    Metric("judge", "judge", judged),
    Metric("judge_agreement", "judge, both orders", agreement, neutral=True),
    Metric("judge_preference", "judge, preferred", preference),
    Metric("judge_preference_agreement", "judge, preferred in both orders", preference_agreement, neutral=True),
]
