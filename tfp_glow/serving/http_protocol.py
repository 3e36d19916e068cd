"""HTTP/1.1 as uvicorn speaks it, but for long heads, trailers, and `Upgrade`."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, httptools

__all__ = ["HttpProtocol"]

_MAX_HEAD = 2**16  # bytes of a request's first line and headers; and of trailers


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a bound on the bytes of a request that are not its body.

    Trailers, behind a body, are left out; uvicorn would add them to the headers.

    `Upgrade` is ignored, as RFC 9110 allows: clients that would rather have HTTP/2,
    Java's among them, send it with any request. httptools stops behind such a head,
    and uvicorn would lose the body. So the head is read again, without that header.
    """

    _is_head = True
    _num_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parses what came."""
        self._unset_keepalive_if_required()
        self._num_bytes += len(data)
        try:
            self._parse(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        # With each part of a body, and at the end of a message, the count begins anew.
        if self._num_bytes > _MAX_HEAD and not self.transport.is_closing():
            part = "head" if self._is_head else "trailer"
            self.send_400_response(f"The {part} of the request is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header."""
        if self._is_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begins to answer."""
        if self.parser.should_upgrade():
            return
        self._is_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._num_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the body."""
        if self.parser.should_upgrade():
            return
        self._is_head, self._num_bytes = True, 0
        super().on_message_complete()

    def _parse(self, data: memoryview) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                (num_read,) = upgrade.args
            data, head = data[num_read:], self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":  # To be a tunnel is all that it asks for.
            raise httptools.HttpParserError("no proxy")
        lines = [b"%s %s HTTP/%s" % (method, self.url, version.encode())]
        lines += [b"%s: %s" % line for line in self.headers if line[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])
