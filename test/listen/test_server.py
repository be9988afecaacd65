"""The server as a process, over HTTP."""

import http.client
import json
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from listening import prepare, serving, simulate

from espnet2_secap.errors import SecError
from espnet2_secap.listen.answers import content_of
from espnet2_secap.listen.server import AT_ONCE, HEADERS, MOST_BYTES, Service, bind
from espnet2_secap.listen.store import Store

MEANS = {"human": 4.0, "ours": 3.5, "label": 2.5}
LISTENERS = 200


def ask(page, method="GET", path="/answers", body=None, headers=None):
    """Status, headers and body."""
    connection = http.client.HTTPConnection(page.netloc, timeout=60)
    try:
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"Content-Type": "application/json"} | (headers or {})
        connection.request(method, page.path + path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return folder / "test", prepare(folder, per_utterance=1, catch=1)


@pytest.fixture(scope="module")
def service(made):
    folder, design = made
    with serving(folder, LISTENERS) as pages:
        yield pages, design


def whole(design, name, group):
    sheet = simulate(design, group - 1, MEANS)
    sheet.listener = name
    return content_of(sheet, design)


@pytest.mark.slow(10)
def test_200_listeners_at_once_are_all_stored_once(service, made):
    pages, design = service
    folder, _ = made

    def take_part(name):
        group, page = pages[name]
        status, _, body = ask(page, path="")
        assert status == 200 and f'"group":{group}'.encode() in body
        content = whole(design, name, group)
        found = []
        for one in content["answers"]:  # each twice, as if the first reply had been lost
            for _ in range(2):
                status, _, body = ask(page, "POST", body=content | {"answers": [one]})
                found.append((status, json.loads(body)["stored"]))
        return found

    with ThreadPoolExecutor(LISTENERS) as pool:
        replies = list(pool.map(take_part, pages))
    assert len(replies) == LISTENERS
    assert all(found == [(200, 1), (200, 0)] * 7 for found in replies)
    store = Store(folder / "answers.sqlite", design)
    sheets = store.sheets()
    store.close()
    assert len(sheets) == LISTENERS
    for sheet in sheets:
        assert [vars(one) for one in sheet.answers.values()] == sorted(
            whole(design, sheet.listener, sheet.group)["answers"], key=lambda one: one["item"]
        )


def test_a_listener_goes_on_at_another_device(service):
    pages, design = service
    group, page = pages["listener_003"]
    content = whole(design, "listener_003", group)
    assert ask(page, "POST", body=content)[0] == 200
    status, _, body = ask(page)
    assert status == 200 and json.loads(body)["listener"] == "listener_003"
    assert {one["item"] for one in json.loads(body)["answers"]} == {one["item"] for one in content["answers"]}


def test_every_reply_has_the_headers(service):
    pages, _ = service
    page = pages["listener_001"][1]
    for path in ("", "/answers", "/none"):
        headers = ask(page, path=path)[1]
        for name, value in HEADERS.items():
            if (path, name) != ("", "Content-Security-Policy"):
                assert headers[name.lower()] == value
        assert "server" not in headers
    policy = ask(page, path="")[1]["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and re.search(r"script-src 'sha256-[\w+/=]+';", policy)


HOSTILE = [
    (415, b"{}", {"Content-Type": "text/plain"}),
    (400, b"", {"Content-Type": "application/json"}),
    (400, b"{", {"Content-Type": "application/json"}),
    (400, b"\xff", {"Content-Type": "application/json"}),
    (400, b"[" * 100000, {"Content-Type": "application/json"}),
    (400, b'{"a": ' + b"9" * 5000 + b"}", {"Content-Type": "application/json"}),
    (413, b" " * (MOST_BYTES + 1), {"Content-Type": "application/json"}),
]


@pytest.mark.parametrize(("status", "body", "headers"), HOSTILE)
def test_bodies_that_are_no_answers(service, status, body, headers):
    page = service[0]["listener_010"][1]
    assert ask(page, "POST", body=body, headers=headers)[0] == status


def test_a_body_without_length_is_cut_off(service):
    page = service[0]["listener_010"][1]
    connection = http.client.HTTPConnection(page.netloc, timeout=60)
    parts = (b" " * 65536 for _ in range(10))
    connection.request("POST", f"{page.path}/answers", parts, {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_content_that_is_refused_whole(service):
    pages, design = service
    name = "listener_011"
    group, page = pages[name]
    content = whole(design, name, group)
    before = ask(page)[2]
    one = content["answers"][0]
    bad = [
        content | {"design": "0" * 16},
        content | {"group": group % 3 + 1},
        content | {"group": 10**400},
        content | {"more": "x"},
        content | {"answers": [one, one | {"item": "<script>alert(1)</script>"}]},
        content | {"answers": [one, one | {"item": "'; DROP TABLE answers; --"}]},
        content | {"answers": [one, one | {"score": 6}]},
        content | {"answers": [one, [one]]},
        content | {"answers": [one, None]},
        {"answers": [one]},
    ]
    for body in bad:
        status, headers, reply = ask(page, "POST", body=body)
        assert status == 400 and headers["content-type"].startswith("text/plain") and b"\n" not in reply, reply
    assert ask(page)[2] == before


def test_addresses_that_are_nobodys(service, made):
    page = service[0]["listener_001"][1]
    token = page.path.rsplit("/", 1)[1]
    paths = [
        "/", "/t/", "/t/x", "/t/" + "x" * 5000, "/t/%00", "/t/%27%20OR%201=1", "/t/../design.json", "/design.json",
        "/t/%2e%2e%2fdesign.json", "/t/..%2f..%2fetc%2fpasswd", "/answers.sqlite", "/tokens.tsv", "/group_1.html",
        f"/t/{token}/../../design.json", f"/t/{token}/answers/x", f"/t/{token.lower()}x",
    ]  # fmt: skip
    secret = (made[0] / "design.json").read_bytes()[:100]
    for path in paths:
        status, _, body = ask(page._replace(path=""), path=path)
        assert status == 404 and len(body) < 100 and secret not in body, path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert ask(page, method)[0] == 405


def test_bytes_that_are_no_http_do_no_harm(service):
    page = service[0]["listener_001"][1]
    for content in (b"\x00" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"A" * 200000, b"GET /t/x HTTP/1.1\r\nHost"):
        with socket.create_connection((page.hostname, page.port), timeout=20) as raw:
            try:
                raw.sendall(content)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass
            except OSError:
                pass
    assert ask(page)[0] == 200


def test_acknowledged_answers_survive_kill_9(tmp_path):
    design = prepare(tmp_path, per_utterance=1)
    with serving(tmp_path / "test", 3, stop=signal.SIGKILL) as pages:
        group, page = pages["listener_002"]
        content = whole(design, "listener_002", group)
        assert ask(page, "POST", body=content)[0] == 200
    with serving(tmp_path / "test", 3) as again:
        assert again["listener_002"][1].path == page.path  # the same token
        assert len(json.loads(ask(again["listener_002"][1])[2])["answers"]) == len(content["answers"])


def test_what_cannot_be_served(tmp_path):
    design = prepare(tmp_path, per_utterance=1)
    folder = tmp_path / "test"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(SecError, match="--port .*: choose another|Address already in use"):
            bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(SecError, match="--host not.a.host"):
        bind("not.a.host.invalid", 0)
    page = folder / "group_2.html"
    content = page.read_text()
    page.write_text(content.replace(design.id, "0" * 16))
    with pytest.raises(SecError, match="group_2.html: is not of the design"):
        Service(folder)
    page.unlink()
    with pytest.raises(SecError, match="group_2.html: does not exist"):
        Service(folder)
    assert AT_ONCE >= 2 * LISTENERS
