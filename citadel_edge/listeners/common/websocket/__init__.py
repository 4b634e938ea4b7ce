"""What every protocol on WebSocket needs: the line to one client, how it opens, and how it ends."""
