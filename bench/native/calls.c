/* Counts system calls where nobody may trace: preloaded into the gateway, it writes a line for each call
 * that goes through the C library, as strace does. Calls that no request makes are not looked at.
 * The file is named by VOIDLLM_CALLS; it is written with bare system calls, which are not counted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int out = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("VOIDLLM_CALLS");
    if (path)
        out = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(const char *name, long result)
{
    int before = errno;
    char line[96];
    int length = snprintf(line, sizeof line, "%ld %s() = %ld\n", (long)syscall(SYS_gettid), name, result);
    if (out >= 0 && syscall(SYS_write, out, line, (size_t)length) < 0)
        out = -1;
    errno = before;
}

#define COUNTED(type, name, shown, parameters, arguments)                                                  \
    type name parameters                                                                                   \
    {                                                                                                      \
        static type(*real) parameters;                                                                     \
        if (!real)                                                                                         \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                                     \
        type result = real arguments;                                                                      \
        note(shown, (long)result);                                                                         \
        return result;                                                                                     \
    }

COUNTED(ssize_t, recv, "recvfrom", (int fd, void *to, size_t n, int flags), (fd, to, n, flags))
COUNTED(ssize_t, recvmsg, "recvmsg", (int fd, struct msghdr *m, int flags), (fd, m, flags))
COUNTED(ssize_t, read, "read", (int fd, void *to, size_t n), (fd, to, n))
COUNTED(ssize_t, pread64, "pread64", (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
COUNTED(ssize_t, send, "sendto", (int fd, const void *from, size_t n, int flags), (fd, from, n, flags))
COUNTED(ssize_t, sendmsg, "sendmsg", (int fd, const struct msghdr *m, int flags), (fd, m, flags))
COUNTED(ssize_t, write, "write", (int fd, const void *from, size_t n), (fd, from, n))
COUNTED(ssize_t, writev, "writev", (int fd, const struct iovec *from, int n), (fd, from, n))
COUNTED(int, poll, "poll", (struct pollfd *fds, nfds_t n, int ms), (fds, n, ms))
COUNTED(int, epoll_wait, "epoll_wait", (int fd, struct epoll_event *to, int n, int ms), (fd, to, n, ms))
COUNTED(int, epoll_ctl, "epoll_ctl", (int fd, int what, int of, struct epoll_event *e), (fd, what, of, e))
COUNTED(int, socket, "socket", (int family, int type, int protocol), (family, type, protocol))
COUNTED(int, connect, "connect", (int fd, const struct sockaddr *to, socklen_t n), (fd, to, n))
COUNTED(int, setsockopt, "setsockopt", (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
COUNTED(int, getsockopt, "getsockopt", (int fd, int l, int o, void *v, socklen_t *n), (fd, l, o, v, n))
COUNTED(int, shutdown, "shutdown", (int fd, int how), (fd, how))
COUNTED(int, close, "close", (int fd), (fd))
COUNTED(int, fsync, "fsync", (int fd), (fd))
COUNTED(int, fdatasync, "fdatasync", (int fd), (fd))
COUNTED(ssize_t, getrandom, "getrandom", (void *to, size_t n, unsigned flags), (to, n, flags))
