/// Proves: every frame survives encoding and decoding; a frame that is cut at any byte, longer
/// than it says, of another magic, version, type or size, or with any field out of its range is
/// refused with the field's name and place; random damage never breaks the decoder's promises.
/// Does not prove: what peers do with frames.
#include "frames.h"

#include <pipelines/spans.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void every_frame_survives_the_way(void **state)
{
    (void)state;
    for (int type = 1; type <= FRAMES_TYPES; type++) {
        uint8_t bytes[1024], again[1024];
        hsdi_frame got, sent = frames_make(type);
        hsd_error err = {0};
        size_t n = frames_encode(type, bytes, sizeof bytes);
        assert_true(n >= HSDI_FRAME_HEADER_BYTES);
        if (hsdi_frame_decode(bytes, n, &got, &err) != HSD_OK) {
            fail_msg("%s: %s", hsdi_frame_type_name((hsdi_frame_type)type), err.message);
        }
        assert_int_equal(got.type, sent.type);
        assert_int_equal(got.epoch, sent.epoch);
        assert_true(got.session == sent.session);
        assert_int_equal(got.step, sent.step);
        if (type == HSDI_FRAME_OPEN) {
            for (int i = 0; i < FRAMES_TOKENS; i++) {
                assert_int_equal(hsdi_frame_token(&got, i), frames_tokens[i]);
            }
            assert_memory_equal(&got.open.config, &sent.open.config, sizeof got.open.config);
        } else if (type == HSDI_FRAME_PROXIES) {
            for (int i = 0; i < FRAMES_PROXIES; i++) {
                hsdi_candidate proxy = hsdi_frame_proxy(&got, i / 3, i % 3);
                assert_int_equal(proxy.token, frames_proxies[i].token);
                assert_true(proxy.score == frames_proxies[i].score);
            }
        }
        // What was decoded encodes to the same bytes.
        assert_int_equal(
            hsdi_frame_encode(&got, frames_tokens, frames_proxies, again, sizeof again), n);
        assert_memory_equal(bytes, again, n);
    }
}

static void a_frame_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    for (int type = 1; type <= FRAMES_TYPES; type++) {
        uint8_t bytes[1024];
        size_t n = frames_encode(type, bytes, sizeof bytes);
        for (size_t cut = 0; cut < n; cut++) {
            for (int adjusts_size = 0; adjusts_size < 2; adjusts_size++) {
                uint8_t *exact = malloc(cut + 1); // exact: a read beyond it is seen
                hsdi_frame got;
                hsd_error err = {0};
                memcpy(exact, bytes, cut);
                if (adjusts_size && cut >= 12) {
                    exact[8] = (uint8_t)cut;
                    exact[9] = (uint8_t)(cut >> 8);
                }
                uint8_t *tight = realloc(exact, cut ? cut : 1);
                assert_int_equal(hsdi_frame_decode(tight, cut, &got, &err), HSD_EFORMAT);
                assert_true(err.where[0] != '\0');
                free(tight);
            }
        }
    }
}

static void a_frame_that_is_too_long_is_refused(void **state)
{
    (void)state;
    for (int type = 1; type <= FRAMES_TYPES; type++) {
        uint8_t bytes[1024] = {0};
        hsdi_frame got;
        size_t n = frames_encode(type, bytes, sizeof bytes);
        assert_int_equal(hsdi_frame_decode(bytes, n + 1, &got, NULL), HSD_EFORMAT);
        bytes[8] = (uint8_t)(n + 1);
        bytes[9] = (uint8_t)((n + 1) >> 8);
        assert_int_equal(hsdi_frame_decode(bytes, n + 1, &got, NULL), HSD_EFORMAT);
    }
}

static void a_small_buffer_yields_no_frame(void **state)
{
    (void)state;
    for (int type = 1; type <= FRAMES_TYPES; type++) {
        uint8_t bytes[1024];
        size_t n = frames_encode(type, bytes, sizeof bytes);
        for (size_t cap = 0; cap < n; cap++) {
            uint8_t *tight = malloc(cap ? cap : 1);
            assert_int_equal(frames_encode(type, tight, cap), 0);
            free(tight);
        }
    }
}

/// A field of a frame: where it is, and values that must and must not pass.
typedef struct field_case {
    int type, at, size;
    uint64_t good[3], bad[3];
    int n_good, n_bad;
    const char *name;
} field_case;

