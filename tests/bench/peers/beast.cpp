// beast.cpp - an echo server, or with "fanout" a broadcast, by Boost.Beast:
// after its own example websocket_server_fast.cpp, on one thread.
#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <string>

namespace beast = boost::beast;
namespace ws = beast::websocket;
namespace net = boost::asio;
using tcp = net::ip::tcp;
using error = beast::error_code;
// Sockets that know their loop's type: asio's default hides it.
using socket_type =
    net::basic_stream_socket<tcp, net::io_context::executor_type>;
using acceptor_type =
    net::basic_socket_acceptor<tcp, net::io_context::executor_type>;
using shared = std::shared_ptr<std::string const>;

static bool fanout;

class session;
static std::set<session *> sessions;

class session : public std::enable_shared_from_this<session> {
    ws::stream<socket_type> stream;
    beast::flat_buffer buffer;
    std::deque<shared> queue; // fan-out only

public:
    explicit session(socket_type socket) : stream(std::move(socket))
    {
        stream.next_layer().set_option(tcp::no_delay(true));
        stream.read_message_max(0);
        stream.auto_fragment(false);
    }
    ~session() { sessions.erase(this); }

    void run()
    {
        auto self = shared_from_this();
        stream.async_accept([self](error e) {
            if (e) return;
            sessions.insert(self.get());
            self->read();
        });
    }

    void read()
    {
        auto self = shared_from_this();
        stream.async_read(buffer, [self](error e, std::size_t) {
            if (!e) self->on_message();
        });
    }

    void on_message()
    {
        stream.text(stream.got_text());
        if (fanout) {
            auto text = std::make_shared<std::string const>(
                beast::buffers_to_string(buffer.data()));
            buffer.consume(buffer.size());
            for (auto *s : sessions) s->send(text);
            read();
            return;
        }
        auto self = shared_from_this();
        stream.async_write(buffer.data(), [self](error e, std::size_t n) {
            self->buffer.consume(n);
            if (!e) self->read();
        });
    }

    void send(shared const &text)
    {
        queue.push_back(text);
        if (queue.size() == 1) write();
    }

    void write()
    {
        auto self = shared_from_this();
        stream.binary(true);
        stream.async_write(net::buffer(*queue.front()),
                           [self](error e, std::size_t) {
                               if (e) return;
                               self->queue.pop_front();
                               if (!self->queue.empty()) self->write();
                           });
    }
};

static void accept(acceptor_type &acceptor)
{
    acceptor.async_accept([&](error e, socket_type socket) {
        if (!e) std::make_shared<session>(std::move(socket))->run();
        accept(acceptor);
    });
}

int main(int argc, char **argv)
{
    fanout = argc > 1 && std::strcmp(argv[1], "fanout") == 0;
    net::io_context loop{1};
    tcp::endpoint any{net::ip::address_v4::loopback(), 0};
    acceptor_type acceptor{loop, any};
    std::printf("ws://127.0.0.1:%d/\n", acceptor.local_endpoint().port());
    std::fflush(stdout);
    accept(acceptor);
    loop.run();
}
