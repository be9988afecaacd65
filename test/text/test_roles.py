import subprocess
import sys

import pytest

from espnet2_secap.errors import SecError
from espnet2_secap.text.roles import (
    CLUES,
    CONDITIONS,
    OF_BRIDGE,
    OF_TEXT,
    ROLES,
    condition_of,
    has_bridge,
    reads_clues,
    reads_text,
)


def test_names_are_roles():
    assert set(CONDITIONS) <= set(ROLES) and {*OF_TEXT, *OF_BRIDGE, CLUES} == set(CONDITIONS)


def test_the_condition_of_a_configuration():
    assert condition_of(None) == condition_of({"mixup": 0.1}) == ("queries",)
    assert condition_of({"condition": ["transcript", "queries"]}) == ("transcript", "queries")
    assert [reads_text(one) for one in (["queries"], ["transcript"], ["text_queries", "queries"])] == [
        False,
        True,
        True,
    ]
    assert [reads_clues(one) for one in (["queries"], ["queries", "clues"], ["teacher_clues"])] == [False, True, True]
    assert [has_bridge(one) for one in (["queries"], ["transcript"], ["text_queries"])] == [True, False, True]


@pytest.mark.parametrize(
    "condition, message",
    [
        ("queries", "condition 'queries': must be a list, such as"),
        (None, "must be a list"),
        (
            [],
            r"condition \[\]: the decoder would read nothing of an utterance; give one or more of queries, transcript",
        ),
        (["queries", "text"], r"condition \[queries, text\]: 'text' is unknown; expected one or more of queries"),
        ([["queries"]], "is unknown"),
        (["transcript", "queries", "transcript"], "'transcript' stands there twice; leave one out"),
    ],
)
def test_a_wrong_condition_is_one_line(condition, message):
    with pytest.raises(SecError, match=message) as error:
        condition_of({"condition": condition})
    assert "\n" not in str(error.value)


def test_no_library_is_loaded():
    code = "import sys, espnet2_secap.text.roles; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
