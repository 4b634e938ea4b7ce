"""`schema export`: the contract as it is committed, served and exported, is one text."""

import pytest

from citadel_edge.cli.main import main
from citadel_edge.listeners.graphql.schema import read_schema


def test_it_prints_the_contract_as_it_is_committed(capsys):
    assert main(["schema", "export"]) == 0
    assert capsys.readouterr().out == read_schema()


def test_it_writes_a_file_in_the_place_of_the_old_one(tmp_path):
    file = tmp_path / "schema.graphql"
    file.write_text("old")
    assert main(["schema", "export", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == read_schema()
    assert [each.name for each in tmp_path.iterdir()] == ["schema.graphql"]


def test_where_it_cannot_write_it_says_so(tmp_path, capsys):
    assert main(["schema", "export", str(tmp_path / "nowhere" / "schema.graphql")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["schema"], ["schema", "import"]])
def test_another_action_is_a_mistake(arguments, capsys):
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err
