import json
import re
import string

import pytest
from listening import design_of

from espnet2_secap.errors import SecError
from espnet2_secap.listen.page import LANGUAGES, page, page_file, policy_of, read_page, texts


@pytest.fixture
def design():
    return design_of(4, groups=3, per_utterance=1)


def test_all_languages_have_the_same_texts():
    found = [texts(language) for language in LANGUAGES]
    assert found[0].keys() == found[1].keys()
    assert all(len(one["scores"]) == 5 and len(one["steps"]) == len(one["questions"]) == 3 for one in found)
    assert all(re.search("[一-鿿]", json.dumps(found[0][name], ensure_ascii=False)) for name in found[0])


def test_every_text_of_the_page_is_there():
    from espnet2_secap.listen import page as module

    script, frame = module._read("page.js"), module._read("page.html")
    used = set(re.findall(r"\btext\.(\w+)", script)) | set(re.findall(r'data-text="(\w+)"', frame))
    assert used | {"title"} == texts("en").keys()


def test_hostile_captions_cannot_leave_their_place(design):
    hostile = "</script><script>alert(1)</script><!--\u2028"
    items = [vars(item) | {"caption": hostile} for item in design.groups[0]]
    other = type(design)(
        "en", design.systems, [[type(design.groups[0][0])(**item) for item in items]], design.seconds, 0
    )
    text = page(other, 1, dict.fromkeys(design.seconds, "data:,"), texts("en", instructions=hostile, consent=hostile))
    data = text.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["items"][0]["caption"] == hostile and text.count("<script") == 2


def test_policy_allows_the_own_script_alone(design):
    text = page(design, 1, dict.fromkeys(design.seconds, "data:,"), texts("zh"))
    policy = policy_of(text.encode())
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "connect-src 'self'" in policy
    assert "http" not in re.sub(
        r'http-equiv|startsWith\("http"\)', "", text.split('id="data">')[0] + text.split("</script>")[1]
    )
    assert policy_of(b"<html>") == "default-src 'none'"
    assert set(policy) <= set(string.printable) - {'"'}


def test_a_page_is_read_for_its_own_design_only(design, tmp_path):
    with pytest.raises(SecError, match="does not exist"):
        read_page(tmp_path, design, 1)
    page_file(tmp_path, 1).write_text(page(design, 1, dict.fromkeys(design.seconds, "data:,"), texts("en")))
    assert b"<!doctype html>" in read_page(tmp_path, design, 1)
    with pytest.raises(SecError, match="is not of the design"):
        read_page(tmp_path, design_of(3), 1)
