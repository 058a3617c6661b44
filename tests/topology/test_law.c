/// Proves: the law's terms, worked out by hand on small tables: the target alone, serial, mirror
/// with hidden and exposed drafts, misses, messages and contention, async where the draft keeps up
/// and where it does not, links to another host, several workers; interpolation and estimates; and
/// the case of OpenVINO discussion 36484: a CPU draft pays, an NPU draft does not, async would.
/// Does not prove: that machines behave so.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <topology/planner.h>

#include <cmocka.h>

typedef struct world {
    hsdi_machine machine;
    hsdi_costs costs;
    hsdi_plan plan;
} world;

enum { GPU, CPU, NPU, FAR };

static int setup(void **state)
{
    *state = calloc(1, sizeof(world));
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void add_device(hsdi_machine *m, const char *name, hsdi_device_type type, int i_host)
{
    hsdi_machine_device *d = &m->devices[m->n_devices++];
    *d = (hsdi_machine_device){.type = type, .i_host = i_host, .i_numa = -1, .i_same_as = -1};
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    (void)snprintf(d->id, sizeof d->id, "%s", type == HSDI_DEVICE_CPU ? "cpu" : name);
    d->n_units = 4;
    d->memory_bytes = type == HSDI_DEVICE_GPU ? INT64_C(1) << 40 : 0;
}

/// Passes of `fixed + n_layers * layer + head` that do not depend on rows.
static void add_flat(hsdi_costs *c, hsdi_cost_role role, int d, int n_threads, double layer,
                     double head)
{
    hsdi_cost_table *t = &c->tables[c->n_tables++];
    *t =
        (hsdi_cost_table){.role = role, .i_device = d, .n_threads = n_threads, .is_measured = true};
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        t->layer_ns[i] = layer;
        t->head_ns[i] = head;
    }
}

/// Target on a GPU: 10 layers of 100 us and a head of 50. Draft on the CPU: 2 layers of 20 us and
/// a head of 10: 50 us a call. Messages 7 us. Nothing shares anything.
static void small_world(world *w)
{
    memset(w, 0, sizeof *w);
    hsdi_machine *m = &w->machine;
    hsdi_machine_init(m);
    m->n_hosts = 2;
    (void)snprintf(m->hosts[0].name, sizeof m->hosts[0].name, "here");
    (void)snprintf(m->hosts[1].name, sizeof m->hosts[1].name, "there");
    m->hosts[0].is_here = true;
    m->hosts[0].n_numa = m->hosts[1].n_numa = 1;
    add_device(m, "gpu", HSDI_DEVICE_GPU, 0);
    add_device(m, "cpu", HSDI_DEVICE_CPU, 0);
    hsdi_costs *c = &w->costs;
    c->target = (hsdi_cost_model){
        .n_layers = 10, .n_embd = 64, .n_vocab = 100, .n_ctx = 100, .layer_bytes = 1000};
    c->draft = c->target;
    c->draft.n_layers = 2;
    c->target.layer_ops = c->draft.layer_ops = 1;
    add_flat(c, HSDI_COST_TARGET, GPU, 0, 100e3, 50e3);
    add_flat(c, HSDI_COST_DRAFT, CPU, 1, 20e3, 10e3);
    c->rendezvous = (hsdi_cost_rendezvous){7e3, 20e3, 30e3, 11e3};
    for (int d = 0; d <= HSDI_COST_DEPTHS; d++) {
        c->acceptance.accept[d] = 0.5;
    }
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        c->acceptance.own[i] = c->acceptance.both[i] = 0.8;
    }
}

static hsdi_plan_setting setting(hsd_mode mode, int window)
{
    return (hsdi_plan_setting){.mode = mode,
                               .draft_kind = HSD_DRAFT_MODEL,
                               .i_target = GPU,
                               .i_suffix = -1,
                               .n_workers = 1,
                               .i_draft = {CPU},
                               .i_worker = {-1},
                               .n_draft_threads = 1,
                               .window = window,
                               .tree = window,
                               .roots = 8};
}

