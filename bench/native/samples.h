/* Samples in nanoseconds, and what the kernel charged another process. */
#ifndef VOIDLLM_BENCH_SAMPLES_H
#define VOIDLLM_BENCH_SAMPLES_H

#include "common.h"
#include <dirent.h>
#include <endian.h>

struct samples {
    uint64_t *ns;
    size_t count, size;
};

static void sample(struct samples *s, uint64_t ns) {
    if (s->count == s->size) {
        s->size = s->size ? s->size * 2 : 65536;
        s->ns = realloc(s->ns, s->size * sizeof *s->ns);
        if (!s->ns) die("realloc");
    }
    s->ns[s->count++] = ns;
}

static void write_numbers(FILE *file, const uint64_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t one = htole64(numbers[i]);
        fwrite(&one, sizeof one, 1, file);
    }
}

/* --- processes --------------------------------------------------------------------------- */

#define WATCHED_MOST 64
static int watched[WATCHED_MOST], watched_count;
static double watched_cpu[2][WATCHED_MOST], own_cpu[2];
static long watched_rss_kb[WATCHED_MOST];

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

/* Note CPU seconds and memory at the start (0) and at the end (1) of the window. */
static void look(int which) {
    struct timespec own;
    for (int i = 0; i < watched_count; i++) {
        char name[64];
        long pages = 0;
        watched_cpu[which][i] = cpu_of(watched[i]);
        snprintf(name, sizeof name, "/proc/%d/statm", watched[i]);
        FILE *file = fopen(name, "r");
        if (!file) continue;
        if (fscanf(file, "%*d %ld", &pages) == 1) watched_rss_kb[i] = pages * (sysconf(_SC_PAGESIZE) / 1024);
        fclose(file);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    own_cpu[which] = (double)own.tv_sec + (double)own.tv_nsec / 1e9;
}

static void print_watched(void) {
    printf(",\"watched_cpu_s\":[");
    for (int i = 0; i < watched_count; i++) {
        double one = watched_cpu[1][i] - watched_cpu[0][i];
        printf("%s%.6f", i ? "," : "", one > 0 ? one : 0.0);
    }
    printf("],\"watched_rss_kb\":[");
    for (int i = 0; i < watched_count; i++) printf("%s%ld", i ? "," : "", watched_rss_kb[i]);
    printf("],\"cpu_s\":%.6f", own_cpu[1] - own_cpu[0]);
}

#endif
