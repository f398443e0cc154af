/* A server of made-up answers that costs far less than any client: one thread, epoll, HTTP/1.1 with keep-alive, Linux.

   What it does stands in the path: /d50/n10/v1/chat/completions answers after 50 ms, with 10 words; /p5 sends one word
   each 5 ms, and says in place of the word when it was sent (CLOCK_MONOTONIC, nanoseconds). Without /p an answer is one
   write. Paths that end in /messages get Anthropic's format, and bodies with "stream": true get events. It listens on a
   free loopback port, prints it, and ends when its standard input does. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "answers.h"

typedef struct {
    int fd, place;             /* place in the line of timers, -1: none */
    Text in, own;              /* what was read; what is written here and now, for answers that are paced */
    const Text *out;           /* what is being written, and how much of it has been */
    size_t sent;
    long long due;
    Asked asked;
    int said, answering;
} Peer;

static int events_fd, timer_fd, waiting;
static Peer **line;
static long long armed;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* --- the line of timers: a heap ----------------------------------------------------------------------------------- */

static void put(Peer *peer, int at) { line[at] = peer; peer->place = at; }

static void settle(Peer *peer, int at) {
    for (; at && line[(at - 1) / 2]->due > peer->due; at = (at - 1) / 2) put(line[(at - 1) / 2], at);
    for (;;) {
        int below = 2 * at + 1;
        if (below >= waiting) break;
        if (below + 1 < waiting && line[below + 1]->due < line[below]->due) below++;
        if (line[below]->due >= peer->due) break;
        put(line[below], at);
        at = below;
    }
    put(peer, at);
}

static void wait_until(Peer *peer, long long due) {
    static int room;
    if (waiting == room && !(line = realloc(line, (room = 2 * room + 64) * sizeof *line))) abort();
    peer->due = due;
    settle(peer, waiting++);
}

static void forget(Peer *peer) {
    int at = peer->place;
    if (at < 0) return;
    peer->place = -1;
    Peer *last = line[--waiting];
    if (last != peer) settle(last, at);
}

