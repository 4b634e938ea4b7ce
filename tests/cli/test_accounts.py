"""Accounts on the command line, against one running edge: users, keys, tiers, organisations, the audit trail."""

import asyncio
import json
import os
import pty
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import asyncpg
import pytest
import yaml

from citadel_edge.cli.main import main

ID = r"usr_[0-9A-Za-z]{22}"


class Desk:
    """Types commands about the accounts of one edge."""

    def __init__(self, shell, running):
        self.shell, self.running = shell, running
        self.url = shell.url(running.data, "rate-limiting-api")
        self.admin_key = json.loads((running.data / "credentials.json").read_text())["admin_key"]
        self.routing = shell.url(running.data, "routing-api")

    def run(self, *words, url=None):
        return self.shell.run(*words, "--config", self.running.config, "--url", url or self.url)

    def done(self, *words, **how):
        """Its standard output; it went well and said nothing else."""
        done = self.run(*words, **how)
        assert (done.code, done.err) == (0, "")
        return done.out

    def json(self, *words, **how):
        return json.loads(self.done(*words, "--json", **how))

    def refused(self, *words, code=1):
        """What it says, in one line, when it can't be done."""
        done = self.run(*words)
        assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done
        return done.err.removeprefix("citadel-edge: ").rstrip("\n")

    def user(self, name, *words):
        return self.json("users", "create", name, "--tier", "free", *words)

    def made(self, verb, *words):
        """A key that was made, its text included."""
        done = self.run("keys", verb, *words, "--json")
        assert (done.code, done.err) == (0, ""), done
        return json.loads(done.out)

    def patch(self, path, body):
        """Somebody else's change."""
        headers = {"Authorization": f"Bearer {self.admin_key}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            self.url + path, method="PATCH", data=json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200

    def chat(self, key):
        body = {"model": "one", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.routing}/v1/chat/completions", data=json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200

    def status(self, key):
        """How the models are answered to a key."""
        request = urllib.request.Request(f"{self.routing}/v1/models", headers={"Authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture(scope="module")
def desk(shell, running):
    return Desk(shell, running)


def rows(out):
    """The lines of a table, without its head."""
    return [line.split() for line in out.splitlines()[1:]]


def test_a_user_is_made_shown_changed_and_deleted(desk):
    shown = desk.done("users", "create", "ada", "--tier", "free", "--role", "operator")
    identity = re.search(rf"^id +({ID})$", shown, re.MULTILINE)[1]
    assert desk.done("users", "get", identity) == shown
    assert desk.json("users", "get", "ada")["id"] == identity
    changed = desk.json("users", "update", "ada", "--name", "Ada Lovelace", "--role", "user")
    assert (changed["name"], changed["role"], changed["tier"]) == ("Ada Lovelace", "user", "free")
    assert desk.done("users", "delete", "Ada Lovelace", "--yes") == f"deleted {identity}\n"
    assert desk.refused("users", "get", identity) == "not_found: There is no such user."


def test_a_suspended_user_s_key_is_refused_until_it_is_activated(desk):
    desk.user("sue")
    key = desk.run("keys", "create", "sue").out.strip()
    assert desk.json("users", "suspend", "sue")["state"] == "suspended"
    assert desk.status(key) == 403
    assert [row[0] for row in rows(desk.done("users", "list", "--name", "sue", "--state", "suspended"))]
    assert desk.json("users", "activate", "sue")["state"] == "active"
    assert desk.status(key) == 200


def test_a_list_is_a_page_and_says_so_or_all(desk):
    names = [f"one of many {number}" for number in range(4)]
    ids = [desk.user(name)["id"] for name in names]
    done = desk.run("users", "list", "--limit", "2")
    assert (done.code, len(rows(done.out))) == (0, 2)
    assert done.err == "There are more: --all shows every one, --limit so many.\n"
    assert desk.json("users", "list", "--limit", "2")["next"] is not None
    everyone = desk.json("users", "list", "--all")
    assert everyone["next"] is None
    assert [user["id"] for user in everyone["data"] if user["name"] in names] == ids
    assert desk.json("users", "list", "--limit", "1000") == everyone
    head = desk.done("users", "list", "--all").splitlines()[0]
    assert head.split() == "ID NAME STATE ROLE TIER ORGANISATION CREATED".split()


def test_a_list_longer_than_a_page_is_read_to_its_end(desk):
    asyncio.run(write_audit(desk, lines=450))
    ids = [entry["id"] for entry in desk.json("audit", "list", "--subject", "paged", "--all")["data"]]
    assert len(ids) == 450
    assert ids == sorted(set(ids), reverse=True)
    part = desk.json("audit", "list", "--subject", "paged", "--limit", "250")
    assert [entry["id"] for entry in part["data"]] == ids[:250]
    assert part["next"] is not None


async def write_audit(desk, *, lines):
    dsn = yaml.safe_load(desk.running.config.read_text())["postgres"]["dsn"]
    connection = await asyncpg.connect(dsn)
    try:
        query = "INSERT INTO audit (who, action, subject) SELECT 'test', 'write', 'paged' FROM generate_series(1, $1)"
        await connection.execute(query, lines)
    finally:
        await connection.close()


def test_a_user_s_name_must_be_one_user_s(desk):
    first = desk.user("twin")
    other = desk.json("organisations", "create", "elsewhere")
    second = desk.user("twin", "--organisation", "elsewhere")
    words = desk.refused("users", "get", "twin")
    assert words.startswith("conflict: There are several users named 'twin': name one by id (")
    assert all(f"{user['id']} of {user['organisation_id']}" in words for user in (first, second))
    assert desk.refused("keys", "list", "nobody") == "not_found: There is no user named 'nobody'."
    listed = desk.json("users", "list", "--organisation", "elsewhere", "--name", "twin")
    assert [user["id"] for user in listed["data"]] == [second["id"]]
    assert second["organisation_id"] == other["id"]


def test_a_user_is_deleted_only_if_somebody_says_so(desk):
    identity = desk.user("doomed")["id"]
    words = desk.refused("users", "delete", "doomed", code=2)
    assert words == f"--yes: needed to delete the user doomed ({identity}) and the keys where nobody can be asked"
    command = [*desk.shell.command, "users", "delete", "doomed", "--config", desk.running.config, "--url", desk.url]
    code, out, err = at_a_terminal(command, desk.shell.environment(), "n\n")
    assert (code, out) == (1, "")
    assert err == f"Delete the user doomed ({identity}) and the keys? [y/N] citadel-edge: nothing was done\n"
    assert desk.json("users", "get", "doomed")["id"] == identity
    assert at_a_terminal(command, desk.shell.environment(), "y\n")[:2] == (0, f"deleted {identity}\n")
    assert desk.run("users", "get", "doomed").code == 1


def at_a_terminal(command, environment, typed):
    """A command whose standard input is a terminal."""
    leader, follower = pty.openpty()
    try:
        os.write(leader, typed.encode())
        done = subprocess.run(
            command, env=environment, stdin=follower, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        os.close(leader)
        os.close(follower)
    return done.returncode, done.stdout, done.stderr


def test_a_made_key_is_alone_on_standard_output_and_works_until_it_is_revoked(desk):
    desk.user("key holder")
    made = desk.run("keys", "create", "key holder", "--name", "laptop", "--expires", "30d")
    key = made.out.removesuffix("\n")
    assert re.fullmatch(r"cit_test_\w+", key)
    assert re.fullmatch(r"key_\w{22}: This is shown once\. Keep it safe\.\n", made.err)
    identity = made.err.partition(":")[0]
    assert desk.status(key) == 200
    ((shown, *_, expires),) = [row[:6] for row in rows(desk.done("keys", "list", "key holder"))]
    assert shown == identity
    listed = desk.json("keys", "list", "key holder")
    assert listed["data"][0]["expires_at"].startswith(expires[:4])
    ended = desk.done("keys", "revoke", "key holder", identity)
    assert f"id            {identity}" in ended
    assert desk.status(key) == 401
    assert "revoked" in desk.done("keys", "list", "key holder")
    assert desk.json("keys", "list", "key holder", "--state", "active")["data"] == []
    assert all(key not in text for text in (made.err, ended, str(listed)))


def test_a_rotated_key_goes_on_for_its_overlap(desk):
    desk.user("rotating")
    first = desk.made("create", "rotating", "--expires", "2099-01-31")
    second = desk.made("rotate", "rotating", first["id"], "--overlap-s", "60")
    assert (desk.status(first["key"]), desk.status(second["key"])) == (200, 200)
    third = desk.made("rotate", "rotating", second["id"])
    assert (desk.status(second["key"]), desk.status(third["key"])) == (401, 200)
    assert third["expires_at"] == "2099-01-31T00:00:00Z"
    assert desk.refused("keys", "rotate", "rotating", second["id"]).startswith("conflict: The key has ended.")


def test_a_tier_is_made_of_flags_and_of_a_file(desk, tmp_path):
    flags = ("--requests-per-minute", "60", "--usd-per-month", "12.5", "--models", "one,two", "--burst", "0.5")
    made = desk.json("tiers", "create", "gold", *flags, "--concurrent", "none", "--spend-on-redis-down", "open")
    assert (made["requests_per_minute"], made["usd_per_month"], made["concurrent"]) == (60, 12.5, None)
    assert (made["models"], made["burst"]) == (["one", "two"], 0.5)
    assert made["on_redis_down"] == {"requests": "open", "spend": "open"}
    path = tmp_path / "tier.json"
    path.write_text(desk.done("tiers", "get", "gold", "--json"))
    copy = desk.json("tiers", "create", "gold-2", "--from-file", path, "--priority", "7")
    assert {**copy, **dict.fromkeys(OWN)} == {**made, "priority": 7, **dict.fromkeys(OWN)}


OWN = ("name", "version", "created_at", "updated_at")


def test_a_tier_s_update_leaves_what_it_does_not_name(desk):
    desk.done("tiers", "create", "silver", "--requests-per-minute", "60", "--tokens-per-day", "5")
    changed = desk.json(
        *("tiers", "update", "silver", "--requests-per-minute", "none", "--requests-on-redis-down", "closed")
    )
    assert (changed["requests_per_minute"], changed["tokens_per_day"]) == (None, 5)
    for limit in ("one:concurrent=2", "two:tokens_per_day=4"):
        changed = desk.json("tiers", "update", "silver", "--limit", limit)
    assert changed["by_model"] == {"one": {"concurrent": 2}, "two": {"tokens_per_day": 4}}
    changed = desk.json("tiers", "update", "silver", "--spend-on-redis-down", "open")
    assert changed["on_redis_down"] == {"requests": "closed", "spend": "open"}
    (line,) = [line for line in desk.done("tiers", "list", "--all").splitlines() if line.startswith("silver")]
    assert line.split()[:7] == ["silver", "none", "none", "none", "5", "none", "none"]
    assert desk.done("tiers", "delete", "silver") == "deleted silver\n"
    assert desk.refused("tiers", "get", "silver") == "not_found: There is no such tier."


def test_a_refusal_names_the_field_at_fault(desk):
    assert desk.refused("tiers", "create", "bent", "--burst", "2").endswith(" (burst)")
    assert desk.refused("users", "create", "x", "--tier", "none such") == (
        "invalid_request: There is no such tier. (tier)"
    )
    assert desk.refused("users", "list", "--organisation", "none such").startswith("not_found: ")


def test_an_organisation_is_made_changed_and_deleted(desk):
    made = desk.json("organisations", "create", "acme", "--time-zone", "Europe/Berlin")
    assert (made["time_zone"], made["limits"]) == ("Europe/Berlin", {})
    changed = desk.json(
        "organisations", "update", "acme", "--limit", "tokens_per_month=9", "--limit", "one:concurrent=2"
    )
    changed = desk.json("organisations", "update", "acme", "--limit", "tokens_per_month=none", "--burst", "0.5")
    assert changed["limits"] == {"tokens_per_month": None, "by_model": {"one": {"concurrent": 2}}, "burst": 0.5}
    changed = desk.json("organisations", "update", "acme", "--name", "Acme", "--time-zone", "Asia/Tokyo")
    assert (changed["id"], changed["name"], changed["time_zone"]) == (made["id"], "Acme", "Asia/Tokyo")
    assert [made["id"], "Acme", "Asia/Tokyo"] in [row[:3] for row in rows(desk.done("organisations", "list", "--all"))]
    assert [each["id"] for each in desk.json("organisations", "list", "--name", "Acm")["data"]] == [made["id"]]
    desk.user("member", "--organisation", "Acme")
    assert desk.refused("organisations", "delete", "Acme").startswith("conflict: The organisation still has users.")
    desk.done("users", "delete", "member", "--yes")
    assert desk.done("organisations", "delete", "Acme") == f"deleted {made['id']}\n"


def test_the_audit_trail_says_what_changed(desk):
    identity = desk.user("watched")["id"]
    desk.done("tiers", "create", "watching")
    desk.done("users", "update", "watched", "--tier", "watching")
    changed, made = rows(desk.done("audit", "list", "--subject", identity))
    assert changed[3:] == ["update_user", identity, "tier:", "free", "→", "watching"]
    assert made[3:] == ["create_user", identity]
    (entry,) = desk.json("audit", "list", "--subject", identity, "--limit", "1")["data"]
    assert (entry["action"], entry["after"]["tier"]) == ("update_user", "watching")


def test_a_quota_is_shown_set_and_cleared(desk):
    desk.done("tiers", "create", "metered", "--tokens-per-day", "1000", "--requests-per-minute", "60")
    desk.json("users", "create", "eve", "--tier", "metered")
    shown = desk.done("quota", "get", "eve")
    assert re.search(r"^tier +metered$", shown, re.MULTILINE)
    assert "LIMIT OF AT MOST REMAINING RESET SOURCE" in " ".join(shown.split())
    assert limits(desk.json("quota", "get", "eve")) == {
        ("requests_per_minute", "user"): (60, "tier"),
        ("tokens_per_day", "user"): (1000, "tier"),
    }
    desk.done("quota", "set", "eve", "tokens_per_day=5000", "one:concurrent=2")
    changed = desk.json("quota", "set", "eve", "requests_per_minute=none", "/v1/embeddings:requests_per_minute=6")
    assert changed["overrides"] == {
        "tokens_per_day": 5000,
        "requests_per_minute": None,
        "by_model": {"one": {"concurrent": 2}},
        "by_endpoint": {"/v1/embeddings": {"requests_per_minute": 6}},
    }
    assert limits(changed)["tokens_per_day", "user"] == (5000, "override")
    cleared = desk.json("quota", "clear", "eve", "tokens_per_day", "one:concurrent")
    assert cleared["overrides"].keys() == {"requests_per_minute", "by_endpoint"}
    assert limits(cleared)["tokens_per_day", "user"] == (1000, "tier")
    assert desk.json("quota", "clear", "eve")["overrides"] == {}
    assert desk.refused("quota", "set", "eve", "tokens_per_day=99999999999").endswith(" (overrides.tokens_per_day)")


def limits(quota):
    return {
        (row["name"], row["scope"]): (row["limit"], row["source"])
        for row in quota["limits"]
        if row["limit"] is not None
    }


def test_overrides_that_others_made_meanwhile_stay(desk):
    path = f"/v1/users/{desk.user('shared')['id']}/quota"

    def meddle(heads):
        if [head.split()[0] for head in heads[1:]] == [b"GET", b"PATCH"]:
            desk.patch(path, {"overrides": {"concurrent": 1}})
        return True

    with between(desk.url, meddle, before=True) as (url, heads):
        changed = desk.json("quota", "set", "shared", "tokens_per_day=5", url=url)
    assert [head.split()[0] for head in heads[1:]] == [b"GET", b"PATCH", b"GET", b"PATCH"]
    assert changed["overrides"] == {"concurrent": 1, "tokens_per_day": 5}


def test_a_top_up_is_given_listed_and_taken_back(desk):
    desk.user("lucy")
    given = desk.json("quota", "top-up", "lucy", "--tokens", "100000", "--reason", "a launch", "--expires", "30d")
    assert (given["tokens"], given["usd"], given["reason"]) == (100000, None, "a launch")
    other = desk.json("quota", "top-up", "lucy", "--usd", "2.5", "--reason", "goodwill")
    assert [row[:2] for row in rows(desk.done("quota", "top-ups", "lucy"))] == [
        [given["id"], "100000"],
        [other["id"], "2.5"],
    ]
    assert "goodwill" in desk.done("quota", "get", "lucy")
    assert desk.done("quota", "remove-top-up", "lucy", given["id"]) == f"deleted {given['id']}\n"
    assert [each["id"] for each in desk.json("quota", "top-ups", "lucy")["data"]] == [other["id"]]
    assert desk.refused("quota", "remove-top-up", "lucy", given["id"]).startswith("not_found: ")


@dataclass(frozen=True)
class Spender:
    """A user with three requests behind."""

    id: str
    key: str


@pytest.fixture(scope="module")
def spender(desk):
    spender = Spender(desk.user("spender")["id"], desk.made("create", "spender")["key"])
    for _ in range(3):
        desk.chat(spender.key)
    desk.shell.wait_until(lambda: desk.json("users", "usage", "spender")["totals"]["requests"] == 3, "they are counted")
    return spender


def test_usage_is_a_table_of_its_parts_with_their_sum(desk, spender):
    lines = desk.done("users", "usage", spender.id, "--by", "day,model").splitlines()
    assert re.fullmatch(r"\d{4}-.* to \d{4}-.* \(UTC\)", lines[0])
    assert lines[2].split() == "DAY MODEL REQUESTS TOKENS IN TOKENS OUT COST USD ERRORS DENIED".split()
    part, total = (line.split() for line in lines[3:])
    assert part[1:3] == ["one", "3"]
    assert total == ["total", *part[2:]]
    nothing = desk.json("users", "usage", spender.id, "--from", "2020-01-01", "--to", "2020-02-01", "--by", "key")
    assert (nothing["data"], nothing["totals"]["requests"]) == ([], 0)
    assert desk.refused("users", "usage", spender.id, "--by", "mood").endswith("(by)")
    assert desk.refused("users", "usage", spender.id, "--from", "soon").endswith("(from)")


def test_usage_is_written_as_comma_separated_values(desk, spender, tmp_path):
    out = desk.done("users", "usage", spender.id, "--by", "model", "--csv", "-")
    head, part = out.splitlines()
    assert head.startswith("model,requests,tokens_in,tokens_out,cost_usd")
    assert part.startswith("one,3,")
    path = tmp_path / "usage.csv"
    assert desk.done("organisations", "usage", "default", "--by", "user,model", "--csv", path) == ""
    assert f"{spender.id},one,3," in path.read_text()
    assert desk.refused("users", "usage", spender.id, "--csv", tmp_path, code=2).startswith(f"--csv: {tmp_path}: ")


def test_everybody_may_ask_for_the_own_quota_and_usage_as_me(desk, spender):
    own, theirs = desk.json("quota", "get", "me", "--key", spender.key), desk.json("quota", "get", spender.id)
    for one in (*own["limits"], *theirs["limits"]):
        del one["reset_s"], one["remaining"]  # time has passed between them
    assert own == theirs
    assert desk.json("users", "usage", "me", "--key", spender.key)["totals"]["requests"] == 3
    assert desk.run("quota", "set", "me", "concurrent=none", "--key", spender.key).err.startswith(
        "citadel-edge: forbidden: "
    )


def test_a_key_whose_text_was_lost_is_replaced_at_once(desk):
    identity = desk.user("unheard")["id"]
    with between(desk.url, lambda heads: len(heads) > 1) as (url, heads):
        done = desk.run("keys", "create", identity, "--name", "laptop", url=url)
    assert (done.code, len(heads)) == (0, 3)
    assert desk.status(done.out.strip()) == 200
    lost, shown = desk.json("keys", "list", identity)["data"]
    assert (lost["replaced_by"], lost["revoked_at"] is None) == (shown["id"], False)
    assert (shown["name"], shown["revoked_at"]) == ("laptop", None)
    with between(desk.url, lambda heads: len(heads) % 2 == 0) as (url, _):
        done = desk.run("keys", "create", identity, url=url)
    assert (done.code, done.out) == (1, "")
    assert re.search(r"the key key_\w{22} was made and its text is lost: revoke it", done.err)


def test_a_create_whose_answer_is_lost_is_asked_for_again(desk):
    with between(desk.url, lambda heads: len(heads) > 1) as (url, heads):
        assert desk.json("users", "create", "lucky", "--tier", "free", url=url)["name"] == "lucky"
    first, second = [re.search(rb"Idempotency-Key: (\S+)", head)[1] for head in heads]
    assert first == second
    assert len(desk.json("users", "list", "--name", "lucky")["data"]) == 1


def test_a_create_is_asked_for_twice_at_most_and_other_changes_once(desk):
    identity = desk.user("steady")["id"]
    for times, words in ((2, ("users", "create", "unlucky", "--tier", "free")), (1, ("users", "suspend", identity))):
        with between(desk.url, lambda _: False) as (url, heads):
            done = desk.run(*words, url=url)
            assert (done.code, done.out, len(heads)) == (1, "", times)
            assert done.err.endswith("; the change may have been made: look before you repeat it\n")


def test_a_merge_is_made_anew_when_somebody_else_was_faster(desk):
    desk.done("tiers", "create", "contested", "--tokens-per-day", "5")

    def meddle(heads):
        if [head.split()[0] for head in heads] == [b"GET", b"PATCH"]:
            desk.patch("/v1/tiers/contested", {"on_redis_down": {"requests": "closed"}})
        return True

    with between(desk.url, meddle, before=True) as (url, heads):
        changed = desk.json("tiers", "update", "contested", "--spend-on-redis-down", "open", url=url)
    assert [head.split()[0] for head in heads] == [b"GET", b"PATCH", b"GET", b"PATCH"]
    assert changed["on_redis_down"] == {"requests": "closed", "spend": "open"}


def test_a_merge_is_given_up_when_others_are_always_faster(desk):
    desk.done("tiers", "create", "busy")

    def meddle(heads):
        if heads[-1].startswith(b"PATCH"):
            desk.patch("/v1/tiers/busy", {"priority": len(heads)})
        return True

    with between(desk.url, meddle, before=True) as (url, heads):
        done = desk.run("tiers", "update", "busy", "--tokens-per-day", "1", url=url)
    assert (done.code, len(heads)) == (1, 6)
    assert done.err.startswith("citadel-edge: stale: The tier was changed meanwhile.")


@contextmanager
def between(url, passes, *, before=False):
    """Somebody between us and the door, and the heads of all requests so far.

    After each request (or before it is passed on) `passes` of them says whether the answer arrives.
    """
    host, port = url.removeprefix("http://").split(":")
    heads = []

    def relay(client):
        head, body = received(client)
        heads.append(head)
        arrives = passes(heads) if before else None
        with socket.create_connection((host, int(port))) as server:
            server.sendall(b"%b\r\nConnection: close\r\n\r\n%b" % (head, body))
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        if passes(heads) if arrives is None else arrives:
            client.sendall(answer)

    def serve(listener):
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    relay(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", heads
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def received(client):
    """A request's head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += client.recv(65536)
    return head, body


def test_a_key_of_no_admin_is_refused_and_never_shown(desk):
    desk.user("mortal")
    key = desk.made("create", "mortal")["key"]
    done = desk.run("users", "list", "--key", key)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("citadel-edge: forbidden: ")
    for wrong in ("cit_test_wrong", "two\nlines", "käse"):
        done = desk.run("users", "list", "--key", wrong)
        assert (done.code, done.out, done.err.count("\n"), wrong in done.err) == (1, "", 1, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("users", "swim"), "invalid choice: 'swim'"),
        (("users", "create", "x"), "the following arguments are required: --tier"),
        (("users", "list", "--role", "king"), "invalid choice: 'king'"),
        (("users", "list", "--limit", "0"), "expected a whole number from 1, got '0'"),
        (("users", "list", "--limit", "3", "--all"), "not allowed with argument"),
        (("users", "update", "x"), "update: there is nothing to change: give one of --name, --tier"),
        (("users", "usage", "x", "--csv", "-", "--json"), "--csv: give --csv or --json"),
        (("keys", "create", "x", "--expires", "soon"), "expected a time as 2027-01-31T00:00:00Z or 90d, got 'soon'"),
        (("keys", "rotate", "x", "y", "--overlap-s", "-1"), "expected a number from 0, got '-1'"),
        (("tiers", "create", "x", "--tokens-per-day", "1.5"), "expected a whole number from 0, or none, got '1.5'"),
        (
            ("tiers", "update", "x"),
            "update: there is nothing to change: give one of --from-file, --requests-per-minute",
        ),
        (("tiers", "create", "x", "--from-file", "/nowhere"), "--from-file: /nowhere: No such file or directory"),
        (
            ("tiers", "create", "x", "--from-file", "/dev/null"),
            "--from-file: expected a JSON object of a tier's fields",
        ),
        (("organisations", "update", "x"), "update: there is nothing to change: give one of --name, --time-zone"),
        (("quota", "set", "x"), "the following arguments are required: LIMIT=VALUE"),
        (("quota", "set", "x", "speed=3"), "expected one of requests_per_minute"),
        (("quota", "set", "x", "concurrent"), "expected LIMIT=VALUE as in tokens_per_day=5000, got 'concurrent'"),
        (("quota", "clear", "x", ":concurrent"), "or MODEL:LIMIT, got ':concurrent'"),
        (("quota", "top-up", "x", "--tokens", "5"), "the following arguments are required: --reason"),
        (("quota", "top-up", "x", "--reason", "y"), "one of the arguments --tokens --usd is required"),
        (("quota", "top-up", "x", "--reason", "y", "--tokens", "1", "--usd", "1"), "not allowed with argument"),
    ],
)
def test_a_mistyped_command_is_2(desk, words, said):
    done = desk.run(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("command", ["users", "keys", "tiers", "quota", "organisations", "audit"])
def test_every_action_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    actions = re.findall(r"^    ([a-z-]+)", capsys.readouterr().out.partition("ACTION\n")[2], re.MULTILINE)
    assert actions
    for action in actions:
        assert main([command, action, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"usage: citadel-edge {command} {action}" in out
        assert "--config PATH" in out
        assert ("--json" in out) is (action != "bootstrap")
