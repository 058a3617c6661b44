/// Proves: a profile survives writing and reading, number for number; joined profiles hold what
/// both
///           hold, under one device; tables come out with a machine's indices, by name or id, and
///           those of devices that it lacks stay out; an unknown key, a wrong type, a missing
///           field, a number that makes no sense and a device that is not listed are refused with
///           the line; a file that is not there is an error with its path; a locale with decimal
///           commas changes nothing; a pipe is read as a file is.
/// Does not prove: that any text is refused or read without harm (tests/fuzz/fuzz_profile.c).
#include "tests/comma_locale.h"
#include "topology/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static hsdi_profile *make(void)
{
    hsdi_profile *p = NULL;
    assert_int_equal(hsdi_profile_create(&p, NULL), HSD_OK);
    p->machine = 0xfedcba9876543210u;
    strcpy(p->machine_name, "a: machine # \"here\"");
    strcpy(p->made, "2026-11-25T22:00:00Z");
    strcpy(p->layout, "kv-f32");
    p->n_devices = 2;
    p->devices[0] = (hsdi_profile_device){.name = "cpu0", .id = "cpu", .to_gbps = 1.0 / 3.0};
    p->devices[1] = (hsdi_profile_device){
        .name = "gpu0", .id = "opencl:0", .failure = "the probe ended by signal 6 (Aborted)"};
    p->costs.target = (hsdi_cost_model){.fingerprint = 7,
                                        .n_layers = 10,
                                        .n_embd = 64,
                                        .n_vocab = 500,
                                        .n_ctx = 128,
                                        .layer_bytes = 1000000007,
                                        .layer_ops = 1e9 / 7.0,
                                        .weights_are_int8 = true,
                                        .n_heads = 4,
                                        .n_kv_heads = 2,
                                        .d_head = 16,
                                        .is_rotary = true};
    p->costs.n_tables = 2;
    p->costs.tables[0] = (hsdi_cost_table){.role = HSDI_COST_TARGET,
                                           .i_device = 0,
                                           .n_threads = 2,
                                           .n_past = 128,
                                           .fixed_ns = 0.1,
                                           .layer_ns = {1, 2, 3, 4, 5, 6, 7.5},
                                           .head_ns = {9, 8, 7, 6, 5, 4, 3},
                                           .is_measured = true};
    p->costs.tables[1] = (hsdi_cost_table){.role = HSDI_COST_DRAFT, .i_device = 1};
    p->costs.n_slowdowns = 1;
    p->costs.slowdowns[0] = (hsdi_cost_slowdown){HSDI_COST_TARGET, 0, 2, 1, 0, 1.25};
    p->slowdown_ranges[0] = (hsdi_profile_range){1.125, 1.5};
    p->costs.n_turns = 1;
    p->costs.turns[0] = (hsdi_cost_turn){0, 2, 1, 0, 1e5 / 3.0, 2500.0};
    p->costs.rendezvous = (hsdi_cost_rendezvous){1e4, 2e4, 3e4, 4e4};
    p->costs.acceptance = (hsdi_acceptance){.accept = {0, 0.75, 0.5, 0.25},
                                            .ngram_accept = 0.125,
                                            .own = {0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1},
                                            .both = {0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1},
                                            .exit_part = 0.5,
                                            .n_seen = 100,
                                            .window = 8,
                                            .brief_window = 2,
                                            .brief_own = {0.6, 0.7, 0.8, 0.9, 0.9, 0.95, 1},
                                            .brief_both = {0.6, 0.7, 0.8, 0.9, 0.9, 0.95, 1},
                                            .trail = "0010-7 00"};
    p->n_passes = 1;
    p->passes[0] = (hsdi_profile_pass){
        HSDI_COST_DRAFT, HSDI_PART_ROLLOUT, 1, 1, 4, 7, 128, 11, 1000.5, 900.25, 1100.125, 1010.0};
    return p;
}

