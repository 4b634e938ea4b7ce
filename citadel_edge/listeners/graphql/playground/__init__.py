"""The page at `/` where people try the graph: GraphiQL, a field for a key, examples."""
