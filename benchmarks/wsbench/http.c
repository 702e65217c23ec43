/* The HTTP transports of Socket.IO 0.6 as a client: xhr-polling, and the streams of xhr-multipart and htmlfile. */
#define _GNU_SOURCE
#include "wsbench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct Session {
    char id[80];
    Connection *get;
    Connection post;
    bool is_html;
    Buffer body; /* of a stream: what is not understood yet */
};

typedef struct {
    int status;
    const char *fields, *end;
    uint8_t *body;
    size_t size;
} Response;

/* Returns the value of a header, which ends with its line. */
const char *find_header(const char *head, const char *end, const char *name)
{
    size_t length = strlen(name);
    const char *line = head;
    while (line < end) {
        const char *next = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!next)
            next = end;
        if ((size_t)(next - line) > length && line[length] == ':' && strncasecmp(line, name, length) == 0)
            return line + length + 1 + strspn(line + length + 1, " ");
        line = next + 2;
    }
    return NULL;
}

/* Appends what whole chunks hold; returns how many bytes they are. */
static size_t read_chunks(const uint8_t *data, size_t size, Buffer *out, bool *ended)
{
    size_t used = 0;
    *ended = false;
    while (used < size && !*ended) {
        const uint8_t *line = memmem(data + used, size - used, "\r\n", 2);
        if (!line)
            break;
        size_t length = strtoul((const char *)data + used, NULL, 16);
        size_t start = (size_t)(line - data) + 2;
        if (start + length + 2 > size)
            break;
        append(out, data + start, length);
        *ended = length == 0;
        used = start + length + 2;
    }
    return used;
}

static bool is_chunked(const Response *response)
{
    const char *coding = find_header(response->fields, response->end, "transfer-encoding");
    return coding && strncasecmp(coding, "chunked", 7) == 0;
}

/* Returns the size of the head, 0 where it has not come as a whole. */
static size_t read_head(const uint8_t *data, size_t size, Response *response)
{
    const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end)
        return 0;
    *response = (Response){.status = atoi((const char *)data + 9), .fields = (const char *)data};
    response->end = (const char *)end + 2;
    return (size_t)(end - data) + 4;
}

/* Returns the size of the response, 0 where it has not come as a whole. */
static size_t read_response(uint8_t *data, size_t size, Response *response)
{
    static Buffer body;
    size_t head = read_head(data, size, response);
    if (!head)
        return 0;
    if (is_chunked(response)) {
        bool ended;
        body.start = body.end = 0;
        size_t used = read_chunks(data + head, size - head, &body, &ended);
        response->body = body.data;
        response->size = body.end;
        return ended ? head + used : 0;
    }
    const char *length = find_header(response->fields, response->end, "content-length");
    response->body = data + head;
    response->size = length ? strtoul(length, NULL, 10) : 0;
    return head + response->size <= size ? head + response->size : 0;
}

static bool is_ok(const Connection *c, const Response *response)
{
    if (response->status == 200)
        return true;
    fail("HTTP status %d for a %s: %.*s", response->status, c == c->session->get ? "GET" : "POST",
         (int)(response->size < 60 ? response->size : 60), response->body ? (const char *)response->body : "");
    run.failed = true;
    return false;
}

/* -- Requests ------------------------------------------------------------------------------------------------------ */

static void get(Connection *c)
{
    char request[400];
    static unsigned long serial;
    int size = snprintf(request, sizeof request, "GET %s/%s/%lu HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n\r\n",
                        options.path, c->session->id, ++serial, options.port);
    c->busy = true;
    send_bytes(c, request, (size_t)size);
}

/* POST the next messages, all that may be in flight, when the last ones are back. */
void http_fill(Connection *c)
{
    Connection *post = &c->session->post;
    if (!run.sending || post->busy || post->state != READY || !all_arrived(c))
        return;
    size_t size;
    const char *body = write_form(next_number(c, options.depth), &size);
    char *request = allocate(size + 400);
    int head = snprintf(request, 400,
                        "POST %s/%s/send HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                        "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
                        options.path, c->session->id, options.port, size);
    memcpy(request + head, body, size);
    post->busy = true;
    send_bytes(post, request, (size_t)head + size);
    free(request);
}

/* -- The connection for POSTs -------------------------------------------------------------------------------------- */

static void post_connected(Connection *c)
{
    Connection *receiver = c->session->get;
    c->state = READY;
    if (receiver->state == READY)
        http_fill(receiver);
    else
        is_ready(receiver);
}

