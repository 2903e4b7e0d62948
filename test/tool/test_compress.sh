# Compressed logs: read like plain ones, also when cut; damage and bombs are named.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/a.log" commits=150000
expect 0 $RETRO compress "$T/a.log"
said err 'a.log: [0-9]+ bytes, .*a.log.zst: [0-9]+ bytes'
[ "$(stat -c %s "$T/a.log.zst")" -lt "$(stat -c %s "$T/a.log")" ]
cp "$T/a.log" "$T/want.log"
rm "$T/a.log"
expect 0 $RETRO decompress "$T/a.log.zst"
cmp "$T/want.log" "$T/a.log"

# Whatever reads a log says the same of both, but for names and file sizes.
for look in info "info --json" verify "verify" stats "stats --json" "dump --from 70 --to 90" "dump --json" console; do
    # shellcheck disable=SC2086 # words
    expect 0 $RETRO $look "$T/a.log"
    sed "s/a\.log//; s/\"file_bytes\":[0-9]*//" "$T/out" >"$T/plain"
    # shellcheck disable=SC2086
    expect 0 $RETRO $look "$T/a.log.zst"
    sed "s/a\.log\.zst//; s/\"file_bytes\":[0-9]*//; /^compressed /d" "$T/out" | cmp - "$T/plain"
done
expect 0 $RETRO info "$T/a.log.zst"
said out '^compressed +[0-9]+ bytes, [0-9.]+%$'
expect 0 $RETRO diff "$T/a.log" "$T/a.log.zst"
make_home
FAKE_WORDS="report=1 commits=150000"
expect 0 $RETRO replay --home "$home" --guest "$home/guest file=1.elf" "$T/a.log.zst"
said err 'equal: 150000 commits'
[ -z "$(ls "$T/tmp")" ]

# Cut anywhere: up to its last whole frame, and a prefix of the log.
size=$(stat -c %s "$T/a.log.zst")
for at in $((size / 3)) $((size / 2)) $((size - 1)) 7; do
    head -c "$at" "$T/a.log.zst" >"$T/cut.zst"
    expect 4 $RETRO verify "$T/cut.zst"
    said err 'the last of its compressed frames is not all there'
    rm -f "$T/cut.log"
    expect 4 $RETRO decompress "$T/cut.zst" -o "$T/cut.log"
    [ "$at" = 7 ] || at_least "$T/cut.log" 200000
    cmp -n "$(stat -c %s "$T/cut.log")" "$T/want.log" "$T/cut.log"
    [ "$at" = 7 ] || expect 4 $RETRO verify "$T/cut.log"
done

# Damaged: the frame is named, those before it count.
for at in $((size / 2)) $((size - 30)); do
    cp "$T/a.log.zst" "$T/harmed.zst"
    printf '\251\252\253' | dd of="$T/harmed.zst" bs=1 seek="$at" conv=notrunc 2>/dev/null
    for look in verify info stats console; do
        expect 3 $RETRO $look "$T/harmed.zst"
        said err 'compressed frame [0-9]+ at offset [0-9]+: '
        said err 'usable are [0-9]{6,} bytes, up to commit [0-9]+'
    done
    rm -f "$T/harmed.log"
    expect 3 $RETRO decompress "$T/harmed.zst" -o "$T/harmed.log"
    cmp -n "$(stat -c %s "$T/harmed.log")" "$T/want.log" "$T/harmed.log"
    expect 3 $RETRO replay --home "$home" --guest "$home/guest file=1.elf" "$T/harmed.zst"
done
{ cat "$T/a.log.zst"; echo rubbish; } >"$T/longer.zst"
for look in verify info stats console "dump --from 1 --to 2"; do
    # shellcheck disable=SC2086 # words
    expect 3 $RETRO $look "$T/longer.zst"
done
expect 3 $RETRO info --json "$T/longer.zst"
said out '"state":"damaged"'
for seed in 1 2 3 4 5 6 7 8; do
    python3 - "$T/a.log.zst" "$T/random.zst" $seed <<'END'
