"""Answers over HTTP, and what is no request."""

import asyncio
import base64
import json
import random
from io import BytesIO

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

pytest.importorskip("kserve", reason="needs the extra serve")

from tfp_glow.serving.limits import Limits
from tfp_glow.serving.open_inference import InferExchange
from tfp_glow.serving.predict_body import PredictExchange
from tfp_glow.serving.refused import shown

SAMPLE = {"seed": [3, 4, 5], "temperature": [0.5, 0.7, 1.0]}


def in_rows(columns):
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def as_arrays(columns):
    return {
        "seed": np.int32(columns["seed"]),
        "temperature": np.float32(columns["temperature"]),
    }


def assert_same_images(received, expected):
    """A pixel whose float lies at a bin's edge may fall on either side."""
    difference = np.abs(np.array(received, int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01


def test_what_is_nested_deeper_than_python_prints_is_shown():
    value = []
    for _ in range(100_000):
        value = [value]
    assert shown(value) == "a deep list"


def test_rows_and_columns_are_answered_as_in_process(serve, models, images, in_process):
    async def main():
        async with serve(models) as server:
            for name in ("log_prob", "bits_per_dim", "encode"):
                expected = in_process(name, images=images)
                body = {"signature_name": name, "instances": images.tolist()}
                rows = await server.predict(body)
                np.testing.assert_allclose(
                    rows["predictions"], expected, rtol=1e-5, atol=1e-5
                )
                body["instances"] = [{"images": image} for image in images.tolist()]
                assert await server.predict(body) == rows
                body = {"signature_name": name, "inputs": images.tolist()}
                columns = await server.predict(body)
                assert columns == {"outputs": rows["predictions"]}
                body["inputs"] = {"images": images.tolist()}
                assert await server.predict(body) == columns

            default = await server.predict({"instances": images.tolist()})
            log_prob = in_process("log_prob", images=images)
            np.testing.assert_allclose(default["predictions"], log_prob, rtol=1e-5)

            latents = in_process("encode", images=images)
            body = {"signature_name": "decode", "instances": latents.tolist()}
            decoded = await server.predict(body)
            assert_same_images(decoded["predictions"], images)

            sampled = in_process("sample", **as_arrays(SAMPLE))
            body = {"signature_name": "sample", "instances": in_rows(SAMPLE)}
            assert_same_images((await server.predict(body))["predictions"], sampled)
            body = {"signature_name": "sample", "inputs": SAMPLE}
            assert_same_images((await server.predict(body))["outputs"], sampled)

    asyncio.run(main())


def test_concurrent_requests_get_their_own_answers(serve, models, in_process):
    images = np.random.default_rng(5).integers(0, 256, [60, 8, 8, 1], np.uint8)
    seeds = np.arange(30, dtype=np.int32)
    log_prob = in_process("log_prob", images=images)
    sampled = in_process("sample", seed=seeds, temperature=np.full([30], 0.7, "f4"))

    async def main():
        async with serve(models, max_batch=8) as server:
            asked = [{"instances": [image]} for image in images.tolist()]
            asked += [
                {
                    "signature_name": "sample",
                    "instances": [{"seed": seed, "temperature": 0.7}],
                }
                for seed in seeds.tolist()
            ]
            order = random.Random(0).sample(range(90), 90)
            answers = await asyncio.gather(*(server.predict(asked[i]) for i in order))
            answers = [
                answer["predictions"][0]
                for _, answer in sorted(zip(order, answers, strict=True))
            ]
            np.testing.assert_allclose(answers[:60], log_prob, rtol=1e-5)
            assert_same_images(answers[60:], sampled)
            metrics = (await server.client.get("/metrics")).text
            assert "tfp_glow_batch_rows_bucket" in metrics
            assert "request_predict_seconds" in metrics  # KServe's own

    asyncio.run(main())


def png(image):
    file = BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG")
    return {"b64": base64.b64encode(file.getvalue()).decode()}


def test_pictures_in_and_out(serve, models, images):
    async def main():
        async with serve(models) as server:
            plain = await server.predict({"instances": images.tolist()})
            pictures = [png(image) for image in images]
            assert await server.predict({"instances": pictures}) == plain
            named = [{"images": picture} for picture in pictures]
            assert await server.predict({"instances": named}) == plain
            columns = await server.predict({"inputs": {"images": pictures}})
            assert columns["outputs"] == plain["predictions"]

            body = {"signature_name": "sample", "inputs": SAMPLE}
            lists = (await server.predict(body))["outputs"]
            body["output_format"] = "png"
            for picture, expected in zip(
                (await server.predict(body))["outputs"], lists, strict=True
            ):
                data = BytesIO(base64.b64decode(picture["b64"]))
                np.testing.assert_array_equal(
                    np.asarray(Image.open(data))[..., None], expected
                )
            body = {"instances": pictures, "output_format": "png"}
            refused = await server.predict(body, status=400)
            assert "gives no images" in refused["error"]

    asyncio.run(main())


def test_status_metadata_and_readiness(serve, models):
    async def main():
        async with serve(models) as server:
            get = server.client.get
            state = {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
            for url in ("/v1/models/digits", "/v1/models/digits/versions/1"):
                status = (await get(url)).json()
                assert status["model_version_status"] == [state]
                assert status["ready"] is True
                metadata = (await get(f"{url}/metadata")).json()
                assert metadata["model_spec"] == {
                    "name": "digits",
                    "signature_name": "",
                    "version": "1",
                }
                signatures = metadata["metadata"]["signature_def"]["signature_def"]
                images = signatures["log_prob"]["inputs"]["images"]
                assert images["dtype"] == "DT_UINT8"
                sizes = [dim["size"] for dim in images["tensor_shape"]["dim"]]
                assert sizes == ["-1", "8", "8", "1"]
                assert (
                    signatures["log_prob"]["method_name"]
                    == "tensorflow/serving/predict"
                )
            assert (await get("/")).json() == {"status": "alive"}
            assert (await get("/v2/health/live")).json() == {"live": True}
            assert (await get("/v2/health/ready")).json() == {"ready": True}
            assert (await get("/v2/models")).json() == {"models": ["digits"]}
            for url in ("/v2/models/digits", "/v2/models/digits/versions/1"):
                assert (await get(f"{url}/ready")).json() == {
                    "name": "digits",
                    "ready": True,
                }
                found = (await get(f"{url}?signature_name=sample")).json()
                assert found["versions"] == ["1"]
                assert found["inputs"][0] == {
                    "name": "seed",
                    "datatype": "INT32",
                    "shape": [-1],
                }
            server.state.repository.is_loaded = False
            assert (await get("/v2/health/ready")).status_code == 503
            assert (await get("/v1/models/other")).status_code == 503

    asyncio.run(main())


def tensor(name, array, datatype):
    return {
        "name": name,
        "shape": list(array.shape),
        "datatype": datatype,
        "data": array.tolist(),
    }


def test_open_inference_protocol(serve, models, images, in_process):
    sampled = in_process("sample", **as_arrays(SAMPLE))
    inputs = as_arrays(SAMPLE)

    async def main():
        async with serve(models) as server:
            body = {
                "id": "42",
                "parameters": {"signature_name": "sample"},
                "inputs": [
                    tensor("temperature", inputs["temperature"], "FP32"),
                    tensor("seed", inputs["seed"], "INT32"),
                ],
            }
            url = "/v2/models/digits/versions/1/infer"
            answer = (await server.client.post(url, json=body)).json()
            assert answer["id"] == "42"
            assert answer["model_name"], answer["model_version"] == ("digits", "1")
            (output,) = answer["outputs"]
            assert (output["name"], output["datatype"]) == ("images", "UINT8")
            assert output["shape"] == [3, 8, 8, 1]
            received = np.reshape(output["data"], output["shape"])
            assert_same_images(received, sampled)

            # Nested lists, and no id.
            body = {"inputs": [tensor("images", images, "UINT8")]}
            answer = await server.client.post("/v2/models/digits/infer", json=body)
            assert answer.json()["id"]
            np.testing.assert_allclose(
                answer.json()["outputs"][0]["data"],
                in_process("log_prob", images=images),
                rtol=1e-5,
            )

            # Bytes behind the JSON, both ways.
            head = {
                "parameters": {"binary_data_output": True, "signature_name": "encode"},
                "inputs": [
                    {
                        "name": "images",
                        "shape": list(images.shape),
                        "datatype": "UINT8",
                        "parameters": {"binary_data_size": images.size},
                    }
                ],
            }
            text = json.dumps(head).encode()
            headers = {"inference-header-content-length": str(len(text))}
            answer = await server.client.post(
                "/v2/models/digits/infer",
                content=text + images.tobytes(),
                headers=headers,
            )
            length = int(answer.headers["inference-header-content-length"])
            (output,) = json.loads(answer.content[:length])["outputs"]
            received = np.frombuffer(answer.content[length:], "<f4")
            np.testing.assert_allclose(
                received.reshape(output["shape"]),
                in_process("encode", images=images),
                rtol=1e-4,
                atol=1e-4,
            )

    asyncio.run(main())


def test_what_is_not_finite_is_null_in_json(serve, models, images):
    instances = json.dumps({"instances": images[:2].tolist()})
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 8, 8, 1]}
    tensor["data"] = images[:2].ravel().tolist()
    inputs = json.dumps({"inputs": [tensor]})
    values = np.float32([np.nan, -np.inf])

    async def main():
        async with serve(models) as server:
            version = server.state.repository.find("digits").find(None)
            for exchange in (
                PredictExchange(None, instances.encode()),
                InferExchange(None, inputs.encode(), None, "digits"),
            ):
                exchange.read(version.model.signatures, Limits())
                body, _ = exchange.write({"log_prob": values}, 1)
                assert b"[null,null]" in body

    asyncio.run(main())


def test_labels_and_context(serve, exported_with_classes):
    loaded = tf.saved_model.load(str(exported_with_classes))
    labels, context = np.int32([0, 2]), np.float32([[0, 1], [2, 3]])
    expected = loaded.signatures["sample"](
        seed=tf.constant([1, 2]),
        temperature=tf.constant([1.0, 1.0]),
        labels=tf.constant(labels),
        context=tf.constant(context),
    )["images"].numpy()

    async def main():
        async with serve(exported_with_classes) as server:
            columns = {
                "seed": [1, 2],
                "temperature": [1, 1],
                "labels": [0, 2],
                "context": context.tolist(),
            }
            body = {"signature_name": "sample", "inputs": columns}
            answer = await server.predict(body, "glow")
            assert_same_images(answer["outputs"], expected)
            # A class that is none, beside requests that are fine.
            asked = [
                server.predict(
                    {
                        "signature_name": "sample",
                        "instances": [
                            {
                                "seed": 1,
                                "temperature": 1,
                                "labels": label,
                                "context": [0, 1],
                            }
                        ],
                    },
                    "glow",
                    status=200 if 0 <= label < 3 else 400,
                )
                for label in (0, 1, 7, 2, -1, 0)
            ]
            answers = await asyncio.gather(*asked)
            assert "7 is not in [0, 3)" in answers[2]["error"]
            assert_same_images(answers[0]["predictions"], expected[:1])
            # Without its labels, and labels where there are no classes.
            del columns["labels"]
            refused = await server.predict(body, "glow", status=400)
            assert "takes 'context' and 'labels'" in refused["error"]

    asyncio.run(main())


IMAGE = np.zeros([8, 8, 1], int).tolist()
BAD_BODIES = {
    "no JSON": b"{",
    "nothing": b"",
    "no UTF-8": b'{"instances": "\xff"}',
    "NaN": b'{"signature_name": "sample", "inputs": {"seed": [1], "temperature": [NaN]}}',  # noqa: E501
    "infinite": b'{"signature_name": "sample", "inputs": {"seed": [1], '
    b'"temperature": [1e999]}}',
    "deep": b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep for NumPy": b'{"instances": ' + b"[" * 200 + b"]" * 200 + b"}",
    "a list": [IMAGE],
    "a number": 3,
    "null": None,
    "no inputs": {},
    "both forms": {"instances": [IMAGE], "inputs": [IMAGE]},
    "unknown key": {"instances": [IMAGE], "instance": 1},
    "unknown signature": {"instances": [IMAGE], "signature_name": "smaple"},
    "signature of a list": {"instances": [IMAGE], "signature_name": ["sample"]},
    "no rows": {"instances": []},
    "rows of no list": {"instances": "x"},
    "rows of null": {"instances": None},
    "another input": {"instances": [{"image": IMAGE}]},
    "labels without classes": {"instances": [{"images": IMAGE, "labels": 1}]},
    "rows of two kinds": {"instances": [{"images": IMAGE}, IMAGE]},
    "rows of two keys": {"instances": [{"images": IMAGE}, {"image": IMAGE}]},
    "values for two inputs": {"signature_name": "sample", "instances": [1]},
    "one of two inputs": {"signature_name": "sample", "inputs": {"seed": [1]}},
    "differing rows": {
        "signature_name": "sample",
        "inputs": {"seed": [1, 2], "temperature": [1]},
    },
    "huge seed": {
        "signature_name": "sample",
        "inputs": {"seed": [2**31], "temperature": [1]},
    },
    "text": {"signature_name": "sample", "inputs": {"seed": ["1"], "temperature": [1]}},
    "too many rows": {
        "signature_name": "sample",
        "inputs": {"seed": [1] * 300, "temperature": [1] * 300},
    },
    "pictures of text": {"instances": [{"b64": "eA=="}]},
    "a picture among lists": {"instances": [IMAGE, {"b64": "eA=="}]},
    "unknown format": {"instances": [IMAGE], "output_format": "gif"},
    "format of a list": {"instances": [IMAGE], "output_format": ["png"]},
}


