/*
 * A mock upstream for measurements: one thread, epoll, a fixed delay.
 *
 *   mock [--port 0] [--delay-us 10000] [--events 20] [--interval-us 50000] [--reply-bytes 0]
 *
 * prints "listening PORT". A POST is answered after the delay with a fixed chat completion of about
 * 700 bytes, or, when the first 4 KiB of its body hold "stream":true, with that many events at that
 * interval, the first one after the delay. Every event carries "t=<CLOCK_MONOTONIC ns> n=<number>",
 * so that load.c can tell how long it was under way and whether one is missing.
 * At /mcp it is an MCP server that takes POST only: tools/call is answered after the delay, everything
 * else at once.
 * GET /config?delay_us=..&events=..&interval_us=..&reset=1 changes the settings; GET of anything but /mcp
 * answers with counters. late_… says how much later than it should the mock sent what was due, which is
 * what it shows when it has too much to do; reset=1 begins that anew (the reply still has the old figures).
 */
#include "common.h"
#include "lateness.h"
#include "mcp.h"

#define KEEP 4096
#define HEAD_MOST 65536
#define RPC_MOST (4u << 20)

struct conn {
    int fd, stream, keep_alive, usage, writing, closing;
    uint32_t sent;          /* events of the current stream */
    uint64_t due;           /* when something is to be sent, 0 for nothing */
    size_t at;              /* place in the heap */
    int in_body, busy, mcp;
    char *head, id[ID_MOST]; /* id: of the JSON-RPC request */
    size_t id_length;
    size_t head_length, kept;
    struct body body;
    char keep[KEEP + 1];
    struct buffer out, held, rpc; /* held: pipelined bytes that wait for the current reply */
};

static uint64_t delay_ns = 10000000, interval_ns = 50000000;
static uint32_t event_count = 20;
static uint64_t requests, streams, calls, open_conns, aborted;
static int epoll, timer;
static char *reply;
static size_t reply_length;

/* --- heap of due times ------------------------------------------------------------------- */

static struct conn **heap;
static size_t heap_count, heap_size;

static void put(size_t at, struct conn *c) {
    heap[at] = c;
    c->at = at;
}

