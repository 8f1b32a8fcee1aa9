/*
 * Open loop: requests leave at the times of a schedule, whatever became of earlier ones.
 *
 * Each has a number, its place in the schedule. Those that find no connection free wait in order, so
 * [waiting, next) are due and not sent; since all have the same time to live, they also expire in order.
 */
#ifndef VOIDLLM_BENCH_SCHEDULE_H
#define VOIDLLM_BENCH_SCHEDULE_H

#include "client.h"
#include "samples.h"

#define OPEN_YET 255
#define TICK 200000000ull

static uint64_t *due, *sent, *took; /* due: absolute; took: until the last byte, or the first event */
static unsigned char *outcomes, *was_free;
static int32_t *carrier; /* the connection of a request that was sent */
static uint32_t *events_of;
static size_t total, skip, next, waiting, expiring, over, failed;
static uint64_t begun, timeout_ns = 30000000000ull, ended, events_in_window, held, held_most;
static struct samples gaps;
static uint32_t events_expected;

static int *idle, idle_first, idle_count, *closed, closed_count;

static void read_schedule(const char *name) {
    FILE *file = fopen(name, "rb");
    if (!file) die(name);
    fseek(file, 0, SEEK_END);
    total = (size_t)ftell(file) / sizeof *due;
    rewind(file);
    due = calloc(total + 1, sizeof *due);
    sent = calloc(total + 1, sizeof *sent);
    took = calloc(total + 1, sizeof *took);
    outcomes = malloc(total + 1);
    was_free = calloc(total + 1, 1);
    carrier = calloc(total + 1, sizeof *carrier);
    events_of = calloc(total + 1, sizeof *events_of);
    if (!due || !sent || !took || !outcomes || !was_free || !carrier || !events_of) die("calloc");
    memset(outcomes, OPEN_YET, total + 1);
    if (fread(due, sizeof *due, total, file) != total) die("read");
    for (size_t i = 0; i < total; i++) due[i] = le64toh(due[i]);
    fclose(file);
}

static void settle(size_t number, enum outcome outcome, uint64_t now) {
    outcomes[number] = (unsigned char)outcome;
    if (!streaming || !took[number]) took[number] = now - due[number];
    over++;
    failed += outcome != OK;
}

static void dispatch_on(struct conn *c, size_t number) {
    carrier[number] = (int32_t)(c - conns);
    if (++held > held_most) held_most = held;
    send_on(c, due[number], number);
    sent[number] = c->sent_at;
}

static void schedule_free(struct conn *c) {
    if (begun && waiting < next) {
        dispatch_on(c, waiting++);
    } else if (!c->listed) {
        c->listed = 1;
        idle[(idle_first + idle_count++) % connections] = (int)(c - conns);
    }
}

static struct conn *take_idle(void) {
    while (idle_count) {
        struct conn *c = &conns[idle[idle_first]];
        idle_first = (idle_first + 1) % connections;
        idle_count--;
        c->listed = 0;
        if (c->state == IDLE) return c;
    }
    return NULL;
}

/* Send what is due. Connections are used in turn, so that none is idle for long. */
static void send_due(uint64_t now) {
    while (next < total && due[next] <= now) {
        struct conn *c = waiting == next ? take_idle() : NULL;
        if (c) {
            was_free[next] = 1;
            dispatch_on(c, waiting++);
        }
        next++;
    }
}

/* Each attempt that fails is the outcome of one request, so this ends. */
static void connect_for_waiting(void) {
    while (closed_count && next - waiting > (size_t)connecting) start_connect(&conns[closed[--closed_count]]);
}

static void expire(uint64_t now) {
    while (expiring < next && (outcomes[expiring] != OPEN_YET || due[expiring] + timeout_ns <= now)) {
        size_t number = expiring++;
        if (outcomes[number] != OPEN_YET) continue;
        if (number == waiting) {
            waiting++;
            sent[number] = now;
            settle(number, TIMEOUT, now);
        } else {
            finish(&conns[carrier[number]], TIMEOUT, now);
        }
    }
}

