/* What is measured: who sends when, and what the answers count. */
#include "wsbench.h"

#include <stdlib.h>

Connection *connections;

static int opened; /* connections that were ever begun */

/* Broadcasts: up to `depth` are in flight, each until all have it. */
static struct {
    uint64_t sent, done;
    uint64_t *times;
    int *left;
} broadcasts;

static bool is_fanout(void)
{
    return options.mode == FANOUT || options.mode == STREAM;
}

static bool is_http(void)
{
    return options.mode == POLL || options.mode == POLLIDLE || options.mode == STREAM;
}

void modes_start(void)
{
    size_t depth = (size_t)options.depth;
    connections = allocate((size_t)options.connections * sizeof *connections);
    for (int i = 0; i < options.connections; i++)
        connections[i] = (Connection){
            .protocol = is_http() ? &http_protocol : &websocket_protocol,
            .fd = -1,
            .index = i,
            .times = is_fanout() ? NULL : allocate(depth * sizeof(uint64_t)),
        };
    broadcasts.times = allocate(depth * sizeof(uint64_t));
    broadcasts.left = allocate(depth * sizeof(int));
    if (is_http())
        http_start();
}

/* How many connections are to be open by now. */
static int due(void)
{
    static uint64_t started;
    if (!started)
        started = now();
    double seconds = (double)(now() - started) / 1e9;
    return seconds < options.over ? (int)(options.connections * seconds / options.over) : options.connections;
}

/* Open connections, some at a time, until there are as many as were asked for. */
void open_more(void)
{
    while (opened < due() && opened - run.ready < options.opening && !run.failed)
        open_connection(&connections[opened++]);
}

void is_ready(Connection *c)
{
    c->state = READY;
    run.ready++;
    if (options.mode == CONNECT) {
        if (run.measuring) {
            run.handshakes++;
            record(&latencies, now() - c->opened_at);
        }
        return;
    }
    open_more();
}

void was_lost(Connection *c, const char *why)
{
    enum State state = c->state;
    close_connection(c);
    if (run.over)
        return;
    if (state == CLOSING) {
        open_connection(c);
        return;
    }
    fail("%s (state %d)", why, state);
    run.failed = true;
}

/* A WebSocket is closed with its handshake, where it has one. */
void say_goodbye(Connection *c)
{
    if (c->fd >= 0 && c->state == READY && !is_http() && !options.hixie)
        send_frame(c, CLOSE_FRAME, "\x03\xe8", 2); /* 1000 */
    else
        close_connection(c);
}

/* -- Answers ------------------------------------------------------------------------------------------------------- */

static void broadcast_arrived(uint64_t number, uint64_t time)
{
    size_t place = number % (uint64_t)options.depth;
    if (number >= broadcasts.sent) {
        run.bad++;
        return;
    }
    uint64_t took = time - broadcasts.times[place];
    if (run.measuring)
        record(&latencies, took);
    if (--broadcasts.left[place] == 0) {
        broadcasts.done++;
        if (run.measuring) {
            record(&last_latencies, took);
            run.broadcasts++;
        }
    }
}

/* A message has come: the next of its connection, if it is right. */
void arrived(Connection *c, bool is_right)
{
    uint64_t number = c->got++, time = now();
    if (!is_right)
        run.bad++;
    if (run.measuring)
        run.messages++;
    if (is_fanout())
        broadcast_arrived(number, time);
    else if (run.measuring && number < c->sent)
        record(&latencies, time - c->times[number % (uint64_t)options.depth]);
}

bool all_arrived(const Connection *c)
{
    return is_fanout() ? broadcasts.done == broadcasts.sent : c->got == c->sent;
}

/* How many messages did not come back. */
uint64_t missing(void)
{
    uint64_t count = 0;
    for (int i = 0; i < options.connections; i++) {
        const Connection *c = &connections[i];
        uint64_t wanted = is_fanout() ? broadcasts.sent : c->sent;
        count += wanted > c->got ? wanted - c->got : 0;
    }
    return count;
}

/* -- Sending ------------------------------------------------------------------------------------------------------- */

/* Messages are about to be sent: the number of the first. */
uint64_t next_number(Connection *c, int count)
{
    uint64_t time = now(), depth = (uint64_t)options.depth, first = is_fanout() ? broadcasts.sent : c->sent;
    for (uint64_t number = first; number < first + (uint64_t)count; number++) {
        if (is_fanout()) {
            broadcasts.times[number % depth] = time;
            broadcasts.left[number % depth] = options.connections;
        } else {
            c->times[number % depth] = time;
        }
    }
    *(is_fanout() ? &broadcasts.sent : &c->sent) += (uint64_t)count;
    return first;
}

/* Send as many messages as may be in flight; for a fan-out the first connection does. */
void fill(Connection *c)
{
    Connection *sender = is_fanout() ? connections : c;
    bool sends = options.mode != IDLE && options.mode != POLLIDLE && options.mode != CONNECT;
    if (!run.sending || sender->state != READY || !sends)
        return;
    if (is_http()) {
        http_fill(sender);
        return;
    }
    uint64_t in_flight = is_fanout() ? broadcasts.sent - broadcasts.done : sender->sent - sender->got;
    int count = options.depth - (int)in_flight;
    if (count > 0)
        send_messages(sender, count, next_number(sender, count));
}
