"""The reading side of a WebSocket (RFC 6455): connect, receive messages, answer pings.

ComfyUI tells over a WebSocket which node runs and how far it is. The standard library has no client,
and this is all that is needed of one on the same machine: no TLS, no extensions.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
CONTINUE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocket:
    """A connection; ``receive()`` gives text as ``str`` and binary messages as ``bytes``."""

    def __init__(self, host: str, port: int, path: str, timeout: float) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.reader = self.socket.makefile("rb")
        try:
            self._handshake(host, port, path)
        except BaseException:
            self.close()
            raise

    def _handshake(self, host: str, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        status = self.reader.readline().decode("latin-1").strip()
        headers = {}
        while line := self.reader.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        expected = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
        if " 101 " not in f"{status} " or headers.get("sec-websocket-accept") != expected:
            raise ConnectionError(f"No WebSocket at {host}:{port}{path}: {status or 'no answer'}")

    def receive(self) -> str | bytes:
        """The next whole message; ``ConnectionError`` at the end, ``TimeoutError`` after a long silence."""
        kind, parts = CONTINUE, []
        while True:
            final, code, payload = self._frame()
            if code == CLOSE:
                raise ConnectionError("The server closed the WebSocket.")
            if code == PING:
                self._send(PONG, payload)
            if code >= CLOSE:
                continue
            kind = code or kind
            parts.append(payload)
            if final:
                message = b"".join(parts)
                return message.decode() if kind == TEXT else message

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._read(2)
        length = second & 127  # servers do not mask
        if length == 126:
            (length,) = struct.unpack("!H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._read(8))
        return bool(first & 128), first & 15, self._read(length)

    def _read(self, count: int) -> bytes:
        data = self.reader.read(count)
        if len(data) < count:
            raise ConnectionError("The server ended the WebSocket.")
        return data

    def _send(self, code: int, payload: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(
            bytes((128 | code, 128 | len(payload))) + mask + masked
        )  # control frames: 125 bytes at most

    def close(self) -> None:
        self.reader.close()
        self.socket.close()
