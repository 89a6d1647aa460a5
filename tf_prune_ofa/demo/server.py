"""The page's server: Python's own, on loopback, with a bound on all that comes in."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from tf_prune_ofa.demo.contest import LONGEST_TEXT, MOST_RUNS, Contest
from tf_prune_ofa.errors import UserError

LOOPBACK = "127.0.0.1"
# A text of 20,000 characters, twice, of up to six bytes each as JSON writes them.
LARGEST_REQUEST = 12 * LONGEST_TEXT + 1024
MOST_CONNECTIONS = 512
PATIENCE_SECONDS = 15  # with a client that sends nothing
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # Nothing but what this server sends itself; no frame around it.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src "
    "'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'",
}


class Refused(Exception):
    """A request that is not answered; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class DemoServer(ThreadingHTTPServer):
    """A thread for each connection, a bounded number of them."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, contest: Contest, *, host: str = LOOPBACK, port: int = 0) -> None:
        """Listen, without serving yet.

        Args:
            contest: the open files.
            host: address to listen on.
            port: 0 for a free one.

        Raises:
            UserError: the address cannot be had.
        """
        self.contest = contest
        self.page = resources.files(__package__).joinpath("page.html").read_bytes()
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        # A page of elsewhere that leads its own name here would read what is typed.
        names = {host, "localhost", LOOPBACK}
        self.hosts = {f"{name}:{self.server_port}" for name in names}

    @property
    def address(self) -> str:
        """Of the page."""
        host = str(self.server_address[0])
        return f"http://{host}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for a free place before a thread begins."""
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that went away; others are shown."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError | socket.timeout):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tf_prune_ofa", ""
    timeout = PATIENCE_SECONDS

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what is typed stays between the page and the files."""

    def _answer(self, of: Any) -> None:
        try:
            if self.headers.get("Host", "") not in self.server.hosts:
                raise Refused(403, "this page is served to this machine by its own name only")
            kind, content = of()
            self._send(200, kind, content)
        except Refused as refused:
            # What is left of the request is not read.
            self.close_connection = True
            self._send_json(refused.status, {"error": str(refused)})
        except UserError as error:
            self._send_json(422, {"error": str(error)})

    def _get(self) -> tuple[str, bytes]:
        if self.path == "/":
            return "text/html; charset=utf-8", self.server.page
        if self.path == "/about":
            return "application/json", _json(self.server.contest.about())
        raise Refused(404, f"there is no {self.path[:80]} here")

    def _post(self) -> tuple[str, bytes]:
        if self.path != "/ask":
            raise Refused(404, f"there is no {self.path[:80]} here")
        if self.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise Refused(415, "send JSON, with Content-Type: application/json")
        asked = parsed(self.rfile.read(self._length()))
        return "application/json", _json(self.server.contest.ask(**asked))

    def _length(self) -> int:
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit() and len(text) < 12):
            raise Refused(411, "the request must say how long it is")
        if int(text) > LARGEST_REQUEST:
            raise Refused(413, f"a request may have {LARGEST_REQUEST} bytes, this one has {text}")
        return int(text)

    def _send_json(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, "application/json", _json(value))

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def parsed(content: bytes) -> dict[str, Any]:
    """Return the arguments of `Contest.ask` from the body of a request.

    Raises:
        Refused: it is not what the page sends.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"this is no JSON: {str(error)[:80]}") from error
    if not isinstance(value, dict) or set(value) - {"text", "second", "runs"}:
        raise Refused(400, "send an object with text, and perhaps second and runs")
    text, second, runs = value.get("text"), value.get("second", ""), value.get("runs", 5)
    if not isinstance(text, str) or not text.strip() or not isinstance(second, str):
        raise Refused(400, "text must be some text, second too where it is given")
    if max(len(text), len(second)) > LONGEST_TEXT:
        raise Refused(413, f"a text may have {LONGEST_TEXT:,} characters")
    if not isinstance(runs, int) or isinstance(runs, bool) or not 1 <= runs <= MOST_RUNS:
        raise Refused(400, f"runs must be a whole number from 1 to {MOST_RUNS}")
    return {"text": text, "second": second, "runs": runs}


def _json(value: Any) -> bytes:
    # Half of a surrogate pair, which JSON may carry, has no UTF-8.
    return json.dumps(value).encode("ascii")
