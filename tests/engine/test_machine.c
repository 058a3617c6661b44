/// Proves: machines are found, read, printed in every format and freed; what is wrong with an
///         argument or a file is said; the workers that an engine takes from a description are
///         those that are not forbidden, as many as was decided, with keys and kinds in order; a
///         machine of other hosts is not measured here, a set of processors is, once, and a device
///         that is not there is named.
/// Does not prove: what is found (tests/topology), that workers draft (tests/cli/test_topo.py).
#include <hsd/hsd.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/machine.h"

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static hsd_machine *read_text(const char *text)
{
    char path[] = "/tmp/hsd-machine-XXXXXX";
    hsd_machine *m = NULL;
    hsd_error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    hsd_status status = hsd_machine_read(path, &m, &err);
    unlink(path);
    must(status, &err);
    return m;
}

static void machines_are_found_read_and_printed(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsd_machine *machines[3] = {NULL};
    must(hsd_machine_discover(&machines[0], &err), &err);
    must(hsd_machine_read("examples/topology/hosts.yaml", &machines[1], &err), &err);
    must(hsd_machine_read("tests/topology/fixtures/server.xml", &machines[2], &err), &err);
    assert_true(machines[0]->m.fingerprint != 0);
    for (int i = 0; i < 3; i++) {
        for (int format = HSD_MACHINE_TREE; format <= HSD_MACHINE_JSON; format++) {
            char *text = NULL;
            must(hsd_machine_print(machines[i], (hsd_machine_format)format, &text, &err), &err);
            assert_non_null(strstr(text, machines[i]->m.devices[0].name));
            hsd_text_free(&text);
            assert_null(text);
        }
        hsd_machine_free(&machines[i]);
        assert_null(machines[i]);
    }
    hsd_machine_free(NULL);
    hsd_machine_free(&machines[0]);
    hsd_text_free(NULL);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsd_machine *m = NULL;
    char *text = NULL;
    assert_int_equal(hsd_machine_discover(NULL, &err), HSD_EINVAL);
    assert_int_equal(hsd_machine_read(NULL, &m, &err), HSD_EINVAL);
    assert_int_equal(hsd_machine_read("x", NULL, &err), HSD_EINVAL);
    assert_int_equal(hsd_machine_measure(NULL, &err), HSD_EINVAL);
    assert_int_equal(hsd_machine_print(NULL, HSD_MACHINE_TREE, &text, &err), HSD_EINVAL);
    assert_int_equal(hsd_machine_read("/nonexistent", &m, &err), HSD_EIO);
    assert_null(m);
    must(hsd_machine_read("examples/topology/laptop.yaml", &m, &err), &err);
    assert_int_equal(hsd_machine_print(m, HSD_MACHINE_TREE, NULL, &err), HSD_EINVAL);
    assert_int_equal(hsd_machine_print(m, (hsd_machine_format)9, &text, &err), HSD_EINVAL);
    assert_string_equal(err.where, "format");
    hsd_machine_free(&m);
    assert_int_equal(hsd_machine_read("tests/engine/test_machine.c", &m, &err), HSD_EFORMAT);
    assert_string_equal(err.where, "tests/engine/test_machine.c");
    assert_true(err.line > 0 && err.column > 0 && err.message[0]);
    assert_null(m);
}

static void an_engine_takes_the_workers_that_may_be_used(void **state)
{
    (void)state;
    static const char text[] =
        "topology: 1\nhosts: [{name: h}]\ndevices:\n"
        "  - {name: a, type: cpu, host: h}\n"
        "  - {name: b, type: cpu, host: h, forbidden: true}\n"
        "workers:\n"
        "  - {name: w1, device: a, endpoint: \"ipc:///1\"}\n"
        "  - {name: w2, device: b, endpoint: \"ipc:///2\"}\n"
        "  - {name: w3, device: a, endpoint: \"ipc:///3\", public_key: w3.pub, draft: ngram}\n"
        "choices: {workers: 3, key: own.key}\n";
    hsdi_described_workers workers;
    hsd_machine *m = read_text(text);
    hsdi_machine_workers(m, &workers);
    assert_int_equal(workers.n, 2);
    assert_string_equal(workers.endpoints[0], "ipc:///1");
    assert_null(workers.key_files[0]);
    assert_int_equal(workers.kinds[0], HSD_DRAFT_MODEL);
    assert_string_equal(workers.endpoints[1], "ipc:///3");
    assert_string_equal(workers.key_files[1], "w3.pub");
    assert_int_equal(workers.kinds[1], HSD_DRAFT_NGRAM);
    m->m.choices.n_workers = 1;
    hsdi_machine_workers(m, &workers);
    assert_int_equal(workers.n, 1);
    m->m.choices.n_workers = 0;
    hsdi_machine_workers(m, &workers);
    assert_int_equal(workers.n, 0);
    // Our own key is read, where none was given: this one is not there.
    m->m.choices.n_workers = -1;
    hsd_engine_options options;
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.machine = m;
    assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_EIO);
    assert_string_equal(err.where, "own.key");
    assert_null(engine);
    hsd_machine_free(&m);
}

