/*
 * A load generator: one thread, epoll, keep-alive connections.
 *
 *   load schedule --port P --arrivals FILE [--skip N] [--timeout S] [--stream 1] [--events N]
 *                 [--samples FILE] [--progress 1]
 *   load open     --port P --rate R --seconds S [--poisson 1] [--seed N] [--drain S]
 *   load closed   --port P --seconds S
 *   load sse      --port P --seconds S --connections STREAMS [--ramp S]
 *   all: [--connections C] [--path /v1/chat/completions] [--body FILE] [--header 'Name: value']…
 *        [--warmup S] [--watch PID]… [--expect-length N] [--core N]
 *
 * One JSON line on stdout. "schedule" reads when each request is due (uint64 little-endian,
 * nanoseconds from the start) and writes what became of each (see write_samples); with --progress it
 * prints "progress OVER FAILED SECONDS" on stderr five times a second. "open" is a schedule of its
 * own making with percentiles instead of samples. Latency there counts from the moment a request was
 * due, so a slow server cannot hide by slowing the generator down. Each reply must have status 200
 * and the same length and checksum as the first. --watch adds CPU seconds (all threads) and resident
 * memory of other processes for exactly the measured window. Events of streams carry the mock's clock
 * and number (see mock.c): delay and loss are measured per event. "closed" with --samples writes the
 * latencies (uint64 little-endian, nanoseconds).
 */
#include "closed.h"
#include "schedule.h"
#include <sched.h>

static enum { SCHEDULE, OPEN, CLOSED_LOOP, SSE } mode;
static const char *const modes[] = {"schedule", "open", "closed", "sse"};
static const char *samples_file, *arrivals_file;
static int poisson, progress;
static double rate = 1000, seconds = 5, warmup = 0.5, ramp, drain = 5;
static uint64_t random_state = 88172645463325252ull;

static void on_free(struct conn *c) { (mode <= OPEN ? schedule_free : closed_free)(c); }
static void on_no_connection(struct conn *c) { (mode <= OPEN ? schedule_no_connection : closed_no_connection)(c); }

static void on_finished(struct conn *c, enum outcome outcome, uint64_t now) {
    (mode <= OPEN ? schedule_finished : closed_finished)(c, outcome, now);
}

static void on_event(struct conn *c, uint32_t number, uint64_t at, uint64_t now) {
    (mode <= OPEN ? schedule_event : closed_event)(c, number, at, now);
}

static double uniform(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
}

static void make_schedule(void) {
    size_t most = (size_t)(rate * (warmup + seconds) * 1.2) + 1000, count = 0;
    schedule_of(most);
    for (double at = 0; at < warmup + seconds && count < most; count++) {
        due[count] = (uint64_t)(at * 1e9);
        skip += at < warmup;
        at += poisson ? -log(uniform()) / rate : 1 / rate;
    }
    total = count;
    timeout_ns = (uint64_t)((seconds + drain) * 1e9);
}

/* Percentiles of what schedule mode gives as samples. */
static void sum_up(void) {
    for (size_t i = 0; i < total; i++) {
        errors[outcomes[i]]++;
        if (outcomes[i] != OK) continue;
        replies++;
        if (i >= skip) sample(&latency, took[i]);
    }
    completed = latency.count;
    w0 = due[skip];
    w1 = last_good > due[total - 1] ? last_good : due[total - 1] + 1;
}

