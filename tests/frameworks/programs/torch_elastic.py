"""DistributedDataParallel whose processes may become more and fewer: a new round goes on from the last save."""

import digits
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
room = digits.Room()
step, weights, bias = room.load()
points, labels = map(torch.from_numpy, digits.shard(rank, world))
layer = torch.nn.Linear(digits.FEATURES, digits.CLASSES)
with torch.no_grad():
    layer.weight.copy_(torch.from_numpy(weights).T)
    layer.bias.copy_(torch.from_numpy(bias))
# Everybody begins with what rank 0 has read: it may have saved once more while the others were reading.
begin = torch.tensor([step])
dist.broadcast(begin, 0)
model, step = DistributedDataParallel(layer), int(begin)
optimizer = torch.optim.SGD(model.parameters(), lr=digits.RATE)
is_over = torch.tensor([room.is_over(step)], dtype=torch.int64)
while True:
    dist.broadcast(is_over, 0)
    if is_over:
        break
    optimizer.zero_grad()
    cross_entropy(model(points), labels).backward()
    optimizer.step()
    step += 1
    if rank == 0:
        room.save(step, layer.weight.detach().numpy().T, layer.bias.detach().numpy(), world=world)
        is_over[0] = room.is_over(step)
digits.report(
    rank=rank,
    world=world,
    step=step,
    **digits.quality(layer.weight.detach().numpy().T, layer.bias.detach().numpy()),
)
dist.destroy_process_group()
digits.leave()
