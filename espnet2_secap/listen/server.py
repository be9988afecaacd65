"""`sec_listen serve`: hands each listener the page of the group, and stores the answers."""

import json
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from espnet2_secap.errors import SecError, shorten
from espnet2_secap.listen.answers import Answer, check_answer, check_sheet
from espnet2_secap.listen.design import DATABASE, read_design
from espnet2_secap.listen.page import policy_of, read_page
from espnet2_secap.listen.store import Refused, Store

MOST_BYTES = 2**18  # of one request: a thousand answers
MOST_TOKEN = 64  # characters
AT_ONCE = 1000  # requests; what comes beyond gets 503, and the page tries again
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # a page has its own
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}


class _Bad(Exception):
    """A request that is refused: status and one line."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Service:
    """The answers to requests.

    Args:
        folder: of `sec_listen prepare`; the database is in it.

    Raises:
        SecError: design, a page or the database is missing or not of this test.
    """

    def __init__(self, folder: str | Path):
        self.design = read_design(folder)
        self.pages = [read_page(folder, self.design, group + 1) for group in range(len(self.design.groups))]
        self.store = Store(Path(folder) / DATABASE, self.design, make=True)

    def app(self) -> Callable[..., Awaitable]:
        """The ASGI application. Pages of unknown tokens and all other addresses are 404, and say nothing more."""
        routes = [
            Route("/t/{token}", _guarded(self.page), methods=["GET"]),
            Route("/t/{token}/answers", _guarded(self.kept), methods=["GET"]),
            Route("/t/{token}/answers", _guarded(self.put), methods=["POST"]),
        ]
        return _with_headers(Starlette(routes=routes))

    async def page(self, request: Request) -> Response:
        """The page of the listener's group."""
        _, _, group = await self._listener(request)
        content = self.pages[group - 1]
        allowed = {"Content-Security-Policy": f"{policy_of(content)}; frame-ancestors 'none'"}
        return Response(content, headers=allowed, media_type="text/html")

    async def kept(self, request: Request) -> Response:
        """The answers that are stored, so that a listener can go on at another device."""
        token, name, _ = await self._listener(request)
        answers = await run_in_threadpool(self.store.answers, token)
        return JSONResponse({"listener": name, "answers": [vars(one) for one in answers]})

    async def put(self, request: Request) -> Response:
        """Store answers, all of a request or none; the reply comes when they are on the disk."""
        token, _, group = await self._listener(request)
        answers = self._checked(await _read_json(request), group)
        stored = await run_in_threadpool(self.store.put, token, answers)
        return JSONResponse({"received": len(answers), "stored": stored})

    async def _listener(self, request: Request) -> tuple[str, str, int]:
        token = request.path_params["token"]
        found = await run_in_threadpool(self.store.listener, token) if len(token) <= MOST_TOKEN else None
        if found is None:
            raise _Bad(404, "no such page; check the link")
        return token, *found

    def _checked(self, content: object, group: int) -> list[Answer]:
        try:
            sheet, raw = check_sheet("request", content, self.design)
            answers = [check_answer(f"answer {at}", one) for at, one in enumerate(raw, 1)]
        except SecError as err:
            raise _Bad(400, str(err)) from None
        if sheet.group != group:
            raise _Bad(400, f"group {sheet.group}: the listener belongs to group {group}")
        items = self.design.asked(group)
        for one in answers:
            if one.item not in items:
                raise _Bad(400, f"item {shorten(one.item, 20)}: is not on the page of group {group}")
        return answers


async def _read_json(request: Request) -> object:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise _Bad(415, "the content must be application/json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise _Bad(413, f"the content is longer than {MOST_BYTES} bytes")
    try:
        return json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _Bad(400, "the content is not JSON") from None


def _guarded(handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Turn what goes wrong into a status and one line of plain text."""

    async def handled(request: Request) -> Response:
        try:
            return await handle(request)
        except _Bad as err:
            return PlainTextResponse(str(err), err.status)
        except Refused as err:
            return PlainTextResponse(str(err), 409)
        except ClientDisconnect:
            return PlainTextResponse("", 400)
        except SecError as err:  # the database; the page tries again
            logging.error(str(err))
            return PlainTextResponse("the answers cannot be stored now", 503)

    return handled


def _with_headers(app: Callable) -> Callable[..., Awaitable]:
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def wrapped(scope, receive, send):
        async def with_headers(message):
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                names = {name.lower() for name, _ in own}
                message["headers"] = own + [pair for pair in headers if pair[0] not in names]
            await send(message)

        await app(scope, receive, with_headers)

    return wrapped


def bind(host: str, port: int) -> socket.socket:
    """A socket for the server; port 0 takes a free one.

    Raises:
        SecError: the address or port cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as err:
        raise SecError(f"--host {shorten(host)} --port {port}: {err.strerror or err}; choose another one") from None


def run(service: Service, sock: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; tokens are in no log."""
    config = uvicorn.Config(
        service.app(), log_level="warning", access_log=False, server_header=False, limit_concurrency=AT_ONCE, ws="none"
    )  # fmt: skip
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        service.store.close()