def test_bad_bodies_are_told_what_is_wrong(serve, models):
    async def main():
        async with serve(models) as server:
            for name, body in BAD_BODIES.items():
                content = body if isinstance(body, bytes) else json.dumps(body)
                response = await server.client.post(
                    "/v1/models/digits:predict", content=content
                )
                assert response.status_code == 400, name
                error = response.json()["error"]
                assert error, name
                assert "\n" not in error, name
                assert len(error) < 500, name

    asyncio.run(main())


BAD_TENSORS = [
    {"inputs": []},
    {"inputs": [3]},
    {"inputs": {"name": "images"}},
    {"inputs": [{"name": "images"}]},
    {"parameters": {"signature_name": 3}},
    {"id": 3},
    {"outputs": [{"name": "other"}]},
    {"shape": [2, 8, 8, 1]},
    {"shape": [-1, 8, 8, 1]},
    {"shape": [10**18, 8, 8, 1]},
    {"shape": [1, 64]},
    {"shape": []},
    {"shape": ["1", 8, 8, 1]},
    {"shape": [True, 8, 8, 1]},
    {"shape": [1.0, 8, 8, 1]},
    {"datatype": "FP32"},
    {"datatype": "BYTES"},
    {"datatype": ""},
    {"data": [0.5] * 64},
    {"data": [300] * 64},
    {"data": [True] * 64},
    {"data": ["1"] * 64},
    {"data": [[0]] * 64},
    {"data": [0] * 63},
    {"data": [None]},
    {"name": "image"},
    {"parameters_of_tensor": {"binary_data_size": 10**9}},
]


