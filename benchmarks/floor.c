/* The floor: what a GET or PUT of a whole object costs a client that does nothing else.
 *
 *     floor get|put PORT LANES SECONDS SIZE OBJECTS HEAD
 *
 * One thread, one epoll, LANES connections to 127.0.0.1, each with one request at a time. HEAD is the file with the
 * request's head; the six digits after the last "object-" in its first line count through OBJECTS. A body is received
 * into one buffer of a connection, or sent from one that all share. Warms up for a fifth of SECONDS, then prints
 * [CPU seconds, wall seconds, requests, peak RSS in KiB].
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, EVENTS = 128 };

struct lane {
    int fd;
    char *head;         /* of the request, with room for its number */
    size_t sent;        /* of head and body */
    char *room;         /* of the answer: its head, and what came with it */
    size_t filled;      /* of room */
    char *body;
    long long expected; /* of the answer's body; -1 while the head is not complete */
    long long got;
};

static struct sockaddr_in address;
static int putting, poller;
static size_t head_size, body_size, total, digits;
static char *payload;
static long objects, next_object;
static long long wanted; /* the length of an answer's body; -1 of a put's, which is small */

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void want(struct lane *l, int op, unsigned events)
{
    struct epoll_event e = {.events = events, .data.ptr = l};
    if (epoll_ctl(poller, op, l->fd, &e))
        fail("epoll_ctl");
}

/* Sends what is left of the request; asks to be woken only when the socket is full. */
static void push(struct lane *l, int waiting)
{
    while (l->sent < total) {
        struct iovec parts[2];
        int count = 0;
        if (l->sent < head_size)
            parts[count++] = (struct iovec){l->head + l->sent, head_size - l->sent};
        size_t done = l->sent > head_size ? l->sent - head_size : 0;
        if (body_size)
            parts[count++] = (struct iovec){payload + done, body_size - done};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(l->fd, &message, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                fail("sendmsg");
            if (!waiting)
                want(l, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        l->sent += (size_t)n;
    }
    if (waiting)
        want(l, EPOLL_CTL_MOD, EPOLLIN);
}

static void request(struct lane *l)
{
    long number = next_object++ % objects;
    for (int i = 5; i >= 0; i--, number /= 10)
        l->head[digits + (size_t)i] = (char)('0' + number % 10);
    l->sent = 0;
    l->filled = 0;
    l->expected = -1;
    l->got = 0;
    push(l, 0);
}

/* Reads the answer's head and moves what came of the body behind it. */
static void parse(struct lane *l)
{
    l->room[l->filled] = 0;
    char *end = strstr(l->room, "\r\n\r\n");
    if (!end) {
        if (l->filled == HEAD_MAX - 1)
            fail("the answer's head is too long");
        return;
    }
    if (strncmp(l->room, "HTTP/1.1 2", 10))
        fail(l->room);
    char *field = strcasestr(l->room, "\r\ncontent-length:");
    l->expected = field && field < end ? atoll(field + 17) : 0;
    if (wanted >= 0 ? l->expected != wanted : l->expected >= HEAD_MAX)
        fail("the answer's length");
    l->got = (long long)(l->filled - (size_t)(end + 4 - l->room));
    memcpy(l->body, end + 4, (size_t)l->got);
}

/* Takes what is there; 1 when an answer is complete. The first read takes the head and, of a small object, all. */
static int pull(struct lane *l, size_t size)
{
    ssize_t n = l->expected < 0 ? recv(l->fd, l->room + l->filled, HEAD_MAX - 1 - l->filled, 0)
                                : recv(l->fd, l->body + l->got, size - (size_t)l->got, 0);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        fail("the connection ended");
    if (l->expected >= 0) {
        l->got += n;
    } else {
        l->filled += (size_t)n;
        parse(l);
    }
    return l->expected >= 0 && l->got == l->expected;
}

/* Keeps every lane busy for so long, lets each finish what it has begun, and returns how many were answered. */
static long run(struct lane *lanes, long count, double seconds, size_t size)
{
    struct epoll_event events[EVENTS];
    double end = now() + seconds;
    long done = 0, busy = count;
    int stopping = 0;
    for (long i = 0; i < count; i++)
        request(&lanes[i]);
    while (busy) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct lane *l = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                push(l, 1);
            if (!(events[i].events & ~(unsigned)EPOLLOUT) || !pull(l, size))
                continue;
            done++;
            if (stopping)
                busy--;
            else
                request(l);
        }
        stopping = stopping || now() >= end;
    }
    return done;
}

/* In KiB. getrusage's peak would hold that of the process which started this one. */
static long peak(void)
{
    char line[256];
    long size = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "VmHWM:", 6))
            size = atol(line + 6);
    return size;
}

static void *memory(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        fail("malloc");
    memset(p, 'x', size);
    return p;
}

static size_t load(const char *path, char **text)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail(path);
    *text = memory(HEAD_MAX);
    size_t size = fread(*text, 1, HEAD_MAX - 1, file);
    (*text)[size] = 0;
    fclose(file);
    return size;
}

static void prepare(struct lane *l, const char *head, size_t size)
{
    int on = 1;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(l->fd, F_SETFL, O_NONBLOCK))
        fail("fcntl");
    want(l, EPOLL_CTL_ADD, EPOLLIN);
    l->head = memory(head_size);
    memcpy(l->head, head, head_size);
    l->room = memory(HEAD_MAX);
    /* An answer to a put, and an error, may have a small body. */
    l->body = memory(putting || size < HEAD_MAX ? HEAD_MAX : size);
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: floor get|put PORT LANES SECONDS SIZE OBJECTS HEAD\n");
        return 2;
    }
    putting = !strcmp(argv[1], "put");
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    long count = atol(argv[3]);
    double seconds = atof(argv[4]);
    size_t size = strtoull(argv[5], NULL, 10);
    objects = atol(argv[6]);
    char *head;
    head_size = load(argv[7], &head);
    char *found = strstr(head, "object-");
    if (!found || count < 1 || objects < 1)
        fail("the arguments");
    digits = (size_t)(found - head) + 7;
    body_size = putting ? size : 0;
    total = head_size + body_size;
    wanted = putting ? -1 : (long long)size;
    payload = memory(body_size);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct lane *lanes = calloc((size_t)count, sizeof *lanes);
    for (long i = 0; i < count; i++)
        prepare(&lanes[i], head, size);
    run(lanes, count, seconds / 5, size);
    double begin = now(), used = cpu();
    long done = run(lanes, count, seconds, size);
    printf("[%.6f, %.6f, %ld, %ld]\n", cpu() - used, now() - begin, done, peak());
    return 0;
}
