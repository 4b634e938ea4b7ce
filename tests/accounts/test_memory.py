"""What is remembered, how long it can be trusted, and what news do to it: no server needed."""

from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.hearing import Ears, Hearing
from citadel_edge.accounts.news import News, Subject, read
from citadel_edge.accounts.principal import Principal, Role
from citadel_edge.accounts.records import ABSENT_S, Record, Records


def principal(key="key_1", user="usr_1", tier="free", organisation="org_1"):
    return Principal(
        organisation_id=organisation, user_id=user, key_id=key, name="ada", role=Role.USER, tier=tier, models=("*",)
    )


def record(key="key_1", *, made_s=0.0, hashed=b"h" * 32, **fields):
    return Record(
        principal=principal(key, **fields),
        hash=hashed,
        expires_unix_s=None,
        revoked=False,
        suspended=False,
        made_s=made_s,
        epochs=(0, 0),
        fresh_until_s=made_s + 60,
    )


def test_the_least_recently_used_is_forgotten_first_with_its_proof():
    records = Records(most=2)
    for name in ("key_1", "key_2"):
        records.put(record(name))
        records.prove(records.get(name), name.encode())
    records.get("key_1")
    records.put(record("key_3"))
    assert records.ids() == ["key_1", "key_3"]
    assert records.proven(b"key_1") is not None
    assert records.proven(b"key_2") is None


def test_absent_ids_are_bounded_and_only_for_a_moment():
    records = Records(most_absent=2)
    for name in ("a", "b", "c"):
        records.put_absent(name, 100.0)
    assert [records.is_absent(name, 100.0) for name in ("a", "b", "c")] == [False, True, True]
    assert not records.is_absent("c", 100.0 + ABSENT_S)


def test_news_forget_what_they_are_about_and_nothing_else():
    for news, gone in (
        (News(Subject.KEY, "key_1"), {"key_1"}),
        (News(Subject.USER, "usr_a"), {"key_1", "key_2"}),
        (News(Subject.TIER, "pro"), {"key_3"}),
        (News(Subject.ORGANISATION, "org_x"), {"key_2"}),
    ):
        records = Records()
        records.put(record("key_1", user="usr_a"))
        records.put(record("key_2", user="usr_a", organisation="org_x"))
        records.put(record("key_3", user="usr_b", tier="pro"))
        for key_id in records.ids():
            records.prove(records.get(key_id), key_id.encode())
        records.apply(news)
        assert {"key_1", "key_2", "key_3"} - set(records.ids()) == gone
        assert {key for key in ("key_1", "key_2", "key_3") if records.proven(key.encode()) is None} == gone


def test_a_refreshed_record_keeps_its_proof_only_with_the_same_secret():
    records = Records()
    records.put(record())
    records.prove(records.get("key_1"), b"digest")
    records.refresh(record(made_s=1.0, tier="pro"))
    assert records.proven(b"digest").principal.tier == "pro"
    records.refresh(record(made_s=0.5, tier="older"))
    assert records.get("key_1").principal.tier == "pro"
    records.refresh(record(made_s=2.0, hashed=b"x" * 32))
    assert records.proven(b"digest") is None


def test_an_older_record_cannot_be_proven_any_more():
    records = Records()
    old = record()
    records.put(old)
    records.put(record())
    records.prove(old, b"digest")
    assert records.proven(b"digest") is None


def test_a_memory_is_true_as_long_as_one_channel_is_heard_without_a_gap():
    one, other = Hearing(), Hearing()
    ears = Ears((one, other))
    assert ears.confirmed_s(5.0, ears.epochs(), 100.0) == 5.0, "nobody was listening"
    one.begin()
    other.begin()
    epochs = ears.epochs()
    assert ears.confirmed_s(5.0, epochs, 100.0) == 100.0
    one.end(110.0)
    assert ears.confirmed_s(5.0, epochs, 120.0) == 120.0
    other.end(130.0)
    assert ears.confirmed_s(5.0, epochs, 150.0) == 130.0
    one.begin()
    other.begin()
    assert ears.confirmed_s(5.0, epochs, 160.0) == 5.0, "what came in the gap is not known"


@given(st.sampled_from(Subject), st.text(min_size=1), st.booleans())
def test_news_are_read_as_they_were_written(subject, name, ended):
    news = News(subject, name, ended=ended)
    assert read(str(news)) == news


@given(st.text())
def test_other_lines_are_no_news(line):
    news = read(line)
    assert news is None or str(news) == line


def test_news_end_only_whom_they_name():
    assert News(Subject.USER, "usr_1", ended=True).ends(principal())
    assert not News(Subject.USER, "usr_1").ends(principal())
    assert not News(Subject.USER, "usr_2", ended=True).ends(principal())
