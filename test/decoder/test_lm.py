import pytest

from espnet2_secap.decoder.lm import _end_ids, ranked, until_end
from espnet2_secap.errors import SecError


def test_candidates_are_ranked_within_their_utterance():
    candidates, values = ranked([[1], [2], [3], [4], [5], [6]], [0.1, 0.3, 0.2, 9.0, 7.0, 8.0], 3)
    assert candidates == [[[2], [3], [1]], [[4], [6], [5]]] and values == [[0.3, 0.2, 0.1], [9.0, 8.0, 7.0]]


def test_ids_before_the_first_end():
    assert until_end([5, 6, 2, 7, 3], (3, 2)) == [5, 6]
    assert until_end([5, 6], (2,)) == [5, 6] and until_end([2], (2,)) == []


def test_ends_by_the_lms_own_configuration():
    class Conf:
        def __init__(self, ends):
            self.eos_token_id = ends

    class LM:
        def __init__(self, generation, ends):
            self.generation_config, self.config = generation, Conf(ends)

    assert _end_ids(LM(Conf(7), 3)) == [7] and _end_ids(LM(Conf([7, 8]), 3)) == [7, 8]
    assert _end_ids(LM(None, 3)) == [3] and _end_ids(LM(Conf(None), 3)) == []
    for bad in ("</s>", [1, "</s>"], 1.5):
        with pytest.raises(SecError, match="generation_config.json.*eos_token_id .*: must be an id or a list of ids"):
            _end_ids(LM(Conf(bad), 3))
