import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.accounts.ledger.codec import HEAD_BYTES, SLOT_BYTES, LineError, encode, encode_fold, is_fold, unseal
from citadel_edge.accounts.ledger.event import UsageEvent, contribution
from citadel_edge.telemetry.ids import uuid7

ANYTHING = st.text(st.characters(exclude_categories=()))
POSTGRES_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=256)


def read_back(line):
    return msgspec.json.decode(unseal(line.removesuffix(b"\n")), type=UsageEvent)


@given(text=POSTGRES_TEXT, tokens=st.integers(0, 2**63 - 1), cost=st.decimals(0, 10**8, places=12))
def test_a_row_comes_back_as_it_was(event, text, tokens, cost):
    row = event(request_id=text, tokens_out=tokens, cost_usd=cost)
    assert read_back(encode(row)) == row


@given(text=ANYTHING)
def test_whatever_a_client_sends_a_line_is_one_line_that_postgresql_can_hold(event, text):
    line = encode(event(request_id=text, model=text * 50))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert "\0" not in json.loads(unseal(line[:-1]))["model"]
    assert len(line) < 4096


def test_text_is_cut_at_256_characters_only_when_the_row_is_large(event):
    assert len(read_back(encode(event(model="m" * 300))).model) == 300
    assert len(read_back(encode(event(model="m" * 300_000))).model) == 256


@given(data=st.data())
def test_a_flipped_byte_is_noticed(event, data):
    line = bytearray(encode(event())[:-1])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LineError):
        unseal(bytes(line))


@given(data=st.data())
def test_a_truncated_line_is_noticed_at_either_end(event, data):
    line = encode(event())[:-1]
    cut = data.draw(st.integers(1, len(line)))
    for rest in (line[:-cut], line[cut:]):
        with pytest.raises(LineError):
            unseal(rest)


@given(garbage=st.binary(max_size=600))
def test_garbage_is_no_line(garbage):
    with pytest.raises(LineError):
        unseal(garbage)


@given(one=st.integers(1, 10**12), other=st.integers(1, 10**12), model=POSTGRES_TEXT)
def test_counting_a_fold_up_changes_its_first_64_bytes_alone(event, clock, one, other, model):
    fold = contribution(event(model=model), limit="requests_per_minute", fold_id=uuid7(clock))
    before, after = encode_fold(fold, one), encode_fold(fold, other)
    assert len(before) == len(after)
    assert len(before) % SLOT_BYTES == 0
    assert before[HEAD_BYTES:] == after[HEAD_BYTES:]
    assert json.loads(unseal(after[:-1]))["count"] == other


def test_folds_are_told_from_rows(event, clock):
    fold = contribution(event(), limit="concurrent", fold_id=uuid7(clock))
    assert is_fold(unseal(encode_fold(fold, 7)[:-1]))
    assert not is_fold(unseal(encode(event(count=7))[:-1]))


def test_a_cost_keeps_every_decimal(event):
    assert read_back(encode(event(cost_usd=Decimal("0.000000000001")))).cost_usd == Decimal("1E-12")