static const field_case field_cases[] = {
    {1, 0, 4, {0x31445348}, {0, 0x31445349}, 1, 2, "magic"},
    {1, 6, 2, {1, 2}, {0, 18, 65535}, 2, 3, "type"},
    {1, 8, 4, {44}, {43, 45, 0xffffffff}, 1, 3, "n_bytes"},
    {1, 40, 4, {0, 0x7fffffff}, {0x80000000, 0xffffffff}, 2, 2, "n_vocab"},
    {3, 28, 4, {0, 64}, {65, 0xffffffff}, 2, 2, "n_proxies"},
    {3, 32, 4, {2, 4}, {0, 1, 5}, 2, 3, "mode"},
    {3, 36, 4, {0, 3}, {4, 0xffffffff}, 2, 2, "draft_kind"},
    {3, 40, 4, {4, 12}, {0, 17, 0xffffffff}, 2, 3, "window"},
    {3, 44, 4, {7, 32}, {0, 6, 33}, 2, 3, "tree"},
    {3, 48, 4, {1, 7}, {0, 8, 17}, 2, 3, "miss_window"},
    {3, 52, 4, {1, 64}, {0, 65}, 2, 2, "roots"},
    {3, 56, 4, {1, 64}, {0, 65}, 2, 2, "n_top"},
    {3, 60, 4, {0, 65535}, {65536}, 2, 1, "exit_layer"},
    {3, 64, 4, {5, 1048576}, {0, 1048577}, 2, 2, "n_ctx"},
    {3, 64, 4, {5}, {4}, 1, 1, "n_tokens"},
    {3, 68, 4, {0, 0x3f800000}, {0x7fc00000, 0x7f800000, 0xbf800000}, 2, 3, "temperature"},
    {3, 72, 4, {0, 0x3f800000}, {0x3f800001, 0x7fc00000}, 2, 2, "top_p"},
    {3, 76, 4, {0, 0x3f800000}, {0x3f800001, 0xbf800000}, 2, 2, "min_p"},
    {3, 80, 4, {0, 0x7fffffff}, {0x80000000}, 2, 1, "top_k"},
    {3, 92, 4, {0, 0x3f800000}, {0x7fc00000, 0xbf800000}, 2, 2, "repeat_penalty"},
    {3, 96, 4, {0, 1048576}, {1048577}, 2, 1, "repeat_last_n"},
    {3, 100, 4, {0, 1048576}, {1048577}, 2, 1, "no_repeat_ngram"},
    {3, 104, 2, {0, 1}, {2, 65535}, 2, 2, "rule"},
    {3, 106, 1, {1, 3}, {0, 4}, 2, 2, "sources"},
    {3, 107, 1, {0, 1}, {2, 255}, 2, 2, "is_audited"},
    {3, 108, 4, {500, 0x7fffffff}, {0, 0x80000000}, 2, 2, "n_vocab"},
    {3, 108, 4, {500}, {499}, 1, 1, "tokens"},
    {3, 112, 4, {5}, {0, 1048577}, 1, 2, "n_tokens"},
    {3, 112, 4, {5}, {6}, 1, 1, "tokens"},
    {3, 116, 4, {0, 499}, {500, 0xffffffff}, 2, 2, "tokens"},
    {5, 24, 2, {1, 7}, {0, 8}, 2, 2, "code"},
    {5, 26, 2, {23}, {256, 65535}, 1, 2, "n_text"},
    {6, 28, 2, {0, 65535}, {0}, 2, 0, "low"},
    {6, 32, 2, {3}, {33, 65535}, 1, 2, "n_tokens"},
    {6, 34, 2, {0}, {1}, 1, 1, "zero"},
    {6, 36, 4, {0, 0x7fffffff}, {0x80000000, 0xffffffff}, 2, 2, "tokens"},
    {6, 36, 4, {0}, {1}, 1, 1, "parents"},
    {6, 48, 1, {0}, {1, 255}, 1, 2, "parents"},
    {6, 50, 1, {0, 2}, {3, 255}, 2, 2, "parents"},
    {7, 28, 2, {2}, {0, 34}, 1, 2, "n_rows"},
    {7, 30, 2, {3}, {0, 65}, 1, 2, "n_top"},
    {7, 32, 4, {0x7fffffff, 0xffffffff}, {0x80000000, 0xfffffffe}, 2, 2, "proxies"},
    {8, 28, 2, {0, 32}, {33}, 2, 1, "row"},
    {8, 30, 2, {0, 16}, {17}, 2, 1, "want"},
    {8, 32, 4, {0, 0x7fffffff}, {0x80000000}, 2, 1, "next"},
    {8, 36, 4, {1, 0x7fffffff}, {0, 0x80000000}, 2, 2, "n_committed"},
    {9, 28, 4, {1, 0x7fffffff}, {0, 0x80000000}, 2, 2, "n_committed"},
    {9, 32, 1, {0, 2}, {3, 255}, 2, 2, "source"},
    {9, 33, 1, {2}, {33, 255}, 1, 2, "n_tokens"},
    {9, 34, 1, {2}, {65, 255}, 1, 2, "n_q"},
    {9, 38, 2, {0}, {1, 256}, 1, 2, "zero"},
    {9, 48, 4, {0, 0x7fffffff}, {0x80000000}, 2, 1, "tokens"},
    {9, 57, 1, {0, 1}, {2, 255}, 2, 2, "parents"},
    {9, 58, 4, {5, 0xffffffff}, {0x80000000}, 2, 1, "q"},
    {9, 62, 4, {0, 0xbf000000}, {0x3f800000, 0x7fc00000}, 2, 2, "q"},
    {11, 24, 4, {0, 0x7fffffff}, {0x80000000}, 2, 1, "n"},
    {12, 24, 4, {0, 0x7fffffff}, {0x80000000}, 2, 1, "n"},
    {12, 36, 2, {4}, {64, 65535}, 1, 2, "n_text"},
    {13, 28, 4, {6, 1048576}, {0, 1, 1048577}, 2, 3, "n_committed"},
    {13, 28, 4, {6}, {5}, 1, 1, "n_tokens"},
    {13, 32, 2, {0, 16}, {17}, 2, 1, "want"},
    {13, 34, 2, {0}, {1}, 1, 1, "zero"},
    {13, 36, 4, {5}, {0, 1048577}, 1, 2, "n_tokens"},
    {13, 36, 4, {5}, {6}, 1, 1, "tokens"},
    {13, 40, 4, {0, 0x7fffffff}, {0x80000000}, 2, 1, "tokens"},
    {15, 32, 8, {0, 1500}, {0x2000000000000000u}, 2, 1, "taken_ns"},
    {15, 32, 8, {1000}, {1501}, 1, 1, "given_ns"},
    {15, 40, 8, {1000, 0x1fffffffffffffffu}, {999, 0x2000000000000000u}, 2, 2, "given_ns"},
    {15, 48, 4, {0, 4194304}, {4194305}, 2, 1, "pid"},
    {15, 52, 2, {7}, {64, 65535}, 1, 2, "n_text"},
    {16, 24, 4, {0, 2}, {3, 0xffffffff}, 2, 2, "order"},
    {16, 28, 8, {0, 0x7fffffffffffffffu}, {0x8000000000000000u}, 2, 1, "from"},
    {17, 24, 8, {0, 410}, {0x8000000000000000u}, 2, 1, "from"},
    {17, 32, 8, {400}, {399, 0x8000000000000000u}, 1, 2, "next"},
    {17, 40, 8, {0}, {0x8000000000000000u}, 1, 1, "n_dropped"},
    {17, 48, 2, {2}, {401, 65535}, 1, 2, "n_spans"},
    {17, 50, 2, {0, 1}, {2}, 2, 1, "is_last"},
    {17, 52, 1, {0, 13}, {14, 255}, 2, 2, "spans"},
    {17, 53, 1, {0, 5}, {6, 255}, 2, 2, "spans"},
    {17, 54, 2, {0}, {1}, 1, 1, "spans"},
    {17, 72, 4, {0}, {1}, 1, 1, "spans"},
    {17, 76, 8, {0, 456}, {457, 0x8000000000000000u}, 2, 2, "spans"},
    {17, 84, 8, {456, 0x1fffffffffffffffu}, {0, 0x2000000000000000u}, 2, 2, "spans"},
    {17, 92, 1, {13}, {14}, 1, 1, "spans"},
};

