"""Documents compiled to Python functions, with the answers of graphql-core's executor to the byte."""
