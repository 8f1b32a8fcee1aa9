/* What mock.c and load.c share: clock, descriptors, a growing buffer. */
#ifndef VOIDLLM_BENCH_COMMON_H
#define VOIDLLM_BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline void common_setup(void) {
    struct rlimit limit;
    signal(SIGPIPE, SIG_IGN);
    /* The default slack of 50 us would be as large as what is measured. */
    prctl(PR_SET_TIMERSLACK, 1UL);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Absolute wake-up; 0 disarms. Skips the system call when nothing changes. */
static uint64_t armed_at;
static inline void arm(int timer, uint64_t at) {
    struct itimerspec spec = {{0, 0}, {0, 0}};
    if (at == armed_at) return;
    armed_at = at;
    spec.it_value.tv_sec = (time_t)(at / 1000000000ull);
    spec.it_value.tv_nsec = (long)(at % 1000000000ull);
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static inline void disarmed(int timer) {
    uint64_t count;
    if (read(timer, &count, sizeof count) > 0) armed_at = 0;
}

struct buffer {
    char *data;
    size_t start, end, size;
};

static inline void buffer_add(struct buffer *b, const char *data, size_t length) {
    if (b->start == b->end) b->start = b->end = 0;
    if (b->end + length > b->size) {
        b->size = (b->end + length) * 2;
        b->data = realloc(b->data, b->size);
        if (!b->data) die("realloc");
    }
    memcpy(b->data + b->end, data, length);
    b->end += length;
}

static inline void buffer_free(struct buffer *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

/* Value of header `name` in the head, or NULL; heads are NUL-terminated. */
static inline const char *header_value(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *value = line + 3 + length;
            while (*value == ' ' || *value == '\t') value++;
            return value;
        }
    }
    return NULL;
}

static inline int value_is(const char *value, const char *what) {
    return value && strncasecmp(value, what, strlen(what)) == 0;
}

/* Body framing, for requests and replies alike: feed() gives payload piece by piece. */
enum framing { NO_BODY, BY_LENGTH, BY_CHUNKS, BY_CLOSE };
enum chunk_state { SIZE_LINE, CHUNK_DATA, CHUNK_END, TRAILER };

struct body {
    enum framing framing;
    enum chunk_state state;
    uint64_t left;
    char line[32];
    int line_length, complete, broken;
};

static inline void body_begin(struct body *b, enum framing framing, uint64_t length) {
    memset(b, 0, sizeof *b);
    b->framing = framing;
    b->left = length;
    b->complete = framing == NO_BODY || (framing == BY_LENGTH && length == 0);
}

/* Consume from data; payload and its size are set to the payload found. Returns bytes consumed. */
static inline size_t body_feed(struct body *b, const char *data, size_t length, const char **payload, size_t *size) {
    size_t used = 0;
    *size = 0;
    *payload = data;
    if (b->framing == BY_CLOSE) {
        *size = length;
        return length;
    }
    if (b->framing == BY_LENGTH) {
        used = length < b->left ? length : (size_t)b->left;
        b->left -= used;
        *size = used;
        b->complete = b->left == 0;
        return used;
    }
    while (used < length && !b->complete && !b->broken) {
        if (b->state == CHUNK_DATA) {
            size_t take = length - used < b->left ? length - used : (size_t)b->left;
            *payload = data + used;
            *size = take;
            b->left -= take;
            if (b->left == 0) b->state = CHUNK_END;
            return used + take;
        }
        char byte = data[used++];
        if (byte != '\n') {
            if (byte != '\r' && b->line_length < (int)sizeof b->line - 1) b->line[b->line_length++] = byte;
            continue;
        }
        b->line[b->line_length] = 0;
        if (b->state == SIZE_LINE) {
            char *end;
            b->left = strtoull(b->line, &end, 16);
            if (end == b->line) b->broken = 1;
            b->state = b->left ? CHUNK_DATA : TRAILER;
        } else if (b->state == CHUNK_END) {
            if (b->line_length) b->broken = 1;
            b->state = SIZE_LINE;
        } else if (b->line_length == 0) {
            b->complete = 1;
        }
        b->line_length = 0;
    }
    return used;
}

#endif
