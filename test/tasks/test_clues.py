import json

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.tasks.clues import clue_ids, clues_by, clues_of


def test_clues_of_a_model_conf(tmp_path):
    assert clues_of({}).grammar.name == "zh" and clues_of({"clues_grammar": "en"}).texts("sad") == ["sad"]
    (tmp_path / "w.json").write_text(json.dumps({"emotion": {"x": ["sad"]}}))
    (clue,) = clues_of({"clues_grammar": "en", "clues_words": str(tmp_path / "w.json")})("sad")
    assert clue.kinds == (("emotion", "x"),)


def test_attributes_of_the_words_and_of_the_grammar():
    assert set(clues_by("zh").attributes) == {"intensity", "emotion", "rate", "volume", "pitch"}  # no quadrant, no ser6
    assert clues_by("en", "none").texts("very sad and melodious") == ["very", "sad", "melodious"]  # by part of speech
    with pytest.raises(SecError, match="no such words file"):
        clues_by("zh", "nowhere.json")


def test_ids_of_the_prompt():
    ids = clue_ids(clues_by("en"), lambda text: [ord(char) for char in text])
    assert "".join(map(chr, ids(["sad", "slow"]))) == "Feeling sad, slow." and ids([]) == []