static void schedule_no_connection(struct conn *c) {
    closed[closed_count++] = (int)(c - conns);
    if (!begun || waiting == next) return;
    sent[waiting] = now_ns();
    settle(waiting, NO_CONNECT, sent[waiting]);
    waiting++;
}

static void schedule_finished(struct conn *c, enum outcome outcome, uint64_t now) {
    held--;
    events_of[c->number] = c->events;
    settle(c->number, outcome, now);
}

static void schedule_event(struct conn *c, uint32_t number, uint64_t at, uint64_t now) {
    if (c->number >= skip) {
        if (number) sample(&gaps, now > at ? now - at : 0);
        else took[c->number] = now - due[c->number];
    }
    events_in_window += now >= due[skip];
}

static uint64_t earliest(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void run_schedule(int progress) {
    int looked = 0;
    uint64_t tick, now;
    idle = calloc((size_t)connections, sizeof *idle);
    closed = calloc((size_t)connections, sizeof *closed);
    if (!idle || !closed) die("calloc");
    connect_all(now_ns() + 5000000000ull);
    now = now_ns();
    /* Room to arm the first timer in. */
    begun = now + 5000000;
    for (size_t i = 0; i < total; i++) due[i] += begun;
    due[total] = UINT64_MAX / 2;
    for (tick = now + TICK; over < total;) {
        now = now_ns();
        if (!looked && now + 2000000 >= due[skip]) look(looked++);
        send_due(now);
        expire(now);
        connect_for_waiting();
        if (now >= tick) {
            tick = now + TICK;
            if (progress) fprintf(stderr, "progress %zu %zu %.3f\n", over, failed, (double)(now - begun) / 1e9);
        }
        uint64_t until = earliest(due[next], tick);
        if (!looked) until = earliest(until, due[skip] - 2000000);
        if (expiring < next) until = earliest(until, due[expiring] + timeout_ns);
        if (over < total) wait_for_events(until, send_due);
    }
    if (!looked) look(0);
    look(1);
    ended = now_ns();
}

/* A stream that ended in order but has fewer events than the others (or than was said) lost some. */
static uint64_t count_lost(void) {
    uint64_t lost = 0;
    uint32_t expected = events_expected;
    for (size_t i = 0; i < total && !events_expected; i++)
        if (events_of[i] > expected) expected = events_of[i];
    for (size_t i = skip; i < total; i++) {
        if (events_of[i] < expected) lost += expected - events_of[i];
        if (outcomes[i] == OK && events_of[i] != expected) outcomes[i] = LOST;
    }
    return lost;
}

/* Sent lateness, latency, outcome and whether a connection was free, of all measured; then gaps. */
static void write_samples(const char *name) {
    FILE *file = fopen(name, "wb");
    if (!file) die(name);
    for (size_t i = skip; i < total; i++) sent[i] = sent[i] > due[i] ? sent[i] - due[i] : 0;
    write_numbers(file, sent + skip, total - skip);
    write_numbers(file, took + skip, total - skip);
    fwrite(outcomes + skip, 1, total - skip, file);
    fwrite(was_free + skip, 1, total - skip, file);
    write_numbers(file, gaps.ns, gaps.count);
    if (fclose(file)) die(name);
}

static void report_schedule(const char *samples_file) {
    uint64_t lost = streaming ? count_lost() : 0;
    if (samples_file) write_samples(samples_file);
    printf("{\"mode\":\"schedule\",\"requests\":%zu,\"seconds\":%.9f,\"events\":%llu,\"events_lost\":%llu,\"gaps\":%zu,"
           "\"held\":%llu,\"reconnects\":%llu,\"reply_bytes\":%llu",
           total - skip, (double)(ended - due[skip]) / 1e9, (unsigned long long)events_in_window, (unsigned long long)lost,
           gaps.count, (unsigned long long)held_most, (unsigned long long)reconnects,
           (unsigned long long)learned_length);
    print_watched();
    printf("}\n");
}

#endif
