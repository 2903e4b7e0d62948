# Collection over TCP, as client and listener, over a pty and a Unix socket; with damage on the line.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/want.log" commits=2000

start_fake commits=2000 noise=1
expect 0 $RETRO collect "tcp:127.0.0.1:$port" -o "$T/tcp.log" --console "$T/console"
cmp "$T/want.log" "$T/tcp.log"
[ "$(head -n 1 "$T/out")" = "guest: hello" ]
cmp "$T/out" "$T/console"
said err '^\[hv\] end status=ok$'
[ "$(grep -c 'end status' "$T/err")" = 1 ]
lacks err SeaBIOS

# An existing log is not overwritten by chance.
start_fake commits=2000
expect 1 $RETRO collect "tcp:127.0.0.1:$port" -o "$T/tcp.log"
said err "--append"
cmp "$T/want.log" "$T/tcp.log"
expect 0 $RETRO collect "tcp:127.0.0.1:$port" -v --json --force -o "$T/tcp.log"
cmp "$T/want.log" "$T/tcp.log"
python3 -c 'import json,sys; o=json.load(open(sys.argv[1])); assert o["verdict"]=="ok" and o["trailer"]["commits"]==2000' "$T/out"

# A line that harms bytes both ways.
$FAKE file "$T/want2.log" commits=1000 seed=5
start_fake commits=1000 seed=5 lossy=1 noise=1
expect 0 $RETRO collect "tcp:127.0.0.1:$port" -v -o "$T/lossy.log"
cmp "$T/want2.log" "$T/lossy.log"
said err SeaBIOS

# As listener.
$RETRO collect listen:0 -o "$T/listen.log" >"$T/listen.out" 2>"$T/listen.err" &
collector=$!
wait_for grep -q listening "$T/listen.err"
$FAKE connect "$(sed -n 's/.*127.0.0.1:\([0-9]*\).*/\1/p' "$T/listen.err")" commits=2000
wait $collector
cmp "$T/want.log" "$T/listen.log"

# A terminal and a Unix socket.
start_fake_pty commits=2000 hang=1
expect 0 $RETRO collect --baud 115200 "$tty" -o "$T/pty.log"
cmp "$T/want.log" "$T/pty.log"
$FAKE unix "$T/socket" commits=2000 &
wait_for test -S "$T/socket"
expect 1 $RETRO collect "$T/socket" -o "$T/unix.log"
expect 0 $RETRO collect "unix:$T/socket" -o "$T/unix.log"
cmp "$T/want.log" "$T/unix.log"

# A capture of such a line, with frames sent twice.
start_fake commits=2000 noise=1
python3 - "$port" "$T/peer" <<'END' &
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
open(sys.argv[2], "w").write(str(listener.getsockname()[1]))
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
peer = listener.accept()[0]
import select
with open(sys.argv[2] + ".raw", "wb") as capture:
    while True:
        for ready in select.select([line, peer], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                sys.exit()
            (peer if ready is line else line).sendall(data)
            if ready is line:
                capture.write(data)
END
wait_for test -s "$T/peer"
expect 0 $RETRO collect "tcp:127.0.0.1:$(cat "$T/peer")" -o "$T/tapped.log"
wait_for test -s "$T/peer.raw"
sleep 0.2
cat "$T/peer.raw" "$T/peer.raw" >"$T/twice.raw"
expect 0 $RETRO collect -v "$T/twice.raw" -o "$T/capture.log"
cmp "$T/want.log" "$T/capture.log"
said err SeaBIOS
head -c 5000 "$T/peer.raw" >"$T/cut.raw"
expect 4 $RETRO collect "$T/cut.raw" -o "$T/cut.log"
cmp -n "$(stat -c %s "$T/cut.log")" "$T/want.log" "$T/cut.log"

# What cannot be opened.
expect 8 $RETRO collect tcp:127.0.0.1:1 -o "$T/x.log"
expect 8 $RETRO collect "$T/nothing" -o "$T/x.log"
expect 1 $RETRO collect tcp:nowhere -o "$T/x.log"
expect 1 $RETRO collect --baud 17 "$T/want.log" -o "$T/x.log"
expect 1 $RETRO collect "$T/want.log"
start_fake
expect 8 $RETRO collect "tcp:127.0.0.1:$port" -o "$T/no/such/dir.log"
start_fake
expect 8 $RETRO collect "tcp:127.0.0.1:$port" -o /dev/full