@pytest.mark.parametrize("length", [None, "0", "-1", "x", "9" * 30, "5"])
def test_bad_tensors_are_refused(serve, models, length):
    good = {"name": "images", "shape": [1, 8, 8, 1], "datatype": "UINT8"}
    good["data"] = [0] * 64
    headers = {} if length is None else {"inference-header-content-length": length}

    async def main():
        async with serve(models) as server:
            for change in BAD_TENSORS:
                change = dict(change)
                one = good | {k: change.pop(k) for k in good if k in change}
                if parameters := change.pop("parameters_of_tensor", None):
                    one["parameters"] = parameters
                body = {"inputs": [one]} | change
                response = await server.client.post(
                    "/v2/models/digits/infer", json=body, headers=headers
                )
                assert response.status_code == 400, (change, response.text)
                assert response.json()["error"]
            if length is None:
                twice = {"inputs": [good, good]}
                url = "/v2/models/digits/infer"
                assert (await server.client.post(url, json=twice)).status_code == 400
                body = {"inputs": [good]}
                assert (await server.client.post(url, json=body)).status_code == 200

    asyncio.run(main())


def damaged_bodies(count):
    """Bodies in which something has been changed at random."""
    rng = random.Random(0)
    good = [
        {"instances": [IMAGE, IMAGE]},
        {"signature_name": "sample", "inputs": SAMPLE},
        {"signature_name": "sample", "instances": in_rows(SAMPLE)},
    ]
    values = [
        None,
        True,
        -1,
        1e300,
        2**63,
        2**70,
        "",
        "x" * 99,
        [],
        {},
        [[]],
        {"b64": 0},
    ]
    for _ in range(count):
        document = json.loads(json.dumps(rng.choice(good)))
        if rng.random() < 0.5:
            place = document
            while True:
                key = rng.choice(
                    list(place) if isinstance(place, dict) else range(len(place))
                )
                if not isinstance(place[key], dict | list) or not place[key]:
                    break
                if rng.random() < 0.2:
                    break
                place = place[key]
            place[key] = rng.choice(values)
        body = bytearray(json.dumps(document).encode())
        if rng.random() < 0.5:
            for _ in range(rng.randint(1, 4)):
                body[rng.randrange(len(body))] = rng.randrange(256)
        if rng.random() < 0.3:
            del body[rng.randrange(len(body)) :]
        yield bytes(body)


