"""Files from elsewhere, which are what their checksum says or are not kept."""

import hashlib
import re
import shutil
import tarfile
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO

__all__ = ["check_sha256", "download", "is_url"]

_SECONDS = 30  # in which a server must go on answering
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_CHUNK = 2**20


def is_url(source: str) -> bool:
    """Whether it is an address of the web."""
    return source.startswith(("http://", "https://"))


def download(url: str, sha256: str | None, folder: Path, names: Sequence[str]) -> Path:
    """Downloads one of several files: as it is, or out of an archive or a folder.

    Args:
        url: Address of a file, of an archive (.zip, .tar, .tar.gz, .tgz) that holds
            one, or of a folder that holds the first; `#sha256=...` may follow.
        sha256: Checksum of the file or archive that is downloaded.
        folder: Where to write it; what is there after an error is the caller's.
        names: Names that the file may have, the most wanted first.

    Returns:
        The file.

    Raises:
        OSError: If it cannot be downloaded.
        ValueError: If there is no checksum, it is another, or the archive does not hold
            the file.
    """
    url, fragment = urllib.parse.urldefrag(url)
    sha256 = sha256 or fragment.removeprefix("sha256=")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(
            f"What is downloaded needs a checksum: append #sha256=... to {url}, or "
            f"pass `sha256`, 64 digits as `sha256sum` prints. Received: {sha256!r}."
        )
    parts = urllib.parse.urlsplit(url)
    suffixes = (*_ARCHIVES, *(PurePosixPath(name).suffix for name in names))
    if not parts.path.endswith(suffixes):
        parts = parts._replace(path=f"{parts.path.rstrip('/')}/{names[0]}")
    file = folder / PurePosixPath(parts.path).name
    _fetch(parts.geturl(), file)
    check_sha256(file, sha256, parts.geturl())
    if not file.name.endswith(_ARCHIVES):
        return file
    return _unpack_one(file, folder, names)


def check_sha256(file: Path, sha256: str, source: str) -> None:
    """Raises `ValueError` unless a file has a checksum."""
    with file.open("rb") as opened:
        received = hashlib.file_digest(opened, "sha256").hexdigest()
    if received != sha256.lower():
        raise ValueError(
            f"{source} is not the file that was meant: its SHA-256 must be {sha256}. "
            f"Received: {received}."
        )


def _unpack_one(archive: Path, folder: Path, names: Sequence[str]) -> Path:
    """Writes one file of an archive into a folder, and nothing else of it.

    Args:
        archive: A zip or tar file.
        folder: Where to write the file.
        names: Names that it may have, the most wanted first, in whatever folder of the
            archive; of several the one that is in the fewest folders.

    Raises:
        ValueError: If it is no archive, was cut short, or holds no such file.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                member = _choose(opened.namelist(), names, archive)
                return _copy(opened.open(member), folder / PurePosixPath(member).name)
        with tarfile.open(archive) as opened:
            files = [member.name for member in opened if member.isfile()]
            member = _choose(files, names, archive)
            return _copy(
                opened.extractfile(member), folder / PurePosixPath(member).name
            )
    except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{archive.name} is no archive, or was cut short: {error}."
        ) from error


def _choose(members: Sequence[str], names: Sequence[str], archive: Path) -> str:
    """The member of an archive that is wanted most."""

    def rank(member: str) -> tuple[int, int]:
        path = PurePosixPath(member)
        return names.index(path.name), len(path.parts)

    wanted = [member for member in members if PurePosixPath(member).name in names]
    if not wanted:
        raise ValueError(
            f"{archive.name} must hold {' or '.join(names)}. Received: an archive of "
            f"{list(members[:5])}."
        )
    return min(wanted, key=rank)


def _copy(source: IO[bytes], file: Path) -> Path:
    with source, file.open("wb") as target:
        shutil.copyfileobj(source, target)
    return file


def _fetch(url: str, file: Path) -> None:
    """Downloads a file.

    Raises:
        OSError: If that fails, or the file ends too early.
    """
    try:
        # Not `urlopen`, which remembers the proxy of the first time.
        opener = urllib.request.build_opener()
        with opener.open(url, timeout=_SECONDS) as response, file.open("wb") as target:
            length = response.headers.get("Content-Length")
            shutil.copyfileobj(response, target, _CHUNK)
    except (OSError, HTTPException) as error:
        raise OSError(f"{url} could not be downloaded: {error}.") from error
    received = file.stat().st_size
    if length is not None and received != int(length):
        raise OSError(
            f"{url} was cut short: {received:,} of {int(length):,} bytes came. Try "
            "again."
        )
