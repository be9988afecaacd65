"""Tokenizers of causal LMs and text encoders, behind one small interface."""

from pathlib import Path

from espnet2_secap.errors import SecError


class SentencePieceTokenizer:
    """A folder with tokenizer.model and no tokenizer.json, as the original LLaMA has it.

    sentencepiece itself does the work: transformers 5 would convert the model to a fast tokenizer and lose the
    model's own normaliser on the way, so that prompts get other ids than those the LM was trained on.
    """

    has_chat_template = False

    def __init__(self, path: str):
        import sentencepiece

        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(Path(path) / "tokenizer.model"))
        self.bos_id, self.eos_id = (i if i >= 0 else None for i in (self.sp.bos_id(), self.sp.eos_id()))
        self.vocab_size = self.sp.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Text -> token ids, no special tokens added."""
        return self.sp.encode(text)

    def encode_whole(self, text: str, max_length: int) -> list[int]:
        """Text -> token ids between BOS and EOS, where the model has them; at most `max_length` in all."""
        first, last = ([one] if one is not None else [] for one in (self.bos_id, self.eos_id))
        return [*first, *self.encode(text)[: max_length - len(first) - len(last)], *last]

    def decode(self, ids: list[int]) -> str:
        """Token ids -> text; special tokens and ids beyond the model are dropped."""
        return self.sp.decode([i for i in ids if i < self.vocab_size and not self.sp.is_control(i)])


class TransformersTokenizer:
    """Every other folder or hub name: transformers' AutoTokenizer.

    `bos_id` is None where there is no BOS (Qwen2, Qwen3), and so `eos_id`. Causal LMs with BERT's tokenizer have its
    [CLS] and [SEP] instead.
    """

    def __init__(self, path: str):
        from espnet2_secap.pretrained import load_pretrained

        self.tokenizer = load_pretrained("AutoTokenizer", path, "tokenizer")
        first, last = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        self.bos_id = first if first is not None else self.tokenizer.cls_token_id
        self.eos_id = last if last is not None else self.tokenizer.sep_token_id
        self.vocab_size = len(self.tokenizer)

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
        return self.tokenizer.encode(text, truncation=True, max_length=min(max_length, self.tokenizer.model_max_length))

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
        """Token ids -> text; special tokens are dropped."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def build_tokenizer(path: str) -> SentencePieceTokenizer | TransformersTokenizer:
    """The tokenizer of a transformers folder or hub name."""
    folder = Path(path)
    if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file():
        return SentencePieceTokenizer(path)
    return TransformersTokenizer(path)
