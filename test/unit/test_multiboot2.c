/* The multiboot2 boot information: a good one, and one for each way to be bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "boot/multiboot2.h"

enum { TAG_END = 0, TAG_CMDLINE = 1, TAG_MODULE = 3, TAG_MMAP = 6, TAG_OLD = 14, TAG_NEW = 15 };

/* Boot information under construction. */
struct builder {
    uint32_t size;
    uint8_t bytes[16384];
};

static struct builder b;
static struct boot_info info;

static void put(const void *bytes, uint32_t size)
{
    memcpy(b.bytes + b.size, bytes, size);
    b.size += size;
}

static void put32(uint32_t value)
{
    put(&value, sizeof(value));
}

static void put64(uint64_t value)
{
    put(&value, sizeof(value));
}

static void pad(void)
{
    while (b.size % 8) {
        b.bytes[b.size++] = 0xEE;
    }
}

static void begin(void)
{
    b.size = 8;
}

static void tag(uint32_t type, uint32_t payload)
{
    pad();
    put32(type);
    put32(payload + 8);
}

static void put_cmdline(const char *text)
{
    tag(TAG_CMDLINE, (uint32_t)strlen(text) + 1);
    put(text, (uint32_t)strlen(text) + 1);
}

static void put_module(uint32_t start, uint32_t end, const char *text)
{
    tag(TAG_MODULE, 8 + (uint32_t)strlen(text) + 1);
    put32(start);
    put32(end);
    put(text, (uint32_t)strlen(text) + 1);
}

static void put_region(uint64_t base, uint64_t length, uint32_t type)
{
    put64(base);
    put64(length);
    put32(type);
    put32(0);
}

static void put_mmap(uint32_t entries)
{
    tag(TAG_MMAP, 8 + entries * 24);
    put32(24);
    put32(0);
    for (uint32_t i = 0; i < entries; i++) {
        put_region(i * 0x100000ull, 0x80000, 1 + i % 2);
    }
}

static void end(void)
{
    tag(TAG_END, 0);
    memcpy(b.bytes, &b.size, 4);
    memset(b.bytes + 4, 0, 4);
}

/* On a heap block of exactly the size, so that the sanitizer sees any read beyond it. */
static enum mb2_error parse_sized(uint32_t available)
{
    uint8_t *copy = malloc(available ? available : 1);
    enum mb2_error error;

    assert_non_null(copy);
    memcpy(copy, b.bytes, available);
    error = mb2_parse(copy, available, &info);
    free(copy);
    return error;
}

static enum mb2_error parse(void)
{
    return parse_sized(b.size);
}

static void put_good(void)
{
    begin();
    put_cmdline("mode=run seed=1");
    put_module(0x100000, 0x123456, "guest n=1");
    tag(99, 5);
    put("other", 5);
    put_module(0x200000, 0x200000, "");
    put_mmap(3);
    tag(TAG_OLD, 20);
    put("01234567890123456789", 20);
    end();
}

static void test_good(void **state)
{
    (void)state;
    put_good();
    assert_int_equal(parse(), MB2_OK);
    assert_string_equal(info.cmdline, "mode=run seed=1");
    assert_int_equal(info.info_size, b.size);
    assert_int_equal(info.module_count, 2);
    assert_int_equal(info.modules[0].start, 0x100000);
    assert_int_equal(info.modules[0].end, 0x123456);
    assert_string_equal(info.modules[0].cmdline, "guest n=1");
    assert_string_equal(info.modules[1].cmdline, "");
    assert_int_equal(info.region_count, 3);
    assert_int_equal(info.regions[2].base, 0x200000);
    assert_int_equal(info.regions[1].type, BOOT_MEMORY_RESERVED);
    assert_int_equal(info.rsdp_size, 20);
    assert_memory_equal(info.rsdp, "01234567890123456789", 20);
}

/* Whatever the cut, the parser stays inside and says so. */
static void test_every_cut(void **state)
{
    (void)state;
    put_good();
    for (uint32_t available = 0; available < b.size; available++) {
        assert_int_equal(parse_sized(available), MB2_TRUNCATED);
    }
    /* The same with the size inside the header cut as well. */
    for (uint32_t size = 0; size < b.size; size++) {
        put_good();
        memcpy(b.bytes, &size, 4);
        assert_int_not_equal(parse_sized(MAX(size, 8u)), MB2_OK);
    }
}

static void test_newer_rsdp_wins(void **state)
{
    static const char newer[] = "abcdefghijklmnopqrstuvwxyz0123456789";

    (void)state;
    for (int newer_first = 0; newer_first < 2; newer_first++) {
        begin();
        put_mmap(1);
        tag(newer_first ? TAG_NEW : TAG_OLD, newer_first ? 36 : 20);
        put(newer, newer_first ? 36 : 20);
        tag(newer_first ? TAG_OLD : TAG_NEW, newer_first ? 20 : 36);
        put(newer, newer_first ? 20 : 36);
        end();
        assert_int_equal(parse(), MB2_OK);
        assert_int_equal(info.rsdp_size, 36);
        assert_memory_equal(info.rsdp, newer, 36);
    }
}

