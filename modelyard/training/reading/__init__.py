"""From YAML, what definitions and job files say in the same words: templates, files, edges, policies. Pure."""
