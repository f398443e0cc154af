/* What the server says: OpenAI's Chat Completions and Anthropic's Messages, with the headers such hosts send.

   An answer that does not depend on time is written once, headers included, and kept. Each event is an HTTP chunk. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { char *at; size_t size, room; } Text;
typedef struct { int anthropic, stream, usage, tokens, delay, pace; } Asked; /* delay and pace in milliseconds */

static void add(Text *text, const char *format, ...) {
    for (;;) {
        va_list words;
        va_start(words, format);
        int size = vsnprintf(text->at ? text->at + text->size : NULL, text->room - text->size, format, words);
        va_end(words);
        if (text->at && text->size + size < text->room) { text->size += size; return; }
        text->room = 2 * text->room + size + 1024;
        if (!(text->at = realloc(text->at, text->room))) abort();
    }
}

static void add_event(Text *text, const char *name, const char *format, ...) {
    static char event[4096]; /* the only texts that vary in length are words of a few bytes */
    int size = name ? snprintf(event, sizeof event, "event: %s\n", name) : 0;
    size += snprintf(event + size, sizeof event - size, "data: ");
    va_list words;
    va_start(words, format);
    size += vsnprintf(event + size, sizeof event - size, format, words);
    va_end(words);
    size += snprintf(event + size, sizeof event - size, "\n\n");
    add(text, "%x\r\n%s\r\n", size, event);
}

static const char *http_time(time_t when) {
    static char text[64];
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&when));
    return text;
}

static void add_headers(Text *text, const Asked *asked, size_t length) {
    add(text, "HTTP/1.1 200 OK\r\nDate: %s\r\n", http_time(time(NULL)));
    if (asked->stream)
        add(text, "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
            "Transfer-Encoding: chunked\r\n");
    else
        add(text, "Content-Type: application/json\r\nContent-Length: %zu\r\n", length);
    add(text, "Connection: keep-alive\r\n");
    if (asked->anthropic)
        add(text, "anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"
            "anthropic-ratelimit-requests-limit: 50000\r\n"
            "anthropic-ratelimit-requests-remaining: 49999\r\n"
            "anthropic-ratelimit-requests-reset: 2100-01-01T00:00:00Z\r\n"
            "anthropic-ratelimit-input-tokens-limit: 100000000\r\n"
            "anthropic-ratelimit-input-tokens-remaining: 99999000\r\n"
            "anthropic-ratelimit-input-tokens-reset: 2100-01-01T00:00:00Z\r\n"
            "anthropic-ratelimit-output-tokens-limit: 100000000\r\n"
            "anthropic-ratelimit-output-tokens-remaining: 99999000\r\n"
            "anthropic-ratelimit-output-tokens-reset: 2100-01-01T00:00:00Z\r\n"
            "request-id: req_00000000000000000000\r\nvia: 1.1 google\r\nx-robots-tag: none\r\n");
    else
        add(text, "access-control-expose-headers: X-Request-ID\r\nopenai-organization: a-company\r\n"
            "openai-processing-ms: 1\r\nopenai-project: proj_000000000000000000000000\r\n"
            "openai-version: 2020-10-01\r\nx-envoy-upstream-service-time: 1\r\n"
            "x-ratelimit-limit-requests: 30000\r\nx-ratelimit-limit-tokens: 150000000\r\n"
            "x-ratelimit-remaining-requests: 29999\r\nx-ratelimit-remaining-tokens: 149999000\r\n"
            "x-ratelimit-reset-requests: 2ms\r\nx-ratelimit-reset-tokens: 0s\r\n"
            "x-request-id: req_00000000000000000000000000000000\r\nx-openai-proxy-wasm: v0.1\r\n"
            "set-cookie: __cf_bm=0000000000000000000000000000000000000000000-1700000000-1.0.1.1-0000000000; path=/; "
            "expires=%s; domain=.example.com; HttpOnly; Secure; SameSite=None\r\n", http_time(time(NULL) + 86400));
    add(text, "strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
        "x-content-type-options: nosniff\r\ncf-cache-status: DYNAMIC\r\nServer: cloudflare\r\n"
        "CF-RAY: 0000000000000000-FRA\r\nalt-svc: h3=\":443\"; ma=86400\r\n\r\n");
}

