"""Broken configurations, and the exact lines that an operator reads."""

import pytest

FLEET = """
upstreams:
  - {id: gpu-a, url: http://10.0.0.11:8000}
models:
  - {name: one, deployments: [{upstream: gpu-a}]}
"""

BROKEN = {
    "wrong type": (
        "routing: {retries: two}",
        ["routing.retries: expected a whole number, got 'two'"],
    ),
    "a number in quotes": (
        'listeners: {routing-api: {port: "9097"}}',
        ["listeners.routing-api.port: expected a whole number, got '9097'"],
    ),
    "true for a number": (
        "embedded: {slots: true, replicas: 2.5}\nrouting: {timeouts: {idle_s: false}}",
        [
            "routing.timeouts.idle_s: expected a number, got false",
            "embedded.replicas: expected a whole number, got 2.5",
            "embedded.slots: expected a whole number, got true",
        ],
    ),
    "a number for a switch, and YAML 1.1's yes": (
        "routing: {hedge: {enabled: 1}}\nlogs: {prompts: yes}",
        [
            "routing.hedge.enabled: expected true or false, got 1",
            "logs.prompts: expected true or false, got 'yes'",
        ],
    ),
    "a number for text": (
        "server_hostname: 17\npostgres: {database: 5}",
        [
            "server_hostname: expected text, got 17; put it in quotes",
            "postgres.database: expected text, got 5; put it in quotes",
        ],
    ),
    "unknown key": (
        "listeners: {routing-api: {prot: 9097}}",
        ["listeners.routing-api.prot: unknown key; did you mean 'port'?"],
    ),
    "unknown key far from any": (
        "process: {zzz: 1}",
        ["process.zzz: unknown key; known are grace_s"],
    ),
    "unknown listener": (
        "listeners: {router-api: {port: 1}}",
        ["listeners.router-api: unknown listener; did you mean 'routing-api'?"],
    ),
    "out of range": (
        (
            "listeners: {routing-api: {port: 70000, budget: {tasks: 0}}}\n"
            "process: {grace_s: -1}\nhttp: {idle_timeout_s: .inf}"
        ),
        [
            "listeners.routing-api.port: expected a number of at most 65535, got 70000",
            "listeners.routing-api.budget.tasks: expected a number of at least 1, got 0",
            "http.idle_timeout_s: expected a finite number, got inf",
            "process.grace_s: expected a number above 0, got -1",
        ],
    ),
    "no such choice": (
        "environment: prodution\nrouting: {objective: best}",
        [
            (
                "environment: expected 'development', 'staging', 'production' or 'test', got 'prodution'; "
                "did you mean 'production'?"
            ),
            "routing.objective: expected 'balanced', 'cost', 'latency' or 'quality', got 'best'",
        ],
    ),
    "a section that is no mapping": (
        "redis: redis://:hunter2@10.0.0.1\nhttp: [1]\ntiers: {name: free}",
        [
            "http: expected a mapping, got a list",
            "redis: expected a mapping, got text",
            "tiers: expected a list, got a mapping",
        ],
    ),
    "bad URL": (
        (
            "upstreams:\n  - {id: ok, url: http://10.0.0.1}\n  - {id: gpu-a, url: gpu-a}\nmetrics_server: {url: ftp://x}\n"
            "models: [{name: one, deployments: [{upstream: ok}, {upstream: gpu-a}]}]"
        ),
        [
            "metrics_server.url: expected an http(s) URL, got 'ftp://x'",
            "upstreams[1].url: expected an http(s) URL, got 'gpu-a'",
        ],
    ),
    "bad host": (
        "server_ip: 10.0.0.300\nlisteners: {graphql-api: {host: '127.0.0.1:9095'}}",
        [
            "server_ip: expected an IP address or host name without a port, got '10.0.0.300'",
            "listeners.graphql-api.host: expected an IP address or host name without a port, got '127.0.0.1:9095'",
        ],
    ),
    "unset variable": (
        "redis: {password: '${REDIS_PASSWORD}'}\npostgres: {user: 'u-${WHO}'}",
        [
            (
                "redis.password: ${REDIS_PASSWORD} is not set; set REDIS_PASSWORD in the environment or in .env, "
                "or write ${REDIS_PASSWORD:-default}"
            ),
            "postgres.user: ${WHO} is not set; set WHO in the environment or in .env, or write ${WHO:-default}",
        ],
    ),
    "an unset variable where something is required": (
        "upstreams: [{id: a, url: ${URL_A}}]\nmodels: [{name: one, deployments: [{upstream: a}]}]",
        ["upstreams[0].url: ${URL_A} is not set; set URL_A in the environment or in .env, or write ${URL_A:-default}"],
    ),
    "a malformed reference": (
        "redis: {username: 'a${b c}'}",
        [
            (
                "redis.username: '${' starts no reference here; "
                "write ${NAME} or ${NAME:-default}, and '$${' for a plain '${'"
            ),
        ],
    ),
    "duplicate port": (
        "listeners: {streaming-api: {port: 9095}, rate-limiting-api: {port: 9095, host: 0.0.0.0}}",
        [
            "listeners.streaming-api.port: 9095 is also the port of graphql-api; give each listener its own",
            "listeners.rate-limiting-api.port: 9095 is also the port of graphql-api; give each listener its own",
        ],
    ),
    "a name twice": (
        """
upstreams: [{id: a, url: http://x}, {id: a, url: http://y}]
models:
  - {name: one, aliases: [uno, two], deployments: [{upstream: a}]}
  - {name: two, aliases: [uno], deployments: [{upstream: a}]}
  - {name: two, deployments: [{upstream: a}]}
tiers: [{name: free}, {name: free}]
""",
        [
            "upstreams[1].id: 'a' stands twice; give each upstream its own id",
            "models[2].name: 'two' stands twice; give each model its own name",
            "models[0].aliases[1]: 'two' is already the name of model 'two'; give each alias once",
            "models[1].aliases[0]: 'uno' is already an alias of model 'one'; give each alias once",
            "tiers[1].name: 'free' stands twice; give each tier its own name",
        ],
    ),
    "a reserved name": (
        (
            "upstreams: [{id: a, url: http://x}]\n"
            "models: [{name: auto, aliases: ['auto:cheap', autopilot], deployments: [{upstream: a}]}]"
        ),
        [
            "models[0].name: 'auto' is reserved for choosing a model automatically; take another name",
            "models[0].aliases[0]: 'auto:cheap' is reserved for choosing a model automatically; take another name",
        ],
    ),
    "a deployment on an unknown upstream": (
        FLEET.replace("upstream: gpu-a", "upstream: gpu-b"),
        ["models[0].deployments[0].upstream: no upstream 'gpu-b'; did you mean 'gpu-a'?"],
    ),
    "a model without a deployment": (
        FLEET + "  - {name: two, deployments: []}\n  - {name: three}",
        [
            "models[1].deployments: expected at least 1 item, got an empty list; add one",
            "models[2].deployments: is required; add it",
        ],
    ),
    "fallbacks that lead nowhere": (
        FLEET
        + "  - {name: two, aliases: [zwei], deployments: [{upstream: gpu-a}], fallbacks: [two, onne, eins]}\n"
        + "  - {name: three, deployments: [{upstream: gpu-a}], fallbacks: [zwei]}",
        [
            "models[1].fallbacks[0]: 'two' falls back to itself; name another model",
            "models[1].fallbacks[1]: no model 'onne'; did you mean 'one'?",
            "models[1].fallbacks[2]: no model 'eins'; known are one, three",
            "models[2].fallbacks[0]: 'zwei' is an alias; name its model, 'two'",
        ],
    ),
    "upstreams without models": (
        "upstreams: [{id: a, url: http://x}]",
        ["models: upstreams are given but no models; add models with deployments on them, or remove upstreams"],
    ),
    "models without upstreams": (
        "models: [{name: one, deployments: [{upstream: a}]}]",
        ["upstreams: models are given but no upstreams; add those they are deployed on, or remove models"],
    ),
    "TLS files that are not there": (
        "listeners: {graphql-api: {tls: {cert: none.pem, key: none.key}}}",
        [
            "listeners.graphql-api.tls.cert: no readable file 'none.pem'; give the path of a PEM file",
            "listeners.graphql-api.tls.key: no readable file 'none.key'; give the path of a PEM file",
        ],
    ),
    "names that cannot stand in a URL": (
        "upstreams: [{id: 'a:b', url: http://x}]\nmodels: [{name: 'a b', deployments: [{upstream: 'a:b'}]}]",
        [
            "upstreams[0].id: expected a name without spaces, '/' and ':', got 'a:b'",
            "models[0].name: expected a name without spaces that does not start with '/', got 'a b'",
        ],
    ),
    "an upstream's key that cannot stand in a header": (
        FLEET.replace("url:", "api_key: 'a b', url:"),
        ["upstreams[0].api_key: expected a key of visible ASCII characters, without blanks and line ends"],
    ),
    "a key twice": (
        "environment: test\nredis:\n  url: embedded\n  url: 10.0.0.1:6379\nenvironment: staging",
        [
            "redis.url: given twice, in lines 3 and 4; keep one",
            "environment: given twice, in lines 1 and 5; keep one",
        ],
    ),
    "a key that is no name": (
        "upstreams: []\n1: 2",
        ["config.yaml:2: a number cannot be a key; write a name, or put it in quotes"],
    ),
    "a root that is no mapping": (
        "- a\n- b",
        ["config.yaml: expected a mapping of settings at the top, got a list"],
    ),
    "not YAML": (
        "environment: test\nlisteners: {routing-api: {port: 1}",
        ["config.yaml:3: not YAML: did not find expected ',' or '}'; look at indentation, colons and quotes"],
    ),
    "a second document": ("environment: test\n---\na: 1", ["config.yaml:2: a second document starts here; keep one"]),
    "a tag": (
        "data_dir: !!python/object:os.system x",
        ["config.yaml:1: tags like !this are not understood; remove it"],
    ),
    "not UTF-8": (b"environment: test\ndata_dir: \xff", ["config.yaml:2: not UTF-8 (byte 0xff); save it as UTF-8"]),
    "too large": (b"#" * (2**20 + 1), ["config.yaml: larger than 1048576 bytes; is this the right file?"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_what_to_do(house, name):
    text, expected = BROKEN[name]
    assert house.problems(text) == expected


def test_all_mistakes_of_all_sources_come_at_once(house):
    house.write(".env", "GPU KEY=1")
    house.drop_in("a.yaml", "upstreams: [{id: gpu-a, slots: many}, {id: gpu-b, url: nowhere}]")
    house.drop_in("b.yaml", "- no mapping")
    house.drop_in("c.yaml", "process: {grace: 3}")
    assert house.problems(FLEET, environ={"ROUTING_API_PORT": "x"}, flags={"routing.retries": "many", "a..b": "c"}) == [
        ".env:1: expected NAME=value, with quotes around a value with quotes or '#'",
        "config/services/b.yaml: expected a mapping of settings at the top, got a list",
        "--set a..b: expected a path as in routing.retries or upstreams[gpu-a].slots, got 'a..b'",
        "listeners.routing-api.port (ROUTING_API_PORT): expected a whole number, got 'x'",
        "config/services/a.yaml: upstreams[0].slots: expected a whole number, got 'many'",
        "config/services/a.yaml: upstreams[1].url: expected an http(s) URL, got 'nowhere'",
        "routing.retries (--set): expected a whole number, got 'many'",
        "config/services/c.yaml: process.grace: unknown key; did you mean 'grace_s'?",
    ]


def test_types_and_agreement_are_checked_in_one_go(house):
    assert house.problems("routing: {retries: two}\nlisteners: {routing-api: {port: 9095}}") == [
        "routing.retries: expected a whole number, got 'two'",
        "listeners.routing-api.port: 9095 is also the port of graphql-api; give each listener its own",
    ]


def test_a_missing_file_is_one_clear_line(house):
    assert house.problems() == [
        "config.yaml: cannot be read: no such file or directory; check its path and permissions"
    ]


def test_a_directory_is_no_file(house):
    house.file.mkdir()
    assert house.problems() == ["config.yaml: cannot be read: is a directory; check its path and permissions"]


def test_a_file_that_could_not_be_read_is_not_said_to_lack_anything(house):
    house.drop_in(
        "a.yaml", "models: [{name: one, deployments: [{upstream: gpu-a}]}]\nupstreams: [{id: gpu-a, slots: 2}]"
    )
    assert house.problems("]") == [
        "config.yaml:1: not YAML: did not find expected node content; look at indentation, colons and quotes"
    ]


SECRETS = (
    "redis: {url: 'redis://:hunter2'}",
    "redis: {url: 'redis://user:hunter2@h@:x'}",
    "redis: {url: 'redis://user:1hunter2/@h'}",
    "redis: {url: 'root:hunter2'}",
    "upstreams: [{id: a, url: 'http://h', api_key: 'hunter2 '}]",
    "redis: {password: [hunter2]}",
    "redis: {password: {hunter2: hunter2}}",
    "redis: 'redis://:hunter2@h'",
    "postgres: {dsn: 'postgresql://me:hunter2@'}",
    "postgres: {dsn: 'postgresql://me:12#hunter2@h'}",
    "postgres: {dsn: 'postgresql://h?password=hunter2'}",
    "postgres: {dsn: 'mysql://me:hunter2@h'}",
    "upstreams: [{id: a, url: 'http://me:hunter2@h'}]",
    "upstreams: [{id: a, url: 'http://h', api_key: [hunter2]}]",
    "redis: {password: '${hunter2'}",
    "redis: {password: &a hunter2, password: *b}",
    "redis: {password: hunter2\nhunter2",
)


@pytest.mark.parametrize("text", SECRETS)
def test_no_error_shows_a_secret(house, text):
    assert "hunter2" not in "\n".join(house.problems(text))


def test_no_error_shows_a_line_of_dotenv(house):
    house.write(".env", "PASSWORD hunter2\nP='hunter2\n")
    assert "hunter2" not in "\n".join(house.problems(""))


def test_a_repr_of_the_configuration_shows_no_secret(house):
    loaded = house.load(
        "redis: {url: 'redis://u:hunter2@h', password: hunter2}\npostgres: {dsn: 'postgresql://u:hunter2@h/d'}"
    )
    assert "hunter2" not in repr(loaded)