/// Text of a profile; free() it. (gcc 12 takes what comes out of it, inlined, for dangling.)
__attribute__((noinline)) static char *print(const hsdi_profile *p)
{
    char *text = NULL;
    size_t n = 0;
    hsd_error err = {0};
    if (hsdi_profile_print(p, &text, &n, &err) != HSD_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(strlen(text), n);
    return text;
}

static void same(const double *a, const double *b, int n)
{
    for (int i = 0; i < n; i++) {
        assert_true(a[i] == b[i]);
    }
}

// Field by field: what lies between fields may differ.
static void same_table(const hsdi_cost_table *a, const hsdi_cost_table *b)
{
    assert_int_equal(a->role, b->role);
    assert_int_equal(a->i_device, b->i_device);
    assert_int_equal(a->n_threads, b->n_threads);
    assert_int_equal(a->n_past, b->n_past);
    same(&a->fixed_ns, &b->fixed_ns, 1);
    same(a->layer_ns, b->layer_ns, HSDI_COST_ROWS);
    same(a->head_ns, b->head_ns, HSDI_COST_ROWS);
    assert_int_equal(a->is_measured, b->is_measured);
}

static void same_acceptance(const hsdi_acceptance *a, const hsdi_acceptance *b)
{
    same(a->accept, b->accept, HSDI_COST_DEPTHS + 1);
    same(&a->ngram_accept, &b->ngram_accept, 1);
    same(a->own, b->own, HSDI_COST_ROWS);
    same(a->both, b->both, HSDI_COST_ROWS);
    assert_int_equal(a->window, b->window);
    same(a->brief_own, b->brief_own, HSDI_COST_ROWS);
    same(a->brief_both, b->brief_both, HSDI_COST_ROWS);
    assert_int_equal(a->brief_window, b->brief_window);
    same(&a->exit_part, &b->exit_part, 1);
    same(&a->n_seen, &b->n_seen, 1);
    assert_string_equal(a->trail, b->trail);
    same(a->chain, b->chain, HSDI_COST_DEPTHS + 1);
    same(&a->starts, &b->starts, 1);
    same(&a->goes_on, &b->goes_on, 1);
    same(a->places, b->places, HSDI_TRAIL_PLACES);
}

static void a_profile_survives_the_file(void **state)
{
    (void)state;
    hsdi_profile *before = make(), *after = NULL;
    char *text = print(before);
    hsd_error err = {0};
    if (hsdi_profile_parse(text, strlen(text), "p", &after, &err) != HSD_OK) {
        fail_msg("line %d: %s\n%s", (int)err.line, err.message, text);
    }
    char *again = print(after);
    assert_string_equal(text, again);
    same_table(&before->costs.tables[0], &after->costs.tables[0]);
    same_acceptance(&before->costs.acceptance, &after->costs.acceptance);
    assert_memory_equal(&before->passes[0], &after->passes[0], sizeof before->passes[0]);
    assert_memory_equal(&before->costs.turns[0], &after->costs.turns[0],
                        sizeof before->costs.turns[0]);
    assert_string_equal(before->machine_name, after->machine_name);
    assert_string_equal(before->devices[1].failure, after->devices[1].failure);
    assert_true(before->machine == after->machine);
    assert_true(before->devices[0].to_gbps == after->devices[0].to_gbps);
    assert_int_equal(after->costs.draft.n_layers, 0);
    assert_int_equal(after->costs.target.n_kv_heads, 2);
    assert_true(after->costs.target.is_rotary);
    free(text);
    free(again);
    hsdi_profile_free(&before);
    hsdi_profile_free(&after);
    assert_null(after);
}

static void a_locale_with_decimal_commas_changes_no_file(void **state)
{
    (void)state;
    hsdi_profile *before = make(), *after = NULL;
    hsd_error err = {0};
    char *text = print(before);
    if (!comma_locale_set()) {
        skip(); // localedef is not installed
    }
    char *there = print(before);
    assert_string_equal(text, there);
    if (hsdi_profile_parse(text, strlen(text), "p", &after, &err) != HSD_OK) {
        fail_msg("line %d: %s\n%s", (int)err.line, err.message, text);
    }
    assert_true(after->costs.tables[0].fixed_ns == 0.1);
    comma_locale_unset();
    free(text);
    free(there);
    hsdi_profile_free(&before);
    hsdi_profile_free(&after);
}

static void a_profile_may_come_through_a_pipe(void **state)
{
    (void)state;
    hsdi_profile *before = make(), *after = NULL;
    char *text = print(before), path[32];
    int ends[2];
    hsd_error err = {0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, strlen(text)), strlen(text)); // a pipe takes as much
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    if (hsdi_profile_read(path, &after, &err) != HSD_OK) {
        fail_msg("%s", err.message);
    }
    char *again = print(after);
    assert_string_equal(text, again);
    close(ends[0]);
    free(text);
    free(again);
    hsdi_profile_free(&before);
    hsdi_profile_free(&after);
}

