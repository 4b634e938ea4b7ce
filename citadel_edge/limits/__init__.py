"""What callers may use: plans, the exact limiter on Redis, and what stands in while Redis is away."""
