"""Requests that no client should send, made by a seeded generator."""

import base64
import copy
import functools
import gzip
import json
import math
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raw_http import post

__all__ = ["KINDS", "Case", "Target", "cases"]


@dataclass(frozen=True)
class Case:
    """A request, and what may become of it besides an answer 4xx.

    Attributes:
        request: Bytes.
        may_pass: Whether it may be right after all, and answered 200.
        may_close: Whether the connection may be closed without an answer.
        endless: What follows it, again and again, until there is an answer.
        stalls: Whether nothing more follows though the server waits for it.
    """

    request: bytes
    may_pass: bool = False
    may_close: bool = False
    endless: bytes = b""
    stalls: bool = False


@dataclass(frozen=True)
class Target:
    """A model that is served.

    Attributes:
        name: Of the model.
        event_shape: `[H, W, C]` of its images.
        outside: A folder that is not served, but holds a SavedModel.
    """

    name: str
    event_shape: tuple[int, int, int]
    outside: str = "/etc"

    @property
    def predict(self) -> str:
        """The path of TensorFlow Serving's interface."""
        return f"/v1/models/{self.name}:predict"

    @property
    def infer(self) -> str:
        """The path of the Open Inference Protocol."""
        return f"/v2/models/{self.name}/infer"

    def predict_body(self, rng: random.Random) -> dict:
        """A right body for `predict`."""
        signature, row = rng.choice(
            [
                ("log_prob", {"images": self.image(rng)}),
                ("encode", {"images": self.image(rng)}),
                ("sample", {"seed": rng.randrange(2**31), "temperature": 0.5}),
                (
                    "decode",
                    {"latents": [rng.gauss(0, 1) for _ in range(self.num_dims)]},
                ),
            ]
        )
        body = {"signature_name": signature, "instances": [row]}
        if rng.random() < 0.3:
            columns = {name: [value] for name, value in row.items()}
            body = {"signature_name": signature, "inputs": columns}
        return body

    def infer_body(self, rng: random.Random) -> dict:
        """A right body for `infer`."""
        images = {
            "name": "images",
            "shape": [1, *self.event_shape],
            "datatype": "UINT8",
            "data": [rng.randrange(256) for _ in range(self.num_dims)],
        }
        return {"id": "1", "inputs": [images]}

    def image(self, rng: random.Random) -> list:
        """Nested lists `[H, W, C]`."""
        height, width, channels = self.event_shape
        return [
            [[rng.randrange(256) for _ in range(channels)] for _ in range(width)]
            for _ in range(height)
        ]

    @property
    def num_dims(self) -> int:
        """Numbers of an image."""
        return math.prod(self.event_shape)


KINDS: dict[str, Callable[[random.Random, Target], Case]] = {}
"""What makes a case, by name."""


def cases(target: Target, count: int, seed: int = 0) -> Iterator[tuple[str, Case]]:
    """As many of each kind, the kinds in turn.

    Args:
        target: The model that is asked.
        count: How many.
        seed: The same one makes the same requests.

    Yields:
        Name of the kind and the case.
    """
    rng = random.Random(seed)
    kinds = list(KINDS.items())
    for i in range(count):
        name, make = kinds[i % len(kinds)]
        yield name, make(rng, target)


def _kind(make: Callable) -> Callable:
    KINDS[make.__name__.strip("_").replace("_", " ")] = make
    return make


def _json(body: Any) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")


def _valid(rng: random.Random, target: Target) -> tuple[str, dict]:
    if rng.random() < 0.5:
        return target.predict, target.predict_body(rng)
    return target.infer, target.infer_body(rng)


def _leaves(body: Any, place: tuple = ()) -> Iterator[tuple]:
    """The places of all values that hold no others."""
    items = ()
    if isinstance(body, dict):
        items = body.items()
    elif isinstance(body, list):
        items = enumerate(body)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _leaves(value, (*place, key))
        else:
            yield (*place, key)


def _replaced(body: Any, place: Sequence, value: Any) -> Any:
    body = copy.deepcopy(body)
    inner = body
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return body


STRANGE = [
    *(None, True, False, "", "1", "NaN", "ß\u0000\ud800", "x" * 5000, [], {}, [[]]),
    *(1.5, -1, 256, 2**31, 2**63, -(2**64), 10**400, 1e308, -0.0),
    *(math.nan, math.inf, -math.inf),
]