static hsdi_plan_step predict(const world *w, const hsdi_plan_setting *x)
{
    hsdi_plan_step step = {0};
    hsd_error err = {0};
    if (hsdi_plan_predict(&w->machine, &w->costs, x, &step, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return step;
}

static void is_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fabs(b) + 1e-6)) {
        fail_msg("%.9g instead of %.9g", a, b);
    }
}

static void the_target_alone_is_a_pass_of_one_row(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_plan_setting x = setting(HSD_MODE_AR, 0);
    is_near(predict(w, &x).total_ns, 1050e3);
    is_near(predict(w, &x).tokens, 1.0);
}

static void serial_drafts_then_verifies(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_plan_setting x = setting(HSD_MODE_SERIAL, 3);
    is_near(predict(w, &x).total_ns, 1050e3 + 3 * 50e3 + 7e3 + 11e3);
    is_near(predict(w, &x).tokens, 1.875);
    x.tree = 5; // two siblings, 0.8 of what follows a rejection: the coverage is flat here
    is_near(predict(w, &x).tokens, 1.875 + 0.875 * 0.8);
}

static void who_takes_turns_needs_what_was_measured(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_plan_setting x = setting(HSD_MODE_SERIAL, 3);
    w->costs.turns[0] = (hsdi_cost_turn){GPU, 0, CPU, 1, 40e3, 5e3};
    w->costs.turns[1] = (hsdi_cost_turn){GPU, 0, CPU, 2, 1, 1}; // with other threads
    w->costs.n_turns = 2;
    is_near(predict(w, &x).total_ns, 1050e3 + 3 * 55e3 + 40e3);
    is_near(predict(w, &x).messages_ns, 55e3);
    x.mode = HSD_MODE_MIRROR; // does not take turns
    double mirror = predict(w, &x).total_ns;
    w->costs.n_turns = 0;
    is_near(predict(w, &x).total_ns, mirror);
    // Behind a window that was right (an eighth of them) the draft reads two tokens.
    for (int i = 1; i < HSDI_COST_ROWS; i++) {
        w->costs.tables[1].head_ns[i] += 8e3;
    }
    x.mode = HSD_MODE_SERIAL;
    is_near(predict(w, &x).total_ns, 1050e3 + 3 * 50e3 + 7e3 + 11e3 + 0.125 * 8e3);
}

static void a_draft_that_was_right_goes_on_so(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_plan_setting x = setting(HSD_MODE_ASYNC, 1);
    double even = predict(w, &x).tokens;
    w->costs.acceptance.accept[1] = 0.3; // as often right on the whole: 0.3 / (1 - 0.7 + 0.3)
    for (int d = 2; d <= HSDI_COST_DEPTHS; d++) {
        w->costs.acceptance.accept[d] = 0.7;
    }
    assert_true(predict(w, &x).tokens > 1.04 * even);
    // A trail counts for more than shares.
    memset(w->costs.acceptance.trail, '0', 100);
    hsdi_acceptance_extend(&w->costs.acceptance);
    is_near(hsdi_acceptance_goes_on(&w->costs.acceptance), 1.0);
    x = setting(HSD_MODE_SERIAL, 4);
    is_near(predict(w, &x).tokens, 5.0);
    hsdi_acceptance_forget(&w->costs.acceptance);
    is_near(predict(w, &x).tokens, 1 + 0.3 * (1 + 0.7 * (1 + 0.7 * 1.7)));
}

