# stats --pages: what chunks were squashed over, and the names that an ELF image or a System.map has for it.
. "$(dirname "$0")/lib.sh"

$FAKE file "$T/a.log" commits=100 vcpus=2 pages=25
$FAKE file "$T/none.log" commits=100 vcpus=2
expect 0 $RETRO verify "$T/a.log"

# Twenty pages for people, all for programs.
expect 0 $RETRO stats --pages "$T/a.log"
said out 'over another one at most 3$'
said out '^ +100000 +219 +1 +200 +1 +4 +6 +8 +1000  0:109<1,dev 1:110<0 @28$'
[ "$(grep -c '^ *1[0-9a-f]*000 ' "$T/out")" = 20 ]
lacks out 'records|counters'
expect 0 $RETRO stats --json "$T/a.log"
python3 - "$T/out" <<'END'
import json, sys
o = json.load(open(sys.argv[1]))
assert len(o["pages"]) == 25 and o["pages_unlisted"] == 3 and o["blocks"]["PAGES"]["count"] == 1
first, last = o["pages"][0], o["pages"][24]
assert first["page"] == 0x100 and first["address"] == "0000000000100000" and "symbol" not in first
assert first["vcpus"][0] == {"squashed": {"words": 100, "page": 0, "read": 2, "tables": 3, "device": 4}, "missed": 0, "by": [1, "device"],
                             "writes": 0, "word": "28"}
assert last["vcpus"][1]["writes"] == 1024 and last["vcpus"][1]["missed"] == 1 and "word" not in last["vcpus"][1]
END
expect 0 $RETRO dump --json "$T/a.log"
python3 - "$T/out" <<'END'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
pages = next(row for row in rows if row.get("type") == "PAGES")
assert len(pages["pages"]) == 25 and pages["unlisted"] == 3 and "address" not in pages["pages"][0]
END
test/golden/second_reader.py "$T/a.log" >"$T/second"
python3 -c 'import json,sys; a, b = [[json.loads(l) for l in open(p)] for p in sys.argv[1:]]; assert a == b' "$T/second" "$T/out"
expect 0 $RETRO dump "$T/a.log"
said out '^ +100000 +219 '

# A log without: no conflict, or nothing known.
expect 0 $RETRO stats --pages "$T/none.log"
said out '^no chunk was squashed over a page$'
$FAKE file "$T/dead.log" commits=100 end=abort pages=3
expect 0 $RETRO stats --pages "$T/dead.log"
said out '^the log does not tell over which pages'

# By an ELF image: data are named, what is there besides, and what reaches in from the page before.
cat >"$T/guest.s" <<'END'
.data
.macro object name, size
.globl \name
.type \name, @object
.size \name, \size
\name: .fill \size
.endm
object first, 0x28
object fought, 0x800
object long_one, 0x2000
object behind, 8
label_only: .fill 8
.globl _start
_start: .fill 8
END
as --64 "$T/guest.s" -o "$T/guest.o"
ld -Tdata=0x100000 -e _start "$T/guest.o" -o "$T/guest.elf"
expect 0 $RETRO stats --pages --symbols "$T/guest.elf" "$T/a.log"
said out '^ +100000 .* @28 fought\+0x0 \[first,fought,long_one\]$'
said out '^ +101000 .* @28 long_one\+0x800 \[long_one\]$'
said out '^ +102000 .* \[long_one,behind,label_only,_start,_end\]$'
expect 0 $RETRO stats --json --elf "$T/guest.elf" "$T/a.log"
python3 - "$T/out" <<'END'
import json, sys
o = json.load(open(sys.argv[1]))
assert o["pages"][0]["symbol"] == "fought+0x0" and o["pages"][0]["symbols"] == "first,fought,long_one"
END
expect 0 $RETRO stats --pages --symbols "$T/guest.elf" --offset 0x1000 "$T/a.log"
said out '^ +101000 .* @28 fought\+0x0 '
expect 0 $RETRO stats --pages --symbols "$T/guest.elf" --offset -4096 "$T/a.log"
said out '^ +100000 .* @28 long_one\+0x800 '

# By a System.map of Linux: its text mapping begins at physical 0; what is linked below it are per-CPU variables.
cat >"$T/System.map" <<'END'
0000000000000000 D __per_cpu_start
0000000000100028 d cpu_thing
0000000000000011 a an_absolute_one
ffffffff80100000 T _text
ffffffff80100028 D jiffies
ffffffff80100030 t some_function
ffffffff80103000 b queues
ffffffff80108000 B _end
ffffffffff600000 T vsyscall
END
expect 0 $RETRO stats --pages --symbols "$T/System.map" "$T/a.log"
said out '^ +100000 .* @28 jiffies\+0x0 \[jiffies,_text,some_function\]$'
said out '^ +104000 .* @28 queues\+0x1028 \[queues\]$'
lacks out 'cpu_thing|absolute|vsyscall'
printf 'c0100000 T _stext\nc0100020 D fought_32\n' >"$T/map32"
expect 0 $RETRO stats --pages --symbols "$T/map32" --offset -0xc0000000 "$T/a.log"
said out '^ +100000 .* @28 fought_32\+0x8 '

# More names than there is room for.
for i in $(seq 0 200); do printf '%x D a_rather_long_name_%d\n' $((0x100000 + 8 * i)) "$i"; done >"$T/many"
expect 0 $RETRO stats --pages --symbols "$T/many" "$T/a.log"
said out '@28 a_rather_long_name_5\+0x0 \[a_rather_long_name_0,.*,\+19[0-9]\]$'

# What is no file of symbols, or wrong on the command line.
printf 'hello\n' >"$T/text"
expect 1 $RETRO stats --pages --symbols "$T/text" "$T/a.log"
said err "neither an ELF64 file nor a System.map: 'hello'"
printf '2 D a\0001 D b\0001 D c\0001 D d\000' >"$T/text" # more lines by NULs than by newlines
expect 1 $RETRO stats --pages --symbols "$T/text" "$T/a.log"
said err "neither an ELF64 file nor a System.map: '2 D a'"
# What Debian puts in the map's place.
printf 'ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n' >"$T/text"
expect 1 $RETRO stats --pages --symbols "$T/text" "$T/a.log"
said err 'nor a System.map: .* The real System.map is in the linux-image-<version>-dbg package'
expect 8 $RETRO stats --pages --symbols "$T/missing" "$T/a.log"
said err 'cannot read the symbols .*missing: No such file'
expect 1 $RETRO stats --pages --offset 5 "$T/a.log"
said err '--offset moves the addresses of --symbols'
expect 1 $RETRO stats --pages --symbols "$T/many" --offset 5x "$T/a.log"
said err "'5x' is not a number"

# Whatever the bytes of a map or an image are, retro ends orderly.
for i in $(seq 40); do
    head -c $((i * 37)) "$T/guest.elf" >"$T/torn.elf"
    $RETRO stats --pages --symbols "$T/torn.elf" "$T/a.log" >"$T/out" 2>"$T/err" || [ $? = 1 ]
    head -c $((i * 9)) "$T/System.map" >"$T/torn.map"
    $RETRO stats --pages --symbols "$T/torn.map" "$T/a.log" >"$T/out" 2>"$T/err" || [ $? = 1 ]
done