static void only_devices_that_are_here_are_measured(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsd_machine *m = read_text("topology: 1\nhosts: [{name: h}]\ndevices:\n"
                               "  - {name: a, type: cpu, host: h, id: cpu}\n");
    must(hsd_machine_measure(m, &err), &err);
    assert_true(m->m.devices[0].read_gbps == 0.0);
    m->m.hosts[0].is_here = true;
    strcpy(m->m.devices[0].id, "opencl:9999");
    assert_int_equal(hsd_machine_measure(m, &err), HSD_ENODEVICE);
    assert_string_equal(err.where, "a");
    hsd_machine_free(&m);
}

static int first_cpu(void)
{
    cpu_set_t set;
    int cpu = 0;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    while (!CPU_ISSET((size_t)cpu, &set)) {
        cpu++;
    }
    return cpu;
}

static void a_set_of_processors_is_measured_once(void **state)
{
    (void)state;
    char folder[] = "/tmp/hsd-machine-XXXXXX", text[200], command[64];
    hsd_error err = {0};
    hsd_machine *found = NULL;
    assert_non_null(mkdtemp(folder));
    setenv("HSD_CACHE_DIR", folder, 1);
    snprintf(text, sizeof text,
             "topology: 1\nhosts: [{name: h, here: true}]\ndevices:\n"
             "  - {name: a, type: cpu, host: h, id: \"cpu:%d\", units: 1}\n",
             first_cpu());
    hsd_machine *m = read_text(text);
    must(hsd_machine_measure(m, &err), &err);
    assert_true(m->m.devices[0].read_gbps > 0.0 && m->m.devices[0].launch_ns > 0.0);
    must(hsd_machine_discover(&found, &err), &err);
    bool is_set = false;
    for (int i = 0; i < found->m.n_devices; i++) {
        const hsdi_machine_device *d = &found->m.devices[i];
        bool is_it = strcmp(d->id, m->m.devices[0].id) == 0;
        assert_true(d->read_gbps == (is_it ? m->m.devices[0].read_gbps : 0.0));
        is_set |= is_it;
    }
    // On two cores the first one is a half; on more it may be part of a larger set only.
    assert_true(is_set || found->m.hosts[0].n_cores != 2);
    hsd_machine_free(&m);
    hsd_machine_free(&found);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    unsetenv("HSD_CACHE_DIR");
}

static void what_a_description_decides_binds_sessions(void **state)
{
    (void)state;
    static const char text[] = "topology: 1\nhosts: [{name: h}]\ndevices:\n"
                               "  - {name: a, type: cpu, host: h}\n"
                               "choices: {mode: serial, window: 2, target_threads: 1}\n";
    hsd_machine *m = read_text(text);
    hsd_engine *engine = NULL;
    hsd_session *session = NULL;
    hsd_error err = {0};
    hsd_stats stats;
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    options.machine = m;
    must(hsd_engine_open(&options, &engine, &err), &err);
    hsd_machine_free(&m);
    hsd_session_options how;
    hsd_session_options_init(&how);
    how.n_tokens = 8;
    must(hsd_session_open(engine, &how, &session, &err), &err);
    must(hsd_session_submit(session, "The sea", 7, &err), &err);
    must(hsd_session_wait(session, &err), &err);
    hsd_session_stats(session, &stats);
    assert_int_equal(stats.mode, HSD_MODE_SERIAL);
    assert_int_equal(stats.window, 2);
    assert_int_equal(stats.n_threads, 1);
    hsd_session_close(&session);
    // Not where the application decides itself.
    how.mode = HSD_MODE_MIRROR;
    how.window = 3;
    must(hsd_session_open(engine, &how, &session, &err), &err);
    must(hsd_session_submit(session, "The sea", 7, &err), &err);
    must(hsd_session_wait(session, &err), &err);
    hsd_session_stats(session, &stats);
    assert_int_equal(stats.mode, HSD_MODE_MIRROR);
    assert_int_equal(stats.window, 3);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_are_found_read_and_printed),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(an_engine_takes_the_workers_that_may_be_used),
        cmocka_unit_test(only_devices_that_are_here_are_measured),
        cmocka_unit_test(a_set_of_processors_is_measured_once),
        cmocka_unit_test(what_a_description_decides_binds_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
