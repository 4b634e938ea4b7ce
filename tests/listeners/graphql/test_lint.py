"""The contract passes graphql-eslint's rules for schemas and for Relay; see `schema_lint/eslint.config.mjs`."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from citadel_edge.listeners.graphql.schema import read_schema
from clients.programs import Missing, node_program, packages_of

LINT = Path(__file__).parents[2] / "schema_lint"
WITHIN_S = 60


@pytest.fixture(scope="module")
def lint(tmp_path_factory):
    """Lints a schema; the rules that it breaks, with their words."""
    try:
        packages = packages_of(LINT)
        node = node_program(packages)
    except Missing as error:
        pytest.skip(f"not tried on npm's graphql-eslint: {error}")
    directory = tmp_path_factory.mktemp("lint")
    shutil.copy(LINT / "eslint.config.mjs", directory)
    (directory / "node_modules").symlink_to(packages)

    def run(text):
        (directory / "schema.graphql").write_text(text)
        eslint = packages / "eslint" / "bin" / "eslint.js"
        command = [node, str(eslint), "--format", "json", "schema.graphql"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        assert done.stdout.startswith("["), done.stderr
        return [(found["ruleId"], found["message"]) for file in json.loads(done.stdout) for found in file["messages"]]

    return run


def test_the_contract_breaks_no_rule(lint):
    assert lint(read_schema()) == []


def test_rules_are_in_force(lint):
    wrong = "extend type Query { models2: [Model!]! users2: UserConnection }"
    broken = {rule.rpartition("/")[2] for rule, _ in lint(f"{read_schema()}\n{wrong}\ntype Loose {{ id: ID }}")}
    assert {"require-description", "relay-arguments", "no-unreachable-types"} <= broken
