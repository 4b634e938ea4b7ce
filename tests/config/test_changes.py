"""What a reload applies, and what waits for a restart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citadel_edge.config.changes import Changes, applicable, compare
from citadel_edge.config.load import load

FLEET = """
upstreams: [{id: a, url: http://a, api_key: one}, {id: b, url: http://b}]
models:
  - {name: one, skills: {chat: 0.5}, deployments: [{upstream: a}]}
  - {name: two, deployments: [{upstream: b}]}
tiers: [{name: free}]
"""


def reloaded(house, text: str, old: str = "") -> Changes:
    return compare(house.load(old).config, house.load(text).config)


def test_nothing_changed(house):
    changes = reloaded(house, FLEET, FLEET)
    assert changes == Changes((), ())
    assert not changes


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("routing: {retries: 5, timeouts: {idle_s: 3}}", ("routing.retries", "routing.timeouts.idle_s")),
        ("listeners: {routing-api: {budget: {tasks: 9}}}", ("listeners.routing-api.budget.tasks",)),
        ("http: {max_body_bytes: 5}", ("http.max_body_bytes",)),
        ("logs: {level: debug, directory: x}", ("logs.directory", "logs.level")),
        ("process: {grace_s: 5}", ("process.grace_s",)),
    ],
)
def test_what_applies_at_once(house, text, paths):
    assert reloaded(house, text) == Changes(applied=paths, needs_restart=())


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("environment: test", ("environment",)),
        ("data_dir: elsewhere", ("data_dir",)),
        ("server_ip: 127.0.0.2", ("server_ip",)),
        (
            "listeners: {routing-api: {port: 1, host: '::1'}}",
            ("listeners.routing-api.host", "listeners.routing-api.port"),
        ),
        ("redis: {url: 'h:1', password: x}", ("redis.url", "redis.password")),
        ("postgres: {database: x}", ("postgres.database",)),
        ("embedded: {replicas: 1}", ("embedded.replicas",)),
        ("metrics_server: {url: http://h}", ("metrics_server.url",)),
    ],
)
def test_what_needs_a_restart(house, text, paths):
    assert reloaded(house, text) == Changes(applied=(), needs_restart=paths)


def test_tiers_are_seeds_and_neither_applied_nor_restarted_for(house):
    old = "tiers: [{name: free, burst: 0.1}, {name: pro}]"
    changes = reloaded(house, "tiers: [{name: free, burst: 0.3}, {name: gold}]", old)
    assert changes == Changes((), (), seeds=("tiers[free].burst", "tiers[pro]", "tiers[gold]"))
    assert changes


def test_a_certificate_needs_a_restart(house):
    house.write("c.pem", "")
    assert reloaded(house, "listeners: {routing-api: {tls: {cert: c.pem, key: c.pem}}}").needs_restart == (
        "listeners.routing-api.tls",
    )


def test_items_are_named_and_their_order_is_no_change(house):
    new = """
upstreams: [{id: b, url: http://b2}, {id: c, url: http://c}, {id: a, url: http://a, api_key: two}]
models:
  - {name: two, deployments: [{upstream: c}]}
  - {name: one, skills: {chat: 0.5, code: 1}, deployments: [{upstream: a}]}
"""
    assert reloaded(house, new, FLEET) == Changes(
        applied=(
            "upstreams[a].api_key",
            "upstreams[b].url",
            "upstreams[c]",
            "models[one].skills.code",
            "models[two].deployments",
        ),
        needs_restart=(),
        seeds=("tiers[free]",),
    )


def test_the_embedded_model_comes_and_goes_at_a_start(house):
    assert reloaded(house, FLEET) == Changes((), ("upstreams", "models"), ("tiers[free]",))
    old, new = house.load(FLEET).config, house.load("").config
    assert applicable(old, new).upstreams == old.upstreams
    assert applicable(old, new).models == old.models


FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "data_dir": st.sampled_from(["a", "b"]),
        "routing": st.sampled_from(["{}", "{retries: 5}"]),
        "listeners": st.sampled_from(
            ["{routing-api: {port: 1, budget: {tasks: 3}}}", "{routing-api: {budget: {queue: 3}}}"]
        ),
        "redis": st.sampled_from(["{}", "{url: 'h:1'}"]),
        "models": st.just("[{name: one, deployments: [{upstream: a}]}]"),
        "logs": st.sampled_from(["{}", "{level: debug}"]),
    },
)
FLEETS = st.sampled_from(["[{id: a, url: http://a}]", "[{id: a, url: http://b}, {id: b, url: http://a}]"])


@given(FLAGS, FLAGS, FLEETS, FLEETS)
def test_after_a_reload_only_what_needs_a_restart_differs(old_flags, new_flags, old_fleet, new_fleet):
    old = load(None, environ={}, flags=with_fleet(old_flags, old_fleet)).config
    new = load(None, environ={}, flags=with_fleet(new_flags, new_fleet)).config
    changes, now = compare(old, new), applicable(old, new)
    assert compare(old, now) == replace(changes, needs_restart=())
    assert compare(now, new) == replace(changes, applied=())


def with_fleet(flags: dict[str, str], fleet: str) -> dict[str, str]:
    return {**flags, "upstreams": fleet} if "models" in flags else flags
