"""The agent's side of the stream: what `services.agent.link.link` does, in virtual time.

Owns sessions: dialling with back-off, hello, batches, acknowledgements, beats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.agent.tasks.events import (
    BeatAcknowledged,
    CommandsReceived,
    EventsAcknowledged,
    HelloSaid,
    SessionLost,
    SessionOpened,
)
from services.agent.tasks.model import Body
from services.scheduler.state.events import BeatReceived, TasksReported
from tests.simulation.kernel import MS, SECOND, Violation
from tests.simulation.messages import (
    AgentMessage,
    Commands,
    SchedulerMessage,
    Welcome,
    command_of,
    hello,
    report_of,
    verdicts_of,
)
from tests.simulation.network import DOWN, UP, Network, Stream

if TYPE_CHECKING:
    from tests.simulation.agent_host import AgentHost
    from tests.simulation.scheduler_host import SchedulerHost

_FIRST_PAUSE_US, _LAST_PAUSE_US = 100 * MS, 5 * SECOND
_ACK_DELAY_US = 50 * MS
_START_DELAY_US = 3 * MS
_WELCOME_TIMEOUT_US = 30 * SECOND


class AgentLink:
    """Speaks for one agent process at a time."""

    def __init__(self, host: AgentHost, network: Network, scheduler: SchedulerHost) -> None:
        self.host = host
        self.network = network
        self.scheduler = scheduler
        self.stream: Stream | None = None
        self.is_open = False
        self.open_us = 0
        self._pause_us = _FIRST_PAUSE_US
        self._dial_us = 0
        self._hello_ms = 0
        self._is_waking = False
        self._acked_command = 0
        self._bodies: dict[int, Body] = {}
        self._beats: dict[int, int] = {}
        self._beat_number = 0
        self._beat_us = 2 * SECOND
        self._unheard: list[tuple[Stream, Commands]] = []

    # Dialling

    def dial(self) -> None:
        kernel = self.host.kernel
        self._dial_us = kernel.now_us
        if self.network.is_cut(self.host.name):
            self.host.after(kernel.between(SECOND, 20 * SECOND), self._retry)
        else:
            self.host.after(2 * self.network.delay_us(), self._connect)

    def _connect(self) -> None:
        if self.network.is_cut(self.host.name) or not self.scheduler.is_serving:
            self._retry()
            return
        self.stream = self.network.connect(self.host.name, self, self.scheduler)
        self._say_hello(self.stream)
        self.host.after(_WELCOME_TIMEOUT_US, self._on_no_welcome, self.stream)

    def _say_hello(self, stream: Stream) -> None:
        host = self.host
        host.dispatch(HelloSaid())
        computer = host.computer
        message = hello(
            host.name, f"boot-{computer.boot}", computer.incarnation, computer.capacity, host.labels, frozenset(),
            host.state.tasks.values(),
        )  # fmt: skip
        self._bodies.clear()
        self._acked_command = 0
        self._hello_ms = host.now_ms()
        held = [f"{task.phase}:{task.key}" for task in host.state.tasks.values()]
        host.kernel.trace(host.name, "says hello", stream.number, *held)
        stream.send(UP, AgentMessage("hello", 0, message))

    def _on_no_welcome(self, stream: Stream) -> None:
        if self.stream is stream and not self.is_open:
            self._end_session()

    def _retry(self) -> None:
        kernel = self.host.kernel
        if kernel.now_us - self._dial_us > 10 * SECOND:
            self._pause_us = _FIRST_PAUSE_US
        self.host.after(int(self._pause_us * kernel.random.uniform(0.5, 1.0)), self.dial)
        self._pause_us = min(self._pause_us * 2, _LAST_PAUSE_US)

    def _end_session(self) -> None:
        """The stream is over, whoever ended it."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close(DOWN, is_reset=self.host.kernel.chance(0.5))
        if self.is_open:
            self.is_open = False
            self.host.dispatch(SessionLost())
        self._retry()

    def die(self) -> None:
        """The process is gone; its sockets are closed by the kernel."""
        stream, self.stream = self.stream, None
        self.is_open = False
        self._is_waking = False
        self._unheard.clear()
        if stream is not None:
            stream.close(DOWN, is_reset=self.host.kernel.chance(0.5))

    # Hearing

    def on_closed(self, stream: Stream) -> None:
        self.host._run(self.host.generation, self._on_closed, (stream,))

    def _on_closed(self, stream: Stream) -> None:
        if stream is self.stream:
            self._end_session()

    def on_message(self, stream: Stream, message: SchedulerMessage) -> None:
        self.host._run(self.host.generation, self._hear, (stream, message))

    def _hear(self, stream: Stream, message: SchedulerMessage) -> None:
        if stream is not self.stream:
            return
        host = self.host
        if message.epoch < host.computer.epoch or message.kind == "go_away":
            self._end_session()
        elif not self.is_open:
            if message.kind != "welcome":
                self._end_session()
                return
            self._open(message.epoch, message.payload)
        else:
            if message.ack_event > host.state.outbox.acknowledged:
                host.dispatch(EventsAcknowledged(message.ack_event))
            if message.kind == "commands" and self.host.is_deaf:
                self._unheard.append((stream, message.payload))
            elif message.kind == "commands":
                self._on_commands(message.payload)
            elif message.kind == "beat_ack":
                self._on_beat_ack(message.payload)

    def _open(self, epoch: int, welcome: Welcome) -> None:
        self.host.computer.epoch = epoch
        self._beat_us = welcome.beat_ms * MS
        self.is_open = True
        self.open_us = self.host.kernel.now_us
        self._beats.clear()
        self.host.dispatch(
            SessionOpened(welcome.lease_ms, self._hello_ms, welcome.credits, verdicts_of(welcome))
        )
        self._beat(self.stream)
        self._speak()

    def listen(self) -> None:
        """What came while nobody listened is heard now, if it came on this stream."""
        unheard, self._unheard = self._unheard, []
        for stream, commands in unheard:
            if stream is self.stream and self.is_open:
                self._on_commands(commands)

    def _on_commands(self, commands: Commands) -> None:
        for spec in commands.bodies:
            self._bodies[spec.number] = self.host.computer.learn(spec)
        asked = tuple(command_of(command, self._bodies) for command in commands.commands)
        self.host.dispatch(CommandsReceived(commands.first_number, asked))
        last = commands.first_number + len(asked) - 1
        if self.host.state.last_command < last:
            raise Violation(f"{self.host.name} has not taken command {last}", self.host.name)
        if self._acked_command < self.host.state.last_command:
            self._wake_in(_ACK_DELAY_US)

    def _on_beat_ack(self, number: int) -> None:
        sent_ms = self._beats.get(number)
        if sent_ms is not None:
            self._beats = {n: at for n, at in self._beats.items() if n > number}
            self.host.dispatch(BeatAcknowledged(sent_ms))

    # Speaking

    def notify(self, *, is_urgent: bool) -> None:
        self._wake_in(0 if is_urgent else _START_DELAY_US)

    def say(self, kind: str, payload: Any = None) -> None:
        """Says something at once, if there is a session."""
        if self.is_open and self.stream is not None:
            self._acked_command = self.host.state.last_command
            self.stream.send(UP, AgentMessage(kind, self._acked_command, payload))

    def _wake_in(self, delay_us: int) -> None:
        if delay_us == 0:
            self.host.after(0, self._speak)
        elif not self._is_waking:
            self._is_waking = True
            self.host.after(delay_us, self._speak)

    def _speak(self) -> None:
        self._is_waking = False
        if not self.is_open:
            return
        state = self.host.state
        while state.outbox:
            first, notes = state.outbox.take(1_000)
            if not notes:
                break
            reports = tuple(report_of(note) for note in notes)
            self.host.kernel.trace(self.host.name, "tells", *[f"{n.kind}:{n.task.key}" for n in notes])
            self.say("events", TasksReported(self.host.name, 0, first, reports))
        if self._acked_command < state.last_command:
            self.say("ack")

    def _beat(self, stream: Stream | None) -> None:
        if stream is not self.stream or not self.is_open:
            return
        host = self.host
        self._beat_number += 1
        self._beats[self._beat_number] = host.now_ms()
        used = {name: amount - host.state.free[name] for name, amount in host.state.capacity.items()}
        windows = dict.fromkeys((1, 10, 60), used)
        self.say("beat", BeatReceived(host.name, 0, self._beat_number, host.state.last_command, windows))
        host.after(self._beat_us, self._beat, stream)
