"""From how instances are made, and what their expressions may see, to exact processes and files. Pure."""
