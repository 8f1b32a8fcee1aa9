/*
 * A load generator: one thread, epoll, keep-alive connections, the same POST over and over.
 *
 *   load schedule --port P --arrivals FILE [--skip N] [--timeout S] [--stream 1] [--events N] [--progress 1]
 *   load closed   --port P [--seconds S] [--warmup S]
 *   both: [--connections C] [--path /v1/chat/completions] [--body FILE] [--headers FILE]
 *         [--watch PID]… [--samples FILE] [--core N]
 *
 * "schedule" is an open loop: it reads when each request is due (uint64 little-endian, nanoseconds from
 * the start), and latency counts from that moment, so a slow server cannot hide by slowing the generator
 * down. --samples takes what became of each (see write_samples); with --progress lines of
 * "progress OVER FAILED SECONDS" come on stderr five times a second. In "closed" every connection asks
 * again as soon as it has its reply; --samples takes the latencies (the same kind of numbers).
 *
 * --headers takes whole lines with their CRLF; from a file, since everybody sees a command line and one of
 * them is a key. One JSON line on stdout. Each reply must have status 200 and the same length and checksum as the first.
 * --watch adds CPU seconds (all threads) and resident memory of other processes over exactly the measured
 * window. Events of streams carry the mock's clock and number (see mock.c): delay and loss are measured
 * per event.
 */
#include "closed.h"
#include "schedule.h"
#include <sched.h>

static int by_schedule, progress;
static const char *samples_file, *arrivals_file;
static double seconds = 5, warmup = 0.5;

static void on_free(struct conn *c) { (by_schedule ? schedule_free : closed_free)(c); }
static void on_no_connection(struct conn *c) { (by_schedule ? schedule_no_connection : closed_no_connection)(c); }

static void on_finished(struct conn *c, enum outcome outcome, uint64_t now) {
    (by_schedule ? schedule_finished : closed_finished)(c, outcome, now);
}

static void on_event(struct conn *c, uint32_t number, uint64_t at, uint64_t now) {
    if (by_schedule) schedule_event(c, number, at, now);
}

static void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)core, &set);
    if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
}

static int options(int argc, char **argv) {
    by_schedule = argc > 1 && !strcmp(argv[1], "schedule");
    int known = by_schedule || (argc > 1 && !strcmp(argv[1], "closed"));
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--path")) path = value;
        else if (!strcmp(name, "--body")) body_text = read_text(value, &body_length);
        else if (!strcmp(name, "--headers")) headers_text = read_text(value, &headers_length);
        else if (!strcmp(name, "--arrivals")) arrivals_file = value;
        else if (!strcmp(name, "--skip")) skip = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--timeout")) timeout_ns = (uint64_t)(atof(value) * 1e9);
        else if (!strcmp(name, "--stream")) streaming = atoi(value);
        else if (!strcmp(name, "--events")) events_expected = (uint32_t)atoi(value);
        else if (!strcmp(name, "--samples")) samples_file = value;
        else if (!strcmp(name, "--progress")) progress = atoi(value);
        else if (!strcmp(name, "--core")) pin(atoi(value));
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--warmup")) warmup = atof(value);
        else if (!strcmp(name, "--connections")) connections = atoi(value);
        else if (!strcmp(name, "--watch") && watched_count < WATCHED_MOST) watched[watched_count++] = atoi(value);
        else {
            fprintf(stderr, "load: unknown option %s\n", name);
            return 2;
        }
    }
    if (known && port && connections > 0 && (!by_schedule || arrivals_file)) return 0;
    fprintf(stderr, "usage: load schedule --port P --arrivals FILE … | load closed --port P …\n");
    return 2;
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
    if (!by_schedule) {
        run_closed(warmup, seconds);
        report_closed(samples_file);
        return 0;
    }
    read_schedule(arrivals_file);
    if (skip >= total) {
        fprintf(stderr, "load: the schedule has nothing to measure\n");
        return 2;
    }
    run_schedule(progress);
    report_schedule(samples_file);
    return 0;
}
