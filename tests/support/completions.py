"""A server with OpenAI's completions on this machine, sound or spoiled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

__all__ = ["Answer", "answer", "logprob", "serving"]

Answer = Callable[[dict[str, Any], int], tuple[int, Any] | None]
"""The request and its number, from 1 -> status and body; None hangs up without an answer."""


def logprob(ids: list[int], place: int) -> float:
    """What the server says of an id: some number that depends on it and the one before."""
    return -1 - (7 * ids[place] + 3 * ids[place - 1]) % 11 / 10


def answer(request: dict[str, Any], _number: int) -> tuple[int, Any]:
    """As vLLM answers: of every id of the prompt but the first, and of one that is generated."""
    ids = request["prompt"]
    told = [None, *(logprob(ids, place) for place in range(1, len(ids))), -0.5]
    return 200, {"choices": [{"text": "", "logprobs": {"token_logprobs": told}}]}


@contextmanager
def serving(answers: Answer = answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and what was asked of it so far."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "made-up/1"
        sys_version = ""

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(json.loads(raw) | {"path": self.path})
            made = answers(asked[-1], len(asked))
            if made is None:
                self.close_connection = True
                return
            status, body = made
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
