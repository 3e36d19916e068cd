"""The command in a process of its own: what is started, asked, killed and ended."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("kserve", reason="needs the extra serve")

from tfp_glow.cli import main
from tfp_glow.cli.listening import listening_socket
from tfp_glow.cli.parser import make_parser
from tfp_glow.serving.limits import Limits

IMAGES = np.random.default_rng(3).integers(0, 256, [4, 8, 8, 1], np.uint8)
BODY = json.dumps({"instances": IMAGES.tolist()})


@contextmanager
def started(*arguments):
    """Runs `tfp-glow serve` and gives the process and its ports."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tfp_glow.cli", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        found = re.fullmatch(
            r"Serving digits \(version 1\) at http://127\.0\.0\.1:(\d+)"
            r"(?:, and gRPC at port (\d+))?\n",
            line,
        )
        if found is None:
            pytest.fail(f"{line}{process.stderr.read()}")
        yield process, *(int(port) if port else None for port in found.groups())
    finally:
        process.kill()
        process.communicate()


def ask(connection, body=BODY, **more):
    headers = {"content-type": "application/json"} | more
    connection.request("POST", "/v1/models/digits:predict", body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_a_process_that_was_killed_starts_again_serves_and_ends(models, in_process):
    expected = in_process("log_prob", images=IMAGES)
    with started(models, "--port=0") as (process, port, _):
        process.kill()
        process.wait(10)
    again = (f"--port={port}", "--grpc-port=0")
    with started(models, *again) as (process, port_again, grpc_port):
        assert port_again == port
        connection = http.client.HTTPConnection("127.0.0.1", port)
        status, answer = ask(connection)
        assert status == 200
        np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5)
        check_grpc(grpc_port, expected)
        check_long_head(port)
        check_long_bodies(connection, expected)
        status, answer = ask(connection, Connection="Upgrade", Upgrade="h2c")
        assert status == 200
        np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5)
        check_other_addresses(port)

        # SIGTERM while clients ask all the time.
        answers, errors = [], []
        threads = [
            threading.Thread(target=ask_until_the_end, args=(port, answers, errors))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        while len(answers) < 100:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(20)
        assert process.wait(20) == 0
        # TensorFlow's own lines on what it has found are not ours.
        lines = process.stderr.read().splitlines()
        found = ("absl::", "cuda", "oneDNN custom operations")
        assert not [line for line in lines if not any(part in line for part in found)]
        for status, answer in answers:
            assert status in (200, 503)
            if status == 200:
                np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5)
        # Each found the door closed at last, and nobody's request was lost on the way.
        assert errors == ["refused"] * 8
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)


def ask_until_the_end(port, answers, errors):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    while True:
        is_new = True
        try:
            for _ in range(20):
                answers.append(ask(connection))
                is_new = False
                if connection.sock is None:  # the server has closed it
                    break
        except OSError as error:
            # The door is closed, if not before the system let us in.
            errors.append("refused" if is_new else repr(error))
            return
        connection.close()


def check_grpc(port, expected):
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    request = pb.ModelInferRequest(
        model_name="digits", raw_input_contents=[IMAGES.tobytes()]
    )
    request.inputs.add(name="images", datatype="UINT8", shape=IMAGES.shape)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=20)
    values = np.frombuffer(answer.raw_output_contents[0], "<f4")
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def check_long_head(port):
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx: ")
        received = b""
        try:
            for _ in range(1000):
                sock.sendall(b"a" * 10_000)
            received = sock.recv(1000)
        except OSError:
            received = received or b"HTTP/1.1 400"  # closed while we were sending
    assert received.startswith(b"HTTP/1.1 400")


def check_long_bodies(connection, expected):
    """Longer than a head may be, and cut by the network where it likes."""
    for length in 2 ** np.arange(16, 23):
        status, answer = ask(connection, BODY.ljust(length))
        assert status == 200, answer
        np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5)


def check_other_addresses(port):
    """Only this machine is listened to."""
    for address in {
        info[4][0] for info in socket.getaddrinfo(socket.gethostname(), 80)
    }:
        if not address.startswith("127.") and ":" not in address:
            with pytest.raises(OSError, match="refused|timed out|unreachable"):
                socket.create_connection((address, port), 1)


def error(capsys, *arguments):
    assert main(["serve", *map(str, arguments), "--port=0"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("tfp-glow: error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_errors_at_the_start_are_one_line(models, exported, tmp_path, capsys):
    assert "is no folder" in error(capsys, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "holds no SavedModel" in error(capsys, tmp_path / "empty")
    (data,) = (models / "digits" / "1").glob("variables/variables.data*")
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    assert "is damaged" in error(capsys, models)
    assert "is damaged" in error(capsys, models / "digits" / "1")
    (models / "digits" / "1" / "saved_model.pb").write_bytes(b"x")
    assert "is damaged" in error(capsys, models)
    assert "Give it another with --name" in error(capsys, exported, "--name=a/b")


def test_a_port_that_is_taken(models, capsys):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        assert main(["serve", str(models), f"--port={port}"]) == 1
        assert f"127.0.0.1 at port {port}: Address" in capsys.readouterr().err
        assert f"port {port} for gRPC" in error(capsys, models, f"--grpc-port={port}")
    assert "no address 'no.such.host.'" in error(capsys, models, "--host=no.such.host.")


def test_a_port_is_taken_before_anything_is_loaded():
    with listening_socket("127.0.0.1", 0) as sock:
        address = sock.getsockname()
        with pytest.raises(OSError, match=f"at port {address[1]}: Address already in"):
            listening_socket(*address)
        socket.create_connection(address, 10).close()  # It waits, and is not refused.


def test_without_the_extra_one_line_says_how_to_install_it(models):
    # The command imports nothing but the parser before it is known what is wanted.
    program = (
        "import sys\n"
        f"sys.argv = ['tfp-glow', 'serve', {str(models)!r}, '--port=0']\n"
        "sys.modules['kserve'] = None\n"
        "from tfp_glow.cli import main\n"
        "status = main()\n"
        "assert 'numpy' not in sys.modules\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'pip install "tfp-glow[serve]"' in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_has_the_limits_that_servers_have():
    given = make_parser().parse_args(["serve", "exported"])
    limits = Limits(
        max_rows=given.max_rows,
        max_bytes=given.max_bytes,
        max_queue=given.max_queue,
        max_batch=given.max_batch,
        seconds=given.timeout,
        batching=not given.no_batching,
    )
    assert limits == Limits()
