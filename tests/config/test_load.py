"""What wins over what, and what a loaded configuration holds."""

from pathlib import Path

import pytest

from citadel_edge.config.graphql import GraphQLConfig
from citadel_edge.config.load import find_data_dir, load
from citadel_edge.config.shape import BudgetConfig, Config, Engine, ListenerName, default_listeners
from citadel_edge.errors import ConfigError

CUSTOMER = {
    "CITADEL_ENV": "staging",
    "SERVER_IP": "192.168.10.31",
    "SERVER_HOSTNAME": "citadel-01",
    "GRAPHQL_API_PORT": "19095",
    "STREAMING_API_PORT": "19096",
    "ROUTING_API_PORT": "19097",
    "RATE_LIMITING_API_PORT": "19098",
    "API_GATEWAY_ENDPOINT": "http://192.168.10.29:8000",
    "SQL_DATABASE_ENDPOINT": "192.168.10.35:5432",
    "REDIS_ENDPOINT": "192.168.10.38:6379",
    "METRICS_SERVER_ENDPOINT": "http://192.168.10.37:9090",
}
PAGE = """
environment: development
data_dir: ./var
listeners:
  graphql-api: {host: 127.0.0.1, port: 9095, budget: {cpu_weight: 4, memory_mb: 2048, storage_mb: 102400, tasks: 256,
    queue: 512, queue_timeout_s: 5}, tls: null}
redis: {url: embedded, username: null, password: null}   # or redis://, rediss://, unix://, redis+sentinel://, …
postgres: {dsn: embedded, user: null, password: null, database: citadel}   # or postgresql://…
metrics_server: {url: http://127.0.0.1:9090}
api_gateway: {url: http://127.0.0.1:8000}
upstreams:
  - {id: gpu-a, url: http://10.0.0.11:8000, engine: vllm, api_key: ${GPU_A_KEY}, slots: 64, gpu_hour_usd: 2.10}
models:
  - name: mixtral-8x7b
    aliases: [gpt-4o-mini]
    deployments: [{upstream: gpu-a, model: mistralai/Mixtral-8x7B-Instruct-v0.1, weight: 1}]
    context_tokens: 32768
    price: {input_per_mtok_usd: 0.5, output_per_mtok_usd: 1.5}
    skills: {chat: 0.8, code: 0.6, math: 0.5, reasoning: 0.6}
    capabilities: [tools, json]
    fallbacks: []
routing: {objective: balanced, retries: 2, hedge: {enabled: false}, timeouts: {connect_s: 2, first_token_s: 60,
  idle_s: 30, total_s: 600}}
tiers:                                     # seeds of the tiers table, then managed through the API
  - {name: free, requests_per_minute: 20, tokens_per_minute: 20000, concurrent: 2, tokens_per_day: 200000,
    tokens_per_month: 2000000, usd_per_month: 5, burst: 0.2, priority: 1, models: ["*"],
    on_redis_down: {requests: open, spend: closed}}
"""


def test_without_a_file_the_defaults_hold():
    loaded = load(None, environ={})
    graphql = GraphQLConfig(documents=Path.cwd() / "config" / "graphql")
    assert loaded.config == Config(data_dir=Path.cwd() / "var", graphql=graphql)
    assert loaded.sources == ()
    assert loaded.warnings == ()


def test_an_empty_file_is_the_defaults_beside_it(house):
    assert house.load("").config == house.defaults


def test_the_documented_shape_loads(house):
    config = house.load(PAGE, environ={"GPU_A_KEY": "s3cret"}).config
    (upstream,) = config.upstreams
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == "s3cret"
    assert upstream.engine is Engine.VLLM
    assert config.models[0].deployments[0].model == "mistralai/Mixtral-8x7B-Instruct-v0.1"
    assert config.tiers[0].on_redis_down.spend == "closed"
    assert config.metrics_server.url == "http://127.0.0.1:9090"


def test_the_customers_variables_reach_their_settings(house):
    config = house.load(PAGE, environ={**CUSTOMER, "GPU_A_KEY": "x"}).config
    assert config.environment == "staging"
    assert (config.server_ip, config.server_hostname) == ("192.168.10.31", "citadel-01")
    assert [listener.port for listener in config.listeners.values()] == [19095, 19096, 19097, 19098]
    assert (config.api_gateway.url, config.metrics_server.url) == (
        "http://192.168.10.29:8000",
        "http://192.168.10.37:9090",
    )
    assert (config.postgres.dsn, config.redis.url) == ("192.168.10.35:5432", "192.168.10.38:6379")


