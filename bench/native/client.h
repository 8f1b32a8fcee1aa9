/*
 * The client side of HTTP/1.1 for load.c: connections, one request over and over, replies checked.
 *
 * What drives it (closed.h, schedule.h) defines on_free(), on_finished(), on_no_connection() and
 * on_event(); a connection mends itself after a failure.
 */
#ifndef VOIDLLM_BENCH_CLIENT_H
#define VOIDLLM_BENCH_CLIENT_H

#include "common.h"
#include <endian.h>

enum state { CLOSED, CONNECTING, IDLE, BUSY };
/* In the order of OUTCOMES in generator.py. */
enum outcome { OK, NO_CONNECT, STATUS, LENGTH, BODY, CUT, PROTOCOL, TIMEOUT, LOST, OUTCOMES };
static const char *const outcome_names[] = {"ok", "connect", "status", "length", "body", "cut", "protocol", "timeout", "lost"};

struct conn {
    int fd;
    enum state state;
    int writing, in_body, status, done_seen, disorder, keep_alive, listed;
    uint64_t intended, sent_at, length, hash, word;
    size_t number; /* of the request, where they are numbered */
    uint32_t next_event, events;
    size_t out_at, head_length, line_length;
    struct body body;
    char head[8192], line[1024];
};

static const char *path = "/v1/chat/completions";
static int port, streaming, epoll, timer, connecting, opened, tried;
static uint64_t learned_length, learned_hash;
static int learned;
static struct conn *conns;
static int connections = 64;
static char *request, *body_text, *headers_text;
static size_t request_length, body_length, headers_length;
static uint64_t reconnects;

static void on_free(struct conn *c);                                           /* it can take a request */
static void on_finished(struct conn *c, enum outcome outcome, uint64_t now);   /* its request is over */
static void on_no_connection(struct conn *c);                                  /* it could not connect */
static void on_event(struct conn *c, uint32_t number, uint64_t at, uint64_t now);

/* --- connections ------------------------------------------------------------------------- */

static void watch(struct conn *c, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    if (c->writing == writing) return;
    c->writing = writing;
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void start_connect(struct conn *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->state = CLOSED;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        close(c->fd);
        tried++;
        on_no_connection(c);
        return;
    }
    c->state = CONNECTING;
    connecting++;
    c->writing = 1;
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static void connected(struct conn *c) {
    int problem = 0;
    socklen_t size = sizeof problem;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    connecting--;
    tried++;
    if (problem) {
        close(c->fd);
        c->state = CLOSED;
        on_no_connection(c);
        return;
    }
    watch(c, 0);
    c->state = IDLE;
    on_free(c);
}

static void renew(struct conn *c) {
    close(c->fd);
    start_connect(c);
}

static void write_request(struct conn *c) {
    while (c->out_at < request_length) {
        ssize_t done = send(c->fd, request + c->out_at, request_length - c->out_at, MSG_NOSIGNAL);
        if (done < 0) {
            if (errno == EAGAIN) watch(c, 1);
            return; /* other errors show when reading */
        }
        c->out_at += (size_t)done;
    }
    watch(c, 0);
}

static void send_on(struct conn *c, uint64_t intended, size_t number) {
    c->state = BUSY;
    c->intended = intended;
    c->number = number;
    c->sent_at = now_ns();
    c->in_body = c->done_seen = c->disorder = 0;
    c->head_length = c->line_length = c->out_at = 0;
    c->next_event = c->events = 0;
    write_request(c);
}

/* --- replies ----------------------------------------------------------------------------- */

static void event_line(struct conn *c, uint64_t now) {
    c->line[c->line_length] = 0;
    if (strncmp(c->line, "data: ", 6) != 0) return;
    if (strcmp(c->line, "data: [DONE]") == 0) {
        c->done_seen = 1;
        return;
    }
    char *stamp = strstr(c->line, "\"t=");
    if (!stamp) return;
    char *rest;
    uint64_t at = strtoull(stamp + 3, &rest, 10);
    uint32_t number = strncmp(rest, " n=", 3) == 0 ? (uint32_t)strtoul(rest + 3, NULL, 10) : 0;
    if (number < c->next_event) {
        c->disorder = 1;
        return;
    }
    c->events++;
    on_event(c, number, at, now);
    c->next_event = number + 1;
}

static void events(struct conn *c, const char *data, size_t size, uint64_t now) {
    while (size) {
        const char *end = memchr(data, '\n', size);
        size_t used = end ? (size_t)(end - data) : size, room = sizeof c->line - 1 - c->line_length;
        size_t copy = used < room ? used : room;
        if (copy) memcpy(c->line + c->line_length, data, copy);
        c->line_length += copy;
        if (end) {
            if (c->line_length && c->line[c->line_length - 1] == '\r') c->line_length--;
            event_line(c, now);
            c->line_length = 0;
            used++;
        }
        data += used;
        size -= used;
    }
}

/* Eight bytes at a time, whatever pieces they come in. */
static void check_sum(struct conn *c, const char *data, size_t size) {
    while (size) {
        if (c->length % 8 == 0 && size >= 8) {
            memcpy(&c->word, data, 8);
            c->word = be64toh(c->word);
            data += 8;
            size -= 8;
            c->length += 8;
        } else {
            c->word = c->word << 8 | (unsigned char)*data++;
            size--;
            if (++c->length % 8) continue;
        }
        c->hash = (c->hash ^ c->word) * 1099511628211ull;
        c->hash ^= c->hash >> 32;
        c->word = 0;
    }
}

static enum outcome judged(struct conn *c) {
    if (streaming) return !c->done_seen ? CUT : c->disorder ? BODY : OK;
    c->hash = (c->hash ^ c->word) * 1099511628211ull;
    if (!learned) {
        learned = 1;
        learned_length = c->length;
        learned_hash = c->hash;
    }
    if (c->length != learned_length) return LENGTH;
    return c->hash == learned_hash ? OK : BODY;
}

/* The request is over: the connection is used again only when nothing is wrong with it. */
static void finish(struct conn *c, enum outcome outcome, uint64_t now) {
    c->state = IDLE;
    on_finished(c, outcome, now);
    if (outcome == OK && c->keep_alive) {
        on_free(c);
    } else {
        if (outcome == OK) reconnects++;
        renew(c);
    }
}

/* Give 0, or -1 when the head is of no use. */
static int begin_body(struct conn *c, char *end) {
    end[2] = 0;
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1) return -1;
    c->head_length = 0;
    if (c->status < 200) return 0;
    const char *size = header_value(c->head, "content-length");
    int chunked = value_is(header_value(c->head, "transfer-encoding"), "chunked");
    body_begin(&c->body, chunked ? BY_CHUNKS : size ? BY_LENGTH : BY_CLOSE, size ? strtoull(size, NULL, 10) : 0);
    c->keep_alive = (chunked || size) && !value_is(header_value(c->head, "connection"), "close");
    c->in_body = 1;
    c->length = c->word = 0;
    c->hash = 14695981039346656037ull;
    return 0;
}

