#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "hv/base/digest.h"

/* RFC 3720 B.4, as numbers (the RFC prints the bytes in the order of the wire). */
static void crc32c_of_rfc_3720(void **state)
{
    static const uint8_t read_command[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    uint8_t bytes[32];

    (void)state;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = 31 - i;
    assert_int_equal(crc32c(0, bytes, 32), 0x113fdb5c);
    assert_int_equal(crc32c(0, read_command, 48), 0xd9963a56);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static void fill(uint8_t *bytes, size_t count)
{
    uint32_t x = 12345;

    for (size_t i = 0; i < count; i++) {
        x = x * 1103515245 + 12345;
        bytes[i] = (uint8_t)(x >> 16);
    }
}

static void crc32c_continues_anywhere(void **state)
{
    uint8_t bytes[67];

    (void)state;
    fill(bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
        uint32_t crc = crc32c(0, bytes, cut);
        assert_int_equal(crc32c(crc, bytes + cut, sizeof(bytes) - cut), crc32c(0, bytes, sizeof(bytes)));
    }
}

static void words_continue_anywhere(void **state)
{
    uint64_t data[43], whole;

    (void)state;
    fill((uint8_t *)data, sizeof(data));
    whole = digest_words(7, data, 43);
    for (size_t cut = 0; cut <= 43; cut++)
        assert_int_equal(digest_words(digest_words(7, data, cut), data + cut, 43 - cut), whole);
    assert_int_equal(digest_bytes(7, data, sizeof(data)), whole);

    uint64_t d = 7;
    for (size_t i = 0; i < 43; i++)
        d = digest_word(d, data[i]);
    assert_int_equal(d, whole);
}

static void bytes_are_padded_with_zeros(void **state)
{
    uint8_t bytes[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

    (void)state;
    assert_int_equal(digest_bytes(1, bytes, 11), digest_bytes(1, bytes, 16));
    assert_int_not_equal(digest_bytes(1, bytes, 11), digest_bytes(1, bytes, 10));
    assert_int_equal(digest_bytes(1, bytes, 0), 1);
}

/* Any single bit, at any word, changes the digest; so does the exchange of two words. */
static void digest_sees_a_bit_and_the_order(void **state)
{
    uint64_t data[19], whole;

    (void)state;
    fill((uint8_t *)data, sizeof(data));
    whole = digest_words(0, data, 19);
    for (size_t bit = 0; bit < 19 * 64; bit++) {
        data[bit / 64] ^= UINT64_C(1) << bit % 64;
        assert_int_not_equal(digest_words(0, data, 19), whole);
        data[bit / 64] ^= UINT64_C(1) << bit % 64;
    }
    for (size_t i = 1; i < 19; i++) {
        uint64_t first = data[0];
        data[0] = data[i];
        data[i] = first;
        assert_int_not_equal(digest_words(0, data, 19), whole);
        data[i] = data[0];
        data[0] = first;
    }
}

/* Nor does a second changed bit take back the first one, whichever two they are. */
static void digest_sees_any_two_bits(void **state)
{
    uint64_t data[3], whole;

    (void)state;
    fill((uint8_t *)data, sizeof(data));
    whole = digest_words(1, data, 3);
    for (size_t a = 0; a < 3 * 64; a++) {
        for (size_t b = 0; b < a; b++) {
            uint64_t changed[3] = {data[0], data[1], data[2]};
            changed[a / 64] ^= UINT64_C(1) << a % 64;
            changed[b / 64] ^= UINT64_C(1) << b % 64;
            assert_int_not_equal(digest_words(1, changed, 3), whole);
        }
    }
}

static void digest_depends_on_both_halves_of_the_start(void **state)
{
    uint64_t data[9] = {1, 2, 3};

    (void)state;
    assert_int_not_equal(digest_words(1, data, 9), digest_words(2, data, 9));
    assert_int_not_equal(digest_words(1, data, 9), digest_words(1 | UINT64_C(1) << 32, data, 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_of_rfc_3720),
        cmocka_unit_test(crc32c_continues_anywhere),
        cmocka_unit_test(words_continue_anywhere),
        cmocka_unit_test(bytes_are_padded_with_zeros),
        cmocka_unit_test(digest_sees_a_bit_and_the_order),
        cmocka_unit_test(digest_sees_any_two_bits),
        cmocka_unit_test(digest_depends_on_both_halves_of_the_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