def test_server_ip_is_bound_where_a_listener_names_no_host(house):
    config = house.load("listeners: {graphql-api: {host: 127.0.0.2}}", environ={"SERVER_IP": "10.1.2.3"}).config
    assert config.bind_host(ListenerName.GRAPHQL) == "127.0.0.2"
    assert config.bind_host(ListenerName.ROUTING) == "10.1.2.3"
    assert Config().bind_host(ListenerName.ROUTING) == "127.0.0.1"


def test_an_empty_variable_is_an_unset_one(house):
    config = house.load("", environ=dict.fromkeys(CUSTOMER, " ")).config
    assert config == house.defaults


def test_each_source_wins_over_the_one_before(house):
    house.write("config.yaml", "routing: {retries: 1}\nlisteners: {routing-api: {port: 1001}}")
    assert house.load().config.routing.retries == 1
    house.drop_in("b.yaml", "routing: {retries: 3}\nlisteners: {routing-api: {port: 1003}}")
    house.drop_in("a.yaml", "routing: {retries: 2}")
    assert house.load().config.routing.retries == 3
    house.write(".env", "ROUTING_API_PORT=1004")
    assert house.load().config.listeners[ListenerName.ROUTING].port == 1004
    environ = {"ROUTING_API_PORT": "1005"}
    assert house.load(environ=environ).config.listeners[ListenerName.ROUTING].port == 1005
    flags = {"listeners.routing-api.port": "1006", "routing.retries": "4"}
    config = house.load(environ=environ, flags=flags).config
    assert (config.listeners[ListenerName.ROUTING].port, config.routing.retries) == (1006, 4)


def test_the_sources_are_named_in_their_order(house):
    house.write(".env", "A=1")
    house.drop_in("b.yaml", "")
    house.drop_in("a.yaml", "")
    loaded = house.load("")
    assert [str(path.relative_to(house.root)) for path in loaded.sources] == [
        "config.yaml",
        "config/services/a.yaml",
        "config/services/b.yaml",
        ".env",
    ]


def test_items_merge_by_their_names(house):
    house.write(
        "config.yaml",
        """
upstreams: [{id: a, url: http://a, slots: 2, engine: vllm}, {id: b, url: http://b}]
models: [{name: one, aliases: [x, y], skills: {chat: 0.5, code: 0.5}, deployments: [{upstream: a}]}]
tiers: [{name: free, concurrent: 1}]
""",
    )
    house.drop_in(
        "more.yaml",
        """
upstreams: [{id: c, url: http://c}, {id: a, slots: 9}]
models: [{name: one, aliases: [z], skills: {code: 0.9}, deployments: [{upstream: b}, {upstream: c}]}]
tiers: [{name: free, concurrent: null, priority: 3}, {name: pro}]
""",
    )
    config = house.load().config
    assert [(upstream.id, upstream.slots, upstream.engine.value) for upstream in config.upstreams] == [
        ("a", 9, "vllm"),
        ("b", None, "openai"),
        ("c", None, "openai"),
    ]
    (model,) = config.models
    assert model.aliases == ("z",)
    assert model.skills == {"chat": 0.5, "code": 0.9}
    assert [deployment.upstream for deployment in model.deployments] == ["b", "c"]
    assert [(tier.name, tier.concurrent, tier.priority) for tier in config.tiers] == [
        ("free", None, 3),
        ("pro", None, 1),
    ]


def test_a_listener_may_name_only_some_of_its_settings(house):
    config = house.load("listeners: {rate-limiting-api: {budget: {tasks: 7}}, graphql-api: {host: '::1'}}").config
    expected = default_listeners()
    limiting = config.listeners[ListenerName.RATE_LIMITING]
    assert limiting.port == 9098
    assert limiting.budget == BudgetConfig(cpu_weight=2, memory_mb=1024, storage_mb=51200, tasks=7)
    assert config.listeners[ListenerName.GRAPHQL].budget == expected[ListenerName.GRAPHQL].budget
    assert config.listeners[ListenerName.ROUTING] == expected[ListenerName.ROUTING]
    assert tuple(config.listeners) == tuple(ListenerName)