#define CHUNK "{\"id\":\"chatcmpl-0000000000000000000000000000\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1700000000,\"model\":\"m\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0000000000\","
#define USAGE "{\"prompt_tokens\":9,\"completion_tokens\":%d,\"total_tokens\":%d," \
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0}," \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0," \
    "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}"
#define MESSAGE "\"id\":\"msg_000000000000000000000000\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","
#define SPENT "\"usage\":{\"input_tokens\":9,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0," \
    "\"output_tokens\":%d,\"service_tier\":\"standard\"}"

static void add_opening(Text *text, const Asked *asked) {
    const char *null = asked->usage ? ",\"usage\":null" : "";
    if (!asked->anthropic) {
        add_event(text, NULL, CHUNK "\"choices\":[{\"index\":0,"
            "\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
            "\"logprobs\":null,\"finish_reason\":null}]%s,\"obfuscation\":\"aB3dE5gH\"}", null);
        return;
    }
    add_event(text, "message_start", "{\"type\":\"message_start\",\"message\":{" MESSAGE "\"content\":[],"
        "\"stop_reason\":null,\"stop_sequence\":null," SPENT "}}", 1);
    add_event(text, "content_block_start", "{\"type\":\"content_block_start\",\"index\":0,"
        "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
    add_event(text, "ping", "{\"type\":\"ping\"}");
}

static void add_delta(Text *text, const Asked *asked, const char *word) {
    if (asked->anthropic)
        add_event(text, "content_block_delta", "{\"type\":\"content_block_delta\",\"index\":0,"
            "\"delta\":{\"type\":\"text_delta\",\"text\":\"%s\"}}", word);
    else
        add_event(text, NULL, CHUNK "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,"
            "\"finish_reason\":null}]%s,\"obfuscation\":\"aB3dE5\"}", word, asked->usage ? ",\"usage\":null" : "");
}

static void add_ending(Text *text, const Asked *asked) {
    if (asked->anthropic) {
        add_event(text, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}");
        add_event(text, "message_delta", "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
            "\"stop_sequence\":null},\"usage\":{\"input_tokens\":9,\"cache_creation_input_tokens\":0,"
            "\"cache_read_input_tokens\":0,\"output_tokens\":%d}}", asked->tokens);
        add_event(text, "message_stop", "{\"type\":\"message_stop\"}");
    } else {
        add_event(text, NULL, CHUNK "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
            "\"finish_reason\":\"stop\"}]%s,\"obfuscation\":\"aB\"}", asked->usage ? ",\"usage\":null" : "");
        if (asked->usage)
            add_event(text, NULL, CHUNK "\"choices\":[],\"usage\":" USAGE ",\"obfuscation\":\"\"}",
                asked->tokens, asked->tokens + 9);
        add_event(text, NULL, "[DONE]");
    }
    add(text, "0\r\n\r\n");
}

static void add_whole(Text *text, const Asked *asked) {
    Text said = {0}, body = {0};
    add(&said, "%s", "");
    for (int number = 0; number < asked->tokens; number++) add(&said, "word%d ", number % 10);
    if (asked->anthropic)
        add(&body, "{" MESSAGE "\"content\":[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\","
            "\"stop_sequence\":null," SPENT "}", said.at, asked->tokens);
    else
        add(&body, "{\"id\":\"chatcmpl-0000000000000000000000000000\",\"object\":\"chat.completion\","
            "\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
            "\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
            "\"usage\":" USAGE ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0000000000\"}",
            said.at, asked->tokens, asked->tokens + 9);
    add_headers(text, asked, body.size);
    add(text, "%s", body.at);
    free(said.at);
    free(body.at);
}

static const Text *answer(const Asked *asked) {
    static struct { Asked asked; Text text; } kept[64];
    static int count;
    for (int at = 0; at < count; at++) {
        const Asked *other = &kept[at].asked;
        if (other->tokens == asked->tokens && other->anthropic == asked->anthropic && other->stream == asked->stream &&
            other->usage == asked->usage) return &kept[at].text;
    }
    if (count == 64) abort();
    kept[count].asked = *asked;
    Text *text = &kept[count++].text;
    if (!asked->stream) { add_whole(text, asked); return text; }
    add_headers(text, asked, 0);
    add_opening(text, asked);
    for (int number = 0; number < asked->tokens; number++) {
        char word[] = "word0 "; /* some clients give up when all chunks are the same */
        word[4] += number % 10;
        add_delta(text, asked, word);
    }
    add_ending(text, asked);
    return text;
}
