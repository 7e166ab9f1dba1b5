/* WebSocket load: echo PORT SECONDS CONNECTIONS BYTES. Each connection to 127.0.0.1 has one masked text message on its
 * way at any time; the next goes out when the echo of the last has come back and is right, byte for byte. At the end
 * every connection is closed as RFC 6455 wants it. Whatever else a server does ends this with a line on stderr and 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* The key and its answer are the example of RFC 6455, 1.3. */
#define REQUEST "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
enum {
    FINAL = 0x80, TEXT = 1, CLOSE = 8, PING = 9, PONG = 10, /* first byte of a frame */
    MASKED = 0x80, PAYLOAD = 125,                           /* its second; the longest payload it can tell */
    SERIAL = 16,                                            /* digits that make a message unlike any other */
    BUCKET_US = 10, BUCKETS = 1000000,                      /* latencies up to 10 s */
    PATIENCE_S = 5,                                         /* for a handshake, and for the last echoes */
};
struct connection {
    int fd, closing;
    double since; /* when its message went out */
    size_t have;  /* bytes in `in` that are no whole frame yet */
    unsigned char in[4 * PAYLOAD];
    char message[PAYLOAD + 1];
};
static unsigned latencies[BUCKETS];
static unsigned long long messages;
static double start, end, last;
static int alive, bytes;

static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    exit(1);
}

static double now(void) { /* seconds */
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void transmit(struct connection *c, int opcode, const void *payload, int length) {
    static uint32_t mask = 2463534242u; /* xorshift: what matters is that the server has something to unmask */
    unsigned char frame[6 + PAYLOAD] = {FINAL | opcode, MASKED | length};
    int i;
    mask ^= mask << 13, mask ^= mask >> 17, mask ^= mask << 5;
    memcpy(frame + 2, &mask, 4);
    for (i = 0; i < length; i++) frame[6 + i] = ((const unsigned char *)payload)[i] ^ frame[2 + i % 4];
    if (send(c->fd, frame, 6 + length, MSG_NOSIGNAL) != 6 + length) fail("a message could not be sent: %m");
}

static void next_message(struct connection *c, double when) {
    static unsigned long long serial;
    char digits[SERIAL + 1];
    snprintf(digits, sizeof digits, "%016llx", ++serial);
    memcpy(c->message, digits, SERIAL);
    c->since = when;
    transmit(c, TEXT, c->message, bytes);
}

static void echoed(struct connection *c, const unsigned char *payload, int length) {
    double when = now();
    long bucket = (when - c->since) * 1e6 / BUCKET_US;
    if (length != bytes || memcmp(payload, c->message, bytes)) fail("a wrong echo after %llu messages", messages);
    latencies[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    messages++, last = when;
    if (when < end) next_message(c, when);
    else c->closing = 1, transmit(c, CLOSE, "\x03\xe8", 2); /* 1000: done */
}

static void finish(struct connection *c) {
    if (!c->closing) fail("a connection was closed after %llu messages", messages);
    close(c->fd), c->fd = -1, alive--;
}

static void arrived(struct connection *c) { /* reads what is there and takes whole frames out of it */
    ssize_t count = recv(c->fd, c->in + c->have, sizeof c->in - c->have, MSG_DONTWAIT);
    size_t at = 0;
    if (count <= 0) return finish(c);
    for (c->have += count; c->fd >= 0 && c->have >= at + 2; ) {
        int opcode = c->in[at] ^ FINAL, length = c->in[at + 1];
        const unsigned char *payload = c->in + at + 2;
        if (length > PAYLOAD) fail("a frame that is masked or longer than %d bytes", PAYLOAD);
        if (c->have < at + 2 + length) break;
        at += 2 + length;
        if (opcode == TEXT && !c->closing) echoed(c, payload, length);
        else if (opcode == PING) transmit(c, PONG, payload, length);
        else if (opcode == CLOSE) finish(c);
        else fail("an unexpected frame: opcode byte %d", c->in[at - 2 - length]);
    }
    memmove(c->in, c->in + at, c->have -= at);
}

static void join(struct connection *c, struct sockaddr_in *address) { /* connects and shakes hands */
    char head[4096] = "";
    int one = 1, have = 0;
    ssize_t count;
    struct timeval patience = {PATIENCE_S, 0};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (void *)address, sizeof *address)) fail("connect: %m");
    if (send(c->fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) < 0) fail("handshake: %m");
    while (!strstr(head, "\r\n\r\n")) {
        count = recv(c->fd, head + have, sizeof head - 1 - have, 0);
        if (count <= 0) fail("no whole handshake: %.40s", head);
        have += count;
    }
    if (strncmp(head, "HTTP/1.1 101 ", 13) || !strstr(head, ACCEPT)) fail("not accepted: %.40s", head);
    memset(c->message, '.', PAYLOAD);
}

static double percentile(double share) { /* milliseconds: the upper edge of the bucket */
    unsigned long long wanted = messages * share, seen = 0;
    int i = 0;
    while (i < BUCKETS - 1 && (seen += latencies[i]) <= wanted) i++;
    return (i + 1) * BUCKET_US / 1e3;
}

int main(int argc, char **argv) {
    int i, ready, poller = epoll_create1(0), count = argc == 5 ? atoi(argv[3]) : 0;
    struct sockaddr_in address = {AF_INET, htons(argc > 1 ? atoi(argv[1]) : 0), {htonl(INADDR_LOOPBACK)}, {0}};
    struct epoll_event events[64];
    struct connection *all = calloc(count > 0 ? count : 1, sizeof *all);
    bytes = argc == 5 ? atoi(argv[4]) : 0;
    if (count < 1 || bytes < SERIAL || bytes > PAYLOAD)
        fail("usage: echo PORT SECONDS CONNECTIONS BYTES, of %d to %d bytes", SERIAL, PAYLOAD);
    for (i = 0; i < count; i++) {
        struct epoll_event event = {EPOLLIN, {.ptr = &all[i]}};
        join(&all[i], &address);
        epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    start = now(), end = start + atof(argv[2]), alive = count;
    for (i = 0; i < count; i++) next_message(&all[i], now());
    while (alive) {
        ready = epoll_wait(poller, events, 64, 1000);
        for (i = 0; i < ready; i++) arrived(events[i].data.ptr);
        if (now() > end + PATIENCE_S) fail("%d connections were not answered to the end", alive);
    }
    printf("messages %llu\nseconds %.6f\np99_ms %.2f\n", messages, last - start, percentile(0.99));
    return 0;
}
