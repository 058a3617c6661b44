/// Proves: of recorded machines (two sockets with eight NUMA nodes, a laptop with two kinds of
///         cores, a small virtual machine) and of hwloc's short descriptions the host, its caches,
///         nodes and ports, sensible sets of cores and the devices on PCI are found, with their
///         places; the machine found here has just the processors that cores.c lists, also when
///         this process may use one only; what is found passes the check and survives a
///         description file; fingerprints are equal on the next look and differ between machines;
///         a record that is none is refused.
/// Does not prove: that hwloc is right about a machine.
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topology/cores.h"
#include "topology/describe.h"
#include "topology/discover.h"

static hsdi_machine *discover(const char *xml, const char *synthetic)
{
    const hsdi_machine_source source = {xml, synthetic};
    hsdi_machine *m = malloc(sizeof *m), *again = malloc(sizeof *m);
    hsd_error err = {0};
    char *text = NULL;
    assert_non_null(m);
    assert_non_null(again);
    if (hsdi_discover(&source, m, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    assert_int_equal(hsdi_machine_check(m, &err), HSD_OK);
    assert_int_equal(hsdi_describe_print(m, &text, &err), HSD_OK);
    assert_int_equal(hsdi_describe_parse(text, strlen(text), "text", again, &err), HSD_OK);
    if (memcmp(m, again, sizeof *m) != 0) {
        fail_msg("another machine after writing and reading:\n%s", text);
    }
    free(text);
    free(again);
    return m;
}

static const hsdi_machine_device *device(const hsdi_machine *m, const char *name)
{
    int i = hsdi_machine_find_device(m, name);
    if (i < 0) {
        fail_msg("there is no %s", name);
    }
    return &m->devices[i];
}

static void a_server_with_eight_nodes_is_found_as_it_is(void **state)
{
    (void)state;
    hsdi_machine *m = discover("tests/topology/fixtures/server.xml", NULL);
    const hsdi_machine_host *h = &m->hosts[0];
    assert_string_equal(h->name, "server.example");
    assert_false(h->is_here);
    assert_int_equal(h->n_packages, 2);
    assert_int_equal(h->n_cores, 48);
    assert_int_equal(h->n_cpus, 96);
    assert_int_equal(h->n_numa, 8);
    assert_true(h->memory_bytes == 8 * h->numa[3].memory_bytes);
    assert_string_equal(h->numa[1].cpus, "12-23");
    assert_int_equal(h->n_caches, 3);
    assert_int_equal(h->caches[2].level, 3);
    assert_int_equal(h->caches[2].n, 8);
    assert_int_equal(h->caches[2].n_cores, 6);
    assert_true(h->caches[2].size_bytes == 32 << 20);
    // The whole, two packages, eight nodes; the caches are those of the nodes.
    assert_string_equal(device(m, "cpu0")->id, "cpu");
    assert_int_equal(device(m, "cpu0")->n_units, 48);
    assert_int_equal(device(m, "cpu0")->i_numa, -1);
    assert_string_equal(device(m, "cpu0")->model, "EPYC 7443 (made up)");
    assert_int_equal(device(m, "package1")->n_units, 24);
    assert_string_equal(device(m, "numa2")->id, "cpu:24,26,28,30,32,34"); // first threads only
    assert_int_equal(device(m, "numa2")->i_numa, 2);
    assert_int_equal(hsdi_machine_find_device(m, "l3-0"), -1);
    assert_int_equal(m->n_devices, 12);
    const hsdi_machine_device *gpu = device(m, "gpu0");
    assert_string_equal(gpu->pci, "0000:81:00.0");
    assert_string_equal(gpu->model, "NVIDIA A100");
    assert_int_equal(gpu->i_numa, 5);
    assert_string_equal(gpu->id, "");
    assert_true(gpu->unusable[0] != '\0');
    assert_int_equal(m->n_links, 1);
    assert_true(m->links[0].gbps == 31.5 && m->links[0].latency_ns == 0.0);
    assert_int_equal(h->n_ports, 3);
    for (int i = 0; i < h->n_ports; i++) {
        assert_int_equal(h->ports[i].i_numa, 2);
        assert_int_equal(h->ports[i].type, strcmp(h->ports[i].name, "nvme0n1") == 0
                                               ? HSDI_PORT_STORAGE
                                               : HSDI_PORT_NETWORK);
    }
    int near = hsdi_machine_find_device(m, "numa5"), far = hsdi_machine_find_device(m, "numa0");
    assert_false(hsdi_machine_shares_units(m, near, far));
    assert_true(hsdi_machine_shares_units(m, near, hsdi_machine_find_device(m, "package1")));
    assert_false(hsdi_machine_shares_units(m, near, hsdi_machine_find_device(m, "package0")));
    free(m);
}

static void a_laptop_with_two_kinds_of_cores_is_found_as_it_is(void **state)
{
    (void)state;
    hsdi_machine *m = discover("tests/topology/fixtures/laptop.xml", NULL);
    assert_int_equal(m->hosts[0].n_cores, 14);
    assert_int_equal(m->hosts[0].n_cpus, 20);
    assert_string_equal(device(m, "pcores")->id, "cpu:0,2,4,6,8,10");
    assert_string_equal(device(m, "ecores")->id, "cpu:12-19");
    assert_int_equal(hsdi_machine_find_device(m, "half0"), -1);
    assert_string_equal(device(m, "gpu0")->model, "Arc Graphics");
    assert_int_equal(device(m, "accelerator0")->type, HSDI_DEVICE_ACCELERATOR);
    assert_string_equal(device(m, "accelerator0")->pci, "0000:00:0b.0");
    assert_string_equal(m->hosts[0].ports[0].name, "wlan0");
    free(m);
}

static void a_small_virtual_machine_is_found_as_it_is(void **state)
{
    (void)state;
    hsdi_machine *m = discover("tests/topology/fixtures/vm.xml", NULL);
    assert_int_equal(m->hosts[0].n_cores, 2);
    assert_string_equal(device(m, "half0")->id, "cpu:0");
    assert_string_equal(device(m, "half1")->id, "cpu:1");
    assert_int_equal(m->n_devices, 3);
    assert_int_equal(m->hosts[0].n_ports, 2);
    free(m);
}

static void short_descriptions_are_machines(void **state)
{
    (void)state;
    hsdi_machine *m = discover(NULL, "package:2 l3:2 core:4 pu:2");
    assert_int_equal(m->hosts[0].n_cores, 16);
    assert_string_equal(device(m, "package1")->id, "cpu:16,18,20,22,24,26,28,30");
    assert_string_equal(device(m, "l3-3")->id, "cpu:24,26,28,30");
    free(m);
    m = discover(NULL, "pu:1");
    assert_int_equal(m->n_devices, 1);
    assert_int_equal(device(m, "cpu0")->n_units, 1);
    free(m);
    m = discover(NULL, "l3:40 core:2 pu:1"); // too many sets of one sort: halves instead
    assert_int_equal(hsdi_machine_find_device(m, "l3-0"), -1);
    assert_int_equal(device(m, "half1")->n_units, 40);
    free(m);
    m = discover(NULL, "numa:40 core:1 pu:1");
    assert_int_equal(m->hosts[0].n_numa, HSDI_MACHINE_NUMA);
    free(m);
    m = discover(NULL, "package:4 numa:4 l3:4 core:16 pu:2");
    assert_int_equal(m->hosts[0].n_cores, 1024);
    free(m);
}

static void fingerprints_tell_machines_apart(void **state)
{
    (void)state;
    hsdi_machine *a = discover("tests/topology/fixtures/vm.xml", NULL),
                 *b = discover("tests/topology/fixtures/vm.xml", NULL),
                 *c = discover("tests/topology/fixtures/laptop.xml", NULL);
    assert_true(a->fingerprint != 0);
    assert_true(a->fingerprint == b->fingerprint);
    assert_true(a->fingerprint != c->fingerprint);
    assert_true(hsdi_discover_fingerprint() != 0);
    assert_true(hsdi_discover_fingerprint() == hsdi_discover_fingerprint());
    uint64_t before = hsdi_machine_fingerprint(c, c->fingerprint);
    assert_true(before == hsdi_machine_fingerprint(c, c->fingerprint));
    c->devices[1].read_gbps = 3.0; // a figure is no hardware
    assert_true(before == hsdi_machine_fingerprint(c, c->fingerprint));
    strcpy(c->devices[1].driver, "2.0");
    assert_true(before != hsdi_machine_fingerprint(c, c->fingerprint));
    free(a);
    free(b);
    free(c);
}

static void this_machine_has_the_processors_that_may_be_used(void **state)
{
    (void)state;
    hsdi_cores *cores = malloc(sizeof *cores);
    cpu_set_t before, one;
    hsd_error err = {0};
    assert_int_equal(hsdi_cores_discover(cores, &err), HSD_OK);
    hsdi_machine *m = discover(NULL, NULL);
    assert_true(m->hosts[0].is_here);
    assert_int_equal(m->hosts[0].n_cores, cores->n_cores);
    assert_int_equal(m->hosts[0].n_cpus, cores->n_cpus);
    assert_int_equal(device(m, "cpu0")->n_units, cores->n_cores);
    assert_true(m->hosts[0].memory_bytes > 0);
    uint64_t hardware = m->fingerprint;
    assert_true(hardware == hsdi_discover_fingerprint());
    free(m);

    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)cores->cpus[cores->n_cpus - 1], &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    m = discover(NULL, NULL);
    assert_int_equal(m->hosts[0].n_cores, 1);
    assert_int_equal(device(m, "cpu0")->n_units, 1);
    assert_true(m->fingerprint == hardware); // the hardware is the same
    free(m);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    free(cores);
}

static void a_record_that_is_none_is_refused(void **state)
{
    (void)state;
    static const hsdi_machine_source sources[] = {
        {"tests/topology/CMakeLists.txt", NULL}, {"/nonexistent.xml", NULL}, {NULL, "package:two"}};
    hsdi_machine *m = malloc(sizeof *m);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        hsd_error err = {0};
        assert_int_equal(hsdi_discover(&sources[i], m, &err), HSD_EFORMAT);
        assert_string_equal(err.where,
                            sources[i].xml_path ? sources[i].xml_path : sources[i].synthetic);
    }
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_with_eight_nodes_is_found_as_it_is),
        cmocka_unit_test(a_laptop_with_two_kinds_of_cores_is_found_as_it_is),
        cmocka_unit_test(a_small_virtual_machine_is_found_as_it_is),
        cmocka_unit_test(short_descriptions_are_machines),
        cmocka_unit_test(fingerprints_tell_machines_apart),
        cmocka_unit_test(this_machine_has_the_processors_that_may_be_used),
        cmocka_unit_test(a_record_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
