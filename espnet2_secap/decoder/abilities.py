"""What an LM's code does with padding, attention masks and caches: known for some kinds, tried out for all others.

A search of our own (beam_sample.py) and batches of different lengths rest on assumptions that hold for LLaMA. Where one
does not hold for an LM, decoder/causal_lm.py goes another way: padding on the left, rows of one length at a time,
transformers' own search, or no cache. What no way makes right is refused when the decoder is built.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from espnet2_secap.decoder.beam_sample import beam_sample
from espnet2_secap.decoder.options import DecodingOptions
from espnet2_secap.decoder.transformers_search import transformers_search
from espnet2_secap.errors import SecError, shorten
from espnet2_secap.masks import positions, to_the_left

# Kinds for which all of it holds (a test tries each of them out), but for windows; the others are tried out.
KNOWN = frozenset(
    """
    apertus arcee cohere cohere2 deepseek_v2 deepseek_v3 ernie4_5 exaone4 gemma gemma2 gemma3_text glm glm4 gpt2
    gpt_neox gpt_oss granite granitemoe helium hunyuan_v1_dense llama minicpm3 mistral mixtral nemotron olmo olmo2 olmo3
    olmoe opt phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe smollm3 stablelm starcoder2
    """.split()
)
UNFIT = {"reformer": "its attention draws at random what it looks at"}
FREE = ("eager", "sdpa")  # implementations of attention that take a mask of each query's own
LENGTH, LESS, STEPS = 6, 2, 4  # positions of what is tried: the longer row, what the other lacks, tokens written
# Many searches, drawn from flat distributions: beams change places in some of them.
TRIED = DecodingOptions(
    sampling=True, num_candidates=4, beam_size=3, temperature=2.0, min_length=STEPS, max_length=STEPS
)


@dataclass(frozen=True)
class Abilities:
    """What holds for an LM.

    Args:
        positions: it takes position_ids that count from 0.
        tree: attention mask and position_ids alone say what each position sees and where it is.
        padding: padding on the left of a row changes nothing.
        cache: transformers' own search equals teacher forcing, with padding on the left if `padding`.
        window: attention looks back this many positions at most, as far as the configuration says; None: all of them.
        limit: beyond this many positions the LM rotates all of them otherwise (dynamic NTK, LongRoPE); None: never.
    """

    positions: bool = True
    tree: bool = True
    padding: bool = True
    cache: bool = True
    window: int | None = None
    limit: int | None = None

    def free(self, width: int) -> bool:
        """Whether padding may be anywhere among `width` positions, and our own search be used."""
        return self.tree and (self.window is None or width <= self.window)


def abilities_of(lm) -> Abilities:
    """Look up or try out what holds for a causal LM of transformers, in evaluation mode.

    Raises:
        SecError: it cannot be the decoder, and why.
    """
    name, config = type(lm).__name__, lm.config
    if config.model_type in UNFIT:
        raise refusal(name, UNFIT[config.model_type])
    given = dict(window=_window(config), limit=_limit(config))
    attention = config._attn_implementation in FREE
    both_ways = any(value for _, value in _values(config, ("bidirectional",)))
    if config.model_type in KNOWN and not both_ways:
        return Abilities(tree=attention, **given)
    if not attention:  # it may need a GPU, which the LM has not reached yet
        return Abilities(positions=takes(lm, "position_ids"), tree=False, padding=False, **given)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Abilities(**_try(lm), **given)


def takes(lm, name: str) -> bool:
    """Whether the LM's forward has a parameter of that name."""
    return name in _parameters(type(lm))


@functools.cache  # asked for at every step, and slow to find out
def _parameters(lm_class: type) -> frozenset[str]:
    return frozenset(inspect.signature(lm_class.forward).parameters)


def inputs_of(lm, abilities: Abilities, embeddings: torch.Tensor, mask: torch.Tensor, **further) -> dict:
    """Arguments of the LM's forward for embeddings (B, L, H) with mask (B, L); those that it has not are left out."""
    inputs = dict(inputs_embeds=embeddings, attention_mask=mask.long(), use_cache=False, **further)
    if abilities.positions:
        inputs["position_ids"] = positions(mask)
    return {key: value for key, value in inputs.items() if takes(lm, key)}


def rows_of_one_length(mask: torch.Tensor) -> Iterator[torch.Tensor]:
    """Indices of the rows of mask (B, L) that have the same number of real positions, for every such number."""
    lengths = mask.sum(1)
    for length in lengths.unique():
        yield (lengths == length).nonzero()[:, 0]


def refusal(name: str, reason: str) -> SecError:
    """Why an LM of that class cannot be the decoder."""
    return SecError(f"decoder_conf path: {name} cannot be the decoder: {reason}; take another LM")


