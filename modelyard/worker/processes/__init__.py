"""One process below this one: how it is found, started, limited, heard and ended."""
