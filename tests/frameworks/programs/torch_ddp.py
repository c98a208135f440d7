"""DistributedDataParallel over gloo; whoever starts it says the rank by MASTER_ADDR, RANK and their like."""

import digits
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
points, labels = map(torch.from_numpy, digits.shard(rank, world))
layer = torch.nn.Linear(digits.FEATURES, digits.CLASSES)
for parameter in layer.parameters():
    torch.nn.init.zeros_(parameter)
model = DistributedDataParallel(layer)
optimizer = torch.optim.SGD(model.parameters(), lr=digits.RATE)
for _ in range(digits.STEPS):
    optimizer.zero_grad()
    cross_entropy(model(points), labels).backward()
    optimizer.step()
weights, bias = (parameter.detach().numpy() for parameter in layer.parameters())
digits.report(rank=rank, world=world, **digits.quality(weights.T, bias))
dist.barrier()
dist.destroy_process_group()
digits.leave()