static void a_hidden_draft_costs_mirror_only_its_misses_and_messages(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_plan_setting x = setting(HSD_MODE_MIRROR, 4);
    x.exit_layer = 5;
    // Pass: 500, head 50, 550. Draft: glue and 4 calls of 50 within the suffix. Misses: 2 calls.
    hsdi_plan_step s = predict(w, &x);
    is_near(s.prefix_ns, 500e3);
    is_near(s.exit_ns, 50e3);
    is_near(s.suffix_ns, 550e3);
    is_near(s.exposed_ns, 0.0);
    is_near(s.total_ns, 1100e3 + 7e3 + 0.2 * 2 * 50e3);
    is_near(s.tokens, 0.8 * 1.9375 + 0.2 * 1.75);
    x.exit_layer = 0; // without proxies: no head at the exit, and only own roots
    is_near(predict(w, &x).total_ns, 1050e3 + 7e3 + 0.2 * 2 * 50e3);
}

static void what_a_draft_has_not_finished_is_waited_for(void **state)
{
    world *w = *state;
    small_world(w);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        w->costs.tables[1].layer_ns[i] = 145e3; // a call of 300 us
    }
    hsdi_plan_setting x = setting(HSD_MODE_MIRROR, 4);
    // The pass of 1050 us has room for the glue and 2.5 calls: 1.5 of 4 are waited for after a hit;
    // after a miss half a call has to end, and two are made.
    hsdi_plan_step s = predict(w, &x);
    is_near(s.exposed_ns, 0.8 * 1.5 * 300e3);
    is_near(s.miss_ns, 0.2 * (150e3 + 600e3));
    is_near(s.total_ns, 1050e3 + 7e3 + s.exposed_ns + s.miss_ns);
}

static void both_sides_slow_each_other_while_both_compute(void **state)
{
    world *w = *state;
    small_world(w);
    w->costs.slowdowns[0] = (hsdi_cost_slowdown){HSDI_COST_TARGET, GPU, 0, CPU, 1, 1.5};
    w->costs.slowdowns[1] = (hsdi_cost_slowdown){HSDI_COST_DRAFT, CPU, 1, GPU, 0, 2.0};
    w->costs.n_slowdowns = 2;
    hsdi_plan_setting x = setting(HSD_MODE_MIRROR, 4);
    // The draft computes 5 calls of 100 us; meanwhile the target makes two thirds of its way.
    hsdi_plan_step s = predict(w, &x);
    is_near(s.suffix_ns, 1050e3 + 500e3 / 3.0);
    x = setting(HSD_MODE_SERIAL, 4); // they never compute together
    is_near(predict(w, &x).suffix_ns, 1050e3);
}

static void async_brings_what_the_draft_had_time_for(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_plan_setting x = setting(HSD_MODE_ASYNC, 4);
    for (int d = 0; d <= HSDI_COST_DEPTHS; d++) {
        w->costs.acceptance.accept[d] = 1.0;
    }
    // A draft that is always right and quick: full windows.
    hsdi_plan_step s = predict(w, &x);
    is_near(s.tokens, 5.0);
    is_near(s.total_ns, 1050e3 + 7e3);
    // One that takes two and a half passes for a token is never ahead.
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        w->costs.tables[1].layer_ns[i] = 1.3e6;
    }
    is_near(predict(w, &x).tokens, 1.0);
    // One that makes three tokens in a pass is ahead by two each time, and they are verified.
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        w->costs.tables[1].layer_ns[i] = 0.0;
        w->costs.tables[1].head_ns[i] = 1057e3 / 3.0;
    }
    s = predict(w, &x);
    assert_true(s.tokens > 2.9 && s.tokens < 3.1);
    for (int d = 0; d <= HSDI_COST_DEPTHS; d++) {
        w->costs.acceptance.accept[d] = 0.0;
    }
    is_near(predict(w, &x).tokens, 1.0);
}

