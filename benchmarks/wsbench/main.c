/* wsbench: loads a WebSocket or Socket.IO server from one thread, checks every answer, and prints one line of JSON.
 *
 *     wsbench --mode echo --profile raw --port 8000 --path /ws -c 50 -d 8 -t 3
 *
 * --mode     echo     each connection keeps `-d` messages in flight
 *            fanout   the first sends, all receive, `-d` broadcasts in flight
 *            connect  handshakes until the greeting, then closing ones, `-c` at a time
 *            idle     nothing but heartbeats, which are answered
 *            poll     echo over xhr-polling, `-d` messages a POST
 *            pollidle nothing but polls, which bring nothing
 *            stream   fan-out over xhr-multipart or htmlfile, as --path says, `-d` messages a POST
 *            serve    be the reference server
 * --profile  raw (bare WebSocket), sio06, sio4 (Socket.IO 0.6 and 4) or sockjs: how messages are wrapped
 * -k         connections that may be on their way at once while all are opened
 * --over     seconds in which they are opened, evenly; without it, as fast as the server lets them
 * --warmup   seconds before those that count; -t those
 * --patience seconds, after those, for the answers to what is in flight then
 * --ports    so many servers, from --port on, which the connections go to in turn
 * --server   the server's process, to count its CPU time, with that of its children, and memory
 * --hixie75  frame as draft-75 does
 * --hold     after the line keep the connections, with their heartbeats, until stdin ends; then print the line again
 *
 * Exit status 1: something was wrong, see `bad`, `errors` and `error` in the line.
 */
#include "wsbench.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPEN_SECONDS 120
#define LEAVE_SECONDS 15

struct Options options = {
    .mode_name = "echo",
    .profile_name = "raw",
    .path = "/ws",
    .charset = "ascii",
    .ports = 1,
    .connections = 50,
    .depth = 1,
    .opening = 64,
    .size = 20,
    .seconds = 3,
    .warmup = 0.5,
    .patience = 15,
};
struct Run run;

static int index_of(const char *name, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    give_up("unknown: %s", name);
}

static void read_options(int count, char **arguments)
{
    static const char *const modes[] = {"echo", "fanout", "connect", "idle", "poll", "pollidle", "stream", "serve", NULL};
    static const char *const profiles[] = {"raw", "sio06", "sio4", "sockjs", NULL};
    const struct {
        const char *name;
        const char **text;
        int *number;
        double *seconds;
    } known[] = {
        {.name = "--mode", .text = &options.mode_name},
        {.name = "--profile", .text = &options.profile_name},
        {.name = "--path", .text = &options.path},
        {.name = "--charset", .text = &options.charset},
        {.name = "--port", .number = &options.port},
        {.name = "--ports", .number = &options.ports},
        {.name = "--server", .number = &options.server},
        {.name = "--size", .number = &options.size},
        {.name = "-c", .number = &options.connections},
        {.name = "-d", .number = &options.depth},
        {.name = "-k", .number = &options.opening},
        {.name = "-t", .seconds = &options.seconds},
        {.name = "--warmup", .seconds = &options.warmup},
        {.name = "--patience", .seconds = &options.patience},
        {.name = "--over", .seconds = &options.over},
    };
    for (int i = 1; i < count; i++) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(arguments[i], known[k].name))
            k++;
        if (strcmp(arguments[i], "--hixie75") == 0)
            options.hixie = true;
        else if (strcmp(arguments[i], "--hold") == 0)
            options.hold = true;
        else if (k == sizeof known / sizeof *known || i + 1 == count)
            give_up("unknown option, or one without its value: %s", arguments[i]);
        else if (known[k].text)
            *known[k].text = arguments[++i];
        else if (known[k].number)
            *known[k].number = atoi(arguments[++i]);
        else
            *known[k].seconds = atof(arguments[++i]);
    }
    options.mode = (enum Mode)index_of(options.mode_name, modes);
    options.profile = (enum Profile)index_of(options.profile_name, profiles);
    if (options.mode == POLL || options.mode == POLLIDLE || options.mode == STREAM) {
        options.profile = SIO06;
        options.profile_name = profiles[SIO06];
    }
    if (options.port < 1 || options.ports < 1 || options.connections < 1 || options.depth < 1 || options.opening < 1)
        give_up("--port, --ports, -c, -d and -k are numbers above zero");
}

