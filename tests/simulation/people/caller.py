"""How requests travel: lost, repeated, answered late or twice. Owns nothing of what is asked for."""

from __future__ import annotations

from collections.abc import Callable

from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer
from tests.simulation.kernel import MS, SECOND, Kernel
from tests.simulation.scheduler_host import SchedulerHost

# How often, beside others, somebody does something.
Action = tuple[int, Callable[[], None]]


class Caller:
    """The way to the scheduler, for everybody."""

    def __init__(self, kernel: Kernel, scheduler: SchedulerHost) -> None:
        self.kernel = kernel
        self.scheduler = scheduler
        self.loss_share = kernel.random.choice((0.0, 0.02, 0.2))
        self.open_requests = 0

    def ask(
        self, make: Callable[[int], ev.Event], on_answer: Callable[[Answer], None], tries: int = 1
    ) -> None:
        """Sends until an answer comes; the answer is told once."""
        kernel = self.kernel
        is_done = False

        def answered(answer: Answer) -> None:
            nonlocal is_done
            if not is_done and not kernel.chance(self.loss_share):
                is_done = True
                self.open_requests -= 1
                on_answer(answer)

        def send(left: int) -> None:
            if is_done:
                return
            if not kernel.chance(self.loss_share):
                copies = 2 if kernel.chance(self.loss_share) else 1
                for _ in range(copies):
                    kernel.after(kernel.between(100, 5 * MS), self.scheduler.request, make, arrived)
            if left:
                kernel.after(kernel.between(SECOND, 6 * SECOND), send, left - 1)
            else:
                give_up()

        def give_up() -> None:
            nonlocal is_done
            is_done = True
            self.open_requests -= 1

        def arrived(answer: Answer) -> None:
            kernel.after(kernel.between(100, 5 * MS), answered, answer)

        self.open_requests += 1
        send(tries)

    def order(self, make: Callable[[int], ev.Event]) -> None:
        """Asks once, whatever becomes of it."""
        self.ask(make, lambda answer: None, 0)