static void joined_profiles_hold_what_both_hold(void **state)
{
    (void)state;
    hsdi_profile *all = NULL, *part = make();
    assert_int_equal(hsdi_profile_create(&all, NULL), HSD_OK);
    assert_int_equal(hsdi_profile_merge(all, part, NULL), HSD_OK);
    // The other part has the devices in another order.
    hsdi_profile_device first = part->devices[0];
    part->devices[0] = part->devices[1];
    part->devices[1] = first;
    part->passes[0].i_device = 1;
    part->machine = 0;
    assert_int_equal(hsdi_profile_merge(all, part, NULL), HSD_OK);
    assert_int_equal(all->n_devices, 2);
    assert_int_equal(all->costs.n_tables, 4);
    assert_int_equal(all->costs.tables[2].i_device, 1);
    assert_int_equal(all->n_passes, 2);
    assert_int_equal(all->passes[1].i_device, 0);
    assert_int_equal(all->costs.n_slowdowns, 2);
    assert_int_equal(all->costs.n_turns, 2);
    assert_int_equal(all->costs.turns[1].i_target, 1); // of a device that is the second here
    assert_true(all->slowdown_ranges[1].low == 1.125);
    assert_true(all->machine == 0xfedcba9876543210u);
    hsdi_profile_free(&all);
    hsdi_profile_free(&part);
}

static void tables_come_out_with_a_machines_indices(void **state)
{
    (void)state;
    hsdi_machine *machine = malloc(sizeof *machine);
    hsdi_costs *costs = malloc(sizeof *costs);
    hsdi_profile *p = make();
    assert_true(machine && costs);
    hsdi_machine_init(machine);
    machine->n_hosts = 1;
    machine->hosts[0].is_here = true;
    machine->n_devices = 3;
    strcpy(machine->devices[0].name, "other");
    strcpy(machine->devices[2].name, "gpu0");
    assert_int_equal(hsdi_profile_costs(p, machine, costs), 1);
    assert_int_equal(costs->n_tables, 1);
    assert_int_equal(costs->tables[0].i_device, 2);
    assert_int_equal(costs->n_slowdowns, 0);
    assert_int_equal(costs->n_turns, 0);
    strcpy(machine->devices[1].name, "the cores");
    strcpy(machine->devices[1].id, "cpu");
    assert_int_equal(hsdi_profile_costs(p, machine, costs), 2);
    assert_int_equal(costs->n_tables, 2);
    assert_int_equal(costs->tables[0].i_device, 1);
    assert_int_equal(costs->slowdowns[0].i_beside, 2);
    assert_int_equal(costs->turns[0].i_target, 1);
    assert_int_equal(costs->turns[0].i_draft, 2);
    assert_true(costs->acceptance.chain[1] > 1.0); // the trail was evaluated
    hsdi_profile_free(&p);
    free(machine);
    free(costs);
}

