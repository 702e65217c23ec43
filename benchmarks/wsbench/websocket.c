/* WebSocket as a client: the handshake, RFC 6455 framing and that of draft-75. */
#define _GNU_SOURCE
#include "wsbench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The example of RFC 6455, section 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
const char WEBSOCKET_ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

uint8_t mask_of(size_t position)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    return options.hixie ? 0 : mask[position & 3];
}

/* Returns the size of the frame, 0 where it has not come as a whole. */
size_t read_frame(Connection *c, uint8_t *data, size_t size, Frame *frame)
{
    size_t header = 2;
    c->needed = 0;
    if (size < 2)
        return 0;
    size_t length = data[1] & 0x7f;
    if (length >= 126) {
        header += length == 126 ? 2 : 8;
        if (size < header)
            return 0;
        length = 0;
        for (size_t i = 2; i < header; i++)
            length = length << 8 | data[i];
    }
    bool masked = data[1] & 0x80;
    header += masked ? 4 : 0;
    if (size < header + length) {
        c->needed = header + length;
        return 0;
    }
    *frame = (Frame){.opcode = data[0] & 15, .final = data[0] & 0x80, .payload = data + header, .size = length};
    if (masked) {
        uint8_t mask[4];
        memcpy(mask, data + header - 4, 4);
        for (size_t i = 0; i < length; i++)
            frame->payload[i] ^= mask[i & 3];
    }
    return header + length;
}

static size_t write_hixie(uint8_t *out, int opcode, const void *payload, size_t size)
{
    if (opcode != TEXT_FRAME) {
        memcpy(out, "\xff", 2);
        return 2;
    }
    out[0] = 0;
    memcpy(out + 1, payload, size);
    out[size + 1] = 0xff;
    return size + 2;
}

/* `out` has room for 16 bytes more than the payload. */
size_t write_frame(uint8_t *out, int opcode, const void *payload, size_t size, bool mask)
{
    size_t header = 2;
    if (options.hixie)
        return write_hixie(out, opcode, payload, size);
    out[0] = (uint8_t)(0x80 | opcode);
    out[1] = (uint8_t)(size < 126 ? size : size < 65536 ? 126 : 127);
    if (size >= 126) {
        int bytes = size < 65536 ? 2 : 8;
        for (int i = bytes; i-- > 0;)
            out[header++] = (uint8_t)(size >> (8 * i));
    }
    if (mask) {
        out[1] |= 0x80;
        for (size_t i = 0; i < 4; i++)
            out[header++] = mask_of(i);
    }
    for (size_t i = 0; i < size; i++)
        out[header + i] = ((const uint8_t *)payload)[i] ^ (mask ? mask_of(i) : 0);
    return header + size;
}

void send_frame(Connection *c, int opcode, const void *payload, size_t size)
{
    uint8_t *out = allocate(size + 16);
    send_bytes(c, out, write_frame(out, opcode, payload, size, true));
    free(out);
}

static void connected(Connection *c)
{
    char path[200], request[600];
    const char *id = strstr(options.path, "{id}");
    if (id)
        snprintf(path, sizeof path, "%.*s%08x%s", (int)(id - options.path), options.path,
                 (unsigned)now() ^ (unsigned)c->index * 2654435761u, id + 4);
    else
        snprintf(path, sizeof path, "%s", options.path);
    const char *version = options.hixie ? "" : "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n";
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: %s\r\n"
                        "Origin: http://127.0.0.1:%d\r\n%s\r\n",
                        path, options.port, options.hixie ? "WebSocket" : "websocket", options.port, version);
    send_bytes(c, request, (size_t)size);
}

static void close_politely(Connection *c)
{
    run.ready--;
    say_goodbye(c);
    c->state = CLOSING;
    if (options.hixie)
        was_lost(c, "");
}

static void greeted(Connection *c)
{
    is_ready(c);
    if (options.mode == CONNECT)
        close_politely(c);
}

static bool shake_hands(Connection *c, const uint8_t *data, const uint8_t *end)
{
    const char *head = (const char *)data;
    const char *accept = find_header(head, (const char *)end + 2, "sec-websocket-accept");
    bool is_accepted = options.hixie || (accept && strncmp(accept, WEBSOCKET_ACCEPT, strlen(WEBSOCKET_ACCEPT)) == 0);
    if (strncmp(head, "HTTP/1.1 101", 12) || !is_accepted) {
        fail("handshake: %.40s", head);
        run.failed = true;
        close_connection(c);
        return false;
    }
    c->state = GREETING;
    if (options.profile == RAW)
        greeted(c);
    return true;
}

static void on_message(Connection *c, const uint8_t *text, size_t size)
{
    if (c->state == READY)
        unwrap(c, text, size);
    else if (c->state == GREETING && is_greeting(c, text, size))
        greeted(c);
}

static void on_frame(Connection *c, const Frame *frame)
{
    if (frame->opcode == PING_FRAME) {
        c->heartbeats++;
        send_frame(c, PONG_FRAME, frame->payload, frame->size);
    } else if (frame->opcode == CLOSE_FRAME) {
        was_lost(c, "the server has sent a close frame");
    } else if (frame->opcode == TEXT_FRAME && frame->final) {
        on_message(c, frame->payload, frame->size);
    } else if (frame->opcode != PONG_FRAME) {
        run.bad++; /* no server here has a reason for fragments or binary messages */
    }
}

static size_t hixie_message(Connection *c, uint8_t *data, size_t size)
{
    uint8_t *end = size ? memchr(data, 0xff, size) : NULL;
    if (end == data)
        was_lost(c, "the server has sent a closing frame");
    else if (end)
        on_message(c, data + 1, (size_t)(end - data) - 1);
    return end ? (size_t)(end - data) + 1 : 0;
}

static size_t parse(Connection *c, uint8_t *data, size_t size)
{
    unsigned generation = c->generation;
    size_t used = 0, step;
    Frame frame;
    if (c->state == HANDSHAKE) {
        uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
        if (!end || !shake_hands(c, data, end))
            return 0;
        used = (size_t)(end - data) + 4;
    }
    while (c->generation == generation) {
        if (options.hixie) {
            step = hixie_message(c, data + used, size - used);
        } else {
            step = read_frame(c, data + used, size - used, &frame);
            if (step)
                on_frame(c, &frame);
        }
        if (!step)
            break;
        used += step;
    }
    return used;
}

const Protocol websocket_protocol = {.connected = connected, .parse = parse, .was_read = fill, .lost = was_lost};