static double seconds_since(uint64_t time)
{
    return (double)(now() - time) / 1e9;
}

static void pump_for(double seconds)
{
    uint64_t started = now();
    while (!run.failed && seconds_since(started) < seconds)
        pump(20);
}

static void open_all(void)
{
    uint64_t started = now();
    open_more();
    while (!run.failed && options.mode != CONNECT && run.ready < options.connections) {
        pump(20);
        open_more();
        if (seconds_since(started) > OPEN_SECONDS) {
            fail("only %d of %d connections were open after %d s", run.ready, options.connections, OPEN_SECONDS);
            run.failed = true;
        }
    }
}

/* What was in flight has to arrive as well. */
static void wait_for_the_last(void)
{
    uint64_t started = now();
    run.sending = false;
    while (!run.failed && missing() && seconds_since(started) < options.patience)
        pump(20);
    if (!run.failed)
        run.bad += missing();
}

/* Leave as a client does that goes, and let the server finish with that: the next run shall find it at rest. */
static void leave(void)
{
    uint64_t started = now();
    bool some_are_left = true;
    run.over = true;
    for (int i = 0; i < options.connections; i++)
        say_goodbye(&connections[i]);
    while (some_are_left && seconds_since(started) < LEAVE_SECONDS) {
        pump(20);
        some_are_left = false;
        for (int i = 0; i < options.connections; i++)
            some_are_left = some_are_left || connections[i].fd >= 0;
    }
}

/* Keep the connections until somebody ends stdin. */
static void hold(void)
{
    struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!run.failed && poll(&end, 1, 0) == 0)
        pump(20);
}

static uint64_t fewest_heartbeats(void)
{
    uint64_t fewest = UINT64_MAX;
    for (int i = 0; i < options.connections; i++)
        if (connections[i].heartbeats < fewest)
            fewest = connections[i].heartbeats;
    return fewest;
}

static void report(double seconds, double own, double servers, double bytes)
{
    uint64_t count = options.mode == CONNECT ? run.handshakes : run.messages;
    printf("{\"mode\": \"%s\", \"profile\": \"%s\", ", options.mode_name, options.profile_name);
    printf("\"connections\": %d, \"depth\": %d, \"size\": %d, ", options.connections, options.depth, options.size);
    printf("\"count\": %llu, \"seconds\": %.4f, \"rate\": %.1f, ", (unsigned long long)count, seconds,
           (double)count / seconds);
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, ", quantile_us(&latencies, 0.5), quantile_us(&latencies, 0.99));
    printf("\"broadcasts\": %llu, \"last_p50_us\": %.1f, \"heartbeats\": %llu, ", (unsigned long long)run.broadcasts,
           quantile_us(&last_latencies, 0.5), (unsigned long long)fewest_heartbeats());
    printf("\"generator_cpu\": %.3f, \"server_cpu\": %.4f, \"server_us\": %.3f, \"bytes\": %.0f, ", own / seconds,
           servers / seconds, count ? servers * 1e6 / (double)count : 0, bytes / options.connections);
    printf("\"bad\": %llu, \"errors\": %llu, \"error\": \"%s\"}\n", (unsigned long long)run.bad,
           (unsigned long long)run.errors, run.error);
    fflush(stdout);
}

static void measure(void)
{
    double bytes = server_bytes();
    open_all();
    run.sending = true;
    for (int i = 0; i < options.connections && !run.failed; i++)
        fill(&connections[i]);
    pump_for(options.warmup);
    bytes = server_bytes() - bytes;
    double own = own_cpu(), servers = server_cpu();
    uint64_t started = now();
    run.measuring = true;
    pump_for(options.seconds);
    run.measuring = false;
    double seconds = seconds_since(started);
    own = own_cpu() - own;
    servers = server_cpu() - servers;
    wait_for_the_last();
    if (options.hold) {
        report(seconds, own, servers, bytes);
        hold();
    } else {
        leave();
    }
    report(seconds, own, servers, bytes);
}

int main(int count, char **arguments)
{
    signal(SIGPIPE, SIG_IGN);
    read_options(count, arguments);
    net_start();
    if (options.mode == SERVE) {
        net_listen();
        for (;;)
            pump(-1);
    }
    messages_start();
    modes_start();
    measure();
    return run.errors || run.bad ? 1 : 0;
}
