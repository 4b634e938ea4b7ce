"""What the four doors share: app factory, middlewares, problems, health, metrics, openapi."""
