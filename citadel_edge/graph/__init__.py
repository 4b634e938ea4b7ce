"""The graph: what a GraphQL document asks, whether it may, and running it; knows a schema and nothing behind it."""