static hsd_status decode_with(const field_case *field, uint64_t value, hsd_error *err)
{
    uint8_t bytes[1024];
    hsdi_frame got;
    size_t n = frames_encode(field->type, bytes, sizeof bytes);
    for (int i = 0; i < field->size; i++) {
        bytes[field->at + i] = (uint8_t)(value >> (8 * i));
    }
    return hsdi_frame_decode(bytes, n, &got, err);
}

static void every_field_is_held_to_its_limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof field_cases / sizeof field_cases[0]; i++) {
        const field_case *field = &field_cases[i];
        hsd_error err = {0};
        for (int j = 0; j < field->n_good; j++) {
            if (decode_with(field, field->good[j], &err) != HSD_OK) {
                fail_msg("case %d: %s = %llx was refused: %s", (int)i, field->name,
                         (unsigned long long)field->good[j], err.message);
            }
        }
        for (int j = 0; j < field->n_bad; j++) {
            if (decode_with(field, field->bad[j], &err) != HSD_EFORMAT) {
                fail_msg("case %d: %s = %llx was taken", (int)i, field->name,
                         (unsigned long long)field->bad[j]);
            }
            assert_string_equal(err.where, field->name);
        }
    }
}

static void another_version_is_told_from_damage(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    hsdi_frame got;
    hsd_error err = {0};
    size_t n = frames_encode(HSDI_FRAME_HELLO, bytes, sizeof bytes);
    bytes[4] = HSDI_PROTOCOL_VERSION + 1;
    assert_int_equal(hsdi_frame_decode(bytes, n, &got, &err), HSD_EPROTOCOL);
    assert_non_null(strstr(err.message, "version 5"));
    assert_true(got.session == 0x0123456789abcdefu);
}