def test_damaged_bodies_get_4xx(serve, models):
    async def main():
        codes = {200: 0, 400: 0}
        async with serve(models) as server:
            for body in damaged_bodies(400):
                response = await server.client.post(
                    "/v1/models/digits:predict", content=body
                )
                assert response.status_code in codes, (body, response.text)
                codes[response.status_code] += 1
                response = await server.client.post(
                    "/v2/models/digits/infer", content=body
                )
                assert response.status_code == 400, (body, response.text)
            await server.predict({"instances": [IMAGE]})
        assert codes[400] > 200  # a changed digit may leave a good body

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/other", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/digits/versions/9:predict", 404),
        ("POST", "/v1/models/digits/versions/x:predict", 404),
        ("POST", "/v1/models/digits/versions/" + "9" * 5000 + ":predict", 404),
        ("GET", "/v1/models/digits/versions/9", 404),
        ("GET", "/v1/models/digits/versions/1/nothing", 404),
        ("POST", "/v1/models/..%2f..%2fetc%2fpasswd:predict", 404),
        ("POST", "/v1/models/../../etc/passwd:predict", 404),
        ("GET", "/v1/models/..%2fdigits/metadata", 404),
        ("GET", "/v1/models/%00", 404),
        ("GET", "/v1/models/%ff%fe/metadata", 404),
        ("GET", "/v1/models/digits%0a:predict", 405),
        ("GET", "/v1/models/digits:predict", 405),
        ("POST", "/v1/models/digits", 405),
        ("DELETE", "/v1/models/digits", 405),
        ("PUT", "/v1/models/digits:predict", 405),
        ("POST", "/v1/models/digits:explain", 405),
        ("POST", "/v2/repository/models/digits/unload", 404),
        ("POST", "/v2/repository/models/digits/load", 404),
        ("GET", "/v2/models/digits?signature_name=smaple", 400),
        ("GET", "/v2/models/digits/versions/9/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
    ],
)
def test_addresses_that_are_none(serve, models, method, url, status):
    async def main():
        async with serve(models) as server:
            response = await server.client.request(method, url, content=b"{}")
            assert response.status_code == status, response.text
            error = response.json()["error"]
            assert error
            assert "\n" not in error
            assert len(error) < 300
            assert (await server.client.get("/v1/models/digits")).status_code == 200

    asyncio.run(main())


