"""Rows of several requests in one call, and what each of them gets."""

import asyncio
import threading

import numpy as np
import pytest

pytest.importorskip("kserve", reason="needs the extra serve")

from tfp_glow.serving.batcher import Batcher
from tfp_glow.serving.limits import Limits
from tfp_glow.serving.refused import Refused


class Doubler:
    """Doubles `x`, refuses negative numbers, and waits until it is let go."""

    def __init__(self, *, is_held=False):
        self.calls = []
        self.may_go = threading.Event()
        if not is_held:
            self.may_go.set()

    def run(self, signature, inputs):
        x = inputs["x"]
        self.calls.append((signature, x.tolist()))
        assert self.may_go.wait(10)
        if np.any(x < 0):
            raise Refused("negative")
        return {"y": 2 * x}


def rows(*values):
    return {"x": np.array(values)}


async def blocked(batcher, model):
    """Has a request computed, so that others wait behind it."""
    first = asyncio.create_task(batcher.run("double", rows(0)))
    while not model.calls:
        await asyncio.sleep(0.001)
    model.calls.clear()
    return first


async def queued(batcher, *requests):
    tasks = [asyncio.create_task(batcher.run(*request)) for request in requests]
    await asyncio.sleep(0)
    return tasks


def test_what_waits_is_computed_together_and_filled_up():
    async def main():
        model = Doubler(is_held=True)
        batcher = Batcher(model, Limits(max_batch=16))
        first = await blocked(batcher, model)
        tasks = await queued(
            batcher, ("double", rows(1, 2)), ("double", rows(3)), ("double", rows(4, 5))
        )
        model.may_go.set()
        answers = [answer["y"].tolist() for answer in await asyncio.gather(*tasks)]
        await first
        await batcher.close()
        assert answers == [[2, 4], [6], [8, 10]]
        assert model.calls == [("double", [1, 2, 3, 4, 5, 5, 5, 5])]

    asyncio.run(main())


def test_one_row_is_never_alone():
    async def main():
        model = Doubler()
        batcher = Batcher(model, Limits())
        answer = await batcher.run("double", rows(7))
        await batcher.close()
        assert answer["y"].tolist() == [14]
        assert model.calls == [("double", [7, 7])]

    asyncio.run(main())


def test_other_signatures_wait_for_the_next_call_in_their_order():
    async def main():
        model = Doubler(is_held=True)
        batcher = Batcher(model, Limits(max_batch=4))
        first = await blocked(batcher, model)
        tasks = await queued(
            batcher,
            ("a", rows(1, 1)),
            ("b", rows(2, 2)),
            ("a", rows(3, 3)),
            ("b", rows(4, 4)),
            ("a", rows(5, 5)),
        )
        model.may_go.set()
        await asyncio.gather(first, *tasks)
        await batcher.close()
        assert [call[0] for call in model.calls] == ["a", "b", "a"]
        assert model.calls[0][1] == [1, 1, 3, 3]
        assert model.calls[1][1] == [2, 2, 4, 4]

    asyncio.run(main())


def test_a_long_request_is_split_and_put_together():
    async def main():
        model = Doubler()
        batcher = Batcher(model, Limits(max_batch=4))
        answer = await batcher.run("double", rows(*range(11)))
        await batcher.close()
        assert answer["y"].tolist() == list(range(0, 22, 2))
        assert [len(values) for _, values in model.calls] == [4, 4, 4]

    asyncio.run(main())


def test_one_bad_request_does_not_fail_its_mates():
    async def main():
        model = Doubler(is_held=True)
        batcher = Batcher(model, Limits())
        first = await blocked(batcher, model)
        tasks = await queued(
            batcher, ("double", rows(1)), ("double", rows(-1)), ("double", rows(2))
        )
        model.may_go.set()
        good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
        await first
        await batcher.close()
        assert good["y"].tolist() == [2]
        assert isinstance(bad, Refused)
        assert fine["y"].tolist() == [4]

    asyncio.run(main())


def test_a_part_that_fails_fails_its_request():
    async def main():
        batcher = Batcher(Doubler(), Limits(max_batch=2))
        with pytest.raises(Refused, match="negative"):
            await batcher.run("double", rows(1, 2, -3, 4, 5))
        answer = await batcher.run("double", rows(6))
        await batcher.close()
        assert answer["y"].tolist() == [12]

    asyncio.run(main())


def test_a_full_queue_refuses():
    async def main():
        model = Doubler(is_held=True)
        batcher = Batcher(model, Limits(max_queue=3))
        first = await blocked(batcher, model)
        tasks = await queued(batcher, ("double", rows(1, 2)), ("double", rows(3)))
        with pytest.raises(Refused, match="3 rows wait") as refused:
            await batcher.run("double", rows(4))
        assert refused.value.status == 429
        model.may_go.set()
        await asyncio.gather(first, *tasks)
        assert (await batcher.run("double", rows(4)))["y"].tolist() == [8]
        await batcher.close()

    asyncio.run(main())


def test_what_was_given_up_is_not_computed():
    async def main():
        model = Doubler(is_held=True)
        batcher = Batcher(model, Limits())
        first = await blocked(batcher, model)
        left, kept = await queued(batcher, ("double", rows(1)), ("double", rows(2)))
        left.cancel()
        await asyncio.sleep(0)
        model.may_go.set()
        assert (await kept)["y"].tolist() == [4]
        await first
        await batcher.close()
        assert model.calls == [("double", [2, 2])]
        assert left.cancelled()

    asyncio.run(main())


def test_close_answers_what_waits():
    async def main():
        model = Doubler(is_held=True)
        batcher = Batcher(model, Limits(max_batch=2))
        first = await blocked(batcher, model)
        tasks = await queued(batcher, *[("double", rows(n)) for n in range(6)])
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.01)
        assert not closing.done()
        model.may_go.set()
        answers = await asyncio.gather(*tasks)
        await asyncio.gather(first, closing)
        assert [answer["y"].item() for answer in answers] == list(range(0, 12, 2))

    asyncio.run(main())


def test_without_batching_requests_are_alone():
    async def main():
        model = Doubler(is_held=True)
        batcher = Batcher(model, Limits(batching=False))
        tasks = await queued(batcher, *[("double", rows(n)) for n in range(5)])
        model.may_go.set()
        answers = await asyncio.gather(*tasks)
        await batcher.close()
        assert [answer["y"].item() for answer in answers] == [0, 2, 4, 6, 8]
        assert sorted(values for _, values in model.calls) == [[n] for n in range(5)]

    asyncio.run(main())
