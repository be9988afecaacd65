"""Instructions to the language model: a file of them, or the package's own in a language."""

from pathlib import Path

from espnet2_secap.data.text_file import read_lines
from espnet2_secap.errors import SecError

FOLDER = Path(__file__).parent


def prompt_languages() -> list[str]:
    """The languages of which the package has instructions: those of prompts_<language>.txt."""
    return sorted(path.stem.removeprefix("prompts_") for path in FOLDER.glob("prompts_*.txt"))


def read_prompts(path: str | None) -> list[str]:
    """Instructions, one per line: a file, or a language ("zh", "en", "ja") for the package's own thirty.

    Raises:
        SecError: no such file, not UTF-8, or nothing in it.
    """
    if path in prompt_languages():
        path = FOLDER / f"prompts_{path}.txt"
    own = ", ".join(prompt_languages())
    try:
        prompts = read_lines(path)
    except (OSError, SecError) as err:
        raise SecError(f"prompts: cannot be read ({err}); give a UTF-8 file, or one of {own}") from err
    if not prompts:
        raise SecError(f"prompts: {path}: holds no prompt; write one per line")
    return prompts
