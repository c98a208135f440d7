"""`${…}`: the grammar of expressions, templates that contain them, and regular expressions. Pure."""
