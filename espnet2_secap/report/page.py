"""RESULTS.html: the report as a single file that needs no other file and no network."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

from espnet2_secap.errors import few
from espnet2_secap.metric.registry import column_order
from espnet2_secap.report.audio import Players, find_audio
from espnet2_secap.report.collect import Score, is_sanity, read_examples
from espnet2_secap.report.hallucinations import read_hallucinations
from espnet2_secap.report.listens import TITLE
from espnet2_secap.report.tables import label, score_table
from espnet2_secap.report.write import Report, commands, legend, title

# Characters that would end the script element or cannot be written to a file
_UNSAFE = re.compile("[<\u2028\u2029\ud800-\udfff]")


def page(report: Report, picture: bytes | None, players: Players) -> str:
    """The content of the HTML file.

    Args:
        report: its content.
        picture: PNG of the training curves, if there are any.
        players: provides and counts the addresses of the recordings.
    """
    sections = []
    for dset, scores in report.sets().items():
        if heard := report.listens[dset]:
            said = "".join(f"<p class='note'>{html.escape(note)}</p>\n" for note in heard.notes)
            shown = _scrolled(heard.table.html()) if heard.table else ""
            sections.append(_section(f"{TITLE} {title(dset, scores)}", shown + said))
        table, notes = score_table(scores, report.quoted)
        below = "".join(f"<p class='note'>{html.escape(note)}</p>\n" for note in [*notes, legend(scores)])
        sections.append(_section(title(dset, scores), _scrolled(table.html()) + below))
    sections += [_section(name, _scrolled(table.html())) for name, table in report.more_tables()]
    training = ""
    if picture:
        address = "data:image/png;base64," + base64.b64encode(picture).decode()
        alt = "Training and validation values of every experiment by epoch"
        training = _section("Training", f"<img src='{address}' alt='{alt}'>\n")
    data = {dset: _data(scores, report, players) for dset, scores in report.sets().items()}
    script = _read("page.js")
    parts = {
        "policy": _policy(script),
        "style": f"<style>\n{_read('page.css')}</style>",
        "command": html.escape(report.command),
        "tables": "\n".join(sections),
        "training": training,
        "audio": html.escape(_about_audio(players)),
        "commands": html.escape(commands(report.scores)),
        "data": _json(data),
        "script": f"<script>{script}</script>",
    }
    return re.sub(r"<!-- (\w+) -->", lambda match: parts[match[1]], _read("page.html"))


def _data(scores: list[Score], report: Report, players: Players) -> dict:
    """The data that the script shows for a set: values of its systems, and their captions."""
    systems = []
    for score in scores:
        spans = report.resampled.intervals(score)
        values = {
            name: [value["mean"], *spans.get(name, ())]
            for name, value in score.metrics.items()
            if value["mean"] is not None
        }
        systems.append({"name": score.shown, "kind": "sanity" if is_sanity(score.system) else "own", "values": values})
    below = report.quoted.below(scores[0].dset) if report.quoted else {}
    for name, values in below.items():
        systems.append({"name": name, "kind": "quoted", "values": {key: [float(it)] for key, it in values.items()}})
    metrics = column_order(name for system in systems for name in system["values"])
    return {"metrics": [[name, label(name)] for name in metrics], "systems": systems} | _captions(scores, players)


def _captions(scores: list[Score], players: Players) -> dict:
    """Columns (systems whose captions are available) and rows: id, references, captions by column, recording, and, if
    hallucinations are known, by column [candidate, kind, what, word, category, what is known] of each."""
    shown = [(score, found) for score in scores if (found := read_examples(score))]
    references, audio = {}, {}
    for score, (captions, _) in shown:
        references = captions | references
        if not audio:
            audio, outside = find_audio(score)
            players.outside |= dict.fromkeys((score.dset, utt) for utt in outside)
    utts = sorted(references)
    heard = [utt for utt in utts if utt in audio]
    addresses = dict(zip(heard, players.addresses([audio[utt] for utt in heard]), strict=True))
    faults = [read_hallucinations(score) for score, _ in shown]
    rows = [
        {
            "id": utt,
            "references": references[utt],
            "captions": [found[1].get(utt, []) for _, found in shown],
            "audio": addresses.get(utt),
        }
        | ({"faults": [_shortened((own or {}).get(utt, [])) for own in faults]} if any(faults) else {})
        for utt in utts
    ]
    return {"columns": [score.shown for score, _ in shown], "utterances": rows}


def _shortened(faults: list[dict]) -> list[list]:
    names = ("candidate", "kind", "what", "word", "names")
    return [[*(one.get(name, "") for name in names), ", ".join(one.get("against", []))] for one in faults]


def _about_audio(players: Players) -> str:
    outside = ""
    if players.outside:
        named = few([utt for _, utt in players.outside], 5)
        outside = (
            f" {len(players.outside)} recordings are not embedded because they are not in the folder of their wav.scp"
            f" ({named})."
        )
    return _found_audio(players) + outside


def _found_audio(players: Players) -> str:
    count = players.embedded + players.linked
    if not players.linked:
        return (
            f"All {count} recordings are in this file, as MP3."
            if count
            else "No recordings were found: there is no wav.scp in the folder of the references."
        )
    linked = "are linked and play only where this file can access them"
    if not players.embedded:
        return f"The {count} recordings {linked}."
    return f"{players.embedded} of {count} recordings are in this file, as MP3; the others {linked}."


def _policy(script: str) -> str:
    """What the page may load: itself and recordings. Only its own script runs, whatever a caption contains."""
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = ["default-src 'none'", f"script-src 'sha256-{own}'", "style-src 'unsafe-inline'", "img-src data:"]
    return "; ".join([*allowed, "media-src data: file: 'self'"])


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{content}</section>\n"


def _scrolled(table: str) -> str:
    return f"<div class='scroll'>\n{table}</div>\n"


def _json(data: dict) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
