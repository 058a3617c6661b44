/// Proves: what drivers list is matched with hwloc's devices by PCI address and UUID, the parts of
///         one driver's device are not taken for each other, and a machine so joined passes the
///         check; trees, pictures and JSON of every example and fixture are made, the pictures are
///         XML in which every device is named and nothing is left unescaped, and JSON has the
///         numbers of the machine; a machine of which nothing is measured is readable too.
/// Does not prove: that a picture is pretty.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/comma_locale.h"
#include "topology/describe.h"
#include "topology/discover.h"
#include "topology/join.h"
#include "topology/print.h"

static hsdi_machine *new_machine(void)
{
    hsdi_machine *m = malloc(sizeof *m);
    assert_non_null(m);
    return m;
}

static hsdi_machine *open_machine(const char *path)
{
    hsdi_machine *m = new_machine();
    hsd_error err = {0};
    const hsdi_machine_source source = {path, NULL};
    hsd_status status =
        strstr(path, ".xml") ? hsdi_discover(&source, m, &err) : hsdi_describe_read(path, m, &err);
    if (status != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return m;
}

static void drivers_are_matched_with_what_hwloc_found(void **state)
{
    (void)state;
    static const char uuid[] = "00112233445566778899aabbccddeeff";
    static const char zeros[] = "00000000000000000000000000000000";
    const hsd_device_info list[] = {
        {.id = "cpu", .type = "cpu", .name = "kernels ref", .driver = "hsd 0", .read_gbps = 50.0},
        {.id = "opencl:0",
         .type = "gpu",
         .name = "Arc",
         .driver = "cl 1",
         .pci = "0000:00:02.0",
         .n_units = 8,
         .memory_bytes = 1 << 30,
         .shares_memory = true,
         .launch_us = 3.0},
        {.id = "opencl:1",
         .type = "cpu",
         .name = "Core",
         .driver = "pocl 3",
         .n_units = 20,
         .memory_bytes = 1 << 30,
         .uuid = ""},
        {.id = "opencl:2",
         .type = "gpu",
         .name = "card",
         .driver = "cl 2",
         .uuid = "",
         .memory_bytes = 1 << 30},
        {.id = "level_zero:0",
         .type = "gpu",
         .name = "Arc\xff",
         .driver = "ze 1",
         .pci = "0000:00:02.0"},
        {.id = "level_zero:1",
         .type = "npu",
         .name = "AI",
         .driver = "ze 1",
         .pci = "0000:00:0b.0",
         .unusable = "runs networks"},
        {.id = "level_zero:2", .type = "gpu", .name = "half a card", .driver = "ze 2"},
        {.id = "level_zero:3", .type = "fpga", .name = "other half", .driver = "ze 2"},
        {.id = "level_zero:4", .type = "gpu", .name = "nobody", .driver = "ze 3"},
    };
    hsd_device_info infos[sizeof list / sizeof *list];
    memcpy(infos, list, sizeof list);
    memcpy(infos[6].uuid, uuid, sizeof uuid);
    memcpy(infos[7].uuid, uuid, sizeof uuid);
    memcpy(infos[3].uuid, uuid, sizeof uuid);
    memcpy(infos[8].uuid, zeros, sizeof zeros);
    memcpy(infos[2].uuid, zeros, sizeof zeros);
    hsdi_machine *m = open_machine("tests/topology/fixtures/laptop.xml");
    int n_before = m->n_devices;
    hsdi_machine_join(m, infos, (int)(sizeof list / sizeof *list));
    assert_int_equal(hsdi_machine_check(m, NULL), HSD_OK);
    // Two of the nine took the places of what PCI has, one is the CPU itself.
    assert_int_equal(m->n_devices, n_before + 6);
    int cpu = hsdi_machine_find_device(m, "cpu0"), gpu = hsdi_machine_find_device(m, "gpu0"),
        npu = hsdi_machine_find_device(m, "npu0"), cl_cpu = hsdi_machine_find_device(m, "cpu1");
    assert_true(m->devices[cpu].read_gbps == 50.0);
    assert_string_equal(m->devices[cpu].driver, "hsd 0, kernels ref");
    assert_string_equal(m->devices[gpu].id, "opencl:0");
    assert_string_equal(m->devices[gpu].unusable, "");
    assert_true(m->devices[gpu].memory_bytes == 0 && m->devices[gpu].launch_ns == 3000.0);
    assert_int_equal(m->devices[npu].type, HSDI_DEVICE_NPU);
    assert_string_equal(m->devices[npu].id, "");
    assert_string_equal(m->devices[npu].unusable, "runs networks");
    assert_string_equal(m->devices[npu].pci, "0000:00:0b.0");
    assert_int_equal(m->devices[cl_cpu].i_same_as, cpu);
    int same = 0, alone = 0;
    for (int i = n_before; i < m->n_devices; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        if (strcmp(d->id, "level_zero:0") == 0) {
            assert_int_equal(d->i_same_as, gpu);
            assert_string_equal(d->model, "Arc?");
        } else if (strcmp(d->id, "level_zero:2") == 0 || strcmp(d->id, "level_zero:3") == 0) {
            // Each is the card of opencl:2, by UUID, and not the other half.
            assert_string_equal(m->devices[d->i_same_as].id, "opencl:2");
            same++;
        } else if (strcmp(d->id, "level_zero:4") == 0 || strcmp(d->id, "opencl:2") == 0) {
            assert_int_equal(d->i_same_as, -1);
            alone++;
        }
    }
    assert_int_equal(same, 2);
    assert_int_equal(alone, 2);
    free(m);
}

static void a_machine_that_is_full_takes_no_more(void **state)
{
    (void)state;
    hsdi_machine *m = open_machine("tests/topology/fixtures/vm.xml");
    enum { MANY = HSDI_MACHINE_DEVICES + 5 };
    hsd_device_info *list = calloc(MANY, sizeof *list);
    for (int i = 0; i < MANY; i++) {
        snprintf(list[i].id, sizeof list[i].id, "opencl:%d", i);
        snprintf(list[i].type, sizeof list[i].type, "gpu");
    }
    hsdi_machine_join(m, list, MANY);
    assert_int_equal(m->n_devices, HSDI_MACHINE_DEVICES);
    assert_int_equal(hsdi_machine_check(m, NULL), HSD_OK);
    free(list);
    free(m);
}

static const char *const paths[] = {
    "examples/topology/laptop.yaml",      "examples/topology/server.yaml",
    "examples/topology/hosts.yaml",       "tests/topology/fixtures/server.xml",
    "tests/topology/fixtures/laptop.xml", "tests/topology/fixtures/vm.xml",
};

static void expect_named(const char *text, const hsdi_machine *m)
{
    for (int i = 0; i < m->n_devices; i++) {
        if (!strstr(text, m->devices[i].name)) {
            fail_msg("%s is not in\n%s", m->devices[i].name, text);
        }
    }
    for (int i = 0; i < m->n_hosts; i++) {
        assert_non_null(strstr(text, m->hosts[i].name));
    }
}

/// Brackets in pairs, no bare ampersand.
static void expect_xml(const char *text)
{
    bool inside = false;
    for (const char *c = text; *c; c++) {
        assert_false(*c == '<' && inside);
        assert_false(*c == '>' && !inside);
        inside = *c == '<' || (inside && *c != '>');
        if (*c == '&') {
            assert_true(strncmp(c, "&amp;", 5) == 0 || strncmp(c, "&lt;", 4) == 0 ||
                        strncmp(c, "&gt;", 4) == 0);
        }
    }
    assert_false(inside);
    assert_non_null(strstr(text, "</svg>\n"));
}

static void trees_and_pictures_name_every_device(void **state)
{
    (void)state;
    hsd_error err;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char *text = NULL;
        hsdi_machine *m = open_machine(paths[i]);
        assert_int_equal(hsdi_print_tree(m, &text, &err), HSD_OK);
        expect_named(text, m);
        free(text);
        assert_int_equal(hsdi_print_picture(m, &text, &err), HSD_OK);
        expect_named(text, m);
        expect_xml(text);
        free(text);
        free(m);
    }
}

