"""A parameter server over torch.distributed.rpc: workers send gradients, and get the parameters once all have."""

import os
import threading

import digits
import torch
import torch.distributed.rpc as rpc
from torch.nn.functional import cross_entropy

role, rank, world = os.environ["ROLE"], int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
worker_count = world - int(os.environ["PS_COUNT"])


class Server:
    """Weights and bias, and the gradients of the present step."""

    def __init__(self):
        self.values = [torch.zeros(digits.FEATURES, digits.CLASSES), torch.zeros(digits.CLASSES)]
        self.lock = threading.Lock()
        self.waiting = []

    def add(self, index, gradients):
        """The parameters after the step, when everybody has added theirs."""
        answer = torch.futures.Future()
        with self.lock:
            self.waiting.append((index, gradients, answer))
            if len(self.waiting) == worker_count:
                self.step()
        return answer

    def step(self):
        turns, self.waiting = sorted(self.waiting, key=lambda turn: turn[0]), []
        for place, value in enumerate(self.values):
            self.values[place] = value - digits.RATE * sum(turn[1][place] for turn in turns) / worker_count
        for _, _, answer in turns:
            answer.set_result(self.values)


server = Server()


@rpc.functions.async_execution
def add(index, gradients):
    return server.add(index, gradients)


def train():
    index = int(os.environ["ROLE_RANK"])
    points, labels = map(torch.from_numpy, digits.shard(index, worker_count))
    values = server.values
    for _ in range(digits.STEPS):
        weights, bias = (value.detach().requires_grad_() for value in values)
        cross_entropy(points @ weights + bias, labels).backward()
        values = rpc.rpc_sync("ps0", add, args=(index, [weights.grad, bias.grad]))
    digits.report(rank=rank, world=world, **digits.quality(*(value.numpy() for value in values)))


rpc.init_rpc(f"{role}{os.environ['ROLE_RANK']}", rank=rank, world_size=world)
if role == "worker":
    train()
rpc.shutdown()