def _try(lm) -> dict:
    """Compare the ways that the decoder may go with the plainest: one row, all at once, nothing but embeddings."""
    name, weight = type(lm).__name__, lm.get_input_embeddings().weight
    ids = _ids(lm, weight)

    def logits_of(embeddings: torch.Tensor, **further) -> torch.Tensor:
        return lm(inputs_embeds=embeddings.clone(), **further).logits  # some LMs scale what they are given in its place

    try:
        by_ids = lm(input_ids=ids).logits
    except Exception as err:  # whatever an LM's code says
        if "not implemented for" in str(err):  # 16 bits on a CPU
            return dict(positions=takes(lm, "position_ids"), tree=False, padding=False)
        raise refusal(name, f"it does not read token ids alone ({short_error(err)})") from err
    try:
        embeddings = lm.get_input_embeddings()(ids)
        whole = logits_of(embeddings)
        other = logits_of(torch.cat([embeddings[:, :-1], -embeddings[:, -1:]], dim=1))  # speech is no token's embedding
    except Exception as err:
        raise refusal(name, f"it does not read embeddings ({short_error(err)})") from err
    if whole.shape[:2] != ids.shape:
        raise refusal(name, f"its logits are of shape {tuple(whole.shape)} for {ids.size(1)} positions")
    tolerance = (1e-4 if weight.dtype == torch.float32 else 5e-2) * whole.float().std().item()

    def same(one: torch.Tensor, other: torch.Tensor) -> bool:
        return one.shape == other.shape and bool(((one.float() - other.float()).abs() <= tolerance).all())

    if not same(by_ids, whole):
        raise refusal(name, "it reads token ids beside their embeddings, and speech has none")
    if not same(other[:, :-1], whole[:, :-1]):
        raise refusal(name, "it is no causal LM: its tokens see those that come after them")

    def log_probs(embeddings: torch.Tensor, mask: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Mean log-probability of tokens (B, n) behind each row, without padding: (B,)."""
        means = []
        for row, real, own in zip(embeddings, mask, tokens, strict=True):
            sequence = torch.cat([row[real], lm.get_input_embeddings()(own)])[None]
            logits = logits_of(sequence)[0, -len(own) - 1 : -1]
            means.append(logits.float().log_softmax(-1).gather(1, own[:, None]).mean())
        return torch.stack(means)

    found = dict(positions=takes(lm, "position_ids"))
    if found["positions"]:
        counted = torch.arange(ids.size(1), device=ids.device)[None]
        found["positions"] = holds(lambda: same(logits_of(embeddings, position_ids=counted), whole))
    # Two rows: the second lacks two positions in its middle, where something else is that must not count.
    rows = embeddings.repeat(2, 1, 1)
    rows[1, 1 : 1 + LESS] = 7 * rows[0, -LESS:]
    mask = torch.ones(2, LENGTH, dtype=torch.bool, device=ids.device)
    mask[1, 1 : 1 + LESS] = False
    left = to_the_left(rows, mask)
    short = logits_of(rows[1, mask[1]][None])

    def forced(rows: torch.Tensor, mask: torch.Tensor) -> bool:
        logits = lm(**inputs_of(lm, Abilities(**found), rows.clone(), mask)).logits
        return same(logits[:1], whole) and same(logits[1, mask[1]][None], short)

    def searched(search, rows: torch.Tensor, mask: torch.Tensor, **options) -> bool:
        tokens, scores = search(lm, rows.clone(), mask, TRIED, [len(weight) - 1], **options)
        each = TRIED.num_candidates
        forced = log_probs(rows.repeat_interleave(each, 0), mask.repeat_interleave(each, 0), tokens)
        return same(scores, forced / TRIED.temperature)

    found["padding"] = holds(lambda: forced(*left))
    found["tree"] = found["positions"] and holds(lambda: forced(rows, mask) and searched(beam_sample, rows, mask))
    cached = left if found["padding"] else (rows[:1], mask[:1])
    found["cache"] = holds(lambda: searched(transformers_search, *cached))
    if not found["cache"] and not holds(lambda: searched(transformers_search, rows[:1], mask[:1], cache=False)):
        raise refusal(name, "transformers' search does not run with it")
    return found


def holds(check) -> bool:
    """Whether a way was gone without an error, to the same result."""
    try:
        return check()
    except Exception:  # of an LM's code, of any kind: this way is not for it
        return False


def _ids(lm, weight: torch.Tensor) -> torch.Tensor:
    """Some token ids (1, LENGTH), none of them padding."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(len(weight), generator=generator)[: LENGTH + 1]
    ids = ids[ids != (getattr(lm.config, "pad_token_id", None) or 0)][:LENGTH]
    return ids.to(weight.device)[None]


def short_error(err: Exception) -> str:
    """An error of an LM's code in one short line."""
    return shorten(" ".join(f"{type(err).__name__}: {err}".split()), 200)


def _values(config, names) -> Iterator[tuple[str, object]]:
    for name, value in config.to_dict().items():
        if any(part in name for part in names):
            yield name, value


def _window(config) -> int | None:
    """The shortest window or chunk of attention that a configuration names, by whatever name."""
    names = ("window", "chunk", "local_attention", "index_topk")
    found = _values(config.get_text_config(decoder=True), names)
    others = ("layers", "pattern", "feed_forward")  # counts of other things
    sizes = [value for name, value in found if type(value) is int and value > 0 and not any(o in name for o in others)]
    return min(sizes, default=None)


def _limit(config) -> int | None:
    """Where rotary positions begin to depend on the length of the whole text (dynamic NTK, LongRoPE)."""
    config = config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    for one in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if one.get("rope_type") in ("dynamic", "longrope"):
            originals = (
                one.get("original_max_position_embeddings"),
                config.to_dict().get("original_max_position_embeddings"),
            )
            return next(filter(None, (*originals, config.max_position_embeddings)))
    return None