def test_other_types_and_compressed_bodies_are_refused(serve, models):
    async def main():
        async with serve(models) as server:
            url, body = "/v1/models/digits:predict", json.dumps({"instances": [IMAGE]})
            for content_type, status in {
                "application/json": 200,
                "application/json; charset=utf-8": 200,
                "application/x-www-form-urlencoded": 200,  # what curl says
                "image/png": 415,
                "multipart/form-data; boundary=x": 415,
                "text/html": 415,
            }.items():
                headers = {"content-type": content_type}
                response = await server.client.post(url, content=body, headers=headers)
                assert response.status_code == status, content_type
            headers = {"content-encoding": "gzip"}
            response = await server.client.post(url, content=body, headers=headers)
            assert response.status_code == 415

    asyncio.run(main())


def test_long_bodies_are_refused_before_all_is_there(serve, models):
    async def main():
        async with serve(models, max_bytes=1000) as server:
            url, num_sent = "/v1/models/digits:predict", 0

            async def chunks():
                nonlocal num_sent
                for _ in range(1000):
                    num_sent += 1
                    yield b" " * 100

            response = await server.client.post(url, content=chunks())
            assert response.status_code == 413
            assert "may have 1000 bytes" in response.json()["error"]
            assert num_sent < 20
            response = await server.client.post(url, content=b" " * 1001)
            assert response.status_code == 413
            assert response.headers["connection"] == "close"
            response = await server.client.post(url, content=b" " * 1000)
            assert response.status_code == 400
            # All together may not be too long, either; and all room is given back.
            assert server.state._num_bytes == 0
            server.state._num_bytes = server.state.limits.max_bytes_together
            response = await server.client.post(url, content=b"{}")
            assert response.status_code == 429
            assert response.headers["retry-after"] == "1"

    asyncio.run(main())