/// The printed profile with the first `from` replaced, and what reading it says.
static hsd_error refusal_of(const char *from, const char *to)
{
    hsdi_profile *p = make(), *got = NULL;
    char *text = print(p), *at = strstr(text, from);
    if (!at) {
        fail_msg("no %s in\n%s", from, text);
    }
    size_t n = strlen(text) + strlen(to) + 1;
    char *changed = calloc(1, n);
    assert_non_null(changed);
    snprintf(changed, n, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    hsd_error err = {0};
    if (hsdi_profile_parse(changed, strlen(changed), "p.yaml", &got, &err) != HSD_EFORMAT) {
        fail_msg("%s was taken for %s", to, from);
    }
    assert_null(got);
    int line = 1;
    for (const char *c = text; c < at; c++) {
        line += *c == '\n';
    }
    assert_string_equal(err.where, "p.yaml");
    if (err.line < line - 1 || err.line > line + 1) {
        fail_msg("%s for %s in line %d, not %d: %s", to, from, line, (int)err.line, err.message);
    }
    free(text);
    free(changed);
    hsdi_profile_free(&p);
    return err;
}

static void what_makes_no_sense_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"cache: kv-f32", "cache: kv-f32\ncolour: red", "Unexpected key: colour"},
        {"version: 1", "version: 2", "only version 1"},
        {"version: 1", "version: one", "Invalid"},
        {"fingerprint: fedcba", "fingerprint: xedcba", "16 hexadecimal digits"},
        {"layers: 10", "layers: 0", "at least 1"},
        {"layers: 10", "layers: 99999999999", "Invalid"},
        {"device: gpu0", "device: gpu7", "no device of this name"},
        {"name: gpu0", "name: cpu0", "listed twice"},
        {"role: draft", "role: dog", "Invalid"},
        {"fixed_ns: 1.0", "fixed_ns: -1.0", "negative or not finite"},
        {"fixed_ns: 1.0000000000000001e-01", "fixed_ns: nan", "negative or not finite"},
        {"factor: 1.25", "factor: 0.25", "below 1"},
        {"ngram: 1.2500000000000000e-01", "ngram: 9.25", "not in 0..1"},
        {"times: 11", "times: 0", "negative or zero"},
        {"call_ns: 2.5", "call_ns: -2.5", "negative or not finite"},
        {"trail: 0010-7 00", "trail: 0010-7 x0", "other characters"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hsd_error err = refusal_of(cases[i].from, cases[i].to);
        if (!strstr(err.message, cases[i].says)) {
            fail_msg("%s: %s", cases[i].to, err.message);
        }
    }
}

/// Profiles of before there were turns and trails.
static void older_profiles_are_read(void **state)
{
    (void)state;
    hsdi_profile *before = make(), *after = NULL;
    before->costs.n_turns = 0;
    before->costs.acceptance.trail[0] = 0;
    char *text = print(before);
    char *turns = strstr(text, "turns: []\n"); // an empty list is written
    if (turns) {
        memmove(turns, turns + 10, strlen(turns + 10) + 1);
    }
    assert_null(strstr(text, "trail"));
    assert_null(strstr(text, "turns"));
    assert_int_equal(hsdi_profile_parse(text, strlen(text), "p", &after, NULL), HSD_OK);
    assert_int_equal(after->costs.n_turns, 0);
    assert_int_equal(after->costs.acceptance.trail[0], 0);
    free(text);
    hsdi_profile_free(&before);
    hsdi_profile_free(&after);
}

static void texts_that_are_no_profile_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[", "3", "- 1", "version: 1\n", "{}", "\t", "&a [*a]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        hsdi_profile *p = NULL;
        hsd_error err = {0};
        assert_int_equal(hsdi_profile_parse(texts[i], strlen(texts[i]), "p", &p, &err),
                         HSD_EFORMAT);
        assert_true(err.message[0] != 0);
    }
    hsdi_profile *p = NULL;
    hsd_error err = {0};
    assert_int_equal(hsdi_profile_read("/no/such/profile.yaml", &p, &err), HSD_EIO);
    assert_string_equal(err.where, "/no/such/profile.yaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_survives_the_file),
        cmocka_unit_test(a_locale_with_decimal_commas_changes_no_file),
        cmocka_unit_test(a_profile_may_come_through_a_pipe),
        cmocka_unit_test(joined_profiles_hold_what_both_hold),
        cmocka_unit_test(tables_come_out_with_a_machines_indices),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_its_line),
        cmocka_unit_test(older_profiles_are_read),
        cmocka_unit_test(texts_that_are_no_profile_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