static void test_tag_sizes(void **state)
{
    (void)state;
    /* Each tag, one byte too small for its own fields. */
    static const struct {
        uint32_t type, payload;
    } small[] = {{TAG_MODULE, 7}, {TAG_MMAP, 7}, {TAG_OLD, 19}, {TAG_NEW, 35}};

    for (size_t i = 0; i < ARRAY_LEN(small); i++) {
        begin();
        put_mmap(1);
        tag(small[i].type, small[i].payload);
        put("0123456789012345678901234567890123456789", small[i].payload);
        end();
        assert_int_equal(parse(), MB2_BAD_TAG);
    }
    for (uint32_t size = 0; size < 8; size++) { /* smaller than a tag's header: would never end */
        put_good();
        memcpy(b.bytes + 12, &size, 4);
        assert_int_equal(parse(), MB2_BAD_TAG);
    }
    put_good();
    memcpy(b.bytes + 12, &(uint32_t){0xFFFFFFFF}, 4);
    assert_int_equal(parse(), MB2_TRUNCATED);
}

static void test_strings(void **state)
{
    static char text[BOOT_CMDLINE_SIZE + 1];

    (void)state;
    begin();
    put_mmap(1);
    tag(TAG_CMDLINE, 4);
    put("abcd", 4); /* the padding after it must not serve as the end */
    b.size += 4;
    end();
    assert_int_equal(parse(), MB2_UNTERMINATED);
    begin();
    put_mmap(1);
    tag(TAG_CMDLINE, 0);
    end();
    assert_int_equal(parse(), MB2_UNTERMINATED);

    memset(text, 'x', sizeof(text) - 1);
    begin();
    put_mmap(1);
    put_cmdline(text);
    end();
    assert_int_equal(parse(), MB2_UNTERMINATED);
    text[BOOT_CMDLINE_SIZE - 1] = '\0';
    begin();
    put_mmap(1);
    put_cmdline(text);
    end();
    assert_int_equal(parse(), MB2_OK);
    assert_string_equal(info.cmdline, text);
    text[BOOT_MODULE_CMDLINE] = '\0';
    begin();
    put_mmap(1);
    put_module(1, 2, text);
    end();
    assert_int_equal(parse(), MB2_UNTERMINATED);
}

static void test_numbers(void **state)
{
    (void)state;
    begin();
    put_mmap(1);
    put_module(0x2000, 0x1fff, "backwards");
    end();
    assert_int_equal(parse(), MB2_BAD_TAG);
    for (uint32_t entry_size = 0; entry_size < 48; entry_size++) {
        begin();
        tag(TAG_MMAP, 8 + 48);
        put32(entry_size);
        put32(0);
        put_region(0, 0x1000, 1);
        put_region(0x1000, 0x1000, 1);
        end();
        assert_int_equal(parse(), entry_size == 24 ? MB2_OK : MB2_BAD_TAG);
    }
    begin();
    tag(TAG_MMAP, 8 + 24);
    put32(24);
    put32(0);
    put_region(UINT64_MAX - 1, 2, 1); /* wraps */
    end();
    assert_int_equal(parse(), MB2_BAD_TAG);
}

static void test_too_many(void **state)
{
    (void)state;
    begin();
    put_mmap(BOOT_MAX_REGIONS);
    end();
    assert_int_equal(parse(), MB2_OK);
    begin();
    put_mmap(BOOT_MAX_REGIONS + 1);
    end();
    assert_int_equal(parse(), MB2_TOO_MANY_REGIONS);
    begin();
    put_mmap(1);
    for (int i = 0; i <= BOOT_MAX_MODULES; i++) {
        put_module(0, 1, "m");
    }
    end();
    assert_int_equal(parse(), MB2_TOO_MANY_MODULES);
    begin();
    put_cmdline("x");
    end();
    assert_int_equal(parse(), MB2_NO_MEMORY_MAP);
}

/* Noise in a good one: any answer is right as long as nothing outside is read. */
static void test_noise(void **state)
{
    (void)state;
    srand(1);
    for (int round = 0; round < 20000; round++) {
        put_good();
        for (int i = 0; i < 4; i++) {
            b.bytes[8 + (uint32_t)rand() % (b.size - 8)] = (uint8_t)rand();
        }
        (void)parse();
        assert_true(info.module_count <= BOOT_MAX_MODULES && info.region_count <= BOOT_MAX_REGIONS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_newer_rsdp_wins),
        cmocka_unit_test(test_tag_sizes),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_noise),
    };

    return cmocka_run_group_tests_name("multiboot2", tests, NULL, NULL);
}