static void a_link_adds_its_way_twice(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_machine *m = &w->machine;
    add_device(m, "npu", HSDI_DEVICE_NPU, 0);
    add_device(m, "far", HSDI_DEVICE_CPU, 1);
    m->workers[0] = (hsdi_machine_worker){.name = "w", .i_device = FAR, .i_draft_kind = 1};
    m->n_workers = 1;
    m->links[0] = (hsdi_machine_link){{true, 0}, {true, 1}, 100e3, 1.0};
    m->n_links = 1;
    add_flat(&w->costs, HSDI_COST_DRAFT, FAR, 4, 20e3, 10e3);
    hsdi_plan_setting x = setting(HSD_MODE_SERIAL, 3);
    x.i_draft[0] = FAR;
    x.i_worker[0] = 0;
    double pcie = hsdi_machine_distance(m, GPU, CPU).latency_ns -
                  hsdi_machine_distance(m, CPU, CPU).latency_ns;
    double bytes = 8.0 * 4 * 8; // eight candidates of 8 bytes for each of four rows
    double way = hsdi_machine_worker_distance(m, GPU, 0).latency_ns + bytes / 1.0;
    assert_true(way >= 100e3 && pcie > 0.0);
    is_near(predict(w, &x).messages_ns, 7e3 + 11e3 + 2.0 * way);
}

static void workers_share_the_roots_of_a_step(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_machine *m = &w->machine;
    add_device(m, "npu", HSDI_DEVICE_NPU, 0);
    add_device(m, "far", HSDI_DEVICE_CPU, 1);
    add_flat(&w->costs, HSDI_COST_DRAFT, NPU, 0, 0.0, 0.0);
    add_flat(&w->costs, HSDI_COST_DRAFT, FAR, 4, 0.0, 0.0);
    for (int i = 2; i < 4; i++) { // 100 us a row
        for (int k = 0; k < HSDI_COST_ROWS; k++) {
            w->costs.tables[i].head_ns[k] = 100e3 * hsdi_cost_row_counts[k];
        }
    }
    m->devices[NPU].memory_bytes = 1; // of its own: shares nothing
    m->workers[0] = (hsdi_machine_worker){.name = "a", .i_device = NPU, .i_draft_kind = 1};
    m->workers[1] = (hsdi_machine_worker){.name = "b", .i_device = FAR, .i_draft_kind = 1};
    m->n_workers = 2;
    hsdi_plan_setting x = setting(HSD_MODE_MIRROR, 2);
    x.i_draft[0] = NPU;
    x.i_worker[0] = 0;
    double alone = predict(w, &x).draft_ns;
    is_near(alone, 100e3 + 2 * 800e3);
    x.n_workers = 2;
    x.i_draft[1] = FAR;
    x.i_worker[1] = 1;
    double both = predict(w, &x).draft_ns;
    if (!(fabs(both - (100e3 + 2 * 400e3)) < 1.0)) {
        fail_msg("%.9g", both);
    }
}

static void tables_are_read_between_their_entries(void **state)
{
    (void)state;
    const double table[HSDI_COST_ROWS] = {10, 12, 16, 24, 40, 72, 136};
    is_near(hsdi_cost_at(table, 0.2), 10);
    is_near(hsdi_cost_at(table, 3), 14);
    is_near(hsdi_cost_at(table, 64), 136);
    is_near(hsdi_cost_at(table, 65), 138);
    hsdi_acceptance a = {.accept = {0, 0.5, 0.8}};
    is_near(hsdi_acceptance_tokens(&a, 0), 1.0);
    is_near(hsdi_acceptance_tokens(&a, 2), 1.9);
}

static void trails_are_steps_gone_through(void **state)
{
    (void)state;
    static hsdi_acceptance a;
    memset(&a, 0, sizeof a);
    // Windows of two: 001, 1, 000, 1, and the rest is no step; of the second text: -, 1.
    strcpy(a.trail, "0011000100 -100");
    hsdi_acceptance_extend(&a);
    is_near(a.chain[2], 10.0 / 6.0);
    is_near(a.starts, 3.0 / 5.0);
    is_near(a.goes_on, 5.0 / 7.0);
    assert_true(hsdi_acceptance_is_trail(a.trail) && !hsdi_acceptance_is_trail("00x"));
    is_near(hsdi_acceptance_tokens(&a, 2), a.chain[2]);
    // Of five wrong tokens four were second, one was not listed.
    is_near(hsdi_acceptance_siblings(&a, 4, 4), 0.8);
    is_near(hsdi_acceptance_siblings(&a, 4, 2), 0.4);
    is_near(hsdi_acceptance_siblings(&a, 2, 32), 0.8);
}

