"""The machine itself: what it offers, how busy it is, how its processes are limited and stopped."""
