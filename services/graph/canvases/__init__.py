"""What a canvas is, what is wrong with it, and the graph that it is executed as. Pure; knows no run."""
