/* The floor: what the kernel alone costs a request. One epoll loop, one fixed answer: floor PORT.
 * It parses nothing: a blank line ends a request, also when it comes in pieces. "Connection: close" is looked
 * for in one read at a time, which is enough for wrk, whose requests are one write each. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#define HEAD "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 13\r\n"
#define ANSWER HEAD "\r\nHello, world!"
#define LAST HEAD "connection: close\r\n\r\nHello, world!"
enum { EVENTS = 256, DESCRIPTORS = 65536, BATCH = 64 }; /* BATCH: answers a write */
static char seen[DESCRIPTORS], answers[BATCH * sizeof ANSWER]; /* seen: bytes of the blank line, by descriptor */

static int serve(int fd) { /* answers what arrived; 0: close the connection */
    char buffer[16384];
    ssize_t count = recv(fd, buffer, sizeof buffer, 0), i;
    int requests = 0, some;
    for (i = 0; i < count; i++) {
        seen[fd] = buffer[i] == "\r\n\r\n"[(int)seen[fd]] ? seen[fd] + 1 : buffer[i] == '\r';
        if (seen[fd] == 4) requests++, seen[fd] = 0;
    }
    if (requests && memmem(buffer, count, "Connection: close", 17)) return send(fd, LAST, sizeof LAST - 1, MSG_NOSIGNAL), 0;
    for (; requests > 0; requests -= some) {
        some = requests < BATCH ? requests : BATCH;
        if (send(fd, answers, some * (sizeof ANSWER - 1), MSG_NOSIGNAL) < 0) return 0;
    }
    return count > 0;
}

int main(int argc, char **argv) {
    int one = 1, fd, i, ready, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
    struct sockaddr_in address = {AF_INET, htons(argc > 1 ? atoi(argv[1]) : 0), {htonl(INADDR_LOOPBACK)}, {0}};
    struct epoll_event event = {EPOLLIN, {.fd = listener}}, events[EVENTS];
    for (i = 0; i < BATCH; i++) strcat(answers, ANSWER);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 2048)) return 1;
    for (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);;) {
        for (i = 0, ready = epoll_wait(poller, events, EVENTS, -1); i < ready; i++) {
            if ((fd = events[i].data.fd) != listener) {
                if (!serve(fd)) close(fd);
            } else while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0 && fd < DESCRIPTORS) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                seen[fd] = 0;
                event = (struct epoll_event){EPOLLIN, {.fd = fd}};
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
