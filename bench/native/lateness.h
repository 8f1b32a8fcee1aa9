/* How late timers were: by powers of two with four steps each, so any figure is right within a quarter. */
#ifndef VOIDLLM_BENCH_LATENESS_H
#define VOIDLLM_BENCH_LATENESS_H

#include "common.h"

static uint64_t late_steps[256], late_count, late_most, late_over_ms;

static void late(uint64_t ns) {
    int power = ns < 4 ? 1 : 63 - __builtin_clzll(ns);
    late_steps[ns < 4 ? 0 : power * 4 + (int)(ns >> (power - 2) & 3)]++;
    late_count++;
    late_over_ms += ns > 1000000;
    if (ns > late_most) late_most = ns;
}

/* Microseconds that this part of the timers were not later than. */
static double late_us(double part) {
    uint64_t seen = 0;
    for (int i = 0; i < 256; i++) {
        seen += late_steps[i];
        if (seen && (double)seen >= part * (double)late_count) {
            double most = i < 4 ? 4 : (double)(1ull << i / 4) * (1 + (i % 4 + 1) / 4.0);
            return (most < (double)late_most ? most : (double)late_most) / 1e3;
        }
    }
    return 0;
}

static void late_reset(void) {
    memset(late_steps, 0, sizeof late_steps);
    late_count = late_most = late_over_ms = 0;
}

#endif
