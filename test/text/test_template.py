import pytest
import torch
from tiny import CHAT, make_qwen

from espnet2_secap.errors import SecError
from espnet2_secap.text.template import Segment, Template, build_template
from espnet2_secap.text.tokenizer import build_tokenizer

MAKES = ("queries", "instruction")


@pytest.fixture(scope="module")
def llama(tiny_llama):
    return build_tokenizer(tiny_llama)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return build_tokenizer(str(make_qwen(tmp_path_factory.mktemp("qwen"), CHAT)))


def test_plain_and_released_order(llama):
    assert build_template("auto", {}, llama, MAKES, [2]) == Template(((1,), "queries", "instruction"), 2, (2,))
    released = build_template("secap", {}, llama, MAKES)
    assert released.order == ((1,), "queries", (1,), "instruction")


@pytest.mark.parametrize("name", ["plain", "secap", "chat"])
@pytest.mark.parametrize(
    "condition",
    [("transcript",), ("text_queries",), ("transcript", "queries"), ("queries", "transcript", "text_queries")],
)
def test_text_and_speech_stand_in_the_order_of_the_condition(llama, qwen, name, condition):
    tokenizer = qwen if name == "chat" else llama
    template = build_template(name, {}, tokenizer, (*condition, "instruction"))
    begin, *middle, last = [item for item in template.order if name != "chat" or item != template.order[-1]]
    second = ((1,),) if name == "secap" else ()
    assert (tuple(middle), last) == ((*condition, *second), "instruction") and not isinstance(begin, str)
    assert build_template(name, template.conf(), tokenizer, ()) == template, "what config.yaml keeps"


def test_an_order_of_ones_own_stays(llama):
    makes = ("transcript", "queries", "instruction")
    order = ["bos", "queries", "instruction", "transcript", [7]]
    assert build_template("plain", {"order": order}, llama, makes).order[1:] == (*order[1:4], (7,))
    with pytest.raises(SecError, match="'transcript' is the last, and an utterance without any has nothing there"):
        build_template("plain", {"order": order[:4]}, llama, makes)


def test_an_lm_without_bos_gets_none(qwen):
    assert qwen.bos_id is None
    assert build_template("plain", {}, qwen, MAKES).order == MAKES
    assert build_template("secap", {}, qwen, MAKES).order == MAKES


def test_the_chat_template_of_the_lm(qwen):
    template = build_template("auto", {}, qwen, MAKES, [1, 0])
    before, queries, instruction, after = template.order
    assert (queries, instruction) == MAKES
    assert qwen.tokenizer.decode(before) == "<|im_start|>user\n"
    assert qwen.tokenizer.decode(after) == "<|im_end|>\n<|im_start|>assistant\n"
    assert template.end == 1 and template.ends == (1, 0), "<|im_end|>, and <|endoftext|> by the LM's configuration"


def test_a_chat_template_that_drops_the_message(tmp_path):
    tokenizer = build_tokenizer(str(make_qwen(tmp_path, "hello")))
    with pytest.raises(SecError, match="drops or repeats messages; use template: plain"):
        build_template("chat", {}, tokenizer, MAKES)
    tokenizer.tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(SecError, match="the chat template fails .*no system role"):
        build_template("chat", {}, tokenizer, MAKES)


def test_an_order_of_ones_own(llama):
    template = build_template("plain", {"order": ["instruction", [7, 8], "queries"], "ends": [5, 2]}, llama, MAKES)
    assert template.order == ("instruction", (7, 8), "queries") and template.end == 2 and template.ends == (2, 5)
    assert build_template("plain", template.conf(), llama, MAKES) == template, "what config.yaml keeps"
    for conf, message in [
        ({"order": ["bos", "queries", "clues", "instruction"]}, "nothing makes 'clues'; this model makes queries, ins"),
        ({"order": ["bos", "instruction"]}, "'queries', which this model makes, is not in it"),
        ({"order": ["bos", "query"]}, "'query', expected one of bos"),
        ({"orders": []}, "unknown key 'orders'"),
    ]:
        with pytest.raises(SecError, match=message):
            build_template("plain", conf, llama, MAKES)
    assert build_template("plain", {"order": ["queries"]}, llama, MAKES).order == ("queries",), "no instruction"
    with pytest.raises(SecError, match="template: 'lama', expected one of auto"):
        build_template("lama", {}, llama, MAKES)


def test_segments_are_put_in_order():
    ones = torch.ones(3, 2, dtype=torch.bool)
    made = {"queries": Segment(torch.randn(3, 2, 4), ones), "instruction": Segment(torch.full((3, 2), 9), ones)}
    first, instruction, queries = Template(((1, 5), "instruction", "queries"), 2, (2,)).arrange(made)
    assert first.content.tolist() == [[1, 5]] * 3 and first.mask.all() and first.is_ids
    assert instruction is made["instruction"] and queries is made["queries"] and not queries.is_ids
    with pytest.raises(SecError, match="'clues' is in the order, but nothing makes it"):
        Template(("queries", "clues", "instruction"), 2, (2,)).arrange(made)
    with pytest.raises(SecError, match="'queries' has no place"):
        Template(("instruction",), 2, (2,)).arrange(made)
    assert Template(("queries",), 2, (2,)).arrange(made) == [made["queries"]], "an instruction may be left out"


def test_a_tokenizer_without_end(llama):
    class Endless:
        bos_id = eos_id = None
        has_chat_template = False

    with pytest.raises(SecError, match="no end-of-sentence token; give template_conf end: ID"):
        build_template("plain", {}, Endless(), MAKES)
    assert build_template("plain", {"end": 7}, Endless(), MAKES) == Template(MAKES, 7, (7,))


def test_ids_that_the_lm_has_not(llama):
    for conf in ({"end": 400}, {"end": 2, "ends": [-1]}, {"order": ["queries", "instruction", [999]]}, {"end": "2"}):
        with pytest.raises(SecError, match="template_conf: .* is no token of the LM; expected ids of 0 to 399"):
            build_template("plain", conf, llama, MAKES, rows=400)
    assert build_template("plain", {"end": 399}, llama, MAKES, rows=400).end == 399


def test_an_end_that_only_the_lms_configuration_knows():
    class Endless:
        bos_id = eos_id = None
        has_chat_template = False

    assert build_template("plain", {}, Endless(), MAKES, [7, 8]) == Template(MAKES, 7, (7, 8))
