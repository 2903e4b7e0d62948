# The same under valgrind: no error and no leak. Needs the build without sanitizers.
. "$(dirname "$0")/lib.sh"

if ! command -v valgrind >/dev/null; then
    echo "valgrind is missing"
    exit 1
fi
RETRO="valgrind -q --leak-check=full --error-exitcode=99 build/retro"
$FAKE file "$T/a.log" commits=300
for look in info verify stats dump console "info --json" "stats --json" "dump --json"; do
    expect 0 $RETRO $look "$T/a.log"
done
head -c 1000 "$T/a.log" >"$T/cut.log"
for look in info verify stats dump console; do
    expect 4 $RETRO $look "$T/cut.log"
done
# Logs that are wrong: golden ones that must fail, an aborted one, and garbage.
$FAKE file "$T/dead.log" commits=50 end=abort
head -c 3000 /dev/urandom >"$T/garbage.log"
: >"$T/empty.log"
for log in test/golden/bad-damaged.golden test/golden/bad-events.golden "$T/dead.log" "$T/garbage.log" "$T/empty.log"; do
    for look in verify "info --json" "dump --json"; do
        code=0
        $RETRO $look "$log" >"$T/out" 2>"$T/err" || code=$?
        case $code in
        3 | 4) ;;
        0) [ "$log" = "$T/dead.log" ] ;;
        *) echo "$look $log: exit code $code"; cat "$T/err"; exit 1 ;;
        esac
    done
done
expect 0 $RETRO diff --json "$T/a.log" "$T/a.log"
expect 3 $RETRO replay test/golden/bad-damaged.golden --guest test/tool/run
for wrong in "collect tcp:127.0.0.1:99999999 -o $T/x.log" "collect listen:-1 -o $T/x.log" "collect tcp::: -o $T/x.log" \
    "collect unix: -o $T/x.log" "dump --from x $T/a.log" "record --vcpus 99"; do
    code=0
    $RETRO $wrong >"$T/out" 2>"$T/err" </dev/null || code=$?
    case $code in
    1 | 8) ;;
    *) echo "$wrong: exit code $code"; cat "$T/err"; exit 1 ;;
    esac
done
start_fake commits=300 noise=1
expect 0 $RETRO collect --json "tcp:127.0.0.1:$port" -o "$T/b.log"
cmp "$T/a.log" "$T/b.log"
start_fake commits=300 lossy=1 end=abort status=divergence
expect 2 $RETRO collect "tcp:127.0.0.1:$port" -o "$T/c.log"
