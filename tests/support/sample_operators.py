"""Operators that misbehave in every way that a worker has to survive."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from modelyard import Context, Input, TaskCancelled, operator


def greet(name: str, times: int = 1) -> str:
    return f"hello {name}" * times


def upper(text: Input[str]) -> str:
    return text.upper()


def attached(ctx: Context) -> str:
    return ctx.attachments["data"].read_text() + ctx.inputs["data"].decode()


def identity(ctx: Context) -> list[Any]:
    return [ctx.task_id, ctx.attempt, ctx.epoch, ctx.account, ctx.array_index]


def raising() -> None:
    raise KeyError("lost")


def leaving() -> None:
    sys.exit(3)


def dying() -> None:
    os._exit(9)


def unjson() -> Any:
    return {"s": object()}


def talking(ctx: Context) -> None:
    print("printed")
    ctx.log.info("logged")
    logging.getLogger("x").warning("warned")
    os.write(1, b"from a descriptor\n")
    subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)


def leftover() -> int:
    return subprocess.Popen(["sleep", "600"], start_new_session=True).pid


def unheeding() -> None:
    while True:
        try:
            time.sleep(600)
        except BaseException:
            continue


def spinning() -> None:
    while True:
        sum(range(1000))


def stubborn(ctx: Context) -> str:
    try:
        ctx.progress(0.5)
        while True:
            time.sleep(0.01)
    except TaskCancelled:
        return f"kept going, {ctx.cancelled}"


async def awaiting(ctx: Context, seconds: float = 60) -> str:
    await asyncio.sleep(seconds)
    return "slept"


async def following(ctx: Context, target: int) -> int:
    changed = asyncio.Event()
    ctx.on_params_changed = lambda _: changed.set()
    if not ctx.revision:
        await changed.wait()
    return int(ctx.params["target"])


def lasting(ctx: Context, target: int) -> list[int]:
    while ctx.params["target"]:
        time.sleep(0.005)
    return [ctx.revision, ctx.params["target"]]


def shown(text: Input[str] = "", data: Input[bytes] = b"", value: Input[Any] = None) -> list[Any]:
    return [text, data.decode(), value]


def all_shown(texts: Input[list[str]]) -> list[str]:
    return texts


def kept(file: Input[Path], ctx: Context) -> list[str]:
    return [file.read_text(), ctx.inputs["file"].decode()]


@operator(outputs={"long": "text", "short": "text", "both": "json"})
def parted(size: int) -> dict[str, Any]:
    return {"long": '"' * size, "short": "é", "both": ["x" * size]}


def spoils(file: Input[Path]) -> str:
    file.chmod(0o600)
    before = file.read_text()
    file.write_text("spoilt")
    return before
