"""Documents are read once: remembered with their errors, within bounds, on a thread when they are long."""

import asyncio
import itertools
import threading

import pytest

from citadel_edge.errors import StartError
from citadel_edge.graph.answers import Refused
from citadel_edge.graph.aside import AT_ONCE_CHARACTERS, Aside
from citadel_edge.graph.bounds import Bounds
from citadel_edge.graph.cost_annotations import Weights, annotations_of
from citadel_edge.graph.documents import MAX_WAITING, Documents, Rooms
from citadel_edge.graph.lru import Room
from citadel_edge.graph.reading import Document, Reader, Rejected


class CountingReader(Reader):
    """A reader that says what it read, and where."""

    def __init__(self, schema):
        super().__init__(schema, annotations_of(schema, Weights()), Bounds())
        self.texts = []
        self.threads = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def read(self, text):
        self.texts.append(text)
        self.threads.add(threading.current_thread())
        self.may_go_on.wait(10)
        return super().read(text)


@pytest.fixture
def reader(schema):
    return CountingReader(schema)


@pytest.fixture
def documents_with(reader):
    aside = Aside()
    yield lambda rooms=None: Documents(reader, aside, rooms)
    reader.may_go_on.set()
    aside.close()


@pytest.fixture
def documents(documents_with):
    return documents_with()


def long(number=0):
    return f"query Long{number} {{ slow }} " + "#" * AT_ONCE_CHARACTERS


async def test_a_document_is_read_once(documents, reader):
    first = await documents.document("{ slow }")
    assert isinstance(first, Document)
    assert all([await documents.document("{ slow }") is first for _ in range(5)])
    assert reader.texts == ["{ slow }"]
    assert (documents.tally.read, documents.tally.remembered) == (1, 5)


@pytest.mark.parametrize("text", ["{", "{ nope }", "{" + "slow " * 31 + "}", "{" + " " * 20_000 + "}", ""])
async def test_a_bad_document_is_remembered_with_its_errors(documents, reader, text):
    first = await documents.document(text)
    assert isinstance(first, Rejected)
    assert first.errors[0]["extensions"] == {"code": "invalid_request"}
    again = await documents.document(text)
    assert again.errors == first.errors
    assert len(reader.texts) == (1 if len(text) <= 20_000 else 2)


async def test_one_character_makes_another_document(documents, reader):
    await documents.document("{ slow }")
    await documents.document("{ slow } ")
    assert len(reader.texts) == 2


async def test_a_short_document_is_read_at_once_and_a_long_one_on_the_thread(documents, reader):
    await documents.document("{ slow }")
    assert reader.threads == {threading.current_thread()}
    await documents.document(long())
    (other,) = reader.threads - {threading.current_thread()}
    assert other.name.startswith("graphql-aside")


async def test_a_long_document_that_many_want_is_read_once(documents, reader):
    found = await asyncio.gather(*(documents.document(long()) for _ in range(50)))
    assert len({id(each) for each in found}) == 1
    assert reader.texts == [long()]
    assert await documents.document(long()) is found[0]


async def test_short_documents_are_read_one_in_each_turn_of_the_loop(documents, reader):
    seen = []

    async def look():
        while len(seen) < 10:
            seen.append(len(reader.texts))
            await asyncio.sleep(0)

    await asyncio.gather(look(), *(documents.document(f"{{ a{number}: slow }}") for number in range(20)))
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 1


async def test_one_who_leaves_takes_a_long_document_from_nobody(documents, reader):
    reader.may_go_on.clear()
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(documents.document(long()))
        staying = group.create_task(documents.document(long()))
        await asyncio.sleep(0.01)
        leaving.cancel()
        reader.may_go_on.set()
    assert isinstance(staying.result(), Document)


async def test_too_many_long_documents_at_once_are_refused(documents, reader):
    reader.may_go_on.clear()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(documents.document(long(number))) for number in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="too many new documents") as refused:
            await documents.document(long(-1))
        assert refused.value.status == 503
        reader.may_go_on.set()
    assert all(isinstance(each.result(), Document) for each in waiting)


async def test_what_is_wanted_once_pushes_out_nothing_that_was_wanted_twice(documents_with, reader):
    documents = documents_with(Rooms(fresh=Room(10, 10**6), known=Room(10, 10**6)))
    for _ in range(2):
        await documents.document("{ slow }")
    for number in range(100):
        await documents.document(f"{{ a{number}: slow }}")
    reader.texts.clear()
    await documents.document("{ slow }")
    assert reader.texts == []


async def test_bad_documents_push_out_no_good_ones(documents_with, reader):
    documents = documents_with(Rooms(bad=Room(10, 10**6)))
    await documents.document("{ slow }")
    for number in range(100):
        await documents.document(f"{{ nope{number} }}")
    reader.texts.clear()
    await documents.document("{ slow }")
    assert reader.texts == []


async def test_what_is_remembered_stays_within_its_bytes(documents_with):
    documents = documents_with(Rooms(Room(1_000, 100_000), Room(1_000, 100_000), Room(1_000, 50_000)))
    for number in range(150):
        for _ in range(1 + number % 3):
            await documents.document(f"{{ a{number}: slow b{number}: book(id: 1) {{ id }} }}")
        await documents.document(f"{{ nope{number} }}")
    assert 0 < documents.held_bytes() <= 250_000


async def test_the_operators_documents_are_kept_for_good_and_without_bounds(documents):
    deep = "{ book(id: 1) " + "{ author { books(first: 1) " * 5 + "{ id }" + "} }" * 5 + "}"
    assert isinstance(await documents.document(deep), Rejected)
    documents.pin({"deep": deep})
    assert isinstance(await documents.document(deep), Document)


def test_a_bad_document_of_the_operators_refuses_to_start(documents):
    with pytest.raises(StartError, match=r"(?s)one: .*nope.*two: Syntax Error"):
        documents.pin({"one": "{ nope }", "good": "{ slow }", "two": "{"})
