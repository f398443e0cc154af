"""The same question in other words, answered without a call: what was served, what it saved, and how much was wrong."""

from dataclasses import replace

import fastclient as fc

SYSTEM = {"role": "system", "content": "You help the customers of a web shop. Be brief."}
ASKED = [
    *("How do I reset my password?", "HOW DO I RESET MY PASSWORD", "how do i reset my password?!"),
    *("How do I open an account?", "How do I close an account?", "how do I open an account"),
]


def agree(one: str, other: str) -> bool:
    """Whether two answers say the same; without it words and figures are compared."""
    return one.strip().lower() == other.strip().lower()


semantic = fc.Semantic(mode="serve", max_error=0.05, agree=agree)  # "auto" serves nothing before it has seen hundreds
policy = replace(fc.Policy.recommended(namespace="shop"), semantic=semantic)

with fc.Client("openai:gpt-5-mini", policy=policy) as client:
    for question in ASKED:
        reply = client.chat([SYSTEM, {"role": "user", "content": question}])
        print(f"{question:32} {reply.cache.state} {reply.cache.source or ''}")
    print(semantic.explain(ASKED[4], ASKED[3]))
    print(client.stats().semantic)
