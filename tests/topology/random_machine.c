#include "random_machine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

double random_real(uint64_t *state, double low, double high)
{
    return low + (high - low) * (double)(next(state) >> 11) * 0x1p-53;
}

int random_int(uint64_t *state, int low, int high)
{
    return low + (int)(next(state) % (uint64_t)(high - low + 1));
}

/// Over several powers of ten, as machines are.
static double spread(uint64_t *r, double low, double high)
{
    return exp(random_real(r, log(low), log(high)));
}

static void make_device(uint64_t *r, hsdi_machine *m, int i)
{
    static const hsdi_device_type types[] = {HSDI_DEVICE_CPU, HSDI_DEVICE_GPU, HSDI_DEVICE_GPU,
                                             HSDI_DEVICE_NPU, HSDI_DEVICE_ACCELERATOR};
    hsdi_machine_device *d = &m->devices[i];
    *d = (hsdi_machine_device){.i_numa = -1, .i_same_as = -1};
    d->i_host = i < m->n_hosts ? i : random_int(r, 0, m->n_hosts - 1);
    d->type = i < m->n_hosts ? HSDI_DEVICE_CPU : types[random_int(r, 1, 4)];
    // Names in another order than indices.
    (void)snprintf(d->name, sizeof d->name, "d%02d_%d", (i * 37 + 11) % 97, i);
    (void)snprintf(d->id, sizeof d->id, d->type == HSDI_DEVICE_CPU ? "cpu" : "opencl:%d", i);
    d->n_units = random_int(r, 1, 16);
    bool has_own = d->type != HSDI_DEVICE_CPU && random_int(r, 0, 2) > 0;
    d->memory_bytes = has_own ? (int64_t)spread(r, 5e8, 8e10) : 0;
    d->read_gbps = spread(r, 5, 3000);
    d->f32_gops = spread(r, 20, 50000);
    d->f16_gops = d->f32_gops * random_real(r, 1, 4);
    d->int8_gops = d->f16_gops * random_real(r, 1, 4);
    d->launch_ns = spread(r, 1e3, 1e5);
    d->busy_w = random_int(r, 0, 9) ? random_real(r, 5, 400) : 0.0;
    d->idle_w = d->busy_w * 0.2;
}

static void make_model(uint64_t *r, hsdi_cost_model *m, double parameters)
{
    *m = (hsdi_cost_model){.n_layers = random_int(r, 2, 48), .n_embd = random_int(r, 64, 4096)};
    m->n_vocab = random_int(r, 500, 100000);
    m->n_ctx = 1024;
    m->layer_bytes = (int64_t)(parameters / m->n_layers) + 1;
    m->head_bytes = (int64_t)(parameters * random_real(r, 0.01, 0.2)) + 1;
    m->embedding_bytes = m->head_bytes;
    m->cache_bytes = 8 * m->n_embd;
    m->layer_ops = 2.0 * (double)m->layer_bytes;
    m->head_ops = 2.0 * (double)m->head_bytes;
    m->weights_are_int8 = random_int(r, 0, 1);
}

static void make_measured(uint64_t *r, hsdi_costs *c, const hsdi_machine *m, int i_device)
{
    hsdi_cost_role role = random_int(r, 0, 1) ? HSDI_COST_TARGET : HSDI_COST_DRAFT;
    hsdi_cost_table *t = &c->tables[c->n_tables++];
    *t = (hsdi_cost_table){.role = role, .i_device = i_device, .is_measured = true};
    t->n_threads = m->devices[i_device].type == HSDI_DEVICE_CPU
                       ? random_int(r, 1, m->devices[i_device].n_units)
                       : 0;
    t->fixed_ns = spread(r, 1e3, 1e5);
    double layer = spread(r, 1e4, 3e6), head = layer * random_real(r, 0.2, 4);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        t->layer_ns[i] = layer;
        t->head_ns[i] = head;
        layer *= random_real(r, 1.0, 1.9);
        head *= random_real(r, 1.0, 1.9);
    }
}

static void make_acceptance(uint64_t *r, hsdi_acceptance *a)
{
    double low = random_real(r, 0, 0.9);
    *a = (hsdi_acceptance){.exit_part = 0.5, .ngram_accept = random_int(r, 0, 3) ? 0.0 : 0.5};
    for (int d = 0; d <= HSDI_COST_DEPTHS; d++) {
        a->accept[d] = fmin(1.0, low + random_real(r, 0, 0.2));
    }
    double own = random_real(r, 0.1, 0.7), both = random_real(r, own, 1.0);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        a->own[i] = own;
        a->both[i] = both;
        own += (1.0 - own) * random_real(r, 0, 0.5);
        both = fmax(own, both + (1.0 - both) * random_real(r, 0, 0.5));
    }
}

