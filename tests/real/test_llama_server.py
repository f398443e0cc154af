"""The main job on a real model behind a real server."""

from __future__ import annotations

import anyio
import pytest

import fastclient as fc

TASKS = {
    "Count to 12": "1 2 3 4 5 6 7 8 9 10 11 12",
    "Add: 3+4": "7",
    "Even: 7": "no",
    "Intent: where is my parcel": "order_status",
    "thanks": "You are welcome 🙂",
}


@pytest.mark.parametrize("wire", ["httpx2", "httpx", "direct"])
def test_blocking_chat(llama_url: str, wire: str) -> None:
    """Every task is answered right, with usage, and with the prefill time the server reports."""
    with fc.Client("openai:tiny", base_url=llama_url, wire=wire) as client:
        for task, answer in TASKS.items():
            reply = client.chat(task, temperature=0, max_tokens=90)
            assert reply.text == answer
            assert reply.usage.input_tokens and reply.usage.output_tokens
            assert reply.timings.basis["prefill"] == "reported"
            assert reply.finish_reason == "stop"


def test_blocking_stream(llama_url: str) -> None:
    """The text comes in pieces and is the same; characters of several bytes are never torn."""
    with fc.Client("openai:tiny", base_url=llama_url) as client:
        for task, answer in TASKS.items():
            with client.stream(task, temperature=0, max_tokens=90) as stream:
                pieces = list(stream.text)
                assert "".join(pieces) == answer == stream.reply().text
            assert len(pieces) > 1 or len(answer) < 3


async def test_asynchronous(llama_url: str) -> None:
    """On asyncio and trio, four at a time on two slots: each gets the answer to its own question."""
    answers: dict[str, str] = {}
    async with fc.AsyncClient("openai:tiny", base_url=llama_url) as client, anyio.create_task_group() as tasks:

        async def ask(task: str) -> None:
            async with client.stream(task, temperature=0, max_tokens=90) as stream:
                answers[task] = "".join([text async for text in stream.text])

        for task in TASKS:
            tasks.start_soon(ask, task)
    assert answers == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_the_official_sdk_gets_the_same_text(llama_url: str, task: str) -> None:
    """At temperature 0 the openai SDK and we read the same answer, streaming and not."""
    import openai

    messages = [{"role": "user", "content": task}]
    with openai.OpenAI(base_url=llama_url, api_key="none") as theirs:
        whole = theirs.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=90)
        parts = theirs.chat.completions.create(
            model="tiny", messages=messages, temperature=0, max_tokens=90, stream=True
        )
        streamed = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    with fc.Client("openai:tiny", base_url=llama_url) as ours:
        reply = ours.chat(messages, temperature=0, max_tokens=90)
    assert reply.text == whole.choices[0].message.content == streamed


def test_leaving_early_frees_the_slot(llama_url: str) -> None:
    """Twenty long answers left after their first piece: the two slots are free again at once."""
    with fc.Client("openai:tiny", base_url=llama_url, policy=fc.Policy(timeouts=fc.Timeouts(first_token=5))) as client:
        for _ in range(20):
            for _text in client.stream("Count to 80", temperature=0, max_tokens=400).text:
                break
        assert client.chat("Add: 2+2", temperature=0).text == "4"


def test_the_server_refuses(llama_url: str) -> None:
    """A prompt beyond the context is a BadRequest that says so."""
    with fc.Client("openai:tiny", base_url=llama_url) as client, pytest.raises(fc.BadRequest, match="context"):
        client.chat("Count to 12 " * 2000)
