import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.telemetry.redaction import _SIGNS, _suspicious, redact

SECRET = "hunterTwo2zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
KEY = f"cit_dev_0123456789abcdef_{SECRET}"


def line(**fields):
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def nested(times, value):
    """A JSON text inside a JSON text, so many times."""
    for _ in range(times):
        value = json.dumps({"inner": value})
    return value


LEAKS = [
    KEY,
    f"bad key {KEY}, sorry",
    f"line\n{KEY}",
    f"tab\t{KEY}",
    f"%3D{KEY}",
    f"Authorization: Bearer {SECRET}",
    f"authorization: {SECRET}",
    f"Authorization: Basic {SECRET}",
    f"curl -H 'Authorization: Bearer {SECRET}'",
    f"{{'Authorization': 'Bearer {SECRET}'}}",
    f"(b'Authorization', b'Bearer {SECRET}')",
    f"bearer {SECRET}",
    f"BEARER  {SECRET}",
    f"Basic {SECRET}",
    f"redis://:{SECRET}@10.0.0.1:6379/0",
    f"postgresql://citadel:{SECRET}@db:5432/citadel?sslmode=require",
    f"postgresql://citadel:p@{SECRET}@db/citadel",
    f"https://user:{SECRET}/odd@host/path",
    f"host=db user=citadel password={SECRET} dbname=citadel",
    f"password='{SECRET} and more'",
    f'password="{SECRET} and more"',
    f"PGPASSWORD={SECRET}",
    f"/v1/ws?ticket=1&api_key={SECRET}&x=1",
    f"PostgresConfig(dsn='embedded', password='{SECRET}')",
    f"{{'password': '{SECRET}', 'a': 1}}",
    f"{{'api_key': \"{SECRET}\"}}",
    f'{{"client_secret": "{SECRET}"}}',
    f'{{"client_secret":"{SECRET}"}}',
    f"{{b'x-api-key': b'{SECRET}'}}",
    f"{{'Set-Cookie': '{SECRET}'}}",
    f"redis://a:{SECRET}@h1,redis://b:{SECRET}@h2",
]


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("text", LEAKS)
def test_no_secret_stands_in_a_text_however_deep_it_is_quoted(text, depth):
    out = redact(line(event="x", exception=nested(depth, text), after="kept"))
    assert SECRET.encode() not in out
    assert json.loads(out)["after"] == "kept"


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "api_key",
        "API_KEY",
        "x-api-key",
        "secret",
        "client_secret",
        "password",
        "db_passwd",
        "token",
        "Authorization",
    ],
)
@pytest.mark.parametrize("value", [SECRET, f'a"{SECRET}\\', [SECRET, f'b]"{SECRET}'], f"{SECRET}\né"])
def test_fields_named_for_secrets_are_emptied_wherever_they_stand(name, value):
    for fields in ({name: value}, {"a": {"b": [{name: value}]}}, {f"{name}s": value}):
        out = redact(line(event="x", **fields, after="kept"))
        assert SECRET.encode() not in out
        assert json.loads(out)["after"] == "kept"


def test_a_password_of_digits_is_a_password():
    assert json.loads(redact(line(password=31337, secret=1.5e9))) == {"password": "[redacted]", "secret": "[redacted]"}


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens_in": 5, "tokens_out": 6, "tokens": 11, "key_id": "key_abc", "max_tokens": 9, "first_token_s": 0.2},
        {"token": 5, "keys": 3},
        {"url": "http://gpu-a:8000/v1/users/me@example.com"},
        {"text": "explicit_timeout and explicit_ and explicit"},
        {"text": "the monkey took a basic course, then passed"},
        {"text": "expected an API key; sign in with a bearer"},
        {"organisation": "usr@example.com", "path": "/v1/chat/completions"},
        {"text": "max_tokens=5"},
    ],
)
def test_what_is_no_secret_stays(fields):
    assert json.loads(redact(line(**fields))) == fields


def test_an_ordinary_line_is_not_searched_further():
    """The expressions cost ten times what the whole line does."""
    ordinary = line(
        event="request", listener="routing-api", request_id="req_1", user="usr_1", key_id="key_1", path="/v1",
        tokens_in=5, first_token_ms=2.5, upstream="gpu-a", url="http://gpu-a:8000/v1", user_agent="curl/8 (x; y)",
        pad="passed through the space of passengers", trace_id="0af7651916cd43dd8448eb211c80319c",
    )  # fmt: skip
    assert not _suspicious(ordinary)
    assert all(len(sign) > 2 for sign in _SIGNS)


def test_our_keys_lose_all_but_their_mark():
    assert json.loads(redact(line(text=f"no such key {KEY}")))["text"] == "no such key cit_[redacted]"


def test_the_user_of_a_url_stays():
    assert json.loads(redact(line(url=f"redis://me:{SECRET}@h/0")))["url"] == "redis://me:[redacted]@h/0"


TEXTS = st.text(alphabet=st.sampled_from("ab \"'\\:=@/,{}[]()nçtoken_key\n\t\u2028"), max_size=30)


@given(TEXTS, st.sampled_from(LEAKS), TEXTS, st.integers(0, 2), st.booleans())
def test_whatever_stands_around_the_line_stays_json(before, text, after, depth, as_name):
    value = nested(depth, before + text + after)
    out = json.loads(redact(line(**({value: "x"} if as_name else {"value": value}), last=1)))
    assert out["last"] == 1


@given(TEXTS, TEXTS)
def test_a_key_of_ours_is_found_in_any_surroundings(before, after):
    assert SECRET.encode() not in redact(line(value=f"{before}{KEY}{after}"))


@given(st.recursive(st.none() | st.integers() | TEXTS, lambda v: st.lists(v) | st.dictionaries(TEXTS, v), max_leaves=8))
def test_any_structure_stays_json(value):
    json.loads(redact(line(value=value)))


@pytest.mark.parametrize(
    "piece",
    [
        b"cit_",
        b"://a:",
        b"://",
        b"key=",
        b"'key': '",
        b'\\"key\\":\\"',
        b"bearer ",
        b"Basic A",
        b"passwords",
        b"key\\\\",
        b"=",
    ],
)
def test_a_hostile_line_of_half_a_megabyte_is_redacted_in_linear_time(piece):
    """Quadratic would be minutes; linear is milliseconds. CPU time of this thread: the machine may be busy."""
    began = time.thread_time()
    redact(b'{"key":"' + piece * (500_000 // len(piece)) + b'@"}')
    assert time.thread_time() - began < 2
