"""The page in chromium, with a mouse, a keyboard and ears."""

import time

import browser
import numpy as np
import pytest
import soundfile

from espnet2_secap.data.io import write_kaldi
from espnet2_secap.report.audio import Players
from espnet2_secap.report.collect import find_scores
from espnet2_secap.report.page import page
from espnet2_secap.report.quoted import read_quoted
from espnet2_secap.report.write import Report

pytestmark = pytest.mark.needs("browser")

HOSTILE = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 2">',
    "</script><script>window.hacked = 3</script>",
    "'${window.hacked = 4}` \\u003c &lt; &amp;",
    "\u2028line\u2029 😡🎧 مرحبا",
]
COUNT = 100  # utterances, more than are shown at once
METRICS = ["bleu_1", "rouge_l", "emotion_recall"]
WIDTH = """
const bars = [...document.querySelectorAll("#bars g")];
const bar = bars.find((one) => one.querySelector("title").textContent.startsWith(arguments[0] + ":"));
return bar.querySelector("rect").width.baseVal.value;
"""
SCROLL = """
const rows = document.querySelector("#rows");
rows.scrollTop = rows.scrollHeight;
return document.querySelectorAll("#utterances tbody tr").length;
"""
PLAY = """
const player = document.querySelectorAll("audio")[arguments[0]];
return player.play().then(() => player.duration);
"""


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    made = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def opened(window, scored, tmp_path):
    """The page of three systems; two recordings are in it, the third one is linked, the others have none."""
    references = {f"utt{at:03}": [f"reference {at}"] for at in range(COUNT)}
    references["utt001"] = ["很高兴", *HOSTILE]
    neutral = {utt: ["Neutral voice", "sad", "sad"] for utt in references}
    scored("sec_bad/decode", neutral, references, METRICS)
    scored("sec_good/decode", references | {"utt001": ["很高兴"]}, references, METRICS)
    scored("random_caption", neutral | {"utt001": [*HOSTILE, ""]}, references, METRICS[:2])
    paths = {f"utt{at:03}": tmp_path / "dump/test" / f"#{at}.wav" for at in range(3)}
    for path in paths.values():
        soundfile.write(path, 0.1 * np.sin(np.arange(2 * 16000) / 10), 16000)
    write_kaldi(tmp_path / "dump/test/wav.scp", paths)
    file = tmp_path / "exp" / "RESULTS.html"
    size = len(Players(file, 1).addresses([path])[0])
    report = Report(find_scores(tmp_path / "exp"), "sec_report", quoted=read_quoted("secap"))
    file.write_text(page(report, None, Players(file, 2.5 * size / 1e6)), encoding="utf-8")
    window.requests(), window.console()
    window.open(file.as_uri())
    yield window
    assert window.console() == []
    assert {address for address in window.requests() if not address.startswith(("data:", "chrome:"))} <= {
        file.as_uri(), paths["utt002"].as_uri()
    }  # fmt: skip
    assert window.run("return window.hacked === undefined")


def column(window, at):
    """What the columns' cells show in the first table, ours and what is quoted."""
    own = window.texts(f"#tables table:first-of-type tbody:not(.quoted) tr > :nth-child({at})")
    return own, window.texts(f"#tables table tbody.quoted tr > :nth-child({at})")


def order(window):
    return window.run(
        "return [...document.querySelectorAll('#tables thead th')].map((one) => one.getAttribute('aria-sort'))"
    )


