"""Versions that come, go and cannot be loaded."""

import asyncio
import shutil
import threading

import numpy as np
import pytest

pytest.importorskip("kserve", reason="needs the extra serve")

from tfp_glow.serving import repository as loading
from tfp_glow.serving.folder import ModelFolder
from tfp_glow.serving.limits import Limits
from tfp_glow.serving.refused import Refused
from tfp_glow.serving.repository import Repository
from tfp_glow.serving.served_model import ServedModel

SECONDS = 0.02  # between two looks


def add_version(models, number, source):
    shutil.copytree(source, models / "digits" / str(number))


def damage(folder):
    (data,) = folder.glob("variables/variables.data*")
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    data.write_bytes(damaged)


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_model_that_loads_for_long_holds_up_no_end(models, monkeypatch):
    begun, over = threading.Event(), threading.Event()

    def load(path):
        begun.set()
        over.wait()

    async def main():
        loading_all = asyncio.create_task(
            Repository(ModelFolder(models), Limits()).load_all()
        )
        await until(begun.is_set)
        loading_all.cancel()

    monkeypatch.setattr(loading, "ServedModel", load)
    timer = threading.Timer(20, over.set)  # so that a test that fails ends
    timer.start()
    asyncio.run(main())
    has_ended_before = not over.is_set() and loading.is_loading()
    timer.cancel()
    over.set()
    assert has_ended_before


def test_a_new_version_takes_over_while_requests_run(serve, models, exported, images):
    async def main():
        async with serve(models) as server:
            repository = server.state.repository
            watching = asyncio.create_task(repository.watch(SECONDS))
            versions, answers = set(), []

            async def ask():
                body = {
                    "inputs": [
                        {
                            "name": "images",
                            "shape": [1, 8, 8, 1],
                            "datatype": "UINT8",
                            "data": images[0].ravel().tolist(),
                        }
                    ]
                }
                while "3" not in versions:
                    response = await server.client.post(
                        "/v2/models/digits/infer", json=body
                    )
                    assert response.status_code == 200, response.text
                    versions.add(response.json()["model_version"])
                    answers.append(response.json()["outputs"][0]["data"][0])
                    await asyncio.sleep(0)

            asking = [asyncio.create_task(ask()) for _ in range(4)]
            for number in (2, 3):
                add_version(models, number, exported)
                await until(lambda n=number: n in repository.models["digits"].versions)
            await asyncio.gather(*asking)
            assert versions >= {"1", "3"}
            np.testing.assert_allclose(answers, answers[0], rtol=1e-6)
            # Two are kept: the newest, and the one before.
            await until(lambda: set(repository.models["digits"].versions) == {2, 3})
            url = "/v1/models/digits/versions/{}:predict"
            body = {"instances": images[:1].tolist()}
            old = await server.client.post(url.format(2), json=body)
            assert old.json()["predictions"] == pytest.approx(answers[:1])
            gone = await server.client.post(url.format(1), json=body)
            assert gone.status_code == 404
            assert "no version 1 of 'digits'; there is 2, 3" in gone.json()["error"]
            watching.cancel()

    asyncio.run(main())


def test_a_broken_version_is_logged_once_and_tried_again_when_mended(
    serve, models, exported, caplog
):
    async def main():
        async with serve(models) as server:
            repository = server.state.repository
            watching = asyncio.create_task(repository.watch(SECONDS))
            add_version(models, 2, exported)
            damage(models / "digits" / "2")
            await until(lambda: "is damaged" in caplog.text)
            await asyncio.sleep(10 * SECONDS)
            assert caplog.text.count("is damaged") == 1
            assert set(repository.models["digits"].versions) == {1}
            shutil.rmtree(models / "digits" / "2")
            add_version(models, 2, exported)
            await until(lambda: 2 in repository.models["digits"].versions)
            watching.cancel()

    with caplog.at_level("WARNING", "tfp_glow.serving"):
        asyncio.run(main())
    assert caplog.text.count("is damaged") == 1