static void report(void) {
    uint64_t live = 0, bad = 0;
    for (int i = 0; i < connections; i++)
        live += mode == SSE && conns[i].state == BUSY && conns[i].last_event + 2000000000ull > w1;
    for (int i = NO_CONNECT; i < OUTCOMES; i++) bad += errors[i];
    printf("{\"mode\":\"%s\",\"connections\":%d,\"window_s\":%.6f,\"total\":%llu,\"completed\":%llu,\"rps\":%.1f",
           modes[mode], connections, (double)(w1 - w0) / 1e9, (unsigned long long)replies,
           (unsigned long long)completed, (double)completed * 1e9 / (double)(w1 - w0));
    if (samples_file) {
        FILE *file = fopen(samples_file, "wb");
        if (!file) die(samples_file);
        write_numbers(file, latency.ns, latency.count);
        fclose(file);
    }
    print_samples("", &latency);
    if (mode == SSE) {
        print_samples("event_", &delays);
        print_samples("first_", &first);
        printf(",\"events\":%llu,\"events_total\":%llu,\"events_lost\":%llu,\"streams_live\":%llu,\"streams_done\":%llu",
               (unsigned long long)events_window, (unsigned long long)events_total, (unsigned long long)events_lost,
               (unsigned long long)live, (unsigned long long)streams_done);
    }
    printf(",\"errors\":{");
    for (int i = NO_CONNECT, some = 0; i < OUTCOMES; i++)
        if (errors[i]) printf("%s\"%s\":%llu", some++ ? "," : "", outcome_names[i], (unsigned long long)errors[i]);
    printf("},\"error_count\":%llu,\"reconnects\":%llu,\"body_length\":%llu", (unsigned long long)bad,
           (unsigned long long)reconnects, (unsigned long long)learned_length);
    print_watched();
    printf("}\n");
}

static void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)core, &set);
    if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
}

static int usage(void) {
    fprintf(stderr, "usage: load schedule|open|closed|sse --port P …\n");
    return 2;
}

static int options(int argc, char **argv) {
    int known = 0;
    for (int i = 0; argc > 1 && i < 4; i++)
        if (!strcmp(argv[1], modes[i])) mode = i, known = 1;
    streaming = mode == SSE;
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--host")) host = value;
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--body")) read_body(value);
        else if (!strcmp(name, "--header") && extra_count < 16) extra_headers[extra_count++] = value;
        else if (!strcmp(name, "--arrivals")) arrivals_file = value;
        else if (!strcmp(name, "--skip")) skip = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--timeout")) timeout_ns = (uint64_t)(atof(value) * 1e9);
        else if (!strcmp(name, "--stream")) streaming = atoi(value);
        else if (!strcmp(name, "--events")) events_expected = (uint32_t)atoi(value);
        else if (!strcmp(name, "--samples")) samples_file = value;
        else if (!strcmp(name, "--progress")) progress = atoi(value);
        else if (!strcmp(name, "--core")) pin(atoi(value));
        else if (!strcmp(name, "--rate")) rate = atof(value);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--warmup")) warmup = atof(value);
        else if (!strcmp(name, "--ramp")) ramp = atof(value);
        else if (!strcmp(name, "--drain")) drain = atof(value);
        else if (!strcmp(name, "--connections")) connections = atoi(value);
        else if (!strcmp(name, "--poisson")) poisson = atoi(value);
        else if (!strcmp(name, "--seed")) random_state ^= strtoull(value, NULL, 10) * 2654435761ull;
        else if (!strcmp(name, "--watch") && watched_count < WATCHED_MOST) watched[watched_count++] = atoi(value);
        else if (!strcmp(name, "--expect-length")) expect_length = strtoull(value, NULL, 10);
        else {
            fprintf(stderr, "load: unknown option %s\n", name);
            return 2;
        }
    }
    return !known || !port || rate <= 0 || connections < 1 ? usage() : 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) return 0; /* it runs on this machine */
    int wrong = options(argc, argv);
    if (wrong) return wrong;
    common_setup();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    make_request();
    conns = calloc((size_t)connections, sizeof *conns);
    if (!conns) die("calloc");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    if (mode > OPEN) {
        run_closed(ramp, warmup, seconds);
        report();
        return 0;
    }
    if (mode == SCHEDULE && arrivals_file) read_schedule(arrivals_file);
    else make_schedule();
    if (skip >= total) {
        fprintf(stderr, "load: the schedule has nothing to measure\n");
        return 2;
    }
    run_schedule(progress);
    if (mode == SCHEDULE) {
        report_schedule(samples_file);
    } else {
        sum_up();
        report();
    }
    return 0;
}
