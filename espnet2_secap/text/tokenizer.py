"""Tokenizers of causal LMs and text encoders, behind one small interface."""

import logging
import re
from pathlib import Path

from espnet2_secap.errors import SecError
from espnet2_secap.model_folder import check_tokenizer_folder

# Models whose positions begin after that of padding, so that max_position_embeddings is more than what they take.
AFTER_PADDING = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "data2vec-text", "ibert",
    "longformer", "xmod", "esm", "luke",
)  # fmt: skip
LETTERS = "\u2e80-\u2fff\u3005-\u3007\u3021-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
LETTERS += "\U00020000-\U0003ffff"  # Chinese and Japanese
WIDE = "\u3001-\u3004\u3008-\u3020\ufe30-\ufe4f\uff01-\uff65“”‘’…—·"  # their punctuation
NARROW = "0-9!-/:-@"  # digits and ASCII punctuation, which stand in their texts without blanks too
BLANKS = re.compile(
    rf" +(?=[{WIDE}])|(?<=[{WIDE}]) +|(?<=[{LETTERS}]) +(?=[{LETTERS}{NARROW}])|(?<=[{NARROW}]) +(?=[{LETTERS}])"
)


def join_words(text: str) -> str:
    """What WordPiece and the like put blanks into, as people write it: 语 速 较 快 ， 30 岁 -> 语速较快，30岁.

    Such a tokenizer cuts at every Chinese character, hyphen and apostrophe and forgets where a blank was. Blanks
    between Latin words, and Korean ones, are real.
    """
    if re.search(rf"[{LETTERS}]", text):
        text = BLANKS.sub("", text)
    return re.sub(r"(?<=\w) (['’-]) (?=\w)", r"\1", text)


def text_limit(config, tokenizer) -> int:
    """Tokens, special ones included, of the longest text that a text encoder takes.

    Args:
        config: of transformers.
        tokenizer: of transformers; None: its own limit is not known.
    """
    longest = getattr(config, "max_position_embeddings", None)
    longest = longest if isinstance(longest, int) and longest > 0 else 512
    if config.model_type in AFTER_PADDING:
        longest -= (config.pad_token_id or 0) + 1
    return min(longest, getattr(tokenizer, "model_max_length", longest))


def check_vocabulary(tokenizer, rows: int, path: str, what: str, special: bool = True) -> None:
    """See that an embedding has a row for every token; one of another model may have too few.

    Args:
        tokenizer: one of this module's, or of transformers.
        rows: of the embedding.
        path, what: the model's folder, and the option that named it, for the error.
        special: special tokens are given to the model. An LM gets those of its template only, which are checked there:
            many fine-tuned LLaMAs have a [PAD] without a row.

    Raises:
        SecError: which token has none.
    """
    if isinstance(tokenizer, SentencePieceTokenizer):
        name, last = tokenizer.sp.id_to_piece(tokenizer.vocab_size - 1), tokenizer.vocab_size - 1
    else:
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        never = {"", *([] if special else tokenizer.all_special_tokens)}  # "": of a blank line at the end of vocab.txt
        tokens = ((number, token) for token, number in tokenizer.get_vocab().items() if token not in never)
        last, name = max(tokens)
    if last >= rows:
        raise SecError(
            f"{what}: {path}: its tokenizer has the token {name!r} with number {last}, its embedding only {rows} rows"
            f" (0 to {rows - 1}); give the tokenizer of that model, or remove tokens that were added to it"
        )


class _Decoding:
    """What tokenizers share: text that is whole, whatever the LM said."""

    told = False  # that characters were dropped

    def _whole(self, text: str) -> str:
        """Without what bytes of half a character become; said once."""
        if "\ufffd" in text:
            if not self.told:
                logging.warning(
                    "A caption has bytes that are no whole character (cut off by max_length, or the LM's own mistake);"
                    " they are left out. Further ones are not reported."
                )
            self.told = True
        return text.replace("\ufffd", "")