@_kind
def truncated_json(rng: random.Random, target: Target) -> Case:
    """Ends before its last brace."""
    path, body = _valid(rng, target)
    text = _json(body)
    return Case(post(path, text[: rng.randrange(len(text))]))


@_kind
def changed_bytes(rng: random.Random, target: Target) -> Case:
    """A few bytes are others."""
    path, body = _valid(rng, target)
    text = bytearray(_json(body))
    for _ in range(rng.randint(1, 5)):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return Case(post(path, bytes(text)), may_pass=True)


@_kind
def no_json(rng: random.Random, target: Target) -> Case:
    """Something else altogether."""
    texts = [b"", b" ", b"null", b"1", b'"x"', b"[]", b"{}", b"[[]]", b"true", b"NaN"]
    texts += [
        rng.randbytes(rng.randrange(1, 300)),
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
    ]
    texts += [b"a=1&b=2", b"<images/>", b"{'instances': []}", b'{"instances": [1],}']
    return Case(post(rng.choice([target.predict, target.infer]), rng.choice(texts)))


@_kind
def wrong_values(rng: random.Random, target: Target) -> Case:
    """A number, a name or a string becomes something else."""
    path, body = _valid(rng, target)
    place = rng.choice(list(_leaves(body)))
    value = rng.choice(STRANGE)
    # Bytes take no other; some of these are good seeds, names or real numbers.
    of_image = "images" in place or "data" in place
    text = _json(_replaced(body, place, value))
    return Case(post(path, text), may_pass=not of_image)


@_kind
def wrong_structure(rng: random.Random, target: Target) -> Case:
    """A part is missing, or is something else."""
    path, body = _valid(rng, target)
    places = {place[:i] for place in _leaves(body) for i in range(1, len(place))}
    place = rng.choice(sorted(places, key=str))
    return Case(post(path, _json(_replaced(body, place, rng.choice(STRANGE)))))


@_kind
def ragged_lists(rng: random.Random, target: Target) -> Case:
    """An image that is none of this size."""
    image = target.image(rng)
    broken = rng.choice(
        [
            image[1:],
            [*image, image[0]],
            [image[0][1:], *image[1:]],
            [[*row[:-1], []] for row in image],
            [[[*pixel, 0] for pixel in row] for row in image],
            [image],
            sum(image, []),
            [],
            [[[]]],
        ]
    )
    body = {"instances": [broken] if rng.random() < 0.5 else [image, broken]}
    return Case(post(target.predict, _json(body)))


@_kind
def impossible_shapes(rng: random.Random, target: Target) -> Case:
    """Huge, negative and other sizes in the Open Inference Protocol."""
    body = target.infer_body(rng)
    sizes = [10**9, 2**31, 2**63, 10**30, -1, -(2**63), 0, 1.5, "8", None, [8], 7]
    shape = body["inputs"][0]["shape"]
    if rng.random() < 0.2:
        shape *= rng.choice([0, 2, 100])
    else:
        shape[rng.randrange(len(shape))] = rng.choice(sizes)
    # pydantic takes a size that is a string.
    return Case(post(target.infer, _json(body)), may_pass="8" in shape)


@_kind
def too_many_rows(rng: random.Random, target: Target) -> Case:
    """More than anybody is allowed, yet few bytes."""
    row = {"seed": 1, "temperature": 1.0}
    rows = [row] * rng.choice([3000, 20_000])
    return Case(
        post(target.predict, _json({"signature_name": "sample", "instances": rows}))
    )


@_kind
def too_many_bytes(rng: random.Random, target: Target) -> Case:
    """A body that is too long, or says that it will be."""
    path = rng.choice([target.predict, target.infer])
    if rng.random() < 0.2:
        return Case(post(path, b" " * 20_000_000 + b"{}"), may_close=True)
    said = rng.choice([10**8, 10**12, 2**63, 10**30])
    request = post(path, b"{}").replace(b"Length: 2", b"Length: %d" % said)
    return Case(request, may_close=True)


