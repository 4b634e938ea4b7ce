"""The graph's engine: reads, bounds, prices and runs GraphQL operations over any schema.

Knows the GraphQL language and a schema; refuses to know models, users, the edge and how answers travel.
"""
