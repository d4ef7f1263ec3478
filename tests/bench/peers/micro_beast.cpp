// micro_beast.cpp - Beast's own masking and UTF-8 check; see ../micro.h.  Its
// parser cannot be called without a stream.
#include <boost/beast.hpp>

#include "../micro.h"

namespace detail = boost::beast::websocket::detail;

static void mask(size_t n)
{
    detail::prepared_key key;
    detail::prepare_key(key, 0x3D21FA37u);
    detail::mask_inplace(boost::asio::mutable_buffer(out, n), key);
}

static void utf8(size_t n)
{
    detail::utf8_checker checker;
    if (!checker.write(in, n) || !checker.finish()) die("refused");
}

int main()
{
    rates("beast", mask, utf8);
    (void)parse_rows;
}
