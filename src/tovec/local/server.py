"""`tovec serve`: a local model's endpoint behind HTTP, for tests and development.

Starlette and uvicorn (extra `serve`) are imported here and nowhere else, and only when called.
What is answered is decided in `endpoint`; here are only the cap on bodies, the threads that keep
the loop free, the log line of a request (never its text), and a shutdown that lets answers finish.
"""

from __future__ import annotations

import errno
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from tovec import __version__
from tovec.endpoint.transport import Reply
from tovec.errors import UsageError
from tovec.local import batch_routes, responder
from tovec.local.batch_routes import BatchApi, Download
from tovec.local.request_body import MAX_BODY, Refused, ServedModel

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

DESCRIPTION = Path(__file__).parent / "openapi.json"
A = TypeVar("A")

GRACE_SECONDS = 10  # for answers under way when a signal comes


@dataclass(frozen=True, slots=True)
class Served:
    """One request that was answered, as a log may say it: no text, no key, no query."""

    method: str
    path: str
    status: int
    seconds: float
    request_id: str
    fault: str = ""  # the kind of an exception that became status 500

    def __str__(self) -> str:
        line = f"{self.method} {self.path} {self.status} {self.seconds * 1000:.1f} ms"
        return f"{line} {self.request_id} {self.fault}".rstrip()


Log = Callable[[Served], None]