static void texts_that_are_markup_are_escaped(void **state)
{
    (void)state;
    char *text = NULL;
    hsd_error err;
    hsdi_machine *m = open_machine(paths[0]);
    snprintf(m->devices[0].model, sizeof m->devices[0].model, "a<b>&\"c\\ é");
    assert_int_equal(hsdi_print_picture(m, &text, &err), HSD_OK);
    expect_xml(text);
    assert_non_null(strstr(text, "a&lt;b&gt;&amp;\"c\\ é"));
    free(text);
    assert_int_equal(hsdi_print_json(m, &text, &err), HSD_OK);
    json_t *all = json_loads(text, 0, NULL);
    assert_non_null(all);
    json_t *device = json_array_get(json_object_get(all, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(device, "model")), m->devices[0].model);
    json_decref(all);
    free(text);
    free(m);
}

static void json_has_the_numbers(void **state)
{
    (void)state;
    hsd_error err;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char *text = NULL;
        hsdi_machine *m = open_machine(paths[i]);
        assert_int_equal(hsdi_print_json(m, &text, &err), HSD_OK);
        json_error_t why;
        json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, &why);
        if (!all) {
            fail_msg("%s: %s\n%s", paths[i], why.text, text);
        }
        json_t *devices = json_object_get(all, "devices");
        assert_int_equal(json_array_size(devices), m->n_devices);
        assert_int_equal(json_array_size(json_object_get(all, "hosts")), m->n_hosts);
        assert_int_equal(json_array_size(json_object_get(all, "links")), m->n_links);
        assert_int_equal(json_array_size(json_object_get(all, "workers")), m->n_workers);
        for (int k = 0; k < m->n_devices; k++) {
            json_t *d = json_array_get(devices, (size_t)k);
            assert_true(json_number_value(json_object_get(d, "read_gbps")) ==
                        m->devices[k].read_gbps);
            assert_string_equal(json_string_value(json_object_get(d, "host")),
                                m->hosts[m->devices[k].i_host].name);
        }
        json_decref(all);
        free(text);
        free(m);
    }
}

