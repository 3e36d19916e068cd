"""The scripts of benchmarks/serving: they see what goes wrong, and it does not here."""

import asyncio
import itertools
import threading
import tomllib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

pytest.importorskip("kserve")


@contextmanager
def answering(*answers):
    """The port of a server that gives these answers in turn; None is none at all."""
    turns = itertools.cycle(answers)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = next(turns)
            if answer is None or over.is_set():
                self.close_connection = True
                return
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        over.set()
        server.shutdown()
        thread.join()


def test_load_tells_errors_lost_and_wrong_answers(scripts):
    traffic, load = map(scripts, ["traffic", "load"])
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


def test_load_waits_for_nobody_who_refuses(scripts):
    traffic, clients = map(scripts, ["traffic", "clients"])
    group = traffic.Group(num_clients=3, bodies=["{}"], expected=[1], tolerance=0.0)
    with answering((200, b'{"predictions": [1]}')) as port:
        load = traffic.Load(port, "/", [group], 600.0)
    (rows,) = load.rows()
    assert np.count_nonzero(rows["status"] == clients.REFUSED) == 3


@pytest.mark.parametrize("answer", [(500, b"{}"), (200, b"{}"), None])
def test_fuzz_sees_what_should_not_be_answered(scripts, answer):
    fuzz, malformed = map(scripts, ["fuzz", "malformed"])
    case = malformed.Case(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    with answering(answer) as port:
        found = asyncio.run(fuzz.send(port, case))
    assert not fuzz.judge(case, found)


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ("1418 generated, 1418 passed", "no failure"),
        (
            "Missing test data: 12 operations repeatedly returned 404 responses",
            "Missing test data: 12 operations repeatedly returned 404 responses",
        ),
    ],
)
def test_fuzz_tells_schemathesis_of_the_model(scripts, tmp_path, says, found):
    program = tmp_path / "schemathesis"
    config = tmp_path / "config.toml"
    program.write_text(f'#!/bin/sh\ncp schemathesis.toml "{config}"\necho "{says}"\n')
    program.chmod(0o700)
    fuzz = scripts("fuzz")
    assert fuzz.run_schemathesis(str(program), 1, 'the "digits"', 3) == found
    parameters = tomllib.loads(config.read_text())["parameters"]
    assert parameters == {"path.name": 'the "digits"', "path.version": "1"}


def test_fuzz_sees_opened_files(scripts, tmp_path):
    fuzz = scripts("fuzz")
    lines = [
        f'7 openat(AT_FDCWD, "{tmp_path}/digits/2/saved_model.pb", O_RDONLY) = 3',
        f'7 openat(AT_FDCWD, "{tmp_path}/../secret", O_RDONLY) = -1 ENOENT',
        '7 open("/home/ada/.ssh/id", O_RDONLY) = 3',
        '7 openat(AT_FDCWD, "/proc/self/stat", O_RDONLY <unfinished ...>',
    ]
    expected = {str(tmp_path.parent / "secret"), "/home/ada/.ssh/id"}
    assert fuzz.opened_outside(lines, tmp_path) == expected


def test_cases_are_the_same_again_and_other_for_another_seed(scripts):
    malformed = scripts("malformed")
    target = malformed.Target("digits", (8, 8, 1))
    count = 3 * len(malformed.KINDS)
    first = list(malformed.cases(target, count, seed=1))
    assert {kind for kind, _ in first} == set(malformed.KINDS)
    assert first == list(malformed.cases(target, count, seed=1))
    assert first != list(malformed.cases(target, count, seed=2))


def test_the_server_refuses_what_is_malformed(scripts, process):
    fuzz, malformed, traffic = map(scripts, ["fuzz", "malformed", "traffic"])
    path, groups = traffic.groups_of(process.folder)
    target = malformed.Target("digits", (8, 8, 1), str(process.folder.parent))
    assert path == target.predict
    some = malformed.cases(target, 12 * len(malformed.KINDS))
    result = asyncio.run(fuzz.send_all(process.port, target, groups["log_prob"], some))
    asyncio.run(fuzz.send_all_grpc(process.grpc_port, target, 60, 0, result))
    assert not result.failures, "\n".join(result.failures[:10])
    assert result.total > 350
    assert set(result.outcomes["right requests"]) == {"200"}
    assert process.process.poll() is None
