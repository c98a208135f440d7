"""FrameworkService and JobService: the way in."""
