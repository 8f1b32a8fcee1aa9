/* Closed loop: every connection asks again as soon as it has its reply. */
#ifndef VOIDLLM_BENCH_CLOSED_H
#define VOIDLLM_BENCH_CLOSED_H

#include "client.h"
#include "samples.h"

static uint64_t opens, closes, errors[OUTCOMES];
static struct samples latency;

static void closed_free(struct conn *c) {
    uint64_t now = now_ns();
    if (closes && now < closes) send_on(c, now, 0);
}

static void closed_finished(struct conn *c, enum outcome outcome, uint64_t now) {
    errors[outcome]++;
    if (outcome == OK && now >= opens && now < closes) sample(&latency, now - c->intended);
}

static void closed_no_connection(struct conn *c) {
    if (++errors[NO_CONNECT] < 500 && closes) start_connect(c);
}

static void run_closed(double warmup, double seconds) {
    connect_all(now_ns() + 5000000000ull);
    opens = now_ns() + (uint64_t)(warmup * 1e9);
    closes = opens + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < opened; i++) {
        if (conns[i].state == IDLE) on_free(&conns[i]);
        else if (conns[i].state == CLOSED) start_connect(&conns[i]);
    }
    while (now_ns() < opens) wait_for_events(opens, NULL);
    look(0);
    while (now_ns() < closes) wait_for_events(closes, NULL);
    look(1);
    for (int i = 0; i < connections; i++)
        errors[LOST] += conns[i].state == BUSY && conns[i].intended + 2000000000ull < closes;
}

static void report_closed(const char *samples_file) {
    if (samples_file) {
        FILE *file = fopen(samples_file, "wb");
        if (!file) die(samples_file);
        write_numbers(file, latency.ns, latency.count);
        if (fclose(file)) die(samples_file);
    }
    printf("{\"mode\":\"closed\",\"connections\":%d,\"seconds\":%.9f,\"completed\":%zu,\"errors\":{", connections,
           (double)(closes - opens) / 1e9, latency.count);
    for (int i = NO_CONNECT, some = 0; i < OUTCOMES; i++)
        if (errors[i]) printf("%s\"%s\":%llu", some++ ? "," : "", outcome_names[i], (unsigned long long)errors[i]);
    printf("},\"reconnects\":%llu,\"reply_bytes\":%llu", (unsigned long long)reconnects,
           (unsigned long long)learned_length);
    print_watched();
    printf("}\n");
}

#endif