static size_t post_parse(Connection *c, uint8_t *data, size_t size)
{
    Response response;
    size_t used = read_response(data, size, &response);
    if (used && is_ok(c, &response)) {
        c->busy = false;
        http_fill(c->session->get);
    }
    return used;
}

static void post_lost(Connection *c, const char *why)
{
    bool is_idle = c->state == READY && !c->busy;
    close_connection(c);
    if (is_idle && !run.over)
        open_connection(c); /* Socket.IO-node 0.6 closes it after each answer */
    else if (!run.over) {
        fail("a POST: %s", why);
        run.failed = true;
    }
}

static const Protocol post_protocol = {.connected = post_connected, .parse = post_parse, .lost = post_lost};

/* -- The connection for GETs --------------------------------------------------------------------------------------- */

static void connected(Connection *c)
{
    c->state = GREETING;
    c->session->id[0] = 0;
    get(c);
}

/* The first payload is the session's id. Only one stream posts. */
static void take_id(Connection *c, const uint8_t *text, size_t size)
{
    Session *session = c->session;
    const uint8_t *mark = size > 6 ? memmem(text + 3, size - 3, "~m~", 3) : NULL;
    size_t length = mark ? strtoul((const char *)text + 3, NULL, 10) : 0;
    if (!length || length >= sizeof session->id || mark + 3 + length > text + size) {
        fail("no session id: %.*s", (int)(size < 60 ? size : 60), (const char *)text);
        run.failed = true;
        return;
    }
    memcpy(session->id, mark + 3, length);
    session->id[length] = 0;
    if (options.mode == POLL || (options.mode == STREAM && c == connections))
        open_connection(&session->post);
    else
        is_ready(c);
}

static void on_payload(Connection *c, const uint8_t *text, size_t size)
{
    if (c->session->id[0])
        unwrap_sio06(c, text, size);
    else
        take_id(c, text, size);
}

static size_t poll_parse(Connection *c, uint8_t *data, size_t size)
{
    Response response;
    size_t used = read_response(data, size, &response);
    if (used && is_ok(c, &response)) {
        if (response.size)
            on_payload(c, response.body, response.size);
        else
            c->heartbeats++;
        get(c);
    }
    return used;
}

/* Payloads stand between marks, however the stream is chunked. */
static void read_stream(Connection *c, Buffer *body)
{
    const char *before = c->session->is_html ? "_(\"" : "\n\n";
    const char *after = c->session->is_html ? "\", document" : "\n--";
    for (;;) {
        uint8_t *end = body->data + body->end, *start = body->data + body->start;
        uint8_t *text = memmem(start, (size_t)(end - start), before, strlen(before));
        if (!text)
            break;
        text += strlen(before);
        uint8_t *mark = memmem(text, (size_t)(end - text), after, strlen(after));
        if (!mark)
            break;
        on_payload(c, text, (size_t)(mark - text));
        body->start = (size_t)(mark - body->data);
    }
    memmove(body->data, body->data + body->start, body->end - body->start);
    body->end -= body->start;
    body->start = 0;
}

static size_t stream_parse(Connection *c, uint8_t *data, size_t size)
{
    Session *session = c->session;
    size_t used = 0;
    if (c->busy) {
        Response response;
        used = read_head(data, size, &response);
        if (!used || !is_ok(c, &response))
            return 0;
        const char *type = find_header(response.fields, response.end, "content-type");
        session->is_html = type && strncmp(type, "text/html", 9) == 0;
        c->busy = false;
        if (!is_chunked(&response)) {
            fail("a stream that is not chunked");
            run.failed = true;
        }
    }
    bool ended;
    used += read_chunks(data + used, size - used, &session->body, &ended);
    read_stream(c, &session->body);
    return used;
}

static size_t parse(Connection *c, uint8_t *data, size_t size)
{
    return options.mode == STREAM ? stream_parse(c, data, size) : poll_parse(c, data, size);
}

const Protocol http_protocol = {.connected = connected, .parse = parse, .was_read = fill, .lost = was_lost};

void http_start(void)
{
    for (int i = 0; i < options.connections; i++) {
        Session *session = allocate(sizeof *session);
        connections[i].session = session;
        session->get = &connections[i];
        session->post = (Connection){.protocol = &post_protocol, .fd = -1, .session = session};
    }
}
