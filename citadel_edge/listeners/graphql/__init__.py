"""The graphql-api door."""