static void hits_lie_between_the_windows_that_were_seen(void **state)
{
    (void)state;
    static hsdi_acceptance a;
    memset(&a, 0, sizeof a);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        a.own[i] = a.both[i] = 0.4;
        a.brief_own[i] = a.brief_both[i] = 0.6;
    }
    is_near(hsdi_acceptance_coverage(&a, 2, 8, 0.0), 0.4); // windows are not known
    a.window = 8;
    is_near(hsdi_acceptance_coverage(&a, 2, 8, 0.0), 0.4);
    a.brief_window = 2;
    is_near(hsdi_acceptance_coverage(&a, 1, 8, 0.0), 0.6);
    is_near(hsdi_acceptance_coverage(&a, 2, 8, 0.5), 0.6);
    is_near(hsdi_acceptance_coverage(&a, 5, 8, 0.5), 0.5);
    is_near(hsdi_acceptance_coverage(&a, 16, 8, 0.0), 0.4);
}

static void costs_lie_between_the_contexts_that_were_measured(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_costs *c = &w->costs;
    c->tables[0].n_past = 16;
    hsdi_cost_table far = c->tables[0], got;
    far.n_past = 116;
    far.layer_ns[0] = 200e3;
    c->tables[c->n_tables++] = far;
    assert_true(hsdi_cost_find_at(c, HSDI_COST_TARGET, GPU, 0, 66, &got));
    is_near(got.layer_ns[0], 150e3);
    is_near(got.layer_ns[1], 100e3);
    assert_true(hsdi_cost_find_at(c, HSDI_COST_TARGET, GPU, 0, 216, &got));
    is_near(got.layer_ns[0], 300e3);
    assert_true(hsdi_cost_find_at(c, HSDI_COST_TARGET, GPU, 0, 0, &got));
    is_near(got.layer_ns[0], 100e3); // shorter than any: that
    assert_false(hsdi_cost_find_at(c, HSDI_COST_TARGET, GPU, 1, 0, &got));
    c->tables[2].layer_ns[0] = 50e3; // noise: nothing gets quicker with a longer text
    assert_true(hsdi_cost_find_at(c, HSDI_COST_TARGET, GPU, 0, 216, &got));
    is_near(got.layer_ns[0], 100e3);
    c->tables[2].layer_ns[0] = 200e3;
    far = c->tables[1]; // in any order, the middle one last
    c->tables[1] = c->tables[2];
    c->tables[2] = far;
    far = c->tables[0];
    far.n_past = 66;
    far.layer_ns[0] = 110e3;
    c->tables[c->n_tables++] = far;
    hsdi_costs_settle(c, 91);
    assert_int_equal(c->n_tables, 2);
    is_near(hsdi_cost_find(c, HSDI_COST_TARGET, GPU, 0)->layer_ns[0], 155e3);
    is_near(hsdi_cost_find(c, HSDI_COST_DRAFT, CPU, 1)->layer_ns[0], 20e3);
}

