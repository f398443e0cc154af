"""The OpenAI SDK, faster: the same question is asked once, and a late answer is asked for again. Needs openai.

The key comes from OPENAI_API_KEY.
"""

from openai import OpenAI

import fastclient as fc

with fc.wrap(OpenAI(max_retries=0), fc.Policy.recommended()) as client:  # the policy tries again itself
    for _ in range(2):
        raw = client.chat.completions.with_raw_response.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": "Where is my parcel?"}]
        )
        print(raw.headers["x-fastclient-state"], raw.parse().choices[0].message.content)

    with client.chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": "When is the next sale?"}], stream=True
    ) as stream:
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