@_kind
def deep_nesting(rng: random.Random, target: Target) -> Case:
    """More levels than a parser may recurse into."""
    depth = rng.choice([500, 2000, 100_000])
    opening, closing = rng.choice(
        [("[", "]"), ('{"a":', "}"), ('{"instances":[', "]}")]
    )
    text = opening * depth + "1"
    if rng.random() < 0.7:
        text += closing * depth
    if rng.random() < 0.5:
        text = '{"instances": ' + text + "}"
    return Case(post(rng.choice([target.predict, target.infer]), text.encode()))


@_kind
def long_numbers(rng: random.Random, target: Target) -> Case:
    """Digits without end, and exponents."""
    number = rng.choice(["9" * 5000, "0." + "3" * 100_000, "1e999999", "-" + "1" * 400])
    row = f'{{"seed":{number},"temperature":1}}'
    body = f'{{"signature_name":"sample","instances":[{row}]}}'
    return Case(post(target.predict, body.encode()))


@_kind
def path_traversal(rng: random.Random, target: Target) -> Case:
    """Names and versions that lead out of the folder."""
    up = rng.choice(
        ["../", "..%2f", "%2e%2e%2f", "..%5c", "..%c0%af", "....//", "..;/"]
    )
    outside = target.outside.strip("/")
    name = rng.choice(
        [
            up * rng.randint(1, 12) + outside,
            f"{target.name}/{up}{up}{outside}",
            f"{target.name}%2f{up}{outside}",
            "%2f" + outside.replace("/", "%2f"),
            f"file:%2f%2f%2f{outside}",
            f"{target.name}%00{up}",
            f"{target.name}/versions/{up}{outside}",
            f"{target.name}/versions/%2f{outside.replace('/', '%2f')}",
            *(".", "..", "~root", "$HOME", "%2e", "%2e%2e", "CON", "x" * 5000, "%00"),
            *("é", "%ff%fe", "a%0d%0ab", "%25", "*", "{model_name}", "%20"),
        ]
    )
    path = rng.choice(
        [
            "/v1/models/{}:predict",
            "/v1/models/{}/metadata",
            "/v1/models/{}/versions/1:predict",
            "/v1/models/{}",
            "/v2/models/{}/infer",
            "/v2/models/{}/ready",
            "/v2/models/{}",
            "/v2/repository/models/{}/load",
            "/{}",
        ]
    )
    method = "POST" if path.endswith(("predict", "infer", "load")) else "GET"
    body = _json(target.predict_body(rng)) if method == "POST" else b""
    return Case(post(path.format(name), body, method=method), may_close=" " in name)


@_kind
def wrong_versions(rng: random.Random, target: Target) -> Case:
    """Versions that are none."""
    version = rng.choice(
        [
            *(
                "0",
                "-1",
                "99",
                "1.0",
                "01x",
                "latest",
                "１",
                "1e0",
                "9" * 30,
                "9" * 5000,
            ),
            "%31%00",
        ]
    )
    path, body = _valid(rng, target)
    if path == target.predict:
        path = f"/v1/models/{target.name}/versions/{version}:predict"
    else:
        path = f"/v2/models/{target.name}/versions/{version}/infer"
    return Case(post(path, _json(body)))


@_kind
def wrong_content_types(rng: random.Random, target: Target) -> Case:
    """The right body under another name."""
    path, body = _valid(rng, target)
    kind = rng.choice(
        [
            *(None, "", "text/plain", "application/x-www-form-urlencoded", "image/png"),
            *("multipart/form-data", "multipart/form-data; boundary=x", "*/*", ";;;"),
            *(
                "application/json; charset=utf-16",
                "application/octet-stream",
                "x" * 3000,
            ),
            *(
                "application/cloudevents+json",
                "application/msgpack",
                "application/json;",
            ),
        ]
    )
    return Case(post(path, _json(body), content_type=kind), may_pass=True)


@functools.cache
def _bomb(size: int) -> bytes:
    return gzip.compress(b" " * size, 9, mtime=0)


@_kind
def compressed_bodies(rng: random.Random, target: Target) -> Case:
    """Bombs, and what says that it is compressed."""
    path, body = _valid(rng, target)
    coding = rng.choice(
        ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x", "identity,x"]
    )
    packed = rng.choice(
        [
            _bomb(10**8),
            _bomb(10**6)[:500],
            rng.randbytes(50),
            gzip.compress(_bomb(10**7), mtime=0),
        ]
    )
    if rng.random() < 0.2:
        packed = gzip.compress(_json(body), mtime=0)  # right for those who take it
    return Case(post(path, packed, f"Content-Encoding: {coding}"), may_pass=True)


