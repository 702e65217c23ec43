/* The reference server: how far C gets with one send a message, echoes of one read together. It checks nothing, and
   knows this program's handshake only. */
#define _GNU_SOURCE
#include "wsbench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static Connection **peers;
static int peer_count, peer_capacity;
static Buffer answers;

static void add_peer(Connection *c)
{
    if (peer_count == peer_capacity) {
        peer_capacity = peer_capacity * 2 + 64;
        peers = realloc(peers, (size_t)peer_capacity * sizeof *peers);
        if (!peers)
            give_up("out of memory");
    }
    c->index = peer_count;
    peers[peer_count++] = c;
    c->state = READY;
}

static void answer(Connection *c, const Frame *frame)
{
    uint8_t *out = allocate(frame->size + 16);
    if (frame->opcode == CLOSE_FRAME) {
        send_bytes(c, out, write_frame(out, CLOSE_FRAME, frame->payload, frame->size, false));
        shutdown(c->fd, SHUT_WR);
    } else if (frame->size > 2 && memcmp(frame->payload, "b:", 2) == 0) {
        size_t size = write_frame(out, TEXT_FRAME, frame->payload + 2, frame->size - 2, false);
        for (int i = 0; i < peer_count; i++)
            send_bytes(peers[i], out, size);
    } else {
        append(&answers, out, write_frame(out, TEXT_FRAME, frame->payload, frame->size, false));
    }
    free(out);
}

static size_t parse(Connection *c, uint8_t *data, size_t size)
{
    size_t used = 0, step;
    if (c->state == HANDSHAKE) {
        uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
        char head[200];
        if (!end)
            return 0;
        int length = snprintf(head, sizeof head,
                              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Accept: %s\r\n\r\n",
                              WEBSOCKET_ACCEPT);
        send_bytes(c, head, (size_t)length);
        add_peer(c);
        used = (size_t)(end - data) + 4;
    }
    Frame frame;
    answers.start = answers.end = 0;
    while ((step = read_frame(c, data + used, size - used, &frame))) {
        answer(c, &frame);
        used += step;
    }
    if (answers.end)
        send_bytes(c, answers.data, answers.end);
    return used;
}

static void lost(Connection *c, const char *why)
{
    (void)why;
    if (c->state == READY) {
        peers[c->index] = peers[--peer_count];
        peers[c->index]->index = c->index;
    }
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

const Protocol peer_protocol = {.parse = parse, .lost = lost};