def run(
    host: str = "127.0.0.1",
    port: int = 8080,
    key_env: str | None = None,
    *,
    cors: Sequence[str] = (),
    served: ServedModel | None = None,
    environ: Mapping[str, str],
    listening: Callable[[str], None],
    log: Log | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; answers under way are finished, then the signal takes effect.

    `port` 0 takes any free one. `listening` is told the base URL once requests are accepted, `log`
    each request. Without `served` the embedded model answers. With `key_env`, requests must bring
    the key that this variable holds. Pages of the origins in `cors` may use the server from a
    browser ("*": of any).
    Raises UsageError when the extra is missing, the variable is empty or the address is not free.
    """
    key = _key(key_env, environ)
    app = create_app(key, log, cors, served)
    if served is not None:
        served.model.load()  # what is wrong with its files is said before anything listens
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                listening(url)

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with _listening_socket(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}/v1"
        Server(config).run(sockets=[listener])


def create_app(
    key: str | None = None,
    log: Log | None = None,
    cors: Sequence[str] = (),
    served: ServedModel | None = None,
) -> Starlette:
    """Return the ASGI application: the endpoint, and its description at `/openapi.json`."""
    try:
        import uvicorn  # noqa: F401 - belongs to the same extra
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.middleware import Middleware
        from starlette.middleware.cors import CORSMiddleware
        from starlette.responses import FileResponse, Response
        from starlette.routing import Route
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this needs {error.name}, which is not installed", hint="pip install 'tovec[serve]'"
        ) from None

    description = orjson.dumps(described())
    batch_api = BatchApi(served, key)

    async def describe(_request: Request) -> Response:
        return Response(description, media_type="application/json")

    async def embed(request: Request) -> Response:
        started = time.perf_counter()
        if batch_routes.is_routed(request.scope["path"]):
            answer, fault = await _batch_answer(request, batch_api)
        else:
            answer, fault = await _answered(request, key, served)
        status = 200 if isinstance(answer, Download) else answer.status
        if log is not None:
            seconds = time.perf_counter() - started
            path = request.scope["path"][:200]
            name = answer.headers.get("x-request-id", "")
            log(Served(request.method, path, status, seconds, name, fault))
        if isinstance(answer, Download):
            return FileResponse(answer.path, headers=dict(answer.headers))
        return Response(answer.body, status, dict(answer.headers))

    class Every:
        """All methods and paths: it is the endpoint that says 404 and 405."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            from starlette.requests import Request

            response = await embed(Request(scope, receive))
            await response(scope, receive, send)

    @asynccontextmanager
    async def loaded(_app: Starlette) -> AsyncIterator[None]:
        (served or responder.embedded()).model.load()
        yield
        await run_in_threadpool(batch_api.close)

    routes = [Route("/openapi.json", describe), Route("/{path:path}", Every())]
    allowed = Middleware(
        CORSMiddleware,
        allow_origins=list(cors),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["x-request-id"],
    )
    return Starlette(routes=routes, lifespan=loaded, middleware=[allowed] if cors else [])


def described() -> dict[str, Any]:
    """Return the endpoint's OpenAPI 3.1 description."""
    description: dict[str, Any] = orjson.loads(DESCRIPTION.read_bytes())
    description["info"]["version"] = __version__
    return description


async def _answered(
    request: Request, key: str | None, served: ServedModel | None
) -> tuple[Reply, str]:
    """Return the answer, and the name of the exception where it is a 500."""

    async def answer() -> Reply:
        from starlette.concurrency import run_in_threadpool

        body = await _body(request)
        path, headers = request.scope["path"], _headers(request)
        call = partial(
            responder.answer, request.method, path, headers, body, key=key, served=served
        )
        return await run_in_threadpool(call)

    return await _guarded(request.scope["path"], answer())


async def _batch_answer(request: Request, api: BatchApi) -> tuple[Reply | Download, str]:
    """Return the Batch API's answer, and the name of the exception where it is a 500.

    The body goes to a file: it may be a form of 200 MB.
    """
    path = request.scope["path"]

    async def answer() -> Reply | Download:
        from starlette.concurrency import run_in_threadpool

        responder.check_key(_headers(request), api.key)
        with tempfile.TemporaryFile() as body:
            size = 0
            async for part in request.stream():
                size += len(part)
                if size > batch_routes.max_body(path):
                    raise responder.too_large()
                body.write(part)
            body.flush()
            query = dict(request.query_params)
            return await run_in_threadpool(
                api.answer, request.method, path, query, _headers(request), body
            )

    return await _guarded(path, answer())


def _headers(request: Request) -> dict[str, str]:
    return {name.decode("latin-1"): v.decode("latin-1") for name, v in request.scope["headers"]}


async def _guarded(path: str, answer: Coroutine[Any, Any, A]) -> tuple[A | Reply, str]:
    """Return an answer, or the refusal that an exception means, and its name where it is a 500."""
    from starlette.requests import ClientDisconnect

    try:
        return await answer, ""
    except Refused as refused:
        return responder.refusal(path, refused), ""
    except ClientDisconnect:
        gone = Refused(400, "The body was cut short.")
        return responder.refusal(path, gone), "ClientDisconnect"
    except Exception as error:  # noqa: BLE001 - its words may hold the request's text: never shown
        message = "The server had an error while it answered this request."
        broken = Refused(500, message, kind="internal_server_error")
        return responder.refusal(path, broken), type(error).__name__


async def _body(request: Request) -> bytes:
    """Read the body up to the cap. uvicorn discards what is left, so that the answer arrives."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise responder.too_large()
        parts.append(part)
    return b"".join(parts)


def _key(key_env: str | None, environ: Mapping[str, str]) -> str | None:
    if key_env is None:
        return None
    key = environ.get(key_env, "").strip()
    if not key:
        raise UsageError(
            f"the environment variable {key_env} holds no key",
            hint=f"export {key_env}=..., or serve without a key",
        )
    return key


def _why_not(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses that port"
    return str(error.strerror).partition(" (")[0].lower()


def _listening_socket(host: str, port: int) -> socket.socket:
    """Bind the address. `port` 0: the system chooses, and the socket knows which."""
    where = f"{host}:{port}"
    if not 0 <= port <= 65_535:
        raise UsageError("a port is a number from 0 to 65535", where=where)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {where}: {_why_not(error)}",
            hint="choose another with --host and --port; port 0 takes any that is free",
        ) from None
    # Connections inherit it. asyncio leaves them as they are when the socket is not its own, and
    # each answer of two packets would wait 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
