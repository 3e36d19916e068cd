"""Arrays in files small enough to be carried: a list of them, and their bytes."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "FORMAT_VERSION",
    "PIECE_BYTES",
    "read",
    "write",
    "write_json",
]

FORMAT_VERSION = 1
"""Of everything that a bundle holds, takes and leaves."""

PIECE_BYTES = 60_000_000

_INDEX = "index.json"


def write(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
    *,
    rounded: Collection[str] = (),
    piece_bytes: int = PIECE_BYTES,
) -> None:
    """Writes arrays to a folder, which is there whole or as it was before.

    Args:
        folder: The folder, whose own folder need not exist.
        arrays: By name.
        about: What else `read` is to return, as JSON takes it.
        rounded: Names of float32 arrays that are written as bfloat16: half the size,
            and 8 bits of precision.
        piece_bytes: Size of the largest file.
    """
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    entries, values = [], []
    for name, value in arrays.items():
        dtype = "bfloat16" if name in rounded else value.dtype.name
        entries.append({"name": name, "shape": list(value.shape), "dtype": dtype})
        values.append(_to_bfloat16(value) if name in rounded else value)
    pieces = []
    for piece in _split(values, piece_bytes):
        file = partial / f"piece-{len(pieces):03d}.bin"
        file.write_bytes(piece)
        digest = hashlib.sha256(piece).hexdigest()
        pieces.append({"file": file.name, "bytes": len(piece), "sha256": digest})
    index = {
        "format_version": FORMAT_VERSION,
        "arrays": entries,
        "pieces": pieces,
        "about": about,
    }
    write_json(partial / _INDEX, index)
    old = folder.with_name(f".old-{folder.name}")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)  # `read` looks there, where the process is killed here
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `write` wrote; what was rounded is float32 again.

    Raises:
        FileNotFoundError: If there is nothing, or a piece is missing.
        ValueError: If it is damaged, or of another version.
    """
    old = folder.with_name(f".old-{folder.name}")
    if not folder.exists() and old.exists():
        folder = old
    file = folder / _INDEX
    if not file.is_file():
        raise FileNotFoundError(f"{folder} has no {_INDEX}: nothing was written there.")
    index = json.loads(file.read_text(encoding="utf-8"))
    if index.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{folder} must be of format {FORMAT_VERSION}. Received: format_version="
            f"{index.get('format_version')}. Export again with one version of tfp_glow."
        )
    missing = [p["file"] for p in index["pieces"] if not (folder / p["file"]).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} must hold {len(index['pieces'])} pieces. Missing: "
            f"{', '.join(missing)}. Copy them there too."
        )
    parts = []
    for piece in index["pieces"]:
        part = (folder / piece["file"]).read_bytes()
        if hashlib.sha256(part).hexdigest() != piece["sha256"]:
            raise ValueError(
                f"{folder / piece['file']} is damaged: it must have {piece['bytes']} "
                f"bytes of a known checksum. Received: {len(part)}. Copy it again."
            )
        parts.append(part)
    return _cut(b"".join(parts), index["arrays"]), index["about"]


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Writes JSON; at any time the old file is there or the new one."""
    partial = file.with_name(f".partial-{file.name}")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, file)


def _split(values: Iterable[np.ndarray], size: int) -> Iterator[bytes]:
    """The bytes of arrays, one after the other, in pieces of a size."""
    kept = bytearray()
    for value in values:
        kept += np.ascontiguousarray(value).tobytes()
        while len(kept) > size:
            yield bytes(kept[:size])
            del kept[:size]
    yield bytes(kept)


def _cut(joined: bytes, entries: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    arrays, start = {}, 0
    for entry in entries:
        is_rounded = entry["dtype"] == "bfloat16"
        dtype = np.dtype(np.uint16 if is_rounded else entry["dtype"])
        count = math.prod(entry["shape"])
        flat = np.frombuffer(joined, dtype, count, start)
        if is_rounded:
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        arrays[entry["name"]] = flat.reshape(entry["shape"])
        start += count * dtype.itemsize
    return arrays


def _to_bfloat16(value: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
