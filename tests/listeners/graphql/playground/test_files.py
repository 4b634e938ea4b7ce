"""What the page is made of, and that its examples are questions the graph answers."""

import json
import re

import pytest
from graphql import build_schema, parse, validate

from citadel_edge.errors import StartError
from citadel_edge.listeners.graphql.playground import files
from citadel_edge.listeners.graphql.playground.files import read_examples, read_playground
from citadel_edge.listeners.graphql.schema import read_schema


@pytest.fixture(scope="module")
def playground():
    return read_playground()


@pytest.fixture(scope="module")
def page(playground):
    return playground.page.decode()


def test_the_page_names_files_that_are_there_and_nothing_of_other_hosts(playground, page):
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    folder = playground.folder.lstrip("/")
    assert {each for each in named if not each.startswith(folder)} == {"schema.graphql"}
    assert {each.removeprefix(f"{folder}/") for each in named} - {"schema.graphql"} <= playground.files.keys()
    assert "://" not in page
    assert re.search(r"<script(?![^>]*(?:src=|application/json))|<style|\son\w+=|\sstyle=", page) is None


def test_scripts_import_files_that_are_there(playground):
    for file in playground.files.values():
        for name in re.findall(rb'^import .* from "\./([^"]+)"', file.content, re.MULTILINE):
            assert name.decode() in playground.files


def test_the_folder_is_named_after_its_contents(playground):
    assert read_playground() == playground
    changed = {**playground.files, "icon.svg": files.File("image/svg+xml", b"<svg/>")}
    assert files._digest(changed) != files._digest(playground.files)


def test_the_page_carries_the_examples(page):
    text = re.search(r'<script type="application/json" id="examples">(.*?)</script>', page, re.DOTALL)
    assert [each["query"] for each in json.loads(text[1])] == read_examples()


def test_the_examples_fit_the_schema():
    schema = build_schema(read_schema())
    assert [validate(schema, parse(example)) for example in read_examples()] == [[]] * 7


def test_without_the_wheel_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(files, "CARRIER", "no_such_carrier")
    with pytest.raises(StartError, match=r"install it, or set graphql\.playground to false"):
        read_playground()
