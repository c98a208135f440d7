"""From canvas to executed graph (S1): projects and their versions, the parse, runs over the agents."""
