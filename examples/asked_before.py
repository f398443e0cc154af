"""The same questions again: from memory, from disk, asked ahead, and one call for all who ask at once."""

import tempfile
from concurrent.futures import ThreadPoolExecutor

import fastclient as fc

QUESTIONS = ["Where is my parcel?", "How do I return a pair of shoes?", "When is the next sale?"]

with tempfile.TemporaryDirectory() as folder:
    policy = fc.Policy.recommended(cache_dir=folder, namespace="shop")
    with fc.Client("openai:gpt-5-mini", policy=policy) as client:
        print("asked ahead:", client.precompute(QUESTIONS).stored)
        for question in QUESTIONS:
            reply = client.chat(question)
            print(f"{question} {reply.cache.state} from {reply.cache.source}, {reply.timings}")

        with ThreadPoolExecutor(20) as users:  # twenty people, one new question, one call
            replies = list(users.map(client.chat, ["Is the shop open on Sunday?"] * 20))
        print(sorted(reply.cache.state for reply in replies))

        stats = client.stats()
        print(f"{stats.calls} calls, {stats.attempts} of them sent")

    with fc.Client("openai:gpt-5-mini", policy=fc.Policy.recommended(cache_dir=folder, namespace="shop")) as later:
        print("after a restart:", later.chat(QUESTIONS[0]).cache.source)
