/// See imagined.h.
#include "imagined.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void add_table(imagined *m, hsdi_cost_role role, int i_device, int n_layers, double ns,
                      double row_ns, double head_ns)
{
    hsdi_cost_table *t = &m->costs.tables[m->costs.n_tables++];
    *t = (hsdi_cost_table){.role = role, .i_device = i_device, .is_measured = true};
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        t->layer_ns[i] = (ns - head_ns + (hsdi_cost_row_counts[i] - 1) * row_ns) / n_layers;
        t->head_ns[i] = head_ns;
    }
}

void imagined_init(imagined *m, int n_drafts, double target_ns, double target_row_ns,
                   double head_ns, double draft_ns, double draft_row_ns)
{
    hsdi_machine_init(&m->machine);
    m->costs = (hsdi_costs){.target = {.n_layers = IMAGINED_LAYERS, .n_embd = 4096},
                            .draft = {.n_layers = IMAGINED_DRAFT_LAYERS, .n_embd = 1024}};
    m->machine.n_hosts = 1;
    m->machine.hosts[0] = (hsdi_machine_host){.name = "host", .is_here = true, .n_cores = 16};
    m->machine.n_devices = 1 + n_drafts;
    for (int i = 0; i <= n_drafts; i++) {
        hsdi_machine_device *d = &m->machine.devices[i];
        *d = (hsdi_machine_device){.type = HSDI_DEVICE_ACCELERATOR,
                                   .i_numa = -1,
                                   .i_same_as = -1,
                                   .memory_bytes = INT64_C(16) << 30};
        snprintf(d->name, sizeof d->name, "device%d", i);
        if (i == 0) {
            add_table(m, HSDI_COST_TARGET, i, IMAGINED_LAYERS, target_ns, target_row_ns, head_ns);
        } else {
            add_table(m, HSDI_COST_DRAFT, i, IMAGINED_DRAFT_LAYERS, draft_ns, draft_row_ns,
                      0.1 * draft_ns);
        }
    }
    hsdi_acceptance_assume(&m->costs.acceptance);
    hsdi_simulator_options_init(&m->options);
    m->options.machine = &m->machine;
    m->options.costs = &m->costs;
    m->options.setting =
        (hsdi_plan_setting){.draft_kind = HSD_DRAFT_MODEL, .i_suffix = -1, .n_workers = n_drafts};
    for (int i = 0; i < n_drafts; i++) {
        m->options.setting.i_draft[i] = 1 + i;
        m->options.setting.i_worker[i] = -1;
    }
}

void imagined_accept(imagined *m, double accept, double own, double both)
{
    hsdi_acceptance *a = &m->costs.acceptance;
    for (int d = 0; d <= HSDI_COST_DEPTHS; d++) {
        a->accept[d] = accept;
    }
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        a->own[i] = own;
        a->both[i] = both;
    }
}

void imagined_set(imagined *m, hsd_mode mode, int window, int roots, int exit_layer)
{
    hsdi_plan_setting *s = &m->options.setting;
    s->mode = mode;
    s->window = s->tree = window;
    s->roots = roots;
    s->exit_layer = exit_layer;
}

hsdi_simulation imagined_run(const imagined *m)
{
    hsdi_simulation out;
    hsd_error err = {0};
    hsd_status status = hsdi_simulate(&m->options, &out, &err);
    if (status != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return out;
}
