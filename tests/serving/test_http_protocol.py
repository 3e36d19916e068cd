"""Requests as bytes: whatever is cut, joined or offered, each gets its own answer."""

import socket
import threading

import pytest

pytest.importorskip("kserve", reason="needs the extra serve")

import uvicorn  # noqa: E402

from tfp_glow.serving.http_protocol import HttpProtocol  # noqa: E402

UPGRADE = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"
)
BODY = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

CHUNKED = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"


async def echo(scope, receive, send):
    """Answers with the path and the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    names = [name for name, _ in scope["headers"]]
    assert names.count(b"x-last") == 1
    answer = scope["path"].encode() + b" " + body + b";"
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def port():
    """Of a server in this process that echoes."""
    config = uvicorn.Config(
        echo, http=HttpProtocol, ws="none", lifespan="off", log_level="critical"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=[[listening]])
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def post(path, body=BODY, headers=UPGRADE, version="1.1"):
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\nX-Last: 1\r\n\r\n".encode() + body


def answers(port, *segments):
    """The bodies of the answers to what is sent, until the connection ends."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for segment in segments:
            sock.sendall(segment)
        while part := sock.recv(2**16):
            received += part
    statuses, bodies = [], []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        (length,) = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ]
        statuses.append(int(head.split()[1]))
        bodies.append(received[:length])
        received = received[length:]
    assert set(statuses) == {200}, (statuses, bodies)
    return bodies


LAST = post("/last", b"end", "Connection: close\r\n")


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_upgrade_is_ignored_wherever_the_request_is_cut(port, size):
    request = post("/a") + LAST
    cut = [request[i : i + size] for i in range(0, len(request), size)]
    assert answers(port, *cut) == [b"/a " + BODY + b";", b"/last end;"]


def test_requests_in_a_row(port):
    rows = [post("/a"), post("/b", headers=""), post("/c", b""), post("/d"), LAST]
    bodies = [b"/a " + BODY, b"/b " + BODY, b"/c ", b"/d " + BODY, b"/last end"]
    bodies = [body + b";" for body in bodies]
    assert answers(port, b"".join(rows)) == bodies
    assert answers(port, *rows) == bodies


def test_many_upgrades_in_a_row(port):
    num = 2_000
    row = b"".join(post(f"/{i}", b"x") for i in range(num)) + LAST
    assert answers(port, row)[:-1] == [b"/%d x;" % i for i in range(num)]


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0"])
@pytest.mark.parametrize("connection", ["upgrade, close", "close, Upgrade"])
def test_the_connection_ends_when_it_is_to(port, protocol, connection):
    headers = f"UPGRADE: {protocol}\r\nconnection: {connection}\r\n"
    assert answers(port, post("/a", headers=headers)) == [b"/a " + BODY + b";"]


def test_older_http(port):
    assert answers(port, post("/a", version="1.0")) == [b"/a " + BODY + b";"]


def test_chunks(port):
    request = (
        f"POST /a HTTP/1.1\r\nHost: x\r\n{UPGRADE}Transfer-Encoding: chunked\r\n"
        "X-Last: 1\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert answers(port, request.encode(), LAST) == [b"/a abcde;", b"/last end;"]


def test_trailers_are_no_headers(port):
    request = f"{CHUNKED}X-Last: 1\r\n\r\n3\r\nabc\r\n0\r\nX-Last: 2\r\n\r\n"
    assert answers(port, request.encode(), LAST) == [b"/a abc;", b"/last end;"]


def test_bodies_in_many_chunks_may_be_long(port):
    request = f"{CHUNKED}X-Last: 1\r\n\r\n" + 200 * f"3e8\r\n{'a' * 1000}\r\n"
    segments = [request.encode(), b"0\r\n\r\n", LAST]
    assert answers(port, *segments)[0] == b"/a " + 200_000 * b"a" + b";"


@pytest.mark.parametrize("beginning", ["0\r\nX: ", "3;x="])
def test_trailers_and_extensions_of_chunks_have_an_end(port, beginning):
    request = f"{CHUNKED}\r\n{beginning}".encode()
    request += (2**16 + 1 - len(request)) * b"a"
    with pytest.raises(AssertionError, match=r"\[400\].*The trailer.* is too long"):
        answers(port, request)


def test_it_is_no_proxy(port):
    request = f"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n{UPGRADE}\r\n"
    with pytest.raises(AssertionError, match=r"\[400\]"):
        answers(port, request.encode())