def test_a_section_whose_keys_are_all_commented_out_is_the_default(house):
    text = "logs:\nupstreams:\ntiers:\nrouting:\n  timeouts:\n"
    text += "listeners:\n  routing-api:\n  graphql-api:\n    budget:\n    tls:"
    assert house.load(text).config == house.defaults


def test_a_drop_in_can_take_tls_away(house):
    for name in ("cert.pem", "key.pem"):
        house.write(name, "x")
    house.write("config.yaml", "listeners: {graphql-api: {tls: {cert: cert.pem, key: key.pem}}}")
    tls = house.load().config.listeners[ListenerName.GRAPHQL].tls
    assert tls is not None
    assert (tls.cert, tls.key) == (house.root / "cert.pem", house.root / "key.pem")
    house.drop_in("plain.yaml", "listeners: {graphql-api: {tls: null}}")
    assert house.load().config.listeners[ListenerName.GRAPHQL].tls is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${PW}", "12345"),
        ("'${PW}'", "12345"),
        ("a-${PW}-${USER_NAME}", "a-12345-me"),
        ("${NONE:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", None),
        ("${NONE:-}", None),
        ("$${PW}", "${PW}"),
        ("x$${PW}", "x${PW}"),
        ("$PW", "$PW"),
        ("$5 ${PW}", "$5 12345"),
        ('"${NONE:-a: {b}"', "a: {b"),
    ],
)
def test_references_are_filled_in(house, written, expected):
    environ = {"PW": "12345", "USER_NAME": "me", "EMPTY": ""}
    for text in (f"redis:\n  username: {written}\n", f"redis: {{username: {written}, url: embedded}}"):
        assert house.load(text, environ=environ).config.redis.username == expected


def test_references_stand_for_numbers_where_numbers_are_meant(house):
    text = "routing: {retries: ${N}, probe_interval_s: ${F}, hedge: {enabled: ${B}}}\npostgres: {password: ${N}}"
    config = house.load(text, environ={"N": "3", "F": "1.5", "B": "true"}).config
    assert (config.routing.retries, config.routing.probe_interval_s, config.routing.hedge.enabled) == (3, 1.5, True)
    assert config.postgres.password is not None
    assert config.postgres.password.get_secret_value() == "3"


def test_references_in_comments_are_not_looked_at(house):
    assert house.load("# password: ${NOBODY_SET_THIS} and ${ this\n").config.redis.password is None


def test_references_read_dotenv_too(house):
    house.write(".env", "PW=from-file\nWHO=file")
    config = house.load("redis: {password: ${PW}, username: ${WHO}}", environ={"WHO": "environment"}).config
    assert config.redis.password is not None
    assert (config.redis.password.get_secret_value(), config.redis.username) == ("from-file", "environment")


def test_relative_paths_start_at_the_file_and_those_of_flags_here(house, monkeypatch):
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = "data_dir: ../data\nlogs: {directory: logs}"
    config = house.load(text).config
    assert (config.data_dir, config.logs.directory) == (house.root.parent / "data", house.root / "logs")
    assert house.load(text, flags={"data_dir": "here"}).config.data_dir == elsewhere / "here"


def test_flags_take_lists_and_name_items(house):
    house.write("config.yaml", PAGE)
    flags = {
        "upstreams[gpu-a].slots": "8",
        "models.mixtral-8x7b.aliases": "[a, b]",
        "tiers": "[{name: free, concurrent: 9}, {name: pro}]",
        "redis.password": "12345",
        "postgres.user": "null",
    }
    config = house.load(environ={"GPU_A_KEY": "x"}, flags=flags).config
    assert config.upstreams[0].slots == 8
    assert config.models[0].aliases == ("a", "b")
    assert [(tier.name, tier.concurrent) for tier in config.tiers] == [("free", 9), ("pro", None)]
    assert config.redis.password is not None
    assert config.redis.password.get_secret_value() == "12345"


def test_free_ports_may_repeat(house):
    text = "listeners: {graphql-api: {port: 0}, streaming-api: {port: 0}}"
    assert house.load(text).config.listeners[ListenerName.STREAMING].port == 0


def test_a_port_may_repeat_on_another_address(house):
    text = "listeners: {graphql-api: {host: 127.0.0.2}, streaming-api: {port: 9095, host: 127.0.0.3}}"
    assert house.load(text).config.listeners[ListenerName.STREAMING].port == 9095


