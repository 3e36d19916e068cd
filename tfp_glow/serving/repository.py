"""The models that are served: loaded when they appear, dropped when they are gone."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from kserve import Model, ModelRepository
from kserve.model import InferenceVerb

from tfp_glow.serving.batcher import Batcher
from tfp_glow.serving.exchange import Exchange
from tfp_glow.serving.folder import ModelFolder
from tfp_glow.serving.limits import Limits
from tfp_glow.serving.refused import Refused, shown
from tfp_glow.serving.served_model import ServedModel

__all__ = ["Repository", "Version", "VersionedModel", "is_loading"]

_LOADING = "tfp_glow loads a model"

_logger = logging.getLogger("tfp_glow.serving")

# Reading or writing so many bytes takes long enough to give it to another thread.
_MANY_BYTES = 2**16


@dataclass(eq=False)
class Version:
    """A version of a model that is served, and how many requests hold it."""

    number: int
    model: ServedModel
    batcher: Batcher
    num_requests: int = 0

    async def close(self) -> None:
        """Ends it once it has answered those that hold it."""
        while self.num_requests:
            await asyncio.sleep(0.05)
        await self.batcher.close()


@dataclass
class _Call:
    """What passes through the steps of `VersionedModel`."""

    exchange: Exchange
    version: Version
    outputs: Mapping[str, np.ndarray] | None = None


class VersionedModel(Model):
    """The versions of a model, as one model of KServe.

    KServe hands it an `Exchange`, and times its three steps for Prometheus.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        """Takes the model's name, and what one request may ask of it."""
        super().__init__(name)
        self.versions: dict[int, Version] = {}
        self._limits = limits

    async def healthy(self) -> bool:
        """Whether a version is loaded and warm."""
        return bool(self.versions)

    def load(self) -> bool:
        """Does nothing: what is loaded is not for clients to say."""
        return bool(self.versions)

    def find(self, number: int | None) -> Version:
        """Returns a version, or the newest.

        Raises:
            Refused: If it is not served.
        """
        number = max(self.versions, default=None) if number is None else number
        if number not in self.versions:
            there = ", ".join(map(str, sorted(self.versions))) or "none"
            raise Refused(
                f"There is no version {number} of {self.name!r}; there is {there}.",
                HTTPStatus.NOT_FOUND,
            )
        return self.versions[number]

    async def __call__(
        self,
        body: Exchange,
        headers: Mapping[str, str] | None = None,
        verb: InferenceVerb = InferenceVerb.PREDICT,
    ) -> tuple[Any, dict[str, str]]:
        """Answers a request, with the version that was there when it began."""
        version = self.find(body.version)
        version.num_requests += 1
        try:
            return await super().__call__(_Call(body, version), headers, verb)
        finally:
            version.num_requests -= 1

    async def preprocess(
        self, payload: _Call, headers: Mapping[str, str] | None = None
    ) -> _Call:
        """Reads and checks the request."""
        payload.version.batcher.check_room()
        signatures = payload.version.model.signatures
        read = partial(payload.exchange.read, signatures, self._limits)
        if payload.exchange.num_bytes < _MANY_BYTES:
            read()
        else:
            await asyncio.to_thread(read)
        return payload

    async def predict(
        self,
        payload: _Call,
        headers: Mapping[str, str] | None = None,
        response_headers: Mapping[str, str] | None = None,
    ) -> _Call:
        """Computes the outputs."""
        exchange = payload.exchange
        payload.outputs = await payload.version.batcher.run(
            exchange.signature.name, exchange.inputs
        )
        return payload

    async def postprocess(
        self,
        result: _Call,
        headers: Mapping[str, str] | None = None,
        response_headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Writes the answer."""
        write = partial(result.exchange.write, result.outputs, result.version.number)
        if sum(array.nbytes for array in result.outputs.values()) < _MANY_BYTES:
            return write()
        return await asyncio.to_thread(write)


class Repository(ModelRepository):
    """The models of a folder, kept up to date.

    A version that appears is loaded and warmed up while older ones serve. It then is
    the one that is asked when no version is named. One that cannot be loaded is logged
    once, and tried again when its files change.
    """

    def __init__(
        self, folder: ModelFolder, limits: Limits, *, num_versions: int = 2
    ) -> None:
        """Takes a folder; `load_all` loads what is in it.

        Args:
            folder: Where models are.
            limits: What one request may ask of them.
            num_versions: How many versions of a model are served, the newest.
        """
        super().__init__(str(folder.path))
        self.models: dict[str, VersionedModel] = {}
        self.is_loaded = False
        self._folder = folder
        self._limits = limits
        self._num_versions = num_versions
        self._seen: dict[Path, Any] = {}  # states of files, at the last look
        self._failed: dict[Path, Any] = {}  # states that could not be loaded
        self._closing: set[asyncio.Task] = set()

    def find(self, name: str) -> VersionedModel:
        """Returns a model.

        Raises:
            Refused: If it is not served, or not yet.
        """
        model = self.models.get(name)
        if model is not None and model.versions:
            return model
        if not self.is_loaded:
            raise Refused("Models are being loaded.", HTTPStatus.SERVICE_UNAVAILABLE)
        raise Refused(f"There is no model {shown(name)}.", HTTPStatus.NOT_FOUND)

    def unload(self, name: str) -> None:
        """Refuses: models come and go with their folders, not as clients say."""
        raise Refused("Models cannot be unloaded.", HTTPStatus.FORBIDDEN)

    async def load_all(self) -> None:
        """Loads what is there when the server starts.

        Raises:
            FileNotFoundError: If there is no model.
            OSError: If the folder cannot be read.
            ValueError: If there are some, and none can be served; the first reason.
        """
        errors = await self._update(is_start=True)
        if not self.models:
            raise (
                errors[0]
                if errors
                else FileNotFoundError(
                    f"{self._folder.path} holds no SavedModel, nor NAME/VERSION/ "
                    "folders with some. Write one with `tfp-glow export RUN DIR`."
                )
            )
        for error in errors:
            _logger.error("%s", error)
        self.is_loaded = True

    async def watch(self, seconds: float) -> None:
        """Looks for new and removed versions, until it is cancelled.

        Args:
            seconds: How long it waits between two looks.
        """
        last = None  # what there was to say of a folder that cannot be read
        while True:
            await asyncio.sleep(seconds)
            try:
                errors = await self._update(is_start=False)
                last = None
            except Exception as error:  # such as of a file system that is away a while
                errors = [] if str(error) == last else [error]
                last = str(error)
            for error in errors:
                _logger.error("%s", error)

    async def close(self) -> None:
        """Answers what waits, and drops all models."""
        for model in self.models.values():
            for version in model.versions.values():
                self._close(version)
            model.versions = {}
        await asyncio.gather(*self._closing)

    async def _update(self, *, is_start: bool) -> list[Exception]:
        """Makes what is served what is in the folder; returns what went wrong."""
        found = await asyncio.to_thread(self._folder.look)
        errors = []
        for name, versions in found.items():
            errors += await self._update_model(name, versions, is_start=is_start)
        for name in self.models.keys() - found.keys():
            self._drop(name, set(self.models[name].versions))
            del self.models[name]
            _logger.warning("%s is gone, and no longer served.", name)
        return errors

    async def _update_model(
        self, name: str, found: dict[int, Path], *, is_start: bool
    ) -> list[Exception]:
        served = self.models[name].versions if name in self.models else {}
        errors, wanted = [], set()
        for number in sorted(found, reverse=True):
            if len(wanted) == self._num_versions:
                break
            if number in served:
                wanted.add(number)
                continue
            try:
                version = await self._load(
                    name, number, found[number], is_start=is_start
                )
            except Exception as error:  # Others are served all the same.
                errors.append(error)
                continue
            if version is not None:
                wanted.add(number)
                model = self.models.setdefault(name, VersionedModel(name, self._limits))
                model.versions = model.versions | {number: version}
                if not is_start:
                    _logger.warning("Serving version %d of %s.", number, name)
        if name in self.models and wanted:
            self._drop(name, set(self.models[name].versions) - wanted)
        return errors

    async def _load(
        self, name: str, number: int, path: Path, *, is_start: bool
    ) -> Version | None:
        """Loads and warms up a version; None where it is not the time to.

        Files that are still being written are waited for: they must be as they were at
        the look before, but for the first.
        """
        try:
            state = await asyncio.to_thread(self._folder.state, path)
            before = self._seen.get(path)
            self._seen[path] = state
            if self._failed.get(path) == state or not (is_start or before == state):
                return None
        except OSError:
            return None  # it is being written, or removed
        except Exception as error:
            if self._failed.get(path) == str(error):
                return None
            self._failed[path] = str(error)
            raise
        try:
            model = await _in_daemon_thread(ServedModel, path)
            await _in_daemon_thread(model.warm_up, self._limits.batch_sizes)
        except Exception:
            self._failed[path] = state
            raise
        return Version(
            number, model, Batcher(model, self._limits, name=name, version=number)
        )

    def _drop(self, name: str, numbers: set[int]) -> None:
        model = self.models[name]
        dropped = [model.versions[number] for number in numbers]
        model.versions = {n: v for n, v in model.versions.items() if n not in numbers}
        for version in dropped:
            self._close(version)

    def _close(self, version: Version) -> None:
        """Ends a version once it has answered what waits for it."""
        task = asyncio.create_task(version.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def is_loading() -> bool:
    """Whether a model is being loaded, be it that nobody waits for it any more."""
    return any(thread.name == _LOADING for thread in threading.enumerate())


async def _in_daemon_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """`asyncio.to_thread`, in a thread that the server's end does not wait for."""
    done = Future()
    done.set_running_or_notify_cancel()  # who waits may give up, and it goes on

    def work() -> None:
        try:
            done.set_result(function(*arguments))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name=_LOADING, daemon=True).start()
    return await asyncio.wrap_future(done)
