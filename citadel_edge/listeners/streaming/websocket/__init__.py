"""`citadel.v1` over WebSocket: messages, the line they travel on, a conversation of many operations; and an echo."""
