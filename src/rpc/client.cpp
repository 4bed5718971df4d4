#include "client.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>

#include "ggml-rpc.h"

namespace {

using Clock = std::chrono::steady_clock;

// Enough for a connection across continents; too short for nobody to be sorry about.
constexpr std::chrono::seconds to_connect{ 5 };
constexpr std::chrono::seconds to_greet{ 5 };
// A server's kernel acknowledges at once, also while the server computes: silence for so long means that it is gone.
constexpr uint32_t silence_ms = 20000;
// So often somebody looks.
constexpr timeval tick{ 1, 0 };

// The connection that this thread makes: made and greeted in one go, by one thread.
thread_local int               greeting_fd = -1;
thread_local Clock::time_point greeting_until;
thread_local bool              greeting_late = false;
thread_local std::string       reason;

void set(int fd, int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof(value));
}

// Probes a connection that is idle for 5 seconds; without an answer to 3 of them it has ended.
void keep_alive(int fd) {
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

// 0, or errno.
int connect_within(int fd, const sockaddr * address, size_t size, std::chrono::seconds limit) {
    const int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    if (connect(fd, address, static_cast<socklen_t>(size)) != 0) {
        if (errno != EINPROGRESS) {
            return errno;
        }
        const Clock::time_point until = Clock::now() + limit;
        for (;;) {
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
            pollfd     poller{ fd, POLLOUT, 0 };
            const int  ready = left <= 0 ? 0 : poll(&poller, 1, static_cast<int>(left));
            if (ready == 0) {
                return ETIMEDOUT;
            }
            if (ready > 0) {
                break;
            }
            if (errno != EINTR) {
                return errno;
            }
        }
        int       error  = 0;
        socklen_t length = sizeof(error);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0) {
            return error;
        }
    }
    fcntl(fd, F_SETFL, flags);
    return 0;
}

}  // namespace

int smith_rpc_dial(int fd, const sockaddr * address, size_t size) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);  // a child that inherits it would keep the server busy
    const int error = connect_within(fd, address, size, to_connect);
    if (error != 0) {
        reason = error == ECONNREFUSED ? "nobody listens there" :
                 error == ETIMEDOUT    ? "no answer within " + std::to_string(to_connect.count()) + " s" :
                                         std::strerror(error);
        close(fd);
        return -1;
    }
    keep_alive(fd);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tick, sizeof(tick));
    greeting_fd    = fd;
    greeting_until = Clock::now() + to_greet;
    greeting_late  = false;
    return 0;
}

void smith_rpc_greeted(void) {
    greeting_fd = -1;
    reason      = "it greets, and then ends the connection";  // unless all goes well
}

void smith_rpc_not_greeted(const uint8_t * answered) {
    greeting_fd = -1;
    char ours[64];
    std::snprintf(ours, sizeof(ours), "%d.%d.%d", RPC_PROTO_MAJOR_VERSION, RPC_PROTO_MINOR_VERSION,
                  RPC_PROTO_PATCH_VERSION);
    if (answered != nullptr) {
        char theirs[64];
        std::snprintf(theirs, sizeof(theirs), "%d.%d.%d", answered[0], answered[1], answered[2]);
        reason = std::string("it speaks version ") + theirs + " of the protocol, this client " + ours +
                 ": run the same version of llamasmith on both machines";
    } else if (greeting_late) {
        reason = "it accepts the connection but does not greet within " + std::to_string(to_greet.count()) +
                 " s: it serves another client (one at a time), or is no RPC server";
    } else {
        reason = std::string("what answers there is no RPC server of protocol version ") + ours +
                 ": another program, or another version of llama.cpp";
    }
}

bool smith_rpc_go_on(int fd) {
    if (errno == EINTR) {
        return true;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
        return false;
    }
    if (fd == greeting_fd) {
        greeting_late = Clock::now() >= greeting_until;
        return !greeting_late;
    }
    // Idle, keep-alive probes find out. With data under way there are none, and the system would try for 15 minutes.
    tcp_info  info{};
    socklen_t length = sizeof(info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || info.tcpi_unacked == 0 ||
           info.tcpi_last_ack_recv < silence_ms;
}

void smith_rpc_watch(int fd) {
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    keep_alive(fd);
}

void smith_rpc_stand_in(int cmd, void * output, size_t size) {
    // Upstream's enum rpc_cmd: numbers of the wire, which only a new version of the protocol may change.
    enum { GET_ALIGNMENT = 1, GET_MAX_SIZE = 2, BUFFER_GET_BASE = 3 };
    if (output == nullptr) {
        return;
    }
    std::memset(output, 0, size);  // a buffer of number 0 is one that could not be had
    const uint64_t value = cmd == GET_ALIGNMENT   ? 128 :  // it divides by this
                           cmd == GET_MAX_SIZE    ? UINT64_MAX :
                           cmd == BUFFER_GET_BASE ? 4096 :  // addresses of a server: never followed here
                                                    0;
    if (value != 0 && size == sizeof(value)) {
        std::memcpy(output, &value, sizeof(value));
    }
}

const char * smith_rpc_why(void) {
    return reason.c_str();
}
