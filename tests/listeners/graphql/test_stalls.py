"""Documents that attack validation, one after the other, hold nobody's loop: another listener hardly notices."""

import asyncio
import sys
import time

import pytest

from citadel_edge.config.shape import ListenerName
from shelf import GRAPH

ATTACKS = {
    "one field with many different arguments": "{" + " ".join(f'model(name:"{n}"){{name}}' for n in range(150)) + "}",
    "one field nine hundred times": "{" + "b " * 900 + "}",
    "inline fragments": "{" + "... on Query { viewer { id } } " * 740 + "}",
}
TIMES = 50
GENEROUS_S = 0.1
"""Of this process's own work, with its client's, beside other tests; alone it is 5 to 20 ms."""


@pytest.mark.usefixtures("collecting_as_the_process_does")
async def test_attacks_on_validation_stall_nobody(edge_with):
    async with edge_with(options=()) as served:
        asyncio.get_running_loop().set_debug(False)
        url = served.url("/graphql", GRAPH)
        who = {**served.as_user(), "Accept": "application/graphql-response+json"}
        async with served.client.post(url, json={"query": "{ viewer { id } }"}, headers=who) as answer:
            assert answer.status == 200
        for name, query in ATTACKS.items():
            async with asyncio.TaskGroup() as group:
                watch = Watch(served)
                watching = group.create_task(watch.run())
                for n in range(TIMES):
                    fresh = f"{query} # {n}"  # nobody remembers it
                    async with served.client.post(url, json={"query": fresh}, headers=who) as answer:
                        assert answer.status == 400, name
                watching.cancel()
            sys.stdout.write(f"{name}: {watch}\n")
            assert watch.worked_s < GENEROUS_S


class Watch:
    """Asks another listener all the time.

    `stall_s`: how much later than it should the loop came round at worst, by the clock; `worked_s`: how long this
    process worked meanwhile, whatever else the machine does; `answer_s`: the longest answer.
    """

    def __init__(self, served):
        self._served = served
        self._url = served.url("/health/live", ListenerName.ROUTING)
        self.stall_s = self.worked_s = self.answer_s = 0.0
        self.asked = 0

    def __str__(self):
        stall, worked, answer = (f"{each * 1000:.1f} ms" for each in (self.stall_s, self.worked_s, self.answer_s))
        late = f"the loop came round {stall} late at most ({worked} of work)"
        return f"{late}; routing-api answered {self.asked} times, within {answer}"

    async def run(self):
        while True:
            began, worked = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.001)
            self.stall_s = max(self.stall_s, time.perf_counter() - began - 0.001)
            self.worked_s = max(self.worked_s, time.process_time() - worked)
            began = time.perf_counter()
            async with self._served.client.get(self._url) as answer:
                assert answer.status == 200
            self.answer_s = max(self.answer_s, time.perf_counter() - began)
            self.asked += 1
