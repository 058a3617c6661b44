/// Proves: the three example files are read as what they say; a machine that was read, written and
///         read again is the same machine, bit for bit; every kind of mistake in a file (unknown
///         key, wrong unit, dangling name, cycle, negative number, duplicate, too many, no YAML) is
///         reported with file, line, column, field and a sentence; a locale with decimal commas
///         changes nothing; the machine's own check refuses what no file can say.
/// Does not prove: that a file's figures are those of the machine; texts that nobody thought of
///         (tests/fuzz/fuzz_topology.c).
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/comma_locale.h"
#include "topology/describe.h"
#include "topology/units.h"

static hsdi_machine *new_machine(void)
{
    hsdi_machine *m = malloc(sizeof *m);
    assert_non_null(m);
    hsdi_machine_init(m);
    return m;
}

static hsdi_machine *read_file(const char *path)
{
    hsdi_machine *m = new_machine();
    hsd_error err = {0};
    hsd_status status = hsdi_describe_read(path, m, &err);
    if (status != HSD_OK) {
        fail_msg("%s:%lld:%lld: %s", err.where, (long long)err.line, (long long)err.column,
                 err.message);
    }
    return m;
}

/// Written and read again: the same.
static void expect_round_trip(const hsdi_machine *m)
{
    char *text = NULL;
    hsd_error err = {0};
    hsdi_machine *again = new_machine();
    if (hsdi_describe_print(m, &text, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    if (hsdi_describe_parse(text, strlen(text), "again", again, &err) != HSD_OK) {
        fail_msg("line %lld, column %lld: %s\n%s", (long long)err.line, (long long)err.column,
                 err.message, text);
    }
    if (memcmp(m, again, sizeof *m) != 0) {
        const unsigned char *a = (const void *)m, *b = (const void *)again;
        size_t i = 0;
        while (a[i] == b[i]) {
            i++;
        }
        fail_msg("byte %zu of %zu differs: %d, %d\n%s", i, sizeof *m, a[i], b[i], text);
    }
    free(text);
    free(again);
}

static void the_laptop_example_is_read_as_it_says(void **state)
{
    (void)state;
    hsdi_machine *m = read_file("examples/topology/laptop.yaml");
    assert_string_equal(m->name, "laptop");
    assert_int_equal(m->n_hosts, 1);
    assert_true(m->hosts[0].is_here);
    assert_true(m->hosts[0].memory_bytes == INT64_C(32) << 30);
    assert_true(m->hosts[0].memory_limit_bytes == INT64_C(24) << 30);
    int gpu = hsdi_machine_find_device(m, "gpu0"), other = hsdi_machine_find_device(m, "gpu1"),
        npu = hsdi_machine_find_device(m, "npu0"), cpu = hsdi_machine_find_device(m, "cpu0"),
        fast = hsdi_machine_find_device(m, "pcores");
    assert_int_equal(m->devices[gpu].type, HSDI_DEVICE_GPU);
    assert_int_equal(m->devices[npu].type, HSDI_DEVICE_NPU);
    assert_true(m->devices[gpu].f16_gops == 9200.0);
    assert_true(m->devices[npu].idle_w == 0.1);
    assert_true(m->devices[gpu].launch_ns == 15e3);
    assert_string_equal(m->devices[npu].id, "");
    assert_int_equal(m->devices[other].i_same_as, gpu);
    assert_true(hsdi_machine_shares_units(m, gpu, other));
    assert_true(hsdi_machine_shares_units(m, cpu, fast));
    assert_false(hsdi_machine_shares_units(m, gpu, npu));
    assert_false(hsdi_machine_shares_units(m, cpu, gpu));
    assert_true(m->choices.power_w == 45.0);
    assert_true(m->choices.cache_memory_bytes == INT64_C(2) << 30);
    assert_int_equal(m->choices.i_target, -1);
    expect_round_trip(m);
    free(m);
}

static void the_server_example_is_read_as_it_says(void **state)
{
    (void)state;
    hsdi_machine *m = read_file("examples/topology/server.yaml");
    int gpu = hsdi_machine_find_device(m, "gpu0"), near = hsdi_machine_find_device(m, "numa1"),
        far = hsdi_machine_find_device(m, "numa0");
    assert_int_equal(m->hosts[0].n_numa, 2);
    assert_string_equal(m->hosts[0].numa[1].cpus, "24-47,72-95");
    assert_int_equal(m->hosts[0].caches[2].n_cores, 6);
    assert_true(m->hosts[0].ports[0].gbps == 3.125);
    assert_false(hsdi_machine_shares_units(m, near, far));
    assert_true(hsdi_machine_shares_units(m, near, hsdi_machine_find_device(m, "cpu0")));
    assert_int_equal(m->choices.i_target, gpu);
    assert_int_equal(m->choices.forbidden_modes, 1u << HSD_MODE_ASYNC);
    // PCIe by its link, then between two threads of the host by its own.
    hsdi_distance d = hsdi_machine_distance(m, gpu, near);
    assert_true(d.latency_ns == 33e3 && d.gbps == 3.0 && !d.is_assumed);
    expect_round_trip(m);
    free(m);
}

static void the_four_hosts_example_is_read_as_it_says(void **state)
{
    (void)state;
    hsdi_machine *m = read_file("examples/topology/hosts.yaml");
    assert_int_equal(m->n_hosts, 4);
    assert_int_equal(m->n_workers, 3);
    assert_string_equal(m->workers[0].pub_file, "keys/n1.pub");
    assert_int_equal(m->workers[2].i_draft_kind, HSD_DRAFT_NGRAM);
    assert_true(m->devices[m->workers[2].i_device].is_forbidden);
    assert_string_equal(m->choices.client_key_file, "keys/desk.key");
    int target = m->choices.i_target;
    hsdi_distance near = hsdi_machine_worker_distance(m, target, 1);
    assert_true(near.latency_ns == 55e3 && near.gbps == 1.17 && !near.is_assumed);
    // n1's own bus is not described.
    hsdi_distance gpu = hsdi_machine_worker_distance(m, target, 0);
    assert_true(gpu.is_assumed && gpu.latency_ns > near.latency_ns);
    expect_round_trip(m);
    free(m);
}

/// Refused at line:column, with `says` in the message and `field` at its beginning.
static void refused(const char *text, int line, int column, const char *field, const char *says)
{
    hsdi_machine *m = new_machine();
    hsd_error err = {0};
    hsd_status status = hsdi_describe_parse(text, strlen(text), "f.yaml", m, &err);
    if (status != HSD_EFORMAT || err.line != line || err.column != column ||
        strncmp(err.message, field, strlen(field)) != 0 || !strstr(err.message, says) ||
        strcmp(err.where, "f.yaml") != 0) {
        fail_msg("got %s, line %lld, column %lld, \"%s\"; wanted line %d, column %d, \"%s ... %s\" "
                 "for\n%s",
                 hsd_status_name(status), (long long)err.line, (long long)err.column, err.message,
                 line, column, field, says, text);
    }
    free(m);
}

#define HEAD "topology: 1\nhosts:\n  - name: h\ndevices:\n  - {name: a, type: cpu, host: h}\n"

static void mistakes_of_yaml_have_a_place(void **state)
{
    (void)state;
    refused("", 1, 1, "", "the file is empty");
    refused("topology: 1\nhosts: [\n", 3, 1, "", "while parsing");
    refused("topology: 1\n\tx: 2\n", 2, 1, "", "tab character");
    refused("topology: 1\nname: \xff\n", 2, 7, "", "UTF-8");
    refused("- 1\n", 1, 1, "", "this is a list, fields are wanted");
    refused(HEAD "---\ntopology: 1\n", 7, 1, "", "a second document");
    refused("topology: 1\nhosts: &h\n  - name: x\ndevices: *h\n", 2, 8, "devices",
            "an alias leads here");
    refused("topology: 1\nhosts:\n  - &h {name: x}\n  - *h\n", 3, 5, "hosts[1]", "alias");
    refused("topology: 1\nhosts:\n  - name: \"a\\0b\"\n", 3, 11, "hosts[0].name", "control");
}

static void unknown_missing_and_repeated_keys_have_a_place(void **state)
{
    (void)state;
    refused(HEAD "link: []\n", 6, 1, "", "there is no key \"link\" here; do you mean \"links\"?");
    refused("topology: 1\nhosts:\n  - name: h\n    memroy: 3\n", 4, 5, "hosts[0]",
            "there is no key \"memroy\"");
    refused("hosts:\n  - name: h\n", 1, 1, "", "\"topology\" is missing");
    refused("topology: 1\nhosts:\n  - cores: 3\n", 3, 5, "hosts[0]", "\"name\" is missing");
    refused("topology: 1\nhosts:\n  - name: h\n    name: i\n", 4, 5, "hosts[0]",
            "\"name\" stands here twice");
    refused("topology: 1\nhosts:\n  - name: h\n    cores:\n", 4, 11, "hosts[0].cores",
            "it has no value");
    refused("topology: 2\nhosts: [{name: h}]\n", 1, 11, "topology", "reads version 1");
}

static void wrong_units_and_numbers_have_a_place(void **state)
{
    (void)state;
    refused("topology: 1\nhosts:\n  - {name: h, memory: 8}\n", 3, 23, "hosts[0].memory",
            "\"8\" has no unit: an amount of memory is wanted, such as \"8 GiB\"");
    refused(HEAD "  - name: b\n    type: gpu\n    host: h\n    read: 25 GB\n", 9, 11,
            "devices[1].read", "\"25 GB\" has another unit: a rate is wanted");
    refused(HEAD "  - {name: b, type: gpu, host: h, read: 25 gb/s}\n", 6, 41, "devices[1].read",
            "another unit");
    refused(HEAD "  - {name: b, type: gpu, host: h, f16: fast}\n", 6, 40, "devices[1].f16",
            "no number");
    refused(HEAD "  - {name: b, type: gpu, host: h, launch: -3 us}\n", 6, 43, "devices[1].launch",
            "\"-3 us\" is negative");
    refused(HEAD "  - {name: b, type: gpu, host: h, launch: nan us}\n", 6, 43, "devices[1].launch",
            "no number");
    refused(HEAD "  - {name: b, type: gpu, host: h, launch: 1e300 s}\n", 6, 43, "devices[1].launch",
            "too large");
    refused(HEAD "  - {name: b, type: gpu, host: h, units: -1}\n", 6, 42, "devices[1].units",
            "-1 is negative");
    refused(HEAD "  - {name: b, type: gpu, host: h, units: 010}\n", 6, 42, "devices[1].units",
            "no whole number");
    refused(HEAD "  - {name: b, type: gpu, host: h, units: 3000000000}\n", 6, 42,
            "devices[1].units", "no whole number");
    refused(HEAD "  - {name: b, type: tpu, host: h}\n", 6, 21, "devices[1].type",
            "\"tpu\" is none of cpu, gpu, npu, accelerator, other");
    refused(HEAD "  - {name: b, type: gpu, host: h, forbidden: yes}\n", 6, 46,
            "devices[1].forbidden", "neither true nor false");
    refused(HEAD "choices: {window: 17}\n", 6, 19, "choices.window", "at most 16");
    refused(HEAD "fingerprint: 12\n", 6, 14, "fingerprint", "16 digits");
}

static void names_that_dangle_or_come_twice_have_a_place(void **state)
{
    (void)state;
    refused("topology: 1\nhosts:\n  - name: h\n  - name: h\n", 4, 11, "hosts[1].name",
            "two hosts are called \"h\"");
    refused("topology: 1\nhosts:\n  - name: a b\n", 3, 11, "hosts[0].name", "is no name");
    refused("topology: 1\nhosts:\n  - {name: h, here: true}\n  - {name: i, here: true}\n", 4, 21,
            "hosts[1].here", "another host is here");
    refused(HEAD "  - {name: a, type: gpu, host: h}\n", 6, 12, "devices[1].name", "two devices");
    refused(HEAD "  - {name: h, type: gpu, host: h}\n", 6, 12, "devices[1].name", "two devices");
    refused(HEAD "  - {name: b, type: gpu, host: x}\n", 6, 32, "devices[1].host",
            "there is no host \"x\"");
    refused(HEAD "  - {name: b, type: gpu, host: h, same_as: x}\n", 6, 44, "devices[1].same_as",
            "there is no device \"x\"");
    refused(HEAD "  - {name: b, type: gpu, host: h, numa: 1}\n", 6, 41, "devices[1].numa",
            "1 NUMA nodes");
    refused(HEAD "links:\n  - {from: a, to: x}\n", 7, 19, "links[0].to",
            "there is no host or device \"x\"");
    refused(HEAD "workers:\n  - {name: w, device: x, endpoint: \"ipc:///w\"}\n", 7, 23,
            "workers[0].device", "there is no device \"x\"");
    refused(HEAD "workers:\n  - {name: w, device: a, endpoint: \"ipc:///w\"}\n"
                 "  - {name: w, device: a, endpoint: \"ipc:///v\"}\n",
            8, 12, "workers[1].name", "two workers");
    refused(HEAD "choices: {target: x}\n", 6, 19, "choices.target", "there is no device \"x\"");
    refused("topology: 1\nhosts:\n  - {name: h, ports: [{name: e, type: network}, {name: e, type: "
            "network}]}\n",
            3, 56, "hosts[0].ports[1].name", "two ports");
    refused("topology: 1\nhosts:\n  - {name: h, ports: [{name: e, type: network, numa: 3}]}\n", 3,
            54, "hosts[0].ports[0].numa", "1 NUMA nodes");
}

static void cycles_loops_and_contradictions_have_a_place(void **state)
{
    (void)state;
    refused(HEAD "  - {name: b, type: gpu, host: h, same_as: b}\n", 6, 44, "devices[1].same_as",
            "a cycle");
    refused(HEAD "  - {name: b, type: gpu, host: h, same_as: c}\n"
                 "  - {name: c, type: gpu, host: h, same_as: b}\n",
            6, 44, "devices[1].same_as", "a cycle");
    refused(HEAD "links:\n  - {from: a, to: a}\n", 7, 19, "links[0].to", "a loop");
    refused(HEAD "links:\n  - {from: a, to: h}\n  - {from: h, to: a}\n", 8, 19, "links[1].to",
            "a second link");
    refused("topology: 1\nhosts:\n  - name: h\n  - name: i\ndevices:\n  - {name: a, type: cpu, "
            "host: h}\nlinks:\n  - {from: a, to: i}\n",
            8, 19, "links[0].to", "a is on h, not on i");
    refused("topology: 1\nhosts:\n  - name: h\n  - name: i\ndevices:\n  - {name: a, type: cpu, "
            "host: h}\n  - {name: b, type: cpu, host: i, same_as: a}\n",
            7, 44, "devices[1].same_as", "another host");
    refused(HEAD "choices:\n  mode: async\n  forbidden_modes: [ar, async]\n", 7, 9, "choices.mode",
            "it is forbidden");
    refused(HEAD "  - {name: b, type: gpu, host: h, forbidden: true}\nchoices:\n  draft: b\n", 8,
            10, "choices.draft", "b is forbidden");
    refused(HEAD "choices: {forbidden_modes: [auto]}\n", 6, 29, "choices.forbidden_modes[0]",
            "none of ar, serial");
}

static void too_many_of_a_kind_have_a_place(void **state)
{
    (void)state;
    char *text = malloc(1 << 16);
    size_t n = (size_t)sprintf(text, "topology: 1\nhosts:\n");
    for (int i = 0; i <= HSDI_MACHINE_HOSTS; i++) {
        n += (size_t)sprintf(text + n, "  - name: h%d\n", i);
    }
    refused(text, 3 + HSDI_MACHINE_HOSTS, 5, "hosts[64]", "it has 65 entries, at most 64");
    n = (size_t)sprintf(text, HEAD);
    for (int i = 0; i < HSDI_MACHINE_DEVICES; i++) {
        n += (size_t)sprintf(text + n, "  - {name: d%d, type: cpu, host: h}\n", i);
    }
    refused(text, 5 + HSDI_MACHINE_DEVICES, 5, "devices[128]", "at most 128");
    refused("topology: 1\nhosts: []\n", 2, 8, "hosts", "at least 1");
    n = (size_t)sprintf(text, "topology: 1\nhosts:\n  - name: ");
    memset(text + n, 'x', 64);
    memcpy(text + n + 64, "\n", 2);
    refused(text, 3, 11, "hosts[0].name", "it has 64 bytes, at most 63 fit");
    free(text);
}

static void a_file_that_is_not_there_says_so(void **state)
{
    (void)state;
    hsdi_machine *m = new_machine();
    hsd_error err = {0};
    assert_int_equal(hsdi_describe_read("/nonexistent/f.yaml", m, &err), HSD_EIO);
    assert_string_equal(err.where, "/nonexistent/f.yaml");
    free(m);
}

static void a_reference_forward_becomes_one_back(void **state)
{
    (void)state;
    hsdi_machine *m = new_machine();
    hsd_error err = {0};
    static const char text[] = HEAD "  - {name: b, type: gpu, host: h, same_as: d}\n"
                                    "  - {name: c, type: gpu, host: h}\n"
                                    "  - {name: d, type: gpu, host: h}\n"
                                    "  - {name: e, type: gpu, host: h, same_as: b}\n"
                                    "  - {name: f, type: gpu, host: h, same_as: c}\n";
    assert_int_equal(hsdi_describe_parse(text, sizeof text - 1, "f", m, &err), HSD_OK);
    assert_int_equal(m->devices[1].i_same_as, -1);
    assert_int_equal(m->devices[3].i_same_as, 1);
    assert_int_equal(m->devices[4].i_same_as, 1);
    assert_int_equal(m->devices[5].i_same_as, 2);
    expect_round_trip(m);
    free(m);
}

/// Numbers of every size and texts that look like something else.
static void odd_machines_survive_writing_and_reading(void **state)
{
    (void)state;
    hsdi_machine *m = read_file("examples/topology/hosts.yaml");
    static const double odd[] = {1.0 / 3.0, 0.1,  1e-9,   123456789.123, 3.0,  1024.0, 999.99,
                                 1.0000001, 1e17, 5e-324, 2.5e-310,      1e18, 0.3e-6, 7.0 / 11.0};
    static const char *const texts[] = {"true",  "~", "null", "- x", "a: b", " blank ", "#",
                                        "\"q\"", "'", "0x10", "é ü", "{",    "@x",      "1.50"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        hsdi_machine_device *d = &m->devices[i % (size_t)m->n_devices];
        d->read_gbps = d->f16_gops = odd[i];
        d->launch_ns = d->busy_w = odd[i];
        m->links[0].latency_ns = m->links[0].gbps = odd[i];
        d->memory_bytes = INT64_C(1) << 40;
        d->memory_limit_bytes = 123456789 + (int64_t)i;
        memset(d->model, 0, sizeof d->model);
        memset(d->id, 0, sizeof d->id);
        snprintf(d->model, sizeof d->model, "%s", texts[i]);
        snprintf(d->id, sizeof d->id, "%s", texts[i]);
        expect_round_trip(m);
    }
    for (size_t i = 0; i < sizeof m->devices[0].model - 1; i++) {
        m->devices[0].model[i] = i % 9 == 0 ? ' ' : 'w'; // longer than a line
    }
    m->devices[0].model[sizeof m->devices[0].model - 1] = '\0';
    m->fingerprint = 0x00ab000000000001;
    m->choices.window = 0;
    m->choices.mode = HSD_MODE_SERIAL;
    m->choices.forbidden_modes = 1u << HSD_MODE_AR | 1u << HSD_MODE_MIRROR;
    expect_round_trip(m);
    free(m);
}

static void a_locale_with_decimal_commas_changes_nothing(void **state)
{
    (void)state;
    if (!comma_locale_set()) {
        skip(); // localedef is not installed
    }
    hsdi_machine *m = read_file("examples/topology/laptop.yaml");
    assert_true(m->devices[hsdi_machine_find_device(m, "npu0")].int8_gops == 11500.0);
    expect_round_trip(m);
    free(m);
    comma_locale_unset();
}

static void what_no_file_can_say_is_refused_by_the_check(void **state)
{
    (void)state;
    hsd_error err = {0};
    char *text = NULL;
    hsdi_machine *good = read_file("examples/topology/hosts.yaml"), *m = new_machine();
#define REFUSED(change)                                                                            \
    *m = *good;                                                                                    \
    change;                                                                                        \
    assert_int_equal(hsdi_machine_check(m, &err), HSD_EINVAL);                                     \
    assert_true(err.message[0] != '\0');                                                           \
    assert_int_equal(hsdi_describe_print(m, &text, &err), HSD_EINVAL);                             \
    assert_null(text)
    REFUSED(m->devices[1].read_gbps = (double)NAN);
    REFUSED(m->devices[1].launch_ns = (double)INFINITY);
    REFUSED(m->devices[1].memory_bytes = -1);
    REFUSED(m->devices[1].i_host = 4);
    REFUSED(m->devices[1].i_same_as = 1);
    REFUSED(m->devices[1].i_numa = 1);
    REFUSED(strcpy(m->devices[1].model, "\xc3"));
    REFUSED(strcpy(m->devices[1].name, m->hosts[0].name));
    REFUSED(m->hosts[1].n_numa = 0);
    REFUSED(m->hosts[1].is_here = true);
    REFUSED(m->links[1] = m->links[2]);
    REFUSED(m->links[4].to.index = 1);
    REFUSED(m->workers[1].i_device = -1);
    REFUSED(m->workers[1].endpoint[0] = '\0');
    REFUSED(m->choices.i_draft = 5);
    REFUSED(m->choices.i_target = 99);
    REFUSED(m->n_links = HSDI_MACHINE_LINKS + 1);
    REFUSED(m->n_hosts = 0);
    *m = *good;
    assert_int_equal(hsdi_machine_check(m, &err), HSD_OK);
    free(good);
    free(m);
}

static void distances_fall_back_to_named_defaults(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsdi_machine *m = new_machine();
    static const char text[] =
        "topology: 1\nhosts: [{name: h}, {name: i}]\ndevices:\n"
        "  - {name: a, type: cpu, host: h, id: \"cpu:0-3\"}\n"
        "  - {name: b, type: cpu, host: h, id: \"cpu:4-7,9\"}\n"
        "  - {name: c, type: cpu, host: i, id: \"cpu:0-3\"}\n"
        "  - {name: g, type: gpu, host: h, id: \"opencl:1/0-3\", memory: 8 GiB}\n"
        "  - {name: k, type: gpu, host: h, id: \"opencl:1/4-7\", memory: 8 GiB}\n"
        "  - {name: s, type: gpu, host: h, id: \"opencl:0\"}\n"
        "  - {name: o, type: cpu, host: h, id: \"opencl:2\"}\n"
        "links:\n  - {from: g, to: k, latency: 1 us, rate: 300 GB/s}\n"
        "workers:\n  - {name: w, device: b, endpoint: \"ipc:///w\"}\n";
    assert_int_equal(hsdi_describe_parse(text, sizeof text - 1, "f", m, &err), HSD_OK);
    enum { A, B, C, G, K, S, O };
    hsdi_distance thread = hsdi_machine_distance(m, A, B), host = hsdi_machine_distance(m, A, C),
                  process = hsdi_machine_worker_distance(m, A, 0),
                  bus = hsdi_machine_distance(m, A, G), shared = hsdi_machine_distance(m, A, S),
                  direct = hsdi_machine_distance(m, K, G), none = hsdi_machine_distance(m, A, A);
    assert_true(thread.is_assumed && host.is_assumed && bus.is_assumed);
    assert_true(thread.latency_ns < process.latency_ns && process.latency_ns < host.latency_ns);
    assert_true(host.gbps < process.gbps && process.gbps < thread.gbps);
    assert_true(bus.latency_ns > shared.latency_ns && shared.latency_ns == thread.latency_ns);
    assert_true(direct.latency_ns == 1e3 && direct.gbps == 300.0 && !direct.is_assumed);
    assert_true(none.latency_ns == 0.0 && !none.is_assumed);
    assert_false(hsdi_machine_shares_units(m, A, B));
    assert_false(hsdi_machine_shares_units(m, A, C)); // another host's processors
    assert_false(hsdi_machine_shares_units(m, G, K));
    assert_true(hsdi_machine_shares_units(m, A, O));
    assert_true(hsdi_machine_shares_units(m, O, B));
    assert_false(hsdi_machine_shares_units(m, S, G));
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_laptop_example_is_read_as_it_says),
        cmocka_unit_test(the_server_example_is_read_as_it_says),
        cmocka_unit_test(the_four_hosts_example_is_read_as_it_says),
        cmocka_unit_test(mistakes_of_yaml_have_a_place),
        cmocka_unit_test(unknown_missing_and_repeated_keys_have_a_place),
        cmocka_unit_test(wrong_units_and_numbers_have_a_place),
        cmocka_unit_test(names_that_dangle_or_come_twice_have_a_place),
        cmocka_unit_test(cycles_loops_and_contradictions_have_a_place),
        cmocka_unit_test(too_many_of_a_kind_have_a_place),
        cmocka_unit_test(a_file_that_is_not_there_says_so),
        cmocka_unit_test(a_reference_forward_becomes_one_back),
        cmocka_unit_test(odd_machines_survive_writing_and_reading),
        cmocka_unit_test(a_locale_with_decimal_commas_changes_nothing),
        cmocka_unit_test(what_no_file_can_say_is_refused_by_the_check),
        cmocka_unit_test(distances_fall_back_to_named_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
