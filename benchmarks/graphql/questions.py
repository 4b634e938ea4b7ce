"""What is asked, and the schema it is asked of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SDL = """
enum Role { USER OPERATOR ADMIN }
enum Capability { TOOLS VISION }
type Node { id: ID! name: String! number: Int! weight: Float! active: Boolean! role: Role! note: String }
type Replica { id: ID! engine: String! state: String! healthy: Boolean! inFlight: Int! slots: Int! }
type Model {
  name: String!
  aliases: [String!]!
  contextTokens: Int!
  capabilities: [Capability!]!
  inputUsdPerMtok: Float!
  outputUsdPerMtok: Float!
  replicas: [Replica!]!
}
type Viewer { id: ID! name: String! role: Role! tier: String! }
type Query { nodes(first: Int!): [Node!]! models(capability: Capability): [Model!]! viewer: Viewer! }
"""


@dataclass(frozen=True)
class Question:
    """A document as a client sends it."""

    name: str
    text: str
    variables: Mapping[str, Any]


NODES = Question(
    name="100 nodes of 7 fields",
    text="query Nodes($first: Int!) { nodes(first: $first) { id name number weight active role note } }",
    variables={"first": 100},
)
MODELS = Question(
    name="viewer, models and replicas",
    text="""
query Models($capability: Capability) {
  viewer { id name role tier }
  models(capability: $capability) {
    name
    aliases
    contextTokens
    capabilities
    inputUsdPerMtok
    outputUsdPerMtok
    replicas { ...Load healthy }
  }
}
fragment Load on Replica { id engine state inFlight slots }
""",
    variables={"capability": "TOOLS"},
)
TYPENAME = Question(name="__typename", text="{ __typename }", variables={})
QUESTIONS = (NODES, MODELS, TYPENAME)
