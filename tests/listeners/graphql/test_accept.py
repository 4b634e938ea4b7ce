"""Which shapes a client takes, by its Accept header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.listeners.graphql.accept import Accepts, Whole, read_accept

NEW, OLD = Whole.RESPONSE, Whole.JSON
URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
APOLLO = "multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9"
APOLLO_NEW = 'multipart/mixed; incrementalSpec="v0.2", application/json'


@pytest.mark.parametrize(
    ("header", "accepts"),
    [
        (None, Accepts(OLD)),
        ("", Accepts(OLD)),
        ("*/*", Accepts(OLD)),
        ("application/*", Accepts(OLD)),
        ("application/json", Accepts(OLD)),
        ("application/graphql-response+json", Accepts(NEW)),
        ("Application/GraphQL-Response+JSON; charset=utf-8", Accepts(NEW)),
        ("application/graphql-response+json, application/json", Accepts(NEW)),
        ("application/json, application/graphql-response+json", Accepts(NEW)),
        ("application/json, application/graphql-response+json;q=0.9", Accepts(OLD)),
        ("application/graphql-response+json;q=0.5, */*", Accepts(OLD)),
        ("application/json;q=0, */*", Accepts(NEW)),
        ("text/html, */*;q=0.8", Accepts(OLD)),
        ("text/html", Accepts(None)),
        ("*/*;q=0", Accepts(None)),
        ("application/json;q=x", Accepts(None)),
        ("text/event-stream", Accepts(None, events=True)),
        ("text/event-stream, multipart/mixed", Accepts(None, parts=True, events=True)),
        ("text/event-stream;q=0", Accepts(None)),
        ("multipart/mixed", Accepts(None, parts=True)),
        ("multipart/mixed;incrementalSpec=v0.1, */*", Accepts(OLD)),
        (URQL, Accepts(NEW, parts=True, events=True)),
        (APOLLO, Accepts(NEW)),
        (APOLLO_NEW, Accepts(OLD, parts=True)),
        (",;=,/;q", Accepts(None)),
    ],
)
def test_what_a_client_takes(header, accepts):
    assert read_accept(header) == accepts
    assert accepts.only_events == (accepts.events and accepts.whole is None)


@given(st.text(alphabet="aptx/*;=q0.1, ", max_size=60))
def test_any_header_is_read(header):
    read_accept(header)
