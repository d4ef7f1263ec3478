#!/bin/sh
# Runs Autobahn's test suite, sections 1 to 10, against the two echo programs.
#
#     autobahn.sh ECHO_SERVER ECHO_CLIENT [DIRECTORY]
#
# Needs `wstest`; says that it skips when there is none.  The reports go to
# DIRECTORY (a new one, removed at the end, by default).
set -u

if [ $# -lt 2 ]; then
    echo "usage: autobahn.sh ECHO_SERVER ECHO_CLIENT [DIRECTORY]" >&2
    exit 2
fi
server=$1
client=$2
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}

if ! command -v wstest >/dev/null 2>&1; then
    echo "SKIP autobahn: wstest is not installed"
    echo "autobahn: 0 passed, 0 failed, 1 skipped"
    exit 0
fi

if [ $# -gt 2 ]; then
    work=$3
    rm -rf "$work/of-server" "$work/of-client" # no old report is read
    mkdir -p "$work" || exit 1
    temporary=
else
    work=$(mktemp -d)
    temporary=$work
fi
started=
clean() {
    for pid in $started; do
        kill "$pid" 2>/dev/null
    done
    wait
    if [ -n "$temporary" ]; then rm -rf "$temporary"; fi
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cases='["1.*","2.*","3.*","4.*","5.*","6.*","7.*","9.*","10.*"]'

# The server, tried by the fuzzing client.
: >"$work/server.out"
"$server" --port 0 >"$work/server.out" 2>"$work/server.err" &
started="$started $!"
tries=0
until grep -q 'ws://' "$work/server.out"; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then
        echo "FAIL autobahn: the server does not listen"
        echo "autobahn: 0 passed, 1 failed, 0 skipped"
        exit 1
    fi
    sleep 0.1
done
url=$(sed -n 's|.*\(ws://[^/ ]*\).*|\1|p' "$work/server.out" | head -n 1)
cat >"$work/client.json" <<END
{"outdir": "$work/of-server", "cases": $cases, "exclude-cases": [],
 "exclude-agent-cases": {},
 "servers": [{"agent": "wsock-server", "url": "$url"}]}
END
wstest -m fuzzingclient -s "$work/client.json" >"$work/client.log" 2>&1

# The client, tried by the fuzzing server.
port=$("$python" -c '
import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
base=ws://127.0.0.1:$port
cat >"$work/server.json" <<END
{"outdir": "$work/of-client", "cases": $cases, "exclude-cases": [],
 "exclude-agent-cases": {}, "url": "$base"}
END
wstest -m fuzzingserver -s "$work/server.json" >"$work/server.log" 2>&1 &
started="$started $!"
count=$("$python" -c '
import os, socket, sys, time
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import base64
from wire import Peer, read_head
port = int(sys.argv[2])
for _ in range(100):
    try:
        sock = socket.create_connection(("127.0.0.1", port), 10)
        break
    except OSError:
        time.sleep(0.1)
peer = Peer(sock, "client")
key = base64.b64encode(os.urandom(16))
peer.send(b"GET /getCaseCount HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
          b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
          b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"
          % (port, key))
read_head(peer, "a 101 response")
print(peer.read_message("the count")[1].decode())
' "$here" "$port")
crashed=0
n=1
while [ "$n" -le "${count:-0}" ]; do
    "$client" "$base/runCase?case=$n&agent=wsock-client" \
        >/dev/null 2>"$work/run.err"
    status=$?
    if [ $status -gt 1 ]; then
        echo "FAIL autobahn: run $n of the client ended with $status"
        cat "$work/run.err"
        crashed=$((crashed + 1))
    fi
    n=$((n + 1))
done
"$client" "$base/updateReports?agent=wsock-client" >/dev/null 2>&1

"$python" - "$work" "$crashed" <<'END'
import json
import os
import sys

passed, failed = 0, int(sys.argv[2])
for name in ("server", "client"):
    path = os.path.join(sys.argv[1], "of-" + name, "index.json")
    try:
        with open(path) as f:
            cases = json.load(f)["wsock-" + name]
    except (OSError, KeyError, ValueError) as e:
        print("FAIL autobahn: no report of the %s: %s" % (name, e))
        failed += 1
        continue
    if len(cases) < 300:
        # Sections 1 to 10 are 301 cases; a run that stopped early is none.
        print("FAIL autobahn: only %d cases of the %s" % (len(cases), name))
        failed += 1
    order = sorted(cases, key=lambda c: [int(n) for n in c.split(".")])
    for case in order:
        both = (cases[case]["behavior"], cases[case]["behaviorClose"])
        if (both[0] in ("OK", "INFORMATIONAL")
                and both[1] in ("OK", "INFORMATIONAL")):
            passed += 1
        else:
            failed += 1
            print("FAIL autobahn: %s of the %s: %s, close %s" % (
                (case, name) + both))
print("autobahn: %d passed, %d failed, 0 skipped" % (passed, failed))
sys.exit(1 if failed else 0)
END
