/* What the parts of wsbench share. See main.c. */
#ifndef WSBENCH_H
#define WSBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum Mode { ECHO, FANOUT, CONNECT, IDLE, POLL, POLLIDLE, STREAM, SERVE };
enum Profile { RAW, SIO06, SIO4, SOCKJS };
enum State { FREE, CONNECTING, HANDSHAKE, GREETING, READY, CLOSING };

struct Options {
    enum Mode mode;
    enum Profile profile;
    const char *mode_name, *profile_name, *path, *charset;
    int port, ports, connections, depth, opening, size, server;
    double seconds, warmup, patience, over;
    bool hixie; /* speak draft-75 */
    bool hold;  /* keep the connections when all is measured */
};
extern struct Options options;

/* What has happened so far. Only while `measuring` do messages and times count; what is wrong always does. */
struct Run {
    uint64_t messages, handshakes, broadcasts, heartbeats;
    uint64_t bad;    /* wrong or missing answers */
    uint64_t errors; /* refused and lost connections */
    char error[200]; /* the first of them */
    bool sending, measuring, over, failed;
    int ready; /* connections that are open and greeted */
};
extern struct Run run;

typedef struct {
    uint8_t *data;
    size_t start, end, capacity;
} Buffer;

typedef struct Connection Connection;

/* How a connection's bytes are understood. */
typedef struct {
    void (*connected)(Connection *c);
    size_t (*parse)(Connection *c, uint8_t *data, size_t size); /* returns how many bytes it has used */
    void (*was_read)(Connection *c);                            /* after all that one read has brought */
    void (*lost)(Connection *c, const char *why);
} Protocol;

typedef struct Session Session;

struct Connection {
    const Protocol *protocol;
    int fd, index;
    unsigned generation; /* grows when it opens and closes: its descriptor's number may be the old one's */
    enum State state;
    bool blocked; /* it waits until it may write */
    bool busy;    /* a request is under way */
    Buffer in, out;
    size_t needed; /* so many bytes the message has that has come in part */
    uint64_t opened_at;
    uint64_t sent, got, heartbeats; /* a poll that brings nothing is one, too */
    uint64_t *times; /* when the messages in flight were sent */
    Session *session;
};

/* stats.c */
typedef struct {
    uint64_t counts[64 * 64], total;
} Histogram;
extern Histogram latencies, last_latencies;
uint64_t now(void);
void record(Histogram *histogram, uint64_t nanoseconds);
double quantile_us(const Histogram *histogram, double quantile);
double own_cpu(void);
double server_cpu(void);
double server_bytes(void);
void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void give_up(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* net.c */
void net_start(void);
void net_listen(void);
void *allocate(size_t size);
void append(Buffer *buffer, const void *data, size_t size);
bool open_connection(Connection *c);
void close_connection(Connection *c);
void send_bytes(Connection *c, const void *data, size_t size);
void pump(int milliseconds);
extern const Protocol peer_protocol; /* serve.c */

/* messages.c */
void messages_start(void);
const char *write_form(uint64_t first, size_t *size);
void send_messages(Connection *c, int count, uint64_t first);
void unwrap(Connection *c, const uint8_t *text, size_t size);
void unwrap_sio06(Connection *c, const uint8_t *text, size_t size);
bool is_greeting(Connection *c, const uint8_t *text, size_t size);

/* websocket.c */
enum { TEXT_FRAME = 1, CLOSE_FRAME = 8, PING_FRAME, PONG_FRAME };
typedef struct {
    int opcode;
    bool final;
    uint8_t *payload;
    size_t size;
} Frame;
extern const Protocol websocket_protocol;
extern const char WEBSOCKET_ACCEPT[];
size_t read_frame(Connection *c, uint8_t *data, size_t size, Frame *frame);
size_t write_frame(uint8_t *out, int opcode, const void *payload, size_t size, bool mask);
uint8_t mask_of(size_t position);
void send_frame(Connection *c, int opcode, const void *payload, size_t size);

/* http.c */
extern const Protocol http_protocol;
void http_start(void);
void http_fill(Connection *c);
const char *find_header(const char *head, const char *end, const char *name);

/* modes.c */
extern Connection *connections;
void modes_start(void);
void open_more(void);
void is_ready(Connection *c);
void was_lost(Connection *c, const char *why);
void say_goodbye(Connection *c);
void arrived(Connection *c, bool is_right);
bool all_arrived(const Connection *c);
uint64_t next_number(Connection *c, int count);
void fill(Connection *c);
uint64_t missing(void);

#endif
