"""`citadel-edge route` against a running edge."""

import json
import urllib.request

import pytest

from citadel_edge.cli.asking import door_of, key_of
from citadel_edge.config.shape import Config, ListenerConfig, ListenerName, Tls
from citadel_edge.errors import ConfigError, StartError


@pytest.fixture(scope="module")
def url(shell, running):
    return shell.url(running.data, "routing-api")


def test_it_prints_why(shell, running, url):
    done = shell.run("route", "--config", running.config, "--url", url, "--model", "one", "Say", "something.")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "model     one"
    assert lines[1] == "replica   sim"
    assert lines[2].startswith("by        strategy ")
    assert any(line.startswith("estimate  ") and "USD" in line for line in lines)
    (head,) = [line for line in lines if line.startswith("REPLICA")]
    assert head.split()[1] == "SCORE"
    assert lines[-1].split()[0] == "sim"


def test_for_programs_it_is_the_door_s_answer(shell, running, url):
    done = shell.run("route", "--config", running.config, "--url", url, "--json", "--model", "one", "hi")
    answer = json.loads(done.out)
    assert (done.code, answer["chosen"], answer["model"]) == (0, "sim", "one")
    assert {"decision", "candidates", "estimate"} <= answer.keys()


def test_a_body_is_taken_as_it_is(shell, running, url, tmp_path):
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"model": "one", "prompt": "once upon"}))
    done = shell.run("route", "--config", running.config, "--url", url, "--body", path, "--json")
    assert (done.code, json.loads(done.out)["chosen"]) == (0, "sim")
    done = shell.run("route", "--config", running.config, "--url", url, "--body", tmp_path / "none.json")
    assert (done.code, done.out) == (2, "")
    assert "No such file" in done.err


def test_a_refusal_is_one_line_in_the_door_s_words(shell, running, url):
    done = shell.run("route", "--config", running.config, "--url", url, "--model", "nobody", "hi")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("citadel-edge: model_not_found: The model 'nobody' does not exist.")
    done = shell.run("route", "--config", running.config, "--url", url, "--key", "wrong", "hi")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("citadel-edge: invalid_api_key: ")


def test_when_no_replica_can_take_it_the_exit_code_says_so(shell, running, url):
    key = json.loads((running.data / "credentials.json").read_text())["admin_key"]
    trip, reset = (f"{url}/v1/breakers/sim/{what}" for what in ("trip", "reset"))
    try:
        post(trip, key)
        done = shell.run("route", "--config", running.config, "--url", url, "--model", "one", "hi")
        assert done.code == 1
        assert "replica   nobody: no replica can take it now" in done.out
        assert "breaker: an operator tripped its breaker" in done.out
    finally:
        post(reset, key)


def post(url, key):
    request = urllib.request.Request(url, method="POST", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def test_nobody_there_is_one_line(shell, running):
    done = shell.run("route", "--config", running.config, "--url", "http://127.0.0.1:1", "hi")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "http://127.0.0.1:1 does not answer" in done.err
    done = shell.run("route", "--config", running.config, "hi")  # its port is a free one
    assert done.code == 2
    assert "listeners.routing-api.port" in done.err


@pytest.mark.parametrize("arguments", [(), ("--body", "x", "and a prompt"), ("hi", "--optimize", "beauty")])
def test_a_mistyped_command_is_a_usage_error(shell, running, arguments):
    assert shell.run("route", "--config", running.config, *arguments).code == 2


def test_the_door_is_where_the_configuration_says():
    def config(host, tls=None):
        listener = ListenerConfig(host=host, port=9097, tls=tls)
        return Config(listeners=dict.fromkeys(ListenerName, listener))

    assert door_of(None, config("10.0.0.7")).url == "http://10.0.0.7:9097"
    assert door_of(None, config("0.0.0.0")).url == "http://127.0.0.1:9097"
    assert door_of(None, config("::")).url == "http://[::1]:9097"
    assert door_of("https://edge/", config("::")).url == "https://edge"
    door = door_of(None, config("10.0.0.7", Tls(cert="cert.pem", key="key.pem")))
    assert (door.url, door.certificate) == ("https://10.0.0.7:9097", "cert.pem")
    with pytest.raises(ConfigError, match="expected an http"):
        door_of("edge:9097", config("::"))
    with pytest.raises(ConfigError):
        door_of(None, Config(listeners=dict.fromkeys(ListenerName, ListenerConfig(port=0))))


def test_the_key_is_the_flag_s_then_the_environment_s_then_the_first_start_s(tmp_path, monkeypatch):
    config = Config(data_dir=tmp_path)
    monkeypatch.delenv("CITADEL_API_KEY", raising=False)
    with pytest.raises(StartError, match="CITADEL_API_KEY"):
        key_of(None, config)
    (tmp_path / "credentials.json").write_text('{"admin_key": "from the file", "demo_key": "x"}')
    assert key_of(None, config) == "from the file"
    monkeypatch.setenv("CITADEL_API_KEY", "from the environment")
    assert key_of(None, config) == "from the environment"
    assert key_of("from the flag", config) == "from the flag"