static void estimates_take_the_longer_of_bytes_and_operations(void **state)
{
    world *w = *state;
    small_world(w);
    w->costs.n_tables = 0;
    hsdi_cost_model *t = &w->costs.target;
    t->layer_bytes = 1000000;
    t->layer_ops = 2e6;
    t->head_bytes = 500000;
    t->head_ops = 1e6;
    hsdi_machine_device *gpu = &w->machine.devices[GPU], *cpu = &w->machine.devices[CPU];
    gpu->read_gbps = 100;
    gpu->f16_gops = 1000;
    gpu->launch_ns = 5000;
    cpu->read_gbps = 20;
    cpu->f32_gops = 400;
    hsd_error err;
    assert_int_equal(hsdi_costs_estimate(&w->machine, &w->costs, &err), HSD_OK);
    const hsdi_cost_table *on = hsdi_cost_find(&w->costs, HSDI_COST_TARGET, GPU, 0);
    assert_non_null(on);
    is_near(on->fixed_ns, 5000);
    is_near(on->layer_ns[0], 1e6 / 100);
    is_near(on->layer_ns[4], 16 * 2e6 / 1000);
    is_near(on->head_ns[0], 5e5 / 100);
    on = hsdi_cost_find(&w->costs, HSDI_COST_TARGET, CPU, 2); // of 4 cores
    assert_non_null(on);
    is_near(on->layer_ns[0], 1e6 / 20);
    is_near(on->layer_ns[5], 32 * 2e6 / 200);
    assert_false(on->is_measured);
    int n = w->costs.n_tables;
    assert_int_equal(hsdi_costs_estimate(&w->machine, &w->costs, &err), HSD_OK);
    assert_int_equal(w->costs.n_tables, n);
    t->layer_ops = -1;
    assert_int_equal(hsdi_costs_estimate(&w->machine, &w->costs, &err), HSD_EINVAL);
    assert_string_equal(err.where, "target");
}

/// Target pass 63 ms for a row and little more for some; draft tokens of 15 ms on the CPU and 48 ms
/// on the NPU in the loop; acceptance 0.6.
static void openvino_world(world *w)
{
    small_world(w);
    add_device(&w->machine, "npu", HSDI_DEVICE_NPU, 0);
    (void)snprintf(w->machine.devices[NPU].id, sizeof w->machine.devices[NPU].id, "npu:0");
    w->costs.n_tables = 0;
    w->costs.target.n_layers = 40;
    add_flat(&w->costs, HSDI_COST_TARGET, GPU, 0, 1.5e6, 3e6);
    add_flat(&w->costs, HSDI_COST_DRAFT, CPU, 4, 7e6, 1e6);
    add_flat(&w->costs, HSDI_COST_DRAFT, NPU, 0, 23e6, 2e6);
    hsdi_acceptance_assume(&w->costs.acceptance);
    w->machine.workers[0] =
        (hsdi_machine_worker){.name = "npu", .i_device = NPU, .i_draft_kind = 1};
    (void)snprintf(w->machine.workers[0].endpoint, 128, "ipc:///tmp/npu");
    w->machine.n_workers = 1;
    // In the loop already: nothing comes on top.
    w->costs.slowdowns[0] = (hsdi_cost_slowdown){HSDI_COST_DRAFT, NPU, 0, GPU, 0, 1.0};
    w->costs.slowdowns[1] = (hsdi_cost_slowdown){HSDI_COST_DRAFT, CPU, 4, GPU, 0, 1.0};
    w->costs.n_slowdowns = 2;
}

static double serial_gain(const world *w, int device, int n_threads, int window)
{
    hsdi_plan_setting x = setting(HSD_MODE_SERIAL, window), alone = setting(HSD_MODE_AR, 0);
    x.i_draft[0] = device;
    x.n_draft_threads = n_threads;
    x.i_worker[0] = device == NPU ? 0 : -1;
    return predict(w, &x).tokens_per_s / predict(w, &alone).tokens_per_s;
}

