"""A conversation that outgrows its budget: what is cut, what the provider reads from its cache, and a fan-out."""

import fastclient as fc

RULES = "You are the assistant of a web shop. Be brief, be friendly, and never invent an order number. " * 40

policy = fc.Policy.recommended(max_input_tokens=2_500)
with fc.Client("openai:gpt-5-mini", policy=policy) as client:
    turns: list[dict[str, object]] = []
    for number in range(12):
        question = f"Parcel {number}: " + "it came late and the box was open, what now? " * 8
        turns.append({"role": "user", "content": question})
        prompt = [fc.static(RULES), fc.history(turns), fc.volatile(f"It is {9 + number}:00.")]
        count = client.count(prompt)
        reply = client.chat(prompt)
        turns.append(dict(reply.message))
        print(f"{count.n:,} tokens ({count.source}), read: {reply.cache.read_tokens} of {reply.cache.expected_tokens}")

    questions = ["What did the first customer want?", "Which parcels came late?", "Who is still waiting?"]
    prompts = [[fc.static(RULES), fc.history(turns), fc.user(question)] for question in questions]
    for reply in client.map(prompts, warm_first=True):
        print(reply.index, reply.cache.read_tokens, "tokens read")
    stats = client.stats()
    print(f"{stats.cache_read_tokens:,} of {stats.input_tokens:,} tokens came from the provider's cache")