@functools.cache
def _png(
    width: int, height: int, num_bytes: int, color: int = 0, bits: int = 1
) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(num_bytes), 9))
        + chunk(b"IEND", b"")
    )


@_kind
def broken_pictures(rng: random.Random, target: Target) -> Case:
    """Decompression bombs, and pictures that are none of this size."""
    height, width, _ = target.event_shape
    right = _png(width, height, height * (width + 1), bits=8)
    picture = rng.choice(
        [
            _png(20_000, 20_000, 20_000 * 2501),
            _png(2**31 - 1, 2**31 - 1, 100),
            _png(0, 0, 0),
            _png(width, height, 10**7, bits=8)[:200],
            _png(width + 1, height, 1000, bits=8),
            _png(width, height, 3, bits=8),
            right[: rng.randrange(1, 45)],
            right[:20] + rng.randbytes(20),
            *(
                b"GIF89a\x01\x00\x01\x00\x00;",
                b"<svg/>",
                b"\xff\xd8\xff\xe0",
                b"BM",
                b"",
            ),
            rng.randbytes(100),
        ]
    )
    text = base64.b64encode(picture).decode()
    if rng.random() < 0.2:
        text = rng.choice(
            ["?", "a", "=" * 50, text + "!", "\ud800", 1, None, [text], "é"]
        )
    value = {"b64": text}
    if rng.random() < 0.1:
        value["more"] = 1
    body = {"instances": [{"images": value} if rng.random() < 0.5 else value]}
    return Case(post(target.predict, _json(body)))


@_kind
def cloud_events(rng: random.Random, target: Target) -> Case:
    """Headers and envelopes of CloudEvents, which KServe reads too."""
    path, body = _valid(rng, target)
    named = {"specversion": "1.0", "id": "1", "source": "x", "type": "y"}
    named = {k: v for k, v in named.items() if rng.random() < 0.8}
    if rng.random() < 0.5:
        named[rng.choice([*named, "time"])] = rng.choice(["", "9.9", "é", "x" * 2000])
    if rng.random() < 0.5:
        headers = [f"ce-{key}: {value}" for key, value in named.items()]
        headers += rng.choice([[], ["ce-contenttype: application/json"], ["ce-: x"]])
        request = post(path, _json(body), *headers)
    else:
        named["data"] = rng.choice([body, None, "x", [], _json(body).decode()])
        if rng.random() < 0.2:
            del named["data"]
        kind = rng.choice(["application/json", "application/cloudevents+json"])
        request = post(path, _json(named), content_type=kind)
    return Case(request, may_pass=True, may_close=b"\xc3" in request)


@_kind
def binary_tensors(rng: random.Random, target: Target) -> Case:
    """The binary extension of the Open Inference Protocol, with wrong lengths."""
    body = target.infer_body(rng)
    (images,) = body["inputs"]
    data = bytes(images.pop("data"))
    sizes = [-1, 0, 1, 2**31, 2**63, 10**30, 1.5, "64", None, True, [64]]
    size = rng.choice([len(data), *sizes])
    images["parameters"] = {"binary_data_size": size}
    if rng.random() < 0.3:
        images["datatype"] = rng.choice(
            ["BYTES", "FP32", "FP16", "BOOL", "INT8", "X", ""]
        )
    text = _json(body)
    lengths = [len(text) - 1, len(text) + 1, 0, -1, 10**9, 10**30, "x", "", "1.5", "１"]
    length = rng.choice([len(text), *lengths])
    cut = rng.choice([data, data[:-1], data + b"x", b""])
    right = size == len(data) and length == len(text) and cut == data
    request = post(
        target.infer,
        text + cut,
        f"Inference-Header-Content-Length: {length}",
        content_type=rng.choice(["application/octet-stream", "application/json"]),
    )
    return Case(request, may_pass=right and images["datatype"] == "UINT8")