def test_an_error_of_any_kind_ends_no_watching(
    serve, models, exported, caplog, monkeypatch
):
    def fail(*args):
        raise RuntimeError("a loop of links")

    async def main():
        async with serve(models) as server:
            repository = server.state.repository
            watching = asyncio.create_task(repository.watch(SECONDS))
            with monkeypatch.context() as patch:
                patch.setattr(ModelFolder, "look", fail)
                await until(lambda: "a loop of links" in caplog.text)
                await asyncio.sleep(5 * SECONDS)
                assert caplog.text.count("a loop of links") == 1
            await asyncio.sleep(5 * SECONDS)
            caplog.clear()
            with monkeypatch.context() as patch:
                patch.setattr(loading, "ServedModel", fail)
                add_version(models, 2, exported)
                await until(lambda: "a loop of links" in caplog.text)
                await asyncio.sleep(5 * SECONDS)
            assert caplog.text.count("a loop of links") == 1
            add_version(models, 3, exported)
            await until(lambda: 3 in repository.models["digits"].versions)
            watching.cancel()

    asyncio.run(main())


def test_what_is_removed_is_served_no_more(serve, models, exported):
    async def main():
        add_version(models, 2, exported)
        shutil.copytree(models / "digits", models / "other")
        async with serve(models) as server:
            repository = server.state.repository
            watching = asyncio.create_task(repository.watch(SECONDS))
            assert (await server.client.get("/v1/models")).json() == {
                "models": ["digits", "other"]
            }
            shutil.rmtree(models / "digits" / "2")
            await until(lambda: set(repository.models["digits"].versions) == {1})
            assert repository.models["digits"].find(None).number == 1
            shutil.rmtree(models / "other")
            await until(lambda: "other" not in repository.models)
            gone = await server.client.get("/v1/models/other")
            assert gone.status_code == 404
            watching.cancel()

    asyncio.run(main())


def test_a_version_ends_when_its_requests_have(serve, models, exported, images):
    async def main():
        async with serve(models, num_versions=1) as server:
            model = server.state.repository.models["digits"]
            version = model.find(1)
            version.num_requests += 1  # one that is being read
            add_version(models, 2, exported)
            watching = asyncio.create_task(server.state.repository.watch(SECONDS))
            await until(lambda: set(model.versions) == {2})
            answer = await version.batcher.run("log_prob", {"images": images[:1]})
            assert np.isfinite(answer["log_prob"]).all()
            version.num_requests -= 1
            watching.cancel()

    asyncio.run(main())


def test_files_that_are_being_written_are_waited_for(serve, models, exported, caplog):
    async def main():
        async with serve(models) as server:
            repository = server.state.repository
            folder = models / "digits" / "2"
            folder.mkdir()
            shutil.copy(exported / "saved_model.pb", folder)
            for _ in range(3):  # each look finds more than the one before
                await repository._update(is_start=False)
                (folder / f"{_}.txt").write_text("")
            shutil.copytree(exported / "variables", folder / "variables")
            await repository._update(is_start=False)
            await repository._update(is_start=False)
            assert set(repository.models["digits"].versions) == {1, 2}

    asyncio.run(main())
    assert caplog.messages == ["Serving version 2 of digits."]


def load(folder):
    async def main():
        repository = Repository(ModelFolder(folder), Limits())
        await repository.load_all()
        await repository.close()
        return repository

    return asyncio.run(main())


def test_nothing_that_can_be_served_is_an_error(models, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no SavedModel"):
        load(tmp_path / "empty")
    damage(models / "digits" / "1")
    with pytest.raises(ValueError, match="is damaged: TensorFlow cannot load it") as e:
        load(models)
    assert "\n" not in str(e.value)


def test_one_broken_model_does_not_keep_others_from_starting(models, exported, caplog):
    add_version(models, 2, exported)
    damage(models / "digits" / "2")
    repository = load(models)
    assert repository.is_loaded
    assert "digits/2 is damaged" in caplog.text


def test_before_models_are_loaded_nothing_is_known(models):
    repository = Repository(ModelFolder(models), Limits())
    with pytest.raises(Refused, match="being loaded") as refused:
        repository.find("digits")
    assert refused.value.status == 503


def test_warm_up_runs_every_signature_at_every_size(exported, monkeypatch):
    model = ServedModel(exported)
    calls = []
    monkeypatch.setattr(
        model,
        "run",
        lambda name, inputs: (
            calls.append((name, len(*inputs.values())))
            if len(inputs) == 1
            else calls.append((name, len(inputs["seed"])))
        ),
    )
    model.warm_up([2, 4])
    assert sorted(calls) == sorted((n, s) for n in model.signatures for s in (2, 4))
