/* Clocks, latencies, and what went wrong. */
#define _GNU_SOURCE
#include "wsbench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

Histogram latencies, last_latencies;

uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Buckets are 64 to an octave: 1.6 % wide. */
void record(Histogram *histogram, uint64_t nanoseconds)
{
    size_t bucket = (size_t)nanoseconds;
    if (nanoseconds >= 64) {
        int octave = 57 - __builtin_clzll(nanoseconds);
        bucket = (size_t)(octave + 1) * 64 + (size_t)(nanoseconds >> octave) - 64;
    }
    histogram->counts[bucket < 4095 ? bucket : 4095]++;
    histogram->total++;
}

double quantile_us(const Histogram *histogram, double quantile)
{
    uint64_t wanted = (uint64_t)(quantile * (double)histogram->total), seen = 0;
    if (histogram->total == 0)
        return 0;
    size_t bucket = 0;
    while (bucket < 4095 && (seen += histogram->counts[bucket]) <= wanted)
        bucket++;
    return bucket < 64 ? (double)bucket / 1e3 : (double)((bucket % 64 + 64) << (bucket / 64 - 1)) / 1e3;
}

double own_cpu(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* Seconds of CPU that a process has used, with all its threads. */
static double cpu_of(int process)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(process, &clock) || clock_gettime(clock, &t))
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* That of the server's process and its children. */
double server_cpu(void)
{
    char path[64];
    int child;
    if (!options.server)
        return 0;
    double seconds = cpu_of(options.server);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", options.server, options.server);
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%d", &child) == 1)
        seconds += cpu_of(child);
    if (file)
        fclose(file);
    return seconds;
}

double server_bytes(void)
{
    char path[64];
    unsigned long resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", options.server);
    FILE *file = options.server ? fopen(path, "r") : NULL;
    if (file) {
        if (fscanf(file, "%*u %lu", &resident) != 1)
            resident = 0;
        fclose(file);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

void fail(const char *format, ...)
{
    if (run.errors++)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run.error, sizeof run.error, format, arguments);
    va_end(arguments);
    for (char *p = run.error; *p; p++)
        if (*p < ' ' || *p == '"' || *p == '\\' || *p > '~')
            *p = '?'; /* it goes into JSON */
}

void give_up(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("wsbench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(2);
}
