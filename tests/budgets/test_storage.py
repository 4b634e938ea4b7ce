import pytest

from citadel_edge.errors import Code, RequestError

MB = 2**20


def test_new_work_is_refused_while_the_share_is_full(make_budget):
    budget = make_budget(storage_mb=10)
    storage = budget.storage
    storage.check_room()
    storage.report("spool", 8 * MB)
    storage.report("log files", 1 * MB)
    storage.check_room()
    storage.report("log files", 2 * MB)
    with pytest.raises(RequestError) as refused:
        storage.check_room()
    assert refused.value.code is Code.OVERLOADED
    assert refused.value.retry_after_s == 30
    assert refused.value.message == (
        "routing-api keeps 10.0 MB on disk and may keep 10 MB (storage_mb), most of it spool; "
        "it takes no new work until that is carried off"
    )
    storage.report("spool", 0)
    storage.check_room()
    assert budget.snapshot()["storage_bytes"] == 2 * MB
    assert budget.snapshot()["shed"]["storage"] == 1


def test_a_figure_told_twice_counts_once(make_budget):
    storage = make_budget().storage
    for _ in range(3):
        storage.report("spool", 5)
    assert storage.bytes == 5


def test_a_larger_share_makes_room(make_budget):
    storage = make_budget(storage_mb=1).storage
    storage.report("exports", MB)
    with pytest.raises(RequestError):
        storage.check_room()
    storage.resize(2)
    storage.check_room()
