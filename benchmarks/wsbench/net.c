/* Sockets, their buffers, and the epoll loop. */
#define _GNU_SOURCE
#include "wsbench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE ((size_t)1 << 20)
#define SOURCE_CONNECTIONS 10000 /* from one address, which has ports for 28,000 to a server */
#define KEPT_CAPACITY ((size_t)1 << 18) /* of an empty buffer */

static int epoll;
static struct sockaddr_in server;
static uint8_t *read_buffer;
static Connection listener;

void *allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        give_up("out of memory");
    return memory;
}

void append(Buffer *buffer, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (buffer->end + size > buffer->capacity) {
        buffer->capacity = (buffer->end + size) * 2;
        buffer->data = realloc(buffer->data, buffer->capacity);
        if (!buffer->data)
            give_up("out of memory");
    }
    memcpy(buffer->data + buffer->end, data, size);
    buffer->end += size;
}

static void consume(Buffer *buffer, size_t size)
{
    buffer->start += size;
    if (buffer->start < buffer->end)
        return;
    buffer->start = buffer->end = 0;
    if (buffer->capacity > KEPT_CAPACITY) {
        free(buffer->data);
        *buffer = (Buffer){0};
    }
}

static void watch(Connection *c, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (c->blocked ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &event);
}

void net_start(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    read_buffer = allocate(READ_SIZE);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)options.port);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static void send_at_once(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void net_listen(void)
{
    int on = 1;
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener.fd, (struct sockaddr *)&server, sizeof server) || listen(listener.fd, 4096))
        give_up("can't listen: %s", strerror(errno));
    watch(&listener, EPOLL_CTL_ADD);
}

static void accept_peers(void)
{
    int fd;
    while ((fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        Connection *c = allocate(sizeof *c);
        *c = (Connection){.protocol = &peer_protocol, .fd = fd, .state = HANDSHAKE};
        send_at_once(fd);
        watch(c, EPOLL_CTL_ADD);
    }
}

/* The first connections come from 127.0.0.1, as many from 127.0.0.2, and so on. */
static void choose_source(const Connection *c)
{
    int number = c->index / SOURCE_CONNECTIONS, on = 1;
    if (number == 0)
        return;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)number);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source))
        give_up("no source address: %s", strerror(errno));
}

bool open_connection(Connection *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        give_up("no socket: %s", strerror(errno));
    send_at_once(c->fd);
    choose_source(c);
    c->generation++;
    c->in.start = c->in.end = c->out.start = c->out.end = c->needed = 0;
    c->busy = false;
    c->blocked = true; /* until it is connected */
    c->state = CONNECTING;
    c->opened_at = now();
    struct sockaddr_in address = server;
    address.sin_port = htons((uint16_t)(options.port + c->index % options.ports));
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        fail("can't connect: %s", strerror(errno));
        run.failed = true;
        close_connection(c);
        return false;
    }
    watch(c, EPOLL_CTL_ADD);
    return true;
}

void close_connection(Connection *c)
{
    if (c->fd < 0)
        return;
    close(c->fd);
    c->fd = -1;
    c->generation++;
    c->state = FREE;
}

void send_bytes(Connection *c, const void *data, size_t size)
{
    const uint8_t *rest = data;
    if (c->fd < 0)
        return;
    if (c->out.start == c->out.end) {
        ssize_t sent = send(c->fd, rest, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; /* reading will show it */
        if (sent > 0) {
            rest += sent;
            size -= (size_t)sent;
        }
    }
    if (size == 0)
        return;
    append(&c->out, rest, size);
    if (!c->blocked) {
        c->blocked = true;
        watch(c, EPOLL_CTL_MOD);
    }
}

static void on_writable(Connection *c)
{
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            c->protocol->lost(c, strerror(error));
            return;
        }
        c->blocked = false;
        watch(c, EPOLL_CTL_MOD);
        c->state = HANDSHAKE;
        c->protocol->connected(c);
        return;
    }
    while (c->out.start < c->out.end) {
        ssize_t sent = send(c->fd, c->out.data + c->out.start, c->out.end - c->out.start, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        consume(&c->out, (size_t)sent);
    }
    c->blocked = false;
    watch(c, EPOLL_CTL_MOD);
}

/* Have what was read understood; what is left of it, part of a message, waits in the connection's buffer. */
static void understand(Connection *c, uint8_t *data, size_t size)
{
    unsigned generation = c->generation;
    if (c->in.start == c->in.end) {
        size_t used = c->protocol->parse(c, data, size);
        if (c->generation != generation)
            return;
        append(&c->in, data + used, size - used);
    } else {
        append(&c->in, data, size);
        if (c->in.end - c->in.start < c->needed)
            return;
        size_t used = c->protocol->parse(c, c->in.data + c->in.start, c->in.end - c->in.start);
        if (c->generation != generation)
            return;
        consume(&c->in, used);
    }
    if (c->in.start) {
        memmove(c->in.data, c->in.data + c->in.start, c->in.end - c->in.start);
        c->in.end -= c->in.start;
        c->in.start = 0;
    }
    if (c->protocol->was_read)
        c->protocol->was_read(c);
}

static void on_readable(Connection *c)
{
    unsigned generation = c->generation;
    ssize_t size;
    do {
        size = recv(c->fd, read_buffer, READ_SIZE, 0);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size <= 0) {
            c->protocol->lost(c, size ? strerror(errno) : "the server has closed the connection");
            return; /* one of the C server's is gone now */
        }
        understand(c, read_buffer, (size_t)size);
    } while (c->generation == generation && (size_t)size == READ_SIZE);
}

void pump(int milliseconds)
{
    static struct epoll_event events[1024];
    int count = epoll_wait(epoll, events, 1024, milliseconds);
    for (int i = 0; i < count; i++) {
        Connection *c = events[i].data.ptr;
        if (c == &listener) {
            accept_peers();
            continue;
        }
        unsigned generation = c->generation;
        if (c->fd >= 0 && events[i].events & EPOLLOUT)
            on_writable(c);
        if (c->fd >= 0 && c->generation == generation && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(c);
    }
}
