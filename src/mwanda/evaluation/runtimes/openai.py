"""A server with OpenAI's completions that tells log-probabilities of a prompt, as vLLM's.

Nothing but the address that the user gave is asked: no proxy, and no redirection is followed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from mwanda.errors import DataError, InputError, MwandaError, shown
from mwanda.evaluation.runtimes.runtime import Asked, Runtime
from mwanda.evaluation.token_batches import Piece

PATH = "/v1/completions"
PATIENCE = 600
"""Seconds for one answer."""

SERVERS = "serve it with vLLM, or another server that gives log-probabilities of a prompt's ids"


def open_artefact(asked: Asked) -> Runtime:
    """The address, looked at and tried with the first text only."""
    expected = "an address such as http://127.0.0.1:8000"
    try:
        parts = urlsplit((asked.url or "").encode("ascii").decode())
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
    except (ValueError, HTTPException) as error:  # a port that is none, a space, a letter of others
        raise InputError("--url", expected=expected, found=shown(str(error))) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("--url", expected=expected, found=shown(asked.url or "none"))
    # Both http://host:port and http://host:port/v1 are how people write it.
    path = parts.path.rstrip("/").removesuffix("/v1") + PATH
    return Server(connection, path, asked)


class Server(Runtime):
    """A connection to one server."""

    def __init__(self, connection: HTTPConnection, path: str, asked: Asked) -> None:
        self._connection, self._path, self._model = connection, path, asked.artefact
        self._thing = f"--url {asked.url}"
        self._told = {"quantisation": "not told by the server", "server": "unnamed"}
        self.told = self._told

    def losses(self, pieces: Sequence[Piece]) -> Iterator[Sequence[float]]:
        for number, piece in enumerate(pieces, 1):
            what = f"input {number} of {len(pieces)}"
            answer = self._answer(list(piece.ids), what, first=number == 1)
            yield self._losses(answer, piece, what)

    def _answer(self, ids: list[int], what: str, *, first: bool) -> Any:
        asked = {
            "model": self._model, "prompt": ids, "max_tokens": 1, "temperature": 0,
            "echo": True, "logprobs": 1,
        }  # fmt: skip
        try:
            headers = {"Content-Type": "application/json"}
            self._connection.request("POST", self._path, json.dumps(asked), headers)
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            said = " ".join(str(error).split()) or type(error).__name__
            # Before the first answer it is the address that is wrong; later, the work has failed.
            raise self._problem(first)(
                self._thing, expected=f"an answer to {what}", found=shown(said),
                fix="start the server, and check the address",
            ) from error  # fmt: skip
        self._told["server"] = shown((response.getheader("Server") or "").strip() or "unnamed")
        if response.status != 200:
            said = " ".join(raw.decode(errors="replace").split())[:200]
            raise self._problem(first)(
                self._thing, expected=f"an answer to {what}",
                found=f"status {response.status} {shown(said)}".strip(), fix=SERVERS,
            )  # fmt: skip
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._lacking("no JSON", what) from error

    def _losses(self, answer: Any, piece: Piece, what: str) -> list[float]:
        try:
            choice = answer["choices"][0]
            given = choice["logprobs"]["token_logprobs"]
            told, wanted = len(given), given[piece.first : len(piece.ids)]
        except (KeyError, IndexError, TypeError) as error:
            raise self._lacking("an answer without any", what) from error
        # One token is generated beside those of the prompt; some servers leave it out. One that
        # tells less than it counts has left out the start, and all others are a place too early.
        usage = answer.get("usage")
        made = usage.get("completion_tokens") if isinstance(usage, dict) else None
        beside = told - len(piece.ids) if made is None else made
        if beside not in (0, 1) or told != len(piece.ids) + beside:
            raise self._lacking(f"{told} for {len(piece.ids)} ids and {beside} generated", what)
        if any(isinstance(one, bool) or not isinstance(one, int | float) for one in wanted):
            raise self._lacking("some that are no numbers", what)
        return [-float(one) for one in wanted]

    def _lacking(self, found: str, what: str) -> InputError:
        return InputError(
            self._thing, expected=f"log-probabilities of every id of a prompt ({what})",
            found=found, fix=SERVERS,
        )  # fmt: skip

    def _problem(self, first: bool) -> type[MwandaError]:
        return InputError if first else DataError

    def close(self) -> None:
        self._connection.close()
