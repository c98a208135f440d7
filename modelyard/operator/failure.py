"""What an operator raises when it knows why it cannot do what it was asked, and what would help.

Owns the one exception whose words reach the user as they are. Standard library only.
"""


class OperatorFailed(ValueError):
    """Its message is the task's error as it stands, without class and traceback; `next_step` is what to do about it."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step
