import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.ids import ALPHABET, Kind, base62, is_id, make_id
from citadel_edge.accounts.keys import KeyText, crc, env_of, hash_secret, make, matches, parse, redact

uuids = st.uuids()
entropies = st.binary(min_size=32, max_size=32)
envs = st.sampled_from(["dev", "stg", "prod", "test"])
keys = st.builds(make, envs, uuids, entropies)


@given(envs, uuids, entropies)
def test_a_key_says_what_it_was_made_of(env, uuid, entropy):
    key = make(env, uuid, entropy)
    parsed = parse(key.text)
    assert parsed == KeyText(env=env, id=key.id, secret=parsed.secret)
    assert key.hash == hash_secret(parsed.secret) == hashlib.sha256(parsed.secret.encode()).digest()
    assert key.id == make_id(Kind.KEY, uuid)
    assert matches(parsed.secret, key.hash)


@given(keys)
def test_lengths_are_fixed_and_underscores_only_separate(key):
    prefix, _env, key_id, secret_and_crc = key.text.split("_")
    assert (prefix, len(key_id), len(secret_and_crc)) == ("cit", 22, 43 + 6)
    assert set(key_id + secret_and_crc) <= set(ALPHABET)


@given(keys, st.data())
def test_any_change_of_one_character_is_found(key, data):
    place = data.draw(st.integers(0, len(key.text) - 1))
    other = data.draw(st.sampled_from([c for c in ALPHABET + "_ -é" if c != key.text[place]]))
    assert parse(key.text[:place] + other + key.text[place + 1 :]) is None


@given(keys, st.data())
def test_any_swap_of_neighbours_is_found(key, data):
    place = data.draw(st.integers(0, len(key.text) - 2))
    one, other = key.text[place : place + 2]
    if one != other:
        assert parse(key.text[:place] + other + one + key.text[place + 2 :]) is None


@given(keys, st.data())
def test_a_key_cut_short_or_with_more_around_it_is_none(key, data):
    assert parse(key.text[: data.draw(st.integers(0, len(key.text) - 1))]) is None
    assert parse(key.text + "\n") is None
    assert parse(" " + key.text) is None


@given(st.text())
def test_any_text_is_no_key(text):
    assert parse(text) is None
    assert redact(text) == "…"


@given(keys)
def test_nothing_shows_the_secret(key):
    secret = parse(key.text).secret
    for shown in (repr(key), str(key), redact(key.text), repr(parse(key.text))):
        assert secret not in shown
        assert key.hash.hex() not in shown
    assert parse(key.text).id.removeprefix("key_") in redact(key.text)


@given(keys, entropies)
def test_another_secret_does_not_match(key, entropy):
    other = make("dev", UUID(int=0), entropy)
    assert matches(parse(other.text).secret, key.hash) is (other.hash == key.hash)


def test_the_form_stays_what_it_is():
    key = make("prod", UUID(int=1), bytes(31) + b"\x01")
    assert key.text == "cit_prod_" + "0" * 21 + "1_" + "0" * 42 + "1" + crc(key.text[:-6])
    assert make("dev", UUID(int=2**128 - 1), b"\xff" * 32).id == "key_7n42DGM5Tflk9n8mt7Fhc7"


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_has_256_bits(length):
    with pytest.raises(ValueError, match="32 bytes"):
        make("dev", UUID(int=1), bytes(length))


def test_every_environment_has_a_short_name():
    assert [env_of(name) for name in ("development", "staging", "production", "test")] == ["dev", "stg", "prod", "test"]


@given(uuids, uuids)
def test_ids_sort_as_their_numbers_do(one, other):
    assert (make_id(Kind.USER, one) < make_id(Kind.USER, other)) is (one.int < other.int)


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="22 base62 digits"):
        base62(62**22, 22)


@pytest.mark.parametrize("text", ["usr_", "usr_" + "a" * 21, "org_" + "a" * 22, "usr_" + "a" * 21 + "-", ""])
def test_what_is_no_id_of_a_user(text):
    assert not is_id(Kind.USER, text)
