import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.telemetry.trace import child

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_a_callers_trace_goes_on_under_a_span_of_ours(flags):
    trace = child(f"00-{TRACE}-{PARENT}-{flags}")
    assert trace.trace_id == TRACE
    assert trace.span_id != PARENT
    assert trace.header == f"00-{TRACE}-{trace.span_id}-{flags}"


def test_flags_we_do_not_understand_are_cleared():
    assert child(f"00-{TRACE}-{PARENT}-ff").header.endswith("-03")


@pytest.mark.parametrize("more", ["", "-what-the-future-adds"])
def test_a_later_version_is_read_by_its_first_fields_and_answered_in_ours(more):
    trace = child(f"cc-{TRACE}-{PARENT}-01{more}")
    assert trace.trace_id == TRACE
    assert trace.header.startswith("00-")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"cc-{TRACE}-{PARENT}-01more",
        f"00-{TRACE}-{PARENT}-01\n",
        f"0\u0660-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_header_begins_a_sampled_trace(header):
    trace = child(header)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace.header)
    assert trace.trace_id not in {TRACE, "0" * 32}


def test_spaces_around_the_header_do_no_harm():
    assert child(f" \t00-{TRACE}-{PARENT}-01 ").trace_id == TRACE


def test_an_id_of_zeros_is_never_given_out():
    trace = child(None, entropy=bytes)
    assert int(trace.trace_id, 16) == 1
    assert int(trace.span_id, 16) == 1
    assert child(trace.header).trace_id == trace.trace_id


@given(st.text())
def test_no_header_breaks_it_and_every_answer_is_valid(header):
    assert child(child(header).header).trace_id