def test_tables_are_sorted_by_a_click_and_by_keyboard(opened):
    names, quoted = column(opened, 1)
    assert names == ["sec_bad/decode", "sec_good/decode", "random_caption"] and len(quoted) == 6
    header = opened.texts("#tables thead th")
    rouge = header.index("ROUGE-L") + 1
    press = f"#tables thead th:nth-child({rouge}) button"
    opened.click(press)  # numbers: the highest first
    assert column(opened, 1)[0][0] == "sec_good/decode" and order(opened)[rouge - 1] == "descending"
    assert [float(value) for value in column(opened, rouge)[1]] == [28.49, 27.18, 25.16, 23.64, 23.37, 4.38]
    opened.keys(press, browser.ENTER)
    assert column(opened, 1)[0][-1] == "sec_good/decode" and order(opened)[rouge - 1] == "ascending"
    assert [float(value) for value in column(opened, rouge)[1]] == [4.38, 23.37, 23.64, 25.16, 27.18, 28.49]
    opened.click("#tables thead th:first-child button")  # names: from A
    assert column(opened, 1)[0] == ["random_caption", "sec_bad/decode", "sec_good/decode"]
    assert order(opened) == ["ascending", *[None] * (len(header) - 1)]
    emotion = header.index("emotion recall") + 1
    for wanted in (["100.00", "0.00 ±0.00", "-"], ["0.00 ±0.00", "100.00", "-"]):  # no value comes last either way
        opened.click(f"#tables thead th:nth-child({emotion}) button")
        assert column(opened, emotion)[0] == wanted


def test_chart_shows_the_chosen_metric(opened):
    def bars():
        return opened.run("return [...document.querySelectorAll('#bars g title')].map((one) => one.textContent)")

    assert opened.texts("#chart-metric option")[0] == "BLEU-1" and len(bars()) == 9
    opened.choose("#chart-metric", "sim1")  # what papers alone have
    assert [bar.split(" (")[0] for bar in bars()] == ["HTSAT-BART #1", *(f"SECap #{at}" for at in range(2, 7))]
    assert opened.run("return document.querySelectorAll('#bars .whisker').length") == 0
    opened.choose("#chart-metric", "rouge_l")
    bad = next(bar for bar in bars() if bar.startswith("sec_bad/decode: "))
    mean, low, high = map(float, bad.split(": ", 1)[1].replace(", 95%: ", " ").replace("to ", "").split())
    assert 0 < low < mean < high and f"{mean:.2f}" in opened.texts("#bars text")
    drawn = [opened.run(WIDTH, name) for name in ("sec_bad/decode", "sec_good/decode")]
    assert drawn[0] / drawn[1] == pytest.approx(mean / 100, abs=1e-3)
    assert opened.run("return document.querySelectorAll('#bars .whisker').length") == 3 * 3
    assert (
        opened.run("return document.querySelector('#bars svg').getAttribute('aria-label')") == "ROUGE-L of each system"
    )


def test_search_by_id_and_by_caption(opened):
    assert opened.texts("#found") == [f"{COUNT} of {COUNT} utterances"]
    assert opened.texts("#utterances thead th") == [
        "utterance", "by people", "sec_bad/decode", "sec_good/decode", "random_caption",
    ]  # fmt: skip
    for wanted, ids in {
        "UTT04": [f"utt04{at}" for at in range(10)],
        "reference 77": ["utt077"],
        "高兴": ["utt001"],
        "neutral  reference 55": ["utt055"],
        "nowhere": [],
    }.items():
        opened.type("#search", wanted)
        assert opened.texts("#utterances tbody th code") == ids, wanted
        assert opened.texts("#found") == [f"{len(ids)} of {COUNT} utterances"]
    opened.type("#search", "utt007")
    assert opened.texts("#utterances tbody td") == [
        "reference 7", "Neutral voice\nsad ×2", "reference 7", "Neutral voice\nsad ×2",
    ]  # fmt: skip


def test_columns_can_be_taken_away(opened):
    opened.click("#columns summary")
    opened.click("#columns label:nth-of-type(1) input")
    assert opened.texts("#utterances thead th")[2:] == ["sec_good/decode", "random_caption"]
    opened.click("#columns label:nth-of-type(3) input")
    opened.type("#search", "neutral")  # only what is shown is searched
    assert opened.texts("#found") == [f"0 of {COUNT} utterances"]


def test_rows_come_as_one_scrolls(opened):
    assert len(opened.texts("#utterances tbody tr")) == 40
    wait_until(lambda: opened.run(SCROLL) == COUNT)
    assert opened.run("return document.querySelector('#more').hidden")
    assert opened.texts("#utterances tbody th code")[-1] == f"utt{COUNT - 1:03}"


