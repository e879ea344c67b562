"""The chat from a terminal, or from a service: `TOKEN=… python chat.py ws://localhost:8000/wse`."""

import asyncio
import os
import sys

from wse_client import connect


async def chat(url, token):
    async with connect(url, token=token) as client:
        await client.send("chat", {"text": "hello from Python"})
        async for event in client:
            if event.type == "chat":
                print(event.payload["text"], flush=True)
            elif event.type == "error":
                print(event.payload["code"], event.payload["message"], file=sys.stderr)
    sys.exit("the connection ended for good")


asyncio.run(chat(sys.argv[1], os.environ["TOKEN"]))
