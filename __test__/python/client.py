"""`wse-client` as it is on PyPI, driven by lines of JSON.

The first line says how a client is made, each further one calls a member of its public interface. Lines of the output
are answers to calls, events as the client hands them to its user, and what it logs.
"""

import asyncio
import dataclasses
import inspect
import json
import logging
import sys
import threading

from wse_client import AsyncWSEClient, ReconnectConfig, SyncWSEClient, WSEEvent, connection


# The synchronous client logs in a thread of its own.
saying = threading.Lock()


def say(line):
    with saying:
        print(json.dumps(line, default=as_json), flush=True)


def as_json(value):
    if isinstance(value, WSEEvent):
        return dataclasses.asdict(value)
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(f"an answer with a {type(value).__name__}")


class Lines(logging.Handler):
    def emit(self, record):
        say({"log": record.getMessage()})


def make_client(settings):
    # The times of the client are constants of its module; everything else is an argument.
    for name, value in settings["constants"].items():
        if not hasattr(connection, name):
            raise AttributeError(f"the client has no constant {name}")
        setattr(connection, name, value)
    make = AsyncWSEClient if settings["isAsync"] else SyncWSEClient
    client = make(settings["url"], reconnect=ReconnectConfig(**settings["reconnect"]), **settings["arguments"])
    if settings["isAsync"]:
        # The synchronous client hands events to its handlers only while it is asked for one.
        client.on_any(lambda event: say({"event": event}))
    return client


async def answer(client, call):
    try:
        value = getattr(client, call["member"])
        if inspect.iscoroutinefunction(value):
            value = await value(*call["arguments"], **call["keywords"])
        elif callable(value):
            value = await asyncio.to_thread(value, *call["arguments"], **call["keywords"])
        say({"id": call["id"], "value": value})
    except Exception as cause:
        say({"id": call["id"], "error": f"{type(cause).__name__}: {cause}"})


async def main():
    logger = logging.getLogger("wse_client")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Lines())
    client = make_client(json.loads(sys.stdin.readline()))
    calls = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        calls.add(asyncio.create_task(answer(client, json.loads(line))))


asyncio.run(main())