static void a_slow_npu_is_told_from_a_quick_cpu(void **state)
{
    world *w = *state;
    openvino_world(w);
    double cpu = serial_gain(w, CPU, 4, 1), npu = serial_gain(w, NPU, 0, 1);
    print_message("serial, 1 drafted: CPU %.2f, NPU %.2f times the target alone\n", cpu, npu);
    assert_true(cpu > 1.2 && npu < 1.0 && npu > 0.8);
    assert_true(serial_gain(w, NPU, 0, 3) < 0.8 && serial_gain(w, NPU, 0, 5) < 0.6);
    hsdi_plan_options o;
    hsdi_plan_options_init(&o);
    hsd_error err;
    w->machine.choices.tree = 0; // chains, as there
    w->machine.choices.forbidden_modes = 1u << HSD_MODE_MIRROR | 1u << HSD_MODE_ASYNC;
    assert_int_equal(hsdi_plan_make(&w->machine, &w->costs, &o, &w->plan, &err), HSD_OK);
    assert_int_equal(w->plan.best.setting.mode, HSD_MODE_SERIAL);
    assert_int_equal(w->plan.best.setting.i_draft[0], CPU);
    bool is_told = false;
    for (int i = 0; i < w->plan.n_reasons; i++) {
        is_told |= strncmp(w->plan.reasons[i], "npu not used: ", 14) == 0;
    }
    assert_true(is_told);
    w->machine.choices.i_draft = NPU; // the NPU or nothing: nothing
    assert_int_equal(hsdi_plan_make(&w->machine, &w->costs, &o, &w->plan, &err), HSD_OK);
    assert_int_equal(w->plan.best.setting.mode, HSD_MODE_AR);
    hsdi_plan_setting x = setting(HSD_MODE_ASYNC, 4), alone = setting(HSD_MODE_AR, 0);
    x.i_draft[0] = NPU;
    x.i_worker[0] = 0;
    double gain = predict(w, &x).tokens_per_s / predict(w, &alone).tokens_per_s;
    print_message("async on the NPU: %.2f times the target alone\n", gain);
    assert_true(gain > 1.0 && gain < 1.4);
}

static void the_plan_says_from_which_acceptance_it_pays(void **state)
{
    world *w = *state;
    small_world(w);
    hsdi_plan_options o;
    hsdi_plan_options_init(&o);
    hsd_error err;
    w->machine.choices.mode = HSD_MODE_SERIAL;
    w->machine.choices.window = 1;
    w->machine.choices.tree = 0;
    assert_int_equal(hsdi_plan_make(&w->machine, &w->costs, &o, &w->plan, &err), HSD_OK);
    // (1 + a) / 1118 = 1 / 1050
    assert_true(fabs(w->plan.break_even - (1118.0 / 1050.0 - 1.0)) < 1e-4);
    w->costs.rendezvous.serial_extra_ns = 5e6;
    assert_int_equal(hsdi_plan_make(&w->machine, &w->costs, &o, &w->plan, &err), HSD_OK);
    assert_true(w->plan.break_even > 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_alone_is_a_pass_of_one_row),
        cmocka_unit_test(serial_drafts_then_verifies),
        cmocka_unit_test(who_takes_turns_needs_what_was_measured),
        cmocka_unit_test(a_draft_that_was_right_goes_on_so),
        cmocka_unit_test(trails_are_steps_gone_through),
        cmocka_unit_test(hits_lie_between_the_windows_that_were_seen),
        cmocka_unit_test(costs_lie_between_the_contexts_that_were_measured),
        cmocka_unit_test(a_hidden_draft_costs_mirror_only_its_misses_and_messages),
        cmocka_unit_test(what_a_draft_has_not_finished_is_waited_for),
        cmocka_unit_test(both_sides_slow_each_other_while_both_compute),
        cmocka_unit_test(async_brings_what_the_draft_had_time_for),
        cmocka_unit_test(a_link_adds_its_way_twice),
        cmocka_unit_test(workers_share_the_roots_of_a_step),
        cmocka_unit_test(tables_are_read_between_their_entries),
        cmocka_unit_test(estimates_take_the_longer_of_bytes_and_operations),
        cmocka_unit_test(a_slow_npu_is_told_from_a_quick_cpu),
        cmocka_unit_test(the_plan_says_from_which_acceptance_it_pays),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
