/// Proves: a kept profile is found again by the fingerprints of machine, target and draft, as it
///           was, and by no others; a damaged one counts as absent; pieces have names, joined
///           pieces hold what each found, a failed one is its devices' reason and closes their
///           others; a model's shape adds up to its file.
/// Does not prove: times (tests/cli/test_profile.py has the measuring).
#include "engine/profile.h"
#include "tests/comma_locale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const cpu[] = {"cpu"};

static hsd_profile *begin(hsd_profile_options *options)
{
    hsd_profile *profile = NULL;
    hsd_error err = {0};
    hsd_profile_options_init(options);
    options->devices = cpu;
    options->n_devices = 1;
    options->quick = true;
    if (hsd_profile_begin(options, &profile, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return profile;
}

/// The profile as data; free it with hsdi_profile_free.
static hsdi_profile *data_of(const hsd_profile *profile)
{
    char *text = NULL;
    size_t n = 0;
    hsdi_profile *data = NULL;
    assert_int_equal(hsd_profile_print(profile, HSD_PROFILE_YAML, &text, &n, NULL), HSD_OK);
    assert_int_equal(hsdi_profile_parse(text, n, "p", &data, NULL), HSD_OK);
    free(text);
    return data;
}

static void a_kept_profile_is_found_by_its_fingerprints(void **state)
{
    (void)state;
    char folder[] = "/tmp/hsd-test-profile-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(setenv("HSD_CACHE_DIR", folder, 1), 0);
    hsd_profile_options options;
    hsd_profile *profile = begin(&options);
    hsdi_profile *data = data_of(profile), *got = NULL;
    uint64_t target = data->costs.target.fingerprint, draft = data->costs.draft.fingerprint;
    assert_true(data->machine != 0 && target != 0 && draft != 0 && target != draft);
    assert_false(hsdi_profile_recall(data->machine, target, draft, &got));
    assert_int_equal(hsd_profile_keep(profile, NULL), HSD_OK);
    assert_true(hsdi_profile_recall(data->machine, target, draft, &got));
    assert_string_equal(got->made, data->made);
    assert_memory_equal(&got->costs, &data->costs, sizeof got->costs);
    hsdi_profile_free(&got);
    assert_false(hsdi_profile_recall(data->machine + 1, target, draft, &got));
    assert_false(hsdi_profile_recall(data->machine, target, 0, &got));
    assert_null(got);
    hsdi_profile_free(&data);
    hsd_profile_free(&profile);
    char command[128];
    snprintf(command, sizeof command, "for f in %s/profile*; do echo x > $f; done", folder);
    assert_int_equal(system(command), 0);
    assert_false(hsdi_profile_recall(1, target, draft, &got));
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void a_locale_with_decimal_commas_changes_no_text(void **state)
{
    (void)state;
    static const hsd_profile_format formats[] = {HSD_PROFILE_YAML, HSD_PROFILE_JSON,
                                                 HSD_PROFILE_TABLE};
    static char file[1 << 16];
    char *texts[2][3];
    size_t n[3];
    hsd_profile *p = NULL;
    FILE *in = fopen("tests/fuzz/corpus/profile/measured", "rb");
    assert_non_null(in);
    size_t n_file = fread(file, 1, sizeof file, in);
    fclose(in);
    for (int i = 0; i < 2; i++) {
        if (i == 1 && !comma_locale_set()) {
            skip(); // localedef is not installed
        }
        assert_int_equal(hsd_profile_parse(file, n_file, "measured", &p, NULL), HSD_OK);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(hsd_profile_print(p, formats[k], &texts[i][k], &n[k], NULL), HSD_OK);
        }
        hsd_profile_free(&p);
    }
    comma_locale_unset();
    for (int k = 0; k < 3; k++) {
        assert_string_equal(texts[0][k], texts[1][k]);
        free(texts[0][k]);
        free(texts[1][k]);
    }
}

static void pieces_are_joined_and_fail_by_themselves(void **state)
{
    (void)state;
    hsd_profile_options options;
    hsd_profile *profile = begin(&options);
    char name[160];
    assert_int_equal(hsd_profile_n_pieces(&options, profile), 5);
    hsd_profile_piece_name(&options, profile, 0, name, sizeof name);
    assert_string_equal(name, "messages");
    hsd_profile_piece_name(&options, profile, 4, name, sizeof name);
    assert_non_null(strstr(name, " beside draft on "));
    hsd_profile *found = NULL;
    hsd_error err = {0};
    assert_int_equal(hsd_profile_measure(&options, profile, 5, &found, &err), HSD_EINVAL);
    if (hsd_profile_measure(&options, profile, 0, &found, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    assert_int_equal(hsd_profile_join(profile, found, NULL), HSD_OK);
    hsdi_profile *data = data_of(profile);
    assert_true(data->costs.rendezvous.inproc_ns > 0.0 && data->costs.rendezvous.tcp_ns > 0.0);
    assert_int_equal(data->n_devices, 1);
    hsdi_profile_free(&data);
    assert_true(hsd_profile_piece_is_open(&options, profile, 3));
    hsd_profile_fail(&options, profile, 2, "it crashed");
    assert_false(hsd_profile_piece_is_open(&options, profile, 3));
    assert_true(hsd_profile_piece_is_open(&options, profile, 1));
    data = data_of(profile);
    assert_non_null(strstr(data->devices[0].failure, "it crashed"));
    hsdi_profile_free(&data);
    hsd_profile_free(&found);
    hsd_profile_free(&profile);
}

static void a_models_shape_adds_up_to_its_file(void **state)
{
    (void)state;
    hsd_profile_options options;
    hsd_profile *profile = begin(&options);
    hsdi_profile *data = data_of(profile);
    const hsdi_cost_model *m = &data->costs.target;
    char path[HSDI_PATH_MAX];
    hsdi_gguf *g = NULL;
    int64_t bytes = 0;
    assert_int_equal(hsdi_shipped_path(hsdi_shipped_target, path, sizeof path, NULL), HSD_OK);
    assert_int_equal(hsdi_gguf_open(path, &g, NULL), HSD_OK);
    for (int64_t i = 0; i < hsdi_gguf_n_tensors(g); i++) {
        bytes += (int64_t)hsdi_gguf_tensor_at(g, i)->size_bytes;
    }
    hsdi_gguf_close(&g);
    // A layer's bytes are the mean of all layers, without the fraction.
    int64_t sum = m->n_layers * m->layer_bytes + m->head_bytes + m->embedding_bytes;
    if (sum > bytes || sum <= bytes - m->n_layers) {
        fail_msg("%lld bytes of %lld", (long long)sum, (long long)bytes);
    }
    assert_true(m->head_ops == 2.0 * m->n_embd * m->n_vocab);
    assert_true(m->n_heads * m->d_head > 0 && m->n_kv_heads > 0);
    hsdi_profile_free(&data);
    hsd_profile_free(&profile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kept_profile_is_found_by_its_fingerprints),
        cmocka_unit_test(a_locale_with_decimal_commas_changes_no_text),
        cmocka_unit_test(pieces_are_joined_and_fail_by_themselves),
        cmocka_unit_test(a_models_shape_adds_up_to_its_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
