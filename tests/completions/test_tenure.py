"""An answer that another process has taken over while this one stood still: nothing of its end is recorded here."""

import pytest

from citadel_edge.completions.call import ClientGone
from completions.bench import Client, OpenBench
from completions.scripted import SPOKEN, Answer, chunk, replies, reset, says, says_then


class TakenMeanwhile:
    """Another's, which is not known before it is asked."""

    def __init__(self) -> None:
        self.lost = False

    async def confirm(self) -> None:
        self.lost = True
        raise ClientGone("another process goes on with it")


@pytest.mark.parametrize(
    "answer",
    [says(*SPOKEN), says_then(chunk("a"), then=reset), replies(500)],
    ids=["whole", "broken off", "not begun"],
)
async def test_whoever_stood_still_records_no_end(open_bench: OpenBench, answer: Answer) -> None:
    bench = await open_bench(answer)
    client, tenure = Client(), TakenMeanwhile()
    with pytest.raises(ClientGone):
        await bench.pipeline.run(bench.call({"stream": True}, tenure=tenure), client)
    assert tenure.lost
    assert bench.ledger.rows == []
    assert not any("error" in event or event == "[DONE]" for event in client.events)
