"""Which model, which replica, and why. Pure decisions over values handed in."""