static void random_damage_never_yields_an_impossible_frame(void **state)
{
    (void)state;
    uint64_t r = 1;
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[1024];
        hsdi_frame got;
        size_t n = frames_encode(1 + round % FRAMES_TYPES, bytes, sizeof bytes);
        r = r * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t i = 0; i <= (r >> 60) % 3; i++) {
            bytes[4 + (r >> (8 * i + 20)) % (n - 4)] ^= (uint8_t)(1u << ((r >> (40 + i)) % 8));
        }
        if (hsdi_frame_decode(bytes, n, &got, NULL) != HSD_OK) {
            continue;
        }
        if (got.type == HSDI_FRAME_WINDOW) {
            assert_true(hsdi_window_is_valid(&got.window.window, INT32_MAX));
        } else if (got.type == HSDI_FRAME_OPEN) {
            for (int i = 0; i < got.open.n_tokens; i++) {
                assert_in_range(hsdi_frame_token(&got, i), 0, got.open.n_vocab - 1);
            }
        } else if (got.type == HSDI_FRAME_PROXIES) {
            for (int i = 0; i < got.proxies.n_rows * got.proxies.n_top; i++) {
                assert_true(hsdi_frame_proxy(&got, 0, i).token >= -1);
            }
        } else if (got.type == HSDI_FRAME_SPANS) {
            for (int i = 0; i < got.spans.n; i++) {
                const hsdi_span span = hsdi_frame_span(&got, i);
                assert_true(span.kind && span.begin_ns >= 0 && span.end_ns >= span.begin_ns);
            }
        }
    }
}

static void a_span_survives_the_way(void **state)
{
    (void)state;
    const hsdi_span sent = {.kind = &hsdi_span_roots,
                            .begin_ns = 1000000000123,
                            .end_ns = INT64_MAX,
                            .text = "own candidates",
                            .session = 0x89abcdef,
                            .step = 0xffffffff,
                            .values = {1, -2, INT32_MAX}};
    uint8_t bytes[HSDI_SPAN_BYTES];
    assert_true(hsdi_span_encode(&sent, bytes));
    hsdi_frame frame = frames_make(HSDI_FRAME_SPANS);
    frame.spans.bytes = bytes;
    const hsdi_span got = hsdi_frame_span(&frame, 0);
    assert_ptr_equal(got.kind, sent.kind);
    assert_true(got.begin_ns == sent.begin_ns && got.end_ns == sent.end_ns);
    assert_string_equal(got.text, sent.text);
    assert_int_equal(got.session, sent.session);
    assert_int_equal(got.step, sent.step);
    assert_memory_equal(got.values, sent.values, sizeof sent.values);
    const hsdi_span of_target = {.kind = &hsdi_span_prefix};
    assert_false(hsdi_span_encode(&of_target, bytes));
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    assert_true(hsdi_bf16_to(hsdi_bf16_of(-1.5f)) == -1.5f);
    assert_int_equal(hsdi_bf16_of(1.00390625f), 0x3f80); // half way, to even
    assert_int_equal(hsdi_bf16_of(1.01171875f), 0x3f82); // half way, to even
    assert_int_equal(hsdi_bf16_of(1.0039064f), 0x3f81);  // above half
    assert_true(isnan(hsdi_bf16_to(hsdi_bf16_of(NAN))));
    assert_true(isinf(hsdi_bf16_to(hsdi_bf16_of(INFINITY))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_survives_the_way),
        cmocka_unit_test(a_frame_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_frame_that_is_too_long_is_refused),
        cmocka_unit_test(a_small_buffer_yields_no_frame),
        cmocka_unit_test(every_field_is_held_to_its_limits),
        cmocka_unit_test(another_version_is_told_from_damage),
        cmocka_unit_test(random_damage_never_yields_an_impossible_frame),
        cmocka_unit_test(a_span_survives_the_way),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
