"""A FastAPI app that streams answers: one client for all requests, and who leaves early stops the model.

Start it with `uvicorn fastapi_stream:app`; it needs fastapi and uvicorn. The key comes from OPENAI_API_KEY.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import fastclient as fc

client = fc.AsyncClient("openai:gpt-5-mini", policy=fc.Policy.recommended())


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    return StreamingResponse(client.stream(question).text, media_type="text/plain")
