/*
 * A load generator: one thread, epoll, keep-alive connections.
 *
 *   load open   --port P --rate R --seconds S --connections C [--poisson 1]
 *   load closed --port P --seconds S --connections C
 *   load sse    --port P --seconds S --connections STREAMS [--ramp S]
 *   all: [--path /v1/chat/completions] [--body FILE] [--header 'Name: value']… [--warmup S]
 *        [--watch PID]… [--expect-length N] [--histogram FILE] [--seed N] [--drain S]
 *
 * One JSON line on stdout. Latency in the open loop counts from the moment a request was meant to be
 * sent, so a slow server cannot hide by slowing the generator down. Each reply must have status 200 and
 * the same length and checksum as the first. --watch adds CPU seconds (all threads) and resident memory
 * of other processes for exactly the measured window. In sse mode events carry the mock's clock and
 * number (see mock.c): delay and loss are measured per event.
 */
#include "common.h"
#include "samples.h"

enum state { CLOSED, CONNECTING, IDLE, BUSY };
enum error { E_CONNECT, E_STATUS, E_LENGTH, E_BODY, E_CUT, E_PROTOCOL, E_LOST, E_KINDS };
static const char *const error_names[] = {"connect", "status", "length", "body", "cut", "protocol", "lost"};

struct conn {
    int fd;
    enum state state;
    int writing, in_body, status, done_seen, keep_alive;
    uint64_t intended, sent_at, last_event, length, hash;
    uint32_t next_event;
    size_t out_at, head_length, line_length;
    struct body body;
    char head[8192], line[1024];
};

enum { OPEN, CLOSED_LOOP, SSE } mode;
static const char *host = "127.0.0.1", *path = "/v1/chat/completions", *histogram_file;
static const char *extra_headers[16];
static int port, poisson, extra_count, watched[8], watched_count, connections = 64;
static double rate = 1000, seconds = 5, warmup = 0.5, ramp, drain = 5;
static uint64_t expect_length, learned_length, learned_hash, prefix_hash, random_state = 88172645463325252ull;
static int learned;

static struct conn *conns;
static int *idle, idle_count, epoll, timer, opened, connected;
static char *request, *body_text;
static size_t request_length, body_length;
static uint64_t *pending;
static size_t pending_head, pending_count, pending_size;
static uint64_t errors[E_KINDS], reconnects, total, in_window, events_total, events_window, events_lost, streams_done;
static uint64_t t0, w0, w1;
static struct samples latency, delays, first;
static double cpu_watch[2], cpu_own[2];
static long rss_kb;

/* --- other processes --------------------------------------------------------------------- */

