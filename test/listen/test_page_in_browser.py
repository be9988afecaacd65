"""The page in chromium: 15 listeners with mouse and keyboard, from a file and from the server."""

import json
import time

import browser
import pytest
from listening import SECONDS, prepare, serving

from espnet2_secap.bin import sec_listen
from espnet2_secap.listen.design import RATED
from espnet2_secap.listen.store import Store

pytestmark = pytest.mark.needs("browser")

LISTENERS = 15
RIGHT, LEFT = "\ue014", "\ue012"
SCORE = {"human": 5, "ours": 4, "label": 2}
STATE = "return JSON.parse(localStorage.getItem(Object.keys(localStorage)[0]))"
CLEAR = "localStorage.clear(); Storage.prototype.setItem = () => {};"  # which a page that is left would call
# Catches what the page saves: headless chromium keeps no downloads
CATCH = """
window.saved = [];
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => { blob.text().then((text) => window.saved.push(text)); return make.call(URL, blob); };
HTMLAnchorElement.prototype.click = function () { window.name_of_file = this.download; };
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    made = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("listening")
    return folder / "test", prepare(folder, utterances=3, per_utterance=1, practice=1, catch=1)


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def shown(window):
    return window.run("return ['start', 'item', 'end'].find((one) => !document.getElementById(one).hidden)")


def press(window, key):
    window.keys("body", key)


def hear(window):
    press(window, " ")
    wait_until(lambda: not window.run("return document.querySelector('#step-1').disabled"))


def open_page(window, address, code=None):
    window.requests(), window.console()
    window.open(address)
    window.run(CLEAR)
    window.open(address)
    wait_until(lambda: shown(window) == "start")
    begin(window, code)


def begin(window, code=None):
    if code:
        window.type("#code", code)
    window.click("#consent")
    window.click("#enter button")
    wait_until(lambda: shown(window) == "item")


def score_of(window, design, group):
    """What the simulated listener thinks of the item on the screen."""
    at = window.run(STATE)["at"]
    item = design.groups[group - 1][at]
    return SCORE[item.system] if item.kind == RATED else 1


def saved(window):
    window.run(CATCH)
    window.click("#save")
    wait_until(lambda: window.run("return window.saved.length"))
    return window.run("return window.saved[0]"), window.run("return window.name_of_file")


def quiet(window, address):
    """Nothing but the page itself was asked for, and nothing went wrong."""
    asked = {one for one in window.requests() if not one.startswith(("data:", "blob:", "chrome:"))}
    assert asked <= {address, address + "/answers"}, asked
    assert window.console() == []


@pytest.mark.slow(20)
def test_15_listeners_by_keyboard_and_what_they_said(window, made, tmp_path, capsys):
    folder, design = made
    files = []
    for listener in range(LISTENERS):
        group = listener % 3 + 1
        address = (folder / f"group_{group}.html").as_uri()
        open_page(window, address, f"L{listener:02}")
        for at in range(5):
            hear(window)
            press(window, str(score_of(window, design, group)))
            if at == 2 and listener < 3:  # closed and opened again
                before = window.run(STATE)
                window.open("about:blank")
                window.open(address)
                wait_until(lambda: shown(window) == "item")
                assert window.run(STATE)["answers"].keys() == before["answers"].keys()
                assert window.run(STATE)["at"] == 2
            press(window, RIGHT)
        assert shown(window) == "end"
        text, name = saved(window)
        assert name == f"answers_L{listener:02}.json"
        files.append(tmp_path / name)
        files[-1].write_text(text, encoding="utf-8")
        quiet(window, address)
    output = tmp_path / "out.md"
    words = ["--folder", str(folder), "--answers", *map(str, files), "--min_seconds", "0", "--output", str(output)]
    sec_listen.main(["analyse", *words])
    assert capsys.readouterr().err == ""
    found = json.loads((tmp_path / "out.json").read_text())
    assert [one["mean"] for one in found["all_listeners"]["mos"].values()] == [5, 4, 2]
    assert all(one["ratings"] == LISTENERS for one in found["all_listeners"]["mos"].values())
    assert len(found["listeners"]) == LISTENERS and not any(one["flags"] for one in found["listeners"])
    assert found["all_listeners"]["alpha"]["interval"] == pytest.approx(1)


def test_the_steps_give_the_score(window, made):
    folder, _ = made
    address = (folder / "group_1.html").as_uri()
    open_page(window, address, "code")

    def state():
        one = next(iter(window.run(STATE)["answers"].values()))
        enabled = [not window.run(f"return document.querySelector('#step-{at}').disabled") for at in (1, 2, 3)]
        return one["emotion"], one["match"], one["score"], enabled

    press(window, "5")  # not before the recording has been heard
    press(window, RIGHT)
    assert state() == (None, None, None, [False] * 3) and window.run(STATE)["at"] == 0
    assert window.texts("#listen-first") == ["Listen to the end before you answer."]
    hear(window)
    assert state()[3] == [True, False, False]
    press(window, "n")
    assert state() == (False, None, 1, [True, False, False]) and window.texts("#score") == ["Score: 1"]
    press(window, "y")
    assert state() == (True, None, None, [True, True, False])
    press(window, RIGHT)  # not without a score
    assert window.run(STATE)["at"] == 0
    press(window, "n")
    assert state() == (True, False, 2, [True, True, False])
    press(window, "y")
    assert state() == (True, True, None, [True] * 3)
    window.click("#step-3 button:nth-child(2)")
    assert state() == (True, True, 4, [True] * 3) and window.texts("#score") == ["Score: 4"]
    window.click("#step-1 button:nth-child(1)")  # the same answer again changes nothing
    assert state()[2] == 4
    for score in (1, 2, 3, 4, 5, 2, 5, 1):
        press(window, str(score))
        assert state()[:3] == (score > 1, None if score == 1 else score > 2, score)
    assert window.texts("#number") == ["Practice"]
    press(window, RIGHT)
    assert window.texts("#number") == ["1 / 4"]
    press(window, LEFT)
    assert window.texts("#score") == ["Score: 1"] and not window.run(
        "return document.querySelector('#step-1').disabled"
    )
    one = next(iter(window.run(STATE)["answers"].values()))
    assert one["plays"] == 1 and SECONDS < one["seconds"] < 60
    quiet(window, address)


def test_a_phone_by_touch_and_without_colour(window, made):
    """Buttons are large, nothing is wider than the screen, all have names."""
    folder, _ = made
    open_page(window, (folder / "group_2.html").as_uri(), "phone")
    window.run("document.body.style.width = '320px'")
    sizes = window.run("""const left = document.body.getBoundingClientRect().left;
        return [...document.querySelectorAll('#item button')].map((one) => {
        const box = one.getBoundingClientRect(); return [box.width, box.height, box.right - left, one.innerText]; })""")
    assert len(sizes) == 10 and all(width >= 44 and height >= 44 and name for width, height, _, name in sizes)
    assert max(right for *_, right, _ in sizes) <= 320
    pressed = window.run("return [...document.querySelectorAll('.choices button')].map((b) => b.ariaPressed)")
    assert pressed == ["false"] * 7
    assert window.run("return document.documentElement.lang") == "en"
    assert "width=device-width" in window.run("return document.querySelector('meta[name=viewport]').content")


def test_consent_is_asked_for(window, made):
    folder, _ = made
    address = (folder / "group_1.html").as_uri()
    window.open(address)
    window.run(CLEAR)
    window.open(address)
    window.type("#code", "x")
    window.click("#enter button")
    assert shown(window) == "start"
    window.click("#consent")
    window.type("#code", " ")
    window.click("#enter button")
    assert shown(window) == "start"


@pytest.mark.slow(10)
def test_served_listeners_send_answers_and_go_on_elsewhere(window, tmp_path):
    design = prepare(tmp_path, utterances=3, per_utterance=1)
    folder = tmp_path / "test"
    with serving(folder, 3) as pages:
        for name, (group, page) in pages.items():
            address = page.geturl()
            window.requests(), window.console()
            window.open(address)
            wait_until(lambda: shown(window) == "start")
            assert window.run("return document.querySelector('#code-line').hidden")
            begin(window)
            for at in range(3):
                hear(window)
                press(window, str(score_of(window, design, group)))
                press(window, RIGHT)
                if at == 0:
                    wait_until(lambda: len(window.run(STATE)["sent"]) == 1)
                    window.run(CLEAR)  # another device
                    window.open(address)
                    wait_until(lambda: shown(window) == "start")
                    begin(window)
                    assert window.run(STATE)["at"] == 1
            wait_until(lambda: window.texts("#what-now") == ["All answers have been sent. You can close the page."])
            assert f'"listener": "{name}"' in saved(window)[0]
            press(window, LEFT)
            window.run(CLEAR)
            quiet(window, address)
    store = Store(folder / "answers.sqlite", design)
    sheets = store.sheets()
    store.close()
    found = {
        (sheet.listener, design.items(sheet.group)[one.item].system): one.score
        for sheet in sheets
        for one in sheet.answers.values()
    }
    assert found == {(name, system): score for name in pages for system, score in SCORE.items()}


@pytest.mark.slow(10)
def test_answers_wait_while_the_server_is_away(window, tmp_path):
    design = prepare(tmp_path, utterances=3, per_utterance=1)
    folder = tmp_path / "test"
    with serving(folder, 3) as pages:
        group, page = pages["listener_001"]
        window.open(page.geturl())
        wait_until(lambda: shown(window) == "start")
        begin(window)
    for _ in range(3):
        hear(window)
        press(window, str(score_of(window, design, group)))
        press(window, RIGHT)
    wait_until(lambda: window.texts("#sent")[0].startswith("3 answers are not sent yet"))
    with serving(folder, 3, port=page.port):
        wait_until(lambda: window.texts("#sent") == [""], 30)
    store = Store(folder / "answers.sqlite", design)
    assert len(store.answers(page.path.rsplit("/", 1)[1])) == 3
    store.close()
    window.run(CLEAR)
    assert all("net::ERR_CONNECTION_REFUSED" in one for one in window.console())
    window.requests()
