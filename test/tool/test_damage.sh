# Damaged, cut and foreign logs: named, with offset, and with the right exit code.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/a.log" commits=500
size=$(stat -c %s "$T/a.log")
header=$((28 + $(od -An -tu4 -j8 -N4 "$T/a.log"))) # the first block

# Cut anywhere: never damaged, usable up to a whole block.
for cut in 0 1 19 20 $((header - 1)) $header $((header + 1)) 700 2000 $((size - 1)); do
    head -c "$cut" "$T/a.log" >"$T/cut.log"
    expect 4 $RETRO verify "$T/cut.log"
    if [ "$cut" -ge $header ]; then
        said err "up to commit [0-9]+"
    fi
done
head -c 2000 "$T/a.log" >"$T/cut.log"
expect 4 $RETRO info "$T/cut.log"
said out "cut off or damaged; usable [0-9]+ of 2000 bytes"
expect 4 $RETRO dump "$T/cut.log"
expect 4 $RETRO stats "$T/cut.log"

# One byte changed anywhere: damaged, never sound.
for at in 0 5 50 150 1000 2000 $((size - 100)) $((size - 5)); do
    cp "$T/a.log" "$T/bad.log"
    byte=$(od -An -tu1 -j "$at" -N 1 "$T/bad.log" | tr -d ' ')
    printf "$(printf '\\%03o' $((byte ^ 64)))" | dd of="$T/bad.log" bs=1 seek="$at" conv=notrunc status=none
    expect 3 $RETRO verify "$T/bad.log"
    said err "at offset [0-9]+"
done

# A block left out, one twice, no log at all.
python3 - "$T/a.log" "$T" <<'END'
import struct, sys
data, blocks, at = open(sys.argv[1], "rb").read(), [], 0
while at < len(data):
    n = 28 + struct.unpack_from("<I", data, at + 8)[0]
    blocks.append(data[at:at + n])
    at += n
open(sys.argv[2] + "/gap.log", "wb").write(b"".join(blocks[:2] + blocks[3:]))
open(sys.argv[2] + "/twice.log", "wb").write(b"".join(blocks[:3] + blocks[2:]))
open(sys.argv[2] + "/after.log", "wb").write(data + blocks[1])
END
expect 3 $RETRO verify "$T/gap.log"
expect 3 $RETRO verify "$T/twice.log"
expect 3 $RETRO verify "$T/after.log"
expect 3 $RETRO verify tools/tools.mk
expect 3 $RETRO info tools/tools.mk
expect 8 $RETRO info "$T/none.log"
expect 8 $RETRO info "$T"
expect 1 $RETRO info
expect 1 $RETRO nonsense
expect 1 $RETRO

# A recorder that died said so.
$FAKE file "$T/abort.log" end=abort
expect 4 $RETRO verify "$T/abort.log"
said err "the recorder died \(vCPU 1, chunk 17"
expect 0 $RETRO info "$T/abort.log"
said out "page 0x123 differs"

# A forged record in a block whose CRC is right: its digest is not that of the block.
expect 0 $RETRO dump --json "$T/a.log"
python3 - "$T/a.log" "$T/forged.log" "$T/out" <<'END'
import json, struct, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
log = bytearray(open(sys.argv[1], "rb").read())
rows = [json.loads(line) for line in open(sys.argv[3])]
block = next(r for r in rows if r.get("type") == "COMMITS")
last = next(r for r in rows if r.get("seq") == block["first"] + block["count"] - 1)
log[last["offset"] + (2 if log[last["offset"]] & 0x80 else 1)] ^= 1
end = block["offset"] + 20 + block["length"]
struct.pack_into("<I", log, end, crc32c(log[block["offset"]:end]))
open(sys.argv[2], "wb").write(log)
END
expect 3 $RETRO verify "$T/forged.log"
said err "the running digest of the block at offset $header is not that of its last record"
