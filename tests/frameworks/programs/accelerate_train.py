"""Accelerate: it finds out by itself how many processes there are."""

import digits
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy

accelerator = Accelerator()
points, labels = map(torch.from_numpy, digits.shard(accelerator.process_index, accelerator.num_processes))
layer = torch.nn.Linear(digits.FEATURES, digits.CLASSES)
for parameter in layer.parameters():
    torch.nn.init.zeros_(parameter)
model, optimizer = accelerator.prepare(layer, torch.optim.SGD(layer.parameters(), lr=digits.RATE))
for _ in range(digits.STEPS):
    optimizer.zero_grad()
    accelerator.backward(cross_entropy(model(points), labels))
    optimizer.step()
weights, bias = (parameter.detach().numpy() for parameter in accelerator.unwrap_model(model).parameters())
digits.report(
    rank=accelerator.process_index, world=accelerator.num_processes, **digits.quality(weights.T, bias)
)
accelerator.end_training()
digits.leave()
