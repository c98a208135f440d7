"""JSON Schemas of the language, and the words and samples that they are made of. Pure."""