/// Of some pairs a text of tokens that were right in stretches.
static void make_trail(uint64_t *r, hsdi_acceptance *a)
{
    double starts = random_real(r, 0.1, 0.9), goes_on = random_real(r, starts, 0.95);
    bool is_right = false;
    for (int i = 0; i < 300; i++) {
        is_right = random_real(r, 0, 1) < (is_right ? goes_on : starts);
        a->trail[i] = i == 150 ? ' ' : is_right ? '0' : '1';
    }
    hsdi_acceptance_extend(a);
}

/// What pairs take that were measured in turn.
static void make_turns(uint64_t *r, hsdi_costs *c)
{
    for (int i = 0; i < c->n_tables; i++) {
        for (int k = 0; k < c->n_tables; k++) {
            const hsdi_cost_table *t = &c->tables[i], *d = &c->tables[k];
            if (t->role == HSDI_COST_TARGET && d->role == HSDI_COST_DRAFT) {
                c->turns[c->n_turns++] =
                    (hsdi_cost_turn){t->i_device,  t->n_threads,        d->i_device,
                                     d->n_threads, spread(r, 1e3, 1e6), spread(r, 1e2, 1e5)};
            }
        }
    }
}

void random_make(uint64_t seed, int n_devices, random_case *out)
{
    uint64_t state = seed * 77 + 5, *r = &state;
    hsdi_machine *m = &out->machine;
    hsdi_machine_init(m);
    m->n_hosts = random_int(r, 1, n_devices < 3 ? n_devices : 3);
    m->n_devices = random_int(r, m->n_hosts, n_devices);
    for (int i = 0; i < m->n_hosts; i++) {
        m->hosts[i] = (hsdi_machine_host){.is_here = i == 0, .n_numa = 1};
        (void)snprintf(m->hosts[i].name, sizeof m->hosts[i].name, "h%d", (i * 5 + 3) % 7);
        m->hosts[i].memory_bytes = (int64_t)spread(r, 1e9, 2e11);
    }
    for (int i = 0; i < m->n_devices; i++) {
        make_device(r, m, i);
    }
    m->n_workers = random_int(r, 0, 5);
    for (int i = 0; i < m->n_workers; i++) {
        hsdi_machine_worker *w = &m->workers[i];
        *w = (hsdi_machine_worker){.i_device = random_int(r, 0, m->n_devices - 1),
                                   .i_draft_kind = HSD_DRAFT_MODEL};
        (void)snprintf(w->name, sizeof w->name, "w%d", (i * 3 + 1) % 7);
        bool is_here = m->devices[w->i_device].i_host == 0;
        (void)snprintf(w->endpoint, sizeof w->endpoint, is_here ? "ipc:///tmp/w%d" : "tcp://h:%d",
                       i);
    }
    for (int i = 1; i < m->n_hosts && random_int(r, 0, 1); i++) {
        m->links[m->n_links++] =
            (hsdi_machine_link){{true, 0}, {true, i}, spread(r, 1e3, 1e6), spread(r, 0.1, 50)};
    }
    hsdi_costs *c = &out->costs;
    memset(c, 0, sizeof *c);
    double parameters = spread(r, 1e6, 2e10);
    make_model(r, &c->target, parameters);
    make_model(r, &c->draft, parameters * random_real(r, 0.01, 0.5));
    make_acceptance(r, &c->acceptance);
    hsdi_cost_rendezvous_assume(&c->rendezvous);
    for (int i = 0; i < m->n_devices; i++) {
        if (random_int(r, 0, 4) == 0) {
            make_measured(r, c, m, i);
        }
    }
    make_turns(r, c);
    if (random_int(r, 0, 2) == 0) {
        make_trail(r, &c->acceptance);
    }
}

void random_finish(random_case *c)
{
    hsd_error err = {0};
    if (hsdi_machine_check(&c->machine, &err) != HSD_OK ||
        hsdi_costs_estimate(&c->machine, &c->costs, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
}

void random_quicken(random_case *c, int i_device, double factor)
{
    hsdi_machine_device *d = &c->machine.devices[i_device];
    d->read_gbps *= factor;
    d->f32_gops *= factor;
    d->f16_gops *= factor;
    d->int8_gops *= factor;
    d->launch_ns /= factor;
    for (int i = 0; i < c->costs.n_tables; i++) {
        hsdi_cost_table *t = &c->costs.tables[i];
        if (t->i_device != i_device) {
            continue;
        }
        t->fixed_ns /= factor;
        for (int k = 0; k < HSDI_COST_ROWS; k++) {
            t->layer_ns[k] /= factor;
            t->head_ns[k] /= factor;
        }
    }
}
