"""What a job file says, section by section, before it meets its framework. Pure."""