@_kind
def unknown_names(rng: random.Random, target: Target) -> Case:
    """Signatures, inputs and outputs that there are not, and labels."""
    image = target.image(rng)
    inputs = target.infer_body(rng)["inputs"]
    name = rng.choice(
        ["", "x", "__saved_model_init_op", "../log_prob", "é", "x" * 5000]
    )
    path, body = rng.choice(
        [
            (target.predict, {"signature_name": name or "?", "instances": [image]}),
            (target.predict, {"instances": [{name: image}]}),
            (target.predict, {"instances": [{"images": image, "labels": 1}]}),
            (target.predict, {"instances": [{"images": image, name: image}]}),
            (target.predict, {"inputs": {"images": [image], "labels": [1]}}),
            (target.predict, {"inputs": {}}),
            (target.predict, {"instances": [image], "inputs": {"images": [image]}}),
            (target.infer, {"inputs": inputs, "outputs": [{"name": name}]}),
            (target.infer, {"inputs": inputs + inputs}),
            (target.infer, {"inputs": [{**inputs[0], "name": name}]}),
            (target.infer, {"inputs": [{**inputs[0], "datatype": name}]}),
            (target.infer, {"inputs": []}),
        ]
    )
    return Case(post(path, _json(body)))


@_kind
def wrong_methods(rng: random.Random, target: Target) -> Case:
    """Verbs that a path does not have, and paths that there are not."""
    method = rng.choice(["GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "X"])
    path = rng.choice(
        [
            target.predict,
            target.infer,
            f"/v1/models/{target.name}:explain",
            f"/v1/models/{target.name}:regress",
            f"/v1/models/{target.name}:",
            f"/v2/models/{target.name}/infer/",
            f"/v2/models/{target.name}/generate",
            "/v1/models/:predict",
            "/v2/repository/index",
            "/v2/cudasharedmemory/status",
            "/openai/v1/models",
        ]
    )
    return Case(post(path, b"{}", method=method))


@_kind
def management(rng: random.Random, target: Target) -> Case:
    """Models are loaded and unloaded by whoever has the folder, and by nobody else."""
    verb = rng.choice(["load", "unload"])
    name = rng.choice([target.name, "x", "..%2f..%2fetc"])
    return Case(post(f"/v2/repository/models/{name}/{verb}", b"{}"))


@_kind
def broken_http(rng: random.Random, target: Target) -> Case:
    """What is no HTTP/1.1."""
    good = post(target.predict, b"{}")
    request = rng.choice(
        [
            rng.randbytes(rng.randrange(1, 2000)) + b"\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(100),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            good.replace(b"HTTP/1.1", b"HTTP/9.9"),
            good.replace(b"Length: 2", b"Length: -2"),
            good.replace(b"Length: 2", b"Length: 2, 3"),
            good.replace(b"Length: 2", b"Length: 2\r\nContent-Length: 7"),
            good.replace(b"Length: 2", b"Length: x"),
            good.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"),
            good.replace(b"Host", b"Transfer-Encoding: \x0bchunked\r\nHost"),
            good.replace(b"Host", b"A: " + b"x" * 300_000 + b"\r\nHost"),
            good.replace(b"Host", b"A: x\r\n" * 5000 + b"Host"),
            good.replace(b"Host", b"A\x00b: x\r\nHost"),
            good.replace(b"Host", b"No colon here\r\nHost"),
            good.replace(b"/v1", b"/" + b"x" * 200_000),
            good.replace(b"\r\n", b"\n"),
        ]
    )
    return Case(request, may_close=True, stalls=True)


def _chunked(path: str, start: bytes) -> bytes:
    request = post(path, b"").replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    return request + start


@_kind
def endless_chunks(rng: random.Random, target: Target) -> Case:
    """A body in pieces that goes on, stops, or is cut wrong."""
    path = rng.choice([target.predict, target.infer])
    endless = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    start = rng.choice(
        [
            b"",
            b"5\r\n{",
            b"zz\r\n{}\r\n",
            b"-1\r\n",
            b"f" * 20 + b"\r\n",
            b"2;" + b"x" * 10**6,
        ]
    )
    if not start and rng.random() < 0.5:
        return Case(_chunked(path, b""), may_close=True, endless=endless)
    return Case(_chunked(path, start), may_close=True, stalls=True)


@_kind
def unfinished_requests(rng: random.Random, target: Target) -> Case:
    """A client that goes away, or falls asleep."""
    path, body = _valid(rng, target)
    request = post(path, _json(body))
    cut = request[: rng.randrange(1, len(request))]
    return Case(cut, may_close=True, stalls=True)
