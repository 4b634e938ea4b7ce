"""The packages of npm are named by version and digest alone: from whichever registry, they are the same bytes."""

import json

import pytest

from clients.programs import SCRIPTS


@pytest.fixture
def locked():
    return json.loads((SCRIPTS / "package-lock.json").read_text())["packages"]


def test_the_lock_has_a_digest_for_each_and_no_address(locked):
    assert "://" not in json.dumps(locked)
    assert all(each["integrity"].startswith("sha512-") for name, each in locked.items() if name)


def test_what_is_asked_for_is_what_is_locked(locked):
    asked = json.loads((SCRIPTS / "package.json").read_text())
    for kind in ("dependencies", "optionalDependencies"):
        assert locked[""][kind] == asked[kind]
        assert {f"node_modules/{name}" for name in asked[kind]} <= locked.keys()
