"""graphql-transport-ws: its messages, a conversation of many operations, and how a connection begins and ends."""
