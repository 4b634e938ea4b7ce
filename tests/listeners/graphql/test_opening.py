"""What the environment allows, and what the configuration says instead."""

from dataclasses import replace

import pytest

from citadel_edge.config.shape import Config, GraphQLConfig
from citadel_edge.errors import StartError
from citadel_edge.graph.trusted import Trust
from citadel_edge.listeners.graphql.opening import allowed, settings_of


@pytest.mark.parametrize("environment", ["development", "staging", "test", "production"])
def test_in_production_nobody_reads_the_schema_unless_configured(environment, tmp_path):
    config = Config(environment=environment)
    assert settings_of(config, documents=tmp_path).introspection == (environment != "production")
    for said in (True, False):
        assert allowed(said, config) is said
        told = replace(config, graphql=GraphQLConfig(introspection=said))
        assert settings_of(told, documents=tmp_path).introspection is said


def test_documents_are_read_from_the_folder_only_where_they_are_trusted(tmp_path):
    (tmp_path / "Mine.graphql").write_text("query Mine { viewer { id } }")
    off = settings_of(Config(), documents=tmp_path)
    assert (off.trust, off.trusted) == (Trust.OFF, {})
    only = settings_of(Config(graphql=GraphQLConfig(trusted_documents="only")), documents=tmp_path)
    assert only.trust is Trust.ONLY
    assert only.trusted["Mine"] == "query Mine { viewer { id } }"
    (tmp_path / "Bad.json").write_text("[]")
    with pytest.raises(StartError, match=r"Bad\.json"):
        settings_of(Config(graphql=GraphQLConfig(trusted_documents="prefer")), documents=tmp_path)
