"""Print an answer as it comes, and stop the model after the first hundred characters."""

import fastclient as fc

with fc.Client("openai:gpt-5-mini") as client:
    shown = 0
    for text in client.stream("Tell me a long story.").text:
        print(text, end="", flush=True)
        shown += len(text)
        if shown >= 100:
            break  # closes the connection: the model stops writing, and the bill stops too
    print()
