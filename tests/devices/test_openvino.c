/// Proves: the device "openvino" refuses what it does not do: caches, lists of the
///           largest, running.
///         A graph that reads columns which nothing has written is refused, and no file stays.
///         A network has the inputs that its graph needs and no others.
/// Does not prove: that networks compute the right numbers (tests/openvino).
#include "devices/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WIDTH = 8 };

typedef struct place {
    char folder[64], xml[96], bin[96];
    hsdi_device *device;
} place;

static int place_open(void **state)
{
    place *p = calloc(1, sizeof *p);
    hsd_error err;
    snprintf(p->folder, sizeof p->folder, "/tmp/hsd-openvino-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->xml, sizeof p->xml, "%s/n.xml", p->folder);
    snprintf(p->bin, sizeof p->bin, "%s/n.bin", p->folder);
    const hsdi_openvino_options options = {.xml_path = p->xml, .bin_path = p->bin};
    assert_int_equal(hsdi_device_open_openvino(&options, &p->device, &err), HSD_OK);
    *state = p;
    return 0;
}

static int place_close(void **state)
{
    place *p = *state;
    hsdi_device_close(&p->device);
    (void)unlink(p->xml);
    (void)unlink(p->bin);
    int left = rmdir(p->folder); // fails where something else was left
    free(p);
    return left;
}

static hsdi_view view(int value, int offset, int width)
{
    return (hsdi_view){.value = value, .offset = offset, .width = width};
}

static hsd_status compile(place *p, const hsdi_op *ops, int n_ops, hsdi_graph **out, hsd_error *err)
{
    const int width = WIDTH;
    const hsdi_graph_desc desc = {.name = "test",
                                  .n_rows_max = 3,
                                  .n_values = 1,
                                  .value_width = &width,
                                  .in_width = WIDTH,
                                  .out_width = WIDTH,
                                  .n_ops = n_ops,
                                  .ops = ops,
                                  .n_ctx = 4};
    return hsdi_graph_compile(p->device, &desc, out, err);
}

static void a_network_has_the_inputs_it_needs_and_is_not_run(void **state)
{
    place *p = *state;
    hsdi_graph *graph = NULL;
    hsdi_buffer *in = NULL, *out = NULL;
    hsd_error err;
    // The middle of IN replaces the middle of what was written before: three segments and a slice.
    const hsdi_op ops[] = {
        {.kind = HSDI_OP_COPY, .x = view(HSDI_VALUE_IN, 0, WIDTH), .y = view(0, 0, WIDTH)},
        {.kind = HSDI_OP_COPY, .x = view(HSDI_VALUE_IN, 1, 3), .y = view(0, 4, 3)},
        {.kind = HSDI_OP_COPY, .x = view(0, 0, WIDTH), .y = view(HSDI_VALUE_OUT, 0, WIDTH)},
    };
    assert_int_equal(compile(p, ops, 3, &graph, &err), HSD_OK);
    const hsd_network_port *ports;
    assert_int_equal(hsdi_openvino_ports(graph, &ports), 2);
    assert_string_equal(ports[0].name, "in");
    assert_string_equal(ports[1].name, "out");
    assert_true(!ports[0].is_output && ports[1].is_output);
    assert_int_equal(ports[1].n_dims, 2);
    assert_int_equal(ports[1].dims[0], 3);
    assert_int_equal(ports[1].dims[1], WIDTH);
    assert_int_equal(hsdi_buffer_create(p->device, 3, WIDTH, &in, &err), HSD_OK);
    assert_int_equal(hsdi_buffer_create(p->device, 3, WIDTH, &out, &err), HSD_OK);
    const hsdi_job job = {.n_rows = 1, .pos = (int32_t[]){0}, .in = in, .out = out};
    assert_int_equal(hsdi_graph_run(graph, &job, &err), HSD_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "vendor driver"));
    hsdi_buffer_destroy(&in);
    hsdi_buffer_destroy(&out);
    hsdi_graph_destroy(&graph);
}

static void columns_that_nothing_wrote_are_refused_and_no_file_stays(void **state)
{
    place *p = *state;
    hsdi_graph *graph = NULL;
    hsd_error err;
    const hsdi_op ops[] = {
        {.kind = HSDI_OP_COPY, .x = view(HSDI_VALUE_IN, 0, 4), .y = view(0, 0, 4)},
        {.kind = HSDI_OP_COPY, .x = view(0, 0, 5), .y = view(HSDI_VALUE_OUT, 0, 5)},
    };
    assert_int_equal(compile(p, ops, 2, &graph, &err), HSD_EINVAL);
    assert_non_null(strstr(err.message, "read before written"));
    assert_null(graph);
    assert_int_not_equal(access(p->xml, F_OK), 0);
    assert_int_not_equal(access(p->bin, F_OK), 0);
}

static void lists_of_the_largest_are_refused(void **state)
{
    place *p = *state;
    hsdi_graph *graph = NULL;
    hsd_error err;
    const hsdi_op op = {
        .kind = HSDI_OP_TOP, .x = view(HSDI_VALUE_IN, 0, 4), .y = view(HSDI_VALUE_OUT, 0, 5)};
    assert_int_equal(compile(p, &op, 1, &graph, &err), HSD_EUNSUPPORTED);
    assert_null(graph);
}

static void caches_are_refused(void **state)
{
    place *p = *state;
    hsdi_cache *cache = NULL;
    hsd_error err;
    const hsdi_cache_desc cells = {.n_layers = 1, .n_cells = 4, .width = WIDTH};
    assert_int_equal(hsdi_cache_create(p->device, &cells, &cache, &err), HSD_EUNSUPPORTED);
    assert_null(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_network_has_the_inputs_it_needs_and_is_not_run,
                                        place_open, place_close),
        cmocka_unit_test_setup_teardown(columns_that_nothing_wrote_are_refused_and_no_file_stays,
                                        place_open, place_close),
        cmocka_unit_test_setup_teardown(lists_of_the_largest_are_refused, place_open, place_close),
        cmocka_unit_test_setup_teardown(caches_are_refused, place_open, place_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
