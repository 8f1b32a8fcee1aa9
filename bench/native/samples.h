/* Samples in microseconds with their percentiles, and what the kernel charged another process. */
#ifndef VOIDLLM_BENCH_SAMPLES_H
#define VOIDLLM_BENCH_SAMPLES_H

#include "common.h"
#include <dirent.h>
#include <math.h>

struct samples {
    uint32_t *us;
    size_t count, size;
};

static void sample(struct samples *s, uint64_t ns) {
    if (s->count == s->size) {
        s->size = s->size ? s->size * 2 : 65536;
        s->us = realloc(s->us, s->size * sizeof *s->us);
        if (!s->us) die("realloc");
    }
    s->us[s->count++] = (uint32_t)(ns / 1000 > UINT32_MAX ? UINT32_MAX : ns / 1000);
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_samples(const char *name, struct samples *s) {
    static const struct { const char *name; double part; } points[] = {
        {"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    double sum = 0;
    qsort(s->us, s->count, sizeof *s->us, compare);
    for (size_t i = 0; i < s->count; i++) sum += s->us[i];
    printf(",\"%scount\":%zu,\"%smean_us\":%.1f", name, s->count, name, s->count ? sum / (double)s->count : 0.0);
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        size_t at = s->count ? (size_t)ceil(points[i].part * (double)s->count) - 1 : 0;
        printf(",\"%s%s_us\":%u", name, points[i].name, s->count ? s->us[at] : 0);
    }
}

/* CPU seconds of all threads that live. */
static double cpu_of(int pid) {
    char name[320];
    double sum = 0;
    snprintf(name, sizeof name, "/proc/%d/task", pid);
    DIR *tasks = opendir(name);
    if (!tasks) return 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        unsigned long long ns;
        snprintf(name, sizeof name, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(name, "r");
        if (!file) continue;
        if (fscanf(file, "%llu", &ns) == 1) sum += (double)ns / 1e9;
        fclose(file);
    }
    closedir(tasks);
    return sum;
}

#endif
