// websocketpp.cpp - an echo server, or with "fanout" a broadcast, by
// websocketpp over Boost.Asio: no logging, no locks, one thread.
#include <websocketpp/concurrency/none.hpp>
#include <websocketpp/config/asio_no_tls.hpp>
#include <websocketpp/logger/stub.hpp>
#include <websocketpp/server.hpp>

#include <cstdio>
#include <cstring>
#include <set>

struct config : websocketpp::config::asio {
    typedef config type;
    typedef websocketpp::config::asio base;
    typedef websocketpp::concurrency::none concurrency_type;
    typedef websocketpp::log::stub elog_type;
    typedef websocketpp::log::stub alog_type;
    typedef base::request_type request_type;
    typedef base::response_type response_type;
    struct transport_config : base::transport_config {
        typedef type::concurrency_type concurrency_type;
        typedef type::alog_type alog_type;
        typedef type::elog_type elog_type;
        typedef type::request_type request_type;
        typedef type::response_type response_type;
        static bool const enable_multithreading = false;
    };
    typedef websocketpp::transport::asio::endpoint<transport_config>
        transport_type;
    static const size_t max_message_size = 1u << 30;
};

typedef websocketpp::server<config> server;
typedef websocketpp::connection_hdl handle;

int main(int argc, char **argv)
{
    bool fanout = argc > 1 && std::strcmp(argv[1], "fanout") == 0;
    std::set<handle, std::owner_less<handle>> all;
    server s;
    s.init_asio();
    s.set_tcp_post_init_handler([&](handle h) {
        s.get_con_from_hdl(h)->get_raw_socket().set_option(
            boost::asio::ip::tcp::no_delay(true));
    });
    s.set_open_handler([&](handle h) { all.insert(h); });
    s.set_close_handler([&](handle h) { all.erase(h); });
    s.set_message_handler([&](handle h, server::message_ptr m) {
        websocketpp::lib::error_code e;
        if (fanout)
            for (auto &each : all) s.send(each, m, e);
        else
            s.send(h, m, e);
    });
    s.set_listen_backlog(1024);
    s.listen(boost::asio::ip::tcp::endpoint(
        boost::asio::ip::address_v4::loopback(), 0));
    s.start_accept();
    websocketpp::lib::asio::error_code e;
    std::printf("ws://127.0.0.1:%d/\n", s.get_local_endpoint(e).port());
    std::fflush(stdout);
    s.run();
}