static void take(struct conn *c, const char *data, size_t length, uint64_t now) {
    if (c->state != BUSY) { /* bytes that nobody asked for */
        reconnects++;
        renew(c);
        return;
    }
    while (length) {
        if (!c->in_body) {
            size_t room = sizeof c->head - 1 - c->head_length, copy = length < room ? length : room;
            memcpy(c->head + c->head_length, data, copy);
            c->head[c->head_length + copy] = 0;
            char *end = memmem(c->head, c->head_length + copy, "\r\n\r\n", 4);
            if (!end) {
                if (copy == room) finish(c, PROTOCOL, now);
                else c->head_length += copy;
                return;
            }
            size_t used = (size_t)(end + 4 - c->head) - c->head_length;
            data += used;
            length -= used;
            if (begin_body(c, end) || (c->in_body && c->status != 200)) {
                finish(c, c->in_body ? STATUS : PROTOCOL, now);
                return;
            }
        }
        while (length && c->in_body && !c->body.complete) {
            const char *found;
            size_t size, used = body_feed(&c->body, data, length, &found, &size);
            if (streaming) events(c, found, size, now);
            else check_sum(c, found, size);
            data += used;
            length -= used;
            if (c->body.broken) {
                finish(c, PROTOCOL, now);
                return;
            }
        }
        if (c->in_body && c->body.complete) {
            if (length) { /* more than was announced */
                finish(c, PROTOCOL, now);
                return;
            }
            finish(c, judged(c), now);
        }
    }
}

static void on_ready(struct conn *c, uint32_t flags) {
    static char data[262144];
    if (c->state == CONNECTING) {
        if (flags & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connected(c);
        return;
    }
    if ((flags & EPOLLOUT) && c->state == BUSY) write_request(c);
    if (flags & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        ssize_t got = recv(c->fd, data, sizeof data, 0);
        if (got > 0) {
            take(c, data, (size_t)got, now_ns());
        } else if (got == 0 || errno != EAGAIN) {
            if (c->state != BUSY) {
                reconnects++;
                renew(c);
            } else if (got == 0 && c->in_body && c->body.framing == BY_CLOSE) {
                c->keep_alive = 0;
                finish(c, judged(c), now_ns());
            } else {
                finish(c, CUT, now_ns());
            }
        }
    }
}

static void wait_for_events(uint64_t until, void (*between)(uint64_t)) {
    struct epoll_event ready[256];
    arm(timer, until);
    int count = epoll_wait(epoll, ready, 256, -1);
    for (int i = 0; i < count; i++) {
        if (ready[i].data.ptr == &timer) disarmed(timer);
        else on_ready(ready[i].data.ptr, ready[i].events);
        if (between) between(now_ns());
    }
}

/* A few at a time: a server's backlog may be short. */
static void connect_all(uint64_t give_up) {
    while (tried < connections && now_ns() < give_up) {
        while (opened < connections && opened - tried < 50) start_connect(&conns[opened++]);
        if (tried < connections) wait_for_events(give_up, NULL);
    }
}

/* --- the request ------------------------------------------------------------------------- */

static char *read_text(const char *name, size_t *length) {
    FILE *file = fopen(name, "rb");
    if (!file) die(name);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*length + 1);
    if (!text || fread(text, 1, *length, file) != *length) die("read");
    fclose(file);
    return text;
}

static void make_request(void) {
    size_t length;
    if (!body_text) {
        body_text = strdup(streaming ? "{\"model\":\"mock\",\"stream\":true,\"messages\":[]}"
                                     : "{\"model\":\"mock\",\"messages\":[]}");
        body_length = strlen(body_text);
    }
    request = malloc(strlen(path) + headers_length + body_length + 1024);
    if (!request) die("malloc");
    length = (size_t)sprintf(request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n",
                             path, port);
    if (headers_length) memcpy(request + length, headers_text, headers_length);
    length += headers_length;
    length += (size_t)sprintf(request + length, "Content-Length: %zu\r\n\r\n", body_length);
    memcpy(request + length, body_text, body_length);
    request_length = length + body_length;
}

#endif