static void look(int which) {
    struct timespec own;
    cpu_watch[which] = 0;
    rss_kb = 0;
    for (int i = 0; i < watched_count; i++) {
        char name[64];
        long pages;
        cpu_watch[which] += cpu_of(watched[i]);
        snprintf(name, sizeof name, "/proc/%d/statm", watched[i]);
        FILE *file = fopen(name, "r");
        if (!file) continue;
        if (fscanf(file, "%*d %ld", &pages) == 1) rss_kb += pages * (sysconf(_SC_PAGESIZE) / 1024);
        fclose(file);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    cpu_own[which] = (double)own.tv_sec + (double)own.tv_nsec / 1e9;
}

/* --- connections ------------------------------------------------------------------------- */

static void watch(struct conn *c, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    if (c->writing == writing) return;
    c->writing = writing;
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void start_connect(struct conn *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    inet_pton(AF_INET, host, &address.sin_addr);
    c->state = CLOSED;
    if (errors[E_CONNECT] > 1000) return;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) die("connect");
    c->state = CONNECTING;
    c->writing = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

static void fail(struct conn *c, enum error kind) {
    errors[kind]++;
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

static void send_on(struct conn *c, uint64_t intended) {
    c->state = BUSY;
    c->intended = intended;
    c->sent_at = now_ns();
    c->in_body = 0;
    c->head_length = c->line_length = c->out_at = 0;
    c->next_event = 0;
    c->done_seen = 0;
    write_request(c);
}

/* A connection is free: give it work, or keep it. */
static void free_conn(struct conn *c) {
    uint64_t now = now_ns();
    c->state = IDLE;
    if (!t0) return; /* the run has not begun; begin() hands work out */
    if (mode != OPEN) {
        if (now < w1) send_on(c, now);
    } else if (pending_count) {
        uint64_t intended = pending[pending_head];
        pending_head = (pending_head + 1) % pending_size;
        pending_count--;
        send_on(c, intended);
    } else {
        idle[idle_count++] = (int)(c - conns);
    }
}

static void ask(uint64_t intended) {
    while (idle_count) {
        struct conn *c = &conns[idle[--idle_count]];
        if (c->state == IDLE) {
            send_on(c, intended);
            return;
        }
    }
    if (pending_count == pending_size) {
        size_t size = pending_size ? pending_size * 2 : 4096;
        uint64_t *more = malloc(size * sizeof *more);
        if (!more) die("malloc");
        for (size_t i = 0; i < pending_count; i++) more[i] = pending[(pending_head + i) % pending_size];
        free(pending);
        pending = more;
        pending_head = 0;
        pending_size = size;
    }
    pending[(pending_head + pending_count++) % pending_size] = intended;
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
    if (number != c->next_event) events_lost++;
    if (number == 0) sample(&first, now - c->sent_at);
    c->next_event = number + 1;
    c->last_event = now;
    events_total++;
    if (now >= w0 && now < w1) {
        events_window++;
        sample(&delays, now - at);
    }
}

static void payload(struct conn *c, const char *data, size_t size, uint64_t now) {
    for (size_t i = 0; mode == SSE && i < size; i++) {
        if (data[i] == '\n') {
            event_line(c, now);
            c->line_length = 0;
        } else if (c->line_length < sizeof c->line - 1) {
            c->line[c->line_length++] = data[i];
        }
    }
    for (size_t i = 0; mode != SSE && i < size; i++) {
        c->hash = (c->hash ^ (unsigned char)data[i]) * 1099511628211ull;
        if (++c->length == 64 && !learned) prefix_hash = c->hash;
    }
}

static void complete(struct conn *c, uint64_t now) {
    if (mode == SSE) {
        if (!c->done_seen) {
            fail(c, E_CUT);
            return;
        }
        streams_done++;
    } else {
        if (!learned) {
            learned = 1;
            learned_length = c->length;
            learned_hash = c->hash;
        }
        if (c->length != learned_length || (expect_length && c->length != expect_length)) {
            fail(c, E_LENGTH);
            return;
        }
        if (c->hash != learned_hash) {
            fail(c, E_BODY);
            return;
        }
        uint64_t counts_at = mode == OPEN ? c->intended : now;
        if (counts_at >= w0 && counts_at < w1) sample(&latency, now - c->intended);
        if (now >= w0 && now < w1) in_window++;
    }
    total++;
    if (c->keep_alive) {
        free_conn(c);
    } else {
        reconnects++;
        close(c->fd);
        start_connect(c);
    }
}

/* Give 0, or -1 when the connection was replaced. */
static int take(struct conn *c, const char *data, size_t length, uint64_t now) {
    while (length) {
        if (c->state != BUSY) {
            fail(c, E_PROTOCOL);
            return -1;
        }
        if (!c->in_body) {
            size_t room = sizeof c->head - 1 - c->head_length, copy = length < room ? length : room;
            memcpy(c->head + c->head_length, data, copy);
            c->head[c->head_length + copy] = 0;
            char *end = memmem(c->head, c->head_length + copy, "\r\n\r\n", 4);
            if (!end) {
                if (copy == room) {
                    fail(c, E_PROTOCOL);
                    return -1;
                }
                c->head_length += copy;
                return 0;
            }
            size_t used = (size_t)(end + 4 - c->head) - c->head_length;
            data += used;
            length -= used;
            end[2] = 0;
            if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1) {
                fail(c, E_PROTOCOL);
                return -1;
            }
            c->head_length = 0;
            if (c->status < 200) continue;
            const char *size = header_value(c->head, "content-length");
            int chunked = value_is(header_value(c->head, "transfer-encoding"), "chunked");
            body_begin(&c->body, chunked ? BY_CHUNKS : size ? BY_LENGTH : BY_CLOSE,
                       size ? strtoull(size, NULL, 10) : 0);
            c->keep_alive = (chunked || size) && !value_is(header_value(c->head, "connection"), "close");
            c->in_body = 1;
            c->length = 0;
            c->hash = 14695981039346656037ull;
            if (c->status != 200) {
                fail(c, E_STATUS);
                return -1;
            }
        }
        while (length && !c->body.complete) {
            const char *found;
            size_t size, used = body_feed(&c->body, data, length, &found, &size);
            payload(c, found, size, now);
            data += used;
            length -= used;
            if (c->body.broken) {
                fail(c, E_PROTOCOL);
                return -1;
            }
        }
        if (c->body.complete) complete(c, now);
    }
    return 0;
}

static void on_ready(struct conn *c, uint32_t events) {
    static char data[262144];
    if (c->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int problem = 0;
        socklen_t size = sizeof problem;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
        if (problem) {
            fail(c, E_CONNECT);
            return;
        }
        watch(c, 0);
        connected++;
        free_conn(c);
        return;
    }
    if ((events & EPOLLOUT) && c->state == BUSY) write_request(c);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        ssize_t got = recv(c->fd, data, sizeof data, 0);
        if (got > 0) {
            take(c, data, (size_t)got, now_ns());
        } else if (got == 0 || errno != EAGAIN) {
            if (got == 0 && c->state == BUSY && c->in_body && c->body.framing == BY_CLOSE) {
                complete(c, now_ns());
            } else if (c->state == BUSY) {
                fail(c, E_CUT);
            } else {
                reconnects++;
                close(c->fd);
                start_connect(c);
            }
        }
    }
}

/* --- the run ----------------------------------------------------------------------------- */

static double uniform(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

static void report(void) {
    uint64_t live = 0, failed = 0;
    for (int i = 0; i < connections; i++)
        live += mode == SSE && conns[i].state == BUSY && conns[i].last_event + 2000000000ull > w1;
    for (int i = 0; i < E_KINDS; i++) failed += errors[i];
    printf("{\"mode\":\"%s\",\"connections\":%d,\"window_s\":%.6f,\"total\":%llu,\"completed\":%llu,\"rps\":%.1f",
           mode == OPEN ? "open" : mode == SSE ? "sse" : "closed", connections, (double)(w1 - w0) / 1e9,
           (unsigned long long)total, (unsigned long long)in_window, (double)in_window * 1e9 / (double)(w1 - w0));
    print_samples("", &latency);
    if (mode == SSE) {
        print_samples("event_", &delays);
        print_samples("first_", &first);
        printf(",\"events\":%llu,\"events_total\":%llu,\"events_lost\":%llu,\"streams_live\":%llu,\"streams_done\":%llu",
               (unsigned long long)events_window, (unsigned long long)events_total, (unsigned long long)events_lost,
               (unsigned long long)live, (unsigned long long)streams_done);
    }
    printf(",\"errors\":{");
    for (int i = 0, some = 0; i < E_KINDS; i++)
        if (errors[i]) printf("%s\"%s\":%llu", some++ ? "," : "", error_names[i], (unsigned long long)errors[i]);
    printf("},\"error_count\":%llu,\"reconnects\":%llu,\"body_length\":%llu,\"body_hash\":\"%016llx\","
           "\"prefix_hash\":\"%016llx\",\"cpu_s\":%.6f,\"watch_cpu_s\":%.6f,\"watch_rss_kb\":%ld}\n",
           (unsigned long long)failed, (unsigned long long)reconnects, (unsigned long long)learned_length,
           (unsigned long long)learned_hash, (unsigned long long)prefix_hash, cpu_own[1] - cpu_own[0],
           cpu_watch[1] - cpu_watch[0], rss_kb);
    FILE *file = histogram_file ? fopen(histogram_file, "w") : NULL;
    for (size_t i = 0; file && i < latency.count; i++) fprintf(file, "%u\n", latency.us[i]);
    if (file) fclose(file);
}

static void read_body(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) die(name);
    fseek(file, 0, SEEK_END);
    body_length = (size_t)ftell(file);
    rewind(file);
    body_text = malloc(body_length + 1);
    if (!body_text || fread(body_text, 1, body_length, file) != body_length) die("read");
    fclose(file);
}

static void make_request(void) {
    size_t length = 0;
    request = malloc(body_length + 16384);
    if (!request) die("malloc");
    length = (size_t)snprintf(request, 4096, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n",
                              path, host, port);
    for (int i = 0; i < extra_count; i++)
        length += (size_t)snprintf(request + length, 600, "%.512s\r\n", extra_headers[i]);
    length += (size_t)snprintf(request + length, 64, "Content-Length: %zu\r\n\r\n", body_length);
    memcpy(request + length, body_text, body_length);
    request_length = length + body_length;
}

static void options(int argc, char **argv) {
    mode = argc > 1 && !strcmp(argv[1], "closed") ? CLOSED_LOOP : argc > 1 && !strcmp(argv[1], "sse") ? SSE : OPEN;
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--host")) host = value;
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--body")) read_body(value);
        else if (!strcmp(name, "--header") && extra_count < 16) extra_headers[extra_count++] = value;
        else if (!strcmp(name, "--rate")) rate = atof(value);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--warmup")) warmup = atof(value);
        else if (!strcmp(name, "--ramp")) ramp = atof(value);
        else if (!strcmp(name, "--drain")) drain = atof(value);
        else if (!strcmp(name, "--connections")) connections = atoi(value);
        else if (!strcmp(name, "--poisson")) poisson = atoi(value);
        else if (!strcmp(name, "--seed")) random_state ^= strtoull(value, NULL, 10) * 2654435761ull;
        else if (!strcmp(name, "--watch") && watched_count < 8) watched[watched_count++] = atoi(value);
        else if (!strcmp(name, "--expect-length")) expect_length = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--histogram")) histogram_file = value;
        else {
            fprintf(stderr, "load: unknown option %s\n", name);
            exit(2);
        }
    }
    if (argc < 2 || !port || rate <= 0 || connections < 1) {
        fprintf(stderr, "usage: load open|closed|sse --port P …\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
    options(argc, argv);
    common_setup();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!body_text) {
        body_text = strdup(mode == SSE ? "{\"model\":\"mock\",\"stream\":true,\"messages\":[]}"
                                       : "{\"model\":\"mock\",\"messages\":[]}");
        body_length = strlen(body_text);
    }
    make_request();
    conns = calloc((size_t)connections, sizeof *conns);
    idle = calloc((size_t)connections * 2 + 16, sizeof *idle);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);

    uint64_t begun = now_ns(), give_up = begun + 5000000000ull, next = 0, until = 0, stop = 0;
    double at = 0;
    int looked = 0;
    if (mode != SSE)
        for (; opened < connections; opened++) start_connect(&conns[opened]);
    for (;;) {
        uint64_t now = now_ns();
        if (!t0 && (mode == SSE || connected >= connections || now > give_up || errors[E_CONNECT] > 1000)) {
            t0 = now;
            w0 = t0 + (uint64_t)((ramp + warmup) * 1e9);
            w1 = w0 + (uint64_t)(seconds * 1e9);
            stop = w1 + (uint64_t)(drain * 1e9);
            next = t0;
            for (int i = 0; i < opened; i++)
                if (conns[i].state == IDLE) free_conn(&conns[i]);
        }
        if (t0) {
            while (mode == OPEN && next <= now && next < w1) {
                ask(next);
                at += poisson ? -log(uniform()) / rate : 1 / rate;
                next = t0 + (uint64_t)(at * 1e9);
            }
            while (mode == SSE && next <= now && opened < connections) {
                start_connect(&conns[opened++]);
                next = t0 + (uint64_t)((double)opened / connections * ramp * 1e9);
            }
            if (looked == 0 && now >= w0) look(looked++);
            if (looked == 1 && now >= w1) look(looked++);
            if (looked == 2) {
                int busy = 0;
                for (int i = 0; mode == OPEN && i < connections; i++) busy += conns[i].state == BUSY;
                if (!busy && (mode != OPEN || !pending_count)) break;
                if (now >= stop) {
                    errors[E_LOST] += (uint64_t)busy + pending_count;
                    break;
                }
            }
        }
        until = !t0 ? give_up + 1 : looked == 0 ? w0 : looked == 1 ? w1 : now + 1000000;
        if (t0 && next < until && next > now && (mode == OPEN ? next < w1 : opened < connections)) until = next;
        arm(timer, until);
        struct epoll_event ready[256];
        int count = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr == &timer) disarmed(timer);
            else on_ready(ready[i].data.ptr, ready[i].events);
        }
    }
    for (int i = 0; i < connections; i++)
        if (mode == CLOSED_LOOP && conns[i].state == BUSY && conns[i].intended + 2000000000ull < w1) errors[E_LOST]++;
    report();
    return 0;
}