class SentencePieceTokenizer(_Decoding):
    """A folder with tokenizer.model and no tokenizer.json, as the original LLaMA has it.

    sentencepiece itself does the work: transformers 5 would convert the model to a fast tokenizer and lose the
    model's own normaliser on the way, so that prompts get other ids than those the LM was trained on.
    """

    has_chat_template = False
    before_text: tuple[int, ...] = ()

    def __init__(self, path: str):
        import sentencepiece

        file = str(Path(path) / "tokenizer.model")
        try:
            self.sp = sentencepiece.SentencePieceProcessor(model_file=file)
        except (RuntimeError, OSError, ValueError) as err:
            raise SecError(f"{file}: is no sentencepiece model, or cut short; fetch it again") from err
        ids = (self.sp.bos_id(), self.sp.eos_id(), self.sp.unk_id())
        self.bos_id, self.eos_id, self.unk_id = (i if i >= 0 else None for i in ids)
        self.vocab_size = self.sp.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Text -> token ids, no special tokens added."""
        return self.sp.encode(text)

    def encode_whole(self, text: str, max_length: int) -> list[int]:
        """Text -> token ids between BOS and EOS, where the model has them; at most `max_length` in all."""
        first, last = ([one] if one is not None else [] for one in (self.bos_id, self.eos_id))
        room = _room(max_length, len(first) + len(last))
        return [*first, *self.encode(text)[:room], *last]

    def decode(self, ids: list[int]) -> str:
        """Token ids -> text; special tokens, unknown ones and ids beyond the model are dropped."""
        special = (self.sp.is_control, self.sp.is_unknown)
        known = [i for i in ids if 0 <= i < self.vocab_size and not any(test(i) for test in special)]
        return self._whole(self.sp.decode(known))


class TransformersTokenizer(_Decoding):
    """Every other folder or hub name: transformers' AutoTokenizer.

    `bos_id` is None where there is no BOS (Qwen2, Qwen3), and so `eos_id`. Causal LMs with BERT's tokenizer have its
    [CLS] and [SEP] instead.
    """

    def __init__(self, path: str):
        from espnet2_secap.pretrained import load_pretrained

        self.tokenizer = load_pretrained("AutoTokenizer", path, "tokenizer")
        if hasattr(self.tokenizer, "spm_target"):  # Marian's: what is read and what is written are of one language here
            self.tokenizer.current_spm = self.tokenizer.spm_target
        first, last = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        self.bos_id = first if first is not None else self.tokenizer.cls_token_id
        self.eos_id = last if last is not None else self.tokenizer.sep_token_id
        self.unk_id = self.tokenizer.unk_token_id
        self.vocab_size = len(self.tokenizer)
        self.keeps_blanks = self.encode("语 速") != self.encode("语速")

    @property
    def before_text(self) -> tuple[int, ...]:
        """Special tokens that stand before a text."""
        plain, whole = self.encode("a"), self.tokenizer.encode("a")
        at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
        return tuple(whole[:at])

    @property
    def has_chat_template(self) -> bool:
        """Whether the LM was trained on conversations of a given form."""
        return bool(self.tokenizer.chat_template)

    def encode(self, text: str) -> list[int]:
        """Text -> token ids, no special tokens added."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    encode_special = encode  # AutoTokenizer reads special tokens in the text as such

    def encode_whole(self, text: str, max_length: int) -> list[int]:
        """Text -> token ids with the special tokens that the model was trained with; at most `max_length` in all."""
        max_length = min(max_length, self.tokenizer.model_max_length)
        _room(max_length, self.tokenizer.num_special_tokens_to_add())
        return self.tokenizer.encode(text, truncation=True, max_length=max_length)

    def render_chat(self, messages: list[dict], ask: bool) -> str:
        """Messages as text by the chat template; `ask` begins the assistant's answer.

        Raises:
            SecError: the chat template refuses these messages.
        """
        try:
            # Thinking comes before the answer in some LMs; a caption is the answer itself.
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=ask, enable_thinking=False
            )
        except Exception as err:  # a template is a program: it may raise anything
            raise SecError(f"template chat: the chat template fails ({err}); use template: plain") from err

    def decode(self, ids: list[int]) -> str:
        """Token ids -> text; special tokens are dropped, and blanks that the tokenizer itself puts into Chinese."""
        text = self._whole(self.tokenizer.decode(ids, skip_special_tokens=True))
        return text if self.keeps_blanks else join_words(text)


def _room(max_length: int, special: int) -> int:
    """Tokens of text that fit beside the special ones."""
    if max_length <= special:
        raise SecError(f"max_length={max_length}: leaves no room beside {special} special tokens; raise it")
    return max_length - special


def build_tokenizer(path: str) -> SentencePieceTokenizer | TransformersTokenizer:
    """The tokenizer of a transformers folder or hub name."""
    folder = Path(path)
    if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file():
        check_tokenizer_folder(folder, "tokenizer")
        return SentencePieceTokenizer(path)
    return TransformersTokenizer(path)  # load_pretrained checks its folder
