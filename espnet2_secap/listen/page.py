"""The page of a group of listeners: one HTML file that needs no other file and no network."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

from espnet2_secap.errors import SecError
from espnet2_secap.listen.design import PRACTICE, Design

LANGUAGES = ("zh", "en")
# Characters that would end the script element or cannot be written to a file
_UNSAFE = re.compile("[<\u2028\u2029\ud800-\udfff]")


def texts(language: str, instructions: str | None = None, consent: str | None = None) -> dict:
    """What the page says, by name; `instructions` and `consent` stand for ours where they are given."""
    found = json.loads(_read(f"text_{language}.json"))
    own = {"instructions": instructions, "consent": consent}
    return found | {name: text for name, text in own.items() if text is not None}


def page(design: Design, group: int, audio: Mapping[str, str], text: Mapping) -> str:
    """The content of the HTML file of group 1, 2, ...

    Recordings are numbered and items have opaque ids: neither systems nor ids of utterances are in the page.

    Args:
        design: of the test.
        group: whose page it is.
        audio: utterance -> its recording as a data: address.
        text: of `texts`.
    """
    items = design.groups[group - 1]
    utts = list(dict.fromkeys(item.utt for item in items))
    data = {
        "design": design.id,
        "group": group,
        "text": dict(text),
        "audio": [audio[utt] for utt in utts],
        "items": [
            {
                "id": item.id,
                "audio": utts.index(item.utt),
                "caption": item.caption,
                "practice": item.kind == PRACTICE,
            }
            for item in items
        ],
    }
    script = _read("page.js")
    parts = {
        "lang": {"zh": "zh-CN"}.get(design.language, design.language),
        "policy": _policy(script),
        "title": html.escape(text["title"]),
        "style": f"<style>\n{_read('page.css')}</style>",
        "data": _json(data),
        "script": f"<script>{script}</script>",
    }
    return re.sub(r"<!-- (\w+) -->", lambda match: parts[match[1]], _read("page.html"))


def _policy(script: str) -> str:
    """What the page may load (Content-Security-Policy): itself; answers go to its own server only."""
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = ["default-src 'none'", f"script-src 'sha256-{own}'", "style-src 'unsafe-inline'", "img-src data:"]
    return "; ".join([*allowed, "media-src data:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"])


def policy_of(content: bytes) -> str:
    """The Content-Security-Policy that a page declares."""
    found = re.search(rb'http-equiv="Content-Security-Policy" content="([ -!#-~]+)"', content[:4096])
    return found[1].decode() if found else "default-src 'none'"


def page_file(folder: str | Path, group: int) -> Path:
    """Where the page of a group is."""
    return Path(folder) / f"group_{group}.html"


def read_page(folder: str | Path, design: Design, group: int) -> bytes:
    """The page of a group.

    Raises:
        SecError: it is missing, or of another design.
    """
    path = page_file(folder, group)
    if not path.is_file():
        raise SecError(f"{path}: does not exist; run sec_listen prepare again")
    content = path.read_bytes()
    if f'"design":"{design.id}"'.encode() not in content:
        raise SecError(f"{path}: is not of the design in {Path(folder) / 'design.json'}; run sec_listen prepare again")
    return content


def _json(data: dict) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
