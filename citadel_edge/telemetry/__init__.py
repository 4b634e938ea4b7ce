"""What the process says of itself: logs, metrics, traces, the live hub; and the one clock."""
