"""Let Claude call a tool, with OpenAI-style messages. The key comes from ANTHROPIC_API_KEY."""

import fastclient as fc

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}},
        },
    }
]

with fc.Client("anthropic:claude-sonnet-5") as client:
    messages = [{"role": "user", "content": "What is 19 + 23? Use the tool."}]
    reply = client.chat(messages, tools=TOOLS)
    for call in reply.tool_calls:
        print(call.name, call.parsed())
    print(reply.text, reply.finish_reason)