def test_what_is_odd_is_warned_about(house):
    house.drop_in("old.yml", "")
    loaded = house.load(
        """
environment: production
redis: {password: x}
upstreams: [{id: a, url: http://a/v1}, {id: b, url: http://a/v1/}]
models: [{name: one, deployments: [{upstream: a}]}]
tiers: [{name: free, models: [one, gone]}]
routing: {timeouts: {idle_s: 700}}
logs: {prompts: true}
"""
    )
    assert loaded.warnings == (
        "config/services/old.yml: not read; only *.yaml is",
        "redis.url: embedded in production; it serves this one process and is backed up by nobody",
        "postgres.dsn: embedded in production; it serves this one process and is backed up by nobody",
        "redis: username and password are not used by the embedded Redis",
        "upstreams[0].url: '/v1' is added to it; leave it out",
        "upstreams[1].id: no model is deployed on 'b'; it will get no requests",
        "upstreams[1].url: '/v1' is added to it; leave it out",
        "upstreams[1].url: the same server as 'a'; its slots are counted twice",
        "tiers[0].models[1]: no model 'gone' here; the tier cannot use it",
        "routing.timeouts.idle_s: longer than total_s, which ends the request before",
        "logs.prompts: accepted, has no effect in this version",
    )


def test_the_settings_of_routing_have_an_effect(house):
    loaded = house.load(
        """
upstreams: [{id: a, url: http://a, gpu_hour_usd: 0}, {id: b, url: http://b, gpu_hour_usd: 2}]
models:
  - {name: one, deployments: [{upstream: a}, {upstream: b}], skills: {chat: 1}, fallbacks: [two]}
  - {name: two, deployments: [{upstream: a}], skills: {chat: 0.5}}
tiers: [{name: free, requests_per_minute: 3}]
routing: {objective: cost, strategy: prefix, hedge: {enabled: true}}
"""
    )
    assert loaded.warnings == ()


def test_defaults_written_down_are_no_reason_to_warn(house):
    text = "routing: {objective: balanced, hedge: {enabled: false}}\nlogs: {prompts: false}\nupstreams: []\nmodels: []"
    assert house.load(text).warnings == ()


def test_the_data_directory_is_found_whatever_else_is_wrong(house):
    house.write("config.yaml", "data_dir: here\nredis: {password: ${NOT_IN_THIS_SHELL}}\nrouting: {retries: many}")
    assert find_data_dir(house.file, environ={}) == house.root / "here"
    house.drop_in("a.yaml", "data_dir: there")
    assert find_data_dir(house.file, environ={}) == house.root / "there"
    house.drop_in("b.yaml", "redis: {}")
    house.write("config.yaml", "")
    assert find_data_dir(house.file, environ={}) == house.root / "there"
    assert find_data_dir(None, environ={}) == Path.cwd() / "var"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "data_dir: ${NOT_SET}",
            "data_dir: ${NOT_SET} is not set; set NOT_SET in the environment or in .env, or write ",
        ),
        ("data_dir: 3", "data_dir: expected a path, got 3"),
        ("- a", "config.yaml: expected a mapping of settings at the top, got a list"),
    ],
)
def test_a_data_directory_that_cannot_be_known_is_an_error(house, text, line):
    house.write("config.yaml", text)
    with pytest.raises(ConfigError) as caught:
        find_data_dir(house.file, environ={})
    assert str(caught.value).replace(f"{house.root}/", "").startswith(line)


def test_a_flag_is_told_what_it_may_be(house):
    flags = {"tiers": "[{name: free}", "upstreams[0].slots": "3"}
    assert house.problems("", flags=flags) == [
        "--set tiers: expected text, a number, or a list or mapping written as YAML in one line",
        "--set upstreams[0].slots: an item is named, not counted: upstreams[gpu-a].slots",
    ]


def test_drop_ins_that_cannot_be_listed_are_a_mistake(house):
    house.write("config/services", "a file")
    assert house.problems("") == ["config/services: cannot be listed: not a directory; check its permissions"]


def test_bounds_and_kinds_are_told_apart(house):
    assert house.problems("routing: {timeouts: {connect_s: x}, retries: 11}\nlogs: {directory: ''}") == [
        "routing.retries: expected a number of at most 10, got 11",
        "routing.timeouts.connect_s: expected a number, got 'x'",
        "logs.directory: expected a path, got ''",
    ]
