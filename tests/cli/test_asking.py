"""What becomes of answers that are not the edge's, and of none."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from citadel_edge.cli.asking import Door, Question, Refused, ask
from citadel_edge.errors import StartError


@contextmanager
def somebody(*answers):
    """A door behind which somebody gives these answers, each a status, a body and what it says its length is."""
    left, seen = list(answers), []

    class Somebody(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body, length = left.pop(0)
            seen.append((self.command, self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            """Not a word."""

    with HTTPServer(("127.0.0.1", 0), Somebody) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Door(f"http://127.0.0.1:{server.server_port}"), seen
        finally:
            server.shutdown()
            thread.join()


def test_a_query_leaves_out_what_is_nothing_and_keeps_every_sign():
    with somebody((200, b"{}", 2)) as (door, seen):
        ask(door, Question(path="/v1/x", query={"name": "a b&c=ü", "after": None, "limit": 5}), key="k")
    assert seen == [("GET", "/v1/x?name=a+b%26c%3D%C3%BC&limit=5", "Bearer k")]


def test_a_fault_names_the_request_to_report():
    problem = b'{"code": "internal", "detail": "a fault on our side", "request_id": "req_1", "param": null}'
    with somebody((500, problem, len(problem))) as (door, _), pytest.raises(Refused) as refused:
        ask(door, Question(path="/"), key="k")
    assert (str(refused.value), refused.value.code) == (
        "internal: a fault on our side (request req_1)",
        "internal",
    )


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[1]", b'"\xff"', b""])
def test_what_is_no_json_object_is_said_so(body):
    with (
        somebody((502, body, len(body))) as (door, _),
        pytest.raises(StartError, match="answered 502 with something that is no JSON object"),
    ):
        ask(door, Question(path="/"), key="k")


def test_a_torn_answer_is_no_answer():
    with somebody((200, b'{"data": [', 100)) as (door, _), pytest.raises(StartError, match="is the edge running"):
        ask(door, Question(path="/"), key="k")


def test_a_torn_answer_is_asked_for_again_where_that_does_no_harm():
    with somebody((201, b"{", 100), (201, b'{"id": 1}', 9)) as (door, seen):
        answer = ask(door, Question(method="POST", path="/", body=b"{}", attempts=2), key="k")
    assert (answer.read(), len(seen)) == ({"id": 1}, 2)
