// beast_pingpong.cpp - what ../pingpong.c measures, by Boost.Beast's blocking
// calls: beast_pingpong SIZE SECONDS.
#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace beast = boost::beast;
namespace net = boost::asio;
using tcp = net::ip::tcp;
using stream = beast::websocket::stream<tcp::socket>;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

static void prepare(stream &s)
{
    s.next_layer().set_option(tcp::no_delay(true));
    s.auto_fragment(false);
    s.binary(true);
}

static void serve(tcp::acceptor &acceptor, net::io_context &loop)
{
    stream s{loop};
    acceptor.accept(s.next_layer());
    prepare(s);
    s.accept();
    beast::flat_buffer buffer;
    for (;;) {
        s.read(buffer);
        s.write(buffer.data());
        buffer.clear();
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    std::string out(std::strtoul(argv[1], nullptr, 10), 'a');
    net::io_context loop{1};
    tcp::acceptor acceptor{loop, {net::ip::address_v4::loopback(), 0}};
    auto pid = fork();
    if (pid == 0) serve(acceptor, loop);
    stream s{loop};
    s.next_layer().connect(acceptor.local_endpoint());
    prepare(s);
    s.handshake("127.0.0.1", "/");
    beast::flat_buffer buffer;
    clockid_t theirs;
    clock_getcpuclockid(pid, &theirs);
    double since = seconds(CLOCK_MONOTONIC);
    double used = seconds(theirs) + seconds(CLOCK_PROCESS_CPUTIME_ID);
    unsigned long n = 0;
    for (; seconds(CLOCK_MONOTONIC) < since + std::atof(argv[2]); n++) {
        s.write(net::buffer(out));
        buffer.clear();
        s.read(buffer);
        if (buffer.size() != out.size()) return 1;
    }
    used = seconds(theirs) + seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    std::printf("%lu %.6f %.9f\n", n, seconds(CLOCK_MONOTONIC) - since, used);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
}