static void links_of_any_pair_of_hosts_are_drawn(void **state)
{
    (void)state;
    char *text = NULL;
    hsd_error err;
    hsdi_machine *m = open_machine("examples/topology/hosts.yaml");
    m->links[m->n_links++] =
        (hsdi_machine_link){.from = {true, 1}, .to = {true, 3}, .latency_ns = 77e3, .gbps = 100.0};
    assert_int_equal(hsdi_print_picture(m, &text, &err), HSD_OK);
    assert_non_null(strstr(text, "77 us · 100 GB/s"));
    free(text);
    m->n_hosts = 0;
    assert_int_equal(hsdi_print_picture(m, &text, &err), HSD_EINVAL);
    assert_int_equal(hsdi_print_tree(m, &text, &err), HSD_EINVAL);
    assert_int_equal(hsdi_print_json(m, &text, &err), HSD_EINVAL);
    assert_null(text);
    free(m);
}

static void a_locale_with_decimal_commas_changes_no_text(void **state)
{
    (void)state;
    hsd_status (*const prints[])(const hsdi_machine *, char **, hsd_error *) = {
        hsdi_print_json, hsdi_print_picture, hsdi_print_tree};
    char *texts[2][3];
    hsd_error err;
    hsdi_machine *m = open_machine("examples/topology/hosts.yaml");
    m->devices[0].read_gbps = 1234.5;
    for (int i = 0; i < 2; i++) {
        if (i == 1 && !comma_locale_set()) {
            skip(); // localedef is not installed
        }
        for (int k = 0; k < 3; k++) {
            assert_int_equal(prints[k](m, &texts[i][k], &err), HSD_OK);
        }
    }
    comma_locale_unset();
    assert_non_null(strstr(texts[0][0], "1234.5"));
    for (int k = 0; k < 3; k++) {
        assert_string_equal(texts[0][k], texts[1][k]);
        free(texts[0][k]);
        free(texts[1][k]);
    }
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drivers_are_matched_with_what_hwloc_found),
        cmocka_unit_test(a_machine_that_is_full_takes_no_more),
        cmocka_unit_test(trees_and_pictures_name_every_device),
        cmocka_unit_test(texts_that_are_markup_are_escaped),
        cmocka_unit_test(json_has_the_numbers),
        cmocka_unit_test(links_of_any_pair_of_hosts_are_drawn),
        cmocka_unit_test(a_locale_with_decimal_commas_changes_no_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