@pytest.fixture
def slow(monkeypatch):
    """Makes the model wait for an event."""
    import threading

    from tfp_glow.serving.served_model import ServedModel

    event, original = threading.Event(), ServedModel.run

    def wait(self, signature, inputs):
        assert event.wait(10)
        return original(self, signature, inputs)

    monkeypatch.setattr(ServedModel, "run", wait)
    return event


def test_a_full_queue_and_a_late_answer(serve, models, slow):
    async def main():
        slow.set()
        async with serve(models, max_queue=2, seconds=0.3) as server:
            slow.clear()
            body = {"instances": [IMAGE]}
            asked = []
            for _ in range(3):  # one is computed, two wait
                asked.append(asyncio.create_task(server.predict(body, status=504)))
                await asyncio.sleep(0.05)
            refused = await server.client.post("/v1/models/digits:predict", json=body)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert "Too many requests" in refused.json()["error"]
            late = await asyncio.gather(*asked)
            assert "within 0.3 seconds" in late[0]["error"]
            slow.set()
            await server.predict(body)

    asyncio.run(main())


def test_clients_that_are_gone_are_dropped(serve, models, slow, monkeypatch):
    monkeypatch.setattr("tfp_glow.serving.server_state._SECONDS_BETWEEN_LOOKS", 0.02)

    async def main():
        slow.set()
        async with serve(models) as server:
            slow.clear()
            dropping = asyncio.create_task(server.state.drop_gone())
            app = server.client._transport.app
            body = json.dumps({"instances": [IMAGE]}).encode()
            messages = [{"type": "http.request", "body": body}]
            is_gone = asyncio.Event()

            async def receive():
                if messages:
                    return messages.pop()
                await is_gone.wait()
                return {"type": "http.disconnect"}

            sent = []

            async def send(message):
                sent.append(message)

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/models/digits:predict",
                "raw_path": b"/v1/models/digits:predict",
                "root_path": "",
                "scheme": "http",
                "http_version": "1.1",
                "query_string": b"",
                "headers": [],
                "server": ("x", 80),
                "client": ("x", 1),
            }
            asking = asyncio.create_task(app(scope, receive, send))
            await asyncio.sleep(0.2)
            assert not asking.done()
            is_gone.set()
            await asyncio.wait_for(asking, 5)
            assert sent[0]["status"] == 499
            assert server.state.num_requests == 0
            slow.set()
            dropping.cancel()

    asyncio.run(main())


