"""From a project to a graph that may run: who may, which version, judged and planned once. Starts nothing itself."""