static void arm(void) {
    long long due = waiting ? line[0]->due : 0;
    if (due == armed) return;
    armed = due;
    struct itimerspec when = {.it_value = {due / 1000000000, due % 1000000000}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void hang_up(Peer *peer) {
    forget(peer);
    close(peer->fd);
    free(peer->in.at);
    free(peer->own.at);
    free(peer);
}

/* Writes what it can. 0: the peer is gone. */
static int write_on(Peer *peer) {
    while (peer->out && peer->sent < peer->out->size) {
        ssize_t size = send(peer->fd, peer->out->at + peer->sent, peer->out->size - peer->sent, MSG_NOSIGNAL);
        if (size < 0 && errno != EAGAIN) { hang_up(peer); return 0; }
        struct epoll_event news = {.events = EPOLLIN | (size < 0 ? EPOLLOUT : 0), .data.ptr = peer};
        if (size < 0) { epoll_ctl(events_fd, EPOLL_CTL_MOD, peer->fd, &news); return 1; }
        peer->sent += size;
        if (peer->sent == peer->out->size && size < (ssize_t)peer->out->size)
            epoll_ctl(events_fd, EPOLL_CTL_MOD, peer->fd, &news); /* it had been waiting for room */
    }
    if (peer->place < 0) { peer->out = NULL; peer->answering = 0; }
    return 1;
}

static void say(Peer *peer) {
    peer->sent = 0;
    if (!peer->asked.pace || !peer->asked.stream) {
        peer->out = answer(&peer->asked);
        write_on(peer);
        return;
    }
    Text *own = &peer->own;
    char word[32];
    own->size = 0;
    if (!peer->said) { add_headers(own, &peer->asked, 0); add_opening(own, &peer->asked); }
    snprintf(word, sizeof word, "%lld ", now());
    add_delta(own, &peer->asked, word);
    if (++peer->said == peer->asked.tokens) add_ending(own, &peer->asked);
    else wait_until(peer, peer->due + peer->asked.pace * 1000000LL);
    peer->out = own;
    write_on(peer);
}

static Asked understood(const char *head, const char *path_end, const char *body, size_t size) {
    Asked asked = {.tokens = 10};
    for (const char *at = strchr(head, '/'); at && at < path_end; at = memchr(at + 1, '/', path_end - at - 1)) {
        int number = atoi(at + 2);
        if (at[1] == 'd' && number > 0) asked.delay = number;
        if (at[1] == 'n' && number > 0) asked.tokens = number;
        if (at[1] == 'p' && number > 0) asked.pace = number;
    }
    asked.anthropic = memmem(head, path_end - head, "/messages", 9) != NULL;
    const char *said = memmem(body, size, "\"stream\"", 8);
    if (said) {
        for (said += 8; *said == ' ' || *said == ':'; said++) {}
        asked.stream = !strncmp(said, "true", 4);
    }
    asked.usage = asked.stream && !asked.anthropic && memmem(body, size, "\"include_usage\"", 15);
    return asked;
}

/* Answers a request that has been read whole; waits for the rest otherwise. */
static void listen_to(Peer *peer) {
    char *text = peer->in.at, *end = memmem(text, peer->in.size, "\r\n\r\n", 4);
    if (!end || peer->answering) return;
    size_t head = end + 4 - text, have = peer->in.size - head, body = 0;
    *end = 0;
    char *length = strcasestr(text, "\r\ncontent-length:");
    char *chunked = strcasestr(text, "\r\ntransfer-encoding: chunked");
    *end = '\r';
    if (length) body = strtoul(length + 17, NULL, 10);
    else if (chunked) body = have >= 5 && !memcmp(text + peer->in.size - 5, "0\r\n\r\n", 5) ? have : have + 1;
    if (have < body) return;
    peer->asked = understood(text, memchr(text, '\r', head), text + head, body);
    memmove(text, text + head + body, have - body);
    peer->in.size = have - body;
    peer->in.at[peer->in.size] = 0;
    peer->answering = 1;
    peer->said = 0;
    peer->due = now();
    if (peer->asked.delay) wait_until(peer, peer->due + peer->asked.delay * 1000000LL);
    else say(peer);
}

static void read_on(Peer *peer) {
    Text *in = &peer->in;
    if (in->room - in->size < 65536 && !(in->at = realloc(in->at, in->room = 2 * in->room + 65537))) abort();
    ssize_t size = recv(peer->fd, in->at + in->size, in->room - in->size - 1, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) { hang_up(peer); return; }
    in->size += size;
    in->at[in->size] = 0;
    listen_to(peer);
}

static void welcome(int door) {
    for (int fd; (fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        Peer *peer = calloc(1, sizeof *peer);
        if (!peer) abort();
        peer->fd = fd;
        peer->place = -1;
        epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = peer});
    }
}

static int open_door(void) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof place;
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (door < 0 || bind(door, (struct sockaddr *)&place, size) || listen(door, 4096)) { perror("listen"); exit(1); }
    getsockname(door, (struct sockaddr *)&place, &size);
    printf("%d\n", ntohs(place.sin_port));
    fflush(stdout);
    return door;
}

int main(void) {
    int input;
    struct epoll_event news[256];
    signal(SIGPIPE, SIG_IGN);
    int door = open_door();
    events_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(events_fd, EPOLL_CTL_ADD, door, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &door});
    epoll_ctl(events_fd, EPOLL_CTL_ADD, timer_fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &timer_fd});
    epoll_ctl(events_fd, EPOLL_CTL_ADD, 0, &(struct epoll_event){.events = EPOLLIN | EPOLLHUP, .data.ptr = &input});
    for (;;) {
        arm();
        int count = epoll_wait(events_fd, news, 256, -1);
        for (int at = 0; at < count; at++) {
            void *who = news[at].data.ptr;
            char byte[8];
            if (who == &door) welcome(door);
            else if (who == &input) { if (read(0, byte, 1) <= 0) return 0; }
            else if (who == &timer_fd) { if (read(timer_fd, byte, 8) > 0) armed = 0; }
            else if (news[at].events & EPOLLOUT && !write_on(who)) continue;
            else if (news[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_on(who);
        }
        for (long long time = now(); waiting && line[0]->due <= time;) {
            Peer *peer = line[0];
            forget(peer);
            say(peer);
        }
    }
}
