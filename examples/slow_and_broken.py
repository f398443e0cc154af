"""What happens when calls are late or fail: copies within a budget, retries, another provider, one deadline for all."""

import fastclient as fc

POLICY = fc.Policy(
    hedge=fc.Hedge(budget=0.05),
    limits=fc.Limits(),
    route=fc.Route(fallback=("anthropic:claude-sonnet-5",), recover="restart"),
)

with fc.Client("openai:gpt-5-mini", policy=POLICY) as client:
    for number in range(60):  # the first 40 calls of a kind are never copied: nobody knows yet what late means
        try:
            reply = client.chat(f"What is the square of {number}?", max_tokens=32, timeout=20)
        except fc.RateLimited as error:
            print(number, "no capacity; try again in", error.retry_after, "s")
            continue
        if len(reply.attempts) > 1:
            print(number, [(attempt.role, attempt.target, attempt.outcome) for attempt in reply.attempts])
    stats = client.stats()
    print(f"{stats.calls} calls, {stats.hedges} copies, {stats.hedges_won} of them first, {stats.retries} retries")
    print(f"first token: p50 {stats.ttft_p50:.3f} s, p99 {stats.ttft_p99:.3f} s; {stats.wasted_tokens} tokens wasted")
