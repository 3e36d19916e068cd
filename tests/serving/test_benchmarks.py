"""The scripts of benchmarks/serving: they see what goes wrong, and it does not here."""

import asyncio
import importlib
import itertools
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kserve")

FOLDER = Path(__file__).parents[2] / "benchmarks" / "serving"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    """The folder's modules can be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        patch.syspath_prepend(FOLDER.parent)
        yield


@contextmanager
def answering(*answers):
    """The port of a server that gives these answers in turn, None is none at all."""
    turns = itertools.cycle(answers)

    async def handle(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            answer = next(turns)
            if answer is None:
                break
            status, body = answer
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
            )
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def test_load_tells_errors_lost_and_wrong_answers():
    traffic, load = map(importlib.import_module, ["traffic", "load"])
    group = traffic.Group(
        num_clients=1, bodies=["{}"], expected=[[10, 20]], tolerance=1.0
    )
    right = (200, b'{"predictions": [[10, 20]]}')
    near = (200, b'{"predictions": [[10, 21]]}')
    wrong = [
        (200, b'{"predictions": [[10, 22]]}'),
        (200, b'{"predictions": [[10]]}'),
        (200, b'{"predictions": [[10, NaN]]}'),
        (200, b"{}"),
    ]
    with answering(right, near, *wrong, (500, b""), (429, b""), None) as port:
        (rows,) = traffic.Load(port, "/", [group], 0.5).rows()
    found = load.figures_of(rows, group)
    num_turns = found["requests"] / 9
    assert num_turns > 10
    for name, number in {"errors": 2, "lost": 1, "wrong": 4}.items():
        assert found[name] == pytest.approx(number * num_turns, abs=4), name
    assert found["differing"] == pytest.approx(5 * num_turns, abs=5)


def test_load_waits_for_nobody_who_refuses():
    traffic, clients = map(importlib.import_module, ["traffic", "clients"])
    group = traffic.Group(num_clients=3, bodies=["{}"], expected=[1], tolerance=0.0)
    with answering((200, b'{"predictions": [1]}')) as port:
        load = traffic.Load(port, "/", [group], 600.0)
    (rows,) = load.rows()
    assert np.count_nonzero(rows["status"] == clients.REFUSED) == 3


@pytest.mark.parametrize("answer", [(500, b"{}"), (200, b"{}"), None])
def test_fuzz_sees_what_should_not_be_answered(answer):
    fuzz, malformed = map(importlib.import_module, ["fuzz", "malformed"])
    case = malformed.Case(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    with answering(answer) as port:
        found = asyncio.run(fuzz.send(port, case))
    assert not fuzz.judge(case, found)


def test_fuzz_sees_opened_files(tmp_path):
    fuzz = importlib.import_module("fuzz")
    lines = [
        f'7 openat(AT_FDCWD, "{tmp_path}/digits/2/saved_model.pb", O_RDONLY) = 3',
        f'7 openat(AT_FDCWD, "{tmp_path}/../secret", O_RDONLY) = -1 ENOENT',
        '7 open("/root/.ssh/id", O_RDONLY) = 3',
        '7 openat(AT_FDCWD, "/proc/self/stat", O_RDONLY <unfinished ...>',
    ]
    expected = {str(tmp_path.parent / "secret"), "/root/.ssh/id"}
    assert fuzz.opened_outside(lines, tmp_path) == expected


def test_cases_are_the_same_again_and_other_for_another_seed():
    malformed = importlib.import_module("malformed")
    target = malformed.Target("digits", (8, 8, 1))
    count = 3 * len(malformed.KINDS)
    first = list(malformed.cases(target, count, seed=1))
    assert {kind for kind, _ in first} == set(malformed.KINDS)
    assert first == list(malformed.cases(target, count, seed=1))
    assert first != list(malformed.cases(target, count, seed=2))
