/* Closed loops: every connection asks again as soon as it has its reply; of streams, so many are held. */
#ifndef VOIDLLM_BENCH_CLOSED_H
#define VOIDLLM_BENCH_CLOSED_H

#include "client.h"
#include "samples.h"

static uint64_t t0, w0, w1, completed, replies, streams_done, events_total, events_window, events_lost;
static uint64_t errors[OUTCOMES];
static struct samples latency, delays, first;

static void closed_free(struct conn *c) {
    uint64_t now = now_ns();
    if (t0 && now < w1) send_on(c, now, 0);
}

static void closed_finished(struct conn *c, enum outcome outcome, uint64_t now) {
    errors[outcome]++;
    if (outcome != OK) return;
    replies++;
    streams_done += (uint64_t)streaming;
    if (now < w0 || now >= w1) return;
    completed++;
    if (!streaming) sample(&latency, now - c->intended);
}

static void closed_no_connection(struct conn *c) {
    if (++errors[NO_CONNECT] < 1000 && t0) start_connect(c);
}

static void closed_event(struct conn *c, uint32_t number, uint64_t at, uint64_t now) {
    if (number != c->next_event) events_lost += number - c->next_event;
    if (number == 0) sample(&first, now - c->sent_at);
    events_total++;
    if (now < w0 || now >= w1) return;
    events_window++;
    sample(&delays, now > at ? now - at : 0);
}

static void run_closed(double ramp, double warmup, double seconds) {
    int looked = 0;
    if (!streaming) connect_all(now_ns() + 5000000000ull);
    t0 = now_ns();
    w0 = t0 + (uint64_t)((ramp + warmup) * 1e9);
    w1 = w0 + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < opened; i++) {
        if (conns[i].state == IDLE) on_free(&conns[i]);
        else if (conns[i].state == CLOSED) start_connect(&conns[i]);
    }
    for (uint64_t now = t0; looked < 2; now = now_ns()) {
        uint64_t until = looked ? w1 : w0;
        while (streaming && opened < connections) {
            uint64_t opens = t0 + (uint64_t)((double)opened / connections * ramp * 1e9);
            if (opens > now) {
                if (opens < until) until = opens;
                break;
            }
            start_connect(&conns[opened++]);
        }
        if (looked == 0 && now >= w0) look(looked++);
        else if (looked == 1 && now >= w1) look(looked++);
        else wait_for_events(until, NULL);
    }
    for (int i = 0; i < connections && !streaming; i++)
        errors[LOST] += conns[i].state == BUSY && conns[i].intended + 2000000000ull < w1;
}

#endif