static void sift(size_t at) {
    struct conn *c = heap[at];
    while (at && heap[(at - 1) / 2]->due > c->due) {
        put(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (size_t child; (child = 2 * at + 1) < heap_count; at = child) {
        if (child + 1 < heap_count && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        put(at, heap[child]);
    }
    put(at, c);
}

static void schedule(struct conn *c, uint64_t due) {
    if (!c->due) {
        if (heap_count == heap_size) {
            heap_size = heap_size ? heap_size * 2 : 1024;
            heap = realloc(heap, heap_size * sizeof *heap);
            if (!heap) die("realloc");
        }
        c->due = due;
        put(heap_count, c);
        sift(heap_count++);
    } else {
        c->due = due;
        sift(c->at);
    }
}

static void unschedule(struct conn *c) {
    if (!c->due) return;
    size_t at = c->at;
    c->due = 0;
    if (at != --heap_count) {
        put(at, heap[heap_count]);
        sift(at);
    }
}

/* --- sending ----------------------------------------------------------------------------- */

static void watch(struct conn *c, int writing) {
    if (c->writing == writing) return;
    c->writing = writing;
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static int flush(struct conn *c) {
    while (c->out.start < c->out.end) {
        ssize_t done = send(c->fd, c->out.data + c->out.start, c->out.end - c->out.start, MSG_NOSIGNAL);
        if (done < 0) {
            if (errno != EAGAIN) return -1;
            watch(c, 1);
            return 0;
        }
        c->out.start += (size_t)done;
    }
    watch(c, 0);
    return c->closing ? -1 : 0;
}

static int transmit(struct conn *c, const char *data, size_t length) {
    if (c->out.start == c->out.end) {
        ssize_t done = send(c->fd, data, length, MSG_NOSIGNAL);
        if (done == (ssize_t)length) return c->closing ? -1 : 0;
        if (done < 0 && errno != EAGAIN) return -1;
        if (done > 0) {
            data += done;
            length -= (size_t)done;
        }
    }
    buffer_add(&c->out, data, length);
    return flush(c);
}

static void drop(struct conn *c) {
    if (c->busy) aborted++;
    unschedule(c);
    close(c->fd);
    open_conns--;
    free(c->head);
    buffer_free(&c->out);
    buffer_free(&c->held);
    buffer_free(&c->rpc);
    free(c);
}

static void make_reply(size_t padding) {
    static const char *text =
        "Measured on the wire, this sentence stands for an answer of ordinary length; it says nothing of use, "
        "takes a few dozen tokens, and gives a gateway something to carry back to the caller.";
    char *body = malloc(2048 + padding), *pad = malloc(padding + 1);
    if (!body || !pad) die("malloc");
    memset(pad, 'x', padding);
    pad[padding] = 0;
    int length = sprintf(
        body,
        "{\"id\":\"chatcmpl-mock00000000000000000001\",\"object\":\"chat.completion\",\"created\":1760000000,"
        "\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s%s\","
        "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":100,"
        "\"completion_tokens\":42,\"total_tokens\":142,\"prompt_tokens_details\":{\"cached_tokens\":0,"
        "\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
        "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\","
        "\"system_fingerprint\":\"fp_mock\"}",
        text, pad);
    reply = malloc((size_t)length + 256);
    if (!reply) die("malloc");
    int head = sprintf(reply,
                       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_mock\r\n"
                       "Content-Length: %d\r\n\r\n", length);
    memcpy(reply + head, body, (size_t)length);
    reply_length = (size_t)(head + length);
    free(body);
    free(pad);
}

static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\nx-request-id: req_mock\r\n\r\n";

static size_t chunk(char *to, const char *payload, size_t length) {
    size_t used = (size_t)sprintf(to, "%zx\r\n", length);
    memcpy(to + used, payload, length);
    memcpy(to + used + length, "\r\n", 2);
    return used + length + 2;
}

#define CHUNK_HEAD \
    "data: {\"id\":\"chatcmpl-mock00000000000000000001\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1760000000,\"model\":\"mock\",\"choices\":["

static int send_event(struct conn *c, uint64_t now) {
    char event[512], wire[2048];
    size_t used = 0;
    if (c->sent == 0) {
        memcpy(wire, stream_head, sizeof stream_head - 1);
        used = sizeof stream_head - 1;
    }
    int length = sprintf(event,
                         CHUNK_HEAD "{\"index\":0,\"delta\":{\"content\":\"t=%019llu n=%09u\"},"
                         "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                         (unsigned long long)now_ns(), c->sent);
    used += chunk(wire + used, event, (size_t)length);
    c->sent++;
    if (c->sent < event_count) {
        schedule(c, c->due + interval_ns > now ? c->due + interval_ns : now + interval_ns);
        return transmit(c, wire, used);
    }
    length = sprintf(event, CHUNK_HEAD "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    used += chunk(wire + used, event, (size_t)length);
    if (c->usage) {
        length = sprintf(event, CHUNK_HEAD "],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":%u,"
                         "\"total_tokens\":%u}}\n\n", c->sent, 100 + c->sent);
        used += chunk(wire + used, event, (size_t)length);
    }
    used += chunk(wire + used, "data: [DONE]\n\n", 14);
    memcpy(wire + used, "0\r\n\r\n", 5);
    used += 5;
    unschedule(c);
    c->busy = 0;
    if (!c->keep_alive) c->closing = 1;
    return transmit(c, wire, used);
}

static int take(struct conn *c, const char *data, size_t length);

static int send_due(struct conn *c, uint64_t now) {
    int result;
    if (c->due) late(now_ns() - c->due);
    if (c->stream) {
        result = send_event(c, now);
    } else {
        char answer[4096];
        size_t length = c->mcp ? mcp_result(answer, c->id, c->id_length) : reply_length;
        unschedule(c);
        c->busy = 0;
        if (!c->keep_alive) c->closing = 1;
        result = transmit(c, c->mcp ? answer : reply, length);
    }
    if (result == 0 && !c->busy && c->held.start < c->held.end) {
        struct buffer held = c->held;
        memset(&c->held, 0, sizeof c->held);
        result = take(c, held.data + held.start, held.end - held.start);
        buffer_free(&held);
    }
    return result;
}

/* --- requests ---------------------------------------------------------------------------- */

static uint64_t setting(const char *target, const char *name, uint64_t unset) {
    const char *found = strstr(target, name);
    return found && found[strlen(name)] == '=' ? strtoull(found + strlen(name) + 1, NULL, 10) : unset;
}

static int answer_get(struct conn *c) {
    char text[1024], whole[1280];
    struct timespec own;
    char *line_end = strstr(c->head, "\r\n");
    *line_end = 0;
    delay_ns = setting(c->head, "delay_us", delay_ns / 1000) * 1000;
    interval_ns = setting(c->head, "interval_us", interval_ns / 1000) * 1000;
    event_count = (uint32_t)setting(c->head, "events", event_count);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    int length = sprintf(text,
                         "{\"requests\":%llu,\"streams\":%llu,\"open\":%llu,\"aborted\":%llu,\"delay_us\":%llu,"
                         "\"interval_us\":%llu,\"events\":%u,\"calls\":%llu,\"timers\":%llu,\"late_p50_us\":%.1f,"
                         "\"late_p99_us\":%.1f,\"late_max_us\":%.1f,\"late_over_1ms\":%llu,\"cpu_s\":%.6f}\n",
                         (unsigned long long)requests, (unsigned long long)streams, (unsigned long long)open_conns,
                         (unsigned long long)aborted, (unsigned long long)(delay_ns / 1000),
                         (unsigned long long)(interval_ns / 1000), event_count, (unsigned long long)calls,
                         (unsigned long long)late_count, late_us(.5), late_us(.99), (double)late_most / 1e3,
                         (unsigned long long)late_over_ms, (double)own.tv_sec + (double)own.tv_nsec / 1e9);
    if (setting(c->head, "reset", 0)) late_reset();
    int total = sprintf(whole, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                        length, text);
    return transmit(c, whole, (size_t)total);
}

static int begin_mcp(struct conn *c) {
    char answer[4096];
    size_t length;
    requests++;
    c->stream = 0;
    enum mcp_kind kind = mcp_answer((struct span){c->rpc.data, c->rpc.end}, answer, &length);
    c->rpc.start = c->rpc.end = 0;
    if (kind == MCP_NOW) {
        if (!c->keep_alive) c->closing = 1;
        return transmit(c, answer, length);
    }
    calls++;
    memcpy(c->id, answer, length);
    c->id_length = length;
    c->busy = 1;
    if (delay_ns == 0) return send_due(c, now_ns());
    schedule(c, now_ns() + delay_ns);
    return 0;
}

static int is_mcp(const char *head) {
    const char *target = strchr(head, ' ');
    return target && !strncmp(target, " /mcp", 5) && strchr(" ?/", target[5]) && target[5];
}

static int begin_reply(struct conn *c) {
    c->in_body = 0;
    c->head_length = 0;
    if (c->mcp && strncmp(c->head, "POST ", 5) != 0) return transmit(c, mcp_refused, sizeof mcp_refused - 1);
    if (c->mcp) return begin_mcp(c);
    if (strncmp(c->head, "GET ", 4) == 0) return answer_get(c);
    c->keep[c->kept] = 0;
    c->stream = strstr(c->keep, "\"stream\":true") || strstr(c->keep, "\"stream\": true");
    c->usage = strstr(c->keep, "\"include_usage\":true") || strstr(c->keep, "\"include_usage\": true");
    c->busy = 1;
    c->sent = 0;
    requests++;
    streams += (uint64_t)c->stream;
    if (delay_ns == 0 && !c->stream) return send_due(c, now_ns());
    schedule(c, now_ns() + delay_ns);
    return 0;
}

/* Take request bytes; a request that comes before the last one is answered waits. */
static int take(struct conn *c, const char *data, size_t length) {
    while (length) {
        if (c->busy) {
            buffer_add(&c->held, data, length);
            return 0;
        }
        if (!c->in_body) {
            if (!c->head && !(c->head = malloc(HEAD_MOST + 1))) die("malloc");
            size_t room = HEAD_MOST - c->head_length, copy = length < room ? length : room;
            size_t from = c->head_length > 3 ? c->head_length - 3 : 0;
            if (!copy) return -1;
            memcpy(c->head + c->head_length, data, copy);
            char *end = memmem(c->head + from, c->head_length + copy - from, "\r\n\r\n", 4);
            if (!end) {
                c->head_length += copy;
                data += copy;
                length -= copy;
                continue;
            }
            size_t used = (size_t)(end + 4 - c->head) - c->head_length;
            data += used;
            length -= used;
            end[2] = 0;
            const char *size = header_value(c->head, "content-length");
            int chunked = value_is(header_value(c->head, "transfer-encoding"), "chunked");
            body_begin(&c->body, chunked ? BY_CHUNKS : size ? BY_LENGTH : NO_BODY, size ? strtoull(size, NULL, 10) : 0);
            c->keep_alive = !value_is(header_value(c->head, "connection"), "close");
            c->in_body = 1;
            c->kept = 0;
            c->mcp = is_mcp(c->head);
            c->rpc.start = c->rpc.end = 0;
            if (value_is(header_value(c->head, "expect"), "100-continue")
                && transmit(c, "HTTP/1.1 100 Continue\r\n\r\n", 25)) return -1;
        }
        while (length && !c->body.complete) {
            const char *payload;
            size_t size, used = body_feed(&c->body, data, length, &payload, &size);
            size_t copy = size < KEEP - c->kept ? size : KEEP - c->kept;
            memcpy(c->keep + c->kept, payload, copy);
            c->kept += copy;
            if (c->mcp && c->rpc.end + size > RPC_MOST) return -1;
            if (c->mcp && size) buffer_add(&c->rpc, payload, size);
            data += used;
            length -= used;
            if (c->body.broken) return -1;
        }
        if (c->body.complete && begin_reply(c)) return -1;
    }
    return 0;
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        open_conns++;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    }
}

static int on_ready(struct conn *c, uint32_t events) {
    static char data[262144];
    if ((events & EPOLLOUT) && flush(c)) return -1;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t got = recv(c->fd, data, sizeof data, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return -1;
        if (got > 0) return take(c, data, (size_t)got);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) return 0; /* it runs on this machine */
    int port = 0, one = 1;
    size_t padding = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--port")) port = (int)value;
        else if (!strcmp(argv[i], "--delay-us")) delay_ns = value * 1000;
        else if (!strcmp(argv[i], "--events")) event_count = (uint32_t)value;
        else if (!strcmp(argv[i], "--interval-us")) interval_ns = value * 1000;
        else if (!strcmp(argv[i], "--reply-bytes")) padding = value;
        else {
            fprintf(stderr, "mock: unknown option %s\n", argv[i]);
            return 2;
        }
    }
    common_setup();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    make_reply(padding);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 8192)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &timer;
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[256];
        arm(timer, heap_count ? heap[0]->due : 0);
        int count = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr == &listener) accept_all(listener);
            else if (ready[i].data.ptr == &timer) disarmed(timer);
            else if (on_ready(ready[i].data.ptr, ready[i].events)) drop(ready[i].data.ptr);
        }
        uint64_t now = now_ns();
        while (heap_count && heap[0]->due <= now) {
            struct conn *c = heap[0];
            if (send_due(c, now)) drop(c);
        }
    }
}
