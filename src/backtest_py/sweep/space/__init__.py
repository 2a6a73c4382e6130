"""What a sweep varies: axes, conditions, and the combinations that they admit."""
