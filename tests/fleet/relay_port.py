"""Lead ports of one machine to hosts that only it reaches: run in its network, with `PORT:ADDRESS` as words."""

from __future__ import annotations

import asyncio
import sys


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _lead(port: int, address: str) -> None:
    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer = await asyncio.open_connection(address, 22)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pipe(reader, outer), _pipe(inner, writer))

    await asyncio.start_server(met, "0.0.0.0", port)


async def main() -> None:
    for word in sys.argv[1:]:
        port, _, address = word.partition(":")
        await _lead(int(port), address)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(main())
