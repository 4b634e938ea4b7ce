"""The packages of npm are named by version and digest alone: from whichever registry, they are the same bytes."""

import json

import pytest

from clients.programs import SCRIPTS

LINT = SCRIPTS.parent.parent / "schema_lint"


@pytest.fixture(params=[SCRIPTS, LINT], ids=["clients", "lint"])
def folder(request):
    return request.param


@pytest.fixture
def locked(folder):
    return json.loads((folder / "package-lock.json").read_text())["packages"]


def test_the_lock_has_a_digest_for_each_and_no_address(locked):
    assert "://" not in json.dumps(locked)
    assert all(each["integrity"].startswith("sha512-") for name, each in locked.items() if name)


def test_what_is_asked_for_is_what_is_locked(locked, folder):
    asked = json.loads((folder / "package.json").read_text())
    for kind in asked.keys() & {"dependencies", "optionalDependencies"}:
        assert locked[""][kind] == asked[kind]
        assert {f"node_modules/{name}" for name in asked[kind]} <= locked.keys()