def test_the_end_refuses_new_requests_and_answers_old_ones(serve, models, slow):
    async def main():
        slow.set()
        async with serve(models) as server:
            slow.clear()
            url, body = "/v1/models/digits:predict", {"instances": [IMAGE]}
            asked = asyncio.create_task(server.client.post(url, json=body))
            await asyncio.sleep(0.1)
            server.state.is_draining = True
            refused = await server.client.get("/v2/health/ready")
            assert refused.status_code == 503
            assert refused.headers["connection"] == "close"
            slow.set()
            answer = await asked
            assert answer.status_code == 200
            assert answer.headers["connection"] == "close"
            assert server.state.num_requests == 0

    asyncio.run(main())


def test_requests_are_counted(serve, models):
    async def main():
        async with serve(models) as server:
            await server.predict({"instances": [IMAGE]})
            await server.predict({"instances": []}, status=400)
            await server.predict({}, model="x" * 50, status=404)
            text = (await server.client.get("/metrics")).text
            for labels in (
                'code="200",model="digits",protocol="v1",signature="serving_default"',
                'code="400",model="digits",protocol="v1",signature="serving_default"',
                'code="404",model="",protocol="v1",signature=""',
            ):
                assert f"tfp_glow_requests_total{{{labels}}}" in text
            assert "xxx" not in text  # or clients could fill the memory with names

    asyncio.run(main())


def test_pages_of_named_origins_may_ask(serve, models):
    async def main():
        headers = {"origin": "http://page", "access-control-request-method": "POST"}
        url = "/v1/models/digits:predict"
        async with serve(models, origins=["http://page"]) as server:
            allowed = await server.client.options(url, headers=headers)
            assert allowed.status_code == 200
            assert allowed.headers["access-control-allow-origin"] == "http://page"
        async with serve(models) as server:
            assert (
                await server.client.options(url, headers=headers)
            ).status_code == 405

    asyncio.run(main())


def test_openapi_describes_what_is_there(serve, models):
    async def main():
        async with serve(models) as server:
            paths = (await server.client.get("/openapi.json")).json()["paths"]
            predict = paths["/v1/models/{name}:predict"]["post"]
            assert "429" in predict["responses"]
            assert "requestBody" in predict
            assert not [path for path in paths if "repository" in path]
            for path, operations in paths.items():
                for operation in operations.values():
                    names = [p["name"] for p in operation.get("parameters", [])]
                    assert path.count("{") == len(names)
                    assert all(f"{{{name}}}" in path for name in names)

    asyncio.run(main())
