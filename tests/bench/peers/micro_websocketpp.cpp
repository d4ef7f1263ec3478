// micro_websocketpp.cpp - websocketpp's masking, UTF-8 check and parser; see
// ../micro.h.
#include <websocketpp/config/core.hpp>
#include <websocketpp/processors/hybi13.hpp>

#include "../micro.h"

typedef websocketpp::config::core config;

static void mask(size_t n)
{
    websocketpp::frame::masking_key_type key;
    key.i = 0x3D21FA37;
    websocketpp::frame::word_mask_exact(in, out, n, key);
}

static void utf8(size_t n)
{
    websocketpp::utf8_validator::validator v;
    if (!v.decode(in, in + n) || !v.complete()) die("refused");
}

static void parse(size_t n)
{
    static config::con_msg_manager_type::ptr manager(
        new config::con_msg_manager_type());
    static config::rng_type random;
    static websocketpp::processor::hybi13<config> parser(false, true, manager,
                                                         random);
    size_t at = 0, got = 0;
    websocketpp::lib::error_code e;
    while (at < n && !e) {
        at += parser.consume(in + at, n - at, e);
        if (parser.ready() && parser.get_message()) got++;
    }
    if (e || got != frames) die("not all were read");
}

int main()
{
    rates("websocketpp", mask, utf8);
    parse_rows("websocketpp", parse);
}
