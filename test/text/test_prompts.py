import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.text.prompts import prompt_languages, read_prompts


def test_our_prompts_are_thirty_different_ones_in_each_language():
    assert prompt_languages() == ["en", "ja", "zh"]
    for language in prompt_languages():
        prompts = read_prompts(language)
        assert len(prompts) == len(set(prompts)) == 30
    assert all("情" in p or "心" in p or "感受" in p for p in read_prompts("zh"))


def test_japanese_prompts_ask_for_one_sentence_in_japanese():
    for prompt in read_prompts("ja"):
        assert prompt.endswith("。") and any("\u3040" <= c <= "\u309f" for c in prompt)
        assert "一文" in prompt or "一つ" in prompt, prompt


def test_bad_prompt_files(tmp_path):
    with pytest.raises(SecError, match="cannot be read .*give a UTF-8 file, or one of en, ja, zh"):
        read_prompts(str(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(SecError, match="holds no prompt"):
        read_prompts(str(tmp_path / "empty.txt"))
