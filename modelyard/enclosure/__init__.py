"""Frames shut in: the process beside a frame that starts it in a container or in a sandbox, and stays with it.

``yard-frame`` is what a seat launches. It reads the launch of a frame (`MODELYARD_FRAME`), starts the frame where
nothing of the machine can be touched, passes the seat's leased port on to the frame's Unix socket, hands signals
and output on, and takes everything along when it ends. Standard library only; no model is opened here.
"""
