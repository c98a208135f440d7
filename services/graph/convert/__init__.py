"""Between the contract's messages and the service's values: canvases, work of nodes, execution graphs, projects."""
