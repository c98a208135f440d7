"""The worker: a process that runs the calls and commands of one account in one environment.

It listens on a Unix socket for its agent, speaks the frames of ``worker.proto``, and goes on when the
agent is gone. Nothing in here imports anything but the standard library.
"""