def test_hostile_captions_are_shown_as_they_are(opened):
    opened.type("#search", "utt001")
    cells = opened.run("return [...document.querySelectorAll('#utterances tbody li')].map((one) => one.textContent)")
    assert cells[1:6] == HOSTILE and cells[-6:] == [*HOSTILE, "(empty)"]
    opened.type("#search", "onerror=")
    assert opened.texts("#utterances tbody th code") == ["utt001"]
    assert opened.run("return document.querySelectorAll('main img').length") == 0


def test_recordings_play(opened):
    assert "2 of 3 recordings are in this file" in " ".join(opened.texts("#captions .note"))
    players = opened.run("return [...document.querySelectorAll('audio')].map((one) => one.getAttribute('src'))")
    assert [source[:11] for source in players] == ["data:audio/", "data:audio/", "../dump/tes"]
    for at in (0, 2):
        length = opened.run(PLAY, at)
        assert length == pytest.approx(2, abs=0.2)
        wait_until(
            lambda at=at: opened.run("return document.querySelectorAll('audio')[arguments[0]].currentTime", at) > 0
        )
    assert opened.run("return document.querySelectorAll('audio')[0].paused")  # one plays at a time


def test_named_for_who_does_not_see(opened):
    names = opened.run(
        "return [...document.querySelectorAll('input, select, audio, svg')].map((one) => "
        "one.getAttribute('aria-label') || (one.labels && one.labels[0] && one.labels[0].textContent.trim()))"
    )
    assert len(names) > 8 and all(names)


@pytest.fixture
def with_faults(window, scored, tmp_path):
    """A page of two systems whose hallucinations are known; the words of one caption come from a hostile person."""
    references = {"u1": ["很高兴，语速很快"], "u2": ["悲伤"], "u3": ["平静"]}
    metrics = ["hallucination_factuality", "coverage"]
    scored("sec_a", {"u1": ["愤怒，语速缓慢", "高兴"], "u2": [HOSTILE[0]], "u3": ["平静"]}, references, metrics)
    scored("sec_b", {"u1": ["高兴"], "u2": ["悲伤"], "u3": ["愤怒，愤怒"]}, references, metrics)
    file = tmp_path / "exp" / "RESULTS.html"
    file.write_text(page(Report(find_scores(tmp_path / "exp"), "sec_report"), None, Players(file, 0)), encoding="utf-8")
    window.console()
    window.open(file.as_uri())
    yield window
    assert window.console() == [] and window.run("return window.hacked === undefined")


def test_hallucinations_are_marked_and_filtered(with_faults):
    opened = with_faults
    assert opened.texts("#faults option") == [
        "all captions", "any (3)", "factuality (2)", "factuality: emotion (2)", "factuality: rate (1)",
        "faithfulness (1)", "faithfulness: attributes (1)", "faithfulness: language (1)",
        "faithfulness: length (1)",
    ]  # fmt: skip
    assert opened.texts("#utterances mark")[:2] == ["愤怒", "语速缓慢"]
    assert opened.texts("#utterances tbody tr:first-child td:nth-child(3) .fault") == [
        "emotion: 愤怒 (angry), not happy", "rate: 语速缓慢 (slow), not fast",
    ]  # fmt: skip
    assert opened.texts("#utterances tbody tr:first-child td:nth-child(3) li")[1] == "高兴"
    for wanted, ids in {
        "any": ["u1", "u2", "u3"],
        "factuality: rate": ["u1"],
        "factuality": ["u1", "u3"],
        "faithfulness: language": ["u2"],
        "": ["u1", "u2", "u3"],
    }.items():
        opened.choose("#faults", wanted)
        assert opened.texts("#utterances tbody th code") == ids, wanted
    opened.choose("#faults", "factuality: emotion")
    opened.click("#columns summary")
    opened.click("#columns label:nth-of-type(1) input")  # of the systems that are shown
    assert opened.texts("#utterances tbody th code") == ["u3"]


def test_without_hallucinations_there_is_no_filter(opened):
    assert opened.run("return document.querySelector('#faults-label').hidden")
    assert opened.run("return document.querySelectorAll('#utterances mark, #utterances .fault').length") == 0
