"""Tokenizers of causal LMs and text encoders, behind one small interface."""

from pathlib import Path

from espnet2_secap.errors import SecError


class SentencePieceTokenizer:
    """A folder with tokenizer.model and no tokenizer.json, as the original LLaMA has it.

    sentencepiece itself does the work: transformers 5 would convert the model to a fast tokenizer and lose the
    model's own normaliser on the way, so that prompts get other ids than those the LM was trained on.
    """

    def __init__(self, path: str):
        import sentencepiece

        self.sp = sentencepiece.SentencePieceProcessor(model_file=str(Path(path) / "tokenizer.model"))
        self.bos_id, self.eos_id = self.sp.bos_id(), self.sp.eos_id()
        for name, token in (("beginning", self.bos_id), ("end", self.eos_id)):
            if token < 0:
                raise SecError(f"{path}: tokenizer.model has no {name}-of-sentence token")
        self.vocab_size = self.sp.vocab_size()

    def encode(self, text: str) -> list[int]:
        """Text -> token ids, no special tokens added."""
        return self.sp.encode(text)

    def decode(self, ids: list[int]) -> str:
        """Token ids -> text; special tokens and ids beyond the model are dropped."""
        return self.sp.decode([i for i in ids if i < self.vocab_size and not self.sp.is_control(i)])


class TransformersTokenizer:
    """Every other folder or hub name: transformers' AutoTokenizer."""

    def __init__(self, path: str):
        from espnet2_secap.pretrained import load_pretrained

        self.tokenizer = load_pretrained("AutoTokenizer", path, "tokenizer")
        first = self.tokenizer.bos_token_id
        self.bos_id = first if first is not None else self.tokenizer.cls_token_id
        last = self.tokenizer.eos_token_id
        self.eos_id = last if last is not None else self.tokenizer.sep_token_id
        self.vocab_size = len(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Text -> token ids, no special tokens added."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        """Token ids -> text; special tokens are dropped."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def build_tokenizer(path: str) -> SentencePieceTokenizer | TransformersTokenizer:
    """The tokenizer of a transformers folder or hub name."""
    folder = Path(path)
    if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file():
        return SentencePieceTokenizer(path)
    return TransformersTokenizer(path)