import random, sys
random.seed(int(sys.argv[3]))
data = bytearray(open(sys.argv[1], "rb").read())
for _ in range(5):
    data[random.randrange(4, len(data))] ^= 1 << random.randrange(8)
open(sys.argv[2], "wb").write(data)
END
    expect 3 $RETRO verify "$T/random.zst"
done

# A bomb: 256 MiB of zeros in a few KB (RFC 8878: a frame without size or checksum, RLE blocks of 128 KiB).
python3 - "$T/bomb.zst" <<'END'
import sys
size = 128 << 10
frame = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x78" # window of 32 MiB
blocks = b"".join((size << 3 | 1 << 1 | (n == 2047)).to_bytes(3, "little") + b"\0" for n in range(2048))
open(sys.argv[1], "wb").write(frame + blocks)
END
expect 3 $RETRO info "$T/bomb.zst"
said err 'expands to more than a log of this size can'
expect 3 $RETRO decompress "$T/bomb.zst"
[ ! -s "$T/bomb" ]

# What the reader would take for a bomb is not made.
truncate -s 80M "$T/zeros"
expect 1 $RETRO compress --level 1 "$T/zeros"
said err 'shrinks more than a log can'
[ ! -e "$T/zeros.zst" ]
rm "$T/zeros"

# --force replaces only by what is whole: not by what is left of a log, not on a full disk, not a file by itself.
cp "$T/want.log" "$T/keep.log"
for input in harmed cut; do
    code=0
    $RETRO decompress --force "$T/$input.zst" -o "$T/keep.log" 2>"$T/err" || code=$?
    [ "$code" = 3 ] || [ "$code" = 4 ]
    said err 'keep.log is left as it was'
    cmp "$T/want.log" "$T/keep.log"
done
(
    ulimit -f 8
    trap '' XFSZ
    expect 8 $RETRO decompress --force "$T/a.log.zst" -o "$T/keep.log" 2>/dev/null
) || { echo "a full disk is not told"; exit 1; }
cmp "$T/want.log" "$T/keep.log"
expect 1 $RETRO decompress --force "$T/keep.log" -o "$T/keep.log"
expect 1 $RETRO compress --force "$T/keep.log" -o "$T/keep.log"
said err 'is the log itself'
cp "$T/want.log" "$T/keep.zst"
expect 1 $RETRO decompress --force "$T/keep.zst" -o "$T/keep.zst"
expect 1 $RETRO decompress --force "$T/keep.zst"
said err 'not compressed'
cmp "$T/want.log" "$T/keep.zst"
expect 0 $RETRO decompress --force "$T/a.log.zst" -o "$T/keep.zst"
cmp "$T/want.log" "$T/keep.zst"
[ -z "$(find "$T" -name '*.tmp')" ]

# What is refused; no half file is left.
expect 1 $RETRO compress "$T/a.log.zst" -o "$T/b.zst"
said err 'compressed already'
expect 1 $RETRO decompress "$T/a.log" -o "$T/b.log"
expect 1 $RETRO decompress "$T/a.log"
said err 'say where it goes'
expect 1 $RETRO compress "$T/a.log"
said err 'exists: use --force'
expect 1 $RETRO compress --level 99 "$T/a.log"
expect 8 $RETRO compress "$T/none.log"
expect 8 $RETRO compress --force "$T/a.log" -o /dev/full
start_fake commits=100
expect 1 $RETRO collect --append "tcp:127.0.0.1:$port" -o "$T/a.log.zst"
said err 'decompress it to go on'
[ ! -e "$T/b.zst" ] && [ ! -e "$T/b.log" ]

# Only what compresses has a level.
expect 0 $RETRO compress --help
said out '--level=N .*1 to 19'
expect 1 $RETRO decompress --level 5 -o "$T/level" "$T/none.zst"
said err "unrecognized option '--level'"
